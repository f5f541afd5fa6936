/** Scenarios for the engine itself, as it ships: names and the journal, and what may be wrong from outside; those of a file's bytes stand in engine-bytes.ts. All pass, under every schedule and every cut. */
import type { Task } from "../../sched/task.js";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../../mm/constants.js";
import { O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR } from "../../vfs/flags.js";
import type { Lab } from "../lab.js";
import { scenario, type Scenario, type ScenarioDefinition } from "../scenario.js";
import { BYTE_SCENARIOS } from "./engine-bytes.js";
import { SYNC_SCENARIOS } from "./engine-sync.js";

const BLOCK = 1024;
const PAGE = 4096;

const bytesOf = (byte: number, lengthBytes: number): Uint8Array => new Uint8Array(lengthBytes).fill(byte);

/** A file with bytes in it. */
function* makeFile({ process }: Lab, path: string, byte: number, lengthBytes = 100): Task<void> {
  const fd = yield* process.open(path, O_RDWR | O_CREAT);
  yield* process.pwrite(fd, bytesOf(byte, lengthBytes), 0);
  yield* process.close(fd);
}

function* openFile({ process }: Lab, path = "/file"): Task<{ readonly fd: number }> {
  return { fd: yield* process.open(path, O_RDWR) };
}

function* nothingToPrepare(): Task<void> {}

const INDEXED_NAMES = 7;
/** Five of them fill more than a block: the directory has an index, and a leaf of it splits when the next ones come. */
const longPath = (at: number): string => `/directory/${String(at).repeat(200)}`;

/** Names in an indexed directory. */
function changeIndexed(definition: Pick<ScenarioDefinition<number>, "name" | "description" | "crash">): Scenario {
  return scenario({
    ...definition,
    *setup(lab) {
      yield* lab.process.mkdir("/directory");
      for (let at = 0; at < INDEXED_NAMES; at++) yield* makeFile(lab, longPath(at), 0x41, 1);
    },
    prepare: ({ process }) => process.open("/directory", O_RDONLY | O_DIRECTORY),
    tasks: {
      *make({ process }, directory) {
        for (const at of [7, 8]) yield* process.open(longPath(at), O_RDWR | O_CREAT);
        yield* process.fsync(directory);
      },
      *move({ process }) {
        yield* process.rename(longPath(0), longPath(9));
        yield* process.unlink(longPath(1));
      },
    },
  });
}

const NAME_SCENARIOS: readonly Scenario[] = [
  scenario({
    name: "engine/rename-unlink",
    description: "a file is renamed over another one in another directory, while somebody unlinks either",
    *setup(lab) {
      yield* lab.process.mkdir("/from");
      yield* lab.process.mkdir("/to");
      yield* makeFile(lab, "/from/source", 0x41);
      yield* makeFile(lab, "/to/target", 0x42);
    },
    *prepare({ process }) {
      return { directory: yield* process.open("/to", O_RDONLY | O_DIRECTORY) };
    },
    tasks: {
      *rename({ process }, { directory }) {
        yield* process.rename("/from/source", "/to/target");
        yield* process.fsync(directory);
      },
      *unlinkSource({ process }) {
        yield* process.unlink("/from/source");
      },
      *unlinkTarget({ process }) {
        yield* process.unlink("/to/target");
      },
    },
    crash: true,
    mayFailWith: ["ENOENT"],
  }),
  scenario({
    name: "engine/create-link-crash",
    description: "names are made, and go, in a directory that is synced",
    *setup(lab) {
      yield* lab.process.mkdir("/directory");
      yield* makeFile(lab, "/directory/old", 0x41);
    },
    *prepare({ process }) {
      return { directory: yield* process.open("/directory", O_RDONLY | O_DIRECTORY) };
    },
    tasks: {
      *create({ process }, { directory }) {
        yield* process.open("/directory/new", O_RDWR | O_CREAT);
        yield* process.fsync(directory);
      },
      *link({ process }) {
        yield* process.link("/directory/old", "/directory/link");
        yield* process.unlink("/directory/old");
      },
      commit: (lab) => lab.commit(),
    },
    crash: true,
  }),
  scenario({
    name: "engine/orphans",
    description: "an open file loses its name, is cut off and closed, while transactions are committed",
    setup: (lab) => makeFile(lab, "/file", 0x41, 3 * BLOCK),
    prepare: (lab) => openFile(lab),
    tasks: {
      *unlink({ process }) {
        yield* process.unlink("/file");
      },
      *truncate({ process }, { fd }) {
        yield* process.ftruncate(fd, BLOCK + 100);
        yield* process.close(fd);
      },
      *commit(lab) {
        yield* lab.commit();
        yield* lab.commit();
      },
    },
    crash: true,
  }),
  changeIndexed({ name: "engine/indexed-directory", description: "two tasks make, move and remove names in a directory that has an index" }),
  changeIndexed({ name: "engine/indexed-directory-crash", description: "the same, and the power fails", crash: true }),
];

