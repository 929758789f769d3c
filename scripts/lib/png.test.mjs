import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { crc32, deflateSync, inflateSync } from 'node:zlib';

import { root } from './paths.mjs';
import { decode, encodeOpaque } from './png.mjs';

const SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex');

function chunk(name, body) {
  const named = Buffer.concat([Buffer.from(name), body]);
  const number = (value) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  return Buffer.concat([number(body.length), named, number(crc32(named))]);
}

/** A PNG of `lines`, each a filter and its stored bytes, four for each pixel. */
function png(lines, color = 6) {
  const header = Buffer.from([0, 0, 0, (lines[0].length - 1) / 4, 0, 0, 0, lines.length, 8, color, 0, 0, 0]);
  const data = deflateSync(Buffer.from(lines.flat()));
  // In two pieces, as real files often are.
  const pieces = [data.subarray(0, 5), data.subarray(5)].map((piece) => chunk('IDAT', piece));
  return Buffer.concat([SIGNATURE, chunk('IHDR', header), ...pieces, chunk('IEND', Buffer.alloc(0))]);
}

test('each of the five filters is undone', () => {
  const lines = [
    [0, 10, 20, 30, 255, 40, 50, 60, 255],
    [1, 1, 2, 3, 255, 4, 5, 6, 0], // to the left
    [2, 1, 1, 1, 0, 250, 1, 1, 0], // above; 250 wraps around
    [3, 8, 8, 8, 127, 1, 1, 1, 0], // the mean of both, rounded down
    [4, 1, 1, 1, 0, 2, 2, 2, 0], // the one of three that is nearest to left + above - corner
  ];
  const { width, height, rgba } = decode(png(lines));
  assert.deepEqual([width, height], [2, 5]);
  assert.deepEqual(
    [...rgba],
    [
      [10, 20, 30, 255, 40, 50, 60, 255],
      [1, 2, 3, 255, 5, 7, 9, 255],
      [2, 3, 4, 255, 255, 8, 10, 255],
      [9, 9, 10, 254, 133, 9, 11, 254],
      [10, 10, 11, 254, 135, 12, 13, 254],
    ].flat(),
  );
});

test('an opaque picture comes out without alpha, and pixel for pixel', () => {
  const source = decode(readFileSync(join(root, 'src-tauri', 'icons', 'icon.png')));
  const file = encodeOpaque(source);
  assert.deepEqual(
    [file.readUInt32BE(16), file.readUInt32BE(20), file[25]],
    [source.width, source.height, 2],
  );
  const length = file.readUInt32BE(33);
  assert.equal(file.toString('latin1', 37, 41), 'IDAT');
  assert.equal(file.readUInt32BE(41 + length), crc32(file.subarray(37, 41 + length)));
  const lines = inflateSync(file.subarray(41, 41 + length));
  for (const [x, y] of [
    [0, 0],
    [256, 300],
    [source.width - 1, source.height - 1],
  ]) {
    const from = (y * source.width + x) * 4;
    const at = y * (source.width * 3 + 1) + 1 + x * 3;
    assert.deepEqual([...lines.subarray(at, at + 3)], [...source.rgba.subarray(from, from + 3)]);
  }
});

test('what cannot be done is refused', () => {
  const flame = join(root, 'gen', 'apple', 'Assets.xcassets', 'LaunchFlame.imageset', '72x72.png');
  assert.throws(() => encodeOpaque(decode(readFileSync(flame))), /see-through at 0, 0/);
  assert.throws(() => decode(Buffer.from('<svg/>')), /not a PNG/);
  assert.throws(() => decode(png([[0, 1, 2, 3, 4]], 2)), /not 8 bits RGBA/);
  assert.throws(() => decode(png([[9, 1, 2, 3, 4]])), /unknown filter 9/);
});
