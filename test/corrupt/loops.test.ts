/**
 * Structures that lead back to themselves, or claim more than there can be: directories, extent trees, indirect maps, hash trees, links, orphan lists. Each ends in the CorruptionError that says
 * what and where, or in a correct read, and soon. Checksums are passed over, as whoever makes such an image makes them right.
 */
import { describe, expect, test } from "vitest";
import { walkExtentTree } from "../../src/ext4/extents.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import { listOrphans } from "../../src/ext4/orphan.js";
import type { CorruptionKind, CorruptionPlace } from "../../src/format/corruption.js";
import { ext4_dir_entry_2 } from "../../src/format/dir-entry.js";
import { DX_ROOT_ENTRIES_AT, DX_ROOT_INFO_AT, dx_countlimit, dx_entry, dx_root_info } from "../../src/format/htree.js";
import { ext4_inode } from "../../src/format/inode.js";
import { ext4_super_block } from "../../src/format/superblock.js";
import { ext4_xattr_entry } from "../../src/format/xattr.js";
import { dirHash } from "../../src/lib/dir-hash.js";
import type { Volume } from "../../src/platform/node/index.js";
import { rootDentry } from "../../src/vfs/namei.js";
import { walkTree } from "../../src/vfs/walk.js";
import { Craft, type TreeEntry } from "./craft.js";

const DIRECTORY = 2;
const FREE_INO = 200;

/** What must be thrown: the kind, and of the place at least this. */
const damage = (kind: CorruptionKind, where: CorruptionPlace): unknown => expect.objectContaining({ kind, where: expect.objectContaining(where) });

/** Visits everything, as a copy or a search does. */
const walk = (volume: Volume): void => volume.runSync(walkTree(rootDentry(volume.fs.root), { *enter() {} }));

describe("directories", () => {
  test("one contains its own ancestor", () => {
    const craft = new Craft("extents-unchecked");
    const ino = craft.inodeOf("/dir");
    const volume = craft.redirect("/dir/deep/deeper", "bottom", ino, DIRECTORY).open();
    expect(() => walk(volume)).toThrow(damage("dir-loop", { ino }));
    expect(() => volume.readdirSync("/", { recursive: true })).toThrow(damage("dir-loop", { ino }));
    // A path is as long as whoever walks it says.
    expect(volume.statSync(`/dir${"/deep/deeper/bottom".repeat(50)}`).ino).toBe(ino);
  });

  test("one contains the root", () => {
    const volume = new Craft("extents-unchecked").redirect("/", "small", 2, DIRECTORY).open();
    expect(() => walk(volume)).toThrow(damage("dir-loop", { ino: 2 }));
    expect(() => volume.readdirSync("/", { recursive: true })).toThrow(damage("dir-loop", { ino: 2 }));
    expect(volume.realpathSync("/small/small/..")).toBe("/small");
  });

  test("two names lead to one", () => {
    const craft = new Craft("extents-unchecked");
    const ino = craft.inodeOf("/dir/deep");
    const volume = craft.redirect("/", "small", ino, DIRECTORY).open();
    expect(() => walk(volume)).toThrow(damage("dir-loop", { ino }));
    expect(() => volume.readdirSync("/", { recursive: true })).toThrow(damage("dir-loop", { ino }));
    expect(volume.readdirSync("/small")).toEqual(["deeper"]);
  });

  test.each([0, 4, 8])("an entry of length %i, so that the chain does not go on", (recLen) => {
    const craft = new Craft("extents-unchecked");
    const at = craft.entryAt("/dir/deep", "deeper");
    const volume = craft.set(ext4_dir_entry_2.rec_len, at, recLen).open();
    expect(() => volume.readdirSync("/dir/deep")).toThrow(damage("dir-entry", { ino: craft.inodeOf("/dir/deep"), block: craft.blockOf("/dir/deep"), offset: at % craft.blockBytes, field: "rec_len", found: recLen }));
  });

  test("all blocks are one block, which is then read as often as the directory has blocks", () => {
    const craft = new Craft("extents-unchecked");
    const block = craft.blockOf("/dir/deep");
    const blocks = Array.from({ length: 4 }, (_, lblk): TreeEntry => ({ lblk, pblk: block }));
    const volume = craft.setRoot("/dir/deep", 0, blocks).setInode("/dir/deep", ext4_inode.i_size_lo, 4 * craft.blockBytes).open();
    expect(volume.readdirSync("/dir/deep")).toEqual(["deeper", "deeper", "deeper", "deeper"]);
    expect(() => walk(volume)).toThrow(damage("dir-loop", { ino: craft.inodeOf("/dir/deep/deeper") }));
  });

  test("one claims to be larger than the filesystem", () => {
    const volume = new Craft("extents-unchecked").setInode("/dir/deep", ext4_inode.i_size_lo, 2 ** 31).open();
    expect(() => volume.readdirSync("/dir/deep")).toThrow(damage("inode-field", { field: "i_size", found: 2 ** 31 }));
  });
});

