/** Shows images to e2fsck, by way of a file in a folder that is gone in the end. */
import { spawnSync, type SpawnSyncReturns } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { threadId } from "node:worker_threads";
import { UsageError } from "../operand.js";
import { exitCodeOf } from "./endings.js";

/** Where distributions put it, which is not on everybody's path. */
const MORE_PATHS = ":/usr/sbin:/sbin";
/** It was told to end, as by a key that all programs of a terminal hear of. */
const CANCELED = 32;

function e2fsck(...args: string[]): SpawnSyncReturns<string> {
  return spawnSync("e2fsck", args, { encoding: "utf8", env: { ...process.env, PATH: `${process.env["PATH"] ?? ""}${MORE_PATHS}`, LC_ALL: "C" } });
}

/** A folder for images, if e2fsck is there. @throws UsageError. */
export function folderForE2fsck(): string {
  const { error } = e2fsck("-V");
  if (error !== undefined) throw new UsageError(`--fsck needs e2fsck (of e2fsprogs): ${error.message}`);
  const folder = mkdtempSync(join(tmpdir(), "ext4-lab-"));
  // A thread that is still at work may put its image there meanwhile.
  process.on("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      const isAlone = process.listenerCount(signal) === 1; // else somebody sees to the ending
      if (isAlone) process.exit(exitCodeOf(signal));
    });
  }
  return folder;
}

/** Each thread has a file there. @returns what is wrong with an image. */
export function e2fsckIn(folder: string): (image: Uint8Array) => string | undefined {
  const file = join(folder, `${threadId}.img`);
  return (image) => {
    writeFileSync(file, image);
    const { status, signal, stdout, stderr, error } = e2fsck("-fn", file);
    if (error !== undefined) throw error;
    if (signal === "SIGINT" || signal === "SIGTERM" || ((status ?? 0) & CANCELED) !== 0) return undefined;
    return status === 0 ? undefined : `${stdout}${stderr}`.trim().replaceAll(file, "the image");
  };
}
