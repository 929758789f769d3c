/**
 * Pictures of every screen in a plain browser with the make-believe backend, to be looked at by people.
 *
 * `npm run ui:shots [-- NAME...]` writes to test-artifacts/shots. Needs a Chromium: CHROMIUM names one, else one from PATH.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { createServer } from 'vite';

const out = new URL('../../test-artifacts/shots/', import.meta.url).pathname;
mkdirSync(out, { recursive: true });
const only = process.argv.slice(2);

function findChromium() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    try {
      return execFileSync('which', [name], { encoding: 'utf8' }).trim();
    } catch {
      // Try the next name.
    }
  }
  throw new Error('No Chromium found. Install one, or name it with CHROMIUM=/path.');
}

const id = (name) => `[data-testid="${name}"]`;
/** name, scenario, first path, steps. */
const SCREENS = [
  ['welcome', 'new', '/', async () => {}],
  ['create', 'new', '/', async (p) => p.click(id('welcome-create'))],
  [
    'create-more',
    'new',
    '/',
    async (p) => {
      await p.click(id('welcome-create'));
      await p.click(id('create-more'));
      await p.fill(id('create-passphrase'), 'x');
    },
  ],
  [
    'words',
    'new',
    '/',
    async (p) => {
      await p.click(id('welcome-create'));
      await p.click(id('create-start'));
      await p.waitForSelector(id('word-12'));
    },
  ],
  [
    'confirm',
    'new',
    '/',
    async (p) => {
      await p.click(id('welcome-create'));
      await p.click(id('create-start'));
      await p.click(id('words-done'));
      const position = await p.getAttribute(id('confirm-question'), 'data-position');
      await p.click(`${id('confirm-choice')} >> nth=${Number(position) % 6}`);
    },
  ],
  [
    'restore',
    'new',
    '/',
    async (p) => {
      await p.click(id('welcome-restore'));
      await p.fill(id('restore-words'), 'legal winner thank yeer wave sausage worth use');
    },
  ],
  ['money', 'choice', '/', async (p) => p.click(id('welcome-create'))],
  [
    'money-restore',
    'choice',
    '/',
    async (p) => {
      await p.click(id('welcome-restore'));
      await p.click(id('money-real'));
    },
  ],
  [
    'money-real',
    'choice',
    '/',
    async (p) => {
      await p.click(id('welcome-create'));
      await p.click(id('money-real'));
      await p.click(id('money-next'));
    },
  ],
  [
    'money-create',
    'choice',
    '/',
    async (p) => {
      await p.click(id('welcome-create'));
      await p.click(id('money-real'));
      await p.click(id('money-next'));
      await p.click(id('money-confirm'));
      await p.waitForSelector(id('create-start'));
    },
  ],
  [
    'money-computer',
    'computer',
    '/',
    async (p) => {
      await p.click(id('welcome-create'));
      await p.click(id('money-real'));
    },
  ],
  ['home-practice', 'practice', '/', async () => {}],
  ['settings-practice', 'practice', '/settings', async () => {}],
  ['money-page', 'practice', '/settings/money', async () => {}],
  [
    'money-page-real',
    'practice',
    '/settings/money',
    async (p) => {
      await p.click(id('money-real'));
    },
  ],
  ['money-page-stays', 'real', '/settings/money', async () => {}],
  ['home', 'full', '/', async () => {}],
  ['home-empty', 'empty', '/', async () => {}],
  ['home-unknown', 'unknown', '/', async () => {}],
  ['home-offline', 'offline', '/', async () => {}],
  ['home-stale', 'stale', '/', async () => {}],
  [
    'home-details',
    'full',
    '/',
    async (p) => {
      await p.click(id('balance-split'));
    },
  ],
  ['locked', 'locked', '/', async () => {}],
  ['activity', 'full', '/activity', async () => {}],
  [
    'payment',
    'full',
    '/',
    async (p) => {
      await p.click(`${id('payment-row')} >> nth=1`);
    },
  ],
  ['receive', 'full', '/receive', async () => {}],
  [
    'receive-invoice',
    'full',
    '/receive',
    async (p) => {
      await p.fill(id('receive-amount'), '25000');
      await p.fill(id('receive-note'), 'Two tickets');
      await p.click(id('make-invoice'));
      await p.waitForSelector(id('invoice'));
    },
  ],
  [
    'received',
    'full',
    '/receive',
    async (p) => {
      await p.fill(id('receive-amount'), '25000');
      await p.click(id('make-invoice'));
      await p.waitForSelector(id('received'), { timeout: 15_000 });
    },
  ],
  [
    'receive-onchain',
    'full',
    '/receive',
    async (p) => {
      await p.click(id('receive-onchain'));
      await p.waitForSelector(id('onchain-address'));
    },
  ],
  [
    'receive-noroom',
    'empty',
    '/receive',
    async (p) => {
      await p.click(id('receive-instant'));
    },
  ],
  ['send', 'full', '/send', async () => {}],
  [
    'send-error',
    'full',
    '/send',
    async (p) => {
      await p.fill(id('send-to'), 'bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq');
      await p.click(id('send-look'));
      await p.waitForSelector(id('failure'));
    },
  ],
  [
    'send-amount',
    'full',
    '/send',
    async (p) => {
      await p.fill(id('send-to'), 'bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080');
      await p.click(id('send-look'));
      await p.fill(id('send-amount'), '120000');
    },
  ],
  [
    'send-review',
    'full',
    '/send',
    async (p) => {
      await p.fill(id('send-to'), 'lnbcrt250u1p');
      await p.click(id('send-look'));
      await p.waitForSelector(id('review-amount'));
    },
  ],
  [
    'sending',
    'full',
    '/send',
    async (p) => {
      await p.fill(id('send-to'), 'lnbcrt250u1p');
      await p.click(id('send-look'));
      await p.click(id('send-confirm'));
      await p.waitForTimeout(1000);
    },
  ],
  [
    'sent',
    'full',
    '/send',
    async (p) => {
      await p.fill(id('send-to'), 'lnbcrt250u1p');
      await p.click(id('send-look'));
      await p.click(id('send-confirm'));
      await p.waitForSelector(id('send-done'));
    },
  ],
  [
    'send-failed',
    'full',
    '/send',
    async (p) => {
      await p.fill(id('send-to'), 'lnbcrt250u1pfail');
      await p.click(id('send-look'));
      await p.click(id('send-confirm'));
      await p.waitForSelector(id('send-failed'));
    },
  ],
  ['channels', 'full', '/channels', async () => {}],
  ['channels-empty', 'empty', '/channels', async () => {}],
  ['channel-open', 'full', '/channels/open', async () => {}],
  [
    'channel',
    'full',
    '/channels',
    async (p) => {
      await p.click(`${id('channel-row')} >> nth=0`);
    },
  ],
  [
    'channel-close',
    'full',
    '/channels',
    async (p) => {
      await p.click(`${id('channel-row')} >> nth=0`);
      await p.click(id('channel-close'));
    },
  ],
  ['sync', 'full', '/sync', async () => {}],
  [
    'sync-bottom',
    'full',
    '/sync',
    async (p) => {
      await p.locator(id('simulate-expiration')).scrollIntoViewIfNeeded();
    },
  ],
  ['sync-empty', 'empty', '/sync', async () => {}],
  ['wake-expired', 'full', '/sync/7', async () => {}],
  ['settings', 'full', '/settings', async () => {}],
  ['connection', 'full', '/settings/connection', async () => {}],
  [
    'connection-own',
    'full',
    '/settings/connection',
    async (p) => {
      await p.click(id('way-own'));
      await p.fill(id('own-url'), 'https://wrong.example.com/api');
      await p.click(id('connection-use'));
      await p.waitForSelector(id('failure'));
    },
  ],
  ['reveal', 'full', '/settings/words', async () => {}],
];
const LOOKS = [
  ['light', { colorScheme: 'light' }, 17],
  ['dark', { colorScheme: 'dark' }, 17],
  // iOS's largest size without the accessibility sizes, and the third of those.
  ['large', { colorScheme: 'light' }, 23],
  ['huge', { colorScheme: 'dark' }, 40],
];
const looks = process.env.LOOKS?.split(',') ?? LOOKS.map(([name]) => name);

