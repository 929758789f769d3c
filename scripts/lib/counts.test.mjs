import assert from 'node:assert/strict';
import { test } from 'node:test';

import { fromCargoTest, fromJUnit, fromVitest } from './counts.mjs';

test('JUnit: passes, failures, errors and skips are told apart', () => {
  const xml = `<?xml version="1.0"?><testsuites tests="5" failures="1" errors="1"><testsuite name="a">
    <testcase name="one"/><testcase name="two"><system-out>failure is no option</system-out></testcase>
    <testcase name="three"><failure message="x">boom</failure></testcase>
    <testcase name="four"><error/></testcase><testcase name="five"><skipped/></testcase>
  </testsuite></testsuites>`;
  assert.deepEqual(fromJUnit(xml), { passed: 2, failed: 2, skipped: 1 });
  assert.equal(fromJUnit(''), null);
  assert.deepEqual(fromJUnit('<testsuites></testsuites>'), { passed: 0, failed: 0, skipped: 0 });
});

test('Vitest: a file that does not load is a failure', () => {
  const report = {
    numPassedTests: 3,
    numFailedTests: 1,
    numPendingTests: 2,
    numTodoTests: 0,
    testResults: [
      { status: 'failed', assertionResults: [{}] },
      { status: 'failed', assertionResults: [] },
    ],
  };
  assert.deepEqual(fromVitest(JSON.stringify(report)), { passed: 3, failed: 2, skipped: 2 });
  assert.equal(fromVitest('not json'), null);
  assert.equal(fromVitest('{}'), null);
});

test('cargo test: the lines of all programs are added up', () => {
  const text = `
test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.34s
test result: FAILED. 8 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.54s
`;
  assert.deepEqual(fromCargoTest(text), { passed: 20, failed: 2, skipped: 1 });
  assert.equal(fromCargoTest('error: could not compile'), null);
});
