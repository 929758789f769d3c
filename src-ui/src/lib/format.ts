/**
 * How amounts, moments, lengths of time and ids are written for people.
 * Pure functions only: the time and the unit are passed in. Does not own any markup.
 */

/** Narrow no-break space: groups digits without ever breaking a number across lines. */
export const THIN = '\u202f';
const SAT_PER_BTC = 100_000_000;
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export type Unit = 'sat' | 'btc';

/** Whole number in groups of three: `1 234 567`. */
export function groupDigits(value: number | bigint): string {
  const text = value.toString();
  const sign = text.startsWith('-') ? '\u2212' : '';
  return sign + text.replace('-', '').replace(/\B(?=(\d{3})+(?!\d))/g, THIN);
}

/** msat as the wire has it (string, number or bigint) to whole sats, rounded down. Anything else is `null`. */
export function satFromMsat(msat: string | number | bigint | null | undefined): number | null {
  if (msat === null || msat === undefined || msat === '') return null;
  try {
    return Number(BigInt(msat) / 1000n);
  } catch {
    return null;
  }
}

/** The figure alone, in the unit the person chose. */
export function figure(sat: number, unit: Unit): string {
  if (unit === 'sat') return groupDigits(sat);
  const whole = Math.trunc(Math.abs(sat) / SAT_PER_BTC);
  const rest = (Math.abs(sat) % SAT_PER_BTC).toString().padStart(8, '0');
  return `${sat < 0 ? '\u2212' : ''}${groupDigits(whole)}.${rest}`;
}

/** The word that follows the figure. */
export function unitWord(sat: number, unit: Unit): string {
  if (unit === 'btc') return 'BTC';
  return Math.abs(sat) === 1 ? 'sat' : 'sats';
}

/** Figure and unit: `1 234 sats`. */
export function amount(sat: number, unit: Unit = 'sat'): string {
  return `${figure(sat, unit)} ${unitWord(sat, unit)}`;
}

/** A fee. Below one sat it is said so, because "0 sats" would be untrue. */
export function fee(msat: string | number | bigint | null | undefined, unit: Unit = 'sat'): string | null {
  const sat = satFromMsat(msat);
  if (sat === null || msat === null || msat === undefined) return null;
  const whole = BigInt(msat);
  if (whole === 0n) return 'Free';
  if (whole < 1000n) return 'less than 1 sat';
  return amount(sat, unit);
}

/** Digits as typed by a person (spaces, dots and commas are only grouping) to sats. `null`: not a whole number. */
export function parseSats(text: string): number | null {
  const digits = text.replace(/[\s\u202f.,'’_]/g, '');
  if (!/^\d{1,16}$/.test(digits)) return null;
  const value = Number(digits);
  // 21 million BTC: nothing above this exists.
  return value <= 21_000_000 * SAT_PER_BTC ? value : null;
}

const plural = (n: number, word: string) => `${n} ${word}${n === 1 ? '' : 's'}`;

/** How long ago, in words: `3 min ago`. Moments in the future count as now (clocks differ a little). */
export function ago(at: number, now: number): string {
  const gone = now - at;
  if (gone < 45 * SECOND) return 'just now';
  if (gone < HOUR) return `${Math.max(1, Math.round(gone / MINUTE))} min ago`;
  if (gone < DAY) return `${Math.round(gone / HOUR)} h ago`;
  return `${plural(Math.round(gone / DAY), 'day')} ago`;
}

/** How long until, in words: `in 3 h`. The past is due. */
export function until(at: number, now: number): string {
  const left = at - now;
  if (left <= 0) return 'due now';
  if (left < MINUTE) return 'in less than a minute';
  if (left < HOUR) return `in ${Math.round(left / MINUTE)} min`;
  if (left < 2 * DAY) return `in ${Math.round(left / HOUR)} h`;
  return `in ${plural(Math.round(left / DAY), 'day')}`;
}

/** A length of time: `0.4 s`, `12 s`, `1 min 5 s`. */
export function duration(ms: number): string {
  if (ms < 100) return `${Math.round(ms)} ms`;
  if (ms < 10 * SECOND) return `${(ms / SECOND).toFixed(1)} s`;
  const seconds = Math.round(ms / SECOND);
  if (seconds < 60) return `${seconds} s`;
  const rest = seconds % 60;
  return rest === 0 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 60)} min ${rest} s`;
}

/** Bytes in decimal units, as iOS counts them: `1.2 MB`. */
export function bytes(count: number): string {
  if (count < 1_000) return plural(count, 'byte');
  const units = ['kB', 'MB', 'GB'] as const;
  let value = count;
  let unit: string = 'bytes';
  for (const next of units) {
    value /= 1_000;
    unit = next;
    if (value < 999.5) break;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

/** The day as a heading: `Today`, `Yesterday`, `12 March`. */
export function day(at: number, now: number): string {
  const midnight = new Date(now);
  midnight.setHours(0, 0, 0, 0);
  if (at >= midnight.getTime()) return 'Today';
  // Days are not always 24 h long; half a day earlier is yesterday in every time zone.
  const yesterday = new Date(midnight.getTime() - 12 * HOUR);
  yesterday.setHours(0, 0, 0, 0);
  if (at >= yesterday.getTime()) return 'Yesterday';
  const sameYear = new Date(at).getFullYear() === new Date(now).getFullYear();
  return new Date(at).toLocaleDateString(undefined, {
    day: 'numeric',
    month: 'long',
    ...(sameYear ? {} : { year: 'numeric' }),
  });
}

/** The time of day: `14:05`, as the system writes it. */
export function clock(at: number): string {
  return new Date(at).toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit' });
}

/** Day and time in full. */
export function moment(at: number): string {
  return new Date(at).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}

/** The ends of a long id: `02ab12…9f3c`. */
export function shortId(id: string, ends = 6): string {
  return id.length <= ends * 2 + 1 ? id : `${id.slice(0, ends)}…${id.slice(-ends)}`;
}

/** Long text without spaces in groups of four, so that an eye can compare it. */
export function inFours(text: string): string[] {
  return text.match(/.{1,4}/g) ?? [];
}

/** Network names as people say them. */
export function networkName(network: string): string {
  const names: Record<string, string> = {
    bitcoin: 'Bitcoin',
    testnet4: 'Testnet',
    signet: 'Signet',
    regtest: 'Local test network',
  };
  return names[network] ?? network;
}
