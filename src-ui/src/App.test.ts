/** The screens in a document, driven as a person would, against the make-believe backend with single parts replaced. */
import { cleanup, fireEvent, render, screen, within } from '@testing-library/svelte';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import App from './App.svelte';
import { type Api, ApiError, useApi } from './lib/api';
import { demoApi, type Scenario } from './lib/demo';
import { prefs } from './lib/prefs.svelte';
import { router } from './lib/router.svelte';
import { wallet } from './lib/state.svelte';

const byId = (id: string) => screen.getByTestId(id);
const findId = (id: string) => screen.findByTestId(id, {}, { timeout: 3_000 });
const click = (id: string) => fireEvent.click(byId(id));

async function open(scenario: Scenario, path = '/', change: Partial<Api> = {}): Promise<Api> {
  const api = { ...demoApi(scenario, 0), ...change };
  useApi(api);
  history.replaceState({ depth: 0 }, '', `#${path}`);
  render(App);
  await vi.waitFor(() => expect(wallet.overview).not.toBeNull());
  return api;
}

beforeEach(() => {
  localStorage.clear();
  prefs.set('wordsConfirmed', false);
  prefs.set('hidden', false);
  prefs.set('unit', 'sat');
});
afterEach(() => {
  cleanup();
  wallet.overview = null;
  wallet.payments = null;
  wallet.channels = null;
  wallet.wakes = null;
  wallet.arrived = null;
  router.path = '/';
});

describe('first run', () => {
  it('creates a wallet, asks for three words, and keeps none of them', async () => {
    await open('new');
    await fireEvent.click(await findId('welcome-create'));
    await click('create-start');
    await findId('word-1');
    const words = Array.from({ length: 12 }, (_, i) => byId(`word-${i + 1}`).textContent ?? '');
    expect(words.every((word) => /^[a-z]+$/.test(word))).toBe(true);
    await click('words-done');
    for (let i = 0; i < 3; i += 1) {
      const position = Number(byId('confirm-question').dataset.position);
      const right = words[position - 1];
      const choices = screen.getAllByTestId('confirm-choice');
      const wrong = choices.find((choice) => choice.dataset.word !== right);
      const good = choices.find((choice) => choice.dataset.word === right);
      if (!wrong || !good) throw new Error('the choices hold the answer and others');
      await fireEvent.click(wrong);
      expect(byId('confirm-wrong').textContent).toContain(String(position));
      await fireEvent.click(good);
    }
    await click('create-finish');
    await findId('status-line');
    expect(prefs.wordsConfirmed).toBe(true);
    const kept = document.body.innerHTML + JSON.stringify({ ...localStorage }) + location.href;
    for (const word of words) expect(kept).not.toContain(`>${word}<`);
    expect(localStorage.length).toBe(1);
  });

  it('lets a person put the words off, and remembers that they did', async () => {
    await open('new');
    await fireEvent.click(await findId('welcome-create'));
    await click('create-start');
    await fireEvent.click(await findId('words-later'));
    await findId('status-line');
    expect(prefs.wordsConfirmed).toBe(false);
  });

  it('restores only when every word is on the list, and says what is wrong', async () => {
    const restoreWallet = vi.fn(async () => {
      throw new ApiError({ code: 'invalid_mnemonic', class: 'config', message: 'Not right.', detail: '' });
    });
    await open('new', '/', { restoreWallet });
    await fireEvent.click(await findId('welcome-restore'));
    const words = 'legal winner thank year wave sausage worth useful legal winner thank';
    const type = (value: string) => fireEvent.input(byId('restore-words'), { target: { value } });
    await type(`${words} yelow `);
    expect(byId('restore-unknown').textContent).toContain('yelow');
    expect((byId('restore-start') as HTMLButtonElement).disabled).toBe(true);
    await type(`${words} yellow`);
    await click('restore-start');
    expect(restoreWallet).toHaveBeenCalledWith(`${words} yellow`, '');
    expect((await findId('failure')).textContent).toContain('Not right.');
  });
});

