/**
 * Names that two tasks make, move and remove at once. Few scenarios check anything: the judge of names says whether what the calls came to fits one order. Where a path is walked before a directory is locked, the
 * other task may come in between: what was found may have been moved, be about to go, or have gone.
 */
import { FsError } from "../../lib/errno.js";
import type { Task } from "../../sched/task.js";
import { O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_RDWR } from "../../vfs/flags.js";
import { RENAME_EXCHANGE } from "../../vfs/inode.js";
import type { Process } from "../../vfs/process.js";
import type { Lab } from "../lab.js";
import { scenario, type Scenario } from "../scenario.js";

function* makeFile({ process }: Lab, path: string): Task<void> {
  yield* process.close(yield* process.open(path, O_RDWR | O_CREAT));
}

function* nothingToPrepare(): Task<void> {}

/** What a call that lost a race may come to: which of it is right, the judge knows. */
const LOST = ["ENOENT", "EEXIST", "ENOTEMPTY"];

function intoRemoved(kind: string, make: (lab: Lab) => Task<void>): Scenario {
  return scenario({
    name: `names/${kind}-rmdir`,
    description: `a ${kind} makes a name in a directory that is removed: the directory is not empty, or there is no place for the name`,
    *setup(lab) {
      yield* lab.process.mkdir("/directory");
      yield* makeFile(lab, "/file");
    },
    prepare: nothingToPrepare,
    tasks: {
      make,
      *rmdir({ process }) {
        yield* process.rmdir("/directory");
      },
    },
    mayFailWith: LOST,
  });
}

/** False: it is not, by this path. */
function* isThere(process: Process, path: string): Task<boolean> {
  try {
    yield* process.close(yield* process.open(path, O_RDONLY));
    return true;
  } catch (error) {
    if (!(error instanceof FsError) || error.code !== "ENOENT") throw error;
    return false;
  }
}

