/// <reference types="vite/client" />
// The TypeScript examples of the README compile against this package, under the options of its own tsconfig.json, and its
// tables know every command, code and key there is.

import ts from 'typescript';
import { expect, test } from 'vitest';
import buildScript from '../build.rs?raw';
import readme from '../README.md?raw';
import rustConfig from '../src/config.rs?raw';
import bindings from './bindings.ts?raw';

const PACKAGE = 'tauri-plugin-background-api';
const root = decodeURIComponent(new URL('..', import.meta.url).pathname);

/** The compiler's complaints about `source`, as if it stood beside index.ts and imported the published package. */
function complaints(source: string): string[] {
  const { config } = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const file = `${root}guest-js/example.ts`;
  const host = ts.createCompilerHost({ ...options, paths: { [PACKAGE]: [`${root}guest-js/index.ts`] } });
  const { getSourceFile, fileExists } = host;
  host.fileExists = (name) => name === file || fileExists(name);
  host.getSourceFile = (name, version, ...rest) =>
    name === file ? ts.createSourceFile(name, source, version) : getSourceFile(name, version, ...rest);
  const program = ts.createProgram({
    rootNames: [file],
    options: { ...options, paths: { [PACKAGE]: [`${root}guest-js/index.ts`] } },
    host,
  });
  return ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
}

const examples = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, source]) => source ?? '');

test('there are examples, and a wrong one is found', () => {
  expect(examples.length).toBeGreaterThan(0);
  expect(examples.every((source) => source.includes(`from '${PACKAGE}'`))).toBe(true);
  const wrong = `import { status } from '${PACKAGE}';\nexport const backend: number = (await status()).backend;\n`;
  expect(complaints(wrong)).toEqual([expect.stringContaining("is not assignable to type 'number'")]);
});

test.each(examples)('example %#', (source) => {
  expect(complaints(source)).toEqual([]);
});

/** The members of a union of string literals in bindings.ts. */
function members(type: string): string[] {
  const code = bindings.replace(/\/\*\*.*?\*\//gs, '');
  const [, rest] = code.split(`export type ${type} =`);
  const [body] = rest?.split(';') ?? [];
  return [...(body ?? '').matchAll(/"(\w+)"/g)].map(([, name]) => name ?? '');
}

/** The keys that a Rust struct reads from tauri.conf.json. */
function keys(struct: string): string[] {
  const [, rest] = rustConfig.split(`pub struct ${struct} {`);
  const [body] = rest?.split('\n}') ?? [];
  const fields = [...(body ?? '').matchAll(/^ {4}pub (\w+):/gm)].map(([, name]) => name ?? '');
  return fields.map((name) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()));
}

const commands = [...(buildScript.match(/const COMMANDS[^;]*;/)?.[0] ?? '').matchAll(/"(\w+)"/g)];
const permissions = commands
  .map(([, name]) => `background:allow-${(name ?? '').replaceAll('_', '-')}`)
  .filter((name) => !name.endsWith('-status') && !name.endsWith('-history'));

test.each([
  ['codes of blockers', members('BlockerCode')],
  ['ends of runs', members('RunEnd').filter((end) => end !== 'underWay')],
  ['kinds of tasks', members('TaskKind')],
  ['keys of a task', keys('TaskConfig')],
  ['keys of the simulation', keys('SimulatedConfig')],
  ['permissions', permissions],
])('the README names all %s', (_, names) => {
  expect(names.length).toBeGreaterThan(2);
  expect(names.filter((name) => !readme.includes(`\`${name}\``))).toEqual([]);
});
