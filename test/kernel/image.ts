/** Images for scenarios, made as the recorder makes them. The one that most start from is made once. */
import { closeSync, ftruncateSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { attempt, readImage, run, temporaryFolder } from "../support/host.js";
import type { ScenarioHeader } from "./traces.js";

/** A stride of 512 puts extents of 2 MiB on boundaries of 2 MiB, without which nothing can be mapped so. */
const MKFS = ["-b", "4096", "-E", "stride=512,stripe_width=512"];
const SIZE = "64M";
const HASH_SEED = "hash_seed=6f646178-0000-4000-8000-000000000002";
const UNITS: Readonly<Record<string, number>> = { "": 1, k: 1024, m: 2 ** 20 };

/** What most scenarios start from. */
let common: Uint8Array | undefined;

/** Whoever asks gets a copy of his own. */
export function makeImage({ size = SIZE, mkfs = MKFS, tune2fs = [] }: Pick<ScenarioHeader, "size" | "mkfs" | "tune2fs">): Uint8Array {
  if (size !== SIZE || mkfs !== MKFS || tune2fs.length > 0) return runMke2fs(size, mkfs, tune2fs);
  return (common ??= runMke2fs(size, mkfs, tune2fs)).slice();
}

function runMke2fs(size: string, mkfs: readonly string[], tune2fs: readonly string[]): Uint8Array {
  const [, digits, unit] = /^(\d+)([kKmM]?)$/.exec(size)!;
  const path = join(temporaryFolder(), "image");
  writeFileSync(path, "");
  truncateSync(path, Number(digits) * UNITS[unit!.toLowerCase()]!);
  const at = mkfs.indexOf("-E");
  const args = at < 0 ? [...mkfs, "-E", HASH_SEED] : [...mkfs.slice(0, at + 1), `${mkfs[at + 1]!},${HASH_SEED}`, ...mkfs.slice(at + 2)];
  const env = { ...process.env, E2FSPROGS_FAKE_TIME: "1577836800", SOURCE_DATE_EPOCH: "1577836800" };
  run("mke2fs", ["-q", "-F", "-t", "ext4", "-U", "6f646178-0000-4000-8000-000000000001", ...args, path], { env });
  if (tune2fs.length > 0) run("tune2fs", [...tune2fs, path], { env });
  return readImage(path);
}

/** The image with an empty file that is stored in its inode. */
export function withInlineFile(image: Uint8Array, name: string): Uint8Array {
  const empty = join(temporaryFolder(), "empty");
  writeFileSync(empty, "", { mode: 0o644 });
  return withImageFile(image, (path) => {
    run("debugfs", ["-w", "-R", `write ${empty} ${name}`, path]);
    return readImage(path);
  });
}

/** e2fsck's exit code and words. A dirty journal is replayed before: what is asked is whether the filesystem is whole then. */
export function checkImage(image: Uint8Array): { readonly status: number | null; readonly stdout: string } {
  return withImageFile(image, (path) => {
    const first = attempt("e2fsck", ["-fn", path]);
    if (first.status === 0) return first;
    attempt("e2fsck", ["-fy", "-E", "journal_only", path]);
    return attempt("e2fsck", ["-fn", path]);
  });
}

const CHUNK_BYTES = 65536;

/** The image in a file for as long as `work` runs: most of it is zeroes, which are not written. */
function withImageFile<T>(image: Uint8Array, work: (path: string) => T): T {
  const path = join(temporaryFolder(), "image");
  const fd = openSync(path, "w");
  ftruncateSync(fd, image.length);
  const bytes = Buffer.from(image.buffer, image.byteOffset, image.length);
  const zeroes = Buffer.alloc(CHUNK_BYTES);
  for (let at = 0; at < image.length; at += CHUNK_BYTES) {
    const chunk = bytes.subarray(at, at + CHUNK_BYTES);
    if (!chunk.equals(zeroes)) writeSync(fd, chunk, 0, chunk.length, at);
  }
  closeSync(fd);
  try {
    return work(path);
  } finally {
    rmSync(path);
  }
}
