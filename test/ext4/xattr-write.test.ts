/**
 * Attributes are set, replaced and removed at random, over inode and block sizes and features: what can be read equals a model after each step, e2fsck finds nothing at the end,
 * and the same operations on a mount of the same image give the same errors, modes, block counts and values under Linux.
 */
import { copyFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { BufferHead } from "../../src/block/buffer-cache.js";
import type { Ext4 } from "../../src/ext4/super.js";
import { aclChmod, deleteXattrs, inheritAcl, inlineCapacityBytes, setInlineValue, xattrCredits } from "../../src/ext4/xattr-write.js";
import { ext4_xattr_header } from "../../src/format/xattr.js";
import { Handle } from "../../src/jbd2/handle.js";
import type { Task } from "../../src/sched/task.js";
import { attempt, canMount, notTestedHere, run, withMount } from "../support/host.js";
import { Prng } from "../../src/lib/prng.js";
import { XattrWorld } from "../support/xattr-world.js";

/** Linux reserves so many credits for values in other inodes that the smallest log has no room for them, and says ENOSPC. */
const LOG = ["-J", "size=4"];

const ROWS: readonly { name: string; args: readonly string[] }[] = [
  ...["1024", "4096"].flatMap((block) => ["128", "256", "512", "1024"].map((inode) => ({ block, inode })))
    .map(({ block, inode }) => ({ name: `${block}-byte blocks, ${inode}-byte inodes`, args: ["-t", "ext4", "-b", block, "-I", inode] })),
  { name: "ea_inode, 1 KiB", args: ["-t", "ext4", "-O", "ea_inode", "-b", "1024", ...LOG] },
  { name: "ea_inode, 4 KiB", args: ["-t", "ext4", "-O", "ea_inode", "-b", "4096"] },
  { name: "ea_inode, 128-byte inodes", args: ["-t", "ext4", "-O", "ea_inode", "-I", "128", "-b", "1024", ...LOG] },
  { name: "ea_inode, without extents", args: ["-t", "ext4", "-O", "ea_inode,^extent,^64bit", "-b", "1024", ...LOG] },
  { name: "ea_inode, bigalloc", args: ["-t", "ext4", "-O", "ea_inode,bigalloc", "-b", "1024", "-C", "4096", ...LOG] },
  { name: "ea_inode, without metadata_csum", args: ["-t", "ext4", "-O", "ea_inode,^metadata_csum", ...LOG] },
  { name: "bigalloc", args: ["-t", "ext4", "-O", "bigalloc", "-b", "1024", "-C", "8192"] },
  { name: "without metadata_csum and journal", args: ["-t", "ext4", "-O", "^metadata_csum,^has_journal"] },
  { name: "inline_data", args: ["-t", "ext4", "-O", "inline_data"] },
  { name: "ext2, without ext_attr", args: ["-t", "ext2", "-O", "^ext_attr", "-b", "1024"] },
];

const FILES = ["f0", "f1", "f2", "f3", "d0", "d1"];
const OTHERS = ["link", "pipe", "null"];
/** e2fsck takes a short link's target for block numbers when the link has values in other inodes, and no block of attributes. */
const commands = (args: readonly string[]): string[] => [
  ...FILES.map((name) => (name.startsWith("d") ? `mkdir ${name}` : `write /dev/null ${name}`)),
  `symlink link ${args.join().includes("ea_inode") ? "long-target".repeat(6) : "target"}`, "mknod pipe p", "mknod null c 1 3",
];

type Operation =
  | { op: "set"; file: string; name: string; value: string; flags: number }
  | { op: "remove"; file: string; name: string }
  | { op: "chmod"; file: string; mode: number };

const GOOD_NAMES = ["user.a", "user.bb", "user.some-longer-name", "trusted.t", "security.s", "gnu.x", `user.${"n".repeat(100)}`, "user.caf\xe9"];
const BAD_NAMES = ["", "user", "user.", "trusted.", "foo.bar", "system.data", "system.posix_acl", `user.${"n".repeat(251)}`];
const LONG_NAME = `user.${"n".repeat(250)}`;
const SIZES = [0, 1, 3, 4, 5, 30, 60, 64, 100, 100, 200, 400, 900, 960, 968, 969, 972];
const LARGE_SIZES = [1000, 2000, 3000, 3900, 4020, 4040, 4096, 9000, 20000, 65536, 65537];
const ACCESS = "system.posix_acl_access";
const DEFAULT = "system.posix_acl_default";

/** Few bytes and few sizes, so that equal values and equal blocks come up. */
function someValue(random: Prng): string {
  const size = random.pick(random.below(4) === 0 ? LARGE_SIZES : SIZES);
  return Buffer.alloc(size, random.pick(["q", "\x00", "\xff"]), "latin1").toString("hex");
}

function aclBytes(entries: readonly (readonly [number, number, number])[], version = 2): string {
  const bytes = Buffer.alloc(4 + entries.length * 8);
  bytes.writeUInt32LE(version);
  entries.forEach(([tag, perm, id], index) => {
    bytes.writeUInt16LE(tag, 4 + index * 8);
    bytes.writeUInt16LE(perm, 6 + index * 8);
    bytes.writeUInt32LE(id >>> 0, 8 + index * 8);
  });
  return bytes.toString("hex");
}

/** Mostly an ACL; else something like one. */
function someAcl(random: Prng): string {
  const perm = (): number => random.below(8);
  const users = Array.from({ length: random.below(3) }, (_, index) => [2, perm(), 1000 + index * 7] as const);
  const groups = Array.from({ length: random.below(3) }, (_, index) => [8, perm(), 50 - index] as const);
  const mask = users.length + groups.length > 0 || random.below(2) === 0 ? [[0x10, perm(), -1] as const] : [];
  const entries: (readonly [number, number, number])[] = [[1, perm(), -1], ...users, [4, perm(), -1], ...groups, ...mask, [0x20, perm(), random.pick([-1, 0, 7])]];
  switch (random.below(14)) {
    case 0: return aclBytes(entries, 1);
    case 1: return aclBytes(entries).slice(0, -2);
    case 2: return aclBytes(entries.slice(0, -1));
    case 3: return aclBytes([]);
    case 4: return "";
    case 5: return aclBytes([...entries].reverse());
    case 6: return aclBytes([...entries, [random.pick([0, 1, 0x20, 0x40]), 7, -1]]);
    case 7: return aclBytes(entries.map(([tag, , id]) => [tag, 8, id]));
    case 8: return aclBytes(entries.map(([tag, bits]) => [tag, bits, -1]));
    default: return aclBytes(entries);
  }
}

function someOperations(seed: number, count: number): Operation[] {
  const random = new Prng(seed);
  return Array.from({ length: count }, (): Operation => {
    const kind = random.below(100);
    const file = random.below(20) === 0 ? random.pick(OTHERS) : random.pick(FILES);
    if (kind < 4) return { op: "chmod", file: random.pick(FILES), mode: random.below(0o10000) };
    if (kind < 12) return { op: "set", file, name: random.pick([ACCESS, ACCESS, DEFAULT]), value: someAcl(random), flags: random.below(3) };
    const name = kind < 15 ? random.pick(BAD_NAMES) : kind < 18 ? LONG_NAME : kind < 22 ? random.pick([ACCESS, DEFAULT]) : random.pick(GOOD_NAMES);
    if (kind % 4 === 0 || name === ACCESS || name === DEFAULT) return { op: "remove", file, name };
    return { op: "set", file, name, value: someValue(random), flags: random.below(8) === 0 ? 1 + random.below(3) : 0 };
  });
}

const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));