const server = await createServer({
  configFile: new URL('../vite.config.ts', import.meta.url).pathname,
  server: { port: 0, strictPort: false, hmr: false },
  logLevel: 'error',
});
await server.listen();
const base = server.resolvedUrls?.local[0];
const browser = await chromium.launch({ executablePath: findChromium(), args: ['--no-sandbox'] });
let failed = 0;
try {
  for (const [look, options, size] of LOOKS.filter(([name]) => looks.includes(name))) {
    for (const [name, scenario, path, steps] of SCREENS) {
      if (only.length > 0 && !only.includes(name)) continue;
      const context = await browser.newContext({
        viewport: process.env.WIDE ? { width: 1100, height: 800 } : { width: 390, height: 844 },
        deviceScaleFactor: 1,
        reducedMotion: 'reduce',
        ...options,
      });
      const page = await context.newPage();
      page.setDefaultTimeout(10_000);
      page.on('pageerror', (error) => console.error(`${look}/${name}: ${error.message}`));
      try {
        await page.goto(`${base}?demo=${scenario}#${path}`);
        await page.addStyleTag({ content: `html { font-size: ${size}px !important }` });
        await page.waitForTimeout(150);
        await steps(page);
        await page.waitForTimeout(120);
        const wider = await page.evaluate(() => {
          const offenders = [];
          for (const e of document.querySelectorAll('#app *')) {
            const box = e.getBoundingClientRect();
            if (
              box.width > 0 &&
              (box.right > innerWidth + 1 || box.left < -1) &&
              !e.closest('[aria-hidden=true], .sr-only')
            )
              offenders.push(`${e.tagName}.${e.className}`.slice(0, 80));
          }
          return offenders.slice(0, 2);
        });
        if (wider.length > 0) console.error(`${look}/${name}: wider than the screen: ${wider.join(' | ')}`);
        await page.screenshot({ path: `${out}${look}-${name}.png` });
      } catch (error) {
        failed += 1;
        console.error(`${look}/${name}: ${error.message.split('\n')[0]}`);
      } finally {
        await context.close();
      }
    }
  }
} finally {
  await browser.close();
  await server.close();
}
console.log(`Pictures are in ${out}`);
process.exit(failed > 0 ? 1 : 0);
