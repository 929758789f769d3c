// npm run bench -- wake: what a cold wake costs as a whole process, ours beside one of ldk-node (build, start, sync, stop),
// on the same chain, one after the other.
//
//   --channels 0,5,20   how many channels the wallets have with the LSP
//   --blocks 6,144      how many blocks were mined while they slept
//   --rtt 0,100         milliseconds added to each request of the chain server
//   --graph no,yes      without and with a network graph of mainnet's size on disk
//   --runs 5            measured runs of each; one more goes before and does not count
//
// Each combination is a cell. Both wallets open their channels, pay once and sleep; the folders of that moment are copied
// for every run, so that all begin from the same disk. Requests and bytes are those of the chain server, counted there; what
// goes to the Lightning peer and to the gossip server is not in them. The round trip is added to requests of the chain server only, not
// to connecting. With a graph, ours also fetches the news of a day, as on a phone; theirs does not.

import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { progress, say } from '../lib/console.mjs';
import { bringUp } from '../lib/devnet.mjs';
import { ensurePackages } from '../lib/ensure.mjs';
import { cache, released } from '../lib/paths.mjs';
import { Failed, run, stop } from '../lib/process.mjs';
import { budgets, MEASURES, ratios, spread, spreads } from './figures.mjs';
import { lastLine, Ours, Theirs, tool } from './wallets.mjs';

export const WAKE_OPTIONS = {
  channels: { type: 'string', default: '0,5,20' },
  blocks: { type: 'string', default: '6,144' },
  rtt: { type: 'string', default: '0,100' },
  graph: { type: 'string', default: 'no,yes' },
  runs: { type: 'string', default: '5' },
};

const CHANNEL_SAT = 200_000;
/** Besides the channels: for their fees and reserves, and to have a coin left. */
const SPARE_SAT = 1_000_000;
const RESERVE_SAT = 50_000;
/** What is paid over a channel, so that its state has moved. */
const PAID_MSAT = 10_000_000;
/** After so many blocks both ends call a channel usable. */
const CHANNEL_BLOCKS = 6;
/** How long the LSP may take to notice that a wallet has gone: at once as a rule, or when pings go unanswered. */
const GONE_LIMIT_MS = 60_000;
const POLL_MS = 50;

/** Measures all cells that the options name. */
export async function measureWakes(values) {
  const wanted = read(values);
  await ensurePackages('base', 'bitcoind');
  await build();
  const devnet = await bringUp(['--peers', '1', '--json'], { program: released('pilotlight-devnet') });
  // Beside the build cache: a temporary directory may be in memory, where a flush costs nothing.
  mkdirSync(join(cache, 'bench'), { recursive: true });
  const folder = mkdtempSync(join(cache, 'bench', 'wake-'));
  const goAway = () => rmSync(folder, { recursive: true, force: true });
  process.on('exit', goAway);
  try {
    const bench = new Bench(devnet, folder, wanted);
    await bench.prepare();
    for (const channels of wanted.channels) await bench.measure(channels);
    const { cells, graph, floor } = bench;
    return { runs: wanted.runs, floor_rss_kib: floor, graph, cells, budgets: budgets(cells) };
  } finally {
    await stop(devnet.child);
    goAway();
  }
}

/** Ours alone first: built together with others, its libraries would get the features that those ask for. */
async function build() {
  const cargo = (label, ...args) =>
    progress(label, (onLine) => run('cargo', ['build', '--release', '--locked', ...args], { onLine }));
  await cargo('building pilotlight-cli', '-p', 'pilotlight-cli');
  const devnet = ['-p', 'pilotlight-devnet', '--bins', '--example', 'wake-bench'];
  await cargo('building the devnet and the wallet made of ldk-node', ...devnet);
}

class Bench {
  constructor(devnet, folder, wanted) {
    this.devnet = devnet;
    this.folder = folder;
    this.wanted = wanted;
    this.wallets = [new Ours(devnet), new Theirs(devnet)];
    this.cells = [];
    this.graph = null;
    this.open = 0;
  }

  async prepare() {
    // Where measuring begins: a process takes over what its parent held when it started it.
    const nothing = await run(tool, ['measure', '--', 'true']);
    this.floor = lastLine(nothing).rss_kib;
    if (!this.wanted.graph.includes(true)) return;
    this.graphFile = join(this.folder, 'network_graph');
    const made = () => run(tool, ['make-graph', this.graphFile]);
    this.graph = lastLine(await progress('making a network graph', made));
    const [ours] = this.wallets;
    const map = () => ours.makeMap(join(this.folder, 'map'));
    this.graph.ours = await progress('letting our wallet make its map', map);
  }

