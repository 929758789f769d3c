// npm start: the wallet in its window, with money and a channel, on a real regtest that lives as long as the window.
//
// `npm start -- --headless`: the same wallet without a window does one refresh and one processing wake; their records
// are printed as JSON on stdout, and nothing else is.

import { parseArgs } from 'node:util';

import { fail, progress, say } from './lib/console.mjs';
import { bringUp, Wallet } from './lib/devnet.mjs';
import { adoptBuilds, ensureNode, ensureNodeModules, ensurePackages, ensureRust } from './lib/ensure.mjs';
import { built } from './lib/paths.mjs';
import { dieTogether, isLeaving, run, start, stop } from './lib/process.mjs';

/** Blocks between the two wakes without a window, so that the second has something to catch up with. */
const BLOCKS_BETWEEN = 3;
/** What iOS grants, about. */
const REFRESH_SECS = 30;
const PROCESSING_SECS = 240;
/** With a window, blocks come by themselves: often enough to watch, seldom enough to read. */
const AUTO_MINE_SECS = 20;
/**
 * With a window, the simulated system launches a refresh task this often, where a phone would let half an hour pass: a
 * new wake record within the first minute of looking, with two blocks or so to tell of, and seldom enough to read it.
 */
const WAKE_EVERY_SECS = 45;

const USAGE = `usage: npm start [-- --headless]

  (nothing)    open the wallet in a window, on a regtest of its own, with money and a channel
  --headless   no window: do one refresh and one processing wake, print their records as JSON`;

async function main() {
  const { values } = parseArgs({
    options: { headless: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
  });
  if (values.help) {
    say(USAGE);
    return 0;
  }
  const headless = values.headless ?? false;
  ensureNode();
  if (!headless && process.platform === 'linux' && !process.env.DISPLAY && !process.env.WAYLAND_DISPLAY) {
    fail('There is no display to open a window on. Without one: npm start -- --headless');
    return 1;
  }
  ensureRust();
  await adoptBuilds();
  await ensurePackages('base', 'bitcoind', ...(headless ? [] : ['window']));
  await build(headless);
  return headless ? withoutWindow() : withWindow();
}

async function build(headless) {
  const packages = ['-p', 'pilotlight-devnet', '-p', 'pilotlight-cli'];
  if (!headless) {
    await ensureNodeModules();
    // The shell embeds the built page.
    await progress('building the screens', (onLine) =>
      run('npm', ['run', '--silent', 'ui:build'], { onLine }),
    );
    packages.push('-p', 'pilotlight');
  }
  const args = ['build', '--locked', '--bins', ...packages];
  await progress('building the Rust code (the first time takes minutes)', (onLine) =>
    run('cargo', args, { onLine }),
  );
}

async function withoutWindow() {
  const devnet = await bringUp([]);
  const wallet = new Wallet(devnet);
  await wallet.prepare();
  const refresh = await wallet.wake('refresh', REFRESH_SECS);
  await progress(`mining ${BLOCKS_BETWEEN} blocks`, () => devnet.ask('mine', BLOCKS_BETWEEN));
  const processing = await wallet.wake('processing', PROCESSING_SECS);
  await stop(devnet.child);

  const records = [refresh, processing];
  process.stdout.write(`${JSON.stringify(records, null, 2)}\n`);
  const good = records.every((record) => record.outcome === 'completed' && record.blocks_synced > 0);
  if (!good) fail('a wake was not completed, or saw no block');
  return good ? 0 : 1;
}

async function withWindow() {
  const devnet = await bringUp(['--auto-mine', String(AUTO_MINE_SECS)]);
  const wallet = new Wallet(devnet);
  await wallet.prepare();
  // The window opens on a wallet that has been woken before, as a person's would.
  await wallet.wake('refresh', REFRESH_SECS);
  say(`The chain server is at ${devnet.info.esplora_url}, the LSP is ${devnet.lsp}.`);
  say('Close the window, or press Ctrl-C, and everything ends.');
  const env = {
    RUST_LOG: 'warn',
    PILOTLIGHT_WAKE_EVERY_SECS: String(WAKE_EVERY_SECS),
    ...process.env,
    ...devnet.environment(wallet.folder),
  };
  const app = start(built('pilotlight'), [], { env, onLine: say });
  const first = await Promise.race([
    app.ended.then((code) => ({ who: 'the app', code })),
    devnet.child.ended.then((code) => ({ who: 'the devnet', code })),
  ]);
  await Promise.all([stop(app), stop(devnet.child)]);
  if (isLeaving() || (first.who === 'the app' && first.code === 0)) return 0;
  fail(`${first.who} ended with ${first.code}`);
  return 1;
}

dieTogether();
main()
  .catch((error) => {
    if (!isLeaving()) fail(error.message);
    return 1;
  })
  // On a signal, its handler ends us once the children are gone.
  .then((code) => isLeaving() || process.exit(code));
