/**
 * The one door to the backend: the generated bindings with results unwrapped into promises that reject with `ApiError`.
 * Screens and stores import `api` only, so that tests and the browser demo can put another backend behind it.
 */

import type {
  BackgroundStatus,
  BlockerCode,
  LightningChannel as Channel,
  Connection,
  ConnectionStatus,
  Destination,
  ErrorClass,
  ErrorCode,
  ErrorReport,
  GrantKind,
  Invoice,
  Networks,
  NodeEvent,
  Overview,
  Payment,
  WakeRecord,
} from './bindings';
import * as bindings from './bindings';

/** When the next wakes may come, and who decides. */
export interface Background {
  /** Wakes come from our own timer (desktop), not from iOS. Then they can be simulated by hand too. */
  simulated: boolean;
  /** The earliest moment of the next wake. */
  nextAtMs: number | null;
  /** The weightiest thing that keeps wakes from coming. */
  blocker: BlockerCode | null;
}

/** What the UI can ask of the wallet. Amounts in sats, msats as bigint. */
export interface Api {
  overview(): Promise<Overview>;
  createWallet(wordCount: 12 | 24, passphrase: string): Promise<string[]>;
  restoreWallet(words: string, passphrase: string): Promise<void>;
  revealWords(): Promise<string[]>;
  newAddress(): Promise<string>;
  /** `null`: everything there is. Resolves to the transaction id. */
  sendOnchain(address: string, amountSat: number | null): Promise<string>;
  parseDestination(text: string): Promise<Destination>;
  createInvoice(amountSat: number | null, description: string): Promise<Invoice>;
  /** Resolves to the payment's id as soon as it is under way; events tell the rest. */
  pay(bolt11: string, amountSat: number | null): Promise<string>;
  payments(): Promise<Payment[]>;
  channels(): Promise<Channel[]>;
  connectPeer(address: string): Promise<void>;
  openChannel(peerAddress: string, amountSat: number): Promise<void>;
  closeChannel(channelId: string, force: boolean): Promise<void>;
  connection(): Promise<ConnectionStatus>;
  /** Resolves when the wallet runs with it. Rejects, and changes nothing, if it cannot be used. */
  chooseConnection(choice: Connection): Promise<void>;
  /** What can be chosen, and what is in use. */
  networks(): Promise<Networks>;
  /** Resolves when that network's wallet, or its lack, is what is in use. Rejects, and changes nothing, if it may not. */
  chooseNetwork(network: string): Promise<void>;
  syncNow(): Promise<void>;
  wakes(): Promise<WakeRecord[]>;
  background(): Promise<Background>;
  /** Resolves when the wake is under way; events tell how it goes. `false`: one was under way already. */
  wakeNow(): Promise<boolean>;
  /** As `wakeNow`, with as much time as it takes; goes on when the app is left, where the system lets it. */
  fullCheck(): Promise<boolean>;
  simulateLaunch(kind: GrantKind): Promise<boolean>;
  /** `false`: nothing was running. */
  simulateExpiration(): Promise<boolean>;
  onNodeEvent(handler: (event: NodeEvent) => void): Promise<() => void>;
}

/** An error of the backend: `message` is for people, `detail` for developers. */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly code: ErrorCode;
  readonly class: ErrorClass;
  readonly detail: string;

  constructor(report: ErrorReport) {
    super(report.message);
    this.code = report.code;
    this.class = report.class;
    this.detail = report.detail;
  }
}

/** Plain words for anything that was thrown. */
export function plainWords(thrown: unknown): string {
  if (thrown instanceof ApiError) return thrown.message;
  return 'Something went wrong inside the app. Nothing was lost; try again.';
}

type Answer<T> = { status: 'ok'; data: T } | { status: 'error'; error: ErrorReport };

async function unwrap<T>(call: Promise<Answer<T>>): Promise<T> {
  const answer = await call;
  if (answer.status === 'ok') return answer.data;
  // Tauri itself rejects with bare strings (an unknown command, arguments that do not fit): never words for people.
  if (typeof answer.error !== 'object') throw new Error(String(answer.error));
  throw new ApiError(answer.error);
}

const msat = (sat: number | null) => (sat === null ? null : (BigInt(sat) * 1000n).toString());

/** What a person needs of the plugin's status. */
export function background(status: BackgroundStatus): Background {
  const due = status.tasks.map((task) => task.earliestAtMs).filter((at) => at !== null);
  return {
    simulated: status.backend === 'simulated',
    nextAtMs: due.length > 0 ? Math.min(...due) : null,
    blocker: status.blockers[0]?.code ?? null,
  };
}

/** The real backend, over Tauri. */
export const tauriApi: Api = {
  overview: () => unwrap(bindings.commands.overview()),
  createWallet: (wordCount, passphrase) => unwrap(bindings.commands.createWallet(wordCount, passphrase)),
  restoreWallet: async (words, passphrase) => {
    await unwrap(bindings.commands.restoreWallet(words, passphrase));
  },
  revealWords: () => unwrap(bindings.commands.revealWords()),
  newAddress: () => unwrap(bindings.commands.newAddress()),
  sendOnchain: (address, amountSat) => unwrap(bindings.commands.sendOnchain(address, amountSat)),
  parseDestination: (text) => unwrap(bindings.commands.parseDestination(text)),
  createInvoice: (amountSat, description) =>
    unwrap(bindings.commands.createInvoice(msat(amountSat), description)),
  pay: (bolt11, amountSat) => unwrap(bindings.commands.pay(bolt11, msat(amountSat))),
  payments: () => unwrap(bindings.commands.payments()),
  channels: () => unwrap(bindings.commands.channels()),
  connectPeer: async (address) => {
    await unwrap(bindings.commands.connectPeer(address));
  },
  openChannel: async (peerAddress, amountSat) => {
    await unwrap(bindings.commands.openChannel(peerAddress, amountSat));
  },
  closeChannel: async (channelId, force) => {
    await unwrap(bindings.commands.closeChannel(channelId, force));
  },
  connection: () => unwrap(bindings.commands.connection()),
  chooseConnection: async (choice) => {
    await unwrap(bindings.commands.chooseConnection(choice));
  },
  networks: () => unwrap(bindings.commands.networks()),
  chooseNetwork: async (network) => {
    await unwrap(bindings.commands.chooseNetwork(network));
  },
  syncNow: async () => {
    await unwrap(bindings.commands.syncNow());
  },
  wakes: () => unwrap(bindings.commands.wakes()),
  background: async () => {
    return background(await unwrap(bindings.commands.backgroundStatus()));
  },
  wakeNow: () => unwrap(bindings.commands.wakeNow()),
  fullCheck: () => unwrap(bindings.commands.fullCheck()),
  simulateLaunch: (kind) => unwrap(bindings.commands.simulateLaunch(kind)),
  simulateExpiration: () => unwrap(bindings.commands.simulateExpiration()),
  onNodeEvent: (handler) => bindings.events.nodeEvent.listen((event) => handler(event.payload)),
};

/** The backend in use. */
export let api: Api = tauriApi;

/** Puts another backend in place: tests and the browser demo. */
export function useApi(other: Api): void {
  api = other;
}
