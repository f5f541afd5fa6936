/**
 * Directories of every kind under random additions, deletions and replacements, held against a map of names; what e2fsck says of the result, and what Linux makes of it.
 */
import { describe, expect, test } from "vitest";
import { addEntry, deleteEntry, isEmptyDirectory, parentIno, replaceEntry, setParent } from "../../src/ext4/dir-write.js";
import { entryBytes, leafSeal } from "../../src/ext4/dir-edit.js";
import { blocksOf, readDirBlock, walkEntries } from "../../src/ext4/dir.js";
import { indexEntries, isIndexed, readRoot } from "../../src/ext4/htree.js";
import { findEntry } from "../../src/ext4/namei.js";
import { ext4_dir_entry_2 } from "../../src/format/dir-entry.js";
import { EXT4_INDEX_FL, EXT4_INLINE_DATA_FL } from "../../src/format/inode.js";
import { DX_ROOT_INFO_AT, dx_root_info } from "../../src/format/htree.js";
import { FsError } from "../../src/lib/errno.js";
import { dirHash, DX_HASH_LEGACY } from "../../src/lib/dir-hash.js";
import { createEntry } from "../../src/ext4/namei-write.js";
import { setXattr } from "../../src/ext4/xattr-write.js";
import { S_IFDIR, S_IFREG } from "../../src/vfs/inode.js";
import { DirModel } from "../support/dir-model.js";
import { DirWorld, type DirWorldOptions } from "../support/dir-world.js";
import { attempt, canMount, notTestedHere, run, withMount } from "../support/host.js";
import { Prng } from "../../src/lib/prng.js";

const bytesOf = (name: string): Uint8Array => new Uint8Array(Buffer.from(name, "latin1"));

function randomName(random: Prng): Uint8Array {
  const length = random.below(4) === 0 ? 1 + random.below(255) : 3 + random.below(30);
  return Uint8Array.from({ length }, () => {
    const char = 1 + random.below(255);
    return char === 0x2f ? 0x2d : char;
  });
}

/** ASCII in small letters, for directories where case does not count. */
function smallLetters(random: Prng): Uint8Array {
  return Uint8Array.from({ length: 3 + random.below(40) }, () => 0x61 + random.below(26));
}

function longName(random: Prng): Uint8Array {
  return Uint8Array.from({ length: 200 + random.below(56) }, () => 0x21 + random.below(14));
}

interface Row extends DirWorldOptions {
  readonly name: string;
  readonly args: readonly string[];
  readonly makeName?: (random: Prng) => Uint8Array;
  readonly steps?: number;
}

const ext4 = (options: string, ...args: string[]): string[] => ["-t", "ext4", ...(options === "" ? [] : ["-O", options]), ...args];
const SMALL = ext4("", "-b", "1024");
const UNCHECKED = ext4("^metadata_csum", "-b", "1024");

