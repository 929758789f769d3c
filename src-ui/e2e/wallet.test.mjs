/**
 * The real app on a real chain, used as a person would: create a wallet, see money arrive, run wakes, start again.
 *
 * PILOTLIGHT_APP and PILOTLIGHT_DEVNET_BIN name the programs; without them, those of the project's build are taken.
 * Pictures of each step are kept in test-artifacts/e2e.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { built, Program, run, screen } from './processes.mjs';
import { App } from './webdriver.mjs';

/** An iPhone 14's points. */
const [WIDTH, HEIGHT] = [390, 844];
/** The devnet builds nothing here, but it starts several nodes on a machine that may be busy. */
const DEVNET_MS = 180_000;
/** A wake has 30 s of its own; the scheduler needs a moment around it. */
const WAKE_MS = 60_000;
const FUNDS = 1_000_000;
const CHANNEL = 400_000;
const PAID = 50_000;
const RECEIVED = 20_000;

const artefacts = new URL('../../test-artifacts/e2e/', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'pilotlight-e2e-'));
const dataDir = join(folder, 'wallet');

let devnetBinary;
let devnet;
let net;
let display;
let app;
let words = [];

/** Tells the devnet something, and gives its answer. */
const control = async (...args) =>
  JSON.parse(
    await run(devnetBinary, args, { timeoutMs: 60_000, env: { PILOTLIGHT_DEVNET: net.control_url } }),
  );
const lsp = () => {
  const peer = net.peers.find(({ name }) => name === 'lsp');
  return `${peer.node_id}@${peer.address}`;
};
const environment = () => ({
  DISPLAY: display.display,
  PILOTLIGHT_DATA_DIR: dataDir,
  PILOTLIGHT_NETWORK: 'regtest',
  PILOTLIGHT_ESPLORA: net.esplora_url,
  PILOTLIGHT_LSP: lsp(),
  // The page follows the system's colours; a machine's theme must not decide what the pictures look like.
  GTK_THEME: 'Adwaita:light',
  // Children of the driver find no session bus under Xvfb, and need none.
  NO_AT_BRIDGE: '1',
  // What the page kept of an earlier run, or of the person at this machine, must not decide what it shows.
  XDG_DATA_HOME: join(folder, 'webview'),
});
let pictures = 0;
const picture = (name) => {
  pictures += 1;
  return app.picture(join(artefacts, `${String(pictures).padStart(2, '0')}-${name}.png`));
};

/** Each step stands on the one before. */
let broken = null;

/** A step of the journey; what is on the screen when it fails is kept. */
function step(name, limitMs, work) {
  test(name, { timeout: limitMs }, async () => {
    assert.equal(broken, null, `"${broken}" failed before`);
    try {
      await work();
    } catch (error) {
      broken = name;
      await picture('failed').catch(() => undefined);
      writeFileSync(
        join(artefacts, 'failed.log'),
        `${error.stack}\n\n${app?.output ?? ''}\n\n${devnet?.output ?? ''}`,
      );
      throw error;
    }
  });
}

/** Syncs until the balance is what it must be. */
async function balanceBecomes(sat) {
  let seen = null;
  await app
    .until(
      `a balance of ${sat}`,
      async () => {
        seen = (await app.has('balance')) ? Number(await app.attribute('balance', 'data-sat')) : null;
        if (seen === sat) return true;
        await app.click('sync-now');
        return false;
      },
      WAKE_MS,
    )
    .catch((error) => {
      throw new Error(`${error.message} Last seen: ${seen}`);
    });
}

