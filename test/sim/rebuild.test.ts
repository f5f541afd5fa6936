/**
 * The switch that rebuilds mappings, while processes that have the file mapped load and store, one of them maps it meanwhile, and another reads it. Nobody is refused, no byte is lost, nobody reads an old one,
 * and every mapping has the operations of the file as it is. The same look finds the September 2017 proposal wrong.
 */
import { describe, expect, test } from "vitest";
import { EXT4_JOURNAL_DATA_FL } from "../../src/format/inode.js";
import type { FsError } from "../../src/lib/errno.js";
import { MAP_SHARED, MAP_SHARED_VALIDATE, MAP_SYNC, MS_SYNC, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import type { Lab } from "../../src/sim/lab.js";
import { LabWorld } from "../support/lab-world.js";
import { scenario, type Scenario } from "../../src/sim/scenario.js";
import { searchDepthFirst } from "../../src/sim/search/depth-first.js";
import { searchBySampling } from "../../src/sim/search/sampling.js";
import { STRATEGIES } from "../../src/sim/strategies.js";
import type { Task } from "../../src/sched/task.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";
import type { Process } from "../../src/vfs/process.js";
import { STATX_ATTR_DAX } from "../../src/vfs/stat.js";

const PAGE = 4096;
const BYTES = 4 * PAGE;
const RW = PROT_READ | PROT_WRITE;

interface Cast { readonly fd: number; readonly map: number; readonly child: Process }
type Work = (lab: Lab, cast: Cast) => Task<void>;

function* storeAndLoad(process: Process, address: number, value: number): Task<void> {
  yield* process.store(address, value);
  yield* process.load(address);
}

const switchTo = (...modes: readonly boolean[]): Work => function* ({ process }, { fd }) {
  for (const isJournaled of modes) {
    const flags = yield* process.getflags(fd);
    yield* process.setflags(fd, isJournaled ? flags | EXT4_JOURNAL_DATA_FL : flags & ~EXT4_JOURNAL_DATA_FL);
  }
};

function onMappedFile(name: string, tasks: Readonly<Record<string, Work>>): Scenario {
  return scenario<Cast>({
    name: `test/${name}`, description: "a file that is mapped by two processes is switched there and back",
    world: { device: "pmem", mount: { dax: "always", delalloc: false }, files: { "/file": new Uint8Array(BYTES).fill(1) } },
    *prepare({ process }) {
      const fd = yield* process.open("/file", O_RDWR);
      const map = yield* process.mmap(0, BYTES, RW, MAP_SHARED, fd);
      yield* process.store(map, 1); // the mapping is used before
      return { fd, map, child: yield* process.fork() };
    },
    tasks,
    *after({ process, check }, { fd, map, child }) {
      const isDax = ((yield* process.fstat(fd)).stx_attributes & STATX_ATTR_DAX) !== 0;
      for (const { vm_ops: ops } of [...process.mm.vmas, ...child.mm.vmas]) check((ops?.isFsDax === true) === isDax, "a mapping has the other's operations");
      // What these see is judged with all else.
      for (const each of [process, child]) yield* each.loadBytes(map, BYTES);
    },
  });
}

/** Two stores, while the file becomes journaled and then no longer is. */
const twoSwitches = onMappedFile("two-switches", {
  switch: switchTo(true, false),
  *store({ process }, { map, child }) {
    yield* storeAndLoad(child, map + 5, 7);
    yield* storeAndLoad(process, map + 6, 8);
  },
});

/** There and back, with stores, a sync, a reader, and one who comes and maps the file. */
const crowd = onMappedFile("crowd", {
  switch: switchTo(true, false),
  *first({ process }, { map }) {
    yield* storeAndLoad(process, map + 5, 7);
    yield* storeAndLoad(process, map + PAGE + 5, 8);
    yield* process.msync(map, BYTES, MS_SYNC);
    yield* storeAndLoad(process, map + 6, 9);
  },
  *second(_lab, { map, child }) {
    yield* storeAndLoad(child, map + 2 * PAGE, 10);
    yield* storeAndLoad(child, map + 7, 11);
  },
  *newcomer({ kernel, recorder }) {
    const process = recorder.record(kernel.spawn());
    const map = yield* process.mmap(0, BYTES, RW, MAP_SHARED, yield* process.open("/file", O_RDWR));
    yield* storeAndLoad(process, map + 8, 12);
    yield* process.exit();
  },
  *reader({ process }, { fd }) {
    yield* process.pwrite(fd, Uint8Array.of(13), 3 * PAGE);
    yield* process.pread(fd, new Uint8Array(BYTES), 0);
  },
});

describe("rebuild", () => {
  test("two switches and two stores, at every interleaving with two preemptions at most, and at many more", () => {
    const task = { scenario: twoSwitches, strategy: STRATEGIES.rebuild, runsMax: 3000, crash: undefined };
    const { found, isExhaustive, runs } = searchDepthFirst(task, 2);
    expect(found?.failure.message).toBeUndefined();
    expect(isExhaustive).toBe(true);
    console.log(`rebuild: all ${runs} interleavings of two switches with two stores that have at most two preemptions`);
    expect(searchBySampling({ ...task, runsMax: 100 }, { kind: "random", seed: 1, depthMax: 3 }).found?.failure.message).toBeUndefined();
  });

  test("a crowd, there and back, at many interleavings", () => {
    const runsMax = Number(process.env["EXT4_RUNS"] ?? 60);
    for (const kind of ["random", "pct"] as const) {
      const { found } = searchBySampling({ scenario: crowd, strategy: STRATEGIES.rebuild, runsMax, crash: undefined }, { kind, seed: 1, depthMax: 4 });
      expect(found?.failure.message).toBeUndefined();
    }
  });

  test("only what MAP_SYNC promises cannot be kept", () => {
    const world = new LabWorld();
    world.mount({ dax: "always", delalloc: false, strategy: STRATEGIES.rebuild });
    const fd = world.run(world.process.open("/file", O_RDWR | O_CREAT));
    world.run(world.process.ftruncate(fd, BYTES));
    const map = world.run(world.process.mmap(0, BYTES, RW, MAP_SHARED_VALIDATE | MAP_SYNC, fd));
    const flags = world.run(world.process.getflags(fd));
    expect(() => world.run(world.process.setflags(fd, flags | EXT4_JOURNAL_DATA_FL))).toThrow(expect.objectContaining({ code: "EOPNOTSUPP" }) as FsError);
    expect(world.run(world.process.getflags(fd))).toBe(flags);
    world.run(world.process.store(map, 3));
    expect(world.run(world.process.load(map))).toBe(3);
  });
});

test("the same look finds the proposal of September 2017 wrong", () => {
  // A store that comes when the file is journaled already, by a mapping that is older.
  const oneSwitch = onMappedFile("one-switch", { switch: switchTo(true), *store(_lab, { map, child }) { yield* storeAndLoad(child, map + 5, 7); } });
  const search = (strategy: keyof typeof STRATEGIES) => searchDepthFirst({ scenario: oneSwitch, strategy: STRATEGIES[strategy], runsMax: 200, crash: undefined }, 1);
  expect(search("ross-2017").found).toBeDefined();
  expect(search("rebuild").found?.failure.message).toBeUndefined();
});