const ROWS: readonly Row[] = [
  { name: "4 KiB", args: ext4("", "-b", "4096") },
  { name: "1 KiB", args: SMALL, steps: 8000 },
  { name: "1 KiB, long names", args: SMALL, makeName: longName },
  { name: "2 KiB, without metadata_csum", args: ext4("^metadata_csum", "-b", "2048") },
  { name: "without filetype", args: ext4("^filetype", "-b", "1024") },
  { name: "without dir_index", args: ext4("^dir_index", "-b", "1024"), steps: 3000 },
  { name: "without dir_index and metadata_csum, 4 KiB", args: ext4("^dir_index,^metadata_csum", "-b", "4096"), steps: 3000 },
  { name: "large_dir, long names", args: ext4("large_dir", "-b", "1024"), makeName: longName },
  { name: "64 KiB", args: ext4("", "-b", "65536"), sizeMib: 64 },
  { name: "64 KiB, without metadata_csum", args: ext4("^metadata_csum", "-b", "65536"), sizeMib: 64 },
  { name: "32 KiB", args: ext4("", "-b", "32768"), sizeMib: 64 },
  { name: "bigalloc", args: ext4("bigalloc", "-b", "1024", "-C", "8192") },
  { name: "legacy hash", args: SMALL, tune: ["-E", "hash_alg=legacy"] },
  { name: "TEA hash", args: SMALL, tune: ["-E", "hash_alg=tea"] },
  { name: "unsigned half-MD4", args: SMALL, commands: ["ssv flags 2"] },
  { name: "unsigned legacy", args: SMALL, tune: ["-E", "hash_alg=legacy"], commands: ["ssv flags 2"] },
  { name: "unsigned TEA", args: SMALL, tune: ["-E", "hash_alg=tea"], commands: ["ssv flags 2"] },
  { name: "inline_data", args: ext4("inline_data", "-b", "1024"), steps: 2000 },
  { name: "inline_data, large inodes", args: ext4("inline_data", "-I", "1024", "-b", "4096"), steps: 2000 },
  { name: "casefold", args: ext4("casefold", "-b", "1024", "-E", "encoding=utf8"), commands: ["sif d flags 0x40080000"], makeName: smallLetters },
];

describe("random changes", () => {
  test.each(ROWS)("$name", ({ args, makeName = randomName, steps = 4000, ...options }) => {
    const world = new DirWorld(args, options);
    const model = new DirModel(world, new Prng(20), makeName);
    const batches = 12;
    for (let batch = 0; batch < batches; batch++) {
      // It grows, shrinks, and grows again.
      const addPercent = [85, 70, 20][batch % 3]!;
      for (let step = 0; step < steps / batches; step++) model.step(addPercent);
      model.check();
      if (batch % 4 === 3) world.reread();
    }
    expect(world.complaints()).toEqual([]);
    world.reread();
    model.check();
  });
});

describe("what stands around the names", () => {
  test.each([["linear", 5], ["a tree", 500]])("the parent, and emptiness: %s", (_, count) => {
    const world = new DirWorld(SMALL);
    const isEmpty = (): boolean => world.run(isEmptyDirectory(world.fs, world.dir));
    const parent = (): number => world.run(parentIno(world.fs, world.dir));
    const moveTo = (ino: number): void => world.change((handle) => setParent(handle, world.fs, world.dir, ino));
    expect(parent()).toBe(2);
    expect(isEmpty()).toBe(true);
    const names = Array.from({ length: count }, (_, index) => bytesOf(`name ${index}`));
    for (const name of names) world.change((handle) => addEntry(handle, world.fs, world.dir, name, world.files[0]!.i_ino, S_IFREG));
    expect(isEmpty()).toBe(false);
    moveTo(11);
    world.reread();
    expect(parent()).toBe(11);
    for (const name of names) world.change((handle) => deleteEntry(handle, world.fs, world.dir, name));
    expect(isEmpty()).toBe(true);
    moveTo(2);
    expect(world.complaints()).toEqual([]);
  });

  test("a name that is not there", () => {
    const world = new DirWorld(SMALL);
    const { fs, dir } = world;
    expect(() => world.change((handle) => deleteEntry(handle, fs, dir, bytesOf("absent")))).toThrow(expect.objectContaining({ code: "ENOENT" }));
    expect(() => world.change((handle) => replaceEntry(handle, fs, dir, bytesOf("absent"), 12, S_IFREG))).toThrow(expect.objectContaining({ code: "ENOENT" }));
  });

  test("a deleted name is nowhere on the disk", () => {
    const world = new DirWorld(SMALL);
    const { fs, dir } = world;
    const names = Array.from({ length: 300 }, (_, index) => bytesOf(`secret ${index}`));
    for (const name of names) world.change((handle) => addEntry(handle, fs, dir, name, world.files[0]!.i_ino, S_IFREG));
    for (const name of names) world.change((handle) => deleteEntry(handle, fs, dir, name));
    world.reread();
    expect(Buffer.from(world.bytes).includes("secret")).toBe(false);
  });

  test("linear: each name goes into the first gap that fits it", () => {
    const world = new DirWorld(ext4("^dir_index", "-b", "1024"));
    const { fs, dir } = world;
    const file = world.files[0]!.i_ino;
    const add = (name: string): void => world.change((handle) => addEntry(handle, fs, dir, bytesOf(name), file, S_IFREG));
    for (let index = 0; index < 400; index++) add(`${String(index).padStart(4, "0")}${"x".repeat(60)}`);
    const blocks = dir.i_size / fs.blockBytes;
    world.change((handle) => deleteEntry(handle, fs, dir, bytesOf(`0005${"x".repeat(60)}`)));
    add("y".repeat(64));
    expect(world.run(readDirBlock(fs, dir, 0)).buffer.data.includes(0x79)).toBe(true);
    // What is left of each block is too small for those, but not for this.
    add("zz");
    expect(world.run(readDirBlock(fs, dir, 0)).buffer.data.includes(0x7a)).toBe(true);
    expect(dir.i_size / fs.blockBytes).toBe(blocks);
    expect(world.complaints()).toEqual([]);
  });
});