function perform(world: XattrWorld, operation: Operation): string {
  const inode = world.find(operation.file);
  if (operation.op === "remove") return world.set(inode, operation.name, undefined);
  if (operation.op === "set") {
    return world.set(inode, operation.name, unhex(operation.value), { create: (operation.flags & 1) !== 0, replace: (operation.flags & 2) !== 0 });
  }
  world.run(world.changing(inode, xattrCredits(world.fs, 0), function* (handle) {
    inode.i_mode = (inode.i_mode & ~0o7777) | operation.mode;
    yield* inode.markDirty(handle);
    yield* aclChmod(handle, world.fs, inode);
  }));
  return "";
}

/** What a plain attribute must be afterwards. ACLs are for Linux to judge. */
function expected(before: Record<string, string>, operation: Operation, result: string): Record<string, string> {
  if (result !== "" || operation.op === "chmod" || operation.name.startsWith("system.")) return before;
  const others = { ...before };
  delete others[operation.name];
  return operation.op === "remove" ? others : { ...others, [operation.name]: operation.value };
}

const withoutAcls = (attributes: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(attributes).filter(([name]) => name !== ACCESS && name !== DEFAULT).sort());

interface LinuxAnswer {
  results: string[];
  files: Record<string, { mode: number; blocks: number; attributes: Record<string, string> }>;
}

