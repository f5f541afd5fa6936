/**
 * The switch that rebuilds mappings, while processes that have the file mapped load and store, one of them maps it meanwhile, and another reads it: at every interleaving of
 * two stores with two switches, and at many of more. Nobody is refused, no byte is lost, nobody reads an old one. The same look finds the September 2017 proposal wrong.
 */
import { describe, expect, test } from "vitest";
import type { Bio } from "../../src/block/device.js";
import { EXT4_JOURNAL_DATA_FL } from "../../src/format/inode.js";
import type { FsError } from "../../src/lib/errno.js";
import { MAP_SHARED, MAP_SHARED_VALIDATE, MAP_SYNC, MS_SYNC, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import { LabWorld } from "../../src/sim/lab-world.js";
import { STRATEGIES, type StrategyName } from "../../src/sim/strategies.js";
import type { Task } from "../../src/sched/task.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";
import type { Process } from "../../src/vfs/process.js";
import { STATX_ATTR_DAX } from "../../src/vfs/stat.js";
import { Prng } from "../support/prng.js";

const PAGE = 4096;
const BYTES = 4 * PAGE;
const RW = PROT_READ | PROT_WRITE;

/** Each request, and each pause of a task, waits here until the search lets it go on. */
class Gates {
  private readonly waiting: { readonly open: () => void }[] = [];
  isUsed = false;
  get count(): number { return this.waiting.length; }

  *pause(): Task<void> {
    if (!this.isUsed) return;
    yield { op: "io", io: { description: "gate", runSync: () => {}, runAsync: () => new Promise<void>((open) => void this.waiting.push({ open })) } };
  }

  open(index: number): void {
    this.waiting.splice(index, 1)[0]!.open();
  }
}

class GatedPmem extends PmemDevice {
  constructor(bytes: Uint8Array, readonly gates: Gates) {
    super(bytes);
  }

  override *submit(bios: readonly Bio[]): Task<void> {
    yield* this.gates.pause();
    yield* super.submit(bios);
  }
}

const image = ((): Uint8Array => {
  const world = new LabWorld();
  world.mount({});
  const fd = world.run(world.process.open("/file", O_RDWR | O_CREAT));
  world.run(world.process.pwrite(fd, new Uint8Array(BYTES).fill(1), 0));
  world.unmount();
  return (world.device as PmemDevice).bytes.slice();
})();

interface Cast {
  readonly world: LabWorld;
  readonly gates: Gates;
  readonly fd: number;
  readonly first: { readonly process: Process; readonly map: number };
  readonly second: { readonly process: Process; readonly map: number };
  readonly problems: string[];
}

function* storeAndLoad({ gates, problems }: Cast, { process, map }: Cast["first"], offset: number, value: number): Task<void> {
  yield* gates.pause();
  yield* process.store(map + offset, value);
  yield* gates.pause();
  const found = yield* process.load(map + offset);
  if (found !== value) problems.push(`${offset} was stored as ${value} and is loaded as ${found}`);
}

function* switchTo({ first: { process }, fd, problems }: Cast, isJournaled: boolean): Task<void> {
  const flags = yield* process.getflags(fd);
  try {
    yield* process.setflags(fd, isJournaled ? flags | EXT4_JOURNAL_DATA_FL : flags & ~EXT4_JOURNAL_DATA_FL);
  } catch (error) {
    problems.push(String(error));
  }
}

type Script = (cast: Cast) => { readonly tasks: Task<void>[]; readonly expected: readonly (readonly [offset: number, value: number])[] };

/** Two stores, while the file becomes journaled and then no longer is. */
const twoSwitches: Script = (cast) => ({
  tasks: [
    (function* (): Task<void> {
      yield* cast.gates.pause();
      yield* switchTo(cast, true);
      yield* cast.gates.pause();
      yield* switchTo(cast, false);
    })(),
    (function* (): Task<void> {
      yield* storeAndLoad(cast, cast.second, 5, 7);
      yield* storeAndLoad(cast, cast.first, 6, 8);
    })(),
  ],
  expected: [[5, 7], [6, 8]],
});

/** There and back, with stores, a sync, a reader, and one who comes and maps the file. */
const crowd: Script = (cast) => {
  const { world, gates, first, second, fd, problems } = cast;
  return {
    tasks: [
      (function* (): Task<void> {
        yield* switchTo(cast, true);
        yield* gates.pause();
        yield* switchTo(cast, false);
      })(),
      (function* (): Task<void> {
        yield* storeAndLoad(cast, first, 5, 7);
        yield* storeAndLoad(cast, first, PAGE + 5, 8);
        yield* first.process.msync(first.map, BYTES, MS_SYNC);
        yield* storeAndLoad(cast, first, 6, 9);
      })(),
      (function* (): Task<void> {
        yield* storeAndLoad(cast, second, 2 * PAGE, 10);
        yield* storeAndLoad(cast, second, 7, 11);
      })(),
      (function* (): Task<void> {
        yield* gates.pause();
        const process = world.kernel.spawn();
        const own = yield* process.open("/file", O_RDWR);
        const map = yield* process.mmap(0, BYTES, RW, MAP_SHARED, own);
        yield* storeAndLoad(cast, { process, map }, 8, 12);
        yield* process.exit();
      })(),
      (function* (): Task<void> {
        yield* gates.pause();
        const bytes = new Uint8Array(BYTES);
        yield* first.process.pwrite(fd, Uint8Array.of(13), 3 * PAGE);
        yield* gates.pause();
        yield* first.process.pread(fd, bytes, 0);
        if (bytes[3 * PAGE] !== 13 || bytes[100] !== 1) problems.push(`read(2) has ${bytes[3 * PAGE]}, ${bytes[100]}`);
      })(),
    ],
    expected: [[5, 7], [PAGE + 5, 8], [6, 9], [2 * PAGE, 10], [7, 11], [8, 12], [3 * PAGE, 13], [100, 1]],
  };
};

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** Runs the script; `choose` says which of so many waiting goes on. */
async function play(strategy: StrategyName, script: Script, choose: (count: number) => number): Promise<string[]> {
  const gates = new Gates();
  const world = new LabWorld({ device: new GatedPmem(image.slice(), gates) });
  world.mount({ dax: "always", delalloc: false, strategy: STRATEGIES[strategy] });
  const { process } = world;
  const fd = world.run(process.open("/file", O_RDWR));
  const map = world.run(process.mmap(0, BYTES, RW, MAP_SHARED, fd));
  world.run(process.store(map, 1)); // the mapping is used before
  const child = world.run(process.fork());
  const cast: Cast = { world, gates, fd, first: { process, map }, second: { process: child, map }, problems: [] };
  const { problems } = cast;
  const { tasks, expected } = script(cast);
  gates.isUsed = true;
  let running = tasks.length;
  for (const task of tasks) {
    void world.scheduler.runAsync(task).then(() => { running--; }, (error: unknown) => {
      running--;
      problems.push(String(error));
    });
  }
  for (await turn(); running > 0; await turn()) {
    if (gates.count === 0) throw new Error("all wait, and nothing is under way");
    gates.open(choose(gates.count));
  }
  gates.isUsed = false;
  const isDax = (world.run(process.fstat(fd)).stx_attributes & STATX_ATTR_DAX) !== 0;
  for (const { vm_ops: ops } of world.run((function* () { return [...process.mm.vmas, ...child.mm.vmas]; })())) if ((ops?.isFsDax === true) !== isDax) problems.push("a mapping has the other's operations");
  const bytes = new Uint8Array(BYTES);
  world.run(process.pread(fd, bytes, 0));
  for (const [offset, value] of expected) {
    const found = [bytes[offset], world.run(process.load(map + offset)), world.run(child.load(map + offset))];
    if (found.some((byte) => byte !== value)) problems.push(`${offset} is ${found.join(", ")} in the end, not ${value}`);
  }
  problems.push(...world.fs.warnings.map(String));
  return problems;
}

/** All runs, each given by its choices: the next one differs in the last place where another could be made. */
async function explore(strategy: StrategyName, script: Script, runsMax: number): Promise<{ runs: number; isComplete: boolean; problems: string[] }> {
  const problems: string[] = [];
  let path: { choice: number; count: number }[] = [];
  for (let runs = 1; ; runs++) {
    let at = 0;
    const found = await play(strategy, script, (count) => {
      if (at === path.length) path.push({ choice: 0, count });
      return path[at++]!.choice;
    });
    if (found.length > 0) problems.push(`${path.map(({ choice }) => choice).join(".")}: ${found.join("; ")}`);
    while (path.length > 0 && path.at(-1)!.choice === path.at(-1)!.count - 1) path = path.slice(0, -1);
    if (path.length === 0 || runs === runsMax) return { runs, isComplete: path.length === 0, problems };
    path.at(-1)!.choice++;
  }
}

describe("rebuild", () => {
  test("two switches and two stores, at every interleaving", async () => {
    const { runs, isComplete, problems } = await explore("rebuild", twoSwitches, 2000);
    expect(problems).toEqual([]);
    expect(isComplete).toBe(true);
    expect(runs).toBeGreaterThan(20);
    console.log(`rebuild: all ${runs} interleavings of two switches with two stores`);
  });

  test("a crowd, there and back, at many interleavings", async () => {
    const runs = Number(process.env["EXT4_RUNS"] ?? 60);
    for (let seed = 1; seed <= runs; seed++) {
      const prng = new Prng(seed);
      expect(await play("rebuild", crowd, (count) => prng.below(count)), `seed ${seed}`).toEqual([]);
    }
  });

  test("only what MAP_SYNC promises cannot be kept", () => {
    const world = new LabWorld({ device: new PmemDevice(image.slice()) });
    world.mount({ dax: "always", delalloc: false, strategy: STRATEGIES.rebuild });
    const fd = world.run(world.process.open("/file", O_RDWR));
    const map = world.run(world.process.mmap(0, BYTES, RW, MAP_SHARED_VALIDATE | MAP_SYNC, fd));
    const flags = world.run(world.process.getflags(fd));
    expect(() => world.run(world.process.setflags(fd, flags | EXT4_JOURNAL_DATA_FL))).toThrow(expect.objectContaining({ code: "EOPNOTSUPP" }) as FsError);
    expect(world.run(world.process.getflags(fd))).toBe(flags);
    world.run(world.process.store(map, 3));
    expect(world.run(world.process.load(map))).toBe(3);
  });
});

/** A store that comes when the file is journaled already, by a mapping that is older. */
const oneSwitch: Script = (cast) => ({ tasks: [switchTo(cast, true), storeAndLoad(cast, cast.second, 5, 7)], expected: [[5, 7]] });

test("the same look finds the proposal of September 2017 wrong", async () => {
  expect((await explore("ross-2017", oneSwitch, 100)).problems.length).toBeGreaterThan(0);
  expect((await explore("rebuild", oneSwitch, 100)).problems).toEqual([]);
});
