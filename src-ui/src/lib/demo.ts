/**
 * A make-believe backend for `vite dev` in a plain browser and for tests. Never part of a production build:
 * `main.ts` imports it only under `import.meta.env.DEV`.
 *
 * `?demo=new` (no wallet), `empty` (wallet, no money), `full` (default), `unknown` (never synced), `offline`, `stale`, `locked`.
 * Where the person chooses the network: `choice` (no wallet), `computer` (no wallet, no real money), `practice` and `real`.
 */
import { type Api, ApiError } from './api';
import type {
  LightningChannel as Channel,
  Connection,
  ErrorReport,
  GrantKind,
  NodeEvent,
  Overview,
  Payment,
  StageRecord,
  WakeRecord,
} from './bindings';
import { satFromMsat } from './format';

export type Scenario =
  | 'new'
  | 'empty'
  | 'full'
  | 'unknown'
  | 'offline'
  | 'stale'
  | 'locked'
  | 'choice'
  | 'computer'
  | 'practice'
  | 'real';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** What 1872 blocks are reckoned as at least. */
const SAFE_FOR = 232 * HOUR;
const WORDS = 'legal winner thank year wave sausage worth useful legal winner thank yellow'.split(' ');
const NODE = '03a1f5d2c94be08f6a7c3b1d90e2f4857766554433221100ffeeddccbbaa998877';
const LSP = '02c7e4b86f10a2d3958471b6c0fe9d8a7b6c5d4e3f201122334455667788990011';
const ADDRESS = 'bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080';

const OFFLINE: ErrorReport = {
  code: 'network_unavailable',
  class: 'transient',
  message: 'The network could not be reached. Check your connection and try again.',
  detail: 'tcp connect error',
};

const hex = () =>
  [...crypto.getRandomValues(new Uint8Array(32))].map((b) => b.toString(16).padStart(2, '0')).join('');
const wait = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));
const fail = (code: ErrorReport['code'], message: string): never => {
  throw new ApiError({ code, class: 'config', message, detail: 'demo' });
};

function stages(spans: [StageRecord['name'], number, StageRecord['end']?][]): StageRecord[] {
  let at = 0;
  return spans.map(([name, duration_ms, end = 'done']) => {
    const blocks = name === 'chain' && end === 'done' ? 3 : null;
    const stage = { name, started_ms: at, duration_ms, end, error: null, checkpoint: end === 'done', blocks };
    at += duration_ms;
    return stage;
  });
}

function wake(id: number, startedAt: number, change: Partial<WakeRecord> = {}): WakeRecord {
  const parts =
    change.stages ??
    stages([
      ['open', 180],
      ['chain', 1340],
      ['peers', 620],
      ['events', 45, 'nothing_to_do'],
      ['sweep', 12, 'nothing_to_do'],
      ['report', 38],
    ]);
  const took = parts.reduce((sum, s) => sum + s.duration_ms, 0);
  return {
    id,
    kind: 'refresh',
    reason: 'simulated',
    grant_ms: 30_000,
    level: 'full',
    conditions: { network: 'unmetered', on_power: false, low_power: false, available_memory: null },
    degraded: [],
    wants_processing: false,
    joined: false,
    started_at_ms: startedAt,
    finished_at_ms: startedAt + took,
    outcome: 'completed',
    error: null,
    stages: parts,
    last_sync: startedAt + took,
    sync_duration: took,
    blocks_synced: 3,
    channels_updated: 2,
    graph_channels_updated: 0,
    tip_height: 184 + id,
    requests: 14,
    bytes_in: 148_200,
    bytes_out: 21_700,
    peak_memory: 61_300_000,
    cpu_ms: 410,
    next_at_ms: startedAt + 2 * HOUR,
    safe_until_ms: startedAt + took + SAFE_FOR,
    safe_until_reason: 'old_balance',
    reports: [],
    ...change,
  };
}

const channel = (change: Partial<Channel>): Channel => ({
  channel_id: hex(),
  peer: LSP,
  capacity_sat: 500_000,
  outbound_msat: '312450000',
  inbound_msat: '177550000',
  ready: true,
  usable: true,
  funding_txid: hex(),
  confirmations: 42,
  confirmations_required: 3,
  ...change,
});

const payment = (change: Partial<Payment>): Payment => {
  const at = change.created_at_ms ?? Date.now();
  return {
    id: hex(),
    kind: 'lightning',
    direction: 'sent',
    status: 'succeeded',
    amount_msat: '21000000',
    fee_msat: null,
    description: null,
    failure: null,
    created_at_ms: at,
    updated_at_ms: at,
    ...change,
  };
};

