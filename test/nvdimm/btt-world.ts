/** What the tests of the block translation table share: a store that can be undone, tables in memory, sectors that tell which version of which sector they are. */
import { readBytes, writeBytes, type BlockDevice } from "../../src/block/device.js";
import { byteStoreOn, type ByteStore } from "../../src/nvdimm/byte-store.js";
import { createBtt, openBtt, type BttDevice } from "../../src/nvdimm/btt.js";
import type { BttOptions } from "../../src/nvdimm/btt-info.js";
import { PmemDevice, type PmemOptions } from "../../src/nvdimm/pmem.js";
import { runSync } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";

export const MIB = 2 ** 20;
/** The smallest namespace that holds a table of version 1.1. */
export const SMALL_BYTES = 16 * MIB + 4096;
export const UUID = Uint8Array.from({ length: 16 }, (_, index) => 0xa0 + index);

export function newTable(options: Partial<BttOptions> = {}, sizeBytes = SMALL_BYTES): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  runSync(createBtt(byteStoreOn(new PmemDevice(bytes)), { sectorBytes: 512, uuid: UUID, laneCount: 4, ...options }));
  return bytes;
}

export function openTable(bytes: Uint8Array, options: PmemOptions = {}): { btt: BttDevice; pmem: PmemDevice } {
  const pmem = new PmemDevice(bytes, options);
  const btt = runSync(openBtt(byteStoreOn(pmem)));
  if (btt === undefined) throw new Error("no table");
  return { btt, pmem };
}

/** Each word of 8 bytes says which sector it is, and which version; version 0 is zeroes. */
export function sectorOf(sector: number, version: number, sectorBytes: number): Uint8Array {
  const words = new Uint32Array(sectorBytes / 4);
  if (version > 0) words.forEach((_, index) => { words[index] = index % 2 === 0 ? sector + 1 : version; });
  return new Uint8Array(words.buffer);
}

/** The version, or undefined: this is no whole sector of that number. */
export function versionOf(sector: number, data: Uint8Array): number | undefined {
  const words = new Uint32Array(data.buffer, data.byteOffset, data.length / 4);
  const version = words[1]!;
  const number = version === 0 ? 0 : sector + 1;
  return words.every((word, index) => word === (index % 2 === 0 ? number : version)) ? version : undefined;
}

export function* readSector(device: BlockDevice, sector: number, sectorBytes: number): Task<Uint8Array> {
  const data = new Uint8Array(sectorBytes);
  yield* readBytes(device, sector * sectorBytes, data);
  return data;
}

export function* writeVersion(device: BlockDevice, sector: number, version: number, sectorBytes: number): Task<void> {
  yield* writeBytes(device, sector * sectorBytes, sectorOf(sector, version, sectorBytes));
}

/** Memory whose changes can be taken back: what lets one copy of a large image stand for many. */
export class UndoableStore implements ByteStore {
  readonly name = "survivor";
  readonly readOnly = false;
  /** The write that does not happen any more, counted from 0. */
  stopAt = Infinity;
  writeCount = 0;
  private readonly before: { at: number; bytes: Uint8Array }[] = [];

  constructor(readonly bytes: Uint8Array) {}

  get sizeBytes(): number {
    return this.bytes.length;
  }

  *read(offsetBytes: number, into: Uint8Array): Task<void> {
    into.set(this.bytes.subarray(offsetBytes, offsetBytes + into.length));
  }

  *write(offsetBytes: number, data: Uint8Array): Task<void> {
    if (this.writeCount++ >= this.stopAt) throw new PowerCut();
    this.put(offsetBytes, data);
  }

  put(at: number, data: Uint8Array): void {
    this.before.push({ at, bytes: this.bytes.slice(at, at + data.length) });
    this.bytes.set(data, at);
  }

  undo(): void {
    for (let change = this.before.pop(); change !== undefined; change = this.before.pop()) this.bytes.set(change.bytes, change.at);
    this.writeCount = 0;
    this.stopAt = Infinity;
  }

  isBad(): boolean { return false; }
  *flush(): Task<void> {}
  *close(): Task<void> {}
}

/** Drives a task that never waits, also in the middle of another one. */
export function atOnce<T>(task: Task<T>): T {
  const result = task.next();
  if (result.done !== true) throw new Error("the task waits");
  return result.value;
}

export class PowerCut extends Error {}

/** Calls `visit` for choosers of survivors: all of them if they are at most `countMax`, else none, all, and random ones. @returns how many. */
export function forEachChoice(counts: readonly number[], countMax: number, below: (limit: number) => number, visit: (choose: (count: number) => number) => void): number {
  const total = counts.reduce((product, count) => Math.min(product * count, Number.MAX_SAFE_INTEGER), 1);
  const inOrder = (pick: (index: number, count: number) => number) => {
    let index = 0;
    return (count: number): number => pick(index++, count);
  };
  if (total <= countMax) {
    for (let state = 0; state < total; state++) {
      let left = state;
      visit((count) => { const choice = left % count; left = Math.floor(left / count); return choice; });
    }
    return total;
  }
  visit(() => 0);
  visit((count) => count - 1);
  for (let state = 2; state < countMax; state++) {
    // Some random states are of lines all there or not at all, others are torn within lines, too.
    visit(inOrder((_index, count) => (state % 2 === 0 ? below(2) * (count - 1) : below(count))));
  }
  return countMax;
}
