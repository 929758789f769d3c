import { describe, expect, it } from 'vitest';
import type {
  Balances,
  Breach,
  LightningChannel as Channel,
  Overview,
  Payment,
  SafeUntilReason,
} from './bindings';
import * as d from './derive';
import { amount, moment } from './format';

const HOUR = 3_600_000;
const NOW = 1_800_000_000_000;

const balances = (change: Partial<Balances> = {}): Balances => ({
  total_sat: 100_000,
  lightning_sat: 40_000,
  receivable_sat: 10_000,
  onchain_confirmed_sat: 50_000,
  onchain_pending_sat: 5_000,
  closing_sat: 3_000,
  synced_at_ms: NOW - 180_000,
  ...change,
});
const overview = (change: Partial<Overview> = {}): Overview => ({
  state: 'running',
  network: 'regtest',
  lsp: null,
  node_id: '02aa',
  balances: balances(),
  syncing: false,
  sync_error: null,
  tip_height: 100,
  safe_until: null,
  breaches: [],
  ...change,
});
const channel = (change: Partial<Channel> = {}): Channel => ({
  channel_id: 'aa',
  peer: '02bb',
  capacity_sat: 1_000,
  outbound_msat: '600500',
  inbound_msat: '300000',
  ready: true,
  usable: true,
  funding_txid: null,
  confirmations: 6,
  confirmations_required: 3,
  ...change,
});
const payment = (change: Partial<Payment> = {}): Payment => ({
  id: 'p',
  kind: 'lightning',
  direction: 'sent',
  status: 'succeeded',
  amount_msat: '1000',
  fee_msat: null,
  description: null,
  failure: null,
  created_at_ms: 1,
  updated_at_ms: 2,
  ...change,
});
const offline = {
  code: 'network_unavailable',
  class: 'transient',
  message: 'No network.',
  detail: '',
} as const;

describe('balance', () => {
  it('is unknown until the chain was seen, never zero', () => {
    expect(d.knownBalances(null)).toBeNull();
    expect(d.knownBalances(overview({ balances: null }))).toBeNull();
    expect(
      d.knownBalances(overview({ balances: balances({ synced_at_ms: null, total_sat: 0 }) })),
    ).toBeNull();
    expect(d.knownBalances(overview())?.total_sat).toBe(100_000);
  });

  it('sets aside what no other line names', () => {
    expect(d.setAside(balances())).toBe(2_000);
    expect(d.setAside(balances({ total_sat: 1 }))).toBe(0);
  });
});

describe('status line', () => {
  const two = [channel(), channel({ channel_id: 'bb' })];
  const aged = (hours: number) => overview({ balances: balances({ synced_at_ms: NOW - hours * HOUR }) });

  it('is steady after a fresh check', () => {
    expect(d.flameStatus(overview(), two, NOW)).toEqual({
      tone: 'steady',
      headline: 'Checked 3 min ago',
      detail: '2 channels safe',
    });
    expect(d.flameStatus(overview(), [], NOW).detail).toBeNull();
    expect(d.flameStatus(overview(), [channel({ ready: false })], NOW).detail).toBe('1 opening');
  });

  it.each([
    [11.9, 'steady'],
    [12.1, 'low'],
    [17.9, 'low'],
    [18.1, 'alert'],
  ])('with channels, %d h without a check is %s', (hours, tone) => {
    expect(d.flameStatus(aged(hours), two, NOW).tone).toBe(tone);
  });

  it('does not call channels safe that were not checked', () => {
    expect(d.flameStatus(aged(13), two, NOW).detail).not.toContain('safe');
    expect(d.flameStatus(aged(30), two, NOW).detail).not.toContain('safe');
  });

  it('is never in alarm without channels', () => {
    expect(d.flameStatus(aged(100), [], NOW).tone).toBe('low');
  });

  it('says why a first check failed', () => {
    const never = overview({ balances: balances({ synced_at_ms: null }), sync_error: offline });
    expect(d.flameStatus(never, null, NOW)).toEqual({
      tone: 'low',
      headline: 'Not checked yet',
      detail: 'No network.',
    });
    expect(d.flameStatus({ ...never, syncing: true }, null, NOW).tone).toBe('checking');
  });

  it('shows that it works', () => {
    expect(d.flameStatus(null, null, NOW).tone).toBe('checking');
    expect(d.flameStatus(overview({ state: 'stopped', balances: null }), null, NOW).tone).toBe('checking');
    expect(d.flameStatus(overview({ syncing: true }), two, NOW).headline).toBe('Checking now');
  });

  it('burns low after a failed try', () => {
    expect(d.flameStatus(overview({ sync_error: offline }), [], NOW).tone).toBe('low');
  });
});

