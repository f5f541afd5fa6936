/** Persistent memory: a block device and live memory in one; what a power cut may leave of it; poison. */
import { describe, expect, test } from "vitest";
import { flush, readBytes, writeBytes } from "../../src/block/device.js";
import { PmemDevice, type PmemOptions } from "../../src/nvdimm/pmem.js";
import type { PersistenceEvent } from "../../src/nvdimm/persistence.js";
import { runSync } from "../../src/sched/scheduler.js";

const codeOf = (work: () => unknown): string | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
};
const device = (options: PmemOptions = {}, sizeBytes = 65536): PmemDevice => new PmemDevice(new Uint8Array(sizeBytes), options);
const word = (value: number): Uint8Array => new Uint8Array(8).fill(value);

/** All that a power cut may leave of words, each told by its first byte; each state once. */
function survivors(pmem: PmemDevice, wordsAt: readonly number[]): string[] {
  const states = new Set<string>();
  const choices: number[] = [];
  do {
    let used = 0;
    const counts: number[] = [];
    const image = pmem.crashImage((count) => {
      counts.push(count);
      return choices[used] === undefined ? (choices[used++] = 0) : choices[used++]!;
    });
    states.add(wordsAt.map((at) => image[at]).join(" "));
    while (choices.length > 0 && choices.at(-1)! + 1 === counts[choices.length - 1]) choices.pop();
    if (choices.length > 0) choices[choices.length - 1]!++;
  } while (choices.length > 0);
  return [...states].sort();
}

describe("a block device", () => {
  test.each([["a plain buffer", () => new Uint8Array(65536)], ["a shared one", () => new Uint8Array(new SharedArrayBuffer(65536))]])("on %s: its memory is the caller's", (_name, make) => {
    const bytes = make();
    const pmem = new PmemDevice(bytes);
    const data = new Uint8Array(1024).fill(7);
    runSync(writeBytes(pmem, 512, data));
    expect([bytes[511], bytes[512], bytes[1535], bytes[1536]]).toEqual([0, 7, 7, 0]);
    pmem.directAccess(8192, 4096)[5] = 9;
    const read = new Uint8Array(3);
    runSync(readBytes(pmem, 8196, read));
    expect([...read]).toEqual([0, 9, 0]);
  });

  test("bounds, sectors and permission are checked", () => {
    const pmem = device();
    expect(codeOf(() => runSync(readBytes(pmem, 65536, new Uint8Array(1))))).toBe("EIO");
    expect(codeOf(() => runSync(writeBytes(pmem, 1, new Uint8Array(512))))).toBe("EINVAL");
    expect(codeOf(() => pmem.directAccess(65536, 1))).toBe("EINVAL");
    expect(codeOf(() => pmem.store(65535, word(1)))).toBe("EINVAL");
    expect(codeOf(() => new PmemDevice(new Uint8Array(100)))).toBe("EINVAL");
    const readOnly = device({ readOnly: true });
    expect(codeOf(() => readOnly.store(0, word(1)))).toBe("EROFS");
    expect(codeOf(() => readOnly.zeroPages(0, 4096))).toBe("EROFS");
    expect(codeOf(() => runSync(writeBytes(readOnly, 0, new Uint8Array(512))))).toBe("EROFS");
    expect(codeOf(() => pmem.crashImage(() => 0))).toBe("EINVAL");
  });

  test("a range shares memory, counters and poison", () => {
    const pmem = device({ physicalAddress: 2 ** 30 });
    const inner = pmem.range(8192, 16384, { name: "inner" });
    expect([inner.name, inner.sizeBytes, inner.physicalAddress]).toEqual(["inner", 16384, 2 ** 30 + 8192]);
    const innermost = inner.range(4096, 4096);
    innermost.store(0, word(3));
    expect(pmem.bytes[12288]).toBe(3);
    pmem.poison(12288, 1);
    expect(innermost.badBlocks).toEqual([{ sector: 0, count: 1 }]);
    expect(inner.badBlocks).toEqual([{ sector: 8, count: 1 }]);
    innermost.flush(60, 8);
    expect(pmem.counters.flushedLines).toBe(2);
    expect(codeOf(() => inner.range(16384, 1))).toBe("EINVAL");
  });

  test("a host's flush is called for each block flush, and makes the device asynchronous", () => {
    let called = 0;
    const pmem = device({ hostFlush: () => called++ });
    runSync(flush(pmem));
    runSync(writeBytes(pmem, 0, new Uint8Array(512), true));
    runSync(writeBytes(pmem, 0, new Uint8Array(512)));
    expect([called, pmem.isSynchronous, device().isSynchronous]).toEqual([2, false, true]);
  });
});

