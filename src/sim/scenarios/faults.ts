/** Small worlds in which the planted bugs of faults, mappings and their locks show (sim/bugs/fault-bugs.ts). The engine as it ships passes each of them. */
import { MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_SYNC, MS_SYNC, PROT_READ, PROT_WRITE } from "../../mm/constants.js";
import { PmemDevice } from "../../nvdimm/pmem.js";
import { racePoint } from "../../sched/scheduler.js";
import type { Task } from "../../sched/task.js";
import { O_CREAT, O_RDWR } from "../../vfs/flags.js";
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from "../../vfs/inode.js";
import type { Process } from "../../vfs/process.js";
import type { Lab } from "../lab.js";
import { scenario, type Scenario, type WorldRecipe } from "../scenario.js";

const PAGE = 4096;
const PMD = 2 * 2 ** 20;
const RW = PROT_READ | PROT_WRITE;
const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
const FILE_BYTES = 8 * PAGE;
/** What stands in the file's first page; behind it all is hole. */
const OLD = 0x41;

const DAX: WorldRecipe = { device: "pmem", sizeBytes: 9 * 2 ** 20, mount: { dax: "always" } };
/** The page cache, on a disk. */
const CACHED: WorldRecipe = { device: "disk" };

function* makeFile({ process }: Lab): Task<void> {
  const fd = yield* process.open("/file", O_RDWR | O_CREAT);
  yield* process.pwrite(fd, new Uint8Array(PAGE).fill(OLD), 0);
  yield* process.ftruncate(fd, FILE_BYTES);
}

/** 2 MiB that can be mapped in one piece. */
function* makeHugeHole({ process }: Lab): Task<void> {
  yield* process.ftruncate(yield* process.open("/file", O_RDWR | O_CREAT), PMD);
}

interface Mapped { readonly fd: number; readonly map: number }

function* mapFile({ process }: Lab, flags = MAP_SHARED, lengthBytes = FILE_BYTES): Task<Mapped> {
  const fd = yield* process.open("/file", O_RDWR);
  return { fd, map: yield* process.mmap(0, lengthBytes, RW, flags, fd) };
}

/** With a second process that has the same mapping. */
interface Shared extends Mapped { readonly other: Process }

function* shareFile(lab: Lab): Task<Shared> {
  return { ...(yield* mapFile(lab)), other: yield* lab.process.fork() };
}

function* readByte(process: Process, fd: number, offsetBytes: number): Task<number> {
  const byte = new Uint8Array(1);
  yield* process.pread(fd, byte, offsetBytes);
  return byte[0]!;
}

/** Whether a call was answered before the power failed, so many times. */
function hasEnded({ recorder }: Lab, name: string, times = 1): boolean {
  return recorder.calls.filter((call) => call.name === name && call.end !== Infinity).length >= times;
}

/** What is promised after a power cut. */
function* checkByte(lab: Lab, offsetBytes: number, value: number): Task<void> {
  const fd = yield* lab.process.open("/file", O_RDWR);
  const found = yield* readByte(lab.process, fd, offsetBytes);
  lab.check(found === value, `byte ${offsetBytes} was promised as ${value}, and is ${found}`);
}

