/**
 * Starting and surely ending the programs a test needs: each in a process group of its own, so that nothing outlives
 * the test, whatever it started in turn.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** What a program gets to end by itself before it is killed. The app's own stop is bounded at 5 s. */
const GRACE_MS = 8_000;
/** Of a program's output, what is kept for the message of a failure. */
const KEPT_CHARS = 8_000;

const alive = new Set();

/** A program started by a test. */
export class Program {
  #output = '';
  #lines = [];
  #waiting = [];
  #ended;

  constructor(name, command, args, { env = {}, stdio = ['pipe', 'pipe', 'pipe'] } = {}) {
    this.name = name;
    this.child = spawn(command, args, { env: { ...process.env, ...env }, stdio, detached: true });
    this.#ended = new Promise((resolve) => {
      this.child.once('error', (error) => {
        this.#output += String(error);
        resolve('error');
      });
      this.child.once('exit', (code, signal) => resolve(signal ?? code));
    });
    let rest = '';
    for (const stream of [this.child.stdout, this.child.stderr, ...this.child.stdio.slice(3)]) {
      stream?.setEncoding?.('utf8');
      stream?.on('data', (text) => {
        this.#output = (this.#output + text).slice(-KEPT_CHARS);
        if (stream === this.child.stderr) return;
        const parts = (rest + text).split('\n');
        rest = parts.pop() ?? '';
        this.#lines.push(...parts);
        for (const wake of this.#waiting.splice(0)) wake();
      });
    }
    alive.add(this);
  }

  get output() {
    return this.#output;
  }

  /** The first line for which `read` gives something, and that something. */
  async line(read, timeoutMs) {
    const deadline = Date.now() + timeoutMs;
    let at = 0;
    let ended = null;
    this.#ended.then((how) => {
      ended = how;
    });
    for (;;) {
      for (; at < this.#lines.length; at += 1) {
        const found = read(this.#lines[at]);
        if (found !== undefined && found !== null) return found;
      }
      if (ended !== null) throw new Error(`${this.name} ended (${ended}):\n${this.#output}`);
      if (Date.now() > deadline)
        throw new Error(`${this.name} said nothing useful in ${timeoutMs} ms:\n${this.#output}`);
      await Promise.race([new Promise((wake) => this.#waiting.push(wake)), this.#ended, sleep(200)]);
    }
  }

  /** Ends the whole group: asked first, then forced. */
  async end() {
    alive.delete(this);
    this.child.stdin?.end();
    if (this.child.pid === undefined) return;
    signal(this.child.pid, 'SIGTERM');
    const deadline = Date.now() + GRACE_MS;
    while (groupLives(this.child.pid) && Date.now() < deadline) await sleep(50);
    signal(this.child.pid, 'SIGKILL');
    await Promise.race([this.#ended, sleep(1_000)]);
  }
}

function signal(group, name) {
  try {
    process.kill(-group, name);
  } catch {
    // Nobody is left in it.
  }
}

function groupLives(group) {
  try {
    process.kill(-group, 0);
    return true;
  } catch {
    return false;
  }
}

// A test runner that is cut off must not leave servers and windows behind.
process.on('exit', () => {
  for (const program of alive) if (program.child.pid !== undefined) signal(program.child.pid, 'SIGKILL');
});
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(name, () => process.exit(1));

/** Runs a program to its end and gives its standard output. */
export function run(command, args, { timeoutMs = 30_000, env = {} } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...process.env, ...env },
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    let out = '';
    let err = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      err += text;
    });
    child.once('error', reject);
    child.once('close', (code, name) =>
      code === 0
        ? resolve(out)
        : reject(new Error(`${command} ${args.join(' ')}: ${name ?? code}\n${err || out}`)),
    );
  });
}

/** A port that was free a moment ago. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** The program under test: named by a variable, else where the project's scripts build it. */
export function built(variable, name) {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  const target = process.env.CARGO_TARGET_DIR ?? join(cache, 'pilotlight', 'target');
  const path = process.env[variable] ?? join(target, 'debug', name);
  if (!existsSync(path)) throw new Error(`${path} does not exist. Build it, or name one with ${variable}.`);
  return path;
}

/** A screen of a phone's size that nobody sees. Gives its display name. */
export async function screen(width, height) {
  const program = new Program(
    'Xvfb',
    'Xvfb',
    ['-displayfd', '3', '-screen', '0', `${width}x${height}x24`, '-nolisten', 'tcp', '-noreset'],
    { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] },
  );
  const number = await program.line((line) => (/^\d+$/.test(line.trim()) ? line.trim() : null), 15_000);
  return { program, display: `:${number}` };
}