describe("a new directory", () => {
  /** Leaves an inode of 256 bytes no room for the attribute of inline data. */
  const ACL = Uint8Array.from([2, 0, 0, 0, ...[[1, 7], [2, 7, 1], [2, 7, 2], [2, 7, 3], [2, 7, 4], [2, 7, 5], [4, 5], [16, 7], [32, 5]].flatMap(([tag, perm, id]) =>
    [tag!, 0, perm!, 0, ...(id === undefined ? [255, 255, 255, 255] : [id, 0, 0, 0])])]);

  test.each<{ name: string; args: string[]; acl?: boolean; isInline?: boolean; sizeMib?: number }>([
    { name: "1 KiB", args: SMALL },
    { name: "without checksums", args: UNCHECKED },
    { name: "64 KiB", args: ext4("", "-b", "65536"), sizeMib: 64 },
    { name: "without extents", args: ["-t", "ext2", "-b", "1024"] },
    { name: "bigalloc", args: ext4("bigalloc", "-b", "1024", "-C", "8192") },
    { name: "inline", args: ext4("inline_data", "-b", "1024"), isInline: true },
    { name: "inline, but without room", args: ext4("inline_data", "-b", "1024"), acl: true },
  ])("$name", ({ args, acl = false, isInline = false, sizeMib }) => {
    const world = new DirWorld(args, sizeMib === undefined ? {} : { sizeMib });
    const { fs, dir } = world;
    if (acl) world.change((handle) => setXattr(handle, fs, dir, bytesOf("system.posix_acl_default"), ACL));
    const made = world.run((function* () {
      yield* dir.i_rwsem.write();
      const inode = yield* createEntry(fs, dir, bytesOf("sub"), { mode: S_IFDIR | 0o755, uid: 0, gid: 0, umask: 0o022 });
      dir.i_rwsem.unlockWrite();
      return inode;
    })());
    expect((made.i_flags & EXT4_INLINE_DATA_FL) !== 0).toBe(isInline);
    expect(world.run(isEmptyDirectory(fs, made))).toBe(true);
    expect(world.run(parentIno(fs, made))).toBe(dir.i_ino);
    expect(world.complaints()).toEqual([]);
  });
});

