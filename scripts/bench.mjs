// npm run bench: figures, measured side by side in one run.
//
// `npm run bench -- store` measures the store and its SQLite twin. With `--json` the result is JSON on stdout.

import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { fail, progress, say } from './lib/console.mjs';
import { adoptBuilds } from './lib/ensure.mjs';
import { cache } from './lib/paths.mjs';
import { dieTogether, run } from './lib/process.mjs';

/** What can be measured: a function that resolves to figures, and one that prints them for a person. */
const SUBJECTS = { store: { measure: store, print: printStore } };

async function store() {
  const example = ['--release', '--locked', '-p', 'pilotlight-store', '--example', 'store-bench'];
  await progress('building the benchmark', (onLine) => run('cargo', ['build', ...example], { onLine }));
  const out = await progress('measuring the store', (onLine) =>
    // Beside the build cache: a temporary directory may be in memory, where a flush costs nothing.
    run('cargo', ['run', '--quiet', ...example, '--', '--directory', join(cache, 'bench')], { onLine }),
  );
  return JSON.parse(out.trim().split('\n').at(-1));
}

function printStore({ sled, sqlite, group_commit_gain: gain, value_bytes: bytes }) {
  const row = (name, ...cells) =>
    say(name.padEnd(34) + cells.map((cell) => String(cell).padStart(12)).join(''));
  row('', 'sled', 'sqlite');
  for (const at of ['p50', 'p99'])
    row(`put of ${bytes} bytes, ${at}, us`, sled.put_us[at], sqlite.put_us[at]);
  for (const writers of Object.keys(sled.writes_per_second))
    row(
      `writes/s with ${writers} writers`,
      sled.writes_per_second[writers],
      sqlite.writes_per_second[writers],
    );
  for (const size of Object.keys(sled.open_ms))
    row(`open at ${size.replace('_mb', ' MB')}, ms`, sled.open_ms[size], sqlite.open_ms[size]);
  row('32 writers over 1', `${gain.sled}x`, `${gain.sqlite}x`);
}

const { values, positionals } = parseArgs({ options: { json: { type: 'boolean' } }, allowPositionals: true });
const wanted = positionals.length > 0 ? positionals : Object.keys(SUBJECTS);
const unknown = wanted.find((name) => !Object.hasOwn(SUBJECTS, name));
if (unknown !== undefined) {
  fail(`there is no benchmark "${unknown}"; there is ${Object.keys(SUBJECTS).join(', ')}`);
  process.exit(2);
}

dieTogether();
try {
  await adoptBuilds();
  const results = {};
  for (const name of wanted) {
    results[name] = await SUBJECTS[name].measure();
    if (!values.json) SUBJECTS[name].print(results[name]);
  }
  if (values.json) process.stdout.write(`${JSON.stringify(results)}\n`);
} catch (error) {
  fail(error.message);
  process.exit(1);
}
