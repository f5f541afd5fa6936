/** Scenarios for the engine itself: the bytes of one file, reached by every way there is at once. What is judged is what the lab knows of all bytes (sim/model); a scenario adds only what it alone knows. */
import { EXT4_JOURNAL_DATA_FL } from "../../format/inode.js";
import { MAP_PRIVATE, MAP_SHARED, MS_SYNC, PROT_READ, PROT_WRITE } from "../../mm/constants.js";
import type { Task } from "../../sched/task.js";
import { O_APPEND, O_CREAT, O_RDWR } from "../../vfs/flags.js";
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from "../../vfs/inode.js";
import type { Process } from "../../vfs/process.js";
import { Signal } from "../../vfs/signal.js";
import type { Lab } from "../lab.js";
import { scenario, type Scenario, type ScenarioDefinition, type WorldRecipe } from "../scenario.js";

const PAGE = 4096;
const BLOCK = 1024;
const RW = PROT_READ | PROT_WRITE;
const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

const DAX: WorldRecipe = { device: "pmem", mount: { dax: "always" } };
/** The flag for journaled data counts only without delayed allocation. */
const FLAGGED: WorldRecipe = { mount: { delalloc: false } };
const FLAGGED_DAX: WorldRecipe = { device: "pmem", mount: { dax: "always", delalloc: false } };

const bytesOf = (byte: number, lengthBytes: number): Uint8Array => new Uint8Array(lengthBytes).fill(byte);

/** A file of so many bytes. */
const makeFile = (lengthBytes: number) => function* ({ process }: Lab): Task<void> {
  const fd = yield* process.open("/file", O_RDWR | O_CREAT);
  yield* process.pwrite(fd, bytesOf(0x41, lengthBytes), 0);
};

interface Mapped { readonly fd: number; readonly map: number }

function* mapFile({ process }: Lab, lengthBytes = PAGE): Task<Mapped> {
  const fd = yield* process.open("/file", O_RDWR);
  return { fd, map: yield* process.mmap(0, lengthBytes, RW, MAP_SHARED, fd) };
}

function* setJournaled(process: Process, fd: number, isOn: boolean): Task<void> {
  const flags = yield* process.getflags(fd);
  yield* process.setflags(fd, isOn ? flags | EXT4_JOURNAL_DATA_FL : flags & ~EXT4_JOURNAL_DATA_FL);
}

/** Whether the process gets a signal for a load. */
function* mayNotLoad(process: Process, address: number): Task<boolean> {
  try {
    yield* process.load(address);
    return false;
  } catch (error) {
    if (!(error instanceof Signal)) throw error;
    return true;
  }
}

/** The store goes behind the end, or does not: in the page cache it is then on its way nowhere; from persistent memory nobody takes it back, and it shows if a power cut undoes that the file was cut off. */
function appendTruncateStore(name: string, where: string, world: WorldRecipe): Scenario {
  return scenario({
    name,
    description: `a file is appended to and synced, and cut off, and stored into through a mapping, ${where}`,
    world,
    setup: makeFile(1000),
    *prepare(lab) {
      return { ...(yield* mapFile(lab)), end: yield* lab.process.open("/file", O_RDWR | O_APPEND) };
    },
    tasks: {
      *append({ process }, { end }) {
        yield* process.write(end, bytesOf(0x42, 200));
        yield* process.fsync(end);
      },
      *truncate({ process }, { fd }) {
        yield* process.ftruncate(fd, 500);
      },
      *store({ process }, { map }) {
        yield* process.store(map + 600, 0x43);
        yield* process.msync(map, PAGE, MS_SYNC);
      },
    },
    crash: true,
  });
}

/** What all of them do to a file that changes its way. */
function switchEverything(definition: Pick<ScenarioDefinition<Mapped>, "name" | "description" | "world">): Scenario {
  return scenario({
    ...definition,
    setup: makeFile(2 * PAGE),
    prepare: (lab) => mapFile(lab, 2 * PAGE),
    tasks: {
      *chattr({ process }, { fd }) {
        yield* setJournaled(process, fd, true);
        yield* setJournaled(process, fd, false);
      },
      *write({ process }, { fd }) {
        yield* process.pwrite(fd, bytesOf(0x42, 600), PAGE - 300);
        yield* process.fsync(fd);
        yield* process.ftruncate(fd, PAGE + 100);
      },
      *store({ process }, { map }) {
        yield* process.store(map + PAGE - 1, 0x43);
        yield* process.load(map + PAGE - 1);
      },
      writeback: (lab) => lab.writeback(),
    },
    crash: true,
    mayFailWith: ["EBUSY"],
  });
}