/** Names with one legacy hash, found by trying: of each, the seed of its first 244 characters and the last four. */
const COLLISIONS =
  "1:84c86dad 3:475c773a 4:5a1dfd8f 5:1bc480ae 6:0532fb38 7:47ac3b92 8:ca6587c1 9:44a3ded4 10:a573d719 11:12d2ef53 12:0a019ab0 13:dd590f5e 14:5b4258c9 " +
  "15:2d1d8730 16:0a4bbb89 19:1ccd16ec 20:b55be8a7 21:7a321316 22:03f771a1 23:09526836 25:3f79fd7f 26:38ea9713 27:40b3287b 28:12e598fa 29:12164a84 " +
  "30:58115009 31:b90ce745 32:1dad191f 33:64593f15 34:fc421472 35:0b4c8635 36:04d7c8b1 37:ebb9a440 38:4660e86a 39:16a5505b 40:a20ae8dc 41:567a29e1 " +
  "42:3b11ce15 43:15bfa94f 45:2acd6858 46:08716cfc 47:1ccc0cf5 48:141e0534 50:bf8da31f 51:1da6ffe5 52:c2bec192 54:16914e8b 55:431b7b6a 56:5c143317 " +
  "57:39c3b479 58:89867230 59:7131cc3f 61:26ab8290 62:855cdf11 63:7822b263 65:08066a5a 66:0faf7c8b 67:13fe3cb0 68:03ddd32e 69:7f1c8040 70:712af9b3 " +
  "72:0312cc54 73:dc5b6ac0 74:123538ef";

function collidingNames(): Uint8Array[] {
  return COLLISIONS.split(" ").map((pair) => {
    const [seed, ending] = pair.split(":") as [string, string];
    const random = new Prng(Number(seed));
    return new Uint8Array([...Array.from({ length: 244 }, () => 0x61 + random.below(26)), ...Buffer.from(ending, "hex")]);
  });
}

describe("names of one hash", () => {
  test.each([["1 KiB", SMALL], ["4 KiB", ext4("", "-b", "4096")], ["without metadata_csum", UNCHECKED]])("fill many leaves: %s", (_, args) => {
    const world = new DirWorld(args, { tune: ["-E", "hash_alg=legacy"] });
    const random = new Prng(5);
    const names = collidingNames();
    const model = new DirModel(world, random, (prng) => (names.length > 0 && prng.below(3) === 0 ? names.pop()! : smallLetters(prng)));
    for (let step = 0; step < 400; step++) model.step(100);
    expect(names).toEqual([]);
    model.check();
    for (const name of collidingNames()) expect(world.run(findEntry(world.fs, world.dir, name))).toBeDefined();
    expect(world.complaints()).toEqual([]);
    for (const name of collidingNames().slice(0, 40)) model.delete(name);
    for (const name of collidingNames().slice(0, 40)) model.add(name);
    model.check();
    expect(world.complaints()).toEqual([]);
  });
});

/** Names of one hash in the middle of all, so that a node that is split at its middle is split within them. */
test("names of one hash go on from node to node", () => {
  const world = new DirWorld(SMALL, { tune: ["-E", "hash_alg=legacy"] });
  const random = new Prng(6);
  const model = new DirModel(world, random, longName);
  const hashOf = (name: Uint8Array): number => dirHash(DX_HASH_LEGACY, name, world.fs.sb.hashSeed).hash;
  const names = collidingNames();
  for (const name of names) model.add(name);
  for (let count = 0; count < 700; count++) {
    let name = longName(random);
    while (hashOf(name) < hashOf(names[0]!) !== (count % 2 === 0)) name = longName(random);
    model.add(name);
  }
  expect(readRoot(world.fs, world.dir, world.run(readDirBlock(world.fs, world.dir, 0)).buffer).levels).toBe(1);
  model.check();
  for (const name of names) expect(world.run(findEntry(world.fs, world.dir, name))).toBeDefined();
  expect(world.complaints()).toEqual([]);
});

