import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Api, ApiError, background, plainWords, useApi } from './api';
import type { BackgroundStatus, NodeEvent, Payment } from './bindings';
import { demoApi } from './demo';
import { coalesced, Wallet } from './state.svelte';

afterEach(() => vi.useRealTimers());

/** The demo backend with parts replaced, and a way to send its events. */
function rigged(change: Partial<Api>): { send: (event: NodeEvent) => void } {
  let send: (event: NodeEvent) => void = () => undefined;
  useApi({
    ...demoApi('full', 0),
    onNodeEvent: async (handler) => {
      send = handler;
      return () => undefined;
    },
    ...change,
  });
  return { send: (event) => send(event) };
}

describe('coalesced', () => {
  it('answers any number of calls during a run by one more run', async () => {
    let runs = 0;
    const releases: (() => void)[] = [];
    const run = coalesced(() => {
      runs += 1;
      return new Promise((done) => releases.push(done));
    });
    const first = run();
    const later = [run(), run(), run()];
    expect(runs).toBe(1);
    releases[0]?.();
    await first;
    await vi.waitFor(() => expect(runs).toBe(2));
    releases[1]?.();
    await Promise.all(later);
    expect(runs).toBe(2);
  });

  it('runs again after a failure', async () => {
    let runs = 0;
    const run = coalesced(async () => {
      runs += 1;
      if (runs === 1) throw new Error('once');
    });
    await expect(run()).rejects.toThrow('once');
    await run();
    expect(runs).toBe(2);
  });
});

describe('wallet', () => {
  it('fetches everything at the start', async () => {
    rigged({});
    const wallet = new Wallet();
    const stop = await wallet.start();
    expect(wallet.overview?.state).toBe('running');
    expect(wallet.payments?.length).toBeGreaterThan(0);
    expect(wallet.channels).toHaveLength(2);
    expect(wallet.wakes?.map((w) => w.id)).toEqual([9, 8, 7, 6, 5, 4]);
    expect(wallet.background?.simulated).toBe(true);
    stop();
  });

  it('keeps nothing of another network\u2019s wallet, and takes nothing of it that comes late', async () => {
    const [one, other] = [demoApi('full', 0), demoApi('choice', 0)];
    let changed = false;
    const late: ((payments: Payment[]) => void)[] = [];
    const { send } = rigged({
      overview: () => (changed ? other.overview() : one.overview()),
      payments: () => new Promise((answer) => late.push(answer)),
    });
    const wallet = new Wallet();
    const starting = wallet.start();
    await vi.waitFor(() => expect(late).toHaveLength(1));
    changed = true;
    send({ type: 'overview_changed' });
    await vi.waitFor(() => expect(wallet.overview?.network).toBe('signet'));
    late[0]?.(await one.payments());
    const stop = await starting;
    expect(wallet.payments).toBeNull();
    expect(wallet.channels).toBeNull();
    stop();
  });

  it('does not ask a node that does not run for its lists', async () => {
    const payments = vi.fn(async () => []);
    const none = demoApi('new', 0);
    rigged({ overview: none.overview, payments });
    const wallet = new Wallet();
    const stop = await wallet.start();
    expect(wallet.overview?.state).toBe('none');
    expect(payments).not.toHaveBeenCalled();
    expect(wallet.payments).toBeNull();
    stop();
  });

  it('fetches the lists as soon as the node runs', async () => {
    let state: 'stopped' | 'running' = 'stopped';
    const full = demoApi('full', 0);
    const { send } = rigged({ overview: async () => ({ ...(await full.overview()), state }) });
    const wallet = new Wallet();
    const stop = await wallet.start();
    expect(wallet.channels).toBeNull();
    state = 'running';
    send({ type: 'overview_changed' });
    await vi.waitFor(() => expect(wallet.channels).toHaveLength(2));
    stop();
  });

  it('reads the lists again after a sync, because blocks confirm payments', async () => {
    const full = demoApi('full', 0);
    let syncedAt = 1;
    const payments = vi.fn(full.payments);
    const { send } = rigged({
      payments,
      overview: async () => {
        const now = await full.overview();
        return { ...now, balances: now.balances && { ...now.balances, synced_at_ms: syncedAt } };
      },
    });
    const wallet = new Wallet();
    const stop = await wallet.start();
    expect(payments).toHaveBeenCalledTimes(1);
    send({ type: 'overview_changed' });
    await wallet.refreshOverview();
    expect(payments).toHaveBeenCalledTimes(1);
    syncedAt = 2;
    send({ type: 'overview_changed' });
    await vi.waitFor(() => expect(payments).toHaveBeenCalledTimes(2));
    stop();
  });

  it('tells of money that came in, once', async () => {
    const { send } = rigged({});
    const wallet = new Wallet();
    const stop = await wallet.start();
    const paid: Payment = {
      id: 'ff',
      kind: 'lightning',
      direction: 'received',
      status: 'pending',
      amount_msat: '5000',
      fee_msat: null,
      description: null,
      failure: null,
      created_at_ms: 1,
      updated_at_ms: 1,
    };
    send({ type: 'payment_changed', payment: paid });
    expect(wallet.arrived).toBeNull();
    const done = { ...paid, status: 'succeeded' as const };
    send({ type: 'payment_changed', payment: done });
    expect(wallet.arrived).toEqual(done);
    send({ type: 'payment_changed', payment: { ...done } });
    expect(wallet.arrived).toBe(done);
    expect(wallet.payments?.filter((p) => p.id === 'ff')).toHaveLength(1);
    stop();
  });

  it('looks at the channels again when a balance in them settled, and only then', async () => {
    const full = demoApi('full', 0);
    let settled = 0;
    const channels = vi.fn(full.channels);
    const { send } = rigged({
      channels,
      overview: async () => {
        const now = await full.overview();
        const balances = now.balances && {
          ...now.balances,
          lightning_sat: now.balances.lightning_sat + settled,
        };
        return { ...now, balances };
      },
    });
    const wallet = new Wallet();
    const stop = await wallet.start();
    expect(channels).toHaveBeenCalledTimes(1);
    send({ type: 'overview_changed' });
    await wallet.refreshOverview();
    expect(channels).toHaveBeenCalledTimes(1);
    settled = 7;
    send({ type: 'overview_changed' });
    await vi.waitFor(() => expect(channels).toHaveBeenCalledTimes(2));
    stop();
  });

  it('follows a wake from its start to its end', async () => {
    const { send } = rigged({});
    const wallet = new Wallet();
    const stop = await wallet.start();
    const last = wallet.wakes?.[0];
    if (!last) throw new Error('the demo has wakes');
    send({ type: 'wake_started', record: { ...last, id: 10, outcome: 'in_progress', finished_at_ms: null } });
    expect(wallet.wakes?.[0]).toMatchObject({ id: 10, outcome: 'in_progress' });
    send({ type: 'background_sync_completed', record: { ...last, id: 10 } });
    expect(wallet.wakes?.[0]).toMatchObject({ id: 10, outcome: 'completed' });
    stop();
  });

  it('keeps what it knows when the backend stops answering, and says so', async () => {
    rigged({});
    const wallet = new Wallet();
    const stop = await wallet.start();
    rigged({
      overview: () =>
        Promise.reject(
          new ApiError({ code: 'internal', class: 'transient', message: 'Broken.', detail: 'x' }),
        ),
    });
    await wallet.refreshAll();
    expect(wallet.failure).toBe('Broken.');
    expect(wallet.overview?.state).toBe('running');
    stop();
  });
});

