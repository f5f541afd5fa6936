/**
 * Every rule of FS_IOC_SETFLAGS and FS_IOC_FSSETXATTR: who may change which flag of what, what is refused with which code, what a partly applied call leaves, what a directory hands down. The rules that
 * were measured on Linux are replayed from its traces as well (test/kernel: g01, g03, g04, g06, g07, g09, g10, h02).
 */
import { describe, expect, test } from "vitest";
import {
  EXT4_APPEND_FL, EXT4_CASEFOLD_FL, EXT4_DAX_FL, EXT4_DIRSYNC_FL, EXT4_EXTENTS_FL, EXT4_IMMUTABLE_FL, EXT4_INDEX_FL, EXT4_JOURNAL_DATA_FL, EXT4_NOATIME_FL, EXT4_NODUMP_FL, EXT4_NOTAIL_FL,
  EXT4_PROJINHERIT_FL, EXT4_SECRM_FL, EXT4_SYNC_FL, EXT4_TOPDIR_FL, EXT4_UNRM_FL,
} from "../../src/format/inode.js";
import { FsError } from "../../src/lib/errno.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import type { Ext4MountOptions } from "../../src/ext4/super.js";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { LabWorld } from "../support/lab-world.js";
import { Ext4 } from "../../src/platform/node/index.js";
import { FS_XFLAG_APPEND, FS_XFLAG_DAX, FS_XFLAG_IMMUTABLE, FS_XFLAG_NOATIME, FS_XFLAG_NODUMP, FS_XFLAG_PROJINHERIT, FS_XFLAG_SYNC } from "../../src/vfs/fileattr.js";
import { O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR } from "../../src/vfs/flags.js";
import { S_IFCHR, S_IFIFO } from "../../src/vfs/inode.js";
import type { Process } from "../../src/vfs/process.js";
import { Signal } from "../../src/vfs/signal.js";
import { STATX_ATTR_DAX } from "../../src/vfs/stat.js";

const OWNER = { uid: 1000, gid: 1000, groups: [], umask: 0o022 };
const OTHER = { ...OWNER, uid: 1001, gid: 1001 };
const [J, X, I, A, D, E] = [EXT4_JOURNAL_DATA_FL, EXT4_DAX_FL, EXT4_IMMUTABLE_FL, EXT4_APPEND_FL, EXT4_NODUMP_FL, EXT4_EXTENTS_FL] as const;

type Kind = "file" | "directory" | "full directory" | "fifo" | "device";

interface Rule {
  readonly rule: string;
  readonly on?: Kind;
  readonly features?: string;
  readonly mount?: Ext4MountOptions;
  readonly by?: "root" | "owner" | "other";
  /** Flags that it has before, and what is asked for: added and taken away. */
  readonly has?: number;
  readonly add?: number;
  readonly remove?: number;
  /** None: it is done. */
  readonly code?: string;
  /** Of those that were to change, what has changed all the same; default: all or, with a code, none. */
  readonly leaves?: number;
}

