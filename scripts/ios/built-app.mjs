// Does the app that Xcode built say what tauri.conf.json says? node scripts/ios/built-app.mjs path/to/Pilotlight.app
//
// On a Mac only: plutil and nm are Apple's. Everything before this (XcodeGen, the CLI's merge, the build phases) can lose a
// key without an error, and the app then runs, and never in the background.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { fail, say } from '../lib/console.mjs';
import { root } from '../lib/paths.mjs';

const MODES = { refresh: 'fetch', processing: 'processing' };

/** What must be in the bundle, and what would be wrong without it. */
const FILES = {
  'Assets.car': 'no icon, no launch screen colours',
  'LaunchScreen.storyboardc': 'no launch screen',
  'PrivacyInfo.xcprivacy': 'App Store Connect asks for it',
};

/** The way in, and one function of each part of the Swift host that no build can do without. */
const FUNCTIONS = [
  'start_app',
  'init_plugin_background',
  'tauri_background_install',
  'tauri_background_device',
];

/**
 * What is wrong, one line each.
 *
 * @param {object} app
 * @param {Record<string, unknown>} app.info the built Info.plist
 * @param {Record<string, any>} app.config tauri.conf.json
 * @param {string[]} app.files the names in the bundle's folder
 * @param {Set<string>} app.symbols what the executable defines, as C names
 */
export function problems({ info, config, files, symbols }) {
  const found = [];
  const { tasks } = config.plugins.background;
  const modes = [...new Set(tasks.map(({ kind }) => MODES[kind]).filter(Boolean))];
  const lists = { BGTaskSchedulerPermittedIdentifiers: tasks.map(({ id }) => id), UIBackgroundModes: modes };
  for (const [key, wanted] of Object.entries(lists)) {
    const there = Array.isArray(info[key]) ? info[key] : [];
    for (const value of wanted) if (!there.includes(value)) found.push(`Info.plist: ${key} lacks ${value}`);
    for (const value of there)
      if (!wanted.includes(value)) found.push(`Info.plist: ${key} has ${value}, which no task needs`);
  }
  const values = {
    CFBundleIdentifier: config.identifier,
    CFBundleShortVersionString: config.version,
    MinimumOSVersion: config.bundle.iOS.minimumSystemVersion,
    UILaunchStoryboardName: 'LaunchScreen',
  };
  for (const [key, wanted] of Object.entries(values))
    if (info[key] !== wanted) found.push(`Info.plist: ${key} is ${info[key]}, not ${wanted}`);
  if (info.ITSAppUsesNonExemptEncryption === undefined)
    found.push('Info.plist: ITSAppUsesNonExemptEncryption is missing, so Info.ios.plist was not merged');
  if ('UIApplicationSceneManifest' in info)
    found.push(
      'Info.plist: UIApplicationSceneManifest is there: a background launch would not reach the setup',
    );
  for (const [name, loss] of Object.entries(FILES))
    if (!files.includes(name)) found.push(`${name} is not in the app: ${loss}`);
  if (!files.some((name) => /^AppIcon.*\.png$/.test(name))) found.push('there is no app icon in the app');
  for (const name of FUNCTIONS) if (!symbols.has(name)) found.push(`the executable does not define ${name}`);
  return found;
}

/** Reads the app at `path` with Apple's tools. */
function readApp(path) {
  const info = JSON.parse(ran('plutil', ['-convert', 'json', '-o', '-', join(path, 'Info.plist')]));
  const files = readdirSync(path);
  // A debug build of Xcode 16 or newer keeps its code in a library beside the executable.
  const binaries = files.filter((name) => name === info.CFBundleExecutable || name.endsWith('.dylib'));
  const symbols = new Set();
  for (const name of binaries)
    for (const line of ran('nm', ['-U', join(path, name)]).split('\n')) {
      const symbol = line.split(' ').at(-1);
      if (symbol.startsWith('_')) symbols.add(symbol.slice(1));
    }
  return { info, files, symbols };
}

function ran(program, args) {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    maxBuffer: 1024 * 1024 * 1024,
  });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr}`);
  return stdout;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [path] = process.argv.slice(2);
  if (!path) throw new Error('which app? node scripts/ios/built-app.mjs path/to/Pilotlight.app');
  const found = problems({
    ...readApp(path),
    config: JSON.parse(readFileSync(join(root, 'tauri.conf.json'), 'utf8')),
  });
  for (const line of found) fail(line);
  if (found.length === 0) say(`${path} is built as declared`);
  process.exitCode = found.length === 0 ? 0 : 1;
}
