// npm test: everything that can be checked on this machine, in one go.
//
// `npm test -- --only lint|ui|rust|ios|e2e` does a part of it. A group that fails does not stop the others.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

import { iosSteps } from './ios/steps.mjs';
import { fail, progress, say } from './lib/console.mjs';
import { fromCargoTest, fromJUnit, fromVitest } from './lib/counts.mjs';
import {
  adoptBuilds,
  ensureElectrs,
  ensureNextest,
  ensureNode,
  ensureNodeModules,
  ensurePackages,
  ensureRust,
} from './lib/ensure.mjs';
import { built, root } from './lib/paths.mjs';
import { dieTogether, run, show } from './lib/process.mjs';
import { step, summary } from './lib/steps.mjs';

const PARTS = ['lint', 'ui', 'rust', 'ios', 'e2e'];
const UI_CONFIG = join('src-ui', 'vite.config.ts');
const GUEST_JS = join('plugins', 'tauri-plugin-background', 'guest-js');
const reports = join(tmpdir(), `pilotlight-test-${process.pid}`);

const only = chosenPart();
const runs = (...parts) => only === undefined || parts.includes(only);
process.env.CI ??= 'true';

async function prepare() {
  ensureNode();
  ensureRust();
  await adoptBuilds();
  // Linting and the tests of the shell compile the desktop app, so they need its libraries as well.
  await ensurePackages('base', 'window', ...(runs('rust', 'e2e') ? ['bitcoind', 'e2e'] : []));
  await ensureNodeModules();
  mkdirSync(reports, { recursive: true });
}

const npx = (...args) => show('npx', ['--no-install', ...args]);
const cargo = (...args) => show('cargo', args);

async function ui() {
  if (runs('lint')) await step('formatting of the Rust code', () => cargo('fmt', '--all', '--check'));
  if (runs('lint', 'ui')) {
    await step('formatting and lints of the UI and the scripts', () =>
      npx('biome', 'check', 'src-ui', 'scripts', 'package.json', 'biome.json', GUEST_JS),
    );
    await step('types of the UI', () => show('npm', ['run', '--silent', 'ui:check']));
    await step('types of the plugin for JavaScript', () => npx('tsc', '--noEmit', '-p', dirname(GUEST_JS)));
  }
  if (runs('ui')) {
    await step('tests of the UI', () => vitest('ui', UI_CONFIG));
    await step('tests of the plugin for JavaScript', () =>
      vitest('guest-js', join(GUEST_JS, 'vitest.config.ts')),
    );
    await step('tests of the scripts', () => nodeTests('scripts', testFiles('scripts')));
  }
  // The Rust shell embeds the built page, so everything that compiles it needs this first.
  await step('building the UI', () => show('npm', ['run', '--silent', 'ui:build']));
}

async function vitest(name, config) {
  const report = join(reports, `${name}.json`);
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const code = await npx('vitest', 'run', '--config', config, ...reporters);
  return { code, counts: fromVitest(read(report)) };
}

async function lint() {
  await step('clippy', () =>
    cargo('clippy', '--workspace', '--all-targets', '--locked', '--', '-D', 'warnings'),
  );
}

async function rust() {
  const nextest = await ensureNextest();
  await step('tests of the Rust code', async () => {
    if (!nextest) return cargoTest('--workspace', '--all-targets');
    // nextest writes into the checkout unless its configuration says otherwise, and that cannot name a variable.
    const report = join(reports, 'default', 'junit.xml');
    const config = join(reports, 'nextest.toml');
    const store = `[store]\ndir = ${JSON.stringify(reports)}\n\n`;
    writeFileSync(config, store + readFileSync(join(root, 'scripts', 'nextest.toml'), 'utf8'));
    const args = ['nextest', 'run', '--workspace', '--locked', '--config-file', config];
    const code = await show(nextest, args);
    return { code, counts: fromJUnit(read(report)) };
  });
  await step('examples in the documentation', () => cargoTest('--workspace', '--doc'));
}

async function cargoTest(...args) {
  let text = '';
  const onLine = (line) => {
    text += `${line}\n`;
    say(line);
  };
  try {
    await run('cargo', ['test', '--locked', '--no-fail-fast', ...args], { onLine });
    return { code: 0, counts: fromCargoTest(text) };
  } catch {
    return { code: 1, counts: fromCargoTest(text) };
  }
}

async function endToEnd() {
  await step('the app in its window, on a real chain', async () => {
    if (process.platform !== 'linux')
      return { code: 0, skipped: 'skipped: needs WebKitWebDriver, which is on Linux' };
    const folder = join('src-ui', 'e2e');
    const files = readdirSync(join(root, folder)).filter((name) => name.endsWith('.test.mjs'));
    if (files.length === 0) throw new Error(`there is no test in ${folder}`);
    return nodeTests(
      'e2e',
      files.map((name) => join(folder, name)),
    );
  });
}

/** Runs tests with node's own runner, one file after the other. */
async function nodeTests(name, files) {
  const report = join(reports, `${name}.xml`);
  const reporters = [
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    '--test-reporter=junit',
    `--test-reporter-destination=${report}`,
  ];
  const code = await show(process.execPath, ['--test', '--test-concurrency=1', ...reporters, ...files]);
  return { code, counts: fromJUnit(read(report)) };
}

/** Every test of a folder, and of the folders in it. */
function testFiles(folder) {
  return readdirSync(join(root, folder), { recursive: true })
    .filter((name) => name.endsWith('.test.mjs'))
    .map((name) => join(folder, name))
    .sort();
}

function read(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

function chosenPart() {
  const { values } = parseArgs({ options: { only: { type: 'string' } } });
  if (values.only !== undefined && !PARTS.includes(values.only)) {
    fail(`--only takes one of ${PARTS.join(', ')}`);
    process.exit(2);
  }
  return values.only;
}

dieTogether();
if (await step('what the tests need', () => prepare().then(() => 0))) {
  await ui();
  if (runs('lint')) await lint();
  if (runs('ios')) await iosSteps(reports);
  if (runs('rust', 'e2e')) {
    const args = ['build', '--workspace', '--all-targets', '--locked'];
    const isBuilt = await step('building the Rust code', () => cargo(...args));
    if (isBuilt) {
      await step('a bitcoind for the devnet', () =>
        progress('looking for bitcoind, or building it', (onLine) =>
          run(built('pilotlight-devnet'), ['bitcoind'], { onLine }).then(() => 0),
        ),
      );
    }
    if (runs('rust')) {
      await step('an electrs for the devnet', () => ensureElectrs().then(() => 0));
      await rust();
    }
    if (runs('e2e')) await endToEnd();
  }
}
rmSync(reports, { recursive: true, force: true });
process.exit(summary() ? 0 : 1);
