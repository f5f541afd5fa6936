/**
 * Small worlds in which the planted bugs of journal, writeback, orphans and fsync show (sim/bugs/journal-bugs.ts). The engine as it ships passes each of them. What is checked is what the lab promises by
 * itself: what was synced is there, and nobody reads bytes that nobody wrote there.
 */
import { EXT4_JOURNAL_DATA_FL } from "../../format/inode.js";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../../mm/constants.js";
import type { Task } from "../../sched/task.js";
import { O_CREAT, O_RDWR } from "../../vfs/flags.js";
import type { Process } from "../../vfs/process.js";
import type { Lab } from "../lab.js";
import { scenario, type Scenario, type WorldRecipe } from "../scenario.js";

const BLOCK = 1024;
/** What the file has, what is written now, and what stands in free blocks. */
const [OLD, NEW, STALE] = [0x4f, 0x4e, 0x53] as const;
/** Where the flag for journaled data counts. */
const FLAGGED: WorldRecipe = { mount: { delalloc: false } };
/** A log and little else: soon full. */
const SMALL: WorldRecipe = { sizeBytes: 2.125 * 2 ** 20 };

interface Opened { readonly fd: number }

function* openFile({ process }: Lab): Task<Opened> {
  return { fd: yield* process.open("/file", O_RDWR | O_CREAT) };
}

const block = (byte: number): Uint8Array => new Uint8Array(BLOCK).fill(byte);

/** A file of one block. */
function* makeFile(lab: Lab): Task<void> {
  const { fd } = yield* openFile(lab);
  yield* lab.process.pwrite(fd, block(OLD), 0);
}

function* setJournaled(process: Process, fd: number, isOn: boolean): Task<void> {
  const flags = yield* process.getflags(fd);
  yield* process.setflags(fd, isOn ? flags | EXT4_JOURNAL_DATA_FL : flags & ~EXT4_JOURNAL_DATA_FL);
}

function* makeJournaledFile(lab: Lab): Task<void> {
  yield* setJournaled(lab.process, (yield* openFile(lab)).fd, true);
}

/** The newest bytes of the file are in the log. */
function* openJournaledFile(lab: Lab): Task<Opened> {
  const { fd } = yield* openFile(lab);
  yield* lab.process.pwrite(fd, block(OLD), 0);
  yield* lab.process.fsync(fd);
  return { fd };
}

/** All free blocks have been another file's. */
function* leaveStaleBytes({ process, fs }: Lab): Task<void> {
  const fd = yield* process.open("/filler", O_RDWR | O_CREAT);
  yield* process.pwrite(fd, new Uint8Array((yield* fs.statfs()).bavail * BLOCK).fill(STALE), 0);
  yield* process.close(fd);
  yield* process.sync();
  yield* process.unlink("/filler");
  yield* process.sync();
}

function* writeAndSync({ process }: Lab, { fd }: Opened): Task<void> {
  yield* process.pwrite(fd, block(NEW), 0);
  yield* process.fsync(fd);
}

/** @param before what happens to the file, and is durable, before it is written to. */
function overStaleBlocks(name: string, description: string, before: (lab: Lab, fd: number) => Task<void>): Scenario {
  return scenario({
    name, description,
    world: SMALL,
    setup: leaveStaleBytes,
    *prepare(lab) {
      const { fd } = yield* openFile(lab);
      yield* before(lab, fd);
      yield* lab.process.fsync(fd);
      return { fd };
    },
    tasks: {
      write: writeAndSync,
      commit: (lab) => lab.commit(),
    },
    crash: true,
  });
}