describe('practice or real bitcoin', () => {
  const pick = (kind: 'practice' | 'real') => {
    const radio = byId(`money-${kind}`).querySelector('input');
    if (!radio) throw new Error('a kind of money is a radio button');
    return fireEvent.click(radio);
  };
  const picked = (kind: 'practice' | 'real') => byId(`money-${kind}`).querySelector('input')?.checked;
  const next = () => byId('money-next') as HTMLButtonElement;

  it('is not asked where the network was settled before', async () => {
    await open('new');
    await fireEvent.click(await findId('welcome-create'));
    await findId('create-start');
    expect(screen.queryByTestId('money-next')).toBeNull();
    expect(byId('create-network').textContent).toContain('Local test network');
  });

  it('is practice at first, and going on changes nothing', async () => {
    const api = demoApi('choice', 0);
    const chooseNetwork = vi.fn(api.chooseNetwork);
    await open('choice', '/', { ...api, chooseNetwork });
    await fireEvent.click(await findId('welcome-create'));
    await findId('money-next');
    expect(picked('practice')).toBe(true);
    expect(byId('money-practice').textContent).toContain('Recommended');
    expect(byId('money-real').textContent).not.toContain('Recommended');
    await fireEvent.click(next());
    expect((await findId('create-network')).textContent).toContain('worth nothing');
    expect(chooseNetwork).not.toHaveBeenCalled();
  });

  it('explains real bitcoin, asks once, and only then changes', async () => {
    const api = demoApi('choice', 0);
    const chooseNetwork = vi.fn(api.chooseNetwork);
    await open('choice', '/', { ...api, chooseNetwork });
    await fireEvent.click(await findId('welcome-create'));
    await findId('money-next');
    await pick('real');
    await fireEvent.click(next());
    expect((await findId('money-points')).textContent).toContain('bear to lose');
    expect(chooseNetwork).not.toHaveBeenCalled();
    // Somebody who would rather practise first is back where practice is chosen.
    await click('money-not-yet');
    expect(picked('practice')).toBe(true);
    await pick('real');
    await fireEvent.click(next());
    await fireEvent.click(await findId('money-confirm'));
    expect((await findId('create-network')).textContent).toContain('Real bitcoin');
    expect(chooseNetwork).toHaveBeenCalledExactlyOnceWith('bitcoin');
    // On the way back nothing is asked twice, and practice is still to be had.
    await click('back');
    await findId('money-next');
    expect(picked('real')).toBe(true);
    await fireEvent.click(next());
    await findId('create-start');
    await click('back');
    await findId('money-next');
    await pick('practice');
    await fireEvent.click(next());
    expect((await findId('create-network')).textContent).toContain('worth nothing');
    expect(chooseNetwork).toHaveBeenLastCalledWith('signet');
  });

  it('is asked for words that are to be restored, too', async () => {
    await open('choice');
    await fireEvent.click(await findId('welcome-restore'));
    await findId('money-next');
    await pick('real');
    await fireEvent.click(next());
    await fireEvent.click(await findId('money-confirm'));
    expect((await findId('restore-network')).textContent).toContain('Real bitcoin');
  });

  it('says on a computer that real bitcoin is for the phone, and goes no further with it', async () => {
    const chooseNetwork = vi.fn(async () => undefined);
    await open('computer', '/', { chooseNetwork });
    await fireEvent.click(await findId('welcome-create'));
    await findId('money-next');
    expect(screen.queryByTestId('money-refused')).toBeNull();
    await pick('real');
    expect(byId('money-refused').textContent).toContain('iPhone');
    expect(next().disabled).toBe(true);
    await pick('practice');
    expect(next().disabled).toBe(false);
    await fireEvent.click(next());
    await findId('create-start');
    expect(chooseNetwork).not.toHaveBeenCalled();
  });

  it('says why it was not changed, and stays where it was', async () => {
    const report = { code: 'locked', class: 'transient', message: 'Unlock it.', detail: '' } as const;
    const chooseNetwork = async () => {
      throw new ApiError(report);
    };
    await open('choice', '/', { chooseNetwork });
    await fireEvent.click(await findId('welcome-create'));
    await findId('money-next');
    await pick('real');
    await fireEvent.click(next());
    await fireEvent.click(await findId('money-confirm'));
    expect((await findId('failure')).textContent).toContain('Unlock it.');
    expect((byId('money-confirm') as HTMLButtonElement).disabled).toBe(false);
  });

  it('opens a wallet that is there already instead of offering a new one', async () => {
    const api = demoApi('choice', 0);
    const kept = demoApi('real', 0);
    let there = false;
    await open('choice', '/', {
      ...api,
      overview: () => (there ? kept.overview() : api.overview()),
      chooseNetwork: async () => {
        there = true;
      },
    });
    await fireEvent.click(await findId('welcome-create'));
    await findId('money-next');
    await pick('real');
    await fireEvent.click(next());
    await fireEvent.click(await findId('money-confirm'));
    await findId('balance');
    expect(screen.queryByTestId('create-start')).toBeNull();
    expect(screen.queryByTestId('practice-mark')).toBeNull();
    // Whether its words were written down is not known.
    expect(prefs.wordsConfirmed).toBe(false);
  });

  it('leads from practice to real bitcoin in the settings, and forgets what was of the other wallet', async () => {
    prefs.set('wordsConfirmed', true);
    await open('practice', '/settings');
    await vi.waitFor(() => expect(byId('settings-network').textContent).toContain('Practice'));
    await vi.waitFor(() => expect(wallet.payments?.length).toBeGreaterThan(0));
    await click('settings-network');
    await fireEvent.click(await findId('money-real'));
    expect((await findId('money-leaves')).textContent).toContain('nobody watches it');
    await fireEvent.click(await findId('money-confirm'));
    await findId('welcome-create');
    expect(wallet.overview?.network).toBe('bitcoin');
    expect(wallet.payments).toBeNull();
    expect(wallet.channels).toBeNull();
    expect(prefs.wordsConfirmed).toBe(false);
  });

  it('offers no way back from real bitcoin', async () => {
    await open('real', '/settings/money');
    expect((await findId('money-stays')).textContent).toContain('must be watched');
    expect(screen.queryByTestId('money-real')).toBeNull();
  });

  it('marks practice coins on the first screen, and neither real ones nor a developer’s', async () => {
    await open('practice');
    expect((await findId('practice-mark')).textContent).toContain('no value');
    for (const other of ['real', 'full'] as const) {
      cleanup();
      wallet.overview = null;
      await open(other);
      await findId('balance');
      expect(screen.queryByTestId('practice-mark')).toBeNull();
    }
  });
});

