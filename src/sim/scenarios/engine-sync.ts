/** Scenarios for the engine itself: what fsync, sync and syncfs promise, of bytes and of names, and what programs count on that replace a file's content and sync nothing. */
import { EXT4_JOURNAL_DATA_FL } from "../../format/inode.js";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../../mm/constants.js";
import type { Task } from "../../sched/task.js";
import { O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR } from "../../vfs/flags.js";
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from "../../vfs/inode.js";
import type { Lab } from "../lab.js";
import { scenario, type Scenario, type ScenarioDefinition } from "../scenario.js";

const PAGE = 4096;
const BLOCK = 1024;
const CONTENT_BYTES = 2000;
const OLD = 0x41;
const NEW = 0x42;

const bytesOf = (byte: number, lengthBytes: number): Uint8Array => new Uint8Array(lengthBytes).fill(byte);

const openFile = ({ process }: Lab): Task<number> => process.open("/file", O_RDWR);

/** The file's content is replaced by another one, and committed some time later. */
function replaceContent(definition: Pick<ScenarioDefinition<void>, "name" | "description" | "tasks">, isPromised: (before: Lab) => boolean): Scenario {
  return scenario({
    ...definition,
    world: { files: { "/file": bytesOf(OLD, CONTENT_BYTES) } },
    *afterCrash(lab, before) {
      if (!isPromised(before)) return;
      const found = new Uint8Array(2 * CONTENT_BYTES);
      const count = yield* lab.process.pread(yield* openFile(lab), found, 0);
      const isWhole = [OLD, NEW].some((byte) => found.subarray(0, count).every((each) => each === byte));
      lab.check(count === CONTENT_BYTES && isWhole, `the file has neither the old content nor the new one, but ${count} bytes`);
    },
    crash: true,
  });
}

