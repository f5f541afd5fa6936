/** The buffer cache under both drivers: one read for all who want a block, neighbours in one request, the oldest goes first, and the limit holds. */
import { describe, expect, test } from "vitest";
import { BufferCache, type BufferHead } from "../../src/block/buffer-cache.js";
import type { Bio } from "../../src/block/device.js";
import { LeafDevice } from "../../src/block/leaf.js";
import { FsError } from "../../src/lib/errno.js";
import { runSync, Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import { Prng } from "../../src/lib/prng.js";

const BLOCK = 1024;

/** Block n is full of n; reads are noted and, driven asynchronously, take a while. */
class NotingDevice extends LeafDevice {
  readonly name = "noting";
  readonly readOnly = false;
  /** Requests, as "first+count" in blocks. */
  readonly reads: string[] = [];
  /** Blocks that cannot be read. */
  readonly broken = new Set<number>();

  constructor(readonly sizeBytes = 100 * BLOCK) {
    super();
  }

  protected transferSync({ op, offsetBytes, data }: Bio): void {
    if (op !== "read") return;
    const first = offsetBytes / BLOCK;
    this.reads.push(`${first}+${data.length / BLOCK}`);
    for (let index = 0; index * BLOCK < data.length; index++) {
      if (this.broken.has(first + index)) throw new FsError("EIO", `block ${first + index} is broken`);
      data.fill(first + index, index * BLOCK, (index + 1) * BLOCK);
    }
  }
  protected async transferAsync(bio: Bio): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.transferSync(bio);
  }
  *close(): Task<void> {}
}

function* readAll(cache: BufferCache, blocks: readonly number[]): Task<BufferHead[]> {
  const buffers: BufferHead[] = [];
  for (const block of blocks) buffers.push(yield* cache.read(block));
  return buffers;
}

const DRIVERS = [
  ["sync", async <T>(_scheduler: Scheduler, task: Task<T>): Promise<T> => new Scheduler().runSync(task)],
  ["async", <T>(scheduler: Scheduler, task: Task<T>): Promise<T> => scheduler.runAsync(task)],
] as const;

