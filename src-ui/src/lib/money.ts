/**
 * Practice or real bitcoin, in words for the person who chooses. Pure.
 */
import type { NetworkOffer, Networks } from './bindings';
import { networkName } from './format';

/** What is said of each kind of money before it is chosen. */
export const KINDS = {
  practice: {
    name: 'Practice',
    words: 'Test coins, no value. Everything works as with real ones.',
  },
  real: {
    name: 'Real bitcoin',
    words: 'Real money, from the first coin on.',
  },
} as const;

/** What somebody should know before real money. Icons are those of `Icon`. */
export const REAL_MONEY = [
  {
    icon: 'warning',
    words: 'This app is new, and was tried on hardly any phone. It may have faults that lose money.',
  },
  { icon: 'bolt', words: 'Put in no more than you could bear to lose.' },
  {
    icon: 'key',
    words:
      'Your recovery words are the only way back. They bring back coins on the chain; money in channels needs this phone.',
  },
  {
    icon: 'eye',
    words:
      'A wallet with real bitcoin must be watched, so it stays the one in use. You cannot go back to practice then.',
  },
] as const;

/** And what becomes of the practice wallet. */
export const PRACTICE_LEFT =
  'Your practice wallet stays on this phone, but nobody watches it while real bitcoin is in use.';

/** The kind of money of a network that people choose; `null` for one that developers do. */
export function kindOf(network: string): 'practice' | 'real' | null {
  if (network === 'bitcoin') return 'real';
  return network === 'signet' || network === 'testnet4' ? 'practice' : null;
}

/** What marks a wallet whose coins are worth nothing. */
export const PRACTICE_MARK = 'Practice coins, no value';

/** The mark of a network's wallet, if its coins are worth nothing. */
export function practiceMark(network: string): string | null {
  return kindOf(network) === 'practice' ? PRACTICE_MARK : null;
}

/** What the money of a network is worth, for a person about to make or restore a wallet there. */
export function networkWords(network: string): { words: string; real: boolean } | null {
  switch (network) {
    case 'bitcoin':
      return {
        words: 'Real bitcoin. This app is new: begin with no more than you could bear to lose.',
        real: true,
      };
    case 'signet':
    case 'testnet4':
      return {
        words: `A practice wallet: its coins are worth nothing. (${networkName(network)})`,
        real: false,
      };
    case 'regtest':
      return { words: 'Local test network: play money on this computer.', real: false };
    default:
      return null;
  }
}

/** What is asked for at the beginning: what is in use, or practice where that is none of the two. */
export function preselected(networks: Networks): NetworkOffer | null {
  const { current, offered } = networks;
  return offered.find(({ network }) => network === current) ?? offered.find(({ real }) => !real) ?? null;
}

/** What Settings says of the wallet's money: its kind, and whether there is something to choose. */
export function moneyRow(
  network: string,
  networks: Networks | null,
): { label: string; value: string; hint: string | undefined; leads: boolean } {
  const kind = kindOf(network);
  if (networks === null || networks.settled || kind === null)
    return { label: 'Network', value: networkName(network), hint: undefined, leads: false };
  return { label: 'Money', value: KINDS[kind].name, hint: networkName(network), leads: true };
}
