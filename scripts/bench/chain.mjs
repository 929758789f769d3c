// npm run bench -- chain: what bringing a wallet to the tip costs: our chain sources, LDK's serial client, and ldk-node, on the same
// chain, from copies of sleeping wallets, one after the other.
//
//   --channels 5,20       how many channels the wallets have with the LSP
//   --behind 6,144,1008   how many blocks were mined while they slept
//   --rtt 0,100           milliseconds of a round trip
//   --runs 5              measured runs of each; one more goes before and does not count
//
// `quick` and `deep` are ours over Esplora, as a wake and as an open app look; `electrum` is ours over electrs, as a wake looks;
// `filters` are ours over two peers of the Bitcoin network. `serial` is `lightning-transaction-sync` with `bdk_esplora` and asks as
// deeply as `deep`, `electrum-serial` the same with `bdk_electrum`; `ldk-node` and `electrum-ldk-node` are its `sync_wallets` alone,
// without build, start and stop; it gives LDK's part up after 10 s, and that is said then.
//
// Requests and bytes are counted on the way, but for the requests of filters, which are our own questions and not the bulk of filters. Over
// Esplora the round trip is added to requests and not to connecting; elsewhere to whatever is said.

import { progress, say } from '../lib/console.mjs';
import { ensureElectrs, ensurePackages } from '../lib/ensure.mjs';
import { released } from '../lib/paths.mjs';
import { run } from '../lib/process.mjs';
import { tool } from './wallets.mjs';

const program = released('examples/chain-bench');

/** What a wake of ours may take with 5 channels, 144 new blocks and a slow network, as a share of either rival's time. */
const WALL_SHARE = 0.35;
const RIVALS = ['quick/serial', 'quick/ldk-node', 'electrum/electrum-serial', 'electrum/electrum-ldk-node'];
/** The most requests that it may make over Esplora then. */
const REQUESTS = 20;

/** What `bench wake` does not have as well. */
export const CHAIN_OPTIONS = { behind: { type: 'string', default: '6,144,1008' } };

export async function measureChain({ channels, behind: blocks, rtt, runs }) {
  await ensurePackages('base', 'bitcoind');
  await ensureElectrs();
  const build = (label, ...what) =>
    progress(label, (onLine) => run('cargo', ['build', '--release', '--locked', ...what], { onLine }));
  await build('building the benchmark', '-p', 'pilotlight-node', '--example', 'chain-bench');
  await build('building the wallet made of ldk-node', '-p', 'pilotlight-devnet', '--example', 'wake-bench');
  // A wallet without channels, which `bench wake` begins with, asks LDK's part nothing.
  const some = channels.split(',').filter((count) => count !== '0');
  const given = { theirs: tool, channels: some.join(','), blocks, rtt, runs };
  const options = Object.entries(given).flatMap(([name, value]) => [`--${name}`, value]);
  const out = await progress('measuring chain syncs', (onLine) =>
    run(program, ['run', ...options], { onLine }),
  );
  const figures = JSON.parse(out.trim().split('\n').at(-1));
  return { ...figures, budgets: budgets(figures.cells) };
}

function budgets(cells) {
  const named = cells.filter(({ channels, blocks }) => channels === 5 && blocks === 144);
  return named.flatMap((cell) => {
    const { rtt_ms } = cell;
    const kept = (value, limit) => value !== null && value <= limit;
    const budget = (measure, value, limit) => ({ measure, rtt_ms, value, limit, kept: kept(value, limit) });
    const rivals = rtt_ms === 100 ? RIVALS : [];
    const walls = rivals.map((pair) => budget(`wall of ${pair}`, cell[pair].wall_ms, WALL_SHARE));
    return [...walls, budget('requests of quick', cell.quick.requests, REQUESTS)];
  });
}

export function printChain({ runs, cells, budgets: promised }) {
  say(`medians of ${runs} cold syncs`);
  const row = (...values) => say(values.map((value, at) => String(value).padStart(at ? 13 : 28)).join(''));
  row('chan  blocks  rtt', 'wall, ms', 'requests', 'connections', 'kB', 'peak RSS, MB');
  for (const cell of cells) {
    const where = [cell.channels, cell.blocks, cell.rtt_ms].join('  ');
    const isContestant = ([name, value]) => typeof value === 'object' && !name.includes('/');
    for (const [name, figures] of Object.entries(cell).filter(isContestant)) {
      const { wall_ms: wall, requests, connections, bytes, rss_kib: rss, failed } = figures;
      const kB = (bytes / 1000).toFixed(1);
      if (failed) row(`${where}  ${name}`, 'gave up', requests, connections, kB, failed);
      else row(`${where}  ${name}`, wall, requests, connections, kB, (rss * 1.024e-3).toFixed(1));
    }
  }
  for (const { measure, rtt_ms: rtt, value, limit, kept } of promised)
    say(
      `${kept ? 'kept  ' : 'MISSED'}  ${measure} ${value} of at most ${limit}  (5 channels, 144 blocks, ${rtt} ms)`,
    );
}