describe.each(DRIVERS)("under the %s driver", (_name, drive) => {
  const make = (blocks: number, device = new NotingDevice()): { device: NotingDevice; cache: BufferCache; scheduler: Scheduler } =>
    ({ device, cache: new BufferCache(device, BLOCK, blocks * BLOCK), scheduler: new Scheduler() });

  test("a block is read once, and then is here", async () => {
    const { device, cache, scheduler } = make(4);
    expect(cache.peek(7)).toBeUndefined();
    const buffer = await drive(scheduler, cache.read(7));
    expect([buffer.b_blocknr, buffer.data.length, buffer.view.getUint8(5)]).toEqual([7, BLOCK, 7]);
    expect(await drive(scheduler, cache.read(7))).toBe(buffer);
    expect(cache.peek(7)).toBe(buffer);
    expect(device.reads).toEqual(["7+1"]);
    expect(cache.sizeBytes).toBe(BLOCK);
  });

  test("the block that was used longest ago goes first, and peek is a use", async () => {
    const { device, cache, scheduler } = make(3);
    await drive(scheduler, readAll(cache, [1, 2, 3]));
    cache.peek(1);
    await drive(scheduler, readAll(cache, [4])); // 2 goes
    await drive(scheduler, readAll(cache, [3, 5])); // 1 goes
    expect([1, 2, 3, 4, 5].map((block) => cache.peek(block) !== undefined)).toEqual([false, false, true, true, true]);
    expect(device.reads).toEqual(["1+1", "2+1", "3+1", "4+1", "5+1"]);
    expect(cache.sizeBytes).toBe(3 * BLOCK);
  });

  test("who holds a block that went keeps its content", async () => {
    const { cache, scheduler } = make(1);
    const [held] = await drive(scheduler, readAll(cache, [1]));
    await drive(scheduler, readAll(cache, [2, 3]));
    expect(held!.data[0]).toBe(1);
    expect(await drive(scheduler, cache.read(1))).not.toBe(held);
  });

  test("read-ahead fetches what is absent, runs of neighbours in one request each", async () => {
    const { device, cache, scheduler } = make(50);
    await drive(scheduler, readAll(cache, [12, 13, 17]));
    device.reads.length = 0;
    await drive(scheduler, cache.readAhead(10, 10));
    expect(device.reads).toEqual(["10+2", "14+3", "18+2"]);
    await drive(scheduler, cache.readAhead(10, 10));
    for (let block = 10; block < 20; block++) expect(cache.peek(block)!.data[0]).toBe(block);
    expect(device.reads).toHaveLength(3);
  });

  test("read-ahead stops at the device's end and at what the cache holds", async () => {
    const { device, cache, scheduler } = make(8);
    await drive(scheduler, cache.readAhead(95, 50));
    expect(device.reads).toEqual(["95+5"]);
    await drive(scheduler, cache.readAhead(200, 5));
    await drive(scheduler, cache.readAhead(10, 0));
    await drive(scheduler, cache.readAhead(20, 50));
    expect(device.reads).toEqual(["95+5", "20+8"]);
    expect(cache.sizeBytes).toBe(8 * BLOCK);
  });

  test("blocks that came in one request do not keep each other's memory", async () => {
    const { cache, scheduler } = make(50);
    await drive(scheduler, cache.readAhead(0, 20));
    expect(cache.peek(3)!.data.buffer.byteLength).toBe(BLOCK);
  });

  test("a block that cannot be read is an error each time, and none of the others' affair", async () => {
    const { device, cache, scheduler } = make(8);
    device.broken.add(5);
    await expect(drive(scheduler, cache.read(5))).rejects.toMatchObject({ code: "EIO" });
    await expect(drive(scheduler, cache.readAhead(4, 3))).rejects.toMatchObject({ code: "EIO" });
    expect((await drive(scheduler, cache.read(4))).data[0]).toBe(4);
    device.broken.clear();
    expect((await drive(scheduler, cache.read(5))).data[0]).toBe(5);
  });

  test("past the end is EIO without a request", async () => {
    const { device, cache, scheduler } = make(8, new NotingDevice(10 * BLOCK + 100));
    await expect(drive(scheduler, cache.read(10))).rejects.toMatchObject({ code: "EIO", message: expect.stringContaining("block 10 lies past the end of noting") });
    await expect(drive(scheduler, cache.read(2 ** 40))).rejects.toMatchObject({ code: "EIO" });
    expect(device.reads).toEqual([]);
  });

  test("what is forgotten is read anew", async () => {
    const { device, cache, scheduler } = make(8);
    await drive(scheduler, readAll(cache, [1, 2, 3]));
    cache.invalidate(2);
    cache.invalidate(99);
    expect([1, 2, 3].map((block) => cache.peek(block) !== undefined)).toEqual([true, false, true]);
    cache.invalidate();
    expect(cache.sizeBytes).toBe(0);
    await drive(scheduler, readAll(cache, [3, 1]));
    expect(device.reads).toHaveLength(5);
  });

  test("the limit holds whatever is done, and content is always the device's", async () => {
    const { cache, scheduler } = make(5);
    const prng = new Prng(3);
    for (let round = 0; round < 300; round++) {
      const block = prng.below(40);
      if (prng.below(3) === 0) await drive(scheduler, cache.readAhead(block, prng.below(12)));
      else expect((await drive(scheduler, cache.read(block))).data[BLOCK - 1]).toBe(block);
      if (prng.below(10) === 0) cache.invalidate(block);
      expect(cache.sizeBytes).toBeLessThanOrEqual(5 * BLOCK);
    }
  });
});

