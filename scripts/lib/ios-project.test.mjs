import assert from 'node:assert/strict';
import { spawnSync as realSpawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { prepareIos } from './ios-project.mjs';
import { root } from './paths.mjs';

const scratch = mkdtempSync(join(tmpdir(), 'pilotlight-ios-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** A checkout with, or without, an Xcode project, and a Rust toolchain with, or without, llvm-objcopy. */
function checkout(name, { project = false, halfProject = false, objcopy = true } = {}) {
  const folder = join(scratch, name);
  const apple = join(folder, 'gen', 'apple');
  mkdirSync(apple, { recursive: true });
  writeFileSync(join(apple, 'project.yml'), 'name: pilotlight\n');
  if (project || halfProject)
    mkdirSync(join(apple, 'pilotlight.xcodeproj', 'project.xcworkspace'), { recursive: true });
  if (project) writeFileSync(join(apple, 'pilotlight.xcodeproj', 'project.pbxproj'), '// !$*UTF8*$!\n');
  const bin = join(folder, 'sysroot', 'lib', 'rustlib', 'aarch64-apple-darwin', 'bin');
  mkdirSync(bin, { recursive: true });
  if (objcopy) writeFileSync(join(bin, 'llvm-objcopy'), '');
  return folder;
}

/** Runs the preparation as on a Mac; every command it starts is noted, and `answers` decides how the commands end. */
function onMac(folder, args, { platform = 'darwin', answers = {} } = {}) {
  const ran = [];
  const said = [];
  const spawnSync = (program, argv, options) => {
    const name = program === process.execPath ? 'node' : program;
    ran.push({ name, argv, options });
    if (name === 'rustc') return { status: 0, stdout: `${join(folder, 'sysroot')}\n` };
    return answers[name] ?? { status: 0 };
  };
  const status = prepareIos({
    args,
    cli: '/cli/tauri.js',
    root: folder,
    platform,
    arch: 'arm64',
    spawnSync,
    say: (line) => said.push(line),
  });
  return {
    status,
    ran,
    said: said.join('\n'),
    started: ran.map(({ name, argv }) => [name, ...argv].join(' ')),
  };
}

const INIT = 'node /cli/tauri.js ios init --ci';
const SYSROOT = 'rustc --print sysroot';

test('dev, build and run get their Xcode project first', () => {
  const folder = checkout('fresh');
  for (const action of ['dev', 'build', 'run']) {
    const { status, started, ran } = onMac(folder, ['ios', action, '--release']);
    assert.equal(status, 0);
    assert.deepEqual(started, [SYSROOT, INIT]);
    assert.deepEqual(ran[1].options, { cwd: folder, stdio: 'inherit' });
  }
});

test('flags in front of the words do not hide them', () => {
  const folder = checkout('flags');
  assert.deepEqual(onMac(folder, ['-v', 'ios', '--verbose', 'dev', 'iPhone 17']).started, [SYSROOT, INIT]);
});

test('what an earlier, failed init left behind is not a project', () => {
  assert.deepEqual(onMac(checkout('half', { halfProject: true }), ['ios', 'build']).started, [SYSROOT, INIT]);
});

test('with a project nothing is run', () => {
  const folder = checkout('there', { project: true });
  const old = new Date(Date.now() - 60_000);
  utimesSync(join(folder, 'gen', 'apple', 'project.yml'), old, old);
  const { status, started, said } = onMac(folder, ['ios', 'dev']);
  assert.deepEqual([status, started, said], [0, [SYSROOT], '']);
});

test('a project older than its description is pointed out, and used', () => {
  const folder = checkout('stale', { project: true });
  const old = new Date(Date.now() - 60_000);
  utimesSync(join(folder, 'gen', 'apple', 'pilotlight.xcodeproj', 'project.pbxproj'), old, old);
  const { status, started, said } = onMac(folder, ['ios', 'dev']);
  assert.deepEqual([status, started], [0, [SYSROOT]]);
  assert.match(said, /npm run tauri ios init/);
});

test('everything else goes through without a look', () => {
  const folder = checkout('others');
  const xcode = [
    'ios',
    'xcode-script',
    '-v',
    '--platform',
    'iOS',
    '--framework-search-paths',
    '',
    'dev',
    'arm64',
  ];
  for (const args of [
    xcode,
    ['ios', 'init'],
    ['ios'],
    ['ios', '--help'],
    ['ios', 'dev', '--help'],
    ['ios', 'build', '-h'],
    ['dev'],
    ['build', '--', 'ios', 'dev'],
    ['icon', 'ios'],
    [],
  ]) {
    const { status, started, said } = onMac(folder, args);
    assert.deepEqual([status, started, said], [0, [], ''], args.join(' '));
  }
  // Behind "--" stands what is meant for cargo.
  assert.deepEqual(onMac(folder, ['ios', 'build', '--', '--help']).started, [SYSROOT, INIT]);
});

test('an init that fails ends it, with its exit code', () => {
  const folder = checkout('failing');
  const failed = onMac(folder, ['ios', 'dev'], { answers: { node: { status: 3 } } });
  assert.equal(failed.status, 3);
  assert.match(failed.said, /"tauri ios init --ci" failed/);
  const killed = onMac(folder, ['ios', 'dev'], { answers: { node: { status: null, signal: 'SIGINT' } } });
  assert.equal(killed.status, 1);
  assert.match(killed.said, /SIGINT/);
});

test('llvm-objcopy is fetched where it is missing, and its lack is no reason to stop', () => {
  const folder = checkout('objcopy', { objcopy: false, project: true });
  const add = 'rustup component add llvm-tools';
  assert.deepEqual(onMac(folder, ['ios', 'dev']).started, [SYSROOT, add]);
  const offline = onMac(folder, ['ios', 'dev'], { answers: { rustup: { status: 1 } } });
  assert.equal(offline.status, 0);
  assert.match(offline.said, /rustup component add llvm-tools/);
  const absent = onMac(folder, ['ios', 'dev'], {
    answers: { rustup: { status: null, error: new Error('ENOENT') } },
  });
  assert.equal(absent.status, 0);
});

test('without a Mac, ios commands say what they need', () => {
  for (const platform of ['linux', 'win32']) {
    const { status, started, said } = onMac(checkout(platform), ['ios', 'dev'], { platform });
    assert.deepEqual([status, started], [1, []]);
    assert.match(said, /needs a Mac with Xcode/);
  }
  assert.equal(onMac(checkout('desktop'), ['dev'], { platform: 'linux' }).status, 0);
});

// From here on the script itself, with the real CLI behind it.
const tauri = (...args) =>
  realSpawnSync(process.execPath, [join(root, 'scripts', 'tauri.mjs'), ...args], {
    encoding: 'utf8',
    cwd: root,
  });

test('the real CLI answers through the script, on the right stream and with its own exit code', () => {
  const version = tauri('--version');
  assert.equal(version.status, 0, version.stderr);
  assert.match(version.stdout, /^tauri-cli \d+\.\d+\.\d+/);
  const unknown = tauri('no-such-command', '', '--odd');
  assert.notEqual(unknown.status, 0);
  assert.match(unknown.stderr, /no-such-command/);
});

test('the real script refuses ios commands where there is no Mac', {
  skip: process.platform === 'darwin',
}, () => {
  const { status, stdout, stderr } = tauri('ios', 'dev');
  assert.equal(status, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /needs a Mac with Xcode/);
  assert.ok(!existsSync(join(root, 'gen', 'apple', 'pilotlight.xcodeproj')));
});
