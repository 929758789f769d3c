/**
 * The wallet as the screens see it: the last answers of the backend, kept fresh by its events.
 * Owns fetching and coalescing. Does not own what is concluded from it (`derive.ts`) or drawn.
 */
import { api, type Background, plainWords } from './api';
import type {
  Balances,
  LightningChannel as Channel,
  NodeEvent,
  Overview,
  Payment,
  WakeRecord,
} from './bindings';
import { withPayment, withWake } from './derive';
import { prefs } from './prefs.svelte';

/** Relative times are rewritten this often; a minute is the finest that is shown. */
const TICK_MS = 15_000;

/** Runs `work` at once; calls that come meanwhile are answered by one more run after it. */
export function coalesced(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null;
  let again: Promise<void> | null = null;
  const run = (): Promise<void> => {
    if (running === null) {
      running = work().finally(() => {
        running = null;
      });
      return running;
    }
    again ??= running
      .catch(() => undefined)
      .then(() => {
        again = null;
        return run();
      });
    return again;
  };
  return run;
}

function sameLightning(a: Balances | null, b: Balances | null): boolean {
  return a?.lightning_sat === b?.lightning_sat && a?.receivable_sat === b?.receivable_sat;
}

export class Wallet {
  overview = $state.raw<Overview | null>(null);
  payments = $state.raw<Payment[] | null>(null);
  channels = $state.raw<Channel[] | null>(null);
  wakes = $state.raw<WakeRecord[] | null>(null);
  background = $state.raw<Background | null>(null);
  /** Why the backend could not even be asked, in plain words. */
  failure = $state<string | null>(null);
  /** The newest payment that came in while the app was open. */
  arrived = $state.raw<Payment | null>(null);
  now = $state(Date.now());

  refreshOverview = coalesced(async () => {
    try {
      const overview = await api.overview();
      if (this.overview !== null && this.overview.network !== overview.network) this.#forget();
      this.overview = overview;
      this.failure = null;
    } catch (error) {
      this.failure = plainWords(error);
    }
  });

  refreshPayments = coalesced(() =>
    this.#whenRunning(api.payments, (payments) => {
      this.payments = payments;
    }),
  );

  refreshChannels = coalesced(() =>
    this.#whenRunning(api.channels, (channels) => {
      this.channels = channels;
    }),
  );

  refreshWakes = coalesced(async () => {
    const network = this.overview?.network;
    const [wakes, background] = await Promise.allSettled([api.wakes(), api.background()]);
    if (this.overview?.network !== network) return;
    if (wakes.status === 'fulfilled') this.wakes = [...wakes.value].sort((a, b) => b.id - a.id);
    else this.wakes ??= [];
    if (background.status === 'fulfilled') this.background = background.value;
  });

  /** Listens first, then asks, so that nothing falls between. Returns the end of it. */
  async start(): Promise<() => void> {
    const stopListening = await api.onNodeEvent((event) => this.take(event));
    const timer = setInterval(() => {
      this.now = Date.now();
      // Normally an event says when the node is up; a missed one must not leave the person waiting.
      if (this.overview?.state !== 'running') void this.refreshAll();
    }, TICK_MS);
    await this.refreshAll();
    return () => {
      clearInterval(timer);
      stopListening();
    };
  }

  async refreshAll(): Promise<void> {
    await this.refreshOverview();
    await Promise.all([this.refreshPayments(), this.refreshChannels(), this.refreshWakes()]);
  }

  /** Another network's wallet takes the place of this one; what is known of this one is forgotten. */
  async chooseNetwork(network: string): Promise<void> {
    await api.chooseNetwork(network);
    // Of the other wallet's words nothing is known.
    prefs.set('wordsConfirmed', false);
    await this.refreshAll();
  }

  #forget(): void {
    this.payments = null;
    this.channels = null;
    this.wakes = null;
    this.arrived = null;
  }

  /** One event of the backend. */
  take(event: NodeEvent): void {
    this.now = Date.now();
    switch (event.type) {
      case 'overview_changed':
        void this.#overviewChanged();
        break;
      case 'payment_changed':
        this.#paymentChanged(event.payment);
        void this.refreshOverview();
        break;
      case 'channels_changed':
        void this.refreshChannels();
        void this.refreshOverview();
        break;
      case 'safe_until_changed':
        if (this.overview !== null) this.overview = { ...this.overview, safe_until: event.safe_until };
        break;
      case 'breach_changed':
        void this.refreshOverview();
        void this.refreshPayments();
        break;
      case 'wake_started':
        this.wakes = withWake(this.wakes ?? [], event.record);
        break;
      case 'background_sync_completed':
        this.wakes = withWake(this.wakes ?? [], event.record);
        void this.refreshOverview();
        void this.refreshWakes();
        break;
    }
  }

  /**
   * A node that just came up, or saw new blocks, may have news in every list. The two ends of a channel go on exchanging
   * after a payment is done; the node says each time when a balance settled, and then the channels have changed as well.
   */
  async #overviewChanged(): Promise<void> {
    const before = this.overview;
    await this.refreshOverview();
    const after = this.overview;
    if (after?.state !== 'running') return;
    const cameUp = before?.state !== 'running';
    if (cameUp || before?.balances?.synced_at_ms !== after.balances?.synced_at_ms) {
      void this.refreshPayments();
      void this.refreshChannels();
    } else if (!sameLightning(before?.balances ?? null, after.balances)) {
      void this.refreshChannels();
    }
    if (cameUp) void this.refreshWakes();
  }

  #paymentChanged(payment: Payment): void {
    const known = this.payments?.find((p) => p.id === payment.id && p.direction === payment.direction);
    this.payments = withPayment(this.payments ?? [], payment);
    const settled =
      payment.status === 'succeeded' || (payment.kind !== 'lightning' && payment.status === 'pending');
    if (payment.direction === 'received' && settled && known?.status !== payment.status) {
      this.arrived = payment;
    }
  }

  /** Lists of a node that does not run cannot be asked for; what is known stays. */
  async #whenRunning<T>(fetch: () => Promise<T>, take: (list: T) => void): Promise<void> {
    if (this.overview?.state !== 'running') return;
    const { network } = this.overview;
    try {
      const list = await fetch();
      // What comes late may be another wallet's.
      if (this.overview?.network === network) take(list);
    } catch {
      // The overview carries the error that a person should see; a list merely stays as it was.
    }
  }
}

export const wallet = new Wallet();