  /** All cells with so many channels. */
  async measure(channels) {
    const homes = [];
    for (const wallet of this.wallets) homes.push([wallet, await this.make(wallet, channels)]);
    this.open += channels * this.wallets.length;
    const asleep = new Map();
    // Both fall asleep at the same block: making the second mined some that the first has not seen.
    for (const [wallet, home] of homes) asleep.set(wallet, await this.putToSleep(wallet, home, channels));
    let mined = 0;
    for (const blocks of this.wanted.blocks) {
      await this.devnet.ask('mine', blocks - mined);
      mined = blocks;
      for (const rtt of this.wanted.rtt) {
        for (const graph of this.wanted.graph) {
          await this.devnet.ask('rtt', rtt);
          await this.cell({ channels, blocks, rtt_ms: rtt, graph }, asleep);
        }
      }
    }
    await this.devnet.ask('rtt', 0);
  }

  /** Makes a wallet with channels that have been paid over, and gives its folder. */
  make(wallet, channels) {
    const home = join(this.folder, `${wallet.name}-${channels}`);
    return progress(`${wallet.name}: a wallet with ${channels} channels`, async (onLine) => {
      mkdirSync(home);
      const address = await wallet.address(home);
      await this.devnet.ask('fund', address, SPARE_SAT + channels * (CHANNEL_SAT + RESERVE_SAT));
      await this.devnet.ask('mine', 1);
      for (let n = 1; n <= channels; n += 1) {
        onLine(`channel ${n}`);
        await this.gone();
        await wallet.open(home, CHANNEL_SAT);
        // The LSP wants no more than a few unconfirmed channels of one peer.
        await this.devnet.ask('mine', 1);
      }
      if (channels > 0) {
        await this.devnet.ask('mine', CHANNEL_BLOCKS);
        await wallet.awaitChannels(home, channels);
        await this.gone();
        const { invoice } = await this.devnet.ask('invoice', 'lsp', PAID_MSAT);
        await wallet.pay(home, invoice);
      }
      return home;
    });
  }

  /** A last wake, so that nothing is left over from all that; gives the folders, without and with a graph. */
  async putToSleep(wallet, home, channels) {
    await this.wake(wallet, home, { channels });
    if (!this.wanted.graph.includes(true)) return { false: home };
    const withGraph = `${home}-graph`;
    cpSync(home, withGraph, { recursive: true });
    await wallet.installGraph(this.graphFile, withGraph);
    await this.checkGraph(wallet, withGraph);
    return { false: home, true: withGraph };
  }

  /** Whether the graph is read where it lies; a graph that is not read would cost nothing. */
  async checkGraph(wallet, folder) {
    const copy = this.copy(folder, wallet);
    const channels = await wallet.graphChannels(copy);
    await this.gone();
    if (channels !== null && channels < this.graph.channels)
      throw new Failed(
        `${wallet.name} has loaded ${channels} of ${this.graph.channels} channels of the graph`,
      );
  }

  async cell(where, asleep) {
    const runs = { ours: [], theirs: [] };
    const { channels, blocks, rtt_ms: rtt, graph } = where;
    const label = `${channels} channels, ${blocks} blocks, ${rtt} ms, ${graph ? 'with' : 'without'} a graph`;
    await progress(label, async (onLine) => {
      for (let round = 0; round <= this.wanted.runs; round += 1) {
        onLine(`run ${round} of ${this.wanted.runs}`);
        // Each goes first every other time.
        const order = round % 2 ? this.wallets : this.wallets.toReversed();
        for (const wallet of order) {
          const result = await this.wake(wallet, this.copy(asleep.get(wallet)[graph], wallet), where);
          if (round > 0) runs[wallet.name].push(result);
        }
      }
    });
    const left = (await this.devnet.ask('channels', 'lsp')).length;
    if (left !== this.open) throw new Failed(`the LSP has ${left} of ${this.open} channels left`);
    const [ours, theirs] = [spreads(runs.ours), spreads(runs.theirs)];
    this.cells.push({
      ...where,
      ours,
      theirs,
      ratio: ratios(ours, theirs),
      our_stages_ms: stages(runs.ours),
      their_usable_channels: spread(runs.theirs.map((result) => result.answer.usable)).median,
      endpoints: { ours: runs.ours.at(-1).endpoints, theirs: runs.theirs.at(-1).endpoints },
    });
  }

  copy(from, wallet) {
    const to = join(this.folder, `${wallet.name}-awake`);
    rmSync(to, { recursive: true, force: true });
    cpSync(from, to, { recursive: true });
    return to;
  }