describe("no more room", () => {
  test.each([[0], [1], [2], [3], [4], [5], [9]])("after %i blocks: the directory stays as it was", (blocksMax) => {
    const world = new DirWorld(SMALL, { blocksMax });
    const model = new DirModel(world, new Prng(9), longName);
    expect(() => { for (;;) model.add(); }).toThrow(expect.objectContaining({ code: "ENOSPC" }));
    model.check();
    expect(world.complaints()).toEqual([]);
    // What is deleted makes room again.
    const [name] = model.inoOf.keys();
    model.delete(bytesOf(name!));
    model.add(bytesOf(name!));
    model.check();
  });

  test.each([["inline_data", "-I", "256"], ["inline_data", "-I", "512"]])("inline: %s %s %s", (feature, ...inode) => {
    const world = new DirWorld(ext4(feature, "-b", "1024", ...inode), { blocksMax: 0 });
    const model = new DirModel(world, new Prng(9), smallLetters);
    expect(() => { for (;;) model.add(); }).toThrow(expect.objectContaining({ code: "ENOSPC" }));
    expect(world.dir.i_flags & EXT4_INLINE_DATA_FL).not.toBe(0);
    model.check();
    expect(world.complaints()).toEqual([]);
  });

  test("the map has no room for one more block", () => {
    const world = new DirWorld(["-t", "ext2", "-b", "1024"]);
    const model = new DirModel(world, new Prng(2), longName);
    const { allocator } = world.fs;
    allocator.allocateMetadata = () => { throw new FsError("ENOSPC"); };
    const freeClusters = allocator.freeClusters;
    expect(() => { for (;;) model.add(); }).toThrow(expect.objectContaining({ code: "ENOSPC" }));
    expect(blocksOf(world.fs, world.dir)).toBe(12);
    expect(allocator.freeClusters).toBe(freeClusters - 11);
    model.check();
    expect(world.complaints()).toEqual([]);
  });

  test("a tree of two levels is full", () => {
    const world = new DirWorld(SMALL, { sizeMib: 40 });
    const model = new DirModel(world, new Prng(1), longName);
    expect(() => { for (;;) model.add(); }).toThrow(expect.objectContaining({ code: "ENOSPC", message: expect.stringContaining("full") as string }));
    expect(model.inoOf.size).toBeGreaterThan(20_000);
    // Leaves that are split in halves are more than half full on average.
    const usedBytes = [...model.inoOf.keys()].reduce((sum, name) => sum + entryBytes(name.length), 0);
    expect(usedBytes / world.dir.i_size).toBeGreaterThan(0.6);
    model.check();
    expect(world.complaints()).toEqual([]);
  });

  test("large_dir has three", () => {
    const world = new DirWorld(ext4("large_dir", "-b", "1024"), { sizeMib: 64 });
    const { fs, dir } = world;
    const model = new DirModel(world, new Prng(1), longName);
    for (let count = 0; count < 50_000; count++) model.add();
    expect(readRoot(fs, dir, world.run(readDirBlock(fs, dir, 0)).buffer).levels).toBe(2);
    model.check();
    expect(world.complaints()).toEqual([]);
  });
});

