import assert from 'node:assert/strict';
import { test } from 'node:test';

import { budgets, ratios, spread, spreads } from './figures.mjs';

const run = (factor) => ({
  wall_ms: 100 * factor,
  cpu_ms: 10 * factor,
  rss_kib: 20_000 * factor,
  requests: 50 * factor,
  bytes: 0,
});

const cell = (ours, theirs, where) => {
  const [our, their] = [spreads([run(ours)]), spreads([run(theirs)])];
  return { channels: 5, blocks: 144, ...where, ours: our, theirs: their, ratio: ratios(our, their) };
};

test('a spread does not mind the order, nor an even number of runs', () => {
  assert.deepEqual(spread([30, 10, 20]), { min: 10, median: 20, max: 30 });
  assert.deepEqual(spread([9, 100, 11, 10]), { min: 9, median: 10.5, max: 100 });
});

test('ratios are of medians, and none where there is nothing to compare with', () => {
  const { wall_ms: wall, bytes } = ratios(spreads([run(1), run(2), run(9)]), spreads([run(4)]));
  assert.equal(wall, 0.5);
  assert.equal(bytes, null);
});

test('a budget is kept or not, where it speaks of a cell', () => {
  const kept = (cells) => budgets(cells).map(({ measure, of, kept }) => `${measure} ${of} ${kept}`);
  assert.deepEqual(kept([cell(1, 8, { rtt_ms: 0, graph: true })]), [
    'cpu_ms ratio true',
    'rss_kib ratio true',
    'rss_kib ours true',
  ]);
  assert.deepEqual(kept([cell(2, 9, { rtt_ms: 100, graph: true })]), [
    'cpu_ms ratio false',
    'rss_kib ratio true',
    'rss_kib ours false',
    'wall_ms ratio true',
  ]);
  assert.deepEqual(kept([cell(1, 1, { rtt_ms: 100, graph: false })]), [
    'cpu_ms ratio true',
    'rss_kib ratio true',
    'requests ratio false',
    'wall_ms ratio false',
  ]);
  assert.deepEqual(kept([{ ...cell(1, 1, { rtt_ms: 100, graph: false }), channels: 20 }]), []);
});
