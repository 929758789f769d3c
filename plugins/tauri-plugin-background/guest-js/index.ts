/**
 * The webview's side of tauri-plugin-background: see where background tasks stand and what ran, ask for runs, and play
 * the system where it is simulated.
 *
 * Background work itself is Rust and needs no webview. Each function needs the permission of its command in the app's
 * capabilities; `background:default` has those of {@link status} and {@link history}. A call that is refused rejects
 * with a {@link BackgroundError}.
 *
 * @module
 */
import { invoke } from '@tauri-apps/api/core';
import { listen, type UnlistenFn } from '@tauri-apps/api/event';
import {
  type ActiveRun,
  type BackgroundStatus,
  COMPLETED_EVENT,
  type ErrorCode,
  LAUNCHED_EVENT,
  type RunRecord,
} from './bindings.js';

export type * from './bindings.js';
export { COMPLETED_EVENT, LAUNCHED_EVENT } from './bindings.js';

/** What a refused call rejects with. */
export interface BackgroundError {
  /** Stable, for programs. */
  code: ErrorCode;
  /** The same in English, for logs. */
  message: string;
}

/**
 * Whether something that was caught is a refusal by the plugin. It is not when the capabilities do not allow the
 * command, for instance: Tauri then rejects with a string.
 */
export function isBackgroundError(error: unknown): error is BackgroundError {
  return (
    typeof error === 'object' &&
    error !== null &&
    'code' in error &&
    typeof error.code === 'string' &&
    'message' in error &&
    typeof error.message === 'string'
  );
}

/**
 * Where everything stands: who grants runs, each task with its pending request and what was refused, and the runs under
 * way. May take up to a second on iOS, which is asked for the pending requests.
 */
export function status(): Promise<BackgroundStatus> {
  return invoke('plugin:background|status');
}

/** The completed runs, newest first. */
export function history(): Promise<RunRecord[]> {
  return invoke('plugin:background|history');
}

/**
 * Runs a task now because the person asked, while the app is in the foreground. The system has no part in it. Resolves
 * when the run has started; {@link onCompleted} tells its end.
 *
 * @param id The task's identifier, as declared in `tauri.conf.json`.
 */
export function wakeNow(id: string): Promise<void> {
  return invoke('plugin:background|wake_now', { id });
}

/**
 * Asks the system for a run of a task, in place of the request that was pending. When the run comes is the system's
 * choice; it may be hours later.
 *
 * @param id The task's identifier, as declared in `tauri.conf.json`.
 * @param delaySecs Not before this time has passed, in seconds.
 */
export function schedule(id: string, delaySecs: number): Promise<void> {
  return invoke('plugin:background|schedule', { id, delaySecs });
}

/**
 * Takes the pending request of a task back. A run that is under way goes on, and asks for its next run when it ends.
 *
 * @param id The task's identifier, as declared in `tauri.conf.json`.
 */
export function cancel(id: string): Promise<void> {
  return invoke('plugin:background|cancel', { id });
}

/**
 * Has the simulated scheduler launch a task now, whatever its conditions. Rejects with `unsupported` where a real
 * system grants the runs.
 *
 * @param id The task's identifier, as declared in `tauri.conf.json`.
 */
export function simulateLaunch(id: string): Promise<void> {
  return invoke('plugin:background|simulate_launch', { id });
}

/**
 * Calls time on the run of a task, as the system would.
 *
 * @param id The task's identifier, as declared in `tauri.conf.json`.
 */
export function simulateExpiration(id: string): Promise<void> {
  return invoke('plugin:background|simulate_expiration', { id });
}

/**
 * Calls `listener` whenever a run starts. The webview hears only of runs that start while it exists; {@link status} has
 * those under way, {@link history} those that ended.
 *
 * @returns A function that ends the listening.
 */
export function onLaunched(listener: (run: ActiveRun) => void): Promise<UnlistenFn> {
  return listen<ActiveRun>(LAUNCHED_EVENT, ({ payload }) => listener(payload));
}

/**
 * Calls `listener` whenever a run was completed.
 *
 * @returns A function that ends the listening.
 */
export function onCompleted(listener: (record: RunRecord) => void): Promise<UnlistenFn> {
  return listen<RunRecord>(COMPLETED_EVENT, ({ payload }) => listener(payload));
}
