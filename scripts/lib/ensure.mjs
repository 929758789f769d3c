// What must be on the machine before anything can be built. Installs it where that is allowed, and otherwise says
// the exact line to type.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEVICE, SIMULATOR } from '../ios/rust.mjs';
import { progress, say } from './console.mjs';
import { cache, root, target, targetIos, tools } from './paths.mjs';
import { Failed, run, works } from './process.mjs';

/** Debian's names. */
const APT = {
  // A C compiler for libsecp256k1; everything else is Rust.
  base: ['build-essential', 'pkg-config'],
  window: ['libwebkit2gtk-4.1-dev', 'libssl-dev'],
  bitcoind: ['cmake', 'ninja-build', 'g++', 'libboost-dev', 'python3', 'ccache'],
  // RocksDB is built from source, and bound to through clang.
  electrs: ['g++', 'clang', 'libclang-dev'],
  e2e: [
    'libwebkit2gtk-4.1-dev',
    'libssl-dev',
    'webkit2gtk-driver',
    'xvfb',
    'xauth',
    'imagemagick',
    'x11-utils',
    'xdotool',
  ],
};

/** Homebrew's. macOS brings WebKit; the compiler comes with the command line tools. */
const BREW = { bitcoind: ['cmake', 'ninja', 'boost', 'ccache'] };

/** The Electrum server that tests and benchmarks run on: a release that gets on with the devnet's bitcoind. */
const ELECTRS = 'electrs@0.12.0';

/** Node's own version, checked first: the rest may use what is newer. */
export function ensureNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  // What Vite asks for; with less it fails later and less clearly.
  const enough = major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19);
  if (!enough)
    throw new Failed(
      `Node ${process.versions.node} does not do: Pilotlight needs 20.19, or 22.12 and newer (https://nodejs.org)`,
    );
}

export function ensureRust() {
  if (works('cargo')) return;
  const line = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh";
  throw new Failed(`Rust is missing. Install it and open a new terminal:\n\n    ${line}\n`);
}

/**
 * Makes the build caches this checkout's. What cargo built of our own crates in another checkout holds paths into it, and
 * cargo does not notice: its files may be newer than ours. What was built of dependencies holds none, and stays.
 */
export async function adoptBuilds() {
  await adopt(target, [[], ['--release']]);
  const ios = [DEVICE, SIMULATOR].map((triple) => ['--target', triple]);
  await adopt(targetIos, [[], ...ios, ['--release', '--target', DEVICE]]);
}

async function adopt(folder, kinds) {
  const marker = join(folder, 'checkout');
  if (existsSync(marker) && readFileSync(marker, 'utf8') === root) return;
  if (existsSync(folder)) {
    const metadata = await run('cargo', ['metadata', '--locked', '--no-deps', '--format-version', '1']);
    const ours = JSON.parse(metadata).packages.flatMap(({ name }) => ['-p', name]);
    const env = { CARGO_TARGET_DIR: folder };
    for (const kind of kinds) await run('cargo', ['clean', ...kind, ...ours], { env });
  }
  mkdirSync(folder, { recursive: true });
  writeFileSync(marker, root);
}

/** Installs the system packages of these groups, those of them that are missing. */
export async function ensurePackages(...groups) {
  const there = { bitcoind: hasBitcoind, electrs: hasElectrs };
  const needed = groups.filter((group) => !there[group]?.());
  if (process.platform === 'darwin') return ensureBrew(needed);
  if (process.platform !== 'linux')
    throw new Failed('Pilotlight is developed on Debian and macOS; this is neither.');
  if (!works('dpkg-query')) {
    say(
      `This is not Debian, so nothing is installed. What is needed, by Debian's names: ${names(APT, needed).join(' ')}`,
    );
    return;
  }
  const missing = names(APT, needed).filter((name) => !isInstalled(name));
  if (missing.length === 0) return;
  const install = ['apt-get', 'install', '-y', '--no-install-recommends', ...missing];
  const asRoot = process.getuid() === 0 ? [] : works('sudo', ['-n', 'true']) ? ['sudo', '-n'] : null;
  if (!asRoot)
    throw new Failed(
      `Packages are missing. Install them, then run this again:\n\n    sudo ${install.join(' ')}\n`,
    );
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (args, onLine) => {
    const [program, ...rest] = [...asRoot, 'env', 'DEBIAN_FRONTEND=noninteractive', ...args];
    return run(program, rest, { env, onLine });
  };
  await progress(`installing ${missing.length} Debian packages`, async (onLine) => {
    await apt(['apt-get', 'update'], onLine);
    await apt(install, onLine);
  });
}