describe("damage", () => {
  function grown(args: readonly string[]): DirModel {
    const model = new DirModel(new DirWorld(args), new Prng(3), smallLetters);
    for (let count = 0; count < 300; count++) model.add();
    expect(isIndexed(model.world.fs, model.world.dir)).toBe(true);
    return model;
  }

  const spoil = (world: DirWorld): void => {
    const { buffer } = world.run(readDirBlock(world.fs, world.dir, 0));
    dx_root_info.indirect_levels.set(buffer.view, DX_ROOT_INFO_AT, 7);
  };

  test("a damaged tree is given up, and the names stay", () => {
    const model = grown(UNCHECKED);
    const { world } = model;
    spoil(world);
    for (let count = 0; count < 200; count++) model.add();
    expect(world.dir.i_flags & EXT4_INDEX_FL).toBe(0);
    expect(world.fs.warnings.length).toBeGreaterThan(0);
    model.check();
    expect(world.complaints()).toEqual([]);
  });

  test("with checksums it is an error", () => {
    const { world } = grown(SMALL);
    spoil(world);
    expect(() => world.change((handle) => addEntry(handle, world.fs, world.dir, bytesOf("one more"), 12, S_IFREG)))
      .toThrow(expect.objectContaining({ code: "EUCLEAN", kind: "htree-field" }));
  });

  test("an index entry that leads back to the root is not taken for a leaf", () => {
    const model = grown(UNCHECKED);
    const { world } = model;
    const { buffer } = world.run(readDirBlock(world.fs, world.dir, 0));
    // All of them: the hash seed is mke2fs's of the day, so nobody knows which one the next name takes.
    const { entriesAt, count } = indexEntries(world.fs, world.dir, buffer, true);
    for (let slot = 0; slot < count; slot++) buffer.view.setUint32(entriesAt + slot * 8 + 4, 0, true);
    model.add();
    expect(world.dir.i_flags & EXT4_INDEX_FL).toBe(0);
    for (let count = 0; count < 100; count++) model.add();
    model.check();
    expect(world.complaints()).toEqual([]);
  });

  test("a tree in a filesystem that has lost dir_index is given up by the first new name", () => {
    const model = grown(UNCHECKED);
    const image = model.world.save();
    run("tune2fs", ["-O", "^dir_index", image]);
    const world = new DirWorld([], { image });
    expect(world.dir.i_flags & EXT4_INDEX_FL).not.toBe(0);
    const later = new DirModel(world, new Prng(4), smallLetters, model.inoOf);
    for (let count = 0; count < 100; count++) later.add();
    expect(world.dir.i_flags & EXT4_INDEX_FL).toBe(0);
    later.check();
    expect(world.complaints()).toEqual([]);
  });

  test("a leaf whose room is in pieces, as e2fsck leaves it, is put together", () => {
    const { world } = grown(SMALL);
    const { fs, dir } = world;
    for (let lblk = 1; lblk < blocksOf(fs, dir); lblk++) {
      world.change(function* (handle) {
        const { buffer, view, end } = yield* readDirBlock(fs, dir, lblk);
        yield* handle.getWriteAccess(buffer.b_blocknr);
        walkEntries(fs, view, 0, end, (at) => {
          ext4_dir_entry_2.inode.set(view, at, 0);
          return true;
        });
        handle.dirty(buffer, leafSeal(fs, dir));
      });
    }
    const blocks = blocksOf(fs, dir);
    const later = new DirModel(world, new Prng(8), longName);
    for (let count = 0; count < 3; count++) later.add();
    expect(blocksOf(fs, dir)).toBe(blocks);
    later.check();
    expect(world.complaints()).toEqual([]);
  });

  test("leaves without room for a checksum, where checksums do not count", () => {
    const model = grown(UNCHECKED);
    const image = model.world.save();
    run("debugfs", ["-w", "-f", "-", image], { input: "feature metadata_csum\nssv checksum_type 1" });
    const world = new DirWorld([], { image, verifyChecksums: false });
    const later = new DirModel(world, new Prng(4), smallLetters, model.inoOf);
    for (const name of [...later.inoOf.keys()].slice(0, 50)) later.delete(bytesOf(name));
    later.check();
  });
});

