// npm run bench -- chain: what bringing a wallet to the tip costs, our own chain engine beside LDK's serial client, on the same
// chain, from copies of the same wallet, one after the other.
//
//   --channels 5,20       how many channels the wallet has with the LSP
//   --behind 6,144,1008   how many blocks were mined while it slept
//   --rtt 0,100           milliseconds added to each request of the chain server
//   --runs 5              measured runs of each; one more goes before and does not count
//
// `quick` is what a wake does, `deep` what an open app does, `serial` asks as deeply as the latter. Requests and bytes are those of
// the chain server, counted there. The round trip is added to requests only, not to connecting.

import { progress, say } from '../lib/console.mjs';
import { ensurePackages } from '../lib/ensure.mjs';
import { run } from '../lib/process.mjs';

const EXAMPLE = ['--release', '--locked', '-p', 'pilotlight-node', '--example', 'chain-bench'];

/** What a wake of ours may cost with 5 channels and 144 new blocks, as a share of the serial client's. */
const WALL_SHARE = 0.35;
/** The most requests that it may make then. */
const REQUESTS = 20;

/** What `bench wake` does not have as well. */
export const CHAIN_OPTIONS = { behind: { type: 'string', default: '6,144,1008' } };

export async function measureChain({ channels, behind: blocks, rtt, runs }) {
  await ensurePackages('base', 'bitcoind');
  await progress('building the benchmark', (onLine) => run('cargo', ['build', ...EXAMPLE], { onLine }));
  // A wallet without channels, which `bench wake` begins with, asks LDK's part nothing.
  const some = channels.split(',').filter((count) => count !== '0');
  const given = { channels: some.join(','), blocks, rtt, runs };
  const options = Object.entries(given).flatMap(([name, value]) => [`--${name}`, value]);
  const out = await progress('measuring chain syncs', (onLine) =>
    run('cargo', ['run', '--quiet', ...EXAMPLE, '--', 'run', ...options], { onLine }),
  );
  const figures = JSON.parse(out.trim().split('\n').at(-1));
  return { ...figures, budgets: budgets(figures.cells) };
}

function budgets(cells) {
  const named = cells.filter(({ channels, blocks }) => channels === 5 && blocks === 144);
  return named.flatMap(({ rtt_ms, quick, quick_ratio: ratio }) => {
    const budget = (measure, value, limit) => ({ measure, rtt_ms, value, limit, kept: value <= limit });
    const wall = rtt_ms === 100 ? [budget('wall_ms ratio', ratio.wall_ms, WALL_SHARE)] : [];
    return [...wall, budget('requests', quick.requests, REQUESTS)];
  });
}

export function printChain({ runs, cells, budgets: promised }) {
  say(`medians of ${runs} cold syncs; quick and deep are ours`);
  const row = (...values) => say(values.map((value, at) => String(value).padStart(at ? 12 : 26)).join(''));
  row('chan  blocks  rtt', 'wall, ms', 'requests', 'connections', 'kB', 'peak RSS, MB');
  for (const cell of cells) {
    const where = [cell.channels, cell.blocks, cell.rtt_ms].join('  ');
    for (const name of ['serial', 'quick', 'deep']) {
      const { wall_ms: wall, requests, connections, bytes, rss_kib: rss } = cell[name];
      row(
        `${where}  ${name}`,
        wall,
        requests,
        connections,
        (bytes / 1000).toFixed(1),
        (rss * 1.024e-3).toFixed(1),
      );
    }
  }
  for (const { measure, rtt_ms: rtt, value, limit, kept } of promised)
    say(
      `${kept ? 'kept  ' : 'MISSED'}  ${measure} ${value} of at most ${limit}  (5 channels, 144 blocks, ${rtt} ms)`,
    );
}
