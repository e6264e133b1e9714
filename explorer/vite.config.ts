import { defineConfig } from "vite";

// `npm run dev` asks a running `vecspeak serve` (port 8017) for everything but the page itself.
const SERVER = "http://127.0.0.1:8017";

export default defineConfig({
  build: { outDir: "../src/vecspeak/serve/static", emptyOutDir: true, target: "es2022", modulePreload: { polyfill: false } },
  server: { proxy: { "/api": SERVER, "/v1": SERVER, "/health": SERVER } },
});
