// npm run bench -- gossip: what the map of the network costs: applying news, writing, cold load until ready to route, memory
// and routes, ours beside LDK's own `NetworkGraph` of the same network, each in a process of its own, in turns.
//
//   --snapshot FILE   a Rapid Gossip Sync snapshot of mainnet; else a made-up network of mainnet's size
//   --rounds 7        processes of each; one more goes before and does not count
//   --routes 100      routes that each process looks for: the same for both, from 5,000 to 500,000 sat
//
// Memory is the growth of the process's peak. "Ready" is from nothing to the first question; the file is in the system's cache for
// both.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { progress, say } from '../lib/console.mjs';
import { cache } from '../lib/paths.mjs';
import { run } from '../lib/process.mjs';
import { spread } from './figures.mjs';

export const GOSSIP_OPTIONS = {
  snapshot: { type: 'string' },
  rounds: { type: 'string', default: '7' },
  routes: { type: 'string', default: '100' },
};

const EXAMPLE = ['--release', '--locked', '-p', 'pilotlight-node', '--example', 'gossip-bench'];
/** What was promised: ready in so much of LDK's time, or of its memory. */
const PROMISED = 0.6;
const MB = 1_000_000;

/** Measures both. */
export async function measureGossip(values) {
  const [rounds, routes] = ['rounds', 'routes'].map((name) => {
    if (!/^[1-9]\d*$/.test(values[name])) throw new Error(`--${name} takes a number, 1 or more`);
    return Number(values[name]);
  });
  await progress('building the benchmark', (onLine) => run('cargo', ['build', ...EXAMPLE], { onLine }));
  // Beside the build cache: a temporary directory may be in memory.
  mkdirSync(join(cache, 'bench'), { recursive: true });
  const folder = mkdtempSync(join(cache, 'bench', 'gossip-'));
  try {
    const once = async (...args) => {
      const out = await run('cargo', ['run', '--quiet', ...EXAMPLE, '--', ...args]);
      return JSON.parse(out.trim().split('\n').at(-1));
    };
    const snapshot = values.snapshot === undefined ? [] : ['--snapshot', resolve(values.snapshot)];
    const made = await progress('laying down the network', () => once('make', folder, ...snapshot));
    const runs = { ours: [], stock: [] };
    for (let round = 0; round <= rounds; round += 1) {
      await progress(`round ${round} of ${rounds}`, async () => {
        for (const who of ['ours', 'stock']) {
          const figures = await once(who, folder, '--routes', String(routes));
          if (round > 0) runs[who].push(figures);
        }
      });
    }
    return summary(made, runs);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The figures of all rounds, and ours in LDK's. */
export function summary(made, runs) {
  const of = (who) => ({
    ...made[who],
    ready_ms: spread(runs[who].map((run) => run.ready_ms)),
    ready_bytes: spread(runs[who].map((run) => run.ready_bytes)),
    first_route_ms: spread(runs[who].map((run) => run.first_route_ms)),
    peak_bytes: spread(runs[who].map((run) => run.peak_bytes)),
    route_ms: percentiles(runs[who].flatMap((run) => run.route_ms)),
  });
  const [ours, stock] = [of('ours'), of('stock')];
  const ratio = (name) => Number((ours[name].median / stock[name].median).toFixed(3));
  const ratios = Object.fromEntries(
    ['ready_ms', 'ready_bytes', 'first_route_ms', 'peak_bytes'].map((name) => [name, ratio(name)]),
  );
  return {
    network: { nodes: made.nodes, channels: made.channels, snapshot_bytes: made.snapshot_bytes },
    ours,
    stock,
    ratios,
    promised: PROMISED,
    kept: ratios.ready_ms <= PROMISED || ratios.ready_bytes <= PROMISED,
    routes: compared(runs.ours[0].found, runs.stock[0].found),
  };
}

/** The middle and the slow end. */
export function percentiles(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share) =>
    Number(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))].toFixed(2));
  return { p50: at(0.5), p95: at(0.95) };
}

/** Whether the same payments find a way, and what it costs: fees of both where both found one. */
export function compared(ours, stock) {
  const both = ours.map((route, nth) => [route, stock[nth]]).filter(([a, b]) => a !== null && b !== null);
  const fees = (side) => both.reduce((sum, pair) => sum + pair[side].fee_msat, 0);
  return {
    asked: ours.length,
    found: {
      ours: ours.filter((route) => route !== null).length,
      stock: stock.filter((route) => route !== null).length,
    },
    fees_of_ours_in_stock: fees(1) > 0 ? Number((fees(0) / fees(1)).toFixed(3)) : null,
    same_fee: both.filter(([a, b]) => a.fee_msat === b.fee_msat).length,
  };
}

export function printGossip({ network, ours, stock, ratios, routes, promised, kept }) {
  const row = (name, ...cells) =>
    say(name.padEnd(40) + cells.map((cell) => String(cell ?? '-').padStart(12)).join(''));
  const ms = (value) => (value === null ? '-' : value.toFixed(1));
  const mb = (bytes) => (bytes / MB).toFixed(1);
  say(`${network.nodes} nodes, ${network.channels} channels, a snapshot of ${mb(network.snapshot_bytes)} MB`);
  row('', 'ours', 'LDK', 'ratio');
  row('apply everything, ms', ms(ours.apply_full_ms), ms(stock.apply_full_ms));
  row("apply a day's news, ms", ms(ours.apply_day_ms), ms(stock.apply_day_ms));
  row('encode, ms', ms(ours.encode_ms), ms(stock.encode_ms));
  row('on disk, MB', mb(ours.bytes), mb(stock.bytes));
  row('ready to route, ms', ms(ours.ready_ms.median), ms(stock.ready_ms.median), ratios.ready_ms);
  row('memory when ready, MB', mb(ours.ready_bytes.median), mb(stock.ready_bytes.median), ratios.ready_bytes);
  row(
    'with the first route, ms',
    ms(ours.first_route_ms.median),
    ms(stock.first_route_ms.median),
    ratios.first_route_ms,
  );
  row(
    'peak memory with all routes, MB',
    mb(ours.peak_bytes.median),
    mb(stock.peak_bytes.median),
    ratios.peak_bytes,
  );
  row('a route, p50, ms', ours.route_ms.p50, stock.route_ms.p50);
  row('a route, p95, ms', ours.route_ms.p95, stock.route_ms.p95);
  row(`routes found of ${routes.asked}`, routes.found.ours, routes.found.stock);
  row('fees, ours in LDK’s', '', '', routes.fees_of_ours_in_stock);
  say(`ready in ${promised} of LDK's time or memory: ${kept ? 'kept' : 'NOT kept'}`);
}
