import assert from 'node:assert/strict';
import { test } from 'node:test';

import { compared, percentiles, summary } from './gossip.mjs';

test('percentiles do not mind the order', () => {
  const hundred = Array.from({ length: 100 }, (_, nth) => 100 - nth);
  assert.deepEqual(percentiles(hundred), { p50: 51, p95: 96 });
  assert.deepEqual(percentiles([7]), { p50: 7, p95: 7 });
});

test('fees are compared where both found a way', () => {
  const ours = [{ fee_msat: 30 }, null, { fee_msat: 10 }, { fee_msat: 1_000 }];
  const stock = [{ fee_msat: 20 }, { fee_msat: 5 }, { fee_msat: 10 }, null];
  assert.deepEqual(compared(ours, stock), {
    asked: 4,
    found: { ours: 3, stock: 3 },
    fees_of_ours_in_stock: 1.333,
    same_fee: 1,
  });
  assert.equal(compared([null], [null]).fees_of_ours_in_stock, null);
});

test('the promise is kept by time or by memory, and by neither it is not', () => {
  const run = (ready_ms, ready_bytes) => ({
    ready_ms,
    ready_bytes,
    first_route_ms: 1,
    peak_bytes: 1,
    route_ms: [1],
    found: [null],
  });
  const kept = (ms, bytes) =>
    summary({ ours: {}, stock: {} }, { ours: [run(ms, bytes)], stock: [run(100, 100)] }).kept;
  assert.equal(kept(60, 100), true);
  assert.equal(kept(100, 60), true);
  assert.equal(kept(61, 61), false);
});
