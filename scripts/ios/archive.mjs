// The static library that Xcode links, seen from outside: does it have the app's entry point, and what does it leave for
// others to define? Xcode's linker asks the same, on a Mac.

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { say } from '../lib/console.mjs';
import { cache, targetIos } from '../lib/paths.mjs';
import { swiftFunctions, swiftSources } from './abi.mjs';
import { DEVICE } from './rust.mjs';

const ARCHIVE = join(targetIos, DEVICE, 'release', 'libpilotlight_lib.a');

/** What `#[tauri::mobile_entry_point]` makes, and main.mm calls. */
const ENTRY = '_start_app';

/** What Tauri's own Swift library defines (its mobile/ios-api, and swift-rs). */
const TAURI_SWIFT = new Set([
  '_allocate_string',
  '_data_from_bytes',
  '_log_stdout',
  '_on_webview_created',
  '_register_plugin',
  '_release_object',
  '_retain_object',
  '_run_plugin_command',
  '_string_from_bytes',
]);

/**
 * What Apple's frameworks define, by the prefixes Apple gives them. Their lists of symbols are only on a Mac, so a
 * misspelt name among these is not seen here.
 */
const FRAMEWORKS = /^_(OBJC_(META)?CLASS_\$_)?(k?(CF|CG|CT|Sec|SSL|SC|CA)|NS|UI|WK|BG|UN)[A-Z]\w*$/;

/** libobjc and the compiler's runtime, which are not part of libSystem's list. */
const RUNTIME =
  /^_(__objc_personality_v0|OBJC_EHTYPE_id|objc_\w+|_objc_\w+|sel_\w+|class_\w+|object_\w+|method_\w+|ivar_\w+|protocol_\w+|property_\w+|imp_\w+)$/;

/** Says what it finds; resolves to an exit code. */
export function inspectArchive() {
  if (!existsSync(ARCHIVE)) throw new Error(`there is no ${ARCHIVE}`);
  const nm = newestNm();
  const defined = symbols(nm, '--defined-only', '--extern-only');
  const open = [...symbols(nm, '--undefined-only')].filter((name) => !defined.has(name));
  const swift = new Set([...swiftFunctions(swiftSources()).keys()].map((name) => `_${name}`));
  const system = systemSymbols();
  const groups = { 'our Swift host': [], "Tauri's Swift": [], libSystem: [], frameworks: [], unknown: [] };
  for (const name of open.sort()) {
    const group = swift.has(name)
      ? 'our Swift host'
      : TAURI_SWIFT.has(name)
        ? "Tauri's Swift"
        : system.has(name)
          ? 'libSystem'
          : FRAMEWORKS.test(name) || RUNTIME.test(name)
            ? 'frameworks'
            : 'unknown';
    groups[group].push(name);
  }
  say(`${ARCHIVE}`);
  say(`  entry point ${ENTRY}: ${defined.has(ENTRY) ? 'defined' : 'MISSING'}`);
  for (const [group, names] of Object.entries(groups)) say(`  left to ${group}: ${names.length}`);
  for (const name of [...groups['our Swift host'], ...groups["Tauri's Swift"]]) say(`    ${name}`);
  for (const name of groups.unknown) say(`  NOBODY we know defines ${name}`);
  const missing = [...swift].filter((name) => !open.includes(name));
  for (const name of missing) say(`  never called from Rust: ${name}`);
  return defined.has(ENTRY) && groups.unknown.length === 0 && missing.length === 0 ? 0 : 1;
}

/** An older one cannot read what a newer compiler wrote. rust-env.sh installs the one that fits. */
function newestNm() {
  const versions = readdirSync('/usr/bin').map((name) => Number(/^llvm-nm-(\d+)$/.exec(name)?.[1] ?? 0));
  const newest = Math.max(...versions);
  return newest > 0 ? `llvm-nm-${newest}` : 'nm';
}

function symbols(nm, ...options) {
  const found = spawnSync(nm, [...options, '--format=posix', ARCHIVE], {
    encoding: 'utf8',
    maxBuffer: 1 << 30,
  });
  if (found.status !== 0) throw new Error(`${nm}: ${found.stderr}`);
  const names = found.stdout.split('\n').map((line) => line.split(' ')[0]);
  // A line that ends in a colon names a member of the archive.
  return new Set(names.filter((name) => name && !name.endsWith(':')));
}

/** What the system's C library defines, from the list that comes with the stand-in SDK. */
function systemSymbols() {
  const sdks = join(cache, 'ios-check');
  const sdk = readdirSync(sdks).find((name) => name.startsWith('sdk-'));
  const text = readFileSync(join(sdks, sdk, 'Darwin.sdk', 'usr', 'lib', 'libSystem.tbd'), 'utf8');
  return new Set(text.match(/[_$][\w$]+/g));
}
