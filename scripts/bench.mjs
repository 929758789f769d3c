// npm run bench: figures, measured side by side in one run.
//
// `npm run bench -- store` measures the store and its SQLite twin.
// `npm run bench -- wake` measures cold wakes of ours and of a wallet made of ldk-node; `bench/wake.mjs` has its options.
// `npm run bench -- chain` measures what bringing a wallet to the tip costs, our engine beside LDK's serial client.
// `npm run bench -- gossip` measures the map of the network beside LDK's graph; `bench/gossip.mjs` has its options.
// `npm run bench -- fortnight` lives 14 simulated days on 1,000 phones; `--seeds N` on so many, `--seed N` on that one.
// With `--json` the result is JSON on stdout.

import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { CHAIN_OPTIONS, measureChain, printChain } from './bench/chain.mjs';
import { GOSSIP_OPTIONS, measureGossip, printGossip } from './bench/gossip.mjs';
import { measureWakes, printWakes, WAKE_OPTIONS } from './bench/wake.mjs';
import { fail, progress, say } from './lib/console.mjs';
import { adoptBuilds, ensurePackages } from './lib/ensure.mjs';
import { cache } from './lib/paths.mjs';
import { dieTogether, run } from './lib/process.mjs';

/** What can be measured: a function that resolves to figures, and one that prints them for a person. */
const SUBJECTS = {
  store: { measure: store, print: printStore },
  wake: { measure: measureWakes, print: printWakes },
  gossip: { measure: measureGossip, print: printGossip },
  chain: { measure: measureChain, print: printChain },
  fortnight: { measure: fortnight, print: printFortnight },
};

/** Phones that `fortnight` lives on, unless told otherwise. */
const PHONES = 1000;

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

async function fortnight({ seed, seeds }) {
  // Not optimised, and without the page, as `npm start` builds it: time is virtual, so the figures are the same.
  const example = ['--locked', '--no-default-features', '-p', 'pilotlight', '--example', 'fortnight'];
  await ensurePackages('base', 'window');
  await progress('building the simulation', (onLine) => run('cargo', ['build', ...example], { onLine }));
  const phones = seed === undefined ? ['--seeds', String(seeds ?? PHONES)] : ['--seed', String(seed)];
  const out = await progress('living a fortnight', (onLine) =>
    run('cargo', ['run', '--quiet', ...example, '--', ...phones], { onLine }),
  );
  return JSON.parse(out.trim().split('\n').at(-1));
}

function printFortnight(figures) {
  const row = (name, ...cells) =>
    say(name.padEnd(36) + cells.map((cell) => String(cell).padStart(12)).join(''));
  const many = figures.seeds !== undefined;
  say(many ? `${figures.seeds} phones, ${figures.days} days each` : `phone ${figures.seed}, 14 days`);
  row('wakes, how they ended', 'granted', 'completed', 'partial', 'expired', 'failed');
  for (const kind of ['refresh', 'processing']) {
    const { granted, ...ends } = figures[kind];
    const share = (end) => (many ? `${(ends[end] * 100).toFixed(1)} %` : ends[end]);
    row(kind, granted, ...['completed', 'partial', 'expired', 'failed'].map(share));
  }
  row('hours between chain checks', 'median', 'p95', 'worst');
  const gaps = ({ median_hours: median, p95_hours: p95, worst_hours: worst }) => [median, p95, worst];
  row('openings by the person included', ...gaps(figures.gaps));
  row('in the background alone', ...gaps(figures.background_gaps));
  if (many) {
    const spread = ({ median, p95, worst }) => [median, p95, worst];
    row("each phone's worst", ...spread(figures.worst_gap_hours));
    row('in the background alone', ...spread(figures.background_worst_gap_hours));
    row('where no force-quit had a part', ...spread(figures.worst_gap_without_force_quit_hours));
    row('share of phones with a gap over', '24 h', '48 h', '2016 blocks');
    const shares = (of) => Object.values(of).map((share) => `${(share * 100).toFixed(1)} %`);
    row('openings by the person included', ...shares(figures.worst_gap_exceeds));
    row('where no force-quit had a part', ...shares(figures.worst_gap_without_force_quit_exceeds));
    row('wakes a day, the median phone', figures.wakes_per_day.median);
  } else {
    row('hours swiped away', figures.force_quit_hours);
    row('hours without a request', figures.hours_without_a_request);
  }
}

const { values, positionals } = parseArgs({
  options: {
    json: { type: 'boolean' },
    seed: { type: 'string' },
    seeds: { type: 'string' },
    ...WAKE_OPTIONS,
    ...GOSSIP_OPTIONS,
    ...CHAIN_OPTIONS,
  },
  allowPositionals: true,
});
const wanted = positionals.length > 0 ? positionals : Object.keys(SUBJECTS);
const unknown = wanted.find((name) => !Object.hasOwn(SUBJECTS, name));
if (unknown !== undefined) {
  fail(`there is no benchmark "${unknown}"; there is ${Object.keys(SUBJECTS).join(', ')}`);
  process.exit(2);
}
const wrong = ['seed', 'seeds'].find((name) => values[name] !== undefined && !/^\d+$/.test(values[name]));
if (wrong !== undefined) {
  fail(`--${wrong} takes a number`);
  process.exit(2);
}
if (values.seed !== undefined && values.seeds !== undefined) {
  fail('--seed is for one phone, --seeds for many');
  process.exit(2);
}

dieTogether();
try {
  await adoptBuilds();
  const results = {};
  for (const name of wanted) {
    results[name] = await SUBJECTS[name].measure(values);
    if (!values.json) SUBJECTS[name].print(results[name]);
  }
  if (values.json) process.stdout.write(`${JSON.stringify(results)}\n`);
} catch (error) {
  fail(error.message);
  process.exit(1);
}
