import { describe, expect, it } from 'vitest';
import * as f from './format';

const T = f.THIN;
const NOW = new Date(2026, 2, 15, 14, 30).getTime();
const MIN = 60_000;
const HOUR = 60 * MIN;
const DAY = 24 * HOUR;

describe('amounts', () => {
  it.each([
    [0, '0'],
    [999, '999'],
    [1_000, `1${T}000`],
    [2_100_000_000_000_000, `2${T}100${T}000${T}000${T}000${T}000`],
    [-1_234, `\u22121${T}234`],
  ])('groups %d', (n, text) => expect(f.groupDigits(n)).toBe(text));

  it.each([
    ['999', 0],
    ['1000', 1],
    ['1999', 1],
    [21_000_000, 21_000],
    ['2100000000000000000', 2_100_000_000_000_000],
    [null, null],
    [undefined, null],
    ['', null],
    ['1.5', null],
    ['rubbish', null],
  ])('%s msat in sats', (msat, sat) => expect(f.satFromMsat(msat)).toBe(sat));

  it('says sat for one and sats for others', () => {
    expect(f.amount(1)).toBe('1 sat');
    expect(f.amount(0)).toBe('0 sats');
    expect(f.amount(21)).toBe('21 sats');
  });

  it.each([
    [0, '0.00000000'],
    [1, '0.00000001'],
    [123_456_789, '1.23456789'],
    [-50_000_000, '\u22120.50000000'],
  ])('%d sats in BTC', (sat, text) => expect(f.figure(sat, 'btc')).toBe(text));

  it('never calls a small fee zero', () => {
    expect(f.fee('0')).toBe('Free');
    expect(f.fee('1')).toBe('less than 1 sat');
    expect(f.fee('999')).toBe('less than 1 sat');
    expect(f.fee('1000')).toBe('1 sat');
    expect(f.fee(null)).toBeNull();
  });

  it.each([
    ['1000', 1_000],
    [`1${T}000`, 1_000],
    ['1,000', 1_000],
    ["1'000 000", 1_000_000],
    ['2100000000000000', 2_100_000_000_000_000],
    ['2100000000000001', null],
    ['', null],
    ['12a', null],
    ['-5', null],
  ])('reads %j', (text, sat) => expect(f.parseSats(text)).toBe(sat));

  it('reads back what it writes', () => {
    for (const sat of [0, 1, 12, 999, 1_000, 123_456_789, 2_099_999_999_999_999]) {
      expect(f.parseSats(f.groupDigits(sat))).toBe(sat);
    }
  });
});

describe('time', () => {
  it.each([
    [-5 * MIN, 'just now'],
    [0, 'just now'],
    [44_000, 'just now'],
    [46_000, '1 min ago'],
    [3 * MIN, '3 min ago'],
    [59 * MIN, '59 min ago'],
    [61 * MIN, '1 h ago'],
    [23 * HOUR, '23 h ago'],
    [25 * HOUR, '1 day ago'],
    [9 * DAY, '9 days ago'],
  ])('%d ms gone', (gone, text) => expect(f.ago(NOW - gone, NOW)).toBe(text));

  it.each([
    [-1, 'due now'],
    [30_000, 'in less than a minute'],
    [5 * MIN, 'in 5 min'],
    [4.4 * HOUR, 'in 4 h'],
    [3 * DAY, 'in 3 days'],
  ])('%d ms to come', (left, text) => expect(f.until(NOW + left, NOW)).toBe(text));

  it.each([
    [7, '7 ms'],
    [420, '0.4 s'],
    [9_940, '9.9 s'],
    [12_400, '12 s'],
    [59_600, '1 min'],
    [65_000, '1 min 5 s'],
  ])('%d ms long', (ms, text) => expect(f.duration(ms)).toBe(text));

  it('names days', () => {
    expect(f.day(NOW - 2 * HOUR, NOW)).toBe('Today');
    expect(f.day(NOW - 15 * HOUR, NOW)).toBe('Yesterday');
    expect(f.day(NOW - 38 * HOUR, NOW)).toBe('Yesterday');
    expect(f.day(NOW - 39 * HOUR, NOW)).not.toBe('Yesterday');
    expect(f.day(NOW - 400 * DAY, NOW)).toContain('2025');
  });
});

describe('the rest', () => {
  it.each([
    [1, '1 byte'],
    [999, '999 bytes'],
    [1_500, '1.5 kB'],
    [148_200, '148 kB'],
    [61_300_000, '61 MB'],
    [999_600, '1.0 MB'],
    [2_000_000_000, '2.0 GB'],
    [5_000_000_000_000, '5000 GB'],
  ])('%d bytes', (n, text) => expect(f.bytes(n)).toBe(text));

  it('shortens ids, never lengthens them', () => {
    expect(f.shortId('02aabbccddeeff00112233')).toBe('02aabb…112233');
    expect(f.shortId('short')).toBe('short');
  });

  it('cuts in fours without losing anything', () => {
    expect(f.inFours('bcrt1qw508')).toEqual(['bcrt', '1qw5', '08']);
    expect(f.inFours('')).toEqual([]);
  });

  it('keeps the name of a network it does not know', () => {
    expect(f.networkName('regtest')).toBe('Local test network');
    expect(f.networkName('moon')).toBe('moon');
  });
});