describe('home', () => {
  it('shows no figure at all while the balance is unknown', async () => {
    await open('unknown');
    await findId('balance-unknown');
    expect(screen.queryByTestId('balance')).toBeNull();
    expect(screen.queryByTestId('balance-split')).toBeNull();
    expect(byId('balance-unknown').textContent).not.toMatch(/\d/);
  });

  it('shows the balance, hides it at a tap, and says so to VoiceOver', async () => {
    await open('full');
    const balance = await findId('balance');
    expect(balance.dataset.sat).toBe('1268062');
    expect(balance.getAttribute('aria-label')).toContain('1\u202f268\u202f062 sats');
    await fireEvent.click(balance);
    expect(byId('balance').textContent).not.toMatch(/\d/);
    expect(byId('balance').getAttribute('aria-label')).not.toMatch(/\d/);
  });

  it('says what is wrong when a check fails, and keeps the balance', async () => {
    await open('offline');
    expect((await findId('sync-error')).textContent).toContain('could not be reached');
    expect(byId('balance').dataset.sat).toBe('1268062');
    expect(byId('status-line').dataset.tone).toBe('low');
  });

  it('says on the pilot light until when all is safe, and nothing where nothing can be lost', async () => {
    await open('full', '/sync');
    expect((await findId('safe-until')).textContent).toContain('Safe until');
    cleanup();
    await open('empty', '/sync');
    await findId('sync-headline');
    await vi.waitFor(() => expect(wallet.channels).toEqual([]));
    expect(screen.queryByTestId('safe-until')).toBeNull();
  });

  it('gives every control a name', async () => {
    await open('full');
    await findId('balance');
    for (const button of screen.getAllByRole('button')) {
      const name = button.getAttribute('aria-label') ?? button.textContent ?? '';
      expect(name.trim(), button.outerHTML.slice(0, 120)).not.toBe('');
    }
  });
});