describe('activity', () => {
  it('leaves out invoices nobody paid', () => {
    const unpaid = payment({ direction: 'received', status: 'pending' });
    const ended = payment({ direction: 'received', status: 'failed' });
    const paid = payment({ id: 'q', direction: 'received' });
    const arriving = payment({ id: 'r', kind: 'onchain', direction: 'received', status: 'pending' });
    const failed = payment({ id: 's', status: 'failed' });
    const ids = d.activity([unpaid, ended, paid, arriving, failed]).map((p) => p.id);
    expect(ids.sort()).toEqual(['q', 'r', 's']);
  });

  it('puts the newest first, by the moment it was paid', () => {
    const old = payment({ id: 'old', created_at_ms: 50 });
    const late = payment({ id: 'late', direction: 'received', created_at_ms: 1, updated_at_ms: 90 });
    expect(d.activity([old, late]).map((p) => p.id)).toEqual(['late', 'old']);
  });

  it('replaces a payment, but keeps the other side of one to oneself', () => {
    const sent = payment();
    const received = payment({ direction: 'received' });
    const changed = payment({ status: 'failed' });
    expect(d.withPayment([sent, received], changed)).toEqual([changed, received]);
  });

  it('names payments in plain words', () => {
    expect(d.paymentTitle(payment({ description: '  Tea ' }))).toBe('Tea');
    expect(d.paymentTitle(payment({ status: 'failed' }))).toBe('Not sent');
    expect(d.paymentTitle(payment({ direction: 'received' }))).toBe('Received');
    expect(d.paymentAttention(payment())).toBeNull();
    expect(d.paymentAttention(payment({ kind: 'onchain', status: 'pending' }))).toBe('Confirming');
  });

  it('does not count money put into a channel as spent', () => {
    const opened = payment({ kind: 'channel_funding' });
    expect(d.paymentTitle(opened)).toBe('Opened a channel');
    expect(d.paymentTitle({ ...opened, status: 'failed' })).toBe('Channel not opened');
    expect(d.paymentAttention({ ...opened, status: 'pending' })).toBe('Confirming');
    expect(d.FLOW_SIGN[d.paymentFlow(opened)]).toBe('');
    expect(d.FLOW_SIGN[d.paymentFlow(payment({ kind: 'onchain' }))]).toBe('\u2212');
    expect(d.FLOW_SIGN[d.paymentFlow(payment({ direction: 'received' }))]).toBe('+');
  });
});

describe('channels', () => {
  it('says how they are', () => {
    expect(d.channelState(channel()).words).toBe('Ready');
    expect(d.channelState(channel({ usable: false })).words).toBe('Peer is offline');
    const opening = channel({ ready: false, usable: false, confirmations: 9 });
    expect(d.channelState(opening).words).toBe('Opening · 3 of 3 blocks');
    expect(d.channelState({ ...opening, confirmations_required: null }).words).toBe('Opening');
  });
  it('rounds msats down', () => {
    expect(d.channelSides(channel())).toEqual({ send: 600, receive: 300 });
  });
});

describe('a partner that cheats', () => {
  const breach = (change: Partial<Breach>): Breach => ({
    channel_id: 'aa',
    peer: '02bb',
    status: 'securing',
    at_stake_sat: 200_000,
    secured_sat: 0,
    found_at_ms: NOW,
    updated_at_ms: NOW,
    ...change,
  });

  it('is told in plain words, in order, with what is at stake or came home', () => {
    expect(d.breachWords(null)).toEqual([]);
    expect(d.breachWords(overview())).toEqual([]);
    const told = d.breachWords(
      overview({
        breaches: [
          breach({}),
          breach({ channel_id: 'bb', status: 'secured', secured_sat: 199_394 }),
          breach({ channel_id: 'cc', status: 'lost' }),
        ],
      }),
    );
    expect(told.map((t) => [t.id, t.tone])).toEqual([
      ['aa', 'warm'],
      ['bb', 'calm'],
      ['cc', 'bad'],
    ]);
    expect(told[0]?.words).toContain('being secured');
    expect(told[0]?.words).toContain(amount(200_000));
    expect(told[1]?.words).toContain(amount(199_394));
    expect(told[2]?.words).toContain('too late');
  });

  it('names what was taken from it in the list', () => {
    expect(d.paymentTitle(payment({ kind: 'penalty', direction: 'received' }))).toBe(
      'Taken from a partner that cheated',
    );
  });
});

describe('safe until', () => {
  const at = (left: number, reason: SafeUntilReason = 'old_balance') =>
    d.safeUntilWords(overview({ safe_until: { at_ms: NOW + left, height: 2_000, reason } }), NOW);

  it('says nothing when nothing is known or nothing can be lost', () => {
    expect(d.safeUntilWords(null, NOW)).toBeNull();
    expect(d.safeUntilWords(overview(), NOW)).toBeNull();
  });

  it('names the date and the reason, calmly while it is far', () => {
    const far = at(200 * HOUR);
    expect(far?.tone).toBe('calm');
    expect(far?.words).toContain(`Safe until ${moment(NOW + 200 * HOUR)}, `);
    expect(far?.words).toContain('because a peer that closes a channel with an old balance');
    expect(at(200 * HOUR, 'incoming_payment')?.words).toContain('because a payment to you');
  });

  it('says how near it is, and that it is past', () => {
    const near = at(5 * HOUR, 'closing');
    expect(near?.tone).toBe('warm');
    expect(near?.words).toContain('(in 5 h)');
    for (const left of [0, -HOUR]) {
      const past = at(left);
      expect(past?.tone).toBe('bad');
      expect(past?.words).not.toContain('Safe until');
      expect(past?.words).toContain(moment(NOW + left));
    }
  });
});
