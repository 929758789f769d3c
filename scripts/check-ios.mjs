// npm run check:ios: everything about the iPhone app that can be proved without a Mac.
//
// `npm run check:ios -- --archive` also builds the static library that Xcode would link, in release, and inspects its
// symbols: several minutes the first time, so not a part of `npm test`.

import { mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { iosSteps } from './ios/steps.mjs';
import { adoptBuilds, ensureNode, ensureNodeModules, ensureRust } from './lib/ensure.mjs';
import { dieTogether, show } from './lib/process.mjs';
import { step, summary } from './lib/steps.mjs';

const { values } = parseArgs({ options: { archive: { type: 'boolean' } } });
const reports = join(tmpdir(), `pilotlight-check-ios-${process.pid}`);

dieTogether();
const ready = await step('what the checks need', async () => {
  ensureNode();
  ensureRust();
  await adoptBuilds();
  await ensureNodeModules();
  mkdirSync(reports, { recursive: true });
  // The Rust shell embeds the built page, so everything that compiles it needs this first.
  return show('npm', ['run', '--silent', 'ui:build']);
});
if (ready) await iosSteps(reports, values);
rmSync(reports, { recursive: true, force: true });
process.exit(summary() ? 0 : 1);
