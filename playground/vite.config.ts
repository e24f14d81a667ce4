/**
 * How the playground is built: plain files in `dist/`, every asset a file of its own so that a strict
 * Content-Security-Policy fits. Nothing may be fetched from elsewhere at run time.
 */
import { defineConfig } from 'vite';

const server = process.env['CLAIMWRIGHT_URL'] ?? 'http://127.0.0.1:8080';

export default defineConfig({
  // Relative addresses keep the page working behind a path prefix.
  base: './',
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    // Monaco is one large part by nature; the warning would be noise at every build.
    chunkSizeWarningLimit: 5000,
    reportCompressedSize: false,
    rolldownOptions: {
      // "use client" concerns server rendering, which there is none of here.
      checks: { moduleLevelDirective: false },
    },
  },
  worker: { format: 'es' },
  server: { proxy: { '/graphql': { target: server, ws: true }, '/claimwright': server } },
});