export const SYNC_SCENARIOS: readonly Scenario[] = [
  scenario({
    name: "engine/sync-overwrite",
    description: "bytes are written over that a commit leaves behind, then sync or syncfs, while others write and make a file",
    world: { files: { "/file": bytesOf(OLD, BLOCK), "/other": bytesOf(OLD, BLOCK) } },
    prepare: openFile,
    tasks: {
      *sync(lab, fd) {
        yield* lab.process.pwrite(fd, bytesOf(NEW, BLOCK), 0);
        yield* lab.commit();
        yield* lab.choose(2) === 0 ? lab.process.sync() : lab.process.syncfs(fd);
      },
      *write({ process }) {
        const fd = yield* process.open("/other", O_RDWR);
        yield* process.pwrite(fd, bytesOf(0x43, BLOCK), 100);
        yield* process.open("/new", O_RDWR | O_CREAT);
      },
    },
    crash: true,
  }),
  scenario({
    name: "engine/mkdir-fsync-root",
    description: "directories are made in the root, which is synced, and one goes again",
    prepare: ({ process }) => process.open("/", O_RDONLY | O_DIRECTORY),
    tasks: {
      *make({ process }, root) {
        yield* process.mkdir("/first");
        yield* process.fsync(root);
      },
      *replace({ process }, root) {
        yield* process.mkdir("/second");
        yield* process.rmdir("/second");
        yield* process.fsync(root);
      },
    },
    crash: true,
  }),
  replaceContent({
    name: "engine/replace-by-rename",
    description: "a file is written, closed and renamed over another one, and nobody syncs: the name leads to the old content or to the new one",
    tasks: {
      *replace({ process }) {
        const fd = yield* process.open("/new", O_RDWR | O_CREAT);
        yield* process.pwrite(fd, bytesOf(NEW, CONTENT_BYTES), 0);
        yield* process.close(fd);
        yield* process.rename("/new", "/file");
      },
      *commit(lab) {
        yield* lab.commit();
        yield* lab.commit();
      },
    },
  }, () => true),
  replaceContent({
    name: "engine/replace-in-place",
    description: "a file is cut off, written anew and closed, and nobody syncs: when that is committed, the new content is there",
    tasks: {
      *replace(lab) {
        const fd = yield* openFile(lab);
        yield* lab.process.ftruncate(fd, 0);
        yield* lab.process.pwrite(fd, bytesOf(NEW, CONTENT_BYTES), 0);
        yield* lab.process.close(fd);
        yield* lab.commit();
      },
      writeback: (lab) => lab.writeback(),
    },
  }, ({ recorder }) => recorder.calls.some(({ name, end }) => name === "commit" && end !== Infinity)),
  scenario({
    name: "engine/shrink-grow-sync",
    description: "a file is cut off within a block, and grows again within it; both are synced, and what was cut off is zero from then on",
    world: { files: { "/file": bytesOf(OLD, 1000) } },
    prepare: openFile,
    tasks: {
      *resize({ process }, fd) {
        yield* process.ftruncate(fd, 500);
        yield* process.fsync(fd);
        yield* process.ftruncate(fd, 900);
        yield* process.fsync(fd);
      },
      commit: (lab) => lab.commit(),
    },
    crash: true,
  }),
  scenario({
    name: "engine/grow-mapped-page",
    description: "a file that ends within a page that somebody has stored into grows within that page, is stored into there, and synced",
    world: { files: { "/file": bytesOf(OLD, 500) } },
    *prepare(lab) {
      const fd = yield* openFile(lab);
      const map = yield* lab.process.mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
      yield* lab.process.store(map, 1);
      return { fd, map };
    },
    tasks: {
      *grow({ process }, { fd, map }) {
        yield* process.ftruncate(fd, 3000);
        yield* process.store(map + 2000, 7);
        yield* process.fsync(fd);
      },
      writeback: (lab) => lab.writeback(),
    },
    crash: true,
  }),
  scenario({
    name: "engine/append-during-writeback",
    description: "a file is appended to, behind a hole in its last page, while that page is written back and committed: its size follows the data",
    world: { files: { "/file": bytesOf(OLD, BLOCK) } },
    *prepare(lab) {
      const fd = yield* openFile(lab);
      yield* lab.process.pwrite(fd, bytesOf(NEW, 10), BLOCK);
      return fd;
    },
    tasks: {
      *writeback(lab) {
        yield* lab.writeback();
        yield* lab.commit();
      },
      *append({ process }, fd) {
        yield* process.pwrite(fd, bytesOf(0x43, BLOCK), 2 * BLOCK);
      },
    },
    crash: true,
  }),
  scenario({
    name: "engine/fsync-during-truncate",
    description: "a file is written over, and cut off to nothing, while another task syncs it",
    world: { files: { "/file": bytesOf(OLD, BLOCK) } },
    prepare: openFile,
    tasks: {
      *truncate({ process }, fd) {
        yield* process.pwrite(fd, bytesOf(NEW, BLOCK), 0);
        yield* process.ftruncate(fd, 0);
      },
      *sync({ process }, fd) {
        yield* process.fsync(fd);
      },
    },
    crash: true,
  }),
  scenario({
    name: "engine/write-new-block-dax",
    description: "a file in persistent memory is written into behind its end, where it has no block yet, while others commit",
    world: { device: "pmem", mount: { dax: "always" }, files: { "/file": bytesOf(OLD, 100) } },
    prepare: openFile,
    tasks: {
      *write({ process }, fd) {
        yield* process.pwrite(fd, bytesOf(NEW, 100), PAGE);
      },
      commit: (lab) => lab.commit(),
    },
    crash: true,
  }),
  scenario({
    name: "engine/failing-data-write",
    description: "a block is written over and synced, by a device of whose requests one fails: fsync says so, or the block is there",
    world: { files: { "/file": bytesOf(OLD, BLOCK) } },
    prepare: openFile,
    tasks: {
      *write({ process }, fd) {
        yield* process.pwrite(fd, bytesOf(NEW, BLOCK), 0);
        yield* process.fsync(fd);
      },
    },
    crash: true,
    faults: { requests: true },
  }),
  scenario({
    name: "engine/punch-end",
    description: "the last bytes of a file, which no disk has, are punched out, while others write back",
    world: { files: { "/file": bytesOf(OLD, 1500) } },
    prepare: openFile,
    tasks: {
      *punch({ process }, fd) {
        yield* process.pwrite(fd, bytesOf(NEW, 600), 1500);
        yield* process.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLOCK, 3000);
        yield* process.fsync(fd);
      },
      writeback: (lab) => lab.writeback(),
    },
    crash: true,
  }),
  scenario({
    name: "engine/chmod-chown",
    description: "a file gets another mode, and another owner",
    world: { files: { "/file": "" } },
    tasks: {
      *mode({ process }) { yield* process.chmod("/file", 0o640); },
      *owner({ process }) { yield* process.chown("/file", 1000, 1000); },
    },
  }),
  scenario({
    name: "engine/failing-switch",
    description: "chattr -j empties the log, another task writes and syncs, and a request fails",
    world: { mount: { delalloc: false } },
    *setup({ process }) {
      const fd = yield* process.open("/file", O_RDWR | O_CREAT);
      yield* process.setflags(fd, (yield* process.getflags(fd)) | EXT4_JOURNAL_DATA_FL);
      yield* process.pwrite(fd, bytesOf(OLD, BLOCK), 0);
    },
    prepare: openFile,
    tasks: {
      *chattr({ process }, fd) { yield* process.setflags(fd, (yield* process.getflags(fd)) & ~EXT4_JOURNAL_DATA_FL); },
      *write({ process }, fd) {
        yield* process.pwrite(fd, bytesOf(NEW, BLOCK), 0);
        yield* process.fsync(fd);
      },
    },
    crash: true,
    faults: { requests: true },
  }),
];
