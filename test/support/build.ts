/** Before the tests of the command line and of the browser's bundle: dist/ is made anew if it is missing or older than what it is made from. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const BUNDLES = ["dist/node.js", "dist/cli.js", "dist/browser.js"];

function sources(): string[] {
  const below = readdirSync("src", { recursive: true, encoding: "utf8" }).map((path) => join("src", path));
  return [...below, "tools/build.mjs", "package.json"];
}

export default function buildIfStale(): void {
  const youngestSource = Math.max(...sources().map((path) => statSync(path).mtimeMs));
  const isFresh = BUNDLES.every((path) => existsSync(path) && statSync(path).mtimeMs > youngestSource);
  if (!isFresh) execFileSync(process.execPath, ["tools/build.mjs"], { stdio: "inherit" });
}