const script = new URL("../support/xattrs.py", import.meta.url).pathname;

function askLinux(image: string, operations: readonly object[]): LinuxAnswer {
  const copy = `${image}.linux`;
  copyFileSync(image, copy);
  const output = withMount(copy, "rw,noatime", (mountPoint) => run("python3", [script, mountPoint], { input: JSON.stringify(operations) }));
  if (output === undefined) throw new Error("Linux does not mount the image");
  const { status, stdout } = attempt("e2fsck", ["-fn", copy]);
  expect(status, stdout).toBe(0);
  return JSON.parse(output) as LinuxAnswer;
}

describe("random operations", () => {
  test.each(ROWS.map((row, index) => ({ ...row, seed: index + 1 })))("$name", ({ args, seed }) => {
    const world = new XattrWorld(args, { commands: commands(args), sizeMib: 24 });
    world.save();
    const operations = someOperations(seed, 300);
    const linux = canMount ? askLinux(world.image, operations) : undefined;
    world.mount();
    operations.forEach((operation, index) => {
      const before = withoutAcls(world.attributes(world.find(operation.file)));
      const result = perform(world, operation);
      if (linux !== undefined) expect(result, `operation ${index}: ${JSON.stringify(operation).slice(0, 200)}`).toBe(linux.results[index]);
      expect(withoutAcls(world.attributes(world.find(operation.file))), `after operation ${index}`).toEqual(withoutAcls(expected(before, operation, result)));
      if (index % 100 === 99) expect(world.check()).toBe("");
    });
    world.save();
    const again = world.reread();
    for (const [name, { mode, blocks, attributes }] of Object.entries(linux?.files ?? {})) {
      const inode = world.find(name, again);
      expect({ name, mode: inode.i_mode, attributes: Object.entries(world.attributes(inode)).sort() }).toEqual({ name, mode, attributes: Object.entries(attributes).sort() });
      expect(inode.i_blocks, `i_blocks of ${name}`).toBe(blocks);
    }
    if (linux !== undefined) {
      const theirs = askLinux(world.image, operations.map(({ file }) => ({ op: "remove", file, name: "user.none" })));
      for (const name of Object.keys(theirs.files)) expect(theirs.files[name]).toEqual(linux.files[name]);
    }
  });
});

/** Other tasks run here. */
function* pause(): Task<void> {
  yield { op: "io", io: { description: "pause", runSync: () => {}, runAsync: () => new Promise((resolve) => setImmediate(resolve)) } };
}

/** Lets every access to a block wait, as if none were in memory but the one that was read last. */
function letAccessesWait({ cache }: Ext4): () => void {
  const { getWriteAccess, tryWriteAccess } = Handle.prototype;
  let last: number | undefined;
  const { read } = cache;
  cache.read = function* (block): Task<BufferHead> {
    yield* pause();
    last = block;
    return yield* read.call(this, block);
  };
  Handle.prototype.getWriteAccess = function* (block): Task<BufferHead> {
    yield* pause();
    last = undefined;
    return yield* getWriteAccess.call(this, block);
  };
  Handle.prototype.tryWriteAccess = function (block) {
    return block === last ? tryWriteAccess.call(this, block) : undefined;
  };
  return () => {
    Object.assign(Handle.prototype, { getWriteAccess, tryWriteAccess });
    cache.read = read;
  };
}