describe('send', () => {
  const to = (value: string) => fireEvent.input(byId('send-to'), { target: { value } });

  it('pays an invoice with an amount of its own exactly once', async () => {
    const pay = vi.fn(demoApi('full', 0).pay);
    const api = await open('full', '/send');
    pay.mockImplementation(api.pay);
    useApi({ ...api, pay });
    await to('lnbcrt250u1p');
    await click('send-look');
    expect((await findId('review-amount')).dataset.sat).toBe('25000');
    const confirm = byId('send-confirm');
    await Promise.all([fireEvent.click(confirm), fireEvent.click(confirm)]);
    await findId('send-done');
    expect(pay).toHaveBeenCalledTimes(1);
    expect(pay).toHaveBeenCalledWith('lnbcrt250u1p', null);
  });

  it('asks for the amount where the invoice leaves it open', async () => {
    const pay = vi.fn<Api['pay']>(() => new Promise(() => undefined));
    await open('full', '/send', { pay });
    await to('lnbcrt1any');
    await click('send-look');
    await fireEvent.input(await findId('send-amount'), { target: { value: '1234' } });
    await click('send-review');
    await click('send-confirm');
    expect(pay).toHaveBeenCalledWith('lnbcrt1any', 1_234);
  });

  it('does not offer to send more than there is', async () => {
    await open('full', '/send');
    await to('bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080');
    await click('send-look');
    await fireEvent.input(await findId('send-amount'), { target: { value: '803113' } });
    expect((byId('send-review') as HTMLButtonElement).disabled).toBe(true);
    await fireEvent.input(byId('send-amount'), { target: { value: '803112' } });
    expect((byId('send-review') as HTMLButtonElement).disabled).toBe(false);
  });

  it('sends everything without naming an amount', async () => {
    const sendOnchain = vi.fn<Api['sendOnchain']>(() => new Promise(() => undefined));
    await open('full', '/send', { sendOnchain });
    await to('bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080');
    await click('send-look');
    // An amount typed before is no longer meant.
    await fireEvent.input(await findId('send-amount'), { target: { value: '500' } });
    await click('send-all');
    await click('send-review');
    expect(byId('send-confirm').textContent).toContain('everything');
    await click('send-confirm');
    expect(sendOnchain).toHaveBeenCalledWith('bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080', null);
  });

  it("shows the backend's own words for an error, and the way back", async () => {
    await open('full', '/send');
    await to('bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq');
    await click('send-look');
    expect((await findId('failure')).textContent).toContain('another Bitcoin network');
    await to('lnbcrt250u1pfail');
    await click('send-look');
    await fireEvent.click(await findId('send-confirm'));
    expect((await findId('send-failed')).textContent).toContain('No way to the payee');
  });

  it("never runs a stranger's description as markup", async () => {
    const parseDestination: Api['parseDestination'] = async () => ({
      type: 'bolt11',
      bolt11: 'lnbcrt1',
      amount_msat: '1000',
      description: '<img src=x onerror=alert(1)>',
      expires_at_ms: Date.now() + 60_000,
      payee: '02aa',
    });
    await open('full', '/send', { parseDestination });
    await to('lnbcrt1');
    await click('send-look');
    await findId('review-amount');
    expect(document.querySelector('img')).toBeNull();
    expect(document.body.textContent).toContain('<img src=x');
  });
});

