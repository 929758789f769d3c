import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { root } from '../lib/paths.mjs';
import { problems } from './built-app.mjs';

const config = JSON.parse(readFileSync(join(root, 'tauri.conf.json'), 'utf8'));
const ids = config.plugins.background.tasks.map(({ id }) => id);

/** An app that is as it should be, with changes. */
function app({ info = {}, files = (names) => names, symbols = (names) => names } = {}) {
  return {
    config,
    info: {
      BGTaskSchedulerPermittedIdentifiers: ids,
      UIBackgroundModes: ['fetch', 'processing'],
      CFBundleIdentifier: 'app.pilotlight.wallet',
      CFBundleShortVersionString: config.version,
      MinimumOSVersion: config.bundle.iOS.minimumSystemVersion,
      UILaunchStoryboardName: 'LaunchScreen',
      ITSAppUsesNonExemptEncryption: false,
      ...info,
    },
    files: files([
      'Info.plist',
      'Pilotlight',
      'Assets.car',
      'LaunchScreen.storyboardc',
      'PrivacyInfo.xcprivacy',
      'AppIcon60x60@2x.png',
    ]),
    symbols: new Set(
      symbols([
        'start_app',
        'main',
        'init_plugin_background',
        'tauri_background_install',
        'tauri_background_device',
      ]),
    ),
  };
}

const without = (name) => (names) => names.filter((other) => other !== name);

test('an app that was built as declared has no problem', () => {
  assert.deepEqual(problems(app()), []);
});

test('each thing that can get lost on the way is named', () => {
  const cases = [
    [
      { info: { BGTaskSchedulerPermittedIdentifiers: ids.slice(1) } },
      `BGTaskSchedulerPermittedIdentifiers lacks ${ids[0]}`,
    ],
    [{ info: { BGTaskSchedulerPermittedIdentifiers: [...ids, 'a.b'] } }, 'has a.b, which no task needs'],
    [{ info: { UIBackgroundModes: ['processing'] } }, 'UIBackgroundModes lacks fetch'],
    [{ info: { UIBackgroundModes: ['fetch', 'processing', 'audio'] } }, 'has audio, which no task needs'],
    [{ info: { CFBundleIdentifier: 'app.other' } }, 'CFBundleIdentifier is app.other'],
    [{ info: { CFBundleShortVersionString: '9' } }, 'CFBundleShortVersionString is 9'],
    [{ info: { MinimumOSVersion: '14.0' } }, 'MinimumOSVersion is 14.0'],
    [{ info: { ITSAppUsesNonExemptEncryption: undefined } }, 'Info.ios.plist was not merged'],
    [{ info: { UIApplicationSceneManifest: {} } }, 'UIApplicationSceneManifest is there'],
    [{ files: without('PrivacyInfo.xcprivacy') }, 'PrivacyInfo.xcprivacy is not in the app'],
    [{ files: without('AppIcon60x60@2x.png') }, 'no app icon'],
    [{ symbols: without('start_app') }, 'does not define start_app'],
    [{ symbols: without('tauri_background_install') }, 'does not define tauri_background_install'],
  ];
  for (const [change, expected] of cases) {
    const found = problems(app(change));
    assert.equal(found.length, 1, found.join('\n'));
    assert.ok(found[0].includes(expected), found[0]);
  }
  const bare = app();
  delete bare.info.BGTaskSchedulerPermittedIdentifiers;
  delete bare.info.UIBackgroundModes;
  assert.equal(problems(bare).length, ids.length + 2);
});