const EA_INODE = ["-t", "ext4", "-O", "ea_inode", "-b", "1024", ...LOG];
const files = (count: number): string[] => Array.from({ length: count }, (_, index) => `write /dev/null f${index}`);
const filled = (size: number, byte = "v"): Uint8Array => new Uint8Array(Buffer.alloc(size, byte));
const refcount = (world: XattrWorld, name: string): number => {
  const { i_file_acl: block } = world.find(name);
  return ext4_xattr_header.h_refcount.get(world.run(world.fs.cache.read(block)).view, 0);
};

describe("blocks that inodes share", () => {
  test("up to 1024 of them, and a copy for who wants another", () => {
    const count = 1100;
    const world = new XattrWorld(["-t", "ext4", "-b", "1024", "-N", "2000"], { commands: files(count) });
    const names = Array.from({ length: count }, (_, index) => `f${index}`);
    const blocks = (): number[] => [...new Set(names.map((name) => world.find(name).i_file_acl))];
    for (const name of names) world.set(world.find(name), "user.same", filled(300));
    expect(blocks()).toHaveLength(2);
    expect([refcount(world, "f0"), refcount(world, "f1099")]).toEqual([1024, 76]);
    expect(world.check()).toBe("");
    world.set(world.find("f5"), "user.other", filled(300, "o"));
    expect(refcount(world, "f0")).toBe(1023);
    expect(blocks()).toHaveLength(3);
    world.set(world.find("f5"), "user.other", undefined);
    expect(blocks()).toHaveLength(2);
    expect(refcount(world, "f0") + refcount(world, "f1099")).toBe(count);
    expect(world.check()).toBe("");
    for (const name of names) world.set(world.find(name), "user.same", undefined);
    expect(blocks()).toEqual([0]);
    expect(world.check()).toBe("");
  });

  test("with values in other inodes", () => {
    const world = new XattrWorld(EA_INODE, { commands: files(4), sizeMib: 24 });
    const free = world.fs.inodeAllocator.freeInodes;
    const each = (work: (name: string) => void): void => ["f0", "f1", "f2", "f3"].forEach(work);
    each((name) => {
      for (const [index, size] of [300, 300, 5000, 9000].entries()) expect(world.set(world.find(name), `user.${index}`, filled(size))).toBe("");
    });
    expect(world.fs.inodeAllocator.freeInodes, "equal values share an inode").toBe(free - 2);
    each((name) => world.set(world.find(name), "user.gap", filled(40)));
    expect(world.check()).toBe("");
    world.set(world.find("f1"), "user.2", filled(5001));
    expect(world.check()).toBe("");
    world.set(world.find("f2"), "user.3", undefined);
    world.set(world.find("f2"), "user.0", filled(1));
    expect(world.check()).toBe("");
    each((name) => {
      const inode = world.find(name);
      world.run(world.changing(inode, xattrCredits(world.fs, 0), (handle) => deleteXattrs(handle, world.fs, inode)));
      expect(inode.i_file_acl).toBe(0);
    });
    expect(world.check()).toBe("");
    expect(world.fs.inodeAllocator.freeInodes).toBe(free);
  });
});

test("more values in other inodes than one transaction can let go", () => {
  const world = new XattrWorld(["-t", "ext4", "-O", "ea_inode", "-b", "1024"], { commands: files(1) });
  const { freeInodes } = world.fs.inodeAllocator;
  const inode = world.find("f0");
  for (let index = 0; index < 36; index++) expect(world.set(inode, `user.${index}`, filled(3000 + index))).toBe("");
  expect(world.fs.inodeAllocator.freeInodes).toBe(freeInodes - 36);
  const first = world.run(world.changing(inode, xattrCredits(world.fs, 0), function* (handle) {
    const { t_tid } = handle.transaction;
    yield* deleteXattrs(handle, world.fs, inode);
    return handle.transaction.t_tid === t_tid;
  }));
  expect(first, "all in one transaction").toBe(false);
  expect(world.check()).toBe("");
  expect(world.fs.inodeAllocator.freeInodes).toBe(freeInodes);
});

