/**
 * The real app in an environment that settles nothing, as a person would start it: practice or real bitcoin is a choice, and
 * on a computer a refusal in plain words. No wallet is made, so nobody on any network is asked anything.
 *
 * PILOTLIGHT_APP names the program; without it, that of the project's build is taken. Pictures are kept in
 * test-artifacts/e2e-choice.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { built, screen } from './processes.mjs';
import { App } from './webdriver.mjs';

/** An iPhone 14's points. */
const [WIDTH, HEIGHT] = [390, 844];
const START_MS = 60_000;

const artefacts = new URL('../../test-artifacts/e2e-choice/', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'pilotlight-e2e-choice-'));
/** As `tauri.conf.json` names the app. */
const kept = join(folder, 'app.pilotlight.wallet');

let display;
let app;

function environment() {
  const ours = Object.keys(process.env).filter((name) => name.startsWith('PILOTLIGHT_'));
  return {
    // What a developer set would settle the network.
    ...Object.fromEntries(ours.map((name) => [name, ''])),
    DISPLAY: display.display,
    GTK_THEME: 'Adwaita:light',
    NO_AT_BRIDGE: '1',
    XDG_DATA_HOME: folder,
  };
}
const start = () => App.start(built('PILOTLIGHT_APP', 'pilotlight'), environment());
const picture = (name) => app.picture(join(artefacts, `${name}.png`));

/** Asks the backend past the screens; gives the answer, or the code of the refusal. */
const ask = (command, args = {}) =>
  app.execute(
    `return window.__TAURI_INTERNALS__.invoke(arguments[0], arguments[1])
       .then((answer) => ({ answer }), (error) => ({ refused: error.code }))`,
    command,
    args,
  );
const inUse = async () => {
  const { answer } = await ask('overview');
  return [answer.network, answer.state];
};
const isChecked = (kind) =>
  app.execute(
    'return document.querySelector(arguments[0])?.checked ?? null',
    `[data-testid=money-${kind}] input`,
  );
/** A screen that slides in has no text for a moment. */
const says = (id, pattern) => app.until(`${pattern} in ${id}`, async () => pattern.test(await app.text(id)));
const onDisk = () => JSON.parse(readFileSync(join(kept, 'network-in-use.json'), 'utf8'));

before(
  async () => {
    rmSync(artefacts, { recursive: true, force: true });
    mkdirSync(artefacts, { recursive: true });
    display = await screen(WIDTH, HEIGHT);
    app = await start();
  },
  { timeout: START_MS },
);

after(
  async () => {
    await app?.end();
    await display?.program.end();
    rmSync(folder, { recursive: true, force: true });
  },
  { timeout: START_MS },
);

test('practice is what a new wallet begins with, and real bitcoin is refused on a computer', async () => {
  await app.find('welcome-create', START_MS);
  await app.click('welcome-create');
  await app.find('money-next');
  assert.deepEqual([await isChecked('practice'), await isChecked('real')], [true, false]);
  await picture('money');

  await app.click('money-real');
  await says('money-refused', /iPhone/);
  assert.equal(await app.attribute('money-next', 'disabled'), 'true');
  await picture('refused');
  assert.deepEqual(await ask('choose_network', { network: 'bitcoin' }), { refused: 'real_money_elsewhere' });
  assert.deepEqual(await inUse(), ['signet', 'none']);
  assert.throws(onDisk, { code: 'ENOENT' });

  await app.click('money-practice');
  await app.click('money-next');
  await says('create-network', /practice wallet/i);
  await picture('create');
});

test('names of no public network are refused', async () => {
  for (const network of ['', 'regtest', 'mainnet', '../signet', 'x'.repeat(100_000)]) {
    assert.deepEqual(await ask('choose_network', { network }), { refused: 'invalid_input' });
  }
});

test('a choice is in use at once, and after a restart', { timeout: 2 * START_MS }, async () => {
  assert.deepEqual(await ask('choose_network', { network: 'testnet4' }), { answer: null });
  assert.deepEqual(await inUse(), ['testnet4', 'none']);
  assert.equal(onDisk().network, 'testnet4');
  // The screen that is open hears of it.
  await says('create-network', /Testnet/);

  await app.end();
  app = await start();
  await app.find('welcome-restore', START_MS);
  assert.deepEqual(await inUse(), ['testnet4', 'none']);
  // Rows of launches are kept beside the choice, for all wallets.
  const status = await ask('background_status');
  assert.equal(status.answer.history.onDisk, true);

  await app.click('welcome-restore');
  await app.click('money-next');
  await says('restore-network', /Signet/);
  assert.deepEqual(await inUse(), ['signet', 'none']);
  assert.equal(onDisk().network, 'signet');
  await picture('restore');
});
