// The two wallets that `npm run bench -- wake` compares: how each is made, fed, put to sleep and woken. Knows nothing of
// figures.

import { cpSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { released } from '../lib/paths.mjs';
import { Failed, run } from '../lib/process.mjs';

/** The other programs of this benchmark. */
export const tool = released(join('examples', 'wake-bench'));

/** Where a wallet of ours keeps its map. */
const MAP = 'gossip';

/** Channels that a day's news may speak of; more were not only what changed. */
const MOST_NEWS = 20_000;

/** Tries until all channels are usable; each is a start, a sync and a handshake. */
const TRIES = 20;

/** Ours: `pilotlight-cli`, as it is released. */
export class Ours {
  name = 'ours';

  constructor(devnet) {
    this.devnet = devnet;
  }

  command(folder, ...args) {
    const { esplora_url: esplora } = this.devnet.info;
    const where = ['--data-dir', folder, '--network', 'regtest', '--esplora', esplora];
    return [released('pilotlight-cli'), '--json', ...where, ...args.map(String)];
  }

  async ask(folder, ...args) {
    const [program, ...rest] = this.command(folder, ...args);
    return lastLine(await run(program, rest, { env: WITHOUT_LSP }));
  }

  async address(folder) {
    await this.ask(folder, 'init');
    return (await this.ask(folder, 'address')).address;
  }

  open(folder, sats) {
    return this.ask(folder, 'open', this.devnet.lsp, sats);
  }

  async awaitChannels(folder, count) {
    for (let tries = 0; tries < TRIES; tries += 1) {
      const channels = await this.ask(folder, 'channels');
      if (channels.filter((channel) => channel.usable).length === count) return;
    }
    throw new Failed(`ours: ${count} channels did not become usable`);
  }

  async pay(folder, invoice) {
    await this.ask(folder, 'pay', invoice);
  }

  /**
   * Makes its own map of a network of mainnet's size, as a phone on its charger does, and keeps it. What a day changes is
   * published then: each wake with a map fetches it.
   */
  async makeMap(folder) {
    const made = await this.devnet.ask('publish-network', '--hours-ago', 48);
    mkdirSync(folder);
    await this.ask(folder, 'init');
    const charging = ['--kind', 'processing', '--data', 'unmetered', '--on-power', 'true'];
    const [program, ...args] = this.command(folder, 'wake', ...charging);
    const record = lastLine(await run(program, [...args], { env: { ...WITHOUT_LSP, ...this.gossip } }));
    if (record.graph_channels_updated !== made.channels)
      throw new Failed(`ours: the map has ${record.graph_channels_updated} of ${made.channels} channels`);
    this.map = join(folder, MAP);
    await this.devnet.ask('publish-network', '--days', 1, '--hours-ago', 24);
    return { ...made, bytes: statSync(join(this.map, 'map')).size };
  }

  get gossip() {
    return { PILOTLIGHT_GOSSIP: this.devnet.info.gossip_url };
  }

  async installGraph(_file, folder) {
    cpSync(this.map, join(folder, MAP), { recursive: true });
  }

  /** Said by the wakes themselves: what they fetch follows upon the map on disk. */
  async graphChannels() {
    return null;
  }

  wake(folder) {
    return this.command(folder, 'wake', '--kind', 'refresh');
  }

  /** With a map, the news of the network are fetched too; a phone does it in the same wake. */
  wakeEnvironment(graph) {
    return graph ? { ...WITHOUT_LSP, ...this.gossip } : WITHOUT_LSP;
  }

  /** Why a wake with this record does not count; nothing if it does. */
  flaw(record, { height }, { channels, blocks = record.blocks_synced, graph = false }) {
    const news = record.graph_channels_updated;
    if (graph ? news === 0 || news > MOST_NEWS : news > 0) return `it fetched news of ${news} channels`;
    if (record.outcome !== 'completed') return `it ended ${record.outcome}: ${JSON.stringify(record.error)}`;
    if (record.tip_height !== height) return `it saw block ${record.tip_height}, not ${height}`;
    if (record.blocks_synced !== blocks) return `it went over ${record.blocks_synced} blocks, not ${blocks}`;
    if (record.channels_updated !== channels)
      return `${record.channels_updated} of ${channels} channels were re-established`;
  }
}

/** Theirs: the least that ldk-node asks one to write. */
export class Theirs {
  name = 'theirs';

  constructor(devnet) {
    this.devnet = devnet;
  }

  command(folder, ...args) {
    const where = ['--dir', folder, '--esplora', this.devnet.info.esplora_url];
    return [tool, 'theirs', ...where, ...args.map(String)];
  }

  async ask(folder, ...args) {
    const [program, ...rest] = this.command(folder, ...args);
    return lastLine(await run(program, rest));
  }

  async address(folder) {
    return (await this.ask(folder, 'address')).address;
  }

  open(folder, sats) {
    return this.ask(folder, 'open', ...this.devnet.lsp.split('@'), sats);
  }

  awaitChannels(folder, count) {
    return this.ask(folder, 'await-channels', count);
  }

  pay(folder, invoice) {
    return this.ask(folder, 'pay', invoice);
  }

  installGraph(file, folder) {
    return run(tool, ['install-graph', file, folder]);
  }

  async graphChannels(folder) {
    return (await this.ask(folder, 'graph')).channels;
  }

  wake(folder) {
    return this.command(folder, 'wake');
  }

  wakeEnvironment() {
    return WITHOUT_LSP;
  }

  /** The same; it does not wait for its channels to be re-established, so that is not asked of it. */
  flaw(answer, { tip, height }, { channels }) {
    if (answer.tip !== tip) return `it saw block ${answer.height}, not ${height}`;
    if (answer.channels !== channels) return `it has ${answer.channels} of ${channels} channels`;
  }
}

/** Without channels, theirs connects to nobody; then ours must not either. */
export const WITHOUT_LSP = { PILOTLIGHT_LSP: undefined };

export const lastLine = (text) => JSON.parse(text.trim().split('\n').at(-1));
