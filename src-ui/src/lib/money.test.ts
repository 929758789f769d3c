import { describe, expect, it } from 'vitest';
import type { Networks } from './bindings';
import { kindOf, moneyRow, networkWords, practiceMark, preselected } from './money';

const offered = [
  { network: 'signet', real: false, refused: null },
  { network: 'bitcoin', real: true, refused: null },
];
const networks = (current: string, settled = false): Networks => ({
  current,
  settled,
  offered: settled ? [] : offered,
});

describe('the kinds of money', () => {
  it('are told apart, and the mark is only on coins without value', () => {
    for (const [network, kind] of [
      ['bitcoin', 'real'],
      ['signet', 'practice'],
      ['testnet4', 'practice'],
      ['regtest', null],
      ['signet-4ae81572f06e1b88', null],
      ['', null],
    ] as const) {
      expect(kindOf(network), network).toBe(kind);
      expect(practiceMark(network) !== null, network).toBe(kind === 'practice');
    }
  });

  it('have words for a person about to make a wallet', () => {
    expect(networkWords('bitcoin')).toMatchObject({ real: true });
    for (const play of ['signet', 'testnet4', 'regtest']) expect(networkWords(play)?.real).toBe(false);
    expect(networkWords('')).toBeNull();
  });
});

describe('the first choice', () => {
  it('is practice, unless real bitcoin is in use already', () => {
    expect(preselected(networks('signet'))?.network).toBe('signet');
    expect(preselected(networks('testnet4'))?.network).toBe('signet');
    expect(preselected(networks('bitcoin'))?.network).toBe('bitcoin');
    expect(preselected(networks('regtest', true))).toBeNull();
  });
});

describe('the row in the settings', () => {
  it('leads somewhere only where there is a choice', () => {
    expect(moneyRow('signet', networks('signet'))).toEqual({
      label: 'Money',
      value: 'Practice',
      hint: 'Signet',
      leads: true,
    });
    expect(moneyRow('bitcoin', networks('bitcoin'))).toMatchObject({ value: 'Real bitcoin', leads: true });
    for (const row of [
      moneyRow('regtest', networks('regtest', true)),
      moneyRow('signet', networks('signet', true)),
      moneyRow('signet', null),
    ])
      expect(row).toMatchObject({ label: 'Network', leads: false });
  });
});
