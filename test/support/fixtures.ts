/** The committed images, and what Linux said of them (tools/make-fixtures.ts). */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import type { Tree } from "./tree.js";

export const FIXTURES = ["checksums", "inline", "plain", "extents-unchecked", "journal", "journal-unchecked", "fast-commit", "deep"] as const;
export type Fixture = (typeof FIXTURES)[number];

/** The image's bytes, the caller's own. */
export function fixtureImage(name: Fixture): Uint8Array<ArrayBuffer> {
  return new Uint8Array(gunzipSync(readFileSync(new URL(`../fixtures/${name}.img.gz`, import.meta.url))));
}

const NUMBERS = new Set(["mode", "ino", "nlink", "uid", "gid", "rdev", "size", "blocks", "atimeNs", "mtimeNs", "ctimeNs", "birthtimeNs"]);

export function fixtureTree(name: Fixture): Tree {
  const text = gunzipSync(readFileSync(new URL(`../fixtures/${name}.json.gz`, import.meta.url))).toString("utf8");
  return new Map(Object.entries(JSON.parse(text, (key, value: unknown) => (NUMBERS.has(key) && typeof value === "string" ? BigInt(value) : value)) as Record<string, never>));
}
