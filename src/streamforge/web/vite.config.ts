import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";
import { thirdParty } from "./licences.ts";

// A checkout's folder is in no file that is built, and names follow from content: two builds give equal bytes.
export default defineConfig({
  base: "/ui/",
  plugins: [svelte(), thirdParty()],
  build: {
    target: "es2023",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rolldownOptions: {
      checks: { pluginTimings: false },
      // A package that is not installed would be left out, and noticed only in the browser.
      onLog(level, log, handle) {
        handle(log.code === "UNRESOLVED_IMPORT" ? "error" : level, log);
      },
    },
  },
});