const RULES: readonly Rule[] = [
  { rule: "who does not own the file changes nothing", by: "other", add: D, code: "EPERM" },
  { rule: "the owner changes most", by: "owner", add: D | EXT4_NOATIME_FL | EXT4_SYNC_FL | EXT4_SECRM_FL | EXT4_UNRM_FL | EXT4_NOTAIL_FL },
  ...[I, A, J].map((flag): Rule => ({ rule: `flag 0x${flag.toString(16)} is root's to set`, by: "owner", add: flag | D, code: "EPERM" })),
  { rule: "journaled data is root's to end", by: "owner", has: J, remove: J, code: "EPERM" },
  { rule: "append-only is root's to end", by: "owner", has: A, remove: A, code: "EPERM" },
  { rule: "a flag that nobody sees is refused", add: 0x0800_0000 | D, code: "EOPNOTSUPP" },
  { rule: "a flag that is seen and not to be set is ignored", add: EXT4_INDEX_FL | D, leaves: D },
  { rule: "flags of directories: dirsync", add: EXT4_DIRSYNC_FL | D, code: "EOPNOTSUPP" },
  { rule: "flags of directories: topdir", add: EXT4_TOPDIR_FL, code: "EOPNOTSUPP" },
  { rule: "flags of directories: projinherit", add: EXT4_PROJINHERIT_FL, code: "EOPNOTSUPP" },
  { rule: "directories have them", on: "directory", add: EXT4_DIRSYNC_FL | EXT4_TOPDIR_FL | EXT4_PROJINHERIT_FL },
  { rule: "others have nodump and noatime", on: "fifo", add: D | EXT4_NOATIME_FL },
  { rule: "and nothing else", on: "device", add: D | EXT4_SYNC_FL, code: "EOPNOTSUPP" },
  { rule: "an immutable file keeps its flags", has: I, add: D, code: "EPERM" },
  { rule: "an immutable file may be made immutable", has: I, add: I },
  { rule: "what ends immutability may change others", has: I, add: D, remove: I },
  { rule: "journaled data excludes DAX", has: J, add: X | D, code: "EOPNOTSUPP" },
  { rule: "DAX excludes journaled data", has: X, mount: { dax: "never" }, add: J | D, code: "EOPNOTSUPP" },
  { rule: "each is held against what the other was", has: X, mount: { dax: "never" }, add: J, remove: X, code: "EOPNOTSUPP" },
  { rule: "both at once are refused, unlike in Linux", add: X | J, code: "EOPNOTSUPP" },
  { rule: "so on directories", on: "directory", has: J, add: X, code: "EOPNOTSUPP" },
  { rule: "an inline file is no DAX file", features: "inline_data", add: X, code: "EOPNOTSUPP" },
  { rule: "an inline directory may have the flag", features: "inline_data", on: "directory", add: X },
  { rule: "a map is not converted", remove: E, add: D, code: "EOPNOTSUPP" },
  { rule: "casefold needs the feature", on: "directory", add: EXT4_CASEFOLD_FL | D, code: "EOPNOTSUPP" },
  { rule: "casefold is for directories", features: "casefold", add: EXT4_CASEFOLD_FL, code: "EOPNOTSUPP" },
  { rule: "casefold is for empty directories", features: "casefold", on: "full directory", add: EXT4_CASEFOLD_FL, code: "ENOTEMPTY" },
  { rule: "casefold", features: "casefold", on: "directory", add: EXT4_CASEFOLD_FL },
  { rule: "journaled data of a DAX file: the other flags are set", mount: { dax: "always" }, add: J | D, code: "EBUSY", leaves: D },
  { rule: "with nodelalloc too", mount: { dax: "always", delalloc: false }, add: J | D, code: "EBUSY", leaves: D },
  { rule: "a directory of a dax mount may have it", on: "directory", mount: { dax: "always" }, add: J },
  { rule: "a file in the page cache may have it", add: J | D },
  { rule: "with nodelalloc too", mount: { delalloc: false }, add: J | D },
  { rule: "and may lose it", mount: { delalloc: false }, has: J, remove: J },
  { rule: "without a journal nobody is told that nothing happens", features: "^has_journal", add: J | D, leaves: D },
  { rule: "DAX may be asked for without effect", mount: { dax: "never" }, add: X },
  { rule: "nothing on a filesystem that is only read", mount: { readOnly: true }, add: D, code: "EROFS" },
];

class World extends LabWorld {
  path = "/file";

  constructor({ features, mount, on = "file", has = 0 }: Rule) {
    super({ features, files: features === "inline_data" ? { file: new Uint8Array(20) } : {} });
    this.mount({ dax: "never" });
    const { process } = this;
    this.run(process.close(this.run(process.open("/file", O_RDWR | O_CREAT))));
    if (on !== "file") this.path = "/other";
    if (on.endsWith("directory")) this.run(process.mkdir(this.path));
    if (on === "full directory") this.run(process.mkdir(`${this.path}/name`));
    if (on === "fifo" || on === "device") this.run(process.mknod(this.path, (on === "fifo" ? S_IFIFO : S_IFCHR) | 0o644, { major: 1, minor: 3 }));
    this.run(process.chown(this.path, OWNER.uid, OWNER.gid));
    if (has !== 0) this.run(process.setflags(this.path, this.run(process.getflags(this.path)) | has));
    this.unmount();
    this.mount({ ...mount });
  }

  get inode(): Ext4Inode { return this.run(this.fs.iget(this.run(this.process.stat(this.path)).stx_ino)); }
}

function codeOf(work: () => void): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof FsError) return error.code;
    throw error;
  }
}

