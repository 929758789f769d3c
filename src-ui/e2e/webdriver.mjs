/**
 * A small WebDriver client for the real app in WebKitGTK. Owns the driver process and its session; every call has a limit.
 */
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, Program } from './processes.mjs';

/** One WebDriver call. The first one also starts the app. */
const CALL_MS = 20_000;
/** How long something may take to appear that needs no chain. */
const APPEAR_MS = 15_000;
/** How long a picture waits for what moves; transitions take a fraction of it. */
const STILL_MS = 1_000;
const ELEMENT = 'element-6066-11e4-a52e-4f735466cecf';

const css = (id, more = '') => `[data-testid="${id}"]${more}`;

/** The app, driven. */
export class App {
  #base;
  #session;
  #driver;

  /** Starts a driver and, through it, the app. `env` reaches the app. */
  static async start(binary, env) {
    const app = new App();
    const port = await freePort();
    app.#driver = new Program('WebKitWebDriver', 'WebKitWebDriver', [`--port=${port}`], {
      env: { ...env, TAURI_WEBVIEW_AUTOMATION: 'true' },
    });
    app.#base = `http://127.0.0.1:${port}`;
    try {
      await app.#listening();
      const { sessionId } = await app.#call('POST', '/session', {
        capabilities: { alwaysMatch: { 'webkitgtk:browserOptions': { binary, args: [] } } },
      });
      app.#session = sessionId;
      return app;
    } catch (error) {
      error.message += `\n${app.output}`;
      await app.end();
      throw error;
    }
  }

  get output() {
    return this.#driver.output;
  }

  async #listening() {
    const deadline = Date.now() + APPEAR_MS;
    for (;;) {
      try {
        await this.#call('GET', '/status');
        return;
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await sleep(50);
      }
    }
  }

  async #call(method, path, body) {
    const answer = await fetch(this.#base + path, {
      method,
      signal: AbortSignal.timeout(CALL_MS),
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    const { value } = await answer.json();
    if (!answer.ok) throw new Error(`${method} ${path}: ${value?.error}: ${value?.message}`);
    return value;
  }

  #in(method, path, body) {
    return this.#call(method, `/session/${this.#session}${path}`, body);
  }

  /** Runs a function's body in the page; `args` are its `arguments`. */
  execute(script, ...args) {
    return this.#in('POST', '/execute/sync', { script, args });
  }

  async #elements(selector) {
    const found = await this.#in('POST', '/elements', { using: 'css selector', value: selector });
    return found.map((element) => element[ELEMENT]);
  }

  /** Asks again until `probe` gives something true; a page that changes meanwhile is not an error. */
  async until(what, probe, timeoutMs = APPEAR_MS) {
    const deadline = Date.now() + timeoutMs;
    let last = null;
    for (;;) {
      try {
        const found = await probe();
        if (found) return found;
        last = null;
      } catch (error) {
        last = error;
      }
      if (Date.now() > deadline)
        throw new Error(`Waited ${timeoutMs} ms for ${what}. ${last?.message ?? ''}`);
      await sleep(100);
    }
  }

  /** Waits for an element by its test id. */
  find(id, timeoutMs, more = '') {
    return this.until(`${id}${more}`, async () => (await this.#elements(css(id, more)))[0], timeoutMs);
  }

  async has(id, more = '') {
    return (await this.#elements(css(id, more))).length > 0;
  }

  async click(id, more = '') {
    await this.until(`a click on ${id}${more}`, async () => {
      const [element] = await this.#elements(css(id, more));
      if (element === undefined) return false;
      await this.#in('POST', `/element/${element}/click`, {});
      return true;
    });
  }

  async text(id, more = '') {
    return this.#in('GET', `/element/${await this.find(id, undefined, more)}/text`);
  }

  async attribute(id, name, more = '') {
    return this.#in('GET', `/element/${await this.find(id, undefined, more)}/attribute/${name}`);
  }

  async type(id, text) {
    await this.#in('POST', `/element/${await this.find(id)}/value`, { text });
  }

  /**
   * A picture of the window as it is now: when nothing moves any more, and two frames later, because the first one after
   * a change may be stale.
   */
  async picture(path) {
    await this.#in('POST', '/execute/async', {
      script: `const done = arguments[1];
        const moving = document.getAnimations().filter((one) => one.effect.getTiming().iterations !== Infinity);
        const patience = new Promise((enough) => setTimeout(enough, arguments[0]));
        Promise.race([Promise.allSettled(moving.map((one) => one.finished)), patience])
          .then(() => requestAnimationFrame(() => requestAnimationFrame(() => done())));`,
      args: [STILL_MS],
    });
    writeFileSync(path, Buffer.from(await this.#in('GET', '/screenshot'), 'base64'));
  }

  /** Ends session, app and driver. The session must be deleted, or the app would live on. */
  async end() {
    if (this.#session !== undefined) {
      await this.#in('DELETE', '').catch(() => undefined);
      this.#session = undefined;
    }
    await this.#driver.end();
  }
}