export const NAME_SCENARIOS: readonly Scenario[] = [
  scenario({
    name: "names/create-unlink",
    description: "a file is opened with O_CREAT while it is unlinked: it is there or it is made, so that ENOENT is no answer",
    setup: (lab) => makeFile(lab, "/file"),
    prepare: nothingToPrepare,
    tasks: {
      *create({ process }) {
        yield* process.open("/file", O_RDWR | O_CREAT);
      },
      *unlink({ process }) {
        yield* process.unlink("/file");
      },
    },
  }),
  scenario({
    name: "names/create-create-unlink",
    description: "two open one name with O_CREAT while it is unlinked",
    setup: (lab) => makeFile(lab, "/file"),
    prepare: nothingToPrepare,
    tasks: {
      *first({ process }) {
        yield* process.open("/file", O_RDWR | O_CREAT);
      },
      *second({ process }) {
        yield* process.open("/file", O_RDWR | O_CREAT);
      },
      *unlink({ process }) {
        yield* process.unlink("/file");
      },
    },
  }),
  scenario({
    name: "names/create-exclusive",
    description: "two make one file with O_EXCL: one of them has made it",
    prepare: nothingToPrepare,
    tasks: {
      *first({ process }) {
        yield* process.open("/file", O_RDWR | O_CREAT | O_EXCL);
      },
      *second({ process }) {
        yield* process.open("/file", O_RDWR | O_CREAT | O_EXCL);
      },
    },
    mayFailWith: ["EEXIST"],
  }),
  scenario({
    name: "names/create-rename-over",
    description: "a file is opened with O_CREAT while another one is renamed over it",
    *setup(lab) {
      yield* makeFile(lab, "/file");
      yield* makeFile(lab, "/other");
    },
    prepare: nothingToPrepare,
    tasks: {
      *create({ process }) {
        yield* process.open("/file", O_RDWR | O_CREAT);
      },
      *rename({ process }) {
        yield* process.rename("/other", "/file");
      },
    },
  }),
  scenario({
    name: "names/create-rename-away",
    description: "a file is opened with O_CREAT while it is renamed",
    setup: (lab) => makeFile(lab, "/file"),
    prepare: nothingToPrepare,
    tasks: {
      *create({ process }) {
        yield* process.open("/file", O_RDWR | O_CREAT);
      },
      *rename({ process }) {
        yield* process.rename("/file", "/other");
      },
    },
  }),
  scenario({
    name: "names/link-unlink",
    description: "a file gets a second name while its only one goes: a file without a name gets none",
    setup: (lab) => makeFile(lab, "/file"),
    prepare: nothingToPrepare,
    tasks: {
      *link({ process }) {
        yield* process.link("/file", "/link");
      },
      *unlink({ process }) {
        yield* process.unlink("/file");
      },
    },
    mayFailWith: LOST,
  }),
  scenario({
    name: "names/link-unlink-open",
    description: "a file gets a second name while its only one goes, and somebody has it open",
    setup: (lab) => makeFile(lab, "/file"),
    *prepare({ process }) {
      return yield* process.open("/file", O_RDWR);
    },
    tasks: {
      *link({ process }) {
        yield* process.link("/file", "/link");
      },
      *unlink({ process }, fd) {
        yield* process.unlink("/file");
        yield* process.close(fd);
      },
    },
    mayFailWith: LOST,
  }),
  intoRemoved("create", function* ({ process }) {
    yield* process.open("/directory/new", O_RDWR | O_CREAT);
  }),
  intoRemoved("mkdir", ({ process }) => process.mkdir("/directory/new")),
  intoRemoved("symlink", ({ process }) => process.symlink("target", "/directory/new")),
  intoRemoved("link", ({ process }) => process.link("/file", "/directory/new")),
  intoRemoved("rename", ({ process }) => process.rename("/file", "/directory/new")),
  scenario({
    name: "names/rename-directory-into-removed",
    description: "a directory is renamed into one that is removed",
    *setup({ process }) {
      yield* process.mkdir("/moved");
      yield* process.mkdir("/removed");
    },
    prepare: nothingToPrepare,
    tasks: {
      *rename({ process }) {
        yield* process.rename("/moved", "/removed/moved");
      },
      *rmdir({ process }) {
        yield* process.rmdir("/removed");
      },
    },
    mayFailWith: LOST,
  }),
  scenario({
    name: "names/rename-over-filled",
    description: "a directory is renamed over an empty one in which a file is made",
    *setup({ process }) {
      yield* process.mkdir("/from");
      yield* process.mkdir("/to");
    },
    prepare: nothingToPrepare,
    tasks: {
      *rename({ process }) {
        yield* process.rename("/from", "/to");
      },
      *create({ process }) {
        yield* process.open("/to/file", O_RDWR | O_CREAT);
      },
    },
    mayFailWith: LOST,
  }),
  scenario({
    name: "names/rename-rename",
    description: "two files in two directories are renamed crosswise, each to the other's name",
    *setup(lab) {
      for (const directory of ["/a", "/b"]) {
        yield* lab.process.mkdir(directory);
        yield* makeFile(lab, `${directory}/file`);
      }
    },
    prepare: nothingToPrepare,
    tasks: {
      *there({ process }) {
        yield* process.rename("/a/file", "/b/file");
      },
      *back({ process }) {
        yield* process.rename("/b/file", "/a/file");
      },
    },
    mayFailWith: LOST,
  }),
  scenario({
    name: "names/rename-rename-directories",
    description: "each of two directories is renamed into the other: at most one of the two may come about",
    *setup({ process }) {
      yield* process.mkdir("/a");
      yield* process.mkdir("/b");
    },
    prepare: nothingToPrepare,
    tasks: {
      *there({ process }) {
        yield* process.rename("/a", "/b/a");
      },
      *back({ process }) {
        yield* process.rename("/b", "/a/b");
      },
    },
    mayFailWith: ["ENOENT", "EINVAL"],
  }),
  scenario({
    name: "names/rename-below",
    description: "a directory is renamed into one deep in another tree, while that tree is renamed into the directory",
    *setup({ process }) {
      for (const path of ["/a", "/b", "/b/c"]) yield* process.mkdir(path);
    },
    prepare: nothingToPrepare,
    tasks: {
      *deep({ process }) {
        yield* process.rename("/a", "/b/c/a");
      },
      *tree({ process }) {
        yield* process.rename("/b", "/a/b");
      },
    },
    mayFailWith: ["ENOENT", "EINVAL"],
  }),
  scenario({
    name: "names/exchange-rename",
    description: "two names are exchanged while one of them is renamed away",
    *setup(lab) {
      yield* lab.process.mkdir("/directory");
      yield* makeFile(lab, "/file");
      yield* makeFile(lab, "/directory/file");
    },
    prepare: nothingToPrepare,
    tasks: {
      *exchange({ process }) {
        yield* process.renameat2("/file", "/directory/file", RENAME_EXCHANGE);
      },
      *rename({ process }) {
        yield* process.rename("/directory/file", "/other");
      },
    },
    mayFailWith: LOST,
  }),
  scenario({
    name: "names/unlink-unlink",
    description: "two unlink one file, which somebody has open: one of them has done it",
    setup: (lab) => makeFile(lab, "/file"),
    prepare: ({ process }) => process.open("/file", O_RDWR),
    tasks: {
      *first({ process }) {
        yield* process.unlink("/file");
      },
      *second({ process }) {
        yield* process.unlink("/file");
      },
    },
    mayFailWith: LOST,
  }),
  scenario({
    name: "names/unlink-close",
    description: "a file's last name goes while its last descriptor is closed: it is deleted once",
    setup: (lab) => makeFile(lab, "/file"),
    *prepare({ process }) {
      return yield* process.open("/file", O_RDWR);
    },
    tasks: {
      *close({ process }, fd) {
        yield* process.close(fd);
      },
      *unlink({ process }) {
        yield* process.unlink("/file");
      },
    },
  }),
  scenario({
    name: "names/open-unlink",
    description: "a file is opened and read while its last name goes: it is deleted when nobody has it",
    setup: (lab) => makeFile(lab, "/file"),
    prepare: nothingToPrepare,
    tasks: {
      *open({ process }) {
        const fd = yield* process.open("/file", O_RDONLY);
        yield* process.fstat(fd);
        yield* process.close(fd);
      },
      *unlink({ process }) {
        yield* process.unlink("/file");
      },
    },
    mayFailWith: LOST,
  }),
  scenario({
    name: "names/unlink-create",
    description: "a file's last name goes while another file is made, which may get its number",
    setup: (lab) => makeFile(lab, "/old"),
    prepare: nothingToPrepare,
    tasks: {
      *open({ process }) {
        yield* process.open("/old", O_RDONLY);
      },
      *unlink({ process }) {
        yield* process.unlink("/old");
      },
      *create({ process }) {
        yield* process.open("/new", O_RDWR | O_CREAT);
      },
    },
    mayFailWith: LOST,
  }),
  scenario({
    name: "names/open-rename-over",
    description: "a file is opened, without O_CREAT, while another one is renamed over it: the name leads to one of them at any time",
    *setup(lab) {
      yield* makeFile(lab, "/file");
      yield* makeFile(lab, "/other");
    },
    prepare: nothingToPrepare,
    tasks: {
      *open({ process }) {
        yield* process.open("/file", O_RDONLY);
      },
      *rename({ process }) {
        yield* process.rename("/other", "/file");
      },
    },
  }),
  scenario({
    name: "names/readlink-rename-over",
    description: "a symbolic link with a block of its own is read while another one is renamed over it",
    *setup({ process }) {
      yield* process.symlink("a".repeat(200), "/link");
      yield* process.symlink("b".repeat(200), "/other");
    },
    prepare: nothingToPrepare,
    tasks: {
      *readlink(lab) {
        const target = yield* lab.process.readlink("/link");
        lab.check(target.length === 200 && target.every((byte) => byte === target[0]), `the link leads to ${target.length} bytes`);
      },
      *rename({ process }) {
        yield* process.rename("/other", "/link");
      },
    },
  }),
  scenario({
    name: "names/chmod-rename-over",
    description: "a file's permissions are changed by its path while another one is renamed over it",
    *setup(lab) {
      yield* makeFile(lab, "/file");
      yield* makeFile(lab, "/other");
    },
    prepare: nothingToPrepare,
    tasks: {
      *chmod({ process }) {
        yield* process.chmod("/file", 0o600);
      },
      *rename({ process }) {
        yield* process.rename("/other", "/file");
      },
    },
  }),
  scenario({
    name: "names/rename-into-moved",
    description: "a file is renamed from one directory into another, while the first is moved into the second, and removed there",
    *setup(lab) {
      for (const path of ["/a", "/b"]) yield* lab.process.mkdir(path);
      yield* makeFile(lab, "/a/file");
    },
    prepare: nothingToPrepare,
    tasks: {
      *file({ process }) {
        yield* process.rename("/a/file", "/b/file");
      },
      *directory({ process }) {
        yield* process.rename("/a", "/b/a");
        yield* process.rmdir("/b/a");
      },
    },
    mayFailWith: LOST,
  }),
  scenario({
    name: "names/lookup-rename",
    description: "a file is looked up by its old and its new name while it is renamed, in one directory: it has one of them at any time",
    *setup(lab) {
      yield* makeFile(lab, "/old");
    },
    prepare: nothingToPrepare,
    tasks: {
      *lookup({ process }) {
        const isOld = yield* isThere(process, "/old");
        if (!isOld) yield* process.open("/new", O_RDONLY);
      },
      *rename({ process }) {
        yield* process.rename("/old", "/new");
      },
    },
  }),
  scenario({
    name: "names/lookup-rename-directory",
    description: "a path is walked while its middle is renamed",
    *setup(lab) {
      for (const path of ["/a", "/a/b", "/c"]) yield* lab.process.mkdir(path);
      yield* makeFile(lab, "/a/b/file");
    },
    prepare: nothingToPrepare,
    tasks: {
      *lookup({ process }) {
        if (!(yield* isThere(process, "/a/b/file"))) yield* process.open("/c/b/file", O_RDONLY);
      },
      *rename({ process }) {
        yield* process.rename("/a/b", "/c/b");
      },
    },
  }),
  scenario({
    name: "names/readdir-rename",
    description: "a directory is listed while a file in it is renamed: the file is listed by one of its names at least",
    *setup(lab) {
      for (const path of ["/directory", "/directory/sub"]) yield* lab.process.mkdir(path);
      yield* makeFile(lab, "/directory/old");
    },
    prepare: nothingToPrepare,
    tasks: {
      *list(lab) {
        const names = (yield* lab.process.readdir("/directory")).map(({ d_name }) => String.fromCharCode(...d_name));
        lab.check(names.includes("old") !== names.includes("new"), `there are ${names.join(", ")}`);
      },
      *rename({ process }) {
        yield* process.rename("/directory/old", "/directory/new");
      },
    },
  }),
  scenario({
    name: "names/rmdir-rmdir",
    description: "a directory and the one that it is in are removed at once",
    *setup({ process }) {
      yield* process.mkdir("/a");
      yield* process.mkdir("/a/b");
    },
    prepare: nothingToPrepare,
    tasks: {
      *inner({ process }) {
        yield* process.rmdir("/a/b");
      },
      *outer({ process }) {
        yield* process.rmdir("/a");
      },
    },
    mayFailWith: LOST,
  }),
  scenario({
    name: "names/rename-crash",
    description: "a directory is renamed into another one, a file is made in it, and the other is synced, when the power fails",
    *setup({ process }) {
      yield* process.mkdir("/from");
      yield* process.mkdir("/to");
    },
    *prepare({ process }) {
      return yield* process.open("/to", O_RDONLY | O_DIRECTORY);
    },
    tasks: {
      *rename({ process }, to) {
        yield* process.rename("/from", "/to/from");
        yield* process.fsync(to);
      },
      *create({ process }) {
        yield* process.open("/from/file", O_RDWR | O_CREAT);
      },
    },
    crash: true,
    mayFailWith: ["ENOENT"],
  }),
];