describe('receive', () => {
  it('makes an invoice, shows it as QR, and says when it was paid', async () => {
    await open('full', '/receive');
    await fireEvent.input(await findId('receive-amount'), { target: { value: '25000' } });
    expect((byId('receive-amount') as HTMLInputElement).value).toBe('25\u202f000');
    await click('make-invoice');
    expect((await findId('received')).textContent).toContain('25\u202f000 sats');
  });

  it('goes on-chain by itself while there is no room', async () => {
    await open('empty', '/receive');
    expect((await findId('onchain-address')).dataset.address).toMatch(/^bcrt1/);
    expect(within(document.body).getByRole('img', { name: 'QR code of your address' })).toBeTruthy();
  });
});

describe('channels', () => {
  const sat = (value: string) => fireEvent.input(byId('open-amount'), { target: { value } });
  const demo = demoApi('full', 0);
  const wish = (lsp: string | null): Partial<Api> => ({
    overview: async () => ({ ...(await demo.overview()), lsp }),
  });

  it('opens one with the provider without asking for an address', async () => {
    const openChannel = vi.fn(async () => undefined);
    await open('full', '/channels/open', { ...wish('02aa@127.0.0.1:9735'), openChannel });
    await findId('open-with');
    expect(screen.queryByTestId('open-peer')).toBeNull();
    await sat('100000');
    await click('open-confirm');
    expect(openChannel).toHaveBeenCalledWith('02aa@127.0.0.1:9735', 100_000);
  });

  it('opens one with another peer by its address, and does not fall back to the provider', async () => {
    const openChannel = vi.fn(async () => undefined);
    await open('full', '/channels/open', { ...wish('02aa@127.0.0.1:9735'), openChannel });
    await findId('open-with');
    await fireEvent.click(within(byId('open-other')).getByRole('radio'));
    await sat('100000');
    expect((byId('open-confirm') as HTMLButtonElement).disabled).toBe(true);
    await fireEvent.input(byId('open-peer'), { target: { value: ' 03bb@203.0.113.7:9735\n' } });
    await click('open-confirm');
    expect(openChannel).toHaveBeenCalledWith('03bb@203.0.113.7:9735', 100_000);
  });

  it('asks for the address where there is no provider', async () => {
    await open('full', '/channels/open', wish(null));
    await findId('open-peer');
    expect(screen.queryByTestId('open-provider')).toBeNull();
  });

  it('shows the opening of one as own money, with its fee in the details', async () => {
    await open('full', '/activity');
    const row = (await screen.findAllByTestId('payment-row')).find(
      (r) => r.dataset.kind === 'channel_funding',
    );
    if (!row) throw new Error('the demo opened a channel');
    expect(row.textContent).toContain('Opened a channel');
    expect(row.textContent).toContain('500\u202f000 sats');
    expect(row.textContent).not.toMatch(/[+\u2212]/);
    expect(row.querySelector('.text-good')).toBeNull();
    await fireEvent.click(row);
    expect((await findId('payment-fee')).textContent).toContain('306 sats');
    expect(byId('own-money').textContent).toContain('your money');
  });

  it.each([
    ['channel-close', false],
    ['channel-force', true],
  ])('%s warns first, then closes', async (button, force) => {
    const closeChannel = vi.fn(async () => undefined);
    const api = demoApi('full', 0);
    const id = (await api.channels())[0]?.channel_id ?? '';
    await open('full', `/channels/${id}`, { ...api, closeChannel });
    await fireEvent.click(await findId(button));
    expect(closeChannel).not.toHaveBeenCalled();
    await click('close-confirm');
    expect(closeChannel).toHaveBeenCalledWith(id, force);
  });
});