describe("names that are refused", () => {
  const CASEFOLD = ext4("casefold", "-b", "1024");
  const INVALID = Uint8Array.of(0x61, 0xff, 0x62);
  const isFolded = { commands: ["sif d flags 0x40080000"] };

  test("strict UTF-8", () => {
    const world = new DirWorld([...CASEFOLD, "-E", "encoding=utf8,encoding_flags=strict"], isFolded);
    expect(() => world.change((handle) => addEntry(handle, world.fs, world.dir, INVALID, 12, S_IFREG))).toThrow(expect.objectContaining({ code: "EINVAL" }));
  });

  test("not strict: what is not UTF-8 is a name of its own", () => {
    const world = new DirWorld([...CASEFOLD, "-E", "encoding=utf8"], isFolded);
    const model = new DirModel(world, new Prng(1), smallLetters);
    model.add(INVALID);
    for (let count = 0; count < 300; count++) model.add();
    model.add(new TextEncoder().encode("Straße"));
    expect(world.run(findEntry(world.fs, world.dir, new TextEncoder().encode("STRASSE")))).toBe(model.inoOf.get(Buffer.from("Straße").toString("latin1")));
    model.delete(INVALID);
    model.check();
    world.change((handle) => deleteEntry(handle, world.fs, world.dir, new TextEncoder().encode("sTRASSe")));
    expect(world.complaints()).toEqual([]);
  });

  test("encrypted: nothing can be added, but names can go", () => {
    const world = new DirWorld(ext4("encrypt", "-b", "1024"));
    const { fs, dir } = world;
    const model = new DirModel(world, new Prng(1), (random) => Uint8Array.from({ length: 32 }, () => 1 + random.below(46)));
    for (let count = 0; count < 40; count++) model.add();
    dir.i_flags |= 0x800;
    expect(() => world.change((handle) => addEntry(handle, fs, dir, bytesOf("n".repeat(32)), 12, S_IFREG))).toThrow(expect.objectContaining({ code: "ENOKEY" }));
    expect(() => world.change((handle) => replaceEntry(handle, fs, dir, bytesOf("n".repeat(32)), 12, S_IFREG))).toThrow(expect.objectContaining({ code: "ENOKEY" }));
    for (const { name } of model.list()) world.change((handle) => deleteEntry(handle, fs, dir, name));
    expect(world.run(isEmptyDirectory(fs, dir))).toBe(true);
  });
});

describe.runIf(canMount)("Linux goes on where we stopped", () => {
  test.each<Row>([
    { name: "4 KiB", args: ext4("", "-b", "4096") },
    { name: "1 KiB, long names", args: SMALL, makeName: longName },
    { name: "without metadata_csum", args: UNCHECKED },
    { name: "TEA, unsigned", args: SMALL, tune: ["-E", "hash_alg=tea"], commands: ["ssv flags 2"] },
    { name: "inline_data", args: ext4("inline_data", "-b", "1024"), steps: 12 },
    { name: "inline_data, grown out", args: ext4("inline_data", "-b", "1024"), steps: 60 },
    { name: "large_dir", args: ext4("large_dir", "-b", "1024"), makeName: longName, steps: 10_000 },
  ])("$name", ({ args, makeName = smallLetters, steps = 4000, ...options }) => {
    const world = new DirWorld(args, options);
    const model = new DirModel(world, new Prng(7), makeName);
    for (let step = 0; step < steps; step++) model.step(80);
    const image = world.save();
    expect(attempt("e2fsck", ["-fn", image]).status).toBe(0);
    const script = `
import os, sys, random
d = os.fsencode(sys.argv[1]) + b"/d/"; names = os.listdir(d); random.seed(1)
print(len(names)); assert all(os.path.lexists(d + n) for n in names)
for n in random.sample(names, len(names) // 2): os.unlink(d + n)
for i in range(len(names)): os.link(d + b"../f%d" % (i % 4), d + b"linux-%d" % i)
`;
    const listed = withMount(image, "rw", (mountPoint) => run("python3", ["-c", script, mountPoint]));
    expect(Number(listed)).toBe(model.inoOf.size);
    expect(attempt("e2fsck", ["-fn", image]).status).toBe(0);
    const later = new DirWorld([], { image });
    const names = later.list();
    expect(names.length).toBe(Math.ceil(model.inoOf.size / 2) + model.inoOf.size);
    for (const { name, ino } of names) expect(later.run(findEntry(later.fs, later.dir, name))).toBe(ino);
    for (const { name } of names) later.change((handle) => deleteEntry(handle, later.fs, later.dir, name));
    expect(later.run(isEmptyDirectory(later.fs, later.dir))).toBe(true);
    expect(later.complaints()).toEqual([]);
  });
});

if (!canMount) notTestedHere("whether Linux goes on with our directories", "no loop mounts");
