// The two wallets that `npm run bench -- wake` compares: how each is made, fed, put to sleep and woken. Knows nothing of
// figures.

import { copyFileSync } from 'node:fs';
import { join } from 'node:path';

import { released } from '../lib/paths.mjs';
import { Failed, run } from '../lib/process.mjs';

/** The other programs of this benchmark. */
export const tool = released(join('examples', 'wake-bench'));

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

  /** It has no graph yet and reads none: to it, this is a file like any other. */
  async installGraph(file, folder) {
    copyFileSync(file, join(folder, 'network_graph'));
  }

  async graphChannels() {
    return null;
  }

  wake(folder) {
    return this.command(folder, 'wake', '--kind', 'refresh');
  }

  /** Why a wake with this record does not count; nothing if it does. */
  flaw(record, { height }, { channels, blocks = record.blocks_synced }) {
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

  /** The same; it does not wait for its channels to be re-established, so that is not asked of it. */
  flaw(answer, { tip, height }, { channels }) {
    if (answer.tip !== tip) return `it saw block ${answer.height}, not ${height}`;
    if (answer.channels !== channels) return `it has ${answer.channels} of ${channels} channels`;
  }
}

/** Without channels, theirs connects to nobody; then ours must not either. */
export const WITHOUT_LSP = { PILOTLIGHT_LSP: undefined };

export const lastLine = (text) => JSON.parse(text.trim().split('\n').at(-1));
