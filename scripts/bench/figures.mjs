// Figures of many runs made few, and held against what was promised.

/** What is measured of each run. */
export const MEASURES = ['wall_ms', 'cpu_ms', 'rss_kib', 'requests', 'bytes'];

/** 40 MB, the most that a wake may take. */
const RSS_KIB = 40_000_000 / 1024;

/**
 * What a wake of ours may cost: `share` of theirs with 5 channels and 144 new blocks, or `most` in all. `when` names the
 * cells; those without word of the graph or the round trip hold for each.
 */
const BUDGETS = [
  { measure: 'cpu_ms', share: 0.2, when: { graph: true } },
  { measure: 'rss_kib', share: 0.25, when: { graph: true } },
  { measure: 'rss_kib', most: RSS_KIB, when: { graph: true } },
  { measure: 'cpu_ms', share: 1, when: { graph: false } },
  { measure: 'rss_kib', share: 1, when: { graph: false } },
  { measure: 'requests', share: 0.7, when: { graph: false } },
  { measure: 'wall_ms', share: 0.9, when: { rtt_ms: 100 } },
];
const BUDGETED = { channels: 5, blocks: 144 };

/** Least, middle and most. */
export function spread(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  const median = sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  return { min: rounded(sorted[0]), median: rounded(median), max: rounded(sorted.at(-1)) };
}

/** The spread of each measure of some runs. */
export const spreads = (runs) =>
  Object.fromEntries(MEASURES.map((name) => [name, spread(runs.map((run) => run[name]))]));

/** Our medians in theirs. */
export const ratios = (ours, theirs) =>
  Object.fromEntries(
    MEASURES.map((name) => [
      name,
      theirs[name].median > 0 ? Number((ours[name].median / theirs[name].median).toFixed(3)) : null,
    ]),
  );

/** Each budget in each cell it speaks of. */
export function budgets(cells) {
  const speaksOf = (cell, when) =>
    Object.entries({ ...BUDGETED, ...when }).every(([name, value]) => cell[name] === value);
  return BUDGETS.flatMap(({ measure, share, most, when }) =>
    cells
      .filter((cell) => speaksOf(cell, when))
      .map((cell) => {
        const value = share === undefined ? cell.ours[measure].median : cell.ratio[measure];
        const limit = share ?? Math.floor(most);
        const of = share === undefined ? 'ours' : 'ratio';
        const { channels, blocks, rtt_ms, graph } = cell;
        return { measure, of, limit, value, kept: value <= limit, channels, blocks, rtt_ms, graph };
      }),
  );
}

const rounded = (value) => Number(value.toFixed(2));
