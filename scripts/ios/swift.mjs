// The Swift half of the iOS host, checked without a Mac.
//
//   node scripts/ios/swift.mjs test [--report FILE]   the tests of the platform-neutral core; FILE gets JUnit
//   node scripts/ios/swift.mjs types [--planted]      Tauri's Swift and the host, type-checked for iOS; or hosts with a
//                                                     planted error each, which must not pass
//   node scripts/ios/swift.mjs mutant [--all]         broken cores must fail the tests: those that complete a launch not
//                                                     exactly once, or all that are known
//
// Exit code 0: passed, or skipped with a line that says why. 1: failed. 2: wrong usage.

import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { argv, exit, getuid, platform, stdout } from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { fail, progress, say } from '../lib/console.mjs';
import { fromJUnit } from '../lib/counts.mjs';
import { cache, root } from '../lib/paths.mjs';
import { dieTogether, Failed, run, works } from '../lib/process.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const host = join(root, 'plugins', 'tauri-plugin-background', 'ios');
const core = join(host, 'Core');
const toolchain = join(cache, 'swift');
const ENV = join(here, 'swift-env.sh');

/** Two at a time: what a small machine can do. */
const JOBS = '2';

/** Cores that must not pass. What is replaced must occur exactly once, so that no mutant dies out unseen. */
const MUTANTS = [
  {
    name: 'a launch stays in the table when it is completed',
    file: 'Launches.swift',
    from: '$0.open.removeValue(forKey: token)',
    to: '$0.open[token]',
    exactlyOnce: true,
  },
  {
    name: 'a launch is looked up first and taken out of the table after',
    file: 'Launches.swift',
    from: 'guard let launch = table.with({ $0.open.removeValue(forKey: token) }) else { return false }',
    to: 'guard let launch = table.with({ $0.open[token] }) else { return false }; table.with { $0.open[token] = nil }',
    exactlyOnce: true,
  },
  {
    name: 'a launch is completed under the lock',
    file: 'Launches.swift',
    from: '    launch.complete(success: success)\n',
    to: '    table.with { _ in launch.complete(success: success) }\n',
  },
  {
    name: 'an expiry is told before its launch',
    file: 'Launches.swift',
    from: 'return state.isAnnounced && settleExpiry(&state)',
    to: 'return settleExpiry(&state)',
  },
  {
    name: 'an expiry is told after the completion',
    file: 'Launches.swift',
    from: '    state.with { $0.expiryIsSettled = true }\n',
    to: '',
  },
  {
    name: 'Rust hears of a launch that is not in the table yet',
    file: 'Launches.swift',
    from: '    task.identifier.withCString { launched(token, $0, kind.rawValue) }\n',
    to: '    table.with { $0.open[token] = nil }; task.identifier.withCString { launched(token, $0, kind.rawValue) }; table.with { $0.open[token] = launch }\n',
  },
  {
    name: 'a grace period is ended twice',
    file: 'GracePeriods.swift',
    from: '        table.periods[token] = nil\n        return (identifier, expired)\n',
    to: '        return (identifier, expired)\n',
  },
  {
    name: 'an identifier is registered twice',
    file: 'Registry.swift',
    from: '!state.with({ $0.attempted.insert(task.id).inserted })',
    to: '!state.with({ $0.attempted.insert(task.id).inserted || true })',
  },
];

/** Hosts that must not pass the type check, and what it says of them. */
const PLANTED = [
  {
    name: 'a wrong label',
    file: 'Scheduler.swift',
    from: 'task.setTaskCompleted(success: success)',
    to: 'task.setTaskCompleted(withSuccess: success)',
    says: 'incorrect argument label',
  },
  {
    name: 'a call that throws, without try',
    file: 'Scheduler.swift',
    from: 'try BGTaskScheduler.shared.submit(request)',
    to: 'BGTaskScheduler.shared.submit(request)',
    says: "not marked with 'try'",
  },
  {
    name: 'what is new in iOS 26, without #available',
    file: 'Scheduler.swift',
    from: 'guard #available(iOS 26.0, *) else { return Answer.needsNewerSystem }',
    to: '',
    says: 'only available in iOS 26.0 or newer',
  },
  {
    name: "the main thread's, from any thread",
    file: 'Device.swift',
    from: 'facts.onPower = kept.onPower',
    to: 'facts.onPower = UIDevice.current.batteryState == .full',
    says: 'main actor-isolated',
  },
  {
    name: 'an error inside #if os(iOS)',
    file: 'Files.swift',
    from: 'var values = URLResourceValues()',
    to: 'var values = URLResourceValues()\n#if os(iOS)\nvalues.isExcludedFromBackup = "yes"\n#endif\n',
    says: "cannot assign value of type 'String'",
  },
  {
    name: 'an override that overrides nothing',
    file: 'BackgroundPlugin.swift',
    from: 'override func load(webview: WKWebView)',
    to: 'override func loaded(webview: WKWebView)',
    says: 'does not override any method',
  },
  {
    name: 'a type of Swift in a function for C',
    file: 'Exports.swift',
    from: 'public func complete(token: UInt64, success: Bool)',
    to: 'public func complete(token: UInt64?, success: Bool)',
    says: 'cannot be represented in Objective-C',
  },
];