describe("a power cut", () => {
  test("a store is lost or not until it is written back and fenced", () => {
    const pmem = device({ persistence: "adr" });
    pmem.store(0, word(1));
    expect(survivors(pmem, [0])).toEqual(["0", "1"]);
    pmem.fence(); // a fence alone writes nothing back
    expect(survivors(pmem, [0])).toEqual(["0", "1"]);
    pmem.flush(0, 1);
    expect(survivors(pmem, [0])).toEqual(["0", "1"]);
    expect(pmem.volatileLines).toEqual([{ offsetBytes: 0, isWrittenBack: true, stateCount: 2 }]);
    pmem.fence();
    expect(survivors(pmem, [0])).toEqual(["1"]);
    expect(pmem.volatileLines).toEqual([]);
  });

  test("within a line order holds, between lines it does not", () => {
    const pmem = device({ persistence: "adr" });
    pmem.store(0, word(1));
    pmem.store(8, word(1));
    expect(survivors(pmem, [0, 8])).toEqual(["0 0", "1 0", "1 1"]);
    pmem.store(128, word(1));
    pmem.store(0, word(2));
    expect(survivors(pmem, [0, 8, 128])).toEqual(["0 0 0", "0 0 1", "1 0 0", "1 0 1", "1 1 0", "1 1 1", "2 1 0", "2 1 1"]);
  });

  test("what is stored after the write-back is not in it", () => {
    const pmem = device({ persistence: "adr" });
    pmem.store(0, word(1));
    pmem.flush(0, 64);
    pmem.store(0, word(2));
    pmem.fence();
    expect(survivors(pmem, [0])).toEqual(["1", "2"]);
  });

  test("a large store is torn at any word, never within one", () => {
    const pmem = device({ persistence: "adr" });
    pmem.store(16, new Uint8Array(24).fill(5));
    expect(survivors(pmem, [16, 24, 32])).toHaveLength(8);
    expect(pmem.volatileLines[0]!.stateCount).toBe(8);
    pmem.survivingLines((count) => count - 1).forEach(({ bytes }) => expect([...bytes.subarray(16, 40)]).toEqual(new Array(24).fill(5)));
  });

  test("block writes pass the cache, are torn at words, and wait for a flush", () => {
    const pmem = device({ persistence: "adr" });
    runSync(writeBytes(pmem, 0, new Uint8Array(512).fill(1)));
    expect(pmem.volatileLines).toHaveLength(8);
    expect(pmem.volatileLines.every(({ isWrittenBack, stateCount }) => isWrittenBack && stateCount === 256)).toBe(true);
    runSync(flush(pmem));
    expect(pmem.volatileLines).toEqual([]);
    runSync(writeBytes(pmem, 0, new Uint8Array(512).fill(2), true));
    expect(pmem.crashImage(() => 0)[511]).toBe(2);
  });

  test("stores past the cache have no order in a line until a fence", () => {
    const pmem = device({ persistence: "adr" });
    pmem.storeNonTemporal(0, word(1));
    pmem.storeNonTemporal(8, word(1));
    expect(survivors(pmem, [0, 8])).toEqual(["0 0", "0 1", "1 0", "1 1"]);
    pmem.storeNonTemporal(0, word(2)); // one word never goes back
    expect(survivors(pmem, [0, 8])).toEqual(["0 0", "0 1", "1 0", "1 1", "2 1"]);
  });

  test("a fence makes durable only what passed the cache, not older stores beside it", () => {
    const pmem = device({ persistence: "adr" });
    pmem.store(0, word(1));
    pmem.storeNonTemporal(8, word(1));
    pmem.fence();
    expect(survivors(pmem, [0, 8])).toEqual(["0 1", "1 1"]);
    pmem.store(8, word(2));
    pmem.storeNonTemporal(8, word(3));
    pmem.fence();
    expect(survivors(pmem, [0, 8])).toEqual(["0 3", "1 3"]);
  });

  test("a store through a view counts when it is told of, or when its line is written back", () => {
    const pmem = device({ persistence: "adr" });
    const view = pmem.directAccess(4096, 4096);
    view.fill(1, 0, 8);
    pmem.stored(4096, 8);
    expect(survivors(pmem, [4096])).toEqual(["0", "1"]);
    view.fill(1, 64, 72);
    expect(survivors(pmem, [4096, 4160])).toEqual(["0 0", "1 0"]);
    pmem.flush(4096, 4096);
    pmem.fence();
    expect(survivors(pmem, [4096, 4160])).toEqual(["1 1"]);
    expect(pmem.counters).toMatchObject({ flushes: 1, flushedLines: 64, fences: 1, stores: 1 });
  });

  test("with eADR a store is durable at once, flushes are nothing, and what passes the cache waits for the fence", () => {
    const pmem = device({ persistence: "eadr" });
    pmem.store(0, word(1));
    expect([survivors(pmem, [0]), pmem.needsFlush]).toEqual([["1"], false]);
    pmem.flush(0, 64);
    expect(pmem.counters.flushedLines).toBe(0);
    pmem.storeNonTemporal(64, word(1));
    expect(survivors(pmem, [0, 64])).toEqual(["1 0", "1 1"]);
    pmem.fence();
    expect(survivors(pmem, [0, 64])).toEqual(["1 1"]);
  });

  test("the memory itself can lose power, and goes on with what survived", () => {
    const events: PersistenceEvent[] = [];
    const pmem = device({ persistence: "adr", onEvent: (event) => events.push(event) });
    const inner = pmem.range(4096, 4096);
    inner.store(0, word(1));
    inner.flush(0, 8);
    inner.fence();
    inner.store(0, word(2));
    pmem.powerCut(() => 0);
    expect([inner.bytes[0], pmem.volatileLines]).toEqual([1, []]);
    expect(events).toEqual(["store", "flush", "fence", "store"]);
    expect(survivors(pmem, [4096])).toEqual(["1"]);
  });

  test("a store that changes nothing is nothing", () => {
    const pmem = device({ persistence: "adr" });
    pmem.store(0, word(0));
    expect(pmem.volatileLines).toEqual([]);
  });
});

