import { describe, expect, it } from 'vitest';
import * as w from './words';

const TWELVE = 'abandon ability able about above absent absorb abstract absurd abuse access accident'.split(
  ' ',
);

describe('typing words', () => {
  it('takes them however they were written', () => {
    expect(w.splitWords(' 1. Abandon\n2) ability, ABLE ')).toEqual(['abandon', 'ability', 'able']);
    expect(w.splitWords('  ')).toEqual([]);
  });
  it('points at words that are on no list, but not while one is typed', () => {
    expect(w.unknownWords('abandon abilty able ')).toEqual(['abilty']);
    expect(w.unknownWords('abandon abi')).toEqual([]);
    expect(w.unknownWords('abandon abi ')).toEqual(['abi']);
    expect(w.unknownWords('abandon xq')).toEqual(['xq']);
  });
  it('offers how a word may go on', () => {
    expect(w.suggestions('abandon zo')).toEqual(['zone', 'zoo']);
    expect(w.suggestions('abandon')).toEqual([]);
    expect(w.suggestions('a')).toEqual([]);
    expect(w.suggestions('abandon ')).toEqual([]);
    expect(w.complete('abandon zo', 'zone')).toBe('abandon zone ');
  });
  it.each([
    [11, false],
    [12, true],
    [24, true],
    [25, false],
  ])('%d words', (count, right) => expect(w.rightCount(count)).toBe(right));
});

describe('questions', () => {
  it('ask for three different words, each with the answer among six choices', () => {
    for (let run = 0; run < 200; run += 1) {
      const asked = w.questions(TWELVE);
      expect(asked).toHaveLength(3);
      expect(new Set(asked.map((q) => q.position)).size).toBe(3);
      for (const q of asked) {
        expect(q.answer).toBe(TWELVE[q.position - 1]);
        expect(q.choices).toHaveLength(6);
        expect(new Set(q.choices).size).toBe(6);
        expect(q.choices).toContain(q.answer);
      }
    }
  });
  it('are possible even when words repeat', () => {
    const same = Array.from({ length: 12 }, () => 'abandon');
    for (const q of w.questions(same)) expect(new Set(q.choices).size).toBe(6);
  });
  it('do not always put the answer in the same place', () => {
    const places = new Set<number>();
    for (let run = 0; run < 100; run += 1) {
      for (const q of w.questions(TWELVE)) places.add(q.choices.indexOf(q.answer));
    }
    expect(places.size).toBe(6);
  });
});