/** `npm ci`, if what is installed is not what the lock file says. */
export async function ensureNodeModules() {
  // npm writes this file last, and touches it on every install.
  const installed = join(root, 'node_modules', '.package-lock.json');
  const wanted = join(root, 'package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(wanted).mtimeMs) return;
  await progress('installing npm packages', (onLine) =>
    run('npm', ['ci', '--no-audit', '--no-fund'], { onLine }),
  );
}

/** The path of cargo-nextest, installed once beside the build cache; `null` where that does not work. */
export async function ensureNextest() {
  if (works('cargo-nextest', ['nextest', '--version'])) return 'cargo-nextest';
  const ours = join(tools, 'bin', 'cargo-nextest');
  if (works(ours, ['nextest', '--version'])) return ours;
  try {
    // Unoptimized: it is built twice as fast and only ever waits for the tests.
    const args = ['install', '--locked', '--debug', '--root', tools, 'cargo-nextest'];
    await progress('building cargo-nextest once', (onLine) => run('cargo', args, { onLine }));
    return ours;
  } catch (error) {
    say(`cargo-nextest could not be installed, so plain cargo test runs the tests.\n${error.message}`);
    return null;
  }
}

/** Has an electrs where the devnet looks for one: built once beside the build cache, in some 15 minutes of CPU time. */
export async function ensureElectrs() {
  if (hasElectrs()) return;
  await ensurePackages('electrs');
  const args = ['install', '--locked', '--no-default-features', '--root', tools, ELECTRS];
  await progress('building electrs once', (onLine) => run('cargo', args, { onLine }));
}

/** Whether the devnet will find an electrs, or was told to do without. */
export function hasElectrs() {
  const { ELECTRS_EXE: named, PILOTLIGHT_WITHOUT_ELECTRS: without } = process.env;
  return Boolean(named || without) || existsSync(join(tools, 'bin', 'electrs'));
}

/** Whether the devnet will find a bitcoind without building one. It checks the version itself. */
export function hasBitcoind() {
  const builds = join(cache, 'bitcoind');
  const cached =
    existsSync(builds) && readdirSync(builds).some((entry) => existsSync(join(builds, entry, 'bitcoind')));
  return Boolean(process.env.BITCOIND_EXE) || cached || works('bitcoind');
}

async function ensureBrew(groups) {
  if (!works('xcode-select', ['-p']))
    throw new Failed("Apple's command line tools are missing:\n\n    xcode-select --install\n");
  const missing = names(BREW, groups).filter((name) => !works('brew', ['list', '--versions', name]));
  if (missing.length === 0) return;
  if (!works('brew'))
    throw new Failed(`Install Homebrew (https://brew.sh), then:\n\n    brew install ${missing.join(' ')}\n`);
  await progress(`brew install ${missing.join(' ')}`, (onLine) =>
    run('brew', ['install', ...missing], { onLine }),
  );
}

const names = (table, groups) => [...new Set(groups.flatMap((group) => table[group] ?? []))];

function isInstalled(name) {
  const found = spawnSync('dpkg-query', ['-s', name], { encoding: 'utf8' });
  return found.status === 0 && found.stdout.includes('install ok installed');
}

/** Debian's version, for the words of an error. */
export function system() {
  try {
    const text = readFileSync('/etc/os-release', 'utf8');
    return /PRETTY_NAME="(.*)"/.exec(text)?.[1] ?? 'Linux';
  } catch {
    return process.platform;
  }
}
