/// <reference types="vite/client" />
// What TypeScript sends must be what Rust takes: command names and arguments are compared with the Rust source.

import { emit } from '@tauri-apps/api/event';
import { clearMocks, mockIPC } from '@tauri-apps/api/mocks';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import buildScript from '../build.rs?raw';
import defaultPermissions from '../permissions/default.toml?raw';
import rustCommands from '../src/commands.rs?raw';
import rustLib from '../src/lib.rs?raw';
import * as api from './index.js';

const ID = 'com.example.app.refresh';

/** One call of each function that is a command, with the arguments that Rust should get. */
const CALLS: [command: string, call: () => Promise<unknown>, args: Record<string, unknown>][] = [
  ['status', () => api.status(), {}],
  ['history', () => api.history(), {}],
  ['wake_now', () => api.wakeNow(ID), { id: ID }],
  ['schedule', () => api.schedule(ID, 90), { id: ID, delaySecs: 90 }],
  ['cancel', () => api.cancel(ID), { id: ID }],
  ['simulate_launch', () => api.simulateLaunch(ID), { id: ID }],
  ['simulate_expiration', () => api.simulateExpiration(ID), { id: ID }],
];

/** The names in double quotes in the list that follows `opening`. */
function stringsAfter(source: string, opening: string): string[] {
  const [, rest] = source.split(opening);
  const [list] = rest?.split(']') ?? [];
  return [...(list ?? '').matchAll(/"([^"]+)"/g)].map(([, name]) => name ?? '');
}

/** The arguments that a Rust command takes from the webview, named and typed. */
function rustArguments(command: string): Record<string, string> {
  const [, signature] = rustCommands.match(new RegExp(`fn ${command}<[^(]*\\(([^)]*)\\)`)) ?? [];
  expect(signature, `src/commands.rs has no ${command}`).toBeDefined();
  const taken: Record<string, string> = {};
  for (const [, name, type] of (signature ?? '').matchAll(/(\w+):\s*([\w<>]+)/g)) {
    // Tauri gives the app; everything else comes from the webview, in camelCase.
    if (name !== undefined && type !== undefined && !type.startsWith('AppHandle')) {
      taken[name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())] = type;
    }
  }
  return taken;
}

// All that Tauri's mocks want of a browser.
beforeAll(() => void vi.stubGlobal('window', globalThis));
afterEach(() => clearMocks());

describe('commands', () => {
  const declared = stringsAfter(buildScript, 'const COMMANDS: &[&str] = &[');

  test('every command has a function here, and every function a command', () => {
    expect(declared.length).toBeGreaterThan(0);
    expect(CALLS.map(([command]) => command).sort()).toEqual([...declared].sort());
    const functions = Object.values(api).filter((value) => typeof value === 'function');
    const others = [api.isBackgroundError, api.onLaunched, api.onCompleted];
    expect(functions).toHaveLength(CALLS.length + others.length);
  });

  test.each(declared)('%s is handled by Rust', (command) => {
    expect(rustLib).toMatch(new RegExp(`\\bcommands::${command}\\b`));
  });

  test.each(CALLS)('%s is sent as Rust takes it', async (command, call, args) => {
    const sent: [string, unknown][] = [];
    mockIPC((name, payload) => {
      sent.push([name, payload]);
      return `answer of ${command}`;
    });
    await expect(call()).resolves.toBe(`answer of ${command}`);
    expect(sent).toEqual([[`plugin:background|${command}`, args]]);
    const types = Object.fromEntries(
      Object.entries(args).map(([name, value]) => [name, typeof value === 'number' ? 'number' : 'string']),
    );
    const expected = Object.fromEntries(
      Object.entries(rustArguments(command)).map(([name, type]) => [
        name,
        type === 'String' ? 'string' : /^(u|f)\d+$/.test(type) ? 'number' : type,
      ]),
    );
    expect(types).toEqual(expected);
  });

  test('the default permission allows what the documentation says', () => {
    expect(stringsAfter(defaultPermissions, 'permissions = [').sort()).toEqual([
      'allow-history',
      'allow-status',
    ]);
  });
});

test('a refusal arrives as it was sent', async () => {
  const refusal = { code: 'noHandler', message: 'no handler is attached yet' };
  mockIPC(() => Promise.reject(refusal));
  const caught: unknown = await api.wakeNow(ID).catch((error: unknown) => error);
  expect(caught).toEqual(refusal);
  expect(api.isBackgroundError(caught)).toBe(true);
  for (const other of [
    'background.wake_now not allowed',
    null,
    undefined,
    {},
    new Error('code'),
    { code: 1 },
  ]) {
    expect(api.isBackgroundError(other)).toBe(false);
  }
});

describe('events', () => {
  const run = {
    run: 1,
    id: ID,
    kind: 'refresh',
    reason: 'simulated',
    launchedAtMs: 1_700_000_000_000,
    deadlineAtMs: 1_700_000_030_000,
    started: true,
    timeCalled: false,
  };

  test.each([
    ['onLaunched', api.onLaunched, api.LAUNCHED_EVENT, api.COMPLETED_EVENT],
    ['onCompleted', api.onCompleted, api.COMPLETED_EVENT, api.LAUNCHED_EVENT],
  ] as const)('%s hears its event, and only that, until it is told to stop', async (_, on, event, other) => {
    mockIPC(() => undefined, { shouldMockEvents: true });
    const listener = vi.fn();
    const unlisten = await on(listener);
    await emit(other, run);
    expect(listener).not.toHaveBeenCalled();
    await emit(event, run);
    expect(listener).toHaveBeenCalledExactlyOnceWith(run);
    unlisten();
    await vi.waitFor(async () => {
      listener.mockClear();
      await emit(event, run);
      expect(listener).not.toHaveBeenCalled();
    });
  });
});
