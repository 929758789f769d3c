// The lint that holds Rust's and Swift's lists of functions equal must see what it is there to see.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { root } from '../lib/paths.mjs';
import { compareHosts, differences, rustFunctions, swiftFunctions, swiftSources } from './abi.mjs';

const rust = readFileSync(join(root, 'plugins', 'tauri-plugin-background', 'src', 'ios', 'ffi.rs'), 'utf8');
const swift = swiftSources();

/** The differences after a change to one side. The change must change something. */
function after({ from, to, side }) {
  const text = side === 'swift' ? swift : rust;
  const changed = text.replace(from, to);
  assert.notEqual(changed, text, `${from} is not there`);
  return side === 'swift'
    ? differences(rustFunctions(rust), swiftFunctions(changed))
    : differences(rustFunctions(changed), swiftFunctions(swift));
}

test('the two sides agree, and both have functions', () => {
  assert.deepEqual(compareHosts(), []);
  assert.ok(rustFunctions(rust).size >= 16);
});

test('a Swift function that was renamed is missed, under both names', () => {
  const found = after({
    side: 'swift',
    from: '@_cdecl("tauri_background_complete")',
    to: '@_cdecl("tauri_background_completed")',
  });
  assert.equal(found.length, 2);
  assert.match(found[0], /^tauri_background_complete: Rust calls it/);
  assert.match(found[1], /^tauri_background_completed: Swift has it/);
});

test('a function that Rust does not declare is seen', () => {
  const found = after({ side: 'rust', from: /fn tauri_background_cancel\([^)]*\);/, to: '' });
  assert.deepEqual(found, ['tauri_background_cancel: Swift has it, and Rust does not']);
});

test('a type that differs is seen, also in a callback', () => {
  const [argument] = after({
    side: 'rust',
    from: 'token: u64, success: bool',
    to: 'token: i32, success: bool',
  });
  assert.match(
    argument,
    /^tauri_background_complete: Rust has void \(int32_t, bool\), Swift has void \(uint64_t, bool\)/,
  );
  const callback = after({
    side: 'rust',
    from: 'type ExpiredFn = extern "C" fn(token: u64);',
    to: 'type ExpiredFn = extern "C" fn(token: u64, code: i32);',
  });
  assert.deepEqual(
    callback.map((line) => line.split(':')[0]),
    ['tauri_background_install', 'tauri_background_grace_begin'],
  );
});

test('the plugin object has one name on both sides', () => {
  const found = after({
    side: 'rust',
    from: 'ios_plugin_binding!(init_plugin_background)',
    to: 'ios_plugin_binding!(init_plugin_backgrounds)',
  });
  assert.equal(found.length, 2);
});