test("without space the old value stays", () => {
  const world = new XattrWorld(EA_INODE, { commands: files(2), sizeMib: 24 });
  const inode = world.find("f0");
  const other = world.find("f1");
  world.set(inode, "user.a", filled(300));
  world.set(other, "user.a", filled(300));
  world.set(inode, "user.b", filled(3000));
  const before = world.attributes(inode);
  const claimed = world.run((function* () {
    const runs = [];
    try {
      for (;;) runs.push(yield* world.fs.allocator.claim({ goal: 1, count: 1 << 20 }));
    } catch {
      return runs;
    }
  })());
  // A copy of the block needs one block of metadata, for which a pool is kept; a value has none left.
  expect(world.set(inode, "user.b", filled(50_000))).toBe("ENOSPC");
  expect(world.set(inode, "user.c", filled(2000))).toBe("ENOSPC");
  expect(world.attributes(inode)).toEqual(before);
  for (const run of claimed) world.fs.allocator.release(run);
  expect(world.check()).toBe("");
  const again = world.find("f0");
  expect(world.attributes(again)).toEqual(before);
  expect(world.set(again, "user.b", filled(50_000))).toBe("");
  expect(world.check()).toBe("");
});

describe("inline data", () => {
  const make = (): XattrWorld => new XattrWorld(["-t", "ext4", "-O", "inline_data"], { commands: ["write /etc/hostname f0", ...files(2).slice(1)] });
  const setInline = (world: XattrWorld, name: string, value: Uint8Array): void => {
    const inode = world.find(name);
    world.run(world.changing(inode, xattrCredits(world.fs, 0), function* (handle) {
      yield* setInlineValue(handle, world.fs, inode, value);
      inode.i_size = inode.i_disksize = 60 + value.length;
      yield* inode.markDirty(handle);
    }));
  };

  test("stays in the inode and shares its room with other attributes", () => {
    const world = make();
    const inode = world.find("f0");
    const capacity = inlineCapacityBytes(world.fs, inode);
    expect(capacity).toBe(256 - 160 - 4 - 4 - 20);
    setInline(world, "f0", filled(40));
    world.set(inode, "user.small", filled(4));
    expect(inode.i_file_acl).toBe(0);
    world.set(inode, "user.more", filled(20));
    expect(inode.i_file_acl).not.toBe(0);
    expect(inlineCapacityBytes(world.fs, inode)).toBe(capacity - 24 - 4);
    expect(() => setInline(world, "f0", filled(capacity - 27))).toThrow("ENOSPC");
    setInline(world, "f0", filled(capacity - 28, "w"));
    expect(world.check()).toBe("");
    const read = new Uint8Array(200);
    expect(world.run(world.find("f0").read(0, read))).toBe(60 + capacity - 28);
    expect(read.slice(60, 60 + capacity - 28)).toEqual(filled(capacity - 28, "w"));
    expect(Object.keys(world.attributes(world.find("f0"))).sort()).toEqual(["user.more", "user.small"]);
  });

  test("an inode without room for attributes has none", () => {
    const world = new XattrWorld(["-t", "ext4", "-I", "128"], { commands: files(1) });
    expect(inlineCapacityBytes(world.fs, world.find("f0"))).toBe(-Infinity);
    expect(() => setInline(world, "f0", filled(0))).toThrow("ENOSPC");
  });
});

test("an inode whose extra fields were never used gets them", () => {
  const world = new XattrWorld(["-t", "ext4"], { commands: [...files(1), "set_inode_field f0 extra_isize 0"] });
  expect(world.find("f0").i_extra_isize).toBe(0);
  expect(world.set(world.find("f0"), "user.a", filled(10))).toBe("");
  expect(world.find("f0").i_file_acl).toBe(0);
  expect(world.check()).toBe("");
  expect(world.attributes(world.find("f0"))).toEqual({ "user.a": "76".repeat(10) });
});