describe("hash trees", () => {
  /** Every name is found by looking at each leaf, and what is wrong with the tree is noted. */
  function expectFoundAnyway(volume: Volume, directory: string, block: number): void {
    const names = volume.readdirSync(directory) as string[];
    for (const name of names) expect(volume.existsSync(`${directory}/${name}`)).toBe(true);
    expect(volume.existsSync(`${directory}/absent`)).toBe(false);
    expect(volume.fs.warnings).toContainEqual(damage("htree-field", { block }));
  }

  test("the root leads to itself", () => {
    const craft = new Craft("extents-unchecked");
    for (const slot of [0, 1, 2]) craft.set(dx_entry.block, craft.indexEntryAt("/dir", 0, slot), 0);
    expectFoundAnyway(craft.open(), "/dir", craft.blockOf("/dir"));
  });

  test("a node leads to itself", () => {
    const craft = new Craft("deep");
    const node = craft.view.getUint32(craft.indexEntryAt("/wide", 0, 0) + dx_entry.block.at, true);
    for (let slot = 0; slot < 60; slot++) craft.set(dx_entry.block, craft.indexEntryAt("/wide", node, slot), node);
    expectFoundAnyway(craft.open(), "/wide", craft.blockOf("/wide", node));
  });

  test("a node leads to the root", () => {
    const craft = new Craft("deep");
    const node = craft.view.getUint32(craft.indexEntryAt("/wide", 0, 0) + dx_entry.block.at, true);
    for (let slot = 0; slot < 60; slot++) craft.set(dx_entry.block, craft.indexEntryAt("/wide", node, slot), 0);
    expectFoundAnyway(craft.open(), "/wide", craft.blockOf("/wide", node));
  });

  test("an index leads from leaf to leaf without end, all for one hash", () => {
    const craft = new Craft("extents-unchecked");
    const root = craft.blockOf("/dir") * craft.blockBytes;
    const version = dx_root_info.hash_version.get(craft.view, root + DX_ROOT_INFO_AT) + craft.ask(function* ({ fs }) { return fs.sb.hashUnsignedOffset; });
    const { hash } = dirHash(version, Buffer.from("absent"), craft.ask(function* ({ fs }) { return fs.sb.hashSeed; }));
    const limit = dx_countlimit.limit.get(craft.view, root + DX_ROOT_ENTRIES_AT);
    for (let slot = 1; slot < limit; slot++) {
      const at = craft.indexEntryAt("/dir", 0, slot);
      craft.set(dx_entry.hash, at, hash | 1).set(dx_entry.block, at, 1 + (slot % 2));
    }
    const volume = craft.set(dx_countlimit.count, root + DX_ROOT_ENTRIES_AT, limit).open();
    expect(volume.existsSync("/dir/absent")).toBe(false);
    expect(volume.fs.warnings).toEqual([damage("htree-field", { block: craft.blockOf("/dir"), field: "hash", found: hash })]);
  });
});