test.each(RULES)("$rule ($on, by $by)", (rule) => {
  const { by = "root", add = 0, remove = 0, code } = rule;
  const world = new World(rule);
  const process: Process = by === "root" ? world.process : world.kernel.spawn(by === "owner" ? OWNER : OTHER);
  const before = world.run(process.getflags(world.path));
  const wanted = ((before | add) & ~remove) >>> 0;
  expect(codeOf(() => world.run(process.setflags(world.path, wanted)))).toBe(code);
  const leaves = rule.leaves ?? (code === undefined ? add | remove : 0);
  const after = ((before & ~leaves) | (wanted & leaves)) >>> 0;
  expect(world.run(world.process.getflags(world.path)).toString(16)).toBe(after.toString(16));
  if (world.fs.isWritable) {
    world.unmount();
    world.mount({ dax: "never" });
    expect(world.run(world.process.getflags(world.path)).toString(16)).toBe(after.toString(16)); // on disk as well
  }
});

test("the filesystem's own inodes keep their flags", () => {
  const world = new World({ rule: "" });
  const journal = world.run(world.fs.igetSpecial(8));
  expect(codeOf(() => world.run((function* () {
    yield* journal.i_rwsem.write();
    try {
      yield* journal.setFlags(journal.i_flags | D);
    } finally {
      journal.i_rwsem.unlockWrite();
    }
  })()))).toBe("EPERM");
});

describe("FSGETXATTR and FSSETXATTR", () => {
  test("the same flags under other names", () => {
    const world = new World({ rule: "", features: "project", mount: { dax: "never" } });
    const { process, path } = world;
    const pairs = [[FS_XFLAG_SYNC, EXT4_SYNC_FL], [FS_XFLAG_NODUMP, D], [FS_XFLAG_NOATIME, EXT4_NOATIME_FL], [FS_XFLAG_APPEND, A], [FS_XFLAG_DAX, X], [FS_XFLAG_IMMUTABLE, I]] as const;
    for (const [xflag, flag] of pairs) {
      world.run(process.fssetxattr(path, { fsx_xflags: xflag, fsx_projid: 0 }));
      expect(world.run(process.getflags(path))).toBe(E | flag);
      expect(world.run(process.fsgetxattr(path)).fsx_xflags).toBe(xflag);
      world.run(process.fssetxattr(path, { fsx_xflags: 0, fsx_projid: 0 })); // flags without such a name stay
      expect(world.run(process.getflags(path))).toBe(E);
    }
  });

  test.each([
    ["an unknown flag", "file", { fsx_xflags: 0x4, fsx_projid: 0 }, "EOPNOTSUPP"],
    ["DAX on a FIFO", "fifo", { fsx_xflags: FS_XFLAG_DAX, fsx_projid: 0 }, "EINVAL"],
    ["DAX on a directory", "directory", { fsx_xflags: FS_XFLAG_DAX, fsx_projid: 0 }, undefined],
    ["projinherit on a file", "file", { fsx_xflags: FS_XFLAG_PROJINHERIT, fsx_projid: 0 }, "EOPNOTSUPP"],
    ["a project without the feature, after the flags", "file", { fsx_xflags: FS_XFLAG_NODUMP, fsx_projid: 7 }, "EOPNOTSUPP"],
  ] as const)("%s", (_name, on, wanted, code) => {
    const world = new World({ rule: "", on });
    expect(codeOf(() => world.run(world.process.fssetxattr(world.path, wanted)))).toBe(code);
    expect(world.run(world.process.fsgetxattr(world.path)).fsx_xflags).toBe(code === undefined || wanted.fsx_projid === 7 ? wanted.fsx_xflags : 0);
  });

  test("a project", () => {
    const world = new World({ rule: "", features: "project" });
    world.run(world.process.fssetxattr("/file", { fsx_xflags: 0, fsx_projid: 7 }));
    expect(world.run(world.process.fsgetxattr("/file"))).toEqual({ fsx_xflags: 0, fsx_projid: 7 });
  });
});