describe("tasks side by side", () => {
  test("those who want the same absent block share one read", async () => {
    const device = new NotingDevice();
    const cache = new BufferCache(device, BLOCK, 10 * BLOCK);
    const scheduler = new Scheduler();
    const buffers = await Promise.all(Array.from({ length: 20 }, () => scheduler.runAsync(cache.read(9))));
    expect(new Set(buffers).size).toBe(1);
    expect(device.reads).toEqual(["9+1"]);
  });

  test("who wants a block that read-ahead is fetching waits for it", async () => {
    const device = new NotingDevice();
    const cache = new BufferCache(device, BLOCK, 20 * BLOCK);
    const scheduler = new Scheduler();
    const results = await Promise.all([scheduler.runAsync(cache.readAhead(0, 10)), scheduler.runAsync(cache.read(4)), scheduler.runAsync(cache.readAhead(5, 10)), scheduler.runAsync(cache.read(12))]);
    expect((results[1] as BufferHead).data[0]).toBe(4);
    expect((results[3] as BufferHead).data[0]).toBe(12);
    expect(device.reads).toEqual(["0+10", "10+5"]);
  });

  test("if the shared read fails, each of them is told", async () => {
    const device = new NotingDevice();
    device.broken.add(9);
    const cache = new BufferCache(device, BLOCK, 10 * BLOCK);
    const scheduler = new Scheduler();
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => scheduler.runAsync(cache.read(9))));
    expect(results.every(({ status }) => status === "rejected")).toBe(true);
  });

  test("a sync call does not wait for a read that only the event loop can end", async () => {
    const device = new NotingDevice();
    const cache = new BufferCache(device, BLOCK, 10 * BLOCK);
    const scheduler = new Scheduler();
    const reading = scheduler.runAsync(cache.read(9));
    expect(() => scheduler.runSync(cache.read(9))).toThrow(expect.objectContaining({ code: "EBUSY" }));
    expect(scheduler.runSync(cache.read(8)).data[0]).toBe(8);
    await reading;
    expect(scheduler.runSync(cache.read(9)).data[0]).toBe(9);
  });

  test("many tasks at random: every block is right, and the limit holds", async () => {
    const device = new NotingDevice();
    const cache = new BufferCache(device, BLOCK, 6 * BLOCK);
    const scheduler = new Scheduler();
    const worker = function* (seed: number): Task<void> {
      const prng = new Prng(seed);
      for (let round = 0; round < 40; round++) {
        const block = prng.below(30);
        if (prng.below(4) === 0) yield* cache.readAhead(block, 5);
        else expect((yield* cache.read(block)).data[0]).toBe(block);
        expect(cache.sizeBytes).toBeLessThanOrEqual(6 * BLOCK);
      }
    };
    await Promise.all(Array.from({ length: 12 }, (_, seed) => scheduler.runAsync(worker(seed + 1))));
  });
});

describe("blocks that are changed", () => {
  test("a pinned block stays, above the limit if need be, and goes its way when it is let go", () => {
    const device = new NotingDevice();
    const cache = new BufferCache(device, BLOCK, 2 * BLOCK);
    const pinned = [1, 2, 3].map((block) => {
      const buffer = runSync(cache.read(block));
      cache.pin(buffer);
      return buffer;
    });
    runSync(readAll(cache, [10, 11, 12]));
    for (const buffer of pinned) expect(cache.peek(buffer.b_blocknr)).toBe(buffer);
    expect(cache.sizeBytes).toBe(4 * BLOCK); // the three and the newest
    for (const buffer of pinned) cache.unpin(buffer);
    expect(cache.sizeBytes).toBe(2 * BLOCK);
    expect(() => cache.unpin(pinned[0]!)).toThrow("not pinned");
    expect(() => cache.pin(pinned[0]!)).toThrow("let go");
  });

  test("a created block is zero and reads nothing", () => {
    const device = new NotingDevice();
    const cache = new BufferCache(device, BLOCK, 4 * BLOCK);
    expect(cache.create(5).data.every((byte) => byte === 0)).toBe(true);
    const known = runSync(cache.read(6));
    known.verifiedAs = 8;
    expect(cache.create(6)).toBe(known);
    expect([known.data[0], known.verifiedAs]).toEqual([0, 0]);
    expect(device.reads).toEqual(["6+1"]);
  });

  test("a block that is created while it is being read stays as it was created", async () => {
    const cache = new BufferCache(new NotingDevice(), BLOCK, 4 * BLOCK);
    const scheduler = new Scheduler();
    const reading = scheduler.runAsync(cache.read(5));
    const created = cache.create(5);
    created.data.fill(77);
    expect(await reading).toBe(created);
    expect(created.data[0]).toBe(77);
  });
});
