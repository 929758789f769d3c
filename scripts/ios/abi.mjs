// The C functions between Rust and the Swift host, held equal: names, arguments and results.
//
// The linker of Xcode would find a missing name, on a Mac and late; nobody would find a wrong type. Both sides are read as
// text, each in the narrow form that its own compiler checks the rest of.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { root } from '../lib/paths.mjs';

const PLUGIN = join(root, 'plugins', 'tauri-plugin-background');
const RUST = join(PLUGIN, 'src', 'ios', 'ffi.rs');
const SWIFT = join(PLUGIN, 'ios');

/** Types by their C names. */
const FROM_RUST = {
  u64: 'uint64_t',
  i32: 'int32_t',
  f64: 'double',
  bool: 'bool',
  usize: 'uintptr_t',
  '*const c_char': 'const char *',
  '*mut c_char': 'char *',
  '*mut c_void': 'void *',
  '*const u8': 'const uint8_t *',
};
const FROM_SWIFT = {
  UInt64: 'uint64_t',
  Int32: 'int32_t',
  Double: 'double',
  Bool: 'bool',
  UInt: 'uintptr_t',
  'UnsafePointer<CChar>': 'const char *',
  'UnsafeMutablePointer<CChar>': 'char *',
  UnsafeMutableRawPointer: 'void *',
  'UnsafePointer<UInt8>': 'const uint8_t *',
  Void: 'void',
  Plugin: 'plugin',
};

/** What differs between the two sides as they stand in this checkout; empty if nothing does. */
export function compareHosts() {
  return differences(rustFunctions(readFileSync(RUST, 'utf8')), swiftFunctions(swiftSources()));
}

/** The text of all Swift files of the host, its tests left out. */
export function swiftSources() {
  const files = readdirSync(SWIFT, { recursive: true })
    .filter((name) => name.endsWith('.swift') && !/(^|\/)(Tests|\.build|\.tauri)\//.test(name))
    .sort();
  return files.map((name) => readFileSync(join(SWIFT, name), 'utf8')).join('\n');
}

/** The functions that Rust expects: name to C signature. */
export function rustFunctions(text) {
  const source = text.replace(/\/\/.*$/gm, '');
  const aliases = {};
  for (const [, name, args, result] of source.matchAll(
    /type (\w+) = extern "C" fn\(([^)]*)\)(?: -> ([^;]+))?;/g,
  ))
    aliases[name] = signature(args, result, (type) => rustType(type, {}));
  const functions = new Map();
  for (const [, block] of source.matchAll(/extern "C" \{([\s\S]*?)\n\}/g))
    for (const [, name, args, result] of block.matchAll(/\bfn (\w+)\(([^)]*)\)(?: -> ([^;]+))?;/g))
      add(
        functions,
        name,
        signature(args, result, (type) => rustType(type, aliases)),
      );
  for (const [, name] of source.matchAll(/ios_plugin_binding!\((\w+)\)/g)) add(functions, name, 'plugin ()');
  return functions;
}

/** The functions that Swift has: name to C signature. */
export function swiftFunctions(text) {
  const source = text.replace(/\/\/.*$/gm, '');
  const aliases = {};
  for (const [, name, type] of source.matchAll(/typealias (\w+) =\s*(@convention\(c\)[^\n]*)/g))
    aliases[name] = swiftType(type, {});
  const functions = new Map();
  for (const found of source.matchAll(/@_cdecl\("(\w+)"\)\s*(?:@\w+\s+)*(?:public )?func \w+(?=\()/g)) {
    const [args, rest] = parenthesised(source.slice(found.index + found[0].length));
    const result = /^\s*->\s*([^{]+?)\s*\{/.exec(rest)?.[1];
    add(
      functions,
      found[1],
      signature(args, result, (type) => swiftType(type, aliases)),
    );
  }
  return functions;
}

/** What differs, in words. */
export function differences(rust, swift) {
  const lines = [];
  if (rust.size === 0) lines.push('no function was found on the Rust side');
  for (const [name, expected] of rust) {
    const found = swift.get(name);
    if (found === undefined)
      lines.push(`${name}: Rust calls it, and no Swift function has @_cdecl("${name}")`);
    else if (found !== expected) lines.push(`${name}: Rust has ${expected}, Swift has ${found}`);
  }
  for (const name of swift.keys())
    if (!rust.has(name)) lines.push(`${name}: Swift has it, and Rust does not`);
  return lines;
}

function add(functions, name, signed) {
  functions.set(name, functions.has(name) ? `${functions.get(name)}, declared twice` : signed);
}

const signature = (args, result, convert) => {
  // Arguments of a function have labels, those of a function type may have none.
  const types = split(args).map((arg) => convert(arg.replace(/^[\w ]+:/, '').trim()));
  return `${result ? convert(result.trim()) : 'void'} (${types.join(', ')})`;
};

const rustType = (type, aliases) => FROM_RUST[type] ?? aliases[type] ?? `unknown type ${type}`;

function swiftType(text, aliases) {
  // Whether a pointer may be nil, and whether a function is kept, does not change how it is passed.
  const type = text.replace('@escaping', '').trim().replace(/\?$/, '');
  const closure = /^@convention\(c\)\s*(?=\()/.exec(type);
  if (closure) {
    const [args, rest] = parenthesised(type.slice(closure[0].length));
    return signature(args, rest.replace('->', ''), (inner) => swiftType(inner, aliases));
  }
  return FROM_SWIFT[type] ?? aliases[type] ?? `unknown type ${type}`;
}

/** What stands in the parentheses that the text begins with, and what stands behind them. */
function parenthesised(text) {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === '(') depth += 1;
    if (text[at] === ')') depth -= 1;
    if (depth === 0) return [text.slice(1, at), text.slice(at + 1)];
  }
  return [text, ''];
}

/** Splits a list of arguments at its commas, not at those in parentheses. */
function split(args) {
  const parts = [''];
  let depth = 0;
  for (const letter of args) {
    if (letter === '(') depth += 1;
    if (letter === ')') depth -= 1;
    if (letter === ',' && depth === 0) parts.push('');
    else parts[parts.length - 1] += letter;
  }
  return parts.map((part) => part.trim()).filter(Boolean);
}
