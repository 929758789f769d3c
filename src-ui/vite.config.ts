/// How the web UI is served, built and tested. Run from the repository's root.
import { fileURLToPath } from 'node:url';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import tailwindcss from '@tailwindcss/vite';
import { svelteTesting } from '@testing-library/svelte/vite';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('.', import.meta.url));
// `tauri ios dev` names the address under which the phone reaches this machine.
const host = process.env.TAURI_DEV_HOST ?? '127.0.0.1';

export default defineConfig({
  root,
  base: './',
  clearScreen: false,
  plugins: [
    svelte({ configFile: fileURLToPath(new URL('svelte.config.js', import.meta.url)) }),
    tailwindcss(),
    ...(process.env.VITEST ? [svelteTesting()] : []),
  ],
  server: { port: 1420, strictPort: true, host },
  build: {
    outDir: 'dist',
    emptyOutDir: true,
    // iOS 16 is the oldest system the app supports.
    target: ['safari16', 'chrome111'],
    // A strict CSP refuses data: in most places; every asset is a file of its own.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  test: {
    environment: 'happy-dom',
    include: ['src/**/*.test.ts'],
    restoreMocks: true,
  },
});
