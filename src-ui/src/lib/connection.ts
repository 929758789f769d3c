/**
 * By which way the chain is heard, in words for the person who chooses. Pure.
 */
import { ApiError, plainWords } from './api';
import type { Connection, ConnectionStatus } from './bindings';

export type Way = Connection['type'];

/** What is said of each way: what it is, and what it costs. */
export const WAYS: readonly { way: Way; name: string; words: string }[] = [
  {
    way: 'automatic',
    name: 'Automatic',
    words:
      'Asks public servers. The fastest way. The server that is asked can tell which payments are yours.',
  },
  {
    way: 'private',
    name: 'Private',
    words:
      'Reads the blocks’ summaries from the Bitcoin network. Nobody learns which payments are yours. Slower, uses more data, and shows a payment only once it is in a block.',
  },
  {
    way: 'own',
    name: 'My own server',
    words: 'Asks one server that you trust, and no other.',
  },
];

/** Whether a way can be chosen on this network, and if not, why. */
export function unavailable(way: Way, status: ConnectionStatus): string | null {
  if (way === 'private' && !status.private)
    return 'Not on this network: it has no peers that could be found.';
  return null;
}

/** The way in a word or two, for the row that leads here. */
export function wayName(choice: Connection): string {
  return WAYS.find(({ way }) => way === choice.type)?.name ?? '';
}

/** Why a choice was not taken, in plain words. What was in use before still is, unless the wallet says otherwise. */
export function refusal(thrown: unknown): string {
  if (!(thrown instanceof ApiError)) return plainWords(thrown);
  switch (thrown.code) {
    case 'invalid_input':
      return 'This is no server address. It looks like https://example.com/api or ssl://example.com:50002.';
    case 'misconfigured':
      return 'This connection would not be encrypted, so others could read along. Use an address that begins with https:// or ssl://.';
    case 'wrong_network':
      return 'This server is for another Bitcoin network than this wallet. Nothing was changed.';
    case 'network_unavailable':
      return 'This server could not be reached. Check the address and your connection. Nothing was changed.';
    case 'sync_timeout':
      return 'This server did not answer in time. Nothing was changed.';
    case 'rate_limited':
      return 'This server asks to be left alone for a while. Try again later. Nothing was changed.';
    case 'chain_sync_failed':
      return 'What answers there is no Bitcoin server of a kind that this wallet knows. Nothing was changed.';
    default:
      return thrown.message;
  }
}