describe('pilot light', () => {
  it('shows the four figures of the last wake and lets a wake be simulated', async () => {
    await open('full', '/sync');
    expect((await findId('metric-blocks_synced')).textContent).toContain('3');
    expect(byId('metric-channels_updated').textContent).toContain('2');
    expect(byId('metric-sync_duration').textContent).toContain('2.2 s');
    expect(byId('metric-last_sync').textContent).toContain('min ago');
    expect(screen.getAllByTestId('wake-row')).toHaveLength(6);
    await click('simulate-processing');
    await vi.waitFor(() => {
      const row = screen.getAllByTestId('wake-row')[0];
      expect(row?.dataset).toMatchObject({ id: '10', kind: 'processing', outcome: 'completed' });
    });
  });

  it('copies the log of the wakes as the JSON that is kept', async () => {
    const writeText = vi.fn(async (_text: string) => undefined);
    vi.stubGlobal('navigator', { ...navigator, clipboard: { writeText } });
    const api = await open('full', '/sync');
    await findId('copy-log');
    await click('copy-log');
    const copied = JSON.parse(writeText.mock.calls[0]?.[0] ?? '');
    expect(copied).toEqual(await api.wakes());
    expect(copied[0]).toMatchObject({ level: 'full', requests: 14, wants_processing: false });
    vi.unstubAllGlobals();
  });

  it('says what a wake did less, and why', async () => {
    const demo = demoApi('full', 0);
    const wakes = async () => {
      const all = await demo.wakes();
      return all.map((wake) => ({
        ...wake,
        level: 'watch' as const,
        degraded: ['memory' as const],
        wants_processing: true,
        reports: ['127.0.0.1:1234 sent a false filter and is not asked again'],
      }));
    };
    await open('full', '/sync', { ...demo, wakes });
    expect((await findId('metric-degraded')).textContent).toContain('memory was short');
    expect(byId('metric-level').textContent).toContain('Only the chain');
    expect(byId('metric-wants_processing')).toBeTruthy();
    expect(byId('metric-requests').textContent).toContain('14');
    expect(byId('wake-reports').textContent).toContain('127.0.0.1:1234 sent a false filter');
  });
});

describe('connection', () => {
  const check = (way: string) => {
    const radio = byId(`way-${way}`).querySelector('input');
    if (!radio) throw new Error('a way is a radio button');
    return fireEvent.click(radio);
  };
  const use = () => byId('connection-use') as HTMLButtonElement;

  it('offers only what differs from what is in use, and takes it', async () => {
    const chooseConnection = vi.fn(async () => {});
    await open('full', '/settings/connection', { chooseConnection });
    await findId('way-automatic');
    expect(use().disabled).toBe(true);
    await check('private');
    expect(use().disabled).toBe(false);
    await fireEvent.click(use());
    expect(chooseConnection).toHaveBeenCalledWith({ type: 'private' });
  });

  it('says in plain words why a server was not taken, and keeps what was typed', async () => {
    const refused = {
      code: 'wrong_network',
      class: 'config',
      message: 'x',
      detail: 'peer says <b>',
    } as const;
    const chooseConnection = vi.fn(async () => {
      throw new ApiError(refused);
    });
    await open('full', '/settings/connection', { chooseConnection });
    await findId('way-own');
    await check('own');
    expect(use().disabled).toBe(true);
    await fireEvent.input(byId('own-url'), { target: { value: ' https://example.com ' } });
    await fireEvent.click(use());
    expect(chooseConnection).toHaveBeenCalledWith({ type: 'own', url: 'https://example.com' });
    expect((await findId('failure')).textContent).toContain('another Bitcoin network');
    expect((byId('own-url') as HTMLInputElement).value).toContain('example.com');
  });

  it('does not offer the private way where nobody serves it', async () => {
    const connection = async () => ({ choice: { type: 'automatic' } as const, servers: [], private: false });
    await open('full', '/settings/connection', { connection });
    const radio = (await findId('way-private')).querySelector('input') as HTMLInputElement;
    expect(radio.disabled).toBe(true);
    expect(byId('way-private').textContent).toContain('Not on this network');
  });
});
