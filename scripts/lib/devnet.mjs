// The devnet and a wallet on it, as `npm start` needs them: brought up, funded, with a channel.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { progress } from './console.mjs';
import { built } from './paths.mjs';
import { Failed, run, start } from './process.mjs';

/** What the wallet is given, in sat, and how much of it goes into the channel. */
const MONEY_SAT = 1_000_000;
const CHANNEL_SAT = 500_000;
/** After so many blocks both ends call the channel usable. */
const CHANNEL_BLOCKS = 6;
/** Lines of a devnet that died worth showing. */
const LAST_LINES = 60;
/** Exit codes of `pilotlight-cli wake` with a record to read all the same: it was cut short, or done in part. */
const WAKE_CODES = [0, 4, 6];

/** Starts a regtest with `options` and resolves once it serves. It ends when we do. `program` is whose build of it. */
export function bringUp(options, { program = built('pilotlight-devnet') } = {}) {
  const folder = temporaryFolder('pilotlight-devnet-');
  return progress('starting the devnet: bitcoind, Esplora and Lightning peers', (onLine) => {
    return new Promise((resolve, reject) => {
      const words = [];
      let text = '';
      let info;
      const child = start(program, ['up', '--dir', folder, '--until-stdin-closes', ...options], {
        onLine: (line, stream) => {
          if (stream === 'stdout' && !info) {
            text += `${line}\n`;
            info = parsed(text);
            if (info) resolve(new Devnet(program, child, info));
          } else if (stream === 'stderr') {
            words.push(line);
            if (words.length > LAST_LINES) words.shift();
            if (!info) onLine(line.trim());
          }
        },
      });
      child.ended.then((code) => reject(new Failed(`the devnet ended with ${code}\n${words.join('\n')}`)));
    });
  });
}

class Devnet {
  constructor(program, child, info) {
    this.program = program;
    this.child = child;
    this.info = info;
  }

  /** The LSP as NODE_ID@HOST:PORT. */
  get lsp() {
    const lsp = this.info.peers.find((peer) => peer.name === 'lsp');
    return `${lsp.node_id}@${lsp.address}`;
  }

  /** Asks something of the running devnet. */
  async ask(...args) {
    const text = await run(this.program, args.map(String), {
      env: { PILOTLIGHT_DEVNET: this.info.control_url },
    });
    return parsed(text);
  }

  /** What a program must know to be a wallet on this devnet. */
  environment(folder) {
    return {
      PILOTLIGHT_DATA_DIR: folder,
      PILOTLIGHT_NETWORK: 'regtest',
      PILOTLIGHT_ESPLORA: this.info.esplora_url,
      PILOTLIGHT_GOSSIP: this.info.gossip_url,
      PILOTLIGHT_LSP: this.lsp,
      PILOTLIGHT_DEVNET: this.info.control_url,
    };
  }
}

/** A wallet of its own for this run: it is worth nothing without the chain, which is thrown away as well. */
export class Wallet {
  constructor(devnet) {
    this.devnet = devnet;
    this.folder = temporaryFolder('pilotlight-wallet-');
  }

  /** One command of pilotlight-cli, and its answer. */
  async cli(args, { onLine, codes } = {}) {
    const env = this.devnet.environment(this.folder);
    const text = await run(built('pilotlight-cli'), ['--json', ...args.map(String)], { env, onLine, codes });
    const answer = parsed(text);
    if (answer === undefined)
      throw new Failed(`pilotlight-cli ${args[0]} did not answer with JSON:\n${text}`);
    return answer;
  }

  /** Money from the faucet, and a channel with the LSP. */
  async prepare() {
    await progress('making a wallet', () => this.cli(['init']));
    await progress(`funding it with ${MONEY_SAT} sat`, async () => {
      const { address } = await this.cli(['address']);
      await this.devnet.ask('fund', address, MONEY_SAT);
      await this.devnet.ask('mine', 1);
    });
    await progress(`opening a channel of ${CHANNEL_SAT} sat with the LSP`, async (onLine) => {
      await this.cli(['open', this.devnet.lsp, CHANNEL_SAT], { onLine });
      await this.devnet.ask('mine', CHANNEL_BLOCKS);
    });
  }

  /** One wake, and its record. */
  wake(kind, budgetSecs) {
    return progress(`${kind} wake`, (onLine) =>
      this.cli(['wake', '--kind', kind, '--budget-secs', budgetSecs], { onLine, codes: WAKE_CODES }),
    );
  }
}

/** A folder that goes when we do. */
function temporaryFolder(prefix) {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
