// The checks of the iPhone app, in the order in which a mistake is cheapest to find.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { fromJUnit } from '../lib/counts.mjs';
import { show } from '../lib/process.mjs';
import { step } from '../lib/steps.mjs';
import { compareHosts } from './abi.mjs';
import { inspectArchive } from './archive.mjs';
import { DEVICE, rustForIos, rustSupport, SIMULATOR } from './rust.mjs';
import { swiftSupport } from './swift.mjs';

const SWIFT = join('scripts', 'ios', 'swift.mjs');

/** Does them all. `reports` is a folder for the runners' files; `archive` also builds what Xcode would link. */
export async function iosSteps(reports, { archive = false } = {}) {
  await step('iOS: the functions between Rust and Swift', async () => {
    const differences = compareHosts();
    if (differences.length > 0) throw new Error(differences.join('\n'));
    return 0;
  });
  const noRust = rustSupport();
  const rust = (name, work) =>
    step(name, async () => (noRust ? { code: 0, skipped: `skipped: ${noRust}` } : work()));
  await rust('iOS: types of the Rust code, on a device', () => rustForIos(DEVICE, ['check', '--lib']));
  await rust('iOS: types of the Rust code, in the simulator', () =>
    rustForIos(SIMULATOR, ['check', '-p', 'tauri-plugin-background']),
  );
  const noSwift = swiftSupport();
  const swift = (name, args, work = (code) => code) =>
    step(name, async () =>
      noSwift
        ? { code: 0, skipped: `skipped: ${noSwift}` }
        : work(await show(process.execPath, [SWIFT, ...args])),
    );
  await swift('iOS: types of the Swift host', ['types']);
  const report = join(reports, 'swift.xml');
  await swift('iOS: tests of the Swift host', ['test', '--report', report], (code) => ({
    code,
    counts: existsSync(report) ? fromJUnit(readFileSync(report, 'utf8')) : null,
  }));
  await swift('iOS: a broken Swift host fails its tests', ['mutant']);
  if (archive)
    await rust('iOS: the static library that Xcode links', async () => {
      const code = await rustForIos(DEVICE, ['build', '--lib', '--release']);
      return code === 0 ? inspectArchive() : code;
    });
}
