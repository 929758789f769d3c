// As much of PNG as app icons need: reads what the Tauri CLI writes (8 bits, RGBA, not interlaced), writes RGB.
//
// Apple refuses an icon with an alpha channel, even one that is opaque throughout, and the Tauri CLI writes no other.
// Format: https://www.w3.org/TR/png-3/

import { crc32, deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const RGB = 2;
const RGBA = 6;

/** The picture in `file`: `{ width, height, rgba }`. */
export function decode(file) {
  if (!file.subarray(0, 8).equals(SIGNATURE)) throw new Error('not a PNG');
  let header;
  const data = [];
  for (let at = 8; at < file.length; ) {
    const length = file.readUInt32BE(at);
    const name = file.toString('latin1', at + 4, at + 8);
    const body = file.subarray(at + 8, at + 8 + length);
    if (name === 'IHDR') header = readHeader(body);
    if (name === 'IDAT') data.push(body);
    at += length + 12;
  }
  return { ...header, rgba: unfilter(inflateSync(Buffer.concat(data)), header) };
}

function readHeader(body) {
  const [depth, color, , , interlace] = body.subarray(8);
  if (depth !== 8 || color !== RGBA || interlace !== 0) throw new Error('not 8 bits RGBA, or interlaced');
  return { width: body.readUInt32BE(0), height: body.readUInt32BE(4) };
}

/** Each line is stored as its difference to its neighbours, in one of five ways. */
function unfilter(stored, { width, height }) {
  const stride = width * 4;
  const out = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y += 1) {
    const filter = stored[y * (stride + 1)];
    for (let x = 0; x < stride; x += 1) {
      const at = y * stride + x;
      const left = x < 4 ? 0 : out[at - 4];
      const up = y === 0 ? 0 : out[at - stride];
      const corner = x < 4 || y === 0 ? 0 : out[at - stride - 4];
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter];
      if (guess === undefined) throw new Error(`unknown filter ${filter}`);
      out[at] = stored[y * (stride + 1) + 1 + x] + guess;
    }
  }
  return out;
}

function paeth(left, up, corner) {
  const near = (value) => Math.abs(left + up - corner - value);
  if (near(left) <= near(up) && near(left) <= near(corner)) return left;
  return near(up) <= near(corner) ? up : corner;
}

/** The PNG file of an opaque picture, without alpha channel. What is see-through is an error: there is no background. */
export function encodeOpaque({ width, height, rgba }) {
  const lines = Buffer.alloc(height * (width * 3 + 1));
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const from = (y * width + x) * 4;
      if (rgba[from + 3] !== 255) throw new Error(`see-through at ${x}, ${y}`);
      rgba.copy(lines, y * (width * 3 + 1) + 1 + x * 3, from, from + 3);
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, RGB, 0, 0, 0], 8);
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(lines, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(name, body) {
  const named = Buffer.concat([Buffer.from(name, 'latin1'), body]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, sum]);
}