  /** One cold wake, measured. A wake that did not do the work of its cell is no measurement, but a failure. */
  async wake(wallet, folder, { channels, blocks, graph }) {
    await this.gone();
    // What was copied must not be written to the disk on the measured program's time.
    await run('sync', []);
    const chain = await this.devnet.ask('info');
    await this.devnet.ask('traffic', '--reset');
    const command = ['measure', '--', ...wallet.wake(folder)];
    const said = [];
    const onLine = (line) => said.push(line);
    const env = wallet.wakeEnvironment(graph);
    const lines = (await run(tool, command, { env, onLine })).trim().split('\n');
    const traffic = await this.devnet.ask('traffic');
    const { code, signal, ...cost } = JSON.parse(lines.at(-1));
    const end = signal === null ? code : `signal ${signal}`;
    if (end !== 0) throw new Failed(`${wallet.name}: a wake ended with ${end}\n${said.join('\n')}`);
    const answer = JSON.parse(lines.at(-2));
    const flaw = wallet.flaw(answer, chain, { channels, blocks, graph });
    if (flaw) throw new Failed(`${wallet.name}: a wake does not count, ${flaw}`);
    const { requests, bytes_in: up, bytes_out: down, endpoints } = traffic;
    return { ...cost, requests, bytes: up + down, endpoints, answer };
  }

  /** Waits until the LSP has noticed that nobody is there: it would turn a second connection of a wallet away. */
  async gone() {
    const deadline = Date.now() + GONE_LIMIT_MS;
    while ((await this.devnet.ask('channels', 'lsp')).some((channel) => channel.is_usable)) {
      if (Date.now() > deadline) throw new Failed('the LSP still sees a wallet that has ended');
      await pause(POLL_MS);
    }
  }
}

/** Where our time goes, by the wakes' own records: medians in ms. */
function stages(runs) {
  const names = runs[0].answer.stages.map((stage) => stage.name);
  const took = (name) =>
    runs.map(({ answer }) => answer.stages.find((stage) => stage.name === name)?.duration_ms ?? 0);
  return Object.fromEntries(names.map((name) => [name, spread(took(name)).median]));
}

/** A row for each cell: our median, theirs, and the one in the other. */
export function printWakes({ runs, graph, floor_rss_kib: floor, cells, budgets: promised }) {
  const width = 26;
  const kilo = (value) => (value / 1000).toFixed(1);
  const shown = { rss_kib: (value) => (value * 1.024e-3).toFixed(1), bytes: kilo };
  const titles = { wall_ms: 'wall, ms', cpu_ms: 'CPU, ms', rss_kib: 'peak RSS, MB', bytes: 'kB' };
  const row = (where, values) =>
    say(where.padEnd(24) + values.map((value) => value.padStart(width)).join(''));
  say(`ours / ldk-node's = ratio, medians of ${runs} cold wakes; RSS counts from ${shown.rss_kib(floor)} MB`);
  if (graph)
    say(
      `graph: ${graph.nodes} nodes, ${graph.channels} channels, ${kilo(graph.bytes)} kB; our map: ` +
        `${graph.ours.nodes}, ${graph.ours.channels}, ${kilo(graph.ours.bytes)} kB, and a day's news fetched in each wake`,
    );
  row(
    'chan  blocks  rtt  graph',
    MEASURES.map((name) => titles[name] ?? name),
  );
  for (const cell of cells) {
    const { channels, blocks, rtt_ms: rtt, graph } = cell;
    const value = (name) => {
      const show = shown[name] ?? ((number) => String(Math.round(number)));
      const both = `${show(cell.ours[name].median)} / ${show(cell.theirs[name].median)}`;
      return `${both} = ${cell.ratio[name]?.toFixed(2) ?? '-'}`;
    };
    const where = [channels, blocks, rtt].map((number) => String(number).padEnd(6)).join('');
    row(`${where}${graph ? 'yes' : 'no'}`, MEASURES.map(value));
  }
  for (const { measure, of, limit, value, kept, rtt_ms: rtt, graph } of promised) {
    const where = `5 channels, 144 blocks, ${rtt} ms, ${graph ? 'with' : 'without'} graph`;
    say(`${kept ? 'kept  ' : 'MISSED'}  ${measure} ${of} ${value} of at most ${limit}  (${where})`);
  }
}

function read({ channels, blocks, rtt, graph, runs }) {
  const numbers = (name, text, least) => {
    const list = text.split(',').map(Number);
    if (list.some((number) => !Number.isInteger(number) || number < least))
      throw new Failed(`--${name} takes whole numbers from ${least}, with commas between: ${text}`);
    return [...new Set(list)].sort((a, b) => a - b);
  };
  const words = graph.split(',');
  if (words.some((word) => !['no', 'yes'].includes(word)))
    throw new Failed(`--graph takes no, yes, or no,yes: ${graph}`);
  const [count, ...more] = numbers('runs', runs, 1);
  if (more.length > 0) throw new Failed(`--runs takes one number: ${runs}`);
  return {
    channels: numbers('channels', channels, 0),
    blocks: numbers('blocks', blocks, 1),
    rtt: numbers('rtt', rtt, 0),
    graph: [...new Set(words)].map((word) => word === 'yes'),
    runs: count,
  };
}