/** A demo backend in the given situation. `pace` stretches or shrinks its waits; tests use 0. */
export function demoApi(scenario: Scenario, pace = 1): Api {
  const now = Date.now();
  const handlers = new Set<(event: NodeEvent) => void>();
  const emit = (event: NodeEvent) => {
    for (const handler of handlers) handler(event);
  };
  const pause = (ms: number) => wait(ms * pace);
  const rich = ['full', 'offline', 'stale', 'practice', 'real'].includes(scenario);
  const settled = !['choice', 'computer', 'practice', 'real'].includes(scenario);
  const fresh = ['new', 'choice', 'computer'].includes(scenario);
  let network = settled ? 'regtest' : scenario === 'real' ? 'bitcoin' : 'signet';

  let state: Overview['state'] = fresh ? 'none' : scenario === 'locked' ? 'locked' : 'running';
  let syncedAt: number | null =
    scenario === 'unknown' ? null : scenario === 'stale' ? now - 19 * HOUR : now - 3 * MINUTE;
  let syncing = scenario === 'unknown';
  let syncError: ErrorReport | null = scenario === 'offline' ? OFFLINE : null;
  let lightning = rich ? 457_450 : 0;
  let onchain = rich ? 803_112 : 0;
  const pending = 0;
  let connection: Connection = { type: 'automatic' };
  let nextAt = now + 4.6 * HOUR;

  let channels: Channel[] = rich
    ? [
        channel({}),
        channel({
          capacity_sat: 250_000,
          outbound_msat: '145000000',
          inbound_msat: '100000000',
          peer: hex().padEnd(66, 'a'),
        }),
      ]
    : [];
  let payments: Payment[] = rich
    ? [
        payment({
          direction: 'received',
          amount_msat: '48000000',
          description: 'Concert tickets',
          created_at_ms: now - 12 * MINUTE,
        }),
        payment({
          amount_msat: '3200000',
          fee_msat: '3400',
          description: 'Coffee, Bar Lumen',
          created_at_ms: now - 3 * HOUR,
        }),
        payment({
          kind: 'onchain',
          direction: 'sent',
          status: 'pending',
          amount_msat: '120000000',
          fee_msat: '420000',
          created_at_ms: now - 5 * HOUR,
        }),
        payment({
          amount_msat: '150000000',
          status: 'failed',
          failure: 'No way to the payee was found. Try a smaller amount, or later.',
          description: 'Rent share',
          created_at_ms: now - 26 * HOUR,
        }),
        payment({
          amount_msat: '18900000',
          fee_msat: '900',
          description: 'Bicycle repair',
          created_at_ms: now - 30 * HOUR,
        }),
        payment({
          kind: 'channel_funding',
          amount_msat: '500000000',
          fee_msat: '306000',
          created_at_ms: now - 78 * HOUR,
        }),
        payment({
          kind: 'onchain',
          direction: 'received',
          amount_msat: '1000000000',
          created_at_ms: now - 80 * HOUR,
        }),
      ]
    : [];
  let wakes: WakeRecord[] = rich
    ? [
        wake(9, now - 24 * MINUTE),
        wake(8, now - 5 * HOUR, { kind: 'processing', grant_ms: 300_000, blocks_synced: 31 }),
        wake(7, now - 10 * HOUR, {
          outcome: 'expired',
          blocks_synced: 0,
          channels_updated: 0,
          stages: stages([
            ['open', 210],
            ['chain', 24_600, 'timed_out'],
            ['report', 40],
          ]),
          error: {
            ...OFFLINE,
            code: 'sync_timeout',
            message: 'Syncing took too long. What was done is kept; the next try goes on from there.',
          },
        }),
        wake(6, now - 15 * HOUR, { outcome: 'partial' }),
        wake(5, now - 20 * HOUR, { reason: 'person' }),
        wake(4, now - 26 * HOUR, {
          outcome: 'cut_off',
          finished_at_ms: null,
          stages: stages([['open', 160]]),
        }),
      ]
    : [];

  const overview = (): Overview => ({
    state,
    network,
    lsp: `${LSP}@203.0.113.7:9735`,
    node_id: state === 'running' ? NODE : null,
    balances:
      state === 'running'
        ? {
            total_sat: lightning + onchain + pending + (rich ? 7_500 : 0),
            lightning_sat: lightning,
            receivable_sat: rich ? 277_550 : 0,
            onchain_confirmed_sat: onchain,
            onchain_pending_sat: pending,
            closing_sat: 0,
            synced_at_ms: syncedAt,
          }
        : null,
    syncing,
    sync_error: syncError,
    tip_height: syncedAt === null ? null : 193,
    breaches: [],
    safe_until:
      syncedAt === null || channels.length === 0
        ? null
        : { at_ms: syncedAt + SAFE_FOR, height: 193 + 1872, reason: 'old_balance' },
  });

  const paymentChanged = (changed: Payment) => {
    payments = [changed, ...payments.filter((p) => p.id !== changed.id)];
    emit({ type: 'payment_changed', payment: changed });
    emit({ type: 'overview_changed' });
  };

  const runWake = async (kind: GrantKind, reason: WakeRecord['reason']) => {
    const id = (wakes[0]?.id ?? 0) + 1;
    const started = Date.now();
    const begun = wake(id, started, {
      kind,
      reason,
      outcome: 'in_progress',
      finished_at_ms: null,
      stages: [],
      blocks_synced: 0,
      sync_duration: 0,
    });
    wakes = [begun, ...wakes];
    emit({ type: 'wake_started', record: begun });
    await pause(2200);
    syncedAt = Date.now();
    nextAt = syncedAt + 2 * HOUR;
    const record = wake(id, started, {
      kind,
      reason,
      grant_ms: kind === 'refresh' ? 30_000 : 300_000,
      blocks_synced: 1,
    });
    wakes = wakes.map((w) => (w.id === id ? record : w));
    emit({ type: 'background_sync_completed', record });
  };

  return {
    overview: async () => overview(),
    createWallet: async (count) => {
      await pause(500);
      state = 'running';
      setTimeout(() => emit({ type: 'overview_changed' }), 10);
      return count === 12 ? [...WORDS] : [...WORDS, ...WORDS];
    },
    restoreWallet: async (words) => {
      await pause(900);
      if (words.split(' ').length < 12)
        fail('invalid_mnemonic', 'These recovery words are not right. Check the spelling and the order.');
      state = 'running';
      syncedAt = null;
      syncing = true;
      emit({ type: 'overview_changed' });
      setTimeout(() => {
        syncing = false;
        syncedAt = Date.now();
        emit({ type: 'overview_changed' });
      }, 4000 * pace);
    },
    revealWords: async () => [...WORDS],
    newAddress: async () => {
      await pause(150);
      return ADDRESS;
    },
    sendOnchain: async (_address, amountSat) => {
      await pause(1500);
      const sat = amountSat ?? onchain;
      if (sat > onchain)
        fail('insufficient_funds', 'There is not enough money for this, fees and reserves included.');
      onchain -= sat;
      const made = payment({
        kind: 'onchain',
        status: 'pending',
        amount_msat: `${sat}000`,
        fee_msat: '311000',
      });
      paymentChanged(made);
      return made.id;
    },
    parseDestination: async (text) => {
      await pause(200);
      const said = text
        .trim()
        .toLowerCase()
        .replace(/^(lightning|bitcoin):/, '');
      if (said.startsWith('lnbc')) {
        return {
          type: 'bolt11',
          bolt11: said,
          amount_msat: said.includes('any') ? null : '25000000',
          description: 'Two tickets, Kino Arsenal',
          expires_at_ms: Date.now() + HOUR,
          payee: LSP,
        };
      }
      if (said.startsWith('bcrt1')) return { type: 'onchain', address: said, amount_sat: null };
      if (said.startsWith('bc1'))
        return fail('wrong_network', 'This is for another Bitcoin network than this wallet.');
      return fail('invalid_input', 'This could not be understood. Check it and try again.');
    },
    createInvoice: async (amountSat, description) => {
      await pause(250);
      const id = hex();
      setTimeout(() => {
        lightning += amountSat ?? 21_000;
        paymentChanged(
          payment({
            id,
            direction: 'received',
            amount_msat: `${amountSat ?? 21_000}000`,
            description: description || null,
          }),
        );
      }, 7000 * pace);
      return {
        bolt11: `lnbcrt${amountSat ?? ''}1pj9x3zqpp5${hex()}dqqcqzzsxqyz5vqsp5${hex()}9qxpqysgq${hex()}${hex()}`,
        payment_hash: id,
        expires_at_ms: Date.now() + HOUR,
      };
    },
    pay: async (bolt11, amountSat) => {
      const sat = amountSat ?? 25_000;
      await pause(300);
      const made = payment({
        status: 'pending',
        amount_msat: `${sat}000`,
        description: 'Two tickets, Kino Arsenal',
      });
      paymentChanged(made);
      setTimeout(() => {
        if (bolt11.includes('fail')) {
          paymentChanged({
            ...made,
            status: 'failed',
            failure: 'No way to the payee was found. Try a smaller amount, or later.',
          });
          return;
        }
        lightning -= satFromMsat(made.amount_msat) ?? 0;
        paymentChanged({ ...made, status: 'succeeded', fee_msat: '12400', updated_at_ms: Date.now() });
      }, 2500 * pace);
      return made.id;
    },
    payments: async () => [...payments],
    channels: async () => [...channels],
    connectPeer: async () => pause(400),
    openChannel: async (peerAddress, amountSat) => {
      await pause(900);
      if (!peerAddress.includes('@'))
        fail('invalid_input', 'This could not be understood. Check it and try again.');
      channels = [
        channel({
          peer: peerAddress.split('@')[0] ?? LSP,
          capacity_sat: amountSat,
          outbound_msat: '0',
          inbound_msat: '0',
          ready: false,
          usable: false,
          confirmations: 0,
        }),
        ...channels,
      ];
      onchain = Math.max(0, onchain - amountSat);
      emit({ type: 'channels_changed' });
      paymentChanged(
        payment({
          kind: 'channel_funding',
          status: 'pending',
          amount_msat: `${amountSat}000`,
          fee_msat: '306000',
        }),
      );
    },
    closeChannel: async (channelId) => {
      await pause(700);
      channels = channels.filter((c) => c.channel_id !== channelId);
      emit({ type: 'channels_changed' });
    },
    connection: async () => ({
      choice: connection,
      servers: ['https://blockstream.info/signet/api', 'https://mempool.space/signet/api'],
      private: true,
    }),
    chooseConnection: async (choice) => {
      await pause(1400);
      if (choice.type === 'own' && !choice.url.includes('.'))
        fail('invalid_input', 'This could not be understood.');
      if (choice.type === 'own' && choice.url.includes('wrong'))
        fail('wrong_network', 'This is for another Bitcoin network than this wallet.');
      connection = choice;
      emit({ type: 'overview_changed' });
    },
    networks: async () => {
      const refusal = (code: ErrorReport['code'], message: string): ErrorReport => ({
        code,
        class: 'config',
        message,
        detail: 'demo',
      });
      const stays = refusal(
        'real_money_stays',
        'There is a wallet with real bitcoin here. It must be watched, so it stays the one in use.',
      );
      const elsewhere = refusal(
        'real_money_elsewhere',
        'Real bitcoin is for the iPhone app: a computer could not keep your recovery words safe enough.',
      );
      const real = network === 'bitcoin';
      return {
        current: network,
        settled,
        offered: settled
          ? []
          : [
              { network: 'signet', real: false, refused: real && state !== 'none' ? stays : null },
              { network: 'bitcoin', real: true, refused: scenario === 'computer' ? elsewhere : null },
            ],
      };
    },
    chooseNetwork: async (wanted) => {
      await pause(900);
      network = wanted;
      state = 'none';
      channels = [];
      payments = [];
      wakes = [];
      emit({ type: 'overview_changed' });
    },
    syncNow: async () => {
      syncing = true;
      emit({ type: 'overview_changed' });
      await pause(1600);
      syncing = false;
      if (scenario === 'offline') {
        syncError = OFFLINE;
        emit({ type: 'overview_changed' });
        throw new ApiError(OFFLINE);
      }
      syncedAt = Date.now();
      emit({ type: 'overview_changed' });
    },
    wakes: async () => [...wakes],
    background: async () => ({ simulated: true, nextAtMs: nextAt, blocker: null }),
    wakeNow: async () => {
      void runWake('refresh', 'person');
      return true;
    },
    fullCheck: async () => {
      void runWake('processing', 'person');
      return true;
    },
    simulateLaunch: async (kind) => {
      void runWake(kind, 'simulated');
      return true;
    },
    simulateExpiration: async () => wakes[0]?.outcome === 'in_progress',
    onNodeEvent: async (handler) => {
      handlers.add(handler);
      return () => handlers.delete(handler);
    },
  };
}
