/** The committed images, and what Linux said of them (tools/make-fixtures.ts). */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { temporaryFolder } from "./host.js";
import type { Tree } from "./tree.js";

export const FIXTURES = ["checksums", "inline", "plain", "extents-unchecked", "journal", "journal-unchecked", "fast-commit", "deep"] as const;
export type Fixture = (typeof FIXTURES)[number];

/** The image's bytes, the caller's own. */
export function fixtureImage(name: Fixture): Uint8Array<ArrayBuffer> {
  return new Uint8Array(gunzipSync(readFileSync(new URL(`../fixtures/${name}.img.gz`, import.meta.url))));
}

/** The image in a file of its own. */
export function fixtureFile(name: Fixture): string {
  const file = join(temporaryFolder(), `${name}.img`);
  writeFileSync(file, fixtureImage(name));
  return file;
}

const NUMBERS = new Set(["mode", "ino", "nlink", "uid", "gid", "rdev", "size", "blocks", "atimeNs", "mtimeNs", "ctimeNs", "birthtimeNs"]);

export function fixtureTree(name: Fixture): Tree {
  const text = gunzipSync(readFileSync(new URL(`../fixtures/${name}.json.gz`, import.meta.url))).toString("utf8");
  return new Map(Object.entries(JSON.parse(text, (key, value: unknown) => (NUMBERS.has(key) && typeof value === "string" ? BigInt(value) : value)) as Record<string, never>));
}
