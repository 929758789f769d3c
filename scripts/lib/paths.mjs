// Where things are. Build caches live outside the checkout, so that a fresh clone of an old friend builds quickly.

import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout. */
export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const xdg = process.env.XDG_CACHE_HOME ?? '';

/** Everything that is worth keeping between checkouts. */
export const cache = join(isAbsolute(xdg) ? xdg : join(homedir(), '.cache'), 'pilotlight');

/** Where cargo builds. */
export const target = process.env.CARGO_TARGET_DIR || join(cache, 'target');

/** Where cargo builds for iOS: with another compiler than the desktop's, so a folder of its own. */
export const targetIos = join(cache, 'target-ios');

/** Where `cargo install` puts the tools that only the tests need. */
export const tools = join(cache, 'tools');

/** A program that cargo built with the dev profile. */
export const built = (name) => join(target, 'debug', name);

/** A program that cargo built with the release profile. */
export const released = (name) => join(target, 'release', name);
