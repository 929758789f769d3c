/**
 * Which screen is shown: a path in the URL's hash, so that back works as everywhere. Does not own the screens.
 * Nothing secret ever goes into a path.
 */

export type Direction = 'forward' | 'back';

class Router {
  path = $state('/');
  direction = $state<Direction>('forward');
  #depth = 0;

  /** Reads the address and follows the browser's own back and forward. Returns the end of it. */
  start(): () => void {
    const read = () => {
      this.path = location.hash.replace(/^#/, '') || '/';
    };
    const popped = (event: PopStateEvent) => {
      const depth = Number((event.state as { depth?: number } | null)?.depth ?? 0);
      this.direction = depth < this.#depth ? 'back' : 'forward';
      this.#depth = depth;
      read();
    };
    read();
    addEventListener('popstate', popped);
    return () => removeEventListener('popstate', popped);
  }

  /** Opens a screen on top of this one. */
  go(path: string): void {
    this.direction = 'forward';
    this.#depth += 1;
    history.pushState({ depth: this.#depth }, '', `#${path}`);
    this.path = path;
  }

  /** Goes to where the person came from, or one level up when there is no such place. */
  back(): void {
    if (this.#depth > 0) {
      history.back();
      return;
    }
    this.direction = 'back';
    const parent = this.path.split('/').slice(0, -1).join('/') || '/';
    history.replaceState({ depth: 0 }, '', `#${parent}`);
    this.path = parent;
  }

  /** Back to the first screen, leaving nothing behind to step back into. */
  home(): void {
    this.direction = 'back';
    if (this.#depth > 0) {
      const steps = this.#depth;
      this.#depth = 0;
      history.go(-steps);
      return;
    }
    history.replaceState({ depth: 0 }, '', '#/');
    this.path = '/';
  }
}

export const router = new Router();

/** `/payment/ab12` matched against `/payment` gives `ab12`. */
export function tail(path: string, prefix: string): string | null {
  return path.startsWith(`${prefix}/`) ? decodeURIComponent(path.slice(prefix.length + 1)) : null;
}