/** A file grows in each way that there is, in an order that is chosen, and fdatasync follows each: the size is part of what it promises. */
function growAndSync(name: string, where: string, world: WorldRecipe): Scenario {
  return scenario({
    name,
    description: `a file grows by a write, by ftruncate and by fallocate, each followed by fdatasync, ${where}; others commit`,
    world,
    setup: makeFile(100),
    *prepare(lab) { return yield* lab.process.open("/file", O_RDWR); },
    tasks: {
      *grow(lab, fd) {
        const { process } = lab;
        const way = lab.choose(3);
        if (way === 0) yield* process.pwrite(fd, bytesOf(0x42, 100), 100);
        else if (way === 1) yield* process.ftruncate(fd, 300);
        else yield* process.fallocate(fd, 0, 0, 400);
        yield* process.fdatasync(fd);
        yield* process.pwrite(fd, bytesOf(0x43, 50), 600);
        yield* process.fdatasync(fd);
      },
      commit: (lab) => lab.commit(),
    },
    crash: true,
  });
}

export const BYTE_SCENARIOS: readonly Scenario[] = [
  growAndSync("engine/grow-fdatasync", "in the page cache", {}),
  growAndSync("engine/grow-fdatasync-dax", "in persistent memory", DAX),
  growAndSync("engine/grow-fdatasync-inline", "in the inode, and then no more", { mkfs: { features: "^resize_inode,inline_data" } }),
  appendTruncateStore("engine/append-truncate-store", "in the page cache", {}),
  appendTruncateStore("engine/append-truncate-store-dax", "in persistent memory", DAX),
  scenario({
    name: "engine/fallocate-writeback",
    description: "a hole is punched into a file, written into, and filled with space that is set aside, while its pages are written back and transactions are committed",
    setup: makeFile(3 * BLOCK),
    prepare: (lab) => mapFile(lab),
    tasks: {
      *change({ process }, { fd }) {
        yield* process.pwrite(fd, bytesOf(0x42, BLOCK), 2 * BLOCK);
        yield* process.fallocate(fd, PUNCH, BLOCK, 2 * BLOCK);
        yield* process.pwrite(fd, bytesOf(0x43, 300), 2 * BLOCK + 100);
        yield* process.fallocate(fd, 0, BLOCK, 3 * BLOCK);
      },
      writeback: (lab) => lab.writeback(),
      commit: (lab) => lab.commit(),
    },
    crash: true,
  }),
  scenario({
    name: "engine/fork-punch",
    description: "a process forks that has a file mapped privately and for all, while a hole is punched into it and another thread stores",
    setup: makeFile(PAGE),
    *prepare(lab) {
      const { fd, map: shared } = yield* mapFile(lab);
      const own = yield* lab.process.mmap(0, PAGE, RW, MAP_PRIVATE, fd);
      yield* lab.process.store(own, 6);
      return { fd, shared, own };
    },
    tasks: {
      *fork(lab, { shared, own }) {
        const child = yield* lab.process.fork();
        yield* child.store(own, 8);
        yield* child.load(shared + 1);
        const found = yield* child.load(own);
        lab.check(found === 8, `the child has stored 8 into its own page, and loads ${found}`);
      },
      *punch({ process }, { fd }) {
        yield* process.fallocate(fd, PUNCH, 0, PAGE);
      },
      *store(lab, { shared, own }) {
        yield* lab.process.store(shared + 1, 7);
        yield* lab.process.store(own + 1, 9);
        const found = yield* lab.process.load(own);
        lab.check(found === 6, `the process has 6 in its own page, and loads ${found}`);
      },
    },
  }),
  switchEverything({
    name: "engine/switch-everything",
    description: "chattr +j and -j, while the file is written, synced, cut off, stored into, and written back",
    world: FLAGGED,
  }),
  switchEverything({
    name: "engine/switch-everything-dax",
    description: "the same in persistent memory, where the file's pages come and go with the flag: refused as long as it is mapped, or done with --strategy rebuild",
    world: FLAGGED_DAX,
  }),
  scenario({
    name: "engine/read-write-atomic-bytes",
    description: "the same bytes are read, written, loaded and stored; each of them is at any time what one of these left",
    setup: makeFile(PAGE + 8),
    prepare: (lab) => mapFile(lab, 2 * PAGE),
    tasks: {
      *write({ process }, { fd }) {
        yield* process.pwrite(fd, bytesOf(0x42, 8), PAGE - 4);
        yield* process.pread(fd, new Uint8Array(8), PAGE - 4);
      },
      *read({ process }, { fd, map }) {
        yield* process.pread(fd, new Uint8Array(8), PAGE - 4);
        yield* process.load(map + PAGE - 4, 4);
      },
      *store({ process }, { map }) {
        yield* process.store(map + PAGE - 4, 0x4343_4343, 4);
        yield* process.store(map + PAGE, 0x4343_4343, 4);
        yield* process.load(map + PAGE - 4, 4);
      },
    },
  }),
  scenario({
    name: "engine/write-during-writeback",
    description: "a file's last page is written or stored into while it is written back; when memory has dropped what it takes for clean, the disk has it all",
    setup: makeFile(3000),
    *prepare(lab) {
      const mapped = yield* mapFile(lab);
      yield* lab.process.store(mapped.map, 0x42);
      return mapped;
    },
    tasks: {
      writeback: (lab) => lab.writeback(),
      *change({ process, choose }, { fd, map }) {
        if (choose(2) === 0) yield* process.store(map + 2500, 0x43);
        else yield* process.pwrite(fd, bytesOf(0x44, BLOCK), BLOCK);
      },
    },
    *after(lab, { map }) {
      yield* lab.process.munmap(map, PAGE);
      yield* lab.kernel.dropCaches();
    },
  }),
  scenario({
    name: "engine/truncate-during-writeback",
    description: "a file is cut off, and grows again, while pages that have no blocks yet are written back",
    setup: makeFile(PAGE),
    *prepare(lab) {
      const { fd } = yield* mapFile(lab);
      yield* lab.process.pwrite(fd, bytesOf(0x42, PAGE), PAGE);
      return fd;
    },
    tasks: {
      writeback: (lab) => lab.writeback(),
      *truncate({ process }, fd) {
        yield* process.ftruncate(fd, 100);
        yield* process.ftruncate(fd, 2 * PAGE);
      },
    },
  }),
  scenario({
    name: "engine/truncate-private-copy",
    description: "a file is cut off where a process has a copy of its own and stores into it: behind the end the copy is no longer there",
    setup: makeFile(2 * PAGE),
    *prepare({ process }) {
      const fd = yield* process.open("/file", O_RDWR);
      const map = yield* process.mmap(0, 2 * PAGE, RW, MAP_PRIVATE, fd);
      yield* process.store(map + PAGE, 1);
      return { fd, map };
    },
    tasks: {
      *truncate(lab, { fd, map }) {
        yield* lab.process.ftruncate(fd, 100);
        lab.check(yield* mayNotLoad(lab.process, map + PAGE), "a private copy behind the end can still be loaded");
      },
      *store({ process }, { map }) {
        yield* process.store(map + PAGE + 1, 2);
      },
    },
    mayFailWith: ["signal"],
  }),
  scenario({
    name: "engine/write-evict-during-read",
    description: "a page is read from disk while another task writes it, syncs it, and memory drops it",
    setup: makeFile(PAGE),
    prepare: (lab) => mapFile(lab),
    tasks: {
      *load({ process }, { map }) {
        yield* process.load(map);
        yield* process.load(map);
      },
      *write(lab, { fd }) {
        yield* lab.process.pwrite(fd, bytesOf(0x42, PAGE), 0);
        yield* lab.process.fsync(fd);
        yield* lab.recorder.call("dropCaches", [], () => lab.kernel.dropCaches());
      },
    },
  }),
  scenario({
    name: "engine/two-pages-of-memory",
    description: "a file of four pages is written, stored into and read where the page cache has room for two: nothing is dropped that the disk has not",
    world: { mount: { pageCacheBytes: 2 * PAGE } },
    setup: makeFile(4 * PAGE),
    prepare: (lab) => mapFile(lab, 4 * PAGE),
    tasks: {
      *write({ process }, { fd }) {
        yield* process.pwrite(fd, bytesOf(0x42, 100), 10);
        yield* process.pread(fd, new Uint8Array(3 * PAGE), PAGE);
        yield* process.pread(fd, new Uint8Array(100), 10);
      },
      *store({ process }, { map }) {
        yield* process.store(map + PAGE, 0x61);
        for (const page of [2, 3, 1]) yield* process.load(map + page * PAGE);
      },
    },
  }),
  scenario({
    name: "engine/small-memory",
    description: "a file of more pages than the page cache has room for is written, stored into and read",
    setup: makeFile(2 * PAGE),
    prepare: (lab) => mapFile(lab, 4 * PAGE),
    tasks: {
      *write({ process }, { fd }) {
        for (let page = 3; page >= 0; page--) yield* process.pwrite(fd, bytesOf(0x42 + page, 100), page * PAGE);
      },
      *store({ process }, { map }) {
        yield* process.store(map, 0x61);
        yield* process.store(map + PAGE, 0x62);
        yield* process.load(map);
      },
      *read({ process }, { fd }) {
        yield* process.pread(fd, new Uint8Array(2 * PAGE), 0);
      },
    },
    faults: { memory: true },
  }),
];