/** Runs a wake from the sync page, does `meanwhile` while it runs, and gives its id when it ended as it must. */
async function wake(button, kind, outcome, meanwhile = async () => {}) {
  const before = await app.execute(
    'return Math.max(0, ...[...document.querySelectorAll("[data-testid=wake-row]")].map((row) => Number(row.dataset.id)))',
  );
  const newest = () =>
    app.execute(
      `const row = [...document.querySelectorAll("[data-testid=wake-row]")].find((row) => Number(row.dataset.id) > arguments[0]);
       return row ? { ...row.dataset } : null`,
      before,
    );
  await app.click(button);
  await app.until('a new wake', newest);
  await meanwhile();
  const ended = await app.until(
    'its end',
    async () => {
      const row = await newest();
      return row.outcome === 'in_progress' ? null : row;
    },
    WAKE_MS,
  );
  assert.equal(ended.outcome, outcome);
  assert.equal(ended.kind, kind);
  return Number(ended.id);
}

/** Waits for a line of the activity list. Its place is not promised: blocks of a devnet carry times of their own. */
async function activityShows(pattern) {
  await app.until(`${pattern} in the activity`, async () => {
    const lines = await app.execute(
      'return [...document.querySelectorAll("[data-testid=payment-row]")].map((row) => row.innerText)',
    );
    return lines.some((line) => pattern.test(line));
  });
}

/** Back to the first screen, from wherever. */
async function home() {
  await app.until('the first screen', async () => {
    if (await app.has('home-send')) return true;
    if (await app.has('back')) await app.click('back');
    return false;
  });
}

async function addressFromScreen() {
  await app.click('home-receive');
  await app.click('receive-onchain');
  const address = await app.attribute('onchain-address', 'data-address');
  assert.match(address, /^bcrt1[a-z0-9]{38,}$/);
  await picture('address');
  return address;
}

before(
  async () => {
    rmSync(artefacts, { recursive: true, force: true });
    mkdirSync(artefacts, { recursive: true });
    devnetBinary = built('PILOTLIGHT_DEVNET_BIN', 'pilotlight-devnet');
    display = await screen(WIDTH, HEIGHT);
    devnet = new Program('devnet', devnetBinary, [
      'up',
      '--dir',
      join(folder, 'devnet'),
      '--until-stdin-closes',
      '--json',
    ]);
    net = await devnet.line((line) => {
      try {
        const said = JSON.parse(line);
        return said.esplora_url ? said : null;
      } catch {
        return null;
      }
    }, DEVNET_MS);
    app = await App.start(built('PILOTLIGHT_APP', 'pilotlight'), environment());
  },
  { timeout: DEVNET_MS + 60_000 },
);

after(
  async () => {
    await app?.end();
    await devnet?.end();
    await display?.program.end();
    rmSync(folder, { recursive: true, force: true });
  },
  { timeout: 60_000 },
);

step('a wallet is created and its words confirmed', 90_000, async () => {
  await app.find('welcome-create', 30_000);
  await picture('welcome');
  await app.click('welcome-create');
  await app.click('create-start');
  await app.find('word-12', 30_000);
  words = await app.execute(
    'return Array.from({ length: 12 }, (_, i) => document.querySelector("[data-testid=word-" + (i + 1) + "]").textContent)',
  );
  assert.equal(words.length, 12);
  for (const word of words) assert.match(word, /^[a-z]{3,8}$/);
  await app.click('words-done');
  for (let asked = 0; asked < 3; asked += 1) {
    const position = Number(await app.attribute('confirm-question', 'data-position'));
    if (asked === 0) await picture('confirm');
    await app.click('confirm-choice', `[data-word="${words[position - 1]}"]`);
    if (asked < 2) {
      await app.until(
        'the next question',
        async () => Number(await app.attribute('confirm-question', 'data-position')) !== position,
      );
    }
  }
  await app.click('create-finish');
  await app.find('status-line');
});

step('the recovery words are nowhere but in the keeping of the backend', 30_000, async () => {
  const kept = await app.execute(
    'return JSON.stringify({ ...localStorage }) + JSON.stringify({ ...sessionStorage }) + location.href + document.body.textContent',
  );
  const present = words.filter((word) => new RegExp(`\\b${word}\\b`).test(kept));
  // Single words are common English and may stand on a screen; the phrase may not.
  assert.ok(present.length < 4, `found ${present.length} of them`);
});