test("what a directory hands down to what is made in it", () => {
  const world = new World({ rule: "", features: "casefold,project", mount: { dax: "never" } });
  const { process } = world;
  const handed = EXT4_SYNC_FL | D | EXT4_NOATIME_FL | J | EXT4_NOTAIL_FL | EXT4_DIRSYNC_FL | EXT4_PROJINHERIT_FL | EXT4_CASEFOLD_FL | EXT4_SECRM_FL | EXT4_UNRM_FL;
  world.run(process.mkdir("/parent"));
  world.run(process.setflags("/parent", E | handed | EXT4_TOPDIR_FL));
  world.run(process.close(world.run(process.open("/parent/file", O_RDWR | O_CREAT))));
  world.run(process.mkdir("/parent/directory"));
  world.run(process.mknod("/parent/fifo", S_IFIFO | 0o644, { major: 0, minor: 0 }));
  const has = (path: string): number => world.run(process.getflags(path)) & ~E;
  expect(has("/parent/directory")).toBe(handed); // not topdir
  expect(has("/parent/file")).toBe(handed & ~(EXT4_DIRSYNC_FL | EXT4_PROJINHERIT_FL | EXT4_CASEFOLD_FL));
  expect(has("/parent/fifo")).toBe(D | EXT4_NOATIME_FL);
  world.run(process.mkdir("/dax"));
  world.run(process.setflags("/dax", E | X));
  world.run(process.mkdir("/dax/below"));
  expect(has("/dax/below")).toBe(X);
});

test.each([["page cache", "never"], ["persistent memory", "always"]] as const)("a file that becomes immutable while it is mapped: %s", (_name, dax) => {
  const world = new World({ rule: "", mount: { dax } });
  const { process } = world;
  const fd = world.run(process.open("/file", O_RDWR));
  world.run(process.ftruncate(fd, 8192));
  const map = world.run(process.mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd));
  world.run(process.store(map, 1));
  world.run(process.setflags(fd, E | I));
  // What was dirty is written, and the next store asks again: the page cache refuses it, a DAX mapping does not, as in Linux.
  expect(world.inode.hasDirtyPages).toBe(false);
  expect(process.mm.pageTables.find(map)!.isWritable).toBe(false);
  const stored = (): void => world.run(process.store(map, 2));
  if (dax === "never") expect(stored).toThrow(Signal);
  else expect(stored).not.toThrow();
  expect(codeOf(() => world.run(process.ftruncate(fd, 0)))).toBe("EPERM");
});

test("the DAX flag takes effect when the last who has the file lets it go", () => {
  const world = new World({ rule: "", mount: { dax: "inode" } });
  const { process } = world;
  const isDax = (): boolean => (world.run(process.stat("/file")).stx_attributes & STATX_ATTR_DAX) !== 0;
  const fd = world.run(process.open("/file", O_RDWR));
  const second = world.run(process.open("/file", O_RDONLY));
  world.run(process.ftruncate(fd, 8192));
  const map = world.run(process.mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd));
  world.run(process.store(map, 7));
  world.run(process.setflags(fd, E | X));
  expect([isDax(), world.run(process.getflags("/file"))]).toEqual([false, E | X]);
  world.run(process.close(fd));
  world.run(process.close(second));
  expect(isDax()).toBe(false); // a mapping has it
  world.run(process.munmap(map, 8192));
  expect(isDax()).toBe(true);
  const again = world.run(process.open("/file", O_RDWR));
  const bytes = new Uint8Array(1);
  world.run(process.pread(again, bytes, 0));
  expect(bytes).toEqual(Uint8Array.of(7));
  world.run(process.setflags(again, E)); // and back
  expect(isDax()).toBe(true);
  world.run(process.close(again));
  expect(isDax()).toBe(false);
  expect(world.run(process.open("/", O_RDONLY | O_DIRECTORY))).toBeGreaterThanOrEqual(0);
});

test("nothing is switched after an abort or a shutdown", () => {
  const world = new World({ rule: "" });
  world.run(world.fs.journal.abort(new FsError("EIO")));
  expect(codeOf(() => world.run(world.process.setflags("/file", E | J)))).toBe("EROFS");
  const other = new World({ rule: "" });
  other.run(other.kernel.shutdown(2));
  expect(codeOf(() => other.run(other.process.setflags("/file", E | J)))).toBe("EIO");
});

test("the API tells both: the flag, and whether it is in effect", () => {
  const world = new World({ rule: "" });
  world.unmount();
  const volume = Ext4.openSync(world.device, { readOnly: false, dax: "inode" });
  const fd = volume.openSync("/file", "r+");
  volume.setFlagsSync("/file", volume.flagsSync("/file").word | X);
  expect(volume.flagsSync("/file")).toMatchObject({ letters: "ex", isDax: false });
  volume.closeSync(fd);
  expect(volume.flagsSync("/file")).toMatchObject({ letters: "ex", isDax: true });
  volume.setFlagsSync("/file", E); // nobody has it open, so it is at once
  expect(volume.flagsSync("/file").isDax).toBe(false);
  volume.closeSync();
});
