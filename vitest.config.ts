import { defineConfig } from "vitest/config";

/** Tests of what `npm run build` makes: it is made before them if it is older than the sources. */
const OF_THE_BUILD = ["test/cli/**/*.test.ts", "test/browser/**/*.test.ts", "test/corrupt/extraction.test.ts"];

export default defineConfig({
  test: {
    testTimeout: 120_000,
    hookTimeout: 300_000,
    pool: "forks",
    maxWorkers: "100%",
    setupFiles: ["test/support/clean-up.ts"],
    projects: [
      { extends: true, test: { name: "source", include: ["test/**/*.test.ts"], exclude: OF_THE_BUILD } },
      { extends: true, test: { name: "build", include: OF_THE_BUILD, globalSetup: "test/support/build.ts" } },
    ],
  },
});