/** Why the tests cannot run on this machine, or null if they can. */
export function swiftSupport() {
  if (platform === 'darwin')
    return works('swift') ? null : 'there is no swift: xcode-select --install brings one';
  return debianSupport() ?? null;
}

/** Why the type check cannot run on this machine, or null if it can. */
export function typesSupport() {
  if (platform === 'darwin') return 'not needed on a Mac: Xcode checks the types against the real frameworks';
  return debianSupport() ?? null;
}

/** Why Debian's Swift cannot be used, or undefined. */
function debianSupport() {
  if (platform !== 'linux') return `there is no Swift toolchain for ${platform} here`;
  for (const tool of ['apt-get', 'dpkg-deb', 'unshare', 'flock']) {
    if (!works('sh', ['-c', `command -v ${tool}`])) return `Debian's Swift needs ${tool}, which is not here`;
  }
  try {
    accessSync('/usr/share/keyrings/debian-archive-keyring.gpg', constants.R_OK);
  } catch {
    return "Debian's Swift needs the package debian-archive-keyring";
  }
  if (getuid() !== 0 && !works('unshare', ['--user', '--map-root-user', '--mount', 'true']))
    return "Debian's Swift needs root, or user namespaces for everybody";
  return undefined;
}

/** The command line that runs `words` with Swift, with these folders visible. */
function withSwift(words, folders = []) {
  if (platform === 'darwin') return { program: words[0], args: words.slice(1), env: {} };
  const env = { SWIFT_ENV_CACHE: toolchain, SWIFT_ENV_BIND: [tmpdir(), ...folders].join(delimiter) };
  return { program: 'bash', args: [ENV, ...words], env };
}

async function ensureToolchain() {
  if (platform === 'darwin') return;
  const { program, args, env } = withSwift([]);
  await progress('the Swift toolchain', (onLine) => run(program, args, { env, onLine }));
}

/** Runs the tests of the core in `folder`; `scratch` holds what is built. `lines` is what they printed. */
async function testCore(folder, scratch, onLine) {
  const report = join(mkdtempSync(join(tmpdir(), 'pilotlight-swift-')), 'report.xml');
  const lines = [];
  const words = ['swift', 'test', '--package-path', folder, '--scratch-path', scratch, '-j', JOBS];
  // In parallel, because only then is there a report; each test has a process of its own.
  words.push('--parallel', '--num-workers', JOBS, '--xunit-output', report);
  const { program, args, env } = withSwift(words, [folder, scratch]);
  let ok = true;
  try {
    await run(program, args, {
      env,
      onLine: (line) => {
        lines.push(line);
        onLine(line);
      },
    });
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    ok = false;
  }
  const xml = existsSync(report) ? readFileSync(report, 'utf8') : '';
  rmSync(dirname(report), { recursive: true, force: true });
  return { ok, xml, lines, counts: fromJUnit(xml) };
}

/** Where the core is built: outside the checkout, and anew for each checkout. */
function scratchFolder() {
  const scratch = join(cache, 'swift-core');
  const marker = join(scratch, 'checkout');
  if (existsSync(scratch) && (!existsSync(marker) || readFileSync(marker, 'utf8') !== root))
    rmSync(scratch, { recursive: true });
  mkdirSync(scratch, { recursive: true });
  writeFileSync(marker, root);
  return scratch;
}

async function test({ report }) {
  const reason = swiftSupport();
  if (reason) return skip('the tests of the Swift core', reason);
  await ensureToolchain();
  const scratch = scratchFolder();
  const result = await progress("building and testing the host's Swift core", (onLine) =>
    testCore(core, scratch, onLine),
  );
  if (report) writeFileSync(resolve(report), result.xml);
  if (!result.ok || !result.counts || result.counts.failed > 0) {
    for (const line of result.lines) if (!isChatter(line)) say(line);
    fail(summary(result.counts));
    return 1;
  }
  stdout.write(`${summary(result.counts)}\n`);
  return 0;
}