step('the page obeys its content security policy', 30_000, async () => {
  const refused = await app.execute(`
    const refusals = [];
    const style = document.createElement('p');
    style.setAttribute('style', 'color: rgb(1, 2, 3)');
    document.body.append(style);
    const inline = getComputedStyle(style).color;
    style.remove();
    const script = document.createElement('script');
    script.textContent = 'window.injected = true';
    document.body.append(script);
    script.remove();
    return { inline, injected: window.injected === true };
  `);
  assert.deepEqual(refused, { inline: refused.inline, injected: false });
  assert.notEqual(refused.inline, 'rgb(1, 2, 3)');
});

step('the balance shows what the faucet paid', 150_000, async () => {
  await balanceBecomes(0);
  await picture('home-empty');
  const address = await addressFromScreen();
  await control('fund', address, String(FUNDS));
  await control('mine', '1');
  await app.click('back');
  await balanceBecomes(FUNDS);
  await activityShows(/\+1\u202f000\u202f000 sats/);
  await picture('home-funded');
  await app.click('balance-split');
  await app.find('balance-details');
  await picture('balance-details');
  await app.execute('document.querySelector("dialog").close()');
});

step('a simulated launch leaves a completed wake record', 150_000, async () => {
  await control('mine', '2');
  await app.click('status-line');
  await app.find('simulate-refresh');
  const first = await wake('simulate-refresh', 'refresh', 'completed');
  assert.equal(await app.attribute('wake-metrics', 'data-id'), String(first));
  assert.match(await app.text('metric-blocks_synced'), /[1-9]/);
  assert.match(await app.text('metric-last_sync'), /just now|min ago/);
  assert.match(await app.text('metric-sync_duration'), /\d+(\.\d)? (ms|s)$/);
  assert.match(await app.text('metric-peak_memory'), /\d+ MB/);
  assert.match(await app.text('metric-bytes_in'), /\d (bytes?|kB|MB)/);
  await picture('sync-refresh');

  const second = await wake('simulate-processing', 'processing', 'completed');
  assert.ok(second > first);
  await picture('sync-processing');

  // As a continued task, which the simulated phone has.
  const third = await wake('full-check', 'processing', 'completed');
  assert.ok(third > second);
  await app.click('back');
  await app.find('status-line');
});

step('a channel is opened from the app and becomes ready', 240_000, async () => {
  await app.click('open-settings');
  await picture('settings');
  await app.click('settings-channels');
  await app.click('channel-open');
  await app.type('open-amount', String(CHANNEL));
  // The provider of this installation is offered; no address needs to be known.
  assert.equal(await app.has('open-peer'), false);
  await picture('channel-open');
  await app.click('open-confirm');
  await app.find('channel-row', 60_000);
  const [channel] = await app.execute('return window.__TAURI_INTERNALS__.invoke("channels")');
  assert.equal(channel.peer, lsp().split('@')[0]);
  await picture('channel-opening');
  await app.until(
    'a usable channel',
    async () => {
      if (await app.has('channel-row', '[data-usable="true"]')) return true;
      await control('mine', '1');
      await app.execute('return window.__TAURI_INTERNALS__.invoke("sync_now").then(() => null, () => null)');
      return false;
    },
    150_000,
  );
  await picture('channel-ready');
  await home();
  // One's own money in another pocket: no sign before the amount.
  await activityShows(/Opened a channel.*\n400\u202f000 sats/s);
  await picture('home-channel');
});

step('an invoice is paid from the app', 120_000, async () => {
  const { invoice } = await control(
    'invoice',
    'lsp',
    String(PAID * 1_000),
    '--description',
    'Tea at the corner',
  );
  await app.click('home-send');
  await app.type('send-to', `lightning:${invoice}`);
  await app.click('send-look');
  assert.equal(await app.attribute('review-amount', 'data-sat'), String(PAID));
  await picture('send-review');
  await app.click('send-confirm');
  await app.find('send-done', 60_000);
  await picture('sent');
  await app.click('result-done');
  await activityShows(/Tea at the corner.*\u221250\u202f000 sats/s);
});

