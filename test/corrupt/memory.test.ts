/**
 * The memory bound. However damaged an image is, reading it takes at most:
 * - cached blocks: 64 MiB, or what `bufferCacheBytes` says;
 * - 16 MiB of inodes, and as much for the one attribute value that is being read (Linux's limit);
 * - while a dirty journal is replayed: its own size, for it is replayed into memory;
 * - what is asked for: a file's bytes, refused with EFBIG above 2 GiB before any memory is asked for, or a directory's names, which are no more than the filesystem has room for.
 * So a small image takes little, whatever it claims.
 */
import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { CLAIMS } from "./claims.js";

const MIB = 2 ** 20;
/** What the reading of a small image may take on top of what the program is without it. */
const BOUND_BYTES = 128 * MIB;
/** Node's own limit for all objects that are not bytes of buffers: who passes it is killed. */
const HEAP_MIB = 96;

describe("claims", () => {
  test.each(CLAIMS)("$what", ({ read, throws, gives }) => {
    if (throws === undefined) return expect(read()).toEqual(gives);
    const { where, ...rest } = throws;
    expect(read).toThrow(expect.objectContaining(where === undefined ? rest : { ...rest, where: expect.objectContaining(where) }));
  });
});

test("all of them, and every field at its maximum, within the bound", { timeout: 900_000 }, () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--import", "tsx", `--max-old-space-size=${HEAP_MIB}`, "test/corrupt/memory-child.ts"], { encoding: "utf8" });
  expect(status, stderr).toBe(0);
  const { runs, beforeBytes, peakBytes } = JSON.parse(stdout) as { runs: number; beforeBytes: number; peakBytes: number };
  process.stdout.write(`memory: ${runs} damaged images within ${Math.ceil((peakBytes - beforeBytes) / MIB)} MiB\n`);
  expect(peakBytes - beforeBytes).toBeLessThan(BOUND_BYTES);
});
