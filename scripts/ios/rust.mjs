// Cargo for iOS on whatever machine this is: Apple's own tools on a Mac, stand-ins on Debian (see rust-env.sh).

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { root, targetIos } from '../lib/paths.mjs';
import { show, works } from '../lib/process.mjs';

export const DEVICE = 'aarch64-apple-ios';
export const SIMULATOR = 'aarch64-apple-ios-sim';

/** The oldest iOS that the app runs on. */
export function minimumIos() {
  const config = JSON.parse(readFileSync(join(root, 'tauri.conf.json'), 'utf8'));
  return config.bundle.iOS.minimumSystemVersion;
}

/** Why Rust code cannot be checked for iOS here; `null` if it can. */
export function rustSupport() {
  if (process.platform === 'darwin')
    return works('rustup', ['run', 'stable', 'true']) ? null : 'needs rustup, for the iOS targets';
  if (process.platform !== 'linux' || process.arch !== 'x64' || !works('apt-get'))
    return 'needs a Mac, or Debian on x86_64';
  return null;
}

/** Runs a cargo command for an iOS target. Resolves to its exit code. */
export async function rustForIos(triple, args) {
  const env = { IPHONEOS_DEPLOYMENT_TARGET: minimumIos(), CARGO_TARGET_DIR: targetIos };
  if (process.platform !== 'darwin')
    return show('bash', [join('scripts', 'ios', 'rust-env.sh'), ...args, '--locked'], {
      env: { ...env, IOS_TARGET: triple },
    });
  const added = await show('rustup', ['target', 'add', triple]);
  if (added !== 0) return added;
  const [command, ...rest] = args;
  return show('cargo', [command, '--target', triple, ...rest, '--locked'], { env });
}
