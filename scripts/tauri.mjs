// npm run tauri: the Tauri CLI, which on a Mac finds an Xcode project when it needs one.
//
// Xcode calls this as well, for the Rust build phase: `npm run -- tauri ios xcode-script` with a long tail of arguments.
// So the CLI runs in this very process: its arguments, stdin, signals and exit code are what they would be without us.

import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import process from 'node:process';

import { say } from './lib/console.mjs';
import { prepareIos } from './lib/ios-project.mjs';
import { root } from './lib/paths.mjs';

const require = createRequire(import.meta.url);
const cli = require.resolve('@tauri-apps/cli/tauri.js');
const args = process.argv.slice(2);

const status = prepareIos({
  args,
  cli,
  root,
  platform: process.platform,
  arch: process.arch,
  spawnSync,
  say,
});
if (status === 0) {
  process.argv = [process.argv[0], cli, ...args];
  require(cli);
} else {
  process.exitCode = status;
}