export const JOURNAL_SCENARIOS: readonly Scenario[] = [
  scenario({
    name: "bugs/freed-metadata-block",
    description: "a directory is in the log, and removed; its block becomes a file's, while the log goes home",
    setup: makeFile,
    // The directory has the first free block, which is the one behind the file's.
    *prepare(lab) {
      yield* lab.process.mkdir("/directory", 0o755);
      yield* lab.commit();
      yield* lab.process.rmdir("/directory");
      yield* lab.commit();
      return yield* openFile(lab);
    },
    tasks: {
      *write({ process }, { fd }) {
        yield* process.pwrite(fd, block(OLD), BLOCK);
        yield* process.fsync(fd);
      },
      checkpoint: (lab) => lab.checkpoint(),
    },
    crash: true,
  }),
  scenario({
    name: "bugs/create-and-fsync",
    description: "a file is made, written and synced; then the power fails, perhaps again while the log is recovered",
    prepare: openFile,
    tasks: {
      write: writeAndSync,
    },
    crash: true,
  }),
  scenario({
    name: "bugs/fsync-and-checkpoint",
    description: "a file is made, written and synced, and the log goes home",
    prepare: openFile,
    tasks: {
      write: writeAndSync,
      checkpoint: (lab) => lab.checkpoint(),
    },
    crash: true,
  }),
  overStaleBlocks("bugs/new-blocks-and-commit", "a file gets blocks that were another's, while somebody else commits", function* () {}),
  overStaleBlocks("bugs/preallocated-and-commit", "a file with preallocated blocks, which were another's, is written to, while somebody else commits", ({ process }, fd) => process.fallocate(fd, 0, 0, BLOCK)),
  scenario({
    name: "bugs/unlink-open",
    description: "a file loses its name while it is open, and that is committed",
    setup: makeFile,
    prepare: openFile,
    tasks: {
      *unlink(lab) {
        yield* lab.process.unlink("/file");
        yield* lab.commit();
      },
    },
    crash: true,
  }),
  scenario({
    name: "bugs/overwrite-and-fdatasync",
    description: "a block is written over, and synced",
    setup: makeFile,
    prepare: openFile,
    tasks: {
      *write({ process }, { fd }) {
        yield* process.pwrite(fd, block(NEW), 0);
        yield* process.fdatasync(fd);
      },
    },
    crash: true,
  }),
  scenario({
    name: "bugs/append-and-fdatasync",
    description: "a file grows within its block, and is synced",
    *setup(lab) {
      const { fd } = yield* openFile(lab);
      yield* lab.process.pwrite(fd, block(NEW).subarray(0, 100), 0);
    },
    prepare: openFile,
    tasks: {
      *write({ process }, { fd }) {
        yield* process.pwrite(fd, block(NEW).subarray(0, 100), 100);
        yield* process.fdatasync(fd);
      },
    },
    crash: true,
  }),
  scenario({
    name: "bugs/no-longer-journaled",
    description: "a file whose data is in the log leaves journaled mode, is written over, and synced",
    world: FLAGGED,
    setup: makeJournaledFile,
    prepare: openJournaledFile,
    tasks: {
      *write({ process }, { fd }) {
        yield* setJournaled(process, fd, false);
        yield* process.pwrite(fd, block(NEW), 0);
        yield* process.fdatasync(fd);
      },
    },
    crash: true,
  }),
  scenario({
    name: "bugs/dirty-and-no-longer-journaled",
    description: "a file whose data is in the log is stored into, and leaves journaled mode",
    world: FLAGGED,
    setup: makeJournaledFile,
    *prepare(lab) {
      const { fd } = yield* openJournaledFile(lab);
      return { fd, map: yield* lab.process.mmap(0, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd) };
    },
    tasks: {
      *store({ process }, { map }) {
        yield* process.store(map, NEW);
      },
      *chattr({ process }, { fd }) {
        yield* setJournaled(process, fd, false);
      },
    },
  }),
  scenario({
    name: "bugs/chmod-after-remount",
    description: "a filesystem that was mounted before is changed, and that is committed",
    // Transactions of the same few blocks as that of the run.
    *setup(lab) {
      for (const mode of [0o700, 0o711]) {
        yield* lab.process.chmod("/", mode);
        yield* lab.commit();
      }
    },
    *prepare() {},
    tasks: {
      *chmod(lab) {
        yield* lab.process.chmod("/", 0o755);
        yield* lab.commit();
      },
    },
    crash: true,
    *afterCrash(lab, before) {
      const mode = (yield* lab.process.stat("/")).stx_mode & 0o777;
      const isPromised = before.recorder.calls.some(({ name, end }) => name === "commit" && end !== Infinity);
      if (isPromised) lab.check(mode === 0o755, `the mode is 0${mode.toString(8)}, and was promised to be 0755`);
    },
  }),
];
