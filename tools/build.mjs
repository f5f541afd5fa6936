// Builds dist/: the bundles (Node, browser, command line, lab), which share chunks where they can, and the type declarations.
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { createRequire } from "node:module";
import { build } from "esbuild";

rmSync("dist", { recursive: true, force: true });
const shared = { bundle: true, format: "esm", target: "es2022", outdir: "dist", sourcemap: true, logLevel: "warning" };
await build({
  ...shared,
  platform: "node",
  splitting: true,
  chunkNames: "chunks/[hash]",
  entryPoints: {
    node: "src/platform/node/index.ts", sim: "src/sim/index.ts", cli: "src/cli/main.ts",
    "file-writer": "src/cli/file-writer.ts", "fill-writer": "src/cli/fill/fill-writer.ts", "lab-worker": "src/cli/lab/job-worker.ts",
    // piscina starts its threads from a file of this name beside the one that it is in itself, which is a chunk.
    "chunks/worker": "node_modules/piscina/dist/worker.js",
  },
  // koffi is there or not; piscina asks for nice only where threads are to have another priority.
  external: ["koffi", "@napi-rs/nice"],
  // commander and piscina are CommonJS inside, and ask for Node's own modules by require. Where there is none of them, as in a browser, sim.js does without.
  banner: { js: "const require = globalThis.process?.getBuiltinModule;" },
  define: { __dirname: "import.meta.dirname" },
});
await build({ ...shared, platform: "browser", entryPoints: { browser: "src/platform/browser/index.ts" } });
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "-p", "tsconfig.types.json"], { stdio: "inherit" });
