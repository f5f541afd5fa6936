/** A host file as persistent memory, where the host can map files. */
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { flush, writeBytes } from "../../src/block/device.js";
import { mapFile, openPmemFile } from "../../src/platform/node/map-file.js";
import { runSync } from "../../src/sched/scheduler.js";
import { notTestedHere, temporaryFolder } from "../support/host.js";

function newFile(): string {
  const path = join(temporaryFolder(), "region");
  writeFileSync(path, "");
  truncateSync(path, 65536);
  return path;
}

const canMap = mapFile(newFile()) !== undefined;
if (!canMap) notTestedHere("host files as persistent memory", "needs Linux and koffi");

test.runIf(canMap)("stores are in the file, and the file's are in the memory", () => {
  const path = newFile();
  const pmem = openPmemFile(path, { writable: true })!;
  pmem.store(5, Uint8Array.of(1, 2, 3));
  expect([...readFileSync(path).subarray(4, 9)]).toEqual([0, 1, 2, 3, 0]);
  runSync(writeBytes(pmem, 512, new Uint8Array(512).fill(7)));
  runSync(flush(pmem));
  expect([readFileSync(path)[1023], pmem.isSynchronous, pmem.sizeBytes]).toEqual([7, false, 65536]);
  const other = openPmemFile(path)!;
  expect([other.bytes[5], other.readOnly]).toEqual([1, true]);
  pmem.store(5, Uint8Array.of(9));
  expect(other.bytes[5]).toBe(9);
  runSync(pmem.close());
  runSync(other.close());
  runSync(other.close());
  expect([other.bytes[5], readFileSync(path)[5]]).toEqual([0, 9]); // a view that is left over is harmless
});

test.runIf(canMap)("what cannot be mapped says why", () => {
  expect(() => mapFile("/nonexistent")).toThrow(/ENOENT/);
  const empty = join(temporaryFolder(), "empty");
  writeFileSync(empty, "");
  expect(() => mapFile(empty)).toThrow(/mmap failed/);
});
