// What must be there before `tauri ios dev|build|run` can work: a Mac, an Xcode project, and a tool for Xcode 27.
//
// Owns the decision and the two commands that put things right. Does not own the Tauri CLI: scripts/tauri.mjs runs it.

import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

/** The commands that fail without `gen/apple/*.xcodeproj`: the CLI does not make it by itself. */
const NEEDS_PROJECT = ['dev', 'build', 'run'];

/**
 * Makes sure that the command in `args` finds what it needs; answers 0 if the CLI may run, else the exit code.
 *
 * @param {object} options
 * @param {string[]} options.args the arguments of the CLI
 * @param {string} options.cli the CLI's own script
 * @param {string} options.root the checkout
 * @param {NodeJS.Platform} options.platform
 * @param {string} options.arch of this process
 * @param {typeof import('node:child_process').spawnSync} options.spawnSync
 * @param {(line: string) => void} options.say
 */
export function prepareIos({ args, cli, root, platform, arch, spawnSync, say }) {
  const [command, action] = words(args);
  if (command !== 'ios') return 0;
  if (platform !== 'darwin') {
    say(
      `Building for iOS needs a Mac with Xcode; this is ${platform}, where the Tauri CLI has no "ios" commands.`,
    );
    say('What can be checked without a Mac: npm run check:ios');
    return 1;
  }
  if (!NEEDS_PROJECT.includes(action) || asksForHelp(args)) return 0;
  addObjcopy({ arch, spawnSync, say });
  const project = findProject(root);
  if (project) {
    if (isOlder(project, join(root, 'gen', 'apple', 'project.yml'))) {
      say('gen/apple/project.yml is newer than the Xcode project: "npm run tauri ios init" takes it over.');
    }
    return 0;
  }
  say('There is no Xcode project in gen/apple yet: running "tauri ios init --ci" first.');
  const { error, signal, status } = spawnSync(process.execPath, [cli, 'ios', 'init', '--ci'], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status === 0) return 0;
  say(`"tauri ios init --ci" failed${error ? `: ${error.message}` : signal ? ` (${signal})` : ''}.`);
  return status ?? 1;
}

/** The command and its action. Flags may stand before either; before them only flags without a value are known. */
function words(args) {
  return args.filter((arg) => !arg.startsWith('-')).slice(0, 2);
}

function asksForHelp(args) {
  const end = args.indexOf('--');
  return args.slice(0, end < 0 ? undefined : end).some((arg) => arg === '--help' || arg === '-h');
}

/** A folder `*.xcodeproj` alone is not enough: a failed init leaves one behind that has no project in it. */
function findProject(root) {
  const folder = join(root, 'gen', 'apple');
  if (!existsSync(folder)) return undefined;
  return readdirSync(folder)
    .filter((name) => name.endsWith('.xcodeproj'))
    .map((name) => join(folder, name, 'project.pbxproj'))
    .find((path) => existsSync(path));
}

function isOlder(path, than) {
  return existsSync(than) && statSync(path).mtimeMs < statSync(than).mtimeMs;
}

/**
 * From Xcode 27 on, the Swift package's C functions come out of its build as local symbols; swift-rs makes them global
 * again with rustup's llvm-objcopy, and only warns if there is none: the link then fails much later. A toolchain file
 * would say this too, but would make every other machine download a toolchain.
 */
function addObjcopy({ arch, spawnSync, say }) {
  const { status, stdout } = spawnSync('rustc', ['--print', 'sysroot'], { encoding: 'utf8' });
  if (status !== 0) return;
  const host = `${arch === 'arm64' ? 'aarch64' : 'x86_64'}-apple-darwin`;
  if (existsSync(join(stdout.trim(), 'lib', 'rustlib', host, 'bin', 'llvm-objcopy'))) return;
  const added = spawnSync('rustup', ['component', 'add', 'llvm-tools'], { stdio: 'inherit' });
  if (added.status !== 0) {
    say(
      'llvm-objcopy is missing. With Xcode 27 or newer the link will fail until "rustup component add llvm-tools".',
    );
  }
}