step('an invoice made in the app is paid, and the screen says so by itself', 120_000, async () => {
  await home();
  await app.click('home-receive');
  await app.type('receive-amount', String(RECEIVED));
  await app.type('receive-note', 'Lunch');
  await app.click('make-invoice');
  const invoice = await app.attribute('invoice', 'data-bolt11');
  assert.match(invoice, /^lnbcrt200u1/);
  await picture('invoice');
  await control('pay', 'lsp', invoice);
  await app.find('received', 30_000);
  await picture('received');
  await app.click('result-done');
  await home();
  await activityShows(/Lunch.*\+20\u202f000 sats/s);
  await picture('home-with-payments');
});

step(
  'a wake that is called off against a silent server says so, and the next one completes',
  120_000,
  async () => {
    await home();
    await app.click('status-line');
    await control('fault', 'set', 'hang');
    const expired = await wake('simulate-refresh', 'refresh', 'expired', () =>
      // At once, without a picture first: after 5 s the wake's own patience ends, and it would fail instead. And by the
      // page itself, not by the pointer: the new wake's row moves the button while a pointer is on its way to it.
      app.execute('document.querySelector("[data-testid=simulate-expiration]").click()'),
    );
    assert.equal(await app.attribute('wake-metrics', 'data-id'), String(expired));
    await app.execute('document.querySelector("main").scrollTo(0, 0)');
    await picture('wake-expired');
    await control('fault', 'clear');
    await wake('simulate-refresh', 'refresh', 'completed');
  },
);

step('after a restart the wallet, its money and its wakes are there', 120_000, async () => {
  const wakes = await app.execute(
    'return window.__TAURI_INTERNALS__.invoke("wakes").then((all) => all.length)',
  );
  await app.end();
  app = await App.start(built('PILOTLIGHT_APP', 'pilotlight'), environment());
  await app.find('balance', WAKE_MS);
  const total = Number(await app.attribute('balance', 'data-sat'));
  const expected = FUNDS - PAID + RECEIVED;
  assert.ok(
    total > expected - 10_000 && total < expected,
    `${total} of ${expected}: only fees may be missing`,
  );
  assert.equal(await app.has('remind-words'), false);
  await picture('home-restarted');
  await app.click('status-line');
  await app.find('wake-row');
  const status = await app.execute('return window.__TAURI_INTERNALS__.invoke("background_status")');
  assert.equal(status.history.onDisk, true);
  assert.equal(status.last.end, 'completed');
  assert.deepEqual(status.blockers, []);
  const now = await app.execute(
    'return window.__TAURI_INTERNALS__.invoke("wakes").then((all) => all.length)',
  );
  assert.ok(now >= wakes && wakes >= 2, `${wakes} before, ${now} after`);
});

step('wakes come by themselves, and the screens follow', 120_000, async () => {
  await app.end();
  // A phone lets half an hour pass; this is how `npm start` asks for more.
  app = await App.start(built('PILOTLIGHT_APP', 'pilotlight'), {
    ...environment(),
    PILOTLIGHT_WAKE_EVERY_SECS: '4',
  });
  await app.find('balance', WAKE_MS);
  await app.click('status-line');
  await app.find('wake-row');
  const before = Number(await app.attribute('wake-metrics', 'data-id'));
  await app.until(
    'two wakes that nobody asked for',
    async () => Number(await app.attribute('wake-metrics', 'data-id')) >= before + 2,
    WAKE_MS,
  );
  const [last, earlier] = await app.execute('return window.__TAURI_INTERNALS__.invoke("wakes")');
  for (const wake of [last, earlier]) {
    assert.equal(wake.reason, 'simulated');
    assert.equal(wake.kind, 'refresh');
  }
  assert.equal(earlier.outcome, 'completed');
  await picture('sync-by-itself');
});