describe("extent trees", () => {
  /** The nodes of a tree of depth 2: the root's child, and that one's first two children. */
  function nodesOf(craft: Craft): { index: number; first: number; second: number } {
    const blocks: number[] = [];
    const ino = craft.inodeOf("/extents");
    craft.ask(function* ({ fs }) {
      const inode = (yield* fs.igetSpecial(ino)) as Ext4Inode;
      yield* walkExtentTree(fs, inode, ({ block }, slot) => { if (block !== undefined && slot === 0) blocks.push(block); });
    });
    return { index: blocks[0]!, first: blocks[1]!, second: blocks[2]! };
  }

  const readAll = (volume: Volume): Buffer => volume.readFileSync("/extents") as Buffer;

  test("an index leads to itself", () => {
    const craft = new Craft("deep");
    const { index } = nodesOf(craft);
    craft.setNodeBlock(index, 1, [{ lblk: 0, pblk: index }]);
    expect(() => readAll(craft.open())).toThrow(damage("extent-header", { block: index, field: "eh_depth", found: 1, expected: 0 }));
  });

  test("an index leads to the one above it", () => {
    const craft = new Craft("deep");
    const { index, first } = nodesOf(craft);
    craft.setRoot("/extents", 3, [{ lblk: 0, pblk: index }]).setNodeBlock(index, 2, [{ lblk: 0, pblk: first }]).setNodeBlock(first, 1, [{ lblk: 0, pblk: index }]);
    expect(() => readAll(craft.open())).toThrow(damage("extent-header", { block: index, field: "eh_depth", found: 2, expected: 0 }));
  });

  test("one leaf stands in two places", () => {
    const craft = new Craft("deep");
    const { index, first } = nodesOf(craft);
    craft.setNodeBlock(index, 1, [{ lblk: 0, pblk: first }, { lblk: 168, pblk: first }]);
    expect(() => readAll(craft.open())).toThrow(damage("extent-order", { block: first, field: "ee_block", expected: 168 }));
  });

  test("one block of data stands everywhere: it is read as often", () => {
    const craft = new Craft("extents-unchecked");
    const block = craft.blockOf("/extents");
    const blocks = Array.from({ length: 4 }, (_, lblk): TreeEntry => ({ lblk, pblk: block }));
    const volume = craft.setRoot("/extents", 0, blocks).setInode("/extents", ext4_inode.i_size_lo, 4 * craft.blockBytes).open();
    expect(volume.readFileSync("/extents", "latin1")).toBe(`block${"\0".repeat(craft.blockBytes - 5)}`.repeat(4));
  });

  test("extents that take up the filesystem many times over", () => {
    const craft = new Craft("extents-unchecked");
    const blocks = Array.from({ length: 4 }, (_, index): TreeEntry => ({ lblk: index * 800, pblk: 2, length: 800 }));
    const volume = craft.setRoot("/extents", 0, blocks).setInode("/extents", ext4_inode.i_size_lo, 3200 * craft.blockBytes).open();
    expect(() => volume.fiemapSync("/extents")).toThrow(damage("map-overrun", { ino: craft.inodeOf("/extents") }));
    expect(readAll(volume).length).toBe(3200 * craft.blockBytes);
  });

  test("branches meet again on every level, so that there are millions of ways down", () => {
    const craft = new Craft("deep");
    const width = 20;
    let below = Array.from({ length: width }, (_, index) => {
      const block = craft.freeBlock();
      craft.setNodeBlock(block, 0, [{ lblk: index, pblk: 1000 }]);
      return block;
    });
    for (let depth = 1; depth <= 4; depth++) {
      const level = below.map(() => craft.freeBlock());
      // Each node leads to its own child and to all children on its right.
      level.forEach((block, own) => craft.setNodeBlock(block, depth, below.slice(own).map((pblk, index) => ({ lblk: own + index, pblk }))));
      below = level;
    }
    craft.setRoot("/extents", 5, [{ lblk: 0, pblk: below[0]! }]).setInode("/extents", ext4_inode.i_size_lo, width * craft.blockBytes);
    const volume = craft.open();
    // Who looks for a block takes one way; who looks at the whole tree is stopped.
    expect(readAll(volume).length).toBe(width * craft.blockBytes);
    const inode = volume.runSync(volume.fs.igetSpecial(craft.inodeOf("/extents")));
    expect(() => volume.runSync(walkExtentTree(volume.fs, inode, () => undefined))).toThrow(damage("map-overrun", { ino: inode.i_ino }));
  });
});

