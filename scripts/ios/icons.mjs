// Draws the iOS app icons and the flame of the launch screen anew from src-tauri/icons: node scripts/ios/icons.mjs
//
// The Tauri CLI draws every size; its alpha channel, which the App Store refuses, is taken out here. To be run when the
// drawing changes, and the result committed: `tauri ios init` would fill a gap with Tauri's own icon.

import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { say } from '../lib/console.mjs';
import { root } from '../lib/paths.mjs';
import { decode, encodeOpaque } from '../lib/png.mjs';
import { run } from '../lib/process.mjs';

const icons = join(root, 'src-tauri', 'icons');
const assets = join(root, 'gen', 'apple', 'Assets.xcassets');
const drawn = mkdtempSync(join(tmpdir(), 'pilotlight-icons-'));
const draw = (source, ...args) =>
  run('npx', ['--no-install', 'tauri', 'icon', join(icons, source), '-o', drawn, ...args]);
try {
  await draw('icon.svg');
  const names = readdirSync(join(drawn, 'ios'));
  for (const name of names) {
    const opaque = encodeOpaque(decode(readFileSync(join(drawn, 'ios', name))));
    writeFileSync(join(assets, 'AppIcon.appiconset', name), opaque);
  }
  // 72 points, the size of the first screen's flame, for each scale of screen.
  const sizes = [72, 144, 216];
  await draw('flame.svg', ...sizes.flatMap((size) => ['--png', String(size)]));
  for (const size of sizes) {
    const name = `${size}x${size}.png`;
    copyFileSync(join(drawn, name), join(assets, 'LaunchFlame.imageset', name));
  }
  say(`${names.length} icons and the launch flame are in ${assets}`);
} finally {
  rmSync(drawn, { recursive: true, force: true });
}
