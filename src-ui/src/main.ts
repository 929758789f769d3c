/** Puts the app on the page, with the real backend in the app and a make-believe one under `vite dev` in a browser. */
import { mount } from 'svelte';
import App from './App.svelte';
import './app.css';
import { useApi } from './lib/api';

if (import.meta.env.DEV && !('__TAURI_INTERNALS__' in window)) {
  const { demoApi } = await import('./lib/demo');
  const scenario = new URLSearchParams(location.search).get('demo') ?? 'full';
  useApi(demoApi(scenario as Parameters<typeof demoApi>[0]));
}

const target = document.getElementById('app');
if (target) mount(App, { target });
