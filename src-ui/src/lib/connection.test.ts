import { describe, expect, it } from 'vitest';
import { ApiError } from './api';
import type { ErrorCode } from './bindings';
import { refusal, WAYS, wayName } from './connection';

const failed = (code: ErrorCode) =>
  new ApiError({ code, class: 'config', message: 'the backend’s words', detail: 'a server’s words' });

describe('why a connection was not taken', () => {
  it('has words of its own for everything that a check can find', () => {
    const codes: ErrorCode[] = [
      'invalid_input',
      'misconfigured',
      'wrong_network',
      'network_unavailable',
      'sync_timeout',
      'rate_limited',
      'chain_sync_failed',
    ];
    const said = codes.map((code) => refusal(failed(code)));
    expect(new Set(said).size).toBe(codes.length);
    for (const words of said) expect(words).not.toMatch(/backend|server’s words/);
  });

  it('leaves other failures to the backend, and never shows what was thrown', () => {
    expect(refusal(failed('storage_failed'))).toBe('the backend’s words');
    expect(refusal(new Error('stack'))).not.toContain('stack');
  });
});

describe('the ways', () => {
  it('have a name each', () => {
    expect(wayName({ type: 'own', url: 'https://example.com' })).toBe('My own server');
    expect(new Set(WAYS.map(({ name }) => name)).size).toBe(3);
  });
});
