/// How the package's tests run: `npx vitest run --config plugins/tauri-plugin-background/guest-js/vitest.config.ts`.
import { defineConfig } from 'vitest/config';

const at = (path: string) => decodeURIComponent(new URL(path, import.meta.url).pathname);

export default defineConfig({
  root: at('..'),
  cacheDir: at('../../../node_modules/.vite/background'),
  test: { include: ['guest-js/**/*.test.ts'], restoreMocks: true },
});