describe("indirect maps", () => {
  /** Bytes that a map of three levels reaches: the longest file there is. */
  const LONGEST_BYTES = (12 + 256 + 256 ** 2 + 256 ** 3) * 1024;

  function withTree(level: 1 | 2 | 3, pointer: (block: number) => number): Craft {
    const craft = new Craft("plain");
    const block = craft.freeBlock();
    craft.fillPointers(block, pointer(block)).setPointer("/extents", 11 + level, block);
    return craft.setInode("/extents", ext4_inode.i_size_lo, LONGEST_BYTES % 2 ** 32).setInode("/extents", ext4_inode.i_size_high, Math.floor(LONGEST_BYTES / 2 ** 32));
  }

  test.each([2, 3] as const)("a block of pointers leads to itself on %i levels", (level) => {
    const craft = withTree(level, (block) => block);
    const volume = craft.open();
    expect(() => volume.fiemapSync("/extents")).toThrow(damage("map-overrun", { ino: craft.inodeOf("/extents") }));
    // A single read is bounded by what is asked for. What it finds is the pointers themselves.
    const fd = volume.openSync("/extents");
    const found = Buffer.alloc(craft.blockBytes);
    expect(volume.readSync(fd, found, 0, found.length, (12 + 256) * 1024 + (level === 3 ? 256 ** 2 * 1024 : 0))).toBe(found.length);
    expect(found.readUInt32LE(0)).toBe(craft.view.getUint32(craft.inodeAt("/extents") + ext4_inode.i_block.at + (11 + level) * 4, true));
  });

  test("blocks of pointers lead to holes, again and again", () => {
    const craft = new Craft("plain");
    const [empty, middle, top] = [craft.freeBlock(), craft.freeBlock(), craft.freeBlock()];
    craft.fillPointers(middle, empty).fillPointers(top, middle).setPointer("/extents", 14, top);
    craft.setInode("/extents", ext4_inode.i_size_high, 3);
    expect(() => craft.open().fiemapSync("/extents")).toThrow(damage("map-overrun", { ino: craft.inodeOf("/extents") }));
  });

  test("a pointer past the end", () => {
    const craft = withTree(1, () => 0xffff_ffff);
    expect(() => craft.open().fiemapSync("/extents")).toThrow(damage("indirect-range", { ino: craft.inodeOf("/extents"), found: 0xffff_ffff }));
  });
});

