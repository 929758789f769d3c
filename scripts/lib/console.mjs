// What a person sees while something takes its time. All of it on stderr: stdout belongs to results.

import { stderr } from 'node:process';

/** A terminal that can redraw a line. CI logs cannot, whatever they claim to be. */
const live = Boolean(stderr.isTTY) && !process.env.CI && process.env.TERM !== 'dumb';
const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const FRAME_MS = 100;
/** Nothing longer than this stays silent. */
const PATIENCE_MS = 2000;
/** In a log, one line this often is enough to see that it is alive. */
const LOG_INTERVAL_MS = 15_000;

export const say = (line = '') => stderr.write(`${line}\n`);

export const fail = (line) => stderr.write(live ? `\x1b[31m✗\x1b[0m ${line}\n` : `error: ${line}\n`);

/** "8 s", "3 min 05 s" */
export function duration(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return ms < 9950 ? `${(ms / 1000).toFixed(1)} s` : `${seconds} s`;
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`;
}

/** Shows `label` while `work` runs, with the seconds gone by and the latest line of its output. */
export async function progress(label, work) {
  const begun = Date.now();
  const elapsed = () => Date.now() - begun;
  let detail = '';
  let frame = 0;
  let said = 0;
  const draw = () => {
    if (live) {
      const room = Math.max(0, (stderr.columns ?? 80) - label.length - 16);
      const text = detail.slice(0, room);
      frame += 1;
      stderr.write(
        `\r\x1b[2K${FRAMES[frame % FRAMES.length]} ${label} ${duration(elapsed())} \x1b[2m${text}\x1b[0m`,
      );
    } else if (said === 0 ? elapsed() >= PATIENCE_MS : elapsed() - said >= LOG_INTERVAL_MS) {
      said = elapsed();
      say(`... ${label}, ${duration(said)}${detail ? `: ${detail}` : ''}`);
    }
  };
  const timer = setInterval(draw, live ? FRAME_MS : PATIENCE_MS / 4);
  const end = (mark, plain) => {
    clearInterval(timer);
    if (live) stderr.write(`\r\x1b[2K${mark} ${label} \x1b[2m${duration(elapsed())}\x1b[0m\n`);
    else say(`${plain} ${label} (${duration(elapsed())})`);
  };
  try {
    const result = await work((line) => {
      detail = line;
    });
    end('\x1b[32m✓\x1b[0m', 'ok ');
    return result;
  } catch (error) {
    end('\x1b[31m✗\x1b[0m', 'FAILED');
    throw error;
  }
}
