// Running other programs: one that ends, with progress; one that stays, and dies with us.

import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';

import { root, target } from './paths.mjs';

/** What every program we start gets to see. */
export const environment = (extra = {}) => ({ ...process.env, CARGO_TARGET_DIR: target, ...extra });

/** A program that ended badly. `message` is fit for a person. */
export class Failed extends Error {}

/** Lines of a failed program's output worth showing. */
const LAST_LINES = 60;
/** How long a child may take to leave after a polite request. */
const GRACE_MS = 5000;

/** Process groups that must not outlive us. */
const staying = new Set();

/**
 * Runs a program to its end and returns its stdout. `onLine` gets each line of either stream as it comes. Throws
 * `Failed` with the last lines if its exit code is not one of `codes`.
 */
export function run(program, args, { env, cwd = root, onLine = () => {}, codes = [0] } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: environment(env),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    staying.add(child);
    const out = [];
    const last = [];
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        if (stream === child.stdout) out.push(line);
        last.push(line);
        if (last.length > LAST_LINES) last.shift();
        const text = line.trim();
        if (text) onLine(text);
      });
    }
    const settle = (how) => {
      staying.delete(child);
      how();
    };
    child.on('error', (error) =>
      settle(() => reject(new Failed(`${program} does not run: ${error.message}`))),
    );
    child.on('close', (code, signal) => {
      if (codes.includes(code)) settle(() => resolve(out.join('\n')));
      else
        settle(() =>
          reject(new Failed(`${line(program, args)} ended with ${code ?? signal}\n${last.join('\n')}`)),
        );
    });
  });
}

/** Runs a program with its output shown as it is, on the given streams. Resolves to its exit code. */
export function show(program, args, { env, cwd = root } = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd,
      env: environment(env),
      stdio: ['ignore', 'inherit', 'inherit'],
      detached: true,
    });
    staying.add(child);
    const settle = (code) => {
      staying.delete(child);
      resolve(code);
    };
    child.on('error', (error) => {
      process.stderr.write(`${program} does not run: ${error.message}\n`);
      settle(127);
    });
    child.on('close', (code, signal) => settle(code ?? (signal ? 128 : 1)));
  });
}

/**
 * Starts a program that stays. Its lines go to `onLine(line, stream)`. Returns the child with `ended`, a promise of
 * its exit code.
 */
export function start(program, args, { env, cwd = root, onLine = () => {} } = {}) {
  // The open stdin is its lifeline: programs that watch for its end notice even when we are killed outright.
  const child = spawn(program, args, {
    cwd,
    env: environment(env),
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  staying.add(child);
  child.stdin.on('error', () => {});
  for (const name of ['stdout', 'stderr']) {
    createInterface({ input: child[name] }).on('line', (text) => onLine(text, name));
  }
  child.ended = new Promise((resolve) => {
    child.on('error', (error) => {
      onLine(`${program} does not run: ${error.message}`, 'stderr');
      resolve(127);
    });
    child.on('exit', (code, signal) => resolve(code ?? signal));
  }).finally(() => staying.delete(child));
  return child;
}

/** Asks a child's whole group to end, insists after a while, and waits. */
export async function stop(child) {
  if (!staying.has(child)) return;
  signalGroup(child, 'SIGTERM');
  const insist = setTimeout(() => signalGroup(child, 'SIGKILL'), GRACE_MS);
  await (child.ended ?? new Promise((resolve) => child.on('close', resolve)));
  clearTimeout(insist);
}

let leaving = false;

/** Whether a signal is ending us: children that end now were told to. */
export const isLeaving = () => leaving;

/** Ends everything we started when we end, however that comes about. */
export function dieTogether() {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, () => {
      leaving = true;
      Promise.all([...staying].map(stop)).finally(() => process.exit(signal === 'SIGINT' ? 130 : 143));
    });
  }
  process.on('exit', () => {
    for (const child of staying) signalGroup(child, 'SIGKILL');
  });
}

/** Whether a program is there at all. */
export function works(program, args = ['--version']) {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}

function signalGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It is gone already.
  }
}

const line = (program, args) => [program, ...args].join(' ');