const JOURNAL_SCENARIOS: readonly Scenario[] = [
  scenario({
    name: "engine/commit-checkpoint-fsync",
    description: "two files are written and synced, while the journal is committed, and goes home",
    *setup(lab) {
      yield* makeFile(lab, "/first", 0x41);
      yield* makeFile(lab, "/second", 0x42);
    },
    *prepare(lab) {
      return { first: (yield* openFile(lab, "/first")).fd, second: (yield* openFile(lab, "/second")).fd };
    },
    tasks: {
      *first({ process }, { first }) {
        yield* process.pwrite(first, bytesOf(0x43, BLOCK), BLOCK);
        yield* process.fsync(first);
      },
      *second({ process }, { second }) {
        yield* process.pwrite(second, bytesOf(0x44, 100), 100);
        yield* process.fsync(second);
      },
      commit: (lab) => lab.commit(),
      checkpoint: (lab) => lab.checkpoint(),
    },
    crash: true,
  }),
  scenario({
    name: "engine/freed-while-going-home",
    description: "a directory goes while the journal writes its block home, and a file takes the block",
    setup: (lab) => makeFile(lab, "/file", 0x41, BLOCK),
    *prepare(lab) {
      yield* lab.process.mkdir("/directory");
      yield* lab.commit();
      return yield* openFile(lab);
    },
    tasks: {
      checkpoint: (lab) => lab.checkpoint(),
      *reuse(lab, { fd }) {
        yield* lab.process.rmdir("/directory");
        yield* lab.commit();
        yield* lab.process.pwrite(fd, bytesOf(0x42, BLOCK), BLOCK);
        yield* lab.process.fsync(fd);
      },
    },
    after: (lab) => lab.kernel.dropCaches(),
  }),
  scenario({
    name: "engine/freeze-thaw",
    description: "a filesystem is frozen and thawed, while a file is written, synced and stored into; what is on the device stays meanwhile",
    setup: (lab) => makeFile(lab, "/file", 0x41, PAGE),
    *prepare(lab) {
      const { fd } = yield* openFile(lab);
      return { fd, map: yield* lab.process.mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd) };
    },
    tasks: {
      *freeze(lab) {
        yield* lab.recorder.call("freeze", [], () => lab.kernel.freeze());
        const before = lab.device.bytes.slice();
        yield* lab.recorder.call("thaw", [], function* () {
          const { bytes, changedPages } = lab.device;
          const isSame = [...changedPages].every((page) => bytes.subarray(page * PAGE, (page + 1) * PAGE).every((byte, at) => byte === before[page * PAGE + at]));
          lab.check(isSame, "the device has changed while the filesystem was frozen");
          yield* lab.kernel.thaw();
        });
      },
      *write({ process }, { fd }) {
        yield* process.pwrite(fd, bytesOf(0x42, 100), 0);
        yield* process.fsync(fd);
      },
      *store({ process }, { map }) {
        yield* process.store(map + 200, 0x43);
      },
      writeback: (lab) => lab.writeback(),
    },
    crash: true,
  }),
];

const FAULT_SCENARIOS: readonly Scenario[] = [
  scenario({
    name: "engine/out-of-space",
    description: "a file is written and synced and a directory is made, with so many blocks left",
    setup: (lab) => makeFile(lab, "/file", 0x41),
    prepare: (lab) => openFile(lab),
    tasks: {
      *write({ process }, { fd }) {
        yield* process.pwrite(fd, bytesOf(0x42, 2 * BLOCK), BLOCK);
        yield* process.fsync(fd);
        yield* process.pwrite(fd, bytesOf(0x43, BLOCK), 8 * BLOCK);
      },
      *mkdir({ process }) {
        yield* process.mkdir("/directory");
        yield* process.open("/directory/file", O_RDWR | O_CREAT);
      },
      writeback: (lab) => lab.writeback(),
    },
    faults: { space: true },
  }),
  scenario({
    name: "engine/failing-requests",
    description: "a file is made, written, synced and renamed over another, by a device of whose requests one fails",
    setup: (lab) => makeFile(lab, "/old", 0x41),
    prepare: nothingToPrepare,
    tasks: {
      *create({ process }) {
        const fd = yield* process.open("/new", O_RDWR | O_CREAT);
        yield* process.pwrite(fd, bytesOf(0x42, BLOCK), 0);
        yield* process.fsync(fd);
        yield* process.rename("/new", "/old");
      },
      *journal(lab) {
        yield* lab.commit();
        yield* lab.checkpoint();
      },
    },
    faults: { requests: true },
  }),
];

export const ENGINE_SCENARIOS: readonly Scenario[] = [...NAME_SCENARIOS, ...BYTE_SCENARIOS, ...SYNC_SCENARIOS, ...JOURNAL_SCENARIOS, ...FAULT_SCENARIOS];