describe("poison", () => {
  test("stops reads, until a write covers it", () => {
    const pmem = device();
    pmem.poison(1000, 200);
    expect(pmem.badBlocks).toEqual([{ sector: 1, count: 2 }]);
    expect(codeOf(() => runSync(readBytes(pmem, 0, new Uint8Array(4096))))).toBe("EIO");
    expect(codeOf(() => runSync(readBytes(pmem, 0, new Uint8Array(512))))).toBe(undefined);
    runSync(writeBytes(pmem, 512, new Uint8Array(512).fill(1)));
    expect(pmem.badBlocks).toEqual([{ sector: 2, count: 1 }]);
    runSync(writeBytes(pmem, 0, new Uint8Array(4096).fill(2)));
    expect([pmem.badBlocks, codeOf(() => runSync(readBytes(pmem, 0, new Uint8Array(4096))))]).toEqual([[], undefined]);
  });

  test("direct access ends before it, and fails in its page", () => {
    const pmem = device();
    pmem.poison(3 * 4096 + 1024, 1);
    expect(pmem.directAccess(0, 65536).length).toBe(3 * 4096 + 1024);
    expect(codeOf(() => pmem.directAccess(3 * 4096, 4096))).toBe("EHWPOISON");
    expect(codeOf(() => pmem.directAccess(3 * 4096, 512))).toBe(undefined);
    expect(pmem.directAccess(4 * 4096, 4096).length).toBe(4096);
    expect(pmem.directAccess(3 * 4096, 8192, { isRecovery: true }).length).toBe(4096);
    expect(pmem.directAccess(2 * 4096, 8192, { isRecovery: true }).length).toBe(4096 + 1024);
    expect(pmem.isPoisoned(3 * 4096 + 512, 512)).toBe(false);
  });

  test("an ordinary store does not repair it; whole pages do", () => {
    const pmem = device();
    pmem.poison(4096, 512);
    expect(codeOf(() => pmem.store(4100, word(1)))).toBe("EHWPOISON");
    expect(codeOf(() => pmem.recoveryWrite(4096, word(1)))).toBe("EINVAL");
    pmem.recoveryWrite(4096, new Uint8Array(4096).fill(3));
    expect([pmem.badBlocks, pmem.directAccess(4096, 4096)[0]]).toEqual([[], 3]);
    pmem.poison(8192, 512);
    pmem.zeroPages(8192, 4096);
    expect(pmem.badBlocks).toEqual([]);
  });
});
