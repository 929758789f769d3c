// The steps of a run: each done whatever became of those before it, timed, counted, and told about at the end.

import { duration, fail, say } from './console.mjs';

/** Names, times and counts of the steps done. */
const results = [];
const begun = Date.now();

/**
 * Does one step: `work` resolves to an exit code, or to `{ code, counts }`, or to `{ code: 0, skipped: why }`. A step that
 * fails without counts is one failure; a step without tests that passes is not counted.
 */
export async function step(name, work) {
  const started = Date.now();
  say(`\n=== ${name}`);
  let outcome;
  try {
    outcome = await work();
  } catch (error) {
    fail(error.message);
    outcome = 1;
  }
  const { code, counts, skipped } = typeof outcome === 'object' ? outcome : { code: outcome };
  const result = {
    name,
    ok: code === 0,
    skipped,
    took: Date.now() - started,
    passed: counts?.passed ?? 0,
    failed: counts?.failed ?? 0,
    ignored: counts?.skipped ?? 0,
  };
  // A runner that says "failed" without a failed test, or dies before it writes its report, is a failure too.
  if (!result.ok && result.failed === 0) result.failed = 1;
  if (result.failed > 0) result.ok = false;
  results.push(result);
  say(`=== ${name}: ${skipped ?? (result.ok ? 'ok' : 'FAILED')} in ${duration(result.took)}`);
  return result.ok;
}

/** Says how every step went, ends with the totals on stdout, and answers whether all is well. */
export function summary() {
  const width = Math.max(...results.map((result) => result.name.length));
  const tests = ({ passed, failed, ignored }) =>
    passed + failed > 0 ? `${passed} passed, ${failed} failed${ignored ? `, ${ignored} skipped` : ''}` : '';
  say('');
  for (const result of results) {
    const word = result.skipped ? 'skip' : result.ok ? 'ok' : 'FAIL';
    say(
      `${word.padEnd(5)}${result.name.padEnd(width + 2)}${duration(result.took).padStart(12)}  ${tests(result)}`,
    );
  }
  const total = (field) => results.reduce((sum, result) => sum + result[field], 0);
  say(`in ${duration(Date.now() - begun)}`);
  process.stdout.write(`\n${total('passed')} passed, ${total('failed')} failed\n`);
  return total('failed') === 0;
}