describe.runIf(canMount)("ACLs that are inherited", () => {
  const acls = [
    aclBytes([[1, 7, -1], [4, 5, -1], [0x20, 4, -1]]),
    aclBytes([[1, 6, -1], [2, 7, 1000], [4, 7, -1], [0x10, 5, -1], [0x20, 1, -1]]),
    aclBytes([[1, 7, -1], [4, 6, -1], [0x10, 3, -1], [0x20, 0, -1]]),
    aclBytes([[1, 7, -1], [2, 4, 5], [2, 6, 1], [4, 0, -1], [8, 7, 9], [0x10, 7, -1], [0x20, 7, -1]]),
    "",
  ];
  test.each(acls)("%s", (acl) => {
    const modes = [0o777, 0o666, 0o640, 0o1711, 0];
    const made = modes.flatMap((mode) => [false, true].map((isDirectory) =>
      ({ op: "create", file: `d0/${isDirectory ? "dir" : "file"}${mode}`, mode, isDirectory, umask: 0o027 })));
    const world = new XattrWorld(["-t", "ext4"], {
      commands: ["mkdir d0", ...made.map(({ isDirectory }, index) => (isDirectory ? `mkdir n${index}` : `write /dev/null n${index}`))],
    });
    world.save();
    const linux = askLinux(world.image, [{ op: "set", file: "d0", name: DEFAULT, value: acl, flags: 0 }, ...made]);
    world.mount();
    const dir = world.find("d0");
    world.set(dir, DEFAULT, unhex(acl));
    made.forEach(({ file, mode, umask }, index) => {
      const inode = world.find(`n${index}`);
      inode.i_mode = (inode.i_mode & ~0o7777) | mode;
      world.run(world.changing(inode, 2 * xattrCredits(world.fs, 0), function* (handle) {
        yield* inheritAcl(handle, world.fs, dir, inode, umask);
        yield* inode.markDirty(handle);
      }));
      const { mode: theirMode, attributes } = linux.files[file]!;
      expect({ file, mode: inode.i_mode, attributes: world.attributes(inode) }).toEqual({ file, mode: theirMode, attributes });
    });
    expect(world.check()).toBe("");
  });
});

test.each([1, 2, 3])("tasks that share blocks and values in the midst of each other's waits, seed %i", async (seed) => {
  const random = new Prng(seed);
  const names = Array.from({ length: 16 }, (_, index) => `f${index}`);
  const world = new XattrWorld(EA_INODE, { commands: files(names.length), sizeMib: 24 });
  // So few that the same block comes and goes all the time.
  const values = [filled(300, "a"), filled(300, "b"), filled(3000, "c")];
  const model = new Map<string, Map<string, string>>(names.map((name) => [name, new Map()]));
  const restore = letAccessesWait(world.fs);
  await Promise.all(names.map(async (name) => {
    const inode = world.find(name);
    for (let step = 0; step < 60; step++) {
      const attribute = `user.${random.below(2)}`;
      const value = random.below(2) === 0 && model.get(name)!.has(attribute) ? undefined : random.pick(values);
      await world.scheduler.runAsync(world.setting(inode, attribute, value));
      if (random.below(4) === 0) await world.scheduler.runAsync(world.fs.journal.commitAll());
      if (value === undefined) model.get(name)!.delete(attribute);
      else model.get(name)!.set(attribute, Buffer.from(value).toString("hex"));
    }
  })).finally(restore);
  const found = (): unknown[] => names.map((name) => Object.entries(world.attributes(world.find(name))).sort());
  const wanted = names.map((name) => [...model.get(name)!].sort());
  expect(found()).toEqual(wanted);
  expect(world.check()).toBe("");
  expect(found()).toEqual(wanted);
});

if (!canMount) notTestedHere("attributes against Linux", "needs root and loop devices");
