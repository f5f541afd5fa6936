// Builds dist/: three bundles (Node, browser, command line), which share chunks where they can, and the type declarations.
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
  entryPoints: { node: "src/platform/node/index.ts", cli: "src/cli/main.ts", "file-writer": "src/cli/file-writer.ts", "fill-writer": "src/cli/fill/fill-writer.ts" },
  external: ["koffi"],
  // commander is CommonJS inside, and asks for Node's own modules by require.
  banner: { js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);' },
});
await build({ ...shared, platform: "browser", entryPoints: { browser: "src/platform/browser/index.ts" } });
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "-p", "tsconfig.types.json"], { stdio: "inherit" });