async function mutant({ all }) {
  const reason = swiftSupport();
  if (reason) return skip('the mutants of the Swift core', reason);
  await ensureToolchain();
  const folder = mkdtempSync(join(tmpdir(), 'pilotlight-mutant-'));
  let survivors = 0;
  try {
    const copy = join(folder, 'Core');
    for (const one of MUTANTS.filter(({ exactlyOnce }) => all || exactlyOnce)) {
      rmSync(copy, { recursive: true, force: true });
      cpSync(core, copy, { recursive: true, filter: isSource });
      plant(one, join(copy, 'Sources', 'BackgroundCore', one.file));
      const result = await progress(`mutant: ${one.name}`, (onLine) =>
        testCore(copy, join(folder, 'build'), onLine),
      );
      // It must be the tests that fail: a mutant that does not build proves nothing.
      if (!result.counts) throw new Failed(`this mutant does not build\n${result.lines.join('\n')}`);
      if (result.counts.failed === 0) survivors += 1;
      const verdict = result.counts.failed > 0 ? 'caught' : 'SURVIVES';
      stdout.write(`${verdict}: ${one.name} (${summary(result.counts)})\n`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  if (survivors > 0) fail(`${survivors} broken cores pass the tests`);
  return survivors > 0 ? 1 : 0;
}

/** Not what was built in the checkout by hand. */
const isSource = (path) => !path.endsWith('.build');

function plant({ name, from, to }, path) {
  const source = readFileSync(path, 'utf8');
  if (source.split(from).length !== 2)
    throw new Failed(`"${name}" does not fit ${path} any more: mend it in ${fileURLToPath(import.meta.url)}`);
  writeFileSync(
    path,
    source.replace(from, () => to),
  );
}

async function types({ planted }) {
  const reason = typesSupport();
  if (reason) return skip("the type check of the host's Swift", reason);
  await ensureToolchain();
  const metadata = JSON.parse(await run('cargo', ['metadata', '--locked', '--format-version', '1']));
  const tauri = metadata.packages.find(({ name }) => name === 'tauri');
  const sources = join(dirname(tauri.manifest_path), 'mobile', 'ios-api', 'Sources', 'Tauri');
  if (!existsSync(sources)) throw new Failed(`tauri ${tauri.version} has no Swift sources at ${sources}`);
  if (planted) return plantedErrors(sources);
  const label = `type-checking the host on tauri ${tauri.version} for iOS`;
  const { ok, lines } = await progress(label, (onLine) => checkTypes(sources, host, onLine));
  if (ok) {
    stdout.write(`${lines.at(-1) ?? ''}\n`);
    return 0;
  }
  for (const line of lines) say(line);
  fail('the Swift of the host does not pass the type check');
  return 1;
}

/** Type-checks the host in `folder` on Tauri's sources. */
async function checkTypes(sources, folder, onLine) {
  const built = join(cache, 'swift-types');
  mkdirSync(built, { recursive: true });
  const check = ['bash', join(here, 'swift-types', 'check.sh'), built, sources, folder];
  const { program, args, env } = withSwift(check, [built, sources]);
  const lines = [];
  const keep = (line) => {
    lines.push(line);
    onLine(line);
  };
  try {
    // One at a time: what is built for all of them is in one place.
    await run('flock', [join(built, 'lock'), program, ...args], { env, onLine: keep });
    return { ok: true, lines };
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    return { ok: false, lines };
  }
}

async function plantedErrors(sources) {
  const folder = mkdtempSync(join(tmpdir(), 'pilotlight-planted-'));
  const copy = join(folder, 'ios');
  let missed = 0;
  try {
    for (const one of PLANTED) {
      rmSync(copy, { recursive: true, force: true });
      cpSync(host, copy, { recursive: true, filter: isSource });
      plant(one, join(copy, 'Sources', 'tauri-plugin-background', one.file));
      const { ok, lines } = await progress(`planted: ${one.name}`, (onLine) =>
        checkTypes(sources, copy, onLine),
      );
      const said = lines.find((line) => line.includes('error:') && line.includes(one.says));
      if (ok || !said) missed += 1;
      stdout.write(
        `${ok || !said ? 'MISSED' : 'caught'}: ${one.name} (${said?.replace(/.*error: /, '') ?? lines.at(-1)})\n`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  if (missed > 0) fail(`the type check misses ${missed} planted errors`);
  return missed > 0 ? 1 : 0;
}

function skip(what, reason) {
  stdout.write(`skipped: ${what}: ${reason}\n`);
  return 0;
}

const summary = (counts) =>
  counts ? `${counts.passed} passed, ${counts.failed} failed` : 'the tests did not get as far as a report';

/** Lines of `swift test` that say only that it is alive. */
const isChatter = (line) => /^\[\d+\/\d+\]|^Building for|^Build complete|started at|passed/.test(line);

const COMMANDS = { test, types, mutant };

async function main() {
  const options = { report: { type: 'string' }, all: { type: 'boolean' }, planted: { type: 'boolean' } };
  let parsed;
  try {
    parsed = parseArgs({ options, allowPositionals: true });
  } catch (error) {
    fail(error.message);
    return 2;
  }
  const { values, positionals } = parsed;
  const command = positionals.length === 1 ? COMMANDS[positionals[0]] : undefined;
  if (!command) {
    fail(
      `usage: node scripts/ios/swift.mjs ${Object.keys(COMMANDS).join('|')} [--report FILE] [--planted] [--all]`,
    );
    return 2;
  }
  dieTogether();
  try {
    return await command(values);
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    fail(error.message);
    return 1;
  }
}

if (argv[1] && resolve(argv[1]) === fileURLToPath(import.meta.url)) exit(await main());