describe('backend errors and status', () => {
  it('speaks plainly even about what was not foreseen', () => {
    expect(plainWords(new TypeError('x is undefined'))).not.toContain('undefined');
  });

  const task = {
    id: 'a',
    kind: 'refresh',
    minIntervalMinutes: 30,
    softBudgetSecs: 30,
    requiresNetwork: false,
    requiresPower: false,
    registered: true,
    permitted: true,
    registrationError: null,
    handlerReady: true,
    submitError: null,
    earliestAtMs: 500,
    last: null,
    lastSuccessAtMs: null,
    failuresInARow: 0,
  } as const;
  const status = (change: Partial<BackgroundStatus>): BackgroundStatus =>
    ({
      backend: 'ios',
      handlerAttached: true,
      blockers: [],
      undeclared: [],
      tasks: [task],
      active: [],
      last: null,
      ...change,
    }) as BackgroundStatus;

  it('takes the earliest task as the next wake', () => {
    const tasks = [{ ...task, earliestAtMs: null }, { ...task, earliestAtMs: 900 }, task];
    expect(background(status({ tasks }))).toEqual({ simulated: false, nextAtMs: 500, blocker: null });
    expect(background(status({ tasks: [] })).nextAtMs).toBeNull();
  });

  it('names the weightiest reason why no wake may come', () => {
    const blockers = [
      { code: 'backgroundRefreshDenied', id: null, text: '' },
      { code: 'offline', id: null, text: '' },
    ] as const;
    expect(background(status({ blockers: [...blockers] })).blocker).toBe('backgroundRefreshDenied');
    expect(background(status({ backend: 'simulated' }))).toMatchObject({ simulated: true, blocker: null });
  });
});
