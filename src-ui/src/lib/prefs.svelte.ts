/**
 * Small choices of the person that are kept on this device: unit, hidden balance, "I wrote my words down".
 * Never holds anything secret.
 */
import type { Unit } from './format';

const KEY = 'pilotlight.prefs';

interface Kept {
  unit: Unit;
  hidden: boolean;
  wordsConfirmed: boolean;
}

const FIRST: Kept = { unit: 'sat', hidden: false, wordsConfirmed: false };

function load(): Kept {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Kept>;
    return {
      unit: kept.unit === 'btc' ? 'btc' : 'sat',
      hidden: kept.hidden === true,
      wordsConfirmed: kept.wordsConfirmed === true,
    };
  } catch {
    return { ...FIRST };
  }
}

class Prefs {
  #kept = $state<Kept>(load());

  get unit(): Unit {
    return this.#kept.unit;
  }
  get hidden(): boolean {
    return this.#kept.hidden;
  }
  get wordsConfirmed(): boolean {
    return this.#kept.wordsConfirmed;
  }

  set<K extends keyof Kept>(key: K, value: Kept[K]): void {
    this.#kept[key] = value;
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#kept));
    } catch {
      // Storage may be refused; the choice then lasts until the app closes.
    }
  }
}

export const prefs = new Prefs();
