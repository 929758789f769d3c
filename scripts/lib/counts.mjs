// How many tests passed and failed, read from what the runners write for machines.

/** The totals of a JUnit file (nextest, node:test). `null` if the text is none. */
export function fromJUnit(xml) {
  if (!/<testsuites?[\s>]/.test(xml)) return null;
  const cases = xml.split(/<testcase[\s>]/).slice(1);
  let failed = 0;
  let skipped = 0;
  for (const text of cases) {
    // What belongs to this case ends where the next begins, which the split took care of.
    if (/<(failure|error)[\s/>]/.test(text)) failed += 1;
    else if (/<skipped[\s/>]/.test(text)) skipped += 1;
  }
  return { passed: cases.length - failed - skipped, failed, skipped };
}

/** The totals of Vitest's JSON report. */
export function fromVitest(json) {
  const report = parsed(json);
  if (!report || typeof report.numPassedTests !== 'number') return null;
  const suites = (report.testResults ?? []).filter(
    (file) => file.status === 'failed' && file.assertionResults?.length === 0,
  );
  return {
    passed: report.numPassedTests,
    // A file that does not even load has no tests in it, and is a failure all the same.
    failed: report.numFailedTests + suites.length,
    skipped: (report.numPendingTests ?? 0) + (report.numTodoTests ?? 0),
  };
}

/** The totals of `cargo test`, which has a line for people in each program's output. */
export function fromCargoTest(text) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  let lines = 0;
  for (const match of text.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;/gm)) {
    total.passed += Number(match[1]);
    total.failed += Number(match[2]);
    total.skipped += Number(match[3]);
    lines += 1;
  }
  return lines > 0 ? total : null;
}

function parsed(json) {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}