export const FAULT_SCENARIOS: readonly Scenario[] = [
  scenario({
    name: "bugs/pmd-no-split",
    description: "a private mapping of 2 MiB is read by one thread and stored into by another",
    world: DAX,
    setup: makeHugeHole,
    prepare: (lab) => mapFile(lab, MAP_PRIVATE, PMD),
    tasks: {
      *load({ process }, { map }) {
        yield* process.load(map);
      },
      *store({ process }, { map }) {
        yield* process.store(map, 7);
      },
    },
    *after(lab, { map }) {
      lab.check((yield* lab.process.load(map)) === 7, "the store is not there");
    },
  }),
  scenario({
    name: "bugs/fault-without-invalidate-lock",
    description: "a hole is punched where another process loads",
    world: DAX,
    setup: makeFile,
    prepare: shareFile,
    tasks: {
      *punch({ process }, { fd }) {
        yield* process.fallocate(fd, PUNCH, 0, PAGE);
      },
      *load(_lab, { other, map }) {
        yield* other.load(map);
      },
    },
    *after(lab, { other, map }) {
      lab.check((yield* other.load(map)) === 0, "a page of the hole is mapped with what stood there");
    },
  }),
  scenario({
    name: "bugs/handle-before-invalidate-lock",
    description: "a hole is punched where another process stores",
    world: DAX,
    setup: makeFile,
    prepare: shareFile,
    tasks: {
      *punch({ process }, { fd }) {
        yield* process.fallocate(fd, PUNCH, 0, PAGE);
      },
      *store(_lab, { other, map }) {
        yield* other.store(map, 7);
      },
    },
  }),
  scenario({
    name: "bugs/mmap-lock-under-invalidate-lock",
    description: "a file is cut off where another process loads",
    world: DAX,
    setup: makeFile,
    prepare: shareFile,
    tasks: {
      *truncate({ process }, { fd }) {
        yield* process.ftruncate(fd, PAGE);
      },
      *load(_lab, { other, map }) {
        yield* other.load(map);
      },
    },
  }),
  scenario({
    name: "bugs/commit-under-i_data_sem",
    description: "fsync, while the file gets more blocks",
    world: CACHED,
    setup: makeFile,
    prepare: (lab) => mapFile(lab),
    tasks: {
      *sync({ process }, { fd }) {
        yield* process.pwrite(fd, Uint8Array.of(7), PAGE);
        yield* process.fsync(fd);
      },
      *allocate({ process }, { fd }) {
        yield* process.fallocate(fd, FALLOC_FL_KEEP_SIZE, 4 * PAGE, PAGE);
      },
    },
  }),
  scenario({
    name: "bugs/lost-wakeup",
    description: "2 MiB of a hole are read while two pages of it are asked for by a mapping that is too small for 2 MiB",
    world: DAX,
    setup: makeHugeHole,
    *prepare(lab) {
      const mapped = yield* mapFile(lab, MAP_SHARED, PMD);
      return { ...mapped, small: yield* lab.process.mmap(0, 2 * PAGE, RW, MAP_SHARED, mapped.fd) };
    },
    tasks: {
      *huge({ process }, { map }) {
        yield* process.load(map);
      },
      *first({ process }, { small }) {
        yield* process.load(small);
      },
      *second({ process }, { small }) {
        yield* process.load(small + PAGE);
      },
    },
  }),
  scenario({
    name: "bugs/map-sync-without-commit",
    description: "a store through a MAP_SYNC mapping into a hole, flushed and fenced by the program; then the power fails",
    world: DAX,
    setup: makeFile,
    prepare: (lab) => mapFile(lab, MAP_SHARED_VALIDATE | MAP_SYNC),
    tasks: {
      *program(lab, { map }) {
        const at = map + 4 * PAGE;
        yield* lab.process.store(at, 7);
        yield* lab.recorder.call("CLWB, SFENCE", [], function* () {
          const { offsetBytes } = lab.process.mm.pageTables.find(at)!;
          if (!(lab.device instanceof PmemDevice)) return;
          lab.device.flush(offsetBytes, 1);
          lab.device.fence();
        });
      },
    },
    crash: true,
    *afterCrash(lab, before) {
      if (hasEnded(before, "CLWB, SFENCE")) yield* checkByte(lab, 4 * PAGE, 7);
    },
  }),
  scenario({
    name: "bugs/zero-page-stays",
    description: "a hole is read by one process; another stores into one page of it, and writes into the next",
    world: DAX,
    setup: makeFile,
    prepare: shareFile,
    tasks: {
      *load(_lab, { other, map }) {
        yield* other.load(map + 4 * PAGE);
        yield* other.load(map + 5 * PAGE);
      },
      *store({ process }, { fd, map }) {
        yield* process.store(map + 4 * PAGE, 7);
        yield* process.pwrite(fd, Uint8Array.of(8), 5 * PAGE);
      },
    },
    *after(lab, { other, map }) {
      lab.check((yield* other.load(map + 4 * PAGE)) === 7, "what was stored is not seen");
      lab.check((yield* other.load(map + 5 * PAGE)) === 8, "what was written is not seen");
    },
  }),
  scenario({
    name: "bugs/dax-look-before-lock",
    description: "a hole is read through a mapping while write(2) fills it",
    world: DAX,
    setup: makeFile,
    prepare: shareFile,
    tasks: {
      *load(_lab, { other, map }) {
        yield* other.load(map + 4 * PAGE);
      },
      *write({ process }, { fd }) {
        yield* process.pwrite(fd, Uint8Array.of(7), 4 * PAGE);
      },
    },
    *after(lab, { other, map }) {
      lab.check((yield* other.load(map + 4 * PAGE)) === 7, "what was written is not seen");
    },
  }),
  scenario({
    name: "bugs/dax-fsync-without-flush",
    description: "a store and msync; then the power fails",
    world: DAX,
    setup: makeFile,
    prepare: (lab) => mapFile(lab),
    tasks: {
      *program({ process }, { map }) {
        yield* process.store(map, 7);
        yield* process.msync(map, PAGE, MS_SYNC);
      },
    },
    crash: true,
    *afterCrash(lab, before) {
      if (hasEnded(before, "msync")) yield* checkByte(lab, 0, 7);
    },
  }),
  scenario({
    name: "bugs/dax-fsync-keeps-writable",
    description: "a store and fsync, another store to the same page and fsync; then the power fails",
    world: DAX,
    setup: makeFile,
    prepare: (lab) => mapFile(lab),
    tasks: {
      *program({ process }, { fd, map }) {
        for (const value of [7, 8]) {
          yield* process.store(map, value);
          yield* process.fsync(fd);
        }
      },
    },
    crash: true,
    *afterCrash(lab, before) {
      if (hasEnded(before, "fsync", 2)) yield* checkByte(lab, 0, 8);
    },
  }),
  scenario({
    name: "bugs/truncate-keeps-mapped",
    description: "a file is cut off and grows again, while a process that has it mapped stores",
    world: CACHED,
    setup: makeFile,
    *prepare(lab) {
      const shared = yield* shareFile(lab);
      yield* shared.other.store(shared.map, 6);
      return shared;
    },
    tasks: {
      *truncate({ process }, { fd }) {
        yield* process.ftruncate(fd, 0);
        yield* process.ftruncate(fd, PAGE);
      },
      *store(_lab, { other, map }) {
        yield* other.store(map, 7);
      },
    },
    mayFailWith: ["signal"],
    *after(lab, { fd, map, other }) {
      const [loaded, read] = [yield* other.load(map), yield* readByte(lab.process, fd, 0)];
      lab.check(loaded === read, `a load has ${loaded}, and read(2) has ${read}`);
    },
  }),
  scenario({
    name: "bugs/writeback-without-write-protect",
    description: "a page is stored into, and written back, and stored into",
    world: CACHED,
    setup: makeFile,
    prepare: (lab) => mapFile(lab),
    tasks: {
      *store({ process }, { map }) {
        yield* process.store(map, 7);
        yield* process.store(map, 8);
      },
      writeback: (lab) => lab.writeback(),
    },
    *after(lab, { fd, map }) {
      yield* lab.process.munmap(map, FILE_BYTES);
      yield* lab.process.fsync(fd);
      yield* lab.kernel.dropCaches();
      lab.check((yield* readByte(lab.process, fd, 0)) === 8, "the last store is not on the disk");
    },
  }),
  scenario({
    name: "bugs/fork-shares-private",
    description: "a process forks while another thread of it stores into a private page; the child's bytes do not change of themselves",
    world: CACHED,
    setup: makeFile,
    *prepare(lab) {
      const mapped = yield* mapFile(lab, MAP_PRIVATE);
      yield* lab.process.store(mapped.map, 6);
      return mapped;
    },
    tasks: {
      *fork(lab, { map }) {
        const child = yield* lab.process.fork();
        const [first, second] = [yield* child.load(map), yield* child.load(map)];
        lab.check(first === second, `the child has loaded ${first}, and then ${second}`);
      },
      *store({ process }, { map }) {
        yield* process.store(map, 7);
      },
    },
  }),
  scenario({
    name: "bugs/layout-not-broken",
    description: "a hole is punched while a device reads the page",
    world: DAX,
    setup: makeFile,
    *prepare(lab) {
      return { ...(yield* mapFile(lab)), inUse: new Set<string>() };
    },
    tasks: {
      *device(lab, { map, inUse }) {
        const [page] = yield* lab.process.getUserPages(map, 1, 0);
        // If the hole is there already, it reads zeroes, and those are nobody's.
        if (page!.data[0] === OLD) inUse.add("the block");
        yield* racePoint("DMA");
        inUse.delete("the block");
        page!.release();
      },
      *punch(lab, { fd, inUse }) {
        yield* lab.process.fallocate(fd, PUNCH, 0, PAGE);
        lab.check(!inUse.has("the block"), "the block was taken away while a device worked on it");
      },
    },
  }),
];
