/** One short line at the bottom of the screen that goes away by itself. */
const SHOWN_MS = 2_200;

class Toast {
  text = $state<string | null>(null);
  #timer: ReturnType<typeof setTimeout> | undefined;

  show(text: string): void {
    clearTimeout(this.#timer);
    this.text = text;
    this.#timer = setTimeout(() => {
      this.text = null;
    }, SHOWN_MS);
  }
}

export const toast = new Toast();
