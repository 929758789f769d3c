/**
 * The few things asked of the system around the page: clipboard, sharing, and the room that the keyboard leaves.
 */

/** Copies text. Falls back to the old way where the modern one is refused. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement('textarea');
    field.value = text;
    field.className = 'sr-only';
    document.body.append(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    return done;
  }
}

/** Reads the clipboard; `null` where the system does not let us. */
export async function paste(): Promise<string | null> {
  try {
    return await navigator.clipboard.readText();
  } catch {
    return null;
  }
}

export const canShare = typeof navigator !== 'undefined' && typeof navigator.share === 'function';

/** Opens the share sheet. A person who closes it again did nothing wrong. */
export async function share(text: string): Promise<void> {
  try {
    await navigator.share({ text });
  } catch {
    // Dismissed.
  }
}

/**
 * Keeps `--app-height` at the height that is really seen: iOS lays its keyboard over the page without shrinking it,
 * and would hide the buttons at the bottom. Returns the end of it.
 */
export function followKeyboard(): () => void {
  const seen = window.visualViewport;
  if (!seen) return () => undefined;
  const fit = () => {
    document.documentElement.style.setProperty('--app-height', `${Math.round(seen.height)}px`);
    // The system scrolls the page to a focused field; with the page shrunk to fit, that is no longer wanted.
    window.scrollTo(0, 0);
  };
  fit();
  seen.addEventListener('resize', fit);
  return () => seen.removeEventListener('resize', fit);
}
