/**
 * The promise of the block translation table: after a power cut at any store, flush or fence, whatever subset of the volatile lines survived, each sector is wholly old or new, and new ones are a
 * beginning of what was written, in order. The cut may come again while the first one is repaired.
 */
import { describe, expect, test } from "vitest";
import { byteStoreOn, type ByteStore } from "../../src/nvdimm/byte-store.js";
import { createBtt, openBtt } from "../../src/nvdimm/btt.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import { LINE_BYTES } from "../../src/nvdimm/persistence.js";
import { runSync, Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import { WaitQueue } from "../../src/sched/wait-queue.js";
import { Prng } from "../../src/lib/prng.js";
import { atOnce, forEachChoice, newTable, openTable, PowerCut, readSector, SMALL_BYTES, UndoableStore, UUID, versionOf, writeVersion } from "./btt-world.js";

/** Longer campaigns: EXT4_STEPS=200 EXT4_STATES=60 npx vitest run test/nvdimm/btt-crash.test.ts */
const STEPS = Number(process.env.EXT4_STEPS ?? 12);
const STATES = Number(process.env.EXT4_STATES ?? 12);
const isCampaign = process.env.EXT4_STEPS !== undefined;

/** What a cut may leave: `versions` gives the least and the greatest version of each sector. */
type Bounds = (sector: number) => readonly [least: number, greatest: number];

/** A machine with a table, and another on which its power cuts are tried out. */
class CutWorld {
  readonly pmem: PmemDevice;
  private readonly survivor: UndoableStore;
  /** Lines that were ever volatile: all others are as they were at the start. */
  private readonly touched = new Set<number>();
  stateCount = 0;
  repairedCount = 0;

  constructor(image: Uint8Array, private readonly sectors: readonly number[], private readonly sectorBytes: number, private readonly statesMax: number, private readonly prng: Prng, onEvent: () => void) {
    this.survivor = new UndoableStore(image.slice());
    this.pmem = new PmemDevice(image, { persistence: "adr", onEvent: () => {
      for (const { offsetBytes } of this.pmem.volatileLines) this.touched.add(offsetBytes);
      onEvent();
    } });
  }

  /** Tries the power cuts that are possible now. */
  cut(bounds: Bounds): void {
    const pending = this.pmem.volatileLines;
    forEachChoice(pending.map(({ stateCount }) => stateCount), this.statesMax, (limit) => this.prng.below(limit), (choose) => {
      this.stateCount++;
      this.layOut(choose);
      this.checkSurvivor(bounds);
      this.survivor.undo();
    });
  }

  private layOut(choose: (count: number) => number): void {
    for (const offsetBytes of this.touched) this.survivor.put(offsetBytes, this.pmem.bytes.subarray(offsetBytes, offsetBytes + LINE_BYTES));
    for (const { offsetBytes, bytes } of this.pmem.survivingLines(choose)) this.survivor.put(offsetBytes, bytes);
  }

  private checkSurvivor(bounds: Bounds): void {
    // A second cut, before the first repair, then after it, and so on.
    const repairs = this.openAndCount();
    for (let stop = 0; stop < repairs; stop++) {
      this.survivor.writeCount = 0;
      this.survivor.stopAt = 0;
      expect(() => atOnce(openBtt(this.survivor))).toThrow(PowerCut);
      this.survivor.writeCount = 0;
      this.survivor.stopAt = 1;
      try {
        atOnce(openBtt(this.survivor));
      } catch (error) {
        if (!(error instanceof PowerCut)) throw error;
      }
    }
    this.survivor.stopAt = Infinity;
    const btt = atOnce(openBtt(this.survivor))!;
    expect(btt.arenas[0]!.recoveredCount).toBe(0);
    for (const sector of this.sectors) {
      const version = versionOf(sector, atOnce(readSector(btt, sector, this.sectorBytes)));
      const [least, greatest] = bounds(sector);
      if (version === undefined || version < least || version > greatest) throw new Error(`sector ${sector}: ${version === undefined ? "torn" : `version ${version}`}, ${least} to ${greatest} is right`);
    }
  }

  /** How many repairs the survivor needs. */
  private openAndCount(): number {
    const probe = new CountingStore(this.survivor);
    atOnce(openBtt(probe));
    this.repairedCount += probe.writeCount;
    return probe.writeCount;
  }
}

/** Counts writes and does none. */
class CountingStore implements ByteStore {
  writeCount = 0;
  readonly name = "probe";
  readonly readOnly = false;
  constructor(private readonly below: UndoableStore) {}
  get sizeBytes(): number { return this.below.sizeBytes; }
  read(offsetBytes: number, into: Uint8Array): Task<void> { return this.below.read(offsetBytes, into); }
  *write(): Task<void> { this.writeCount++; }
  isBad(): boolean { return false; }
  *flush(): Task<void> {}
  *close(): Task<void> {}
}

describe.each([
  { sectorBytes: 512, blockBytes: 512, laneCount: 3 }, { sectorBytes: 4096, blockBytes: 4096, laneCount: 2 }, { sectorBytes: 512, blockBytes: 528, laneCount: 3 }, { sectorBytes: 512, blockBytes: 512, laneCount: 256 },
])("blocks of $blockBytes, $laneCount lanes", ({ sectorBytes, blockBytes, laneCount }) => {
  test("one after another: each write is there or not, and never one without those before it", () => {
    const sectors = [0, 1, 2, 7, 500];
    const image = newTable({ sectorBytes: blockBytes, laneCount });
    const versions = new Map(sectors.map((sector) => [sector, 0]));
    let writing: number | undefined;
    const prng = new Prng(blockBytes + laneCount);
    const world = new CutWorld(image, sectors, sectorBytes, laneCount > 100 ? Math.ceil(STATES / 3) : STATES, prng, () => {
      world.cut((sector) => [versions.get(sector)!, versions.get(sector)! + (writing === sector ? 1 : 0)]);
    });
    const btt = runSync(openBtt(byteStoreOn(world.pmem)))!;
    for (let step = 0; step < STEPS; step++) {
      writing = prng.pick(sectors);
      runSync(writeVersion(btt, writing, versions.get(writing)! + 1, sectorBytes));
      versions.set(writing, versions.get(writing)! + 1);
      writing = undefined;
      world.cut((sector) => [versions.get(sector)!, versions.get(sector)!]);
    }
    expect(runSync(btt.check())).toEqual([]);
    if (isCampaign) process.stderr.write(`${world.stateCount} states, ${world.repairedCount} repairs\n`);
    expect(world.stateCount).toBeGreaterThan(150);
    expect(world.repairedCount).toBeGreaterThan(10);
  });
});

/** Lets others run before each transfer, a while longer or shorter. */
class SlowStore implements ByteStore {
  constructor(private readonly below: ByteStore, private readonly prng: Prng) {}
  get name(): string { return this.below.name; }
  get readOnly(): boolean { return this.below.readOnly; }
  get sizeBytes(): number { return this.below.sizeBytes; }
  *read(offsetBytes: number, into: Uint8Array): Task<void> {
    yield* this.pause();
    yield* this.below.read(offsetBytes, into);
    yield* this.pause();
  }
  *write(offsetBytes: number, data: Uint8Array): Task<void> {
    yield* this.pause();
    yield* this.below.write(offsetBytes, data);
  }
  isBad(offsetBytes: number, lengthBytes: number): boolean { return this.below.isBad(offsetBytes, lengthBytes); }
  *flush(): Task<void> {}
  *close(): Task<void> {}
  private *pause(): Task<void> {
    for (let count = this.prng.below(4); count > 0; count--) yield { op: "io", io: { description: "pause", runSync: () => undefined, runAsync: async () => undefined } };
  }
}

describe("side by side", () => {
  test.each([1, 2, 3, 4, 5, 6])("writers of their own sectors, readers of all, cuts in between (seed %i)", (seed) => {
    const sectorBytes = 512;
    const sectors = [0, 1, 2, 3];
    const prng = new Prng(seed);
    const done = new Map(sectors.map((sector) => [sector, 0]));
    const begun = new Map(done);
    const image = newTable({ laneCount: 3 });
    const versionsMax = Math.ceil(STEPS * 2 / 3);
    let eventCount = 0;
    const world = new CutWorld(image, sectors, sectorBytes, Math.ceil(STATES / 3), prng, () => {
      if (eventCount++ % 3 === 0) world.cut((sector) => [done.get(sector)!, begun.get(sector)!]);
    });
    const btt = runSync(openBtt(new SlowStore(byteStoreOn(world.pmem), prng)))!;
    const scheduler = new Scheduler();
    let running = 0;
    const failures: unknown[] = [];
    const ended = new WaitQueue("ended");
    const spawn = (name: string, task: Task<void>): void => {
      running++;
      scheduler.spawn(name, (function* (): Task<void> {
        try {
          yield* task;
        } catch (error) {
          failures.push(error);
        }
        running--;
        ended.wakeAll();
      })());
    };
    for (const sector of sectors) {
      spawn(`writer ${sector}`, (function* (): Task<void> {
        for (let version = 1; version <= versionsMax; version++) {
          begun.set(sector, version);
          yield* writeVersion(btt, sector, version, sectorBytes);
          done.set(sector, version);
        }
      })());
    }
    for (let reader = 0; reader < 3; reader++) {
      spawn(`reader ${reader}`, (function* (): Task<void> {
        for (let count = 0; count < 4 * versionsMax; count++) {
          const sector = prng.pick(sectors);
          const least = done.get(sector)!;
          const version = versionOf(sector, yield* readSector(btt, sector, sectorBytes));
          if (version === undefined || version < least || version > begun.get(sector)!) throw new Error(`reader saw ${version} of sector ${sector}, ${least} to ${begun.get(sector)} is right`);
        }
      })());
    }
    scheduler.runSync(ended.wait(() => running === 0));
    if (failures.length > 0) throw failures[0];
    expect([...done.values()]).toEqual([versionsMax, versionsMax, versionsMax, versionsMax]);
    expect(runSync(btt.check())).toEqual([]);
    if (isCampaign) process.stderr.write(`${world.stateCount} states, ${world.repairedCount} repairs\n`);
    expect(world.stateCount).toBeGreaterThan(100);
  });
});

describe("canaries: the tests see what they are for", () => {
  /** A store on which some writes are not fenced, or come in another way than was asked for. */
  const broken = (pmem: PmemDevice, write: (offsetBytes: number, data: Uint8Array) => void): ByteStore => {
    const store = byteStoreOn(pmem);
    return {
      name: store.name, sizeBytes: store.sizeBytes, readOnly: false,
      read: (offsetBytes, into) => store.read(offsetBytes, into),
      *write(offsetBytes, data) { write(offsetBytes, data); },
      isBad: () => false, flush: () => store.flush(), close: () => store.close(),
    };
  };
  const run = (write: (pmem: PmemDevice) => (offsetBytes: number, data: Uint8Array) => void): void => {
    const sectors = [0, 1];
    const versions = new Map([[0, 0], [1, 0]]);
    let writing: number | undefined;
    const world = new CutWorld(newTable(), sectors, 512, 60, new Prng(1), () => {
      world.cut((sector) => [versions.get(sector)!, versions.get(sector)! + (writing === sector ? 1 : 0)]);
    });
    const btt = runSync(openBtt(broken(world.pmem, write(world.pmem))))!;
    for (let step = 0; step < 10; step++) {
      writing = step % 2;
      runSync(writeVersion(btt, writing, versions.get(writing)! + 1, 512));
      versions.set(writing, versions.get(writing)! + 1);
    }
  };

  test("data that is not fenced before the log is complete is found", () => {
    expect(() => run((pmem) => (offsetBytes, data) => {
      pmem.storeNonTemporal(offsetBytes, data);
      if (data.length === 4) pmem.fence();
    })).toThrow(/is right/);
  });

  test("a log whose second half may come before the first is found", () => {
    expect(() => run((pmem) => (offsetBytes, data) => {
      pmem.storeNonTemporal(offsetBytes, data);
      if (data.length !== 8 || offsetBytes % 16 !== 0) pmem.fence();
    })).toThrow(/is right/);
  });

  test("a table that writes its sectors in place is found", () => {
    expect(() => run((pmem) => (offsetBytes, data) => {
      if (data.length === 512) pmem.storeNonTemporal(4096 + 4096 + 512 * Math.floor(((data[0]! || 1) - 1)), data);
      else pmem.storeNonTemporal(offsetBytes, data);
      pmem.fence();
    })).toThrow(/is right/);
  });
});

test("a table comes into being whole or not at all", () => {
  const image = newTable({ sectorBytes: 4096 });
  // Something was there before: an older table, whose sectors must not turn up in the new one.
  runSync(writeVersion(openTable(image).btt, 3, 9, 4096));
  const survivor = new UndoableStore(image);
  const count = (() => {
    const probe = new UndoableStore(new Uint8Array(SMALL_BYTES));
    runSync(createBtt(probe, { sectorBytes: 512, uuid: UUID, laneCount: 4 }));
    return probe.writeCount;
  })();
  expect(count).toBeGreaterThanOrEqual(5);
  for (let stop = 0; stop <= count; stop++) {
    survivor.stopAt = stop;
    try {
      runSync(createBtt(survivor, { sectorBytes: 512, uuid: UUID, laneCount: 4 }));
    } catch (error) {
      if (!(error instanceof PowerCut)) throw error;
    }
    const btt = runSync(openBtt(new CountingStore(survivor)));
    expect(btt?.sectorBytes).toBe(stop === 0 ? 4096 : stop < count ? undefined : 512);
    survivor.undo();
  }
});
