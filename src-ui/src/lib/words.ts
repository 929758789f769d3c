/**
 * Help with typing recovery words: spelling, completion, and the questions that confirm they were written down.
 * Pure. Words pass through and are never kept. Whether they are a valid wallet is for the backend to say.
 */
import { wordlist } from '@scure/bip39/wordlists/english.js';

const KNOWN = new Set(wordlist);

/** The words of a text as typed or pasted: lower case, numbering and punctuation dropped. */
export function splitWords(text: string): string[] {
  return text
    .toLowerCase()
    .split(/[^a-z]+/)
    .filter((word) => word.length > 0);
}

/** Words that are on no list. The last one is spared while it is still being typed. */
export function unknownWords(text: string): string[] {
  const words = splitWords(text);
  const typing = /[a-z]$/i.test(text);
  return words.filter(
    (word, i) => !KNOWN.has(word) && !(typing && i === words.length - 1 && suggestions(text).length > 0),
  );
}

/** How the word being typed may go on, at most four. */
export function suggestions(text: string): string[] {
  const start = /[a-z]+$/i.exec(text)?.[0]?.toLowerCase() ?? '';
  if (start.length < 2) return [];
  const found = wordlist.filter((word) => word.startsWith(start));
  return found.length === 1 && found[0] === start ? [] : found.slice(0, 4);
}

/** The text with the word being typed replaced. */
export function complete(text: string, word: string): string {
  return `${text.replace(/[a-z]+$/i, '')}${word} `;
}

/** BIP39 lengths that this wallet takes. */
export function rightCount(count: number): boolean {
  return count === 12 || count === 15 || count === 18 || count === 21 || count === 24;
}

export interface Question {
  /** Which word is asked for, counted from 1. */
  position: number;
  answer: string;
  choices: string[];
}

/** Picks a number below `limit`; passed in so that tests can decide. */
export type Pick = (limit: number) => number;

const randomPick: Pick = (limit) => {
  const drawn = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  return drawn % limit;
};

function shuffled<T>(items: readonly T[], pick: Pick): T[] {
  const out = [...items];
  for (let i = out.length - 1; i > 0; i -= 1) {
    const j = pick(i + 1);
    const [a, b] = [out[i] as T, out[j] as T];
    out[i] = b;
    out[j] = a;
  }
  return out;
}

/** Three questions about the words, in rising order, each with six different choices. */
export function questions(words: readonly string[], pick: Pick = randomPick): Question[] {
  const positions = shuffled(
    words.map((_, i) => i),
    pick,
  )
    .slice(0, 3)
    .sort((a, b) => a - b);
  return positions.map((index) => {
    const answer = words[index] ?? '';
    const others = new Set<string>(words.filter((word) => word !== answer));
    while (others.size < 5) {
      const drawn = wordlist[pick(wordlist.length)];
      if (drawn !== undefined && drawn !== answer) others.add(drawn);
    }
    const choices = shuffled([answer, ...shuffled([...others], pick).slice(0, 5)], pick);
    return { position: index + 1, answer, choices };
  });
}