describe("orphans", () => {
  const orphans = (craft: Craft): number[] => {
    const volume = craft.open();
    return volume.runSync(listOrphans(volume.fs));
  };

  test("a list of one that leads to itself", () => {
    const ino = new Craft("plain").inodeOf("/small");
    const craft = new Craft("plain").setSuperblock(ext4_super_block.s_last_orphan, ino).setInode(ino, ext4_inode.i_dtime, ino);
    expect(() => orphans(craft)).toThrow(damage("orphan-list", { ino, found: "a loop" }));
  });

  test("a list that comes back to its second", () => {
    const craft = new Craft("plain");
    const inos = ["/small", "/medium", "/extents"].map((path) => craft.inodeOf(path));
    craft.setSuperblock(ext4_super_block.s_last_orphan, inos[0]!);
    inos.forEach((ino, index) => craft.setInode(ino, ext4_inode.i_dtime, inos[index + 1] ?? inos[1]!));
    expect(() => orphans(craft)).toThrow(damage("orphan-list", { ino: inos[1], found: "a loop" }));
  });

  test("a list that leaves the inode table", () => {
    const craft = new Craft("plain");
    craft.setSuperblock(ext4_super_block.s_last_orphan, craft.inodeOf("/small")).setInode("/small", ext4_inode.i_dtime, 0xffff_ffff);
    expect(() => orphans(craft)).toThrow(damage("orphan-list", { ino: 0xffff_ffff }));
  });

  test("the orphan file's inode is an orphan in it: it is told, and nothing is followed", () => {
    const craft = new Craft("checksums");
    const ino = craft.ask(function* ({ fs }) { return ext4_super_block.s_orphan_file_inum.get(fs.sb.view, 0); });
    const [first] = craft.ask(function* ({ fs }) { return yield* (yield* fs.igetSpecial(ino)).fiemap(0, 1); });
    craft.view.setUint32(first!.pblk * craft.blockBytes, ino, true);
    expect(orphans(craft)).toEqual([ino]);
  });
});

describe("attributes", () => {
  test("a value that stands in the very inode that it belongs to", () => {
    const craft = new Craft("checksums");
    const ino = craft.inodeOf("/medium");
    const inodeAt = craft.inodeAt(ino);
    // The entry whose value has an inode of its own.
    let at = inodeAt + 128 + ext4_inode.i_extra_isize.get(craft.view, inodeAt) + 4;
    while (ext4_xattr_entry.e_value_inum.get(craft.view, at) === 0) at += (ext4_xattr_entry.$.size + ext4_xattr_entry.e_name_len.get(craft.view, at) + 3) & ~3;
    const volume = craft.set(ext4_xattr_entry.e_value_inum, at, ino).open();
    expect(() => volume.getxattrSync("/medium", "user.in-inode")).toThrow(damage("xattr-entry", { ino, field: "i_flags" }));
    expect(volume.readFileSync("/medium").length).toBe(10240);
  });
});

describe("symbolic links", () => {
  test("one leads to itself, two lead to each other, one into what it stands in", () => {
    const craft = new Craft("extents-unchecked");
    craft.newSymlink(FREE_INO, "self").newSymlink(FREE_INO + 1, "pong").newSymlink(FREE_INO + 2, "ping").newSymlink(FREE_INO + 3, "../deep/inside/x");
    const volume = craft.setEntries("/dir/deep", [
      { name: "self", ino: FREE_INO }, { name: "ping", ino: FREE_INO + 1 }, { name: "pong", ino: FREE_INO + 2 }, { name: "inside", ino: FREE_INO + 3 },
    ]).open();
    for (const name of ["self", "ping", "pong", "inside"]) {
      expect(() => volume.statSync(`/dir/deep/${name}`)).toThrow(expect.objectContaining({ code: "ELOOP", path: `/dir/deep/${name}` }));
      expect(volume.lstatSync(`/dir/deep/${name}`).isSymbolicLink()).toBe(true);
    }
    expect(volume.readlinkSync("/dir/deep/ping")).toBe("pong");
    walk(volume); // links are not followed
  });

  test("a chain of forty is followed, one of forty-one is not", () => {
    const craft = new Craft("extents-unchecked");
    const links = Array.from({ length: 41 }, (_, index) => ({ name: `l${index}`, ino: FREE_INO + index }));
    links.forEach(({ ino }, index) => craft.newSymlink(ino, index === 0 ? "/small" : `l${index - 1}`));
    const volume = craft.setEntries("/dir/deep", links).open();
    expect(volume.readFileSync("/dir/deep/l39", "utf8")).toBe("small file");
    expect(() => volume.readFileSync("/dir/deep/l40")).toThrow(expect.objectContaining({ code: "ELOOP" }));
  });
});
