/** System calls of processes: positions, descriptors that share them, permissions, files without names. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from "../../src/vfs/inode.js";
import { O_APPEND, O_CLOEXEC, O_CREAT, O_DIRECT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TMPFILE, O_TRUNC, O_WRONLY, SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET } from "../../src/vfs/flags.js";
import { FIEMAP_EXTENT_DATA_INLINE, FIEMAP_EXTENT_LAST, FIEMAP_EXTENT_NOT_ALIGNED, FIEMAP_EXTENT_UNWRITTEN, FIEMAP_FLAG_SYNC, STATX_ATTR_APPEND, STATX_ATTR_DAX, STATX_ATTR_IMMUTABLE, STATX_ATTR_MOUNT_ROOT, STATX_ATTR_NODUMP } from "../../src/vfs/stat.js";
import { temporaryFolder } from "../support/host.js";
import { ProcessWorld, text } from "./world.js";

const FS_IMMUTABLE_FL = 0x10;
const FS_APPEND_FL = 0x20;
const FS_EXTENT_FL = 0x80000;

test("a position is the open file's: dup and fork share it, another open has its own, pread and pwrite leave it", () => {
  const world = new ProcessWorld();
  const { process: p } = world;
  const fd = world.run(p.open("/f", O_RDWR | O_CREAT));
  expect(world.run(p.write(fd, text("0123456789")))).toBe(10);
  expect(world.run(p.lseek(fd, 2, SEEK_SET))).toBe(2);
  const twin = p.dup(fd);
  const own = world.run(p.open("/f", O_RDONLY));
  const two = new Uint8Array(2);
  const read = (process: typeof p, from: number): string => String.fromCharCode(...two.subarray(0, world.run(process.read(from, two))));
  expect([read(p, fd), read(p, twin), read(p, own)]).toEqual(["23", "45", "01"]);
  expect(world.run(p.pread(fd, two, 8))).toBe(2);
  expect(world.run(p.pwrite(fd, text("x"), 0))).toBe(1);
  expect(world.run(p.lseek(fd, 0, SEEK_CUR))).toBe(6);
  const child = world.run(p.fork());
  expect([read(child, fd), read(p, twin)]).toEqual(["67", "89"]);
  expect(world.run(p.read(fd, two))).toBe(0);
  world.run(p.close(fd));
  expect(world.outcome(p.read(fd, two))).toBe("EBADF");
  expect(world.run(child.lseek(fd, 9, SEEK_SET))).toBe(9);
  expect(read(p, twin)).toBe("9");
  world.run(child.exit(3));
  expect([child.exitStatus, world.kernel.processes.size]).toEqual([{ code: 3 }, 1]);
  expect(() => world.kernel.unmountRoot()).toThrow("EBUSY");
  world.unmount();
});

test("O_APPEND writes at the end wherever the position is, also with pwrite", () => {
  const world = new ProcessWorld();
  const { process: p } = world;
  world.file("/f", "abc");
  const fd = world.run(p.open("/f", O_RDWR | O_APPEND));
  const other = world.run(p.open("/f", O_WRONLY | O_APPEND));
  world.run(p.write(fd, text("1")));
  world.run(p.write(other, text("2")));
  world.run(p.pwrite(fd, text("3"), 0));
  expect(world.run(p.lseek(fd, 0, SEEK_CUR))).toBe(4);
  world.run(p.write(fd, text("4")));
  expect(world.contents("/f")).toBe("abc1234");
  expect(world.run(p.lseek(fd, 0, SEEK_CUR))).toBe(7);
});

test("lseek: data, holes, and places that there are not", () => {
  const world = new ProcessWorld();
  const { process: p } = world;
  const fd = world.run(p.open("/f", O_RDWR | O_CREAT));
  world.run(p.ftruncate(fd, 65_536));
  world.run(p.pwrite(fd, text("x"), 20_000));
  const seek = (offset: number, whence: number): unknown => world.outcome(p.lseek(fd, offset, whence));
  expect([seek(0, SEEK_DATA), seek(0, SEEK_HOLE), seek(16_400, SEEK_DATA), seek(16_384, SEEK_HOLE), seek(20_480, SEEK_DATA)]).toEqual([16_384, 0, 16_400, 20_480, "ENXIO"]);
  expect([seek(65_536, SEEK_HOLE), seek(-1, SEEK_DATA), seek(-1, SEEK_SET), seek(-65_537, SEEK_END), seek(0, 9)]).toEqual(["ENXIO", "ENXIO", "EINVAL", "EINVAL", "EINVAL"]);
  expect([seek(-5, SEEK_END), seek(-31, SEEK_CUR), seek(1e13, SEEK_SET), seek(1e15, SEEK_SET)]).toEqual([65_531, 65_500, 1e13, "EINVAL"]);
});

test("descriptors: the lowest number is given, dup2 takes its place, all that is wrong is EBADF", () => {
  const world = new ProcessWorld();
  const { process: p } = world;
  world.file("/f", "f");
  world.file("/g", "g");
  const [a, b, c] = ["/f", "/g", "/f"].map((path) => world.run(p.open(path, O_RDONLY)));
  world.run(p.close(b!));
  expect(p.dup(a!)).toBe(b);
  expect(world.run(p.dup2(c!, b!))).toBe(b);
  expect(world.run(p.dup2(c!, c!))).toBe(c);
  expect(world.run(p.dup2(a!, 900))).toBe(900);
  expect([world.outcome(p.dup2(a!, 1024)), world.outcome(p.dup2(77, 5)), world.outcome(p.close(77)), world.outcome(p.fstat(77)), world.outcome(p.fsync(-1))]).toEqual(Array(5).fill("EBADF"));
  expect([world.outcome(p.write(a!, text("x"))), world.outcome(p.ftruncate(a!, 0)), world.outcome(p.fallocate(a!, 0, 0, 1))]).toEqual(["EBADF", "EINVAL", "EBADF"]);
  const writer = world.run(p.open("/f", O_WRONLY));
  expect(world.outcome(p.read(writer, new Uint8Array(1)))).toBe("EBADF");
  const neither = world.run(p.open("/f", 3));
  expect([world.outcome(p.read(neither, new Uint8Array(1))), world.outcome(p.write(neither, new Uint8Array(1)))]).toEqual(["EBADF", "EBADF"]);
  for (let count = 0; count < 1015; count++) world.run(p.open("/f", O_RDONLY));
  expect(world.outcome(p.open("/f", O_RDONLY))).toBe("EMFILE");
  world.unmount();
});

test("open says what Linux says", () => {
  const world = new ProcessWorld();
  const { process: p } = world;
  world.file("/f", "f");
  world.run(p.mkdir("/d"));
  world.run(p.symlink("f", "/link"));
  world.run(p.mknod("/socket", 0o140644));
  const open = (path: string, flags: number): unknown => {
    const fd = world.outcome(p.open(path, flags));
    if (typeof fd === "number") world.run(p.close(fd));
    return typeof fd === "number" ? "ok" : fd;
  };
  expect([open("/f", O_CREAT | O_EXCL), open("/link", O_CREAT | O_EXCL), open("/link", O_NOFOLLOW), open("/f", O_DIRECTORY), open("/d", O_RDWR), open("/d", O_CREAT)])
    .toEqual(["EEXIST", "EEXIST", "ELOOP", "ENOTDIR", "EISDIR", "EISDIR"]);
  expect([open("/f/x", O_RDONLY), open("/x/y", O_CREAT), open("/f/", O_RDONLY), open("", O_RDONLY), open("/socket", O_RDONLY), open("/d", O_TMPFILE), open("/f", O_TMPFILE | O_RDWR)])
    .toEqual(["ENOTDIR", "ENOENT", "ENOTDIR", "ENOENT", "ENXIO", "EINVAL", "ENOTDIR"]);
  expect([open("/d", O_RDONLY), open("/link", O_RDWR), open("/d", O_TMPFILE | O_RDWR), open("/f", O_RDONLY | O_TRUNC)]).toEqual(["ok", "ok", "ok", "ok"]);
  expect(world.run(p.stat("/f")).stx_size).toBe(0);
  world.unmount();
});

test("a file without a name lives as long as somebody has it open", () => {
  const world = new ProcessWorld();
  const { process: p } = world;
  const fd = world.run(p.open("/gone", O_RDWR | O_CREAT));
  const before = world.run(p.statfs("/")).ffree;
  world.run(p.unlink("/gone"));
  world.run(p.write(fd, text("still here")));
  expect([world.run(p.fstat(fd)).stx_nlink, world.run(p.pread(fd, new Uint8Array(20), 6)), world.outcome(p.stat("/gone"))]).toEqual([0, 4, "ENOENT"]);
  const twin = p.dup(fd);
  world.run(p.close(fd));
  expect(world.run(p.pread(twin, new Uint8Array(20), 0))).toBe(10);
  expect(() => world.kernel.mount!.checkRemountReadOnly()).toThrow("EBUSY");
  world.run(p.close(twin));
  expect(world.run(p.statfs("/")).ffree).toBe(before + 1);
  world.kernel.mount!.checkRemountReadOnly();
  const nameless = world.run(p.open("/", O_TMPFILE | O_RDWR));
  world.run(p.write(nameless, text("named")));
  world.run(p.linkat(nameless, "/named"));
  expect(world.contents("/named")).toBe("named");
  world.run(p.unlink("/named"));
  expect([world.outcome(p.linkat(nameless, "/again")), world.outcome(p.linkat(world.run(p.open("/", O_TMPFILE | O_RDWR | O_EXCL)), "/never"))]).toEqual(["ENOENT", "ENOENT"]);
  world.unmount();
});

test("the umask and the working directory are the process's own", () => {
  const world = new ProcessWorld();
  const { process: p } = world;
  world.run(p.mkdir("/d", 0o777));
  const child = world.run(p.fork());
  expect(child.umask(0o077)).toBe(0o022);
  world.run(child.chdir("d"));
  world.run(child.close(world.run(child.open("made", O_CREAT | O_WRONLY, 0o666))));
  world.run(p.mkdir("made"));
  const mode = (path: string): number => world.run(p.stat(path)).stx_mode;
  expect([mode("/d/made"), mode("/made"), mode("/d")]).toEqual([0o100600, 0o40755, 0o40755]);
  expect([new TextDecoder().decode(child.getcwd()), new TextDecoder().decode(p.getcwd())]).toEqual(["/d", "/"]);
  expect([world.outcome(child.chdir("made")), world.outcome(child.chdir("nowhere"))]).toEqual(["ENOTDIR", "ENOENT"]);
  // A directory that somebody stands in can be removed; then nothing can be made in it.
  world.run(p.unlink("/d/made"));
  world.run(p.rmdir("/d"));
  expect(world.outcome(child.open("new", O_CREAT | O_WRONLY))).toBe("ENOENT");
  expect(() => world.kernel.mount!.checkUnmount()).toThrow("EBUSY");
  world.run(child.chdir("/"));
  world.run(child.chdir(".."));
  world.unmount();
});

test("who is not root meets permissions, and loses set-id bits of what he writes", () => {
  const world = new ProcessWorld();
  const { process: root } = world;
  world.file("/secret", "s", 0o600);
  world.file("/tool", "t", 0o6777);
  world.file("/cut", "t", 0o4666);
  world.run(root.mkdir("/locked", 0o700));
  const user = world.spawn({ uid: 1000, gid: 1000 });
  expect(["/secret", "/locked/x"].map((path) => world.outcome(user.open(path, O_RDONLY)))).toEqual(["EACCES", "EACCES"]);
  expect([world.outcome(user.chmod("/tool", 0o644)), world.outcome(user.chown("/tool", 1000, -1)), world.outcome(user.truncate("/secret", 0)), world.outcome(user.mkdir("/x"))])
    .toEqual(["EPERM", "EPERM", "EACCES", "EACCES"]);
  expect([world.outcome(user.utimensat("/tool", { sec: 1, nsec: 0 })), world.outcome(user.utimensat("/tool")), world.outcome(user.utimensat("/secret"))]).toEqual(["EPERM", undefined, "EACCES"]);
  const fd = world.run(user.open("/tool", O_WRONLY));
  world.run(user.write(fd, text("")));
  expect(world.run(user.fstat(fd)).stx_mode & 0o7777).toBe(0o6777);
  world.run(user.write(fd, text("x")));
  expect(world.run(user.fstat(fd)).stx_mode & 0o7777).toBe(0o777);
  world.run(user.truncate("/cut", 0));
  expect(world.run(user.stat("/cut")).stx_mode & 0o7777).toBe(0o666);
  world.unmount();
});

test("flags in both forms, and what statx shows of them", () => {
  const world = new ProcessWorld();
  const { process: p } = world;
  world.file("/f", "f");
  const fd = world.run(p.open("/f", O_RDWR));
  expect(world.run(p.getflags(fd))).toBe(FS_EXTENT_FL);
  world.run(p.setflags(fd, FS_EXTENT_FL | FS_APPEND_FL | 0x40));
  expect(world.run(p.fsgetxattr(fd))).toEqual({ fsx_xflags: 0x10 | 0x80, fsx_projid: 0 });
  const attributes = (): number => world.run(p.statx(fd)).stx_attributes;
  expect([attributes(), world.run(p.statx("/")).stx_attributes]).toEqual([STATX_ATTR_APPEND | STATX_ATTR_NODUMP, STATX_ATTR_MOUNT_ROOT]);
  expect(world.run(p.statx(fd)).stx_attributes_mask & STATX_ATTR_DAX).toBe(STATX_ATTR_DAX);
  expect([world.outcome(p.open("/f", O_RDWR)), world.outcome(p.truncate("/f", 0)), world.outcome(p.ftruncate(fd, 0)), world.outcome(p.unlink("/f")), world.outcome(p.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1))])
    .toEqual(["EPERM", "EPERM", "EPERM", "EPERM", "EPERM"]);
  world.run(p.fssetxattr(fd, { fsx_xflags: 0x8, fsx_projid: 0 }));
  expect([world.run(p.getflags("/f")), attributes(), world.outcome(p.write(fd, text("x"))), world.outcome(p.chmod("/f", 0o600))]).toEqual([FS_EXTENT_FL | FS_IMMUTABLE_FL, STATX_ATTR_IMMUTABLE, "EPERM", "EPERM"]);
  world.run(p.fssetxattr(fd, { fsx_xflags: 0, fsx_projid: 0 }));
  expect([world.run(p.getflags("/f")), world.outcome(p.setflags(fd, FS_EXTENT_FL | 0x2000)), world.outcome(p.fssetxattr(fd, { fsx_xflags: 0x4000_0000, fsx_projid: 0 }))]).toEqual([FS_EXTENT_FL, "EOPNOTSUPP", "EOPNOTSUPP"]);
  const user = world.spawn({ uid: 1000, gid: 1000 });
  const own = world.run(user.open("/f", O_RDONLY));
  expect(world.outcome(user.setflags(own, FS_EXTENT_FL | FS_APPEND_FL))).toBe("EPERM");
  world.run(p.chown("/f", 1000, 1000));
  expect([world.outcome(user.setflags(own, FS_EXTENT_FL | FS_APPEND_FL)), world.outcome(user.setflags(own, FS_EXTENT_FL | 0x40))]).toEqual(["EPERM", undefined]);
  world.unmount();
});

test("fallocate refuses what Linux refuses, and fiemap shows what it made", () => {
  const world = new ProcessWorld();
  const { process: p } = world;
  const fd = world.run(p.open("/f", O_RDWR | O_CREAT));
  const attempt = (mode: number, from: number, length: number): unknown => world.outcome(p.fallocate(fd, mode, from, length));
  expect([attempt(0, -1, 1), attempt(0, 0, 0), attempt(0x1000, 0, 1), attempt(FALLOC_FL_PUNCH_HOLE, 0, 1), attempt(FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096)])
    .toEqual(["EINVAL", "EINVAL", "EOPNOTSUPP", "EOPNOTSUPP", "EOPNOTSUPP"]);
  expect(attempt(0, 0, 65_536)).toBe(undefined);
  world.run(p.pwrite(fd, new Uint8Array(4096).fill(1), 0));
  const extents = world.run(p.fiemap(fd, 0, Infinity, FIEMAP_FLAG_SYNC)).map(({ fe_logical, fe_length, fe_flags }) => [fe_logical, fe_length, fe_flags]);
  expect(extents).toEqual([[0, 4096, 0], [4096, 61_440, FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_LAST]]);
  expect(world.run(p.fiemap(fd, 0, 4096)).map(({ fe_flags }) => fe_flags)).toEqual([0]);
  expect(world.outcome(p.fiemap(fd, 0, 0))).toBe("EINVAL");
  world.unmount();
  const folder = temporaryFolder();
  writeFileSync(join(folder, "f"), "tiny");
  const inline = new ProcessWorld({ mke2fs: ["-O", "inline_data", "-I", "256", "-d", folder] });
  expect(inline.run(inline.process.fiemap("/f"))).toEqual([{ fe_logical: 0, fe_physical: 0, fe_length: 4, fe_flags: FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_NOT_ALIGNED }]);
});

test("a write that does not fit is short, and the next one is ENOSPC", () => {
  const world = new ProcessWorld({ mke2fs: ["-b", "1024", "-m", "0"], size: "4M" });
  const { process: p } = world;
  const fd = world.run(p.open("/f", O_RDWR | O_CREAT));
  const data = new Uint8Array(8 << 20).map((_, index) => index % 251);
  const written = world.run(p.write(fd, data));
  expect(written).toBeGreaterThan(1 << 20);
  expect(written).toBeLessThan(4 << 20);
  expect([world.run(p.lseek(fd, 0, SEEK_CUR)), world.run(p.fstat(fd)).stx_size, world.outcome(p.write(fd, data))]).toEqual([written, written, "ENOSPC"]);
  const back = new Uint8Array(written);
  expect(world.run(p.pread(fd, back, 0))).toBe(written);
  expect(Buffer.compare(back, data.subarray(0, written))).toBe(0);
  world.unmount();
});

test("direct I/O stands at whole sectors", () => {
  const world = new ProcessWorld();
  const { process: p } = world;
  world.file("/f", "x".repeat(4096));
  const fd = world.run(p.open("/f", O_RDWR | O_DIRECT));
  const bytes = new Uint8Array(512);
  expect([world.outcome(p.pread(fd, bytes, 512)), world.outcome(p.pread(fd, bytes, 1)), world.outcome(p.pread(fd, bytes.subarray(1), 0)), world.outcome(p.pwrite(fd, bytes, 100)), world.outcome(p.pread(fd, bytes, 4097))])
    .toEqual([512, "EINVAL", "EINVAL", "EINVAL", 0]);
});

test("a directory is read piece by piece, from where the last call ended", () => {
  const world = new ProcessWorld();
  const { process: p } = world;
  for (const name of ["a", "b", "c"]) world.file(`/${name}`, name);
  const fd = world.run(p.open("/", O_RDONLY | O_DIRECTORY));
  const names: string[] = [];
  for (;;) {
    const entries = world.run(p.getdents(fd, 2));
    if (entries.length === 0) break;
    names.push(...entries.map(({ d_name: name }) => new TextDecoder().decode(name)));
  }
  expect(names.sort()).toEqual([".", "..", "a", "b", "c", "lost+found"]);
  expect([world.outcome(p.read(fd, new Uint8Array(1))), world.outcome(p.readdir("/a")), world.run(p.readdir("/")).length]).toEqual(["EISDIR", "ENOTDIR", 6]);
});

test("attributes, links and renames", () => {
  const world = new ProcessWorld();
  const { process: p } = world;
  world.file("/f", "f");
  world.run(p.setxattr("/f", "user.x", text("1"), { create: true }));
  expect([world.outcome(p.setxattr("/f", "user.x", text("2"), { create: true })), world.outcome(p.getxattr("/f", "user.y")), world.outcome(p.removexattr("/f", "user.y"))]).toEqual(["EEXIST", "ENODATA", "ENODATA"]);
  expect([world.run(p.getxattr("/f", "user.x")), world.run(p.listxattr("/f"))]).toEqual([text("1"), [text("user.x")]]);
  world.run(p.link("/f", "/g"));
  expect([world.run(p.stat("/g")).stx_nlink, world.outcome(p.renameat2("/f", "/g", 1)), world.outcome(p.renameat2("/f", "/x", 2)), world.outcome(p.rename("/f", "/f"))]).toEqual([2, "EEXIST", "ENOENT", undefined]);
  world.run(p.symlink("nowhere", "/s"));
  expect([new TextDecoder().decode(world.run(p.readlink("/s"))), world.outcome(p.readlink("/f")), world.run(p.lstat("/s")).stx_mode, world.outcome(p.stat("/s"))]).toEqual(["nowhere", "EINVAL", 0o120777, "ENOENT"]);
  world.run(p.utimensat("/f", { sec: 5, nsec: 6 }, "omit"));
  expect([world.run(p.stat("/f")).stx_atime, world.run(p.stat("/f")).stx_mtime.sec]).toEqual([{ sec: 5, nsec: 6 }, 1_700_000_000]);
});

test("close-on-exec, and what an ended process leaves", () => {
  const world = new ProcessWorld();
  const { process: p } = world;
  world.file("/f", "f");
  const kept = world.run(p.open("/f", O_RDONLY));
  const closed = world.run(p.open("/f", O_RDONLY | O_CLOEXEC));
  world.run(p.descriptors.closeOnExec());
  expect([world.outcome(p.fsync(kept)), world.outcome(p.fsync(closed))]).toEqual([undefined, "EBADF"]);
  world.run(p.exit());
  world.kernel.unmountRoot();
});
