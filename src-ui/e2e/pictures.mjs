/**
 * The README's pictures: the real app on a real chain, at twice the points of a phone's screen. `node src-ui/e2e/pictures.mjs`
 * writes them to docs/images, from the programs that `npm start` builds.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bringUp, Wallet } from '../../scripts/lib/devnet.mjs';
import { built } from '../../scripts/lib/paths.mjs';
import { stop } from '../../scripts/lib/process.mjs';
import { screen } from './processes.mjs';
import { App } from './webdriver.mjs';

const SCALE = 2;
const [WIDTH, HEIGHT] = [390, 844];
/** Often enough to have some wakes to show before the patience ends. */
const WAKE_EVERY_SECS = 8;
const WAKES = 3;
const LIMIT_MS = 60_000;

const images = new URL('../../docs/images/', import.meta.url).pathname;

const devnet = await bringUp([]);
const wallet = new Wallet(devnet);
await wallet.prepare();
await wallet.wake('refresh', 30);
const display = await screen(WIDTH * SCALE, HEIGHT * SCALE);
const app = await App.start(built('pilotlight'), {
  ...devnet.environment(wallet.folder),
  DISPLAY: display.display,
  GDK_SCALE: String(SCALE),
  GTK_THEME: 'Adwaita:light',
  NO_AT_BRIDGE: '1',
  // What the page keeps goes with the wallet, instead of into the folder of whoever makes the pictures.
  XDG_DATA_HOME: join(wallet.folder, 'webview'),
  PILOTLIGHT_WAKE_EVERY_SECS: String(WAKE_EVERY_SECS),
});
const ask = (command, args = {}) =>
  app.execute('return window.__TAURI_INTERNALS__.invoke(arguments[0], arguments[1])', command, args);
const settled = (id) =>
  app.until(`payment ${id}`, async () =>
    (await ask('payments')).some((payment) => payment.id === id && payment.status === 'succeeded'),
  );

async function pays(sat, description) {
  const { invoice } = await devnet.ask('invoice', 'lsp', sat * 1_000, '--description', description);
  await settled(await ask('pay', { bolt11: invoice, amountMsat: null }));
}

async function isPaid(sat, description) {
  const invoice = await ask('create_invoice', { amountMsat: `${sat}000`, description });
  await devnet.ask('pay', 'lsp', invoice.bolt11);
  await settled(invoice.payment_hash);
}

try {
  await app.until('a usable channel', async () => (await ask('channels'))[0]?.usable, LIMIT_MS);
  // Blocks that were mined in a hurry carry times of the near future; what comes after them should be shown so.
  await app.until(
    'the time of the last block',
    async () => (await ask('payments')).every((payment) => payment.created_at_ms < Date.now()),
    10 * LIMIT_MS,
  );
  await pays(64_000, 'Bicycle repair');
  await isPaid(18_500, 'Lunch with Ana');
  await pays(4_200, 'Two croissants');
  const [{ id: before }] = await ask('wakes');
  await app.until(
    'some wakes',
    async () => {
      await devnet.ask('mine', 1);
      await sleep(2_000);
      const [last] = await ask('wakes');
      return last.id >= before + WAKES && last.outcome === 'completed';
    },
    LIMIT_MS,
  );
  await app.click('remind-words');
  await app.click('words-reveal');
  await app.click('words-written');
  await app.find('balance');
  await app.picture(`${images}home.png`);
  await app.click('status-line');
  await app.find('wake-metrics');
  await app.picture(`${images}sync.png`);
} finally {
  await app.end();
  await display.program.end();
  await stop(devnet.child);
}
process.exit(0);
