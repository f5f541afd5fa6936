/**
 * Filesystems that are made with a tree in them: over the kinds of filesystem, with one of everything, held against the folder by e2fsck and Linux, and then written on by our own engine; trees in
 * memory for what no folder of this host has; and random trees on devices of every small size, which fit whole or are refused before a byte is written.
 */
import { mkdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Filling } from "../../src/cli/verbs/mkfs-fill.js";
import { Output } from "../../src/cli/output.js";
import { planMkfs } from "../../src/mkfs/mkfs.js";
import type { MkfsOptions } from "../../src/mkfs/options.js";
import { Ext4, FileDevice, FsError, MemoryDevice, runSync, type Volume } from "../../src/platform/node/index.js";
import { S_IFBLK, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK } from "../../src/vfs/inode.js";
import { attempt, canMount, notTestedHere, run, temporaryFolder, withMount, writeImage } from "../support/host.js";
import { Prng } from "../../src/lib/prng.js";
import { linuxTree, ourTree, treeDifferences, type Node, type Tree } from "../support/tree.js";
import { parse } from "./beside.js";
import { directory, file, FIXED, makeFilled, MemoryNode, MemoryTree } from "./memory-tree.js";

const MIB = 2 ** 20;
const hasFsck = attempt("e2fsck", ["-V"]).status === 0;
const folder = temporaryFolder();
/** A larger file is outside of its inode. */
const INLINE_BYTES_MAX = 1024;

/** @param image a file, or bytes of one. */
function checkImage(image: string | Uint8Array): void {
  const path = typeof image === "string" ? image : join(folder, "checked.img");
  if (typeof image !== "string") writeImage(path, image);
  if (!hasFsck) return;
  const { status, stdout } = attempt("e2fsck", ["-fn", path]);
  expect(status, stdout).toBe(0);
}

/** Changes of every kind, next to what is there and in it. */
function writeOn(volume: Volume): void {
  volume.mkdirSync("/later");
  for (let index = 0; index < 200; index++) volume.writeFileSync(`/later/file-${index}`, Buffer.alloc(index * 50, index));
  for (const name of volume.readdirSync("/")) {
    const path = `/${name}`;
    const stats = volume.lstatSync(path);
    if (stats.isDirectory()) for (let index = 0; index < 40; index++) volume.writeFileSync(`${path}/a name that came later, the ${index}th of them`, "later");
    else if (stats.isFile() && stats.size > INLINE_BYTES_MAX && stats.size < MIB) volume.appendFileSync(path, Buffer.alloc(5000, 1));
  }
  for (const name of volume.readdirSync("/later").slice(0, 100)) volume.unlinkSync(`/later/${name}`);
}

const ROWS: readonly (readonly [string, string, string])[] = [
  ["ext2, 1 KiB", "-t ext2 -b 1024", "48M"],
  ["ext2, revision 0", "-t ext2 -r 0 -b 1024", "48M"],
  ["ext2, without filetype and dir_index", "-t ext2 -b 4096 -O ^filetype,^dir_index,^sparse_super,^resize_inode", "48M"],
  ["ext3, 128-byte inodes", "-t ext3 -b 4096 -I 128", "48M"],
  ["ext4, 1 KiB", "-b 1024", "48M"],
  ["ext4, 2 KiB", "-b 2048", "48M"],
  ["ext4, 4 KiB", "-b 4096", "48M"],
  ["meta_bg, small groups", "-O meta_bg,^resize_inode -b 1024 -g 512", "48M"],
  ["without flex_bg", "-O ^flex_bg -b 1024", "48M"],
  ["bigalloc, 16 KiB clusters", "-O bigalloc -b 4096 -C 16384", "96M"],
  ["bigalloc, 1 KiB blocks", "-O bigalloc -b 1024 -C 8192", "96M"],
  ["uninit_bg", "-O uninit_bg,^metadata_csum -b 1024", "48M"],
  ["no checksums, no extents", "-O ^metadata_csum,^extent,^64bit -b 1024", "48M"],
  ["inline_data", "-O inline_data -b 4096", "48M"],
  ["inline_data, 1024-byte inodes", "-O inline_data,ea_inode -I 1024 -b 4096", "48M"],
  ["ea_inode", "-O ea_inode -b 1024", "48M"],
  ["large_dir", "-O large_dir -b 1024", "48M"],
  ["orphan_file and mmp", "-O orphan_file,mmp -b 4096", "48M"],
  ["quota and project", "-O quota,project -b 4096", "48M"],
  ["quota, 1 KiB, ea_inode", "-O quota,project,ea_inode -b 1024", "48M"],
  ["casefold, encrypt, verity", "-O casefold,encrypt,verity -b 4096", "48M"],
  ["without dir_index, dir_nlink, extra_isize, huge_file", "-O ^dir_index,^dir_nlink,^extra_isize,^huge_file -b 1024", "48M"],
  ["without journal", "-O ^has_journal -b 4096", "48M"],
  ["lazy tables", "-E lazy_itable_init=1 -b 4096", "256M"],
  ["every feature at once", "-O bigalloc,ea_inode,inline_data,large_dir,quota,project,metadata_csum_seed,orphan_file,mmp,^resize_inode -b 4096 -C 16384", "96M"],
  ["64 KiB", "-b 65536 -N 8000", "256M"],
  ["64 KiB, inline data and bigalloc", "-O bigalloc,inline_data -b 65536 -C 131072 -N 8000", "384M"],
];

/** What a copy cannot have, or has otherwise. */
const NOT_COPIED: ReadonlySet<keyof Node> = new Set(["ino", "blocks", "ctimeNs", "birthtimeNs", "atimeNs"]);

describe.runIf(canMount)("one of everything", () => {
  const source = canMount ? sourceFolder() : "";
  const theirs = canMount ? comparable(linuxTree(source)) : new Map<string, Node>();

  test.each(ROWS)("%s", (_name, words, size) => {
    const options = parse(words, size);
    const wanted = new Map([...theirs].map(([path, node]) => [path, { ...node }]));
    const image = join(folder, "filled.img");
    makeFromFolder(image, options, source);
    checkImage(image);
    // Times to the nanosecond, before 1901 or after 2038 take larger inodes.
    const isShort = (options.inodeBytes ?? 256) === 128 || options.revision === 0;
    const compare = (tree: Tree): void => {
      const found = comparable(tree);
      found.delete("/lost+found");
      if (isShort) for (const nodes of [found, wanted]) for (const node of nodes.values()) node.mtimeNs = 0n;
      expect(treeDifferences(wanted, found, NOT_COPIED)).toEqual([]);
    };
    const volume = Ext4.openSync(image);
    compare(ourTree(volume));
    volume.closeSync();
    withMount(image, "ro,noatime", (mountPoint) => compare(linuxTree(mountPoint)));
    if (options.features?.includes("quota") === true) return; // which our engine does not write to
    const writable = Ext4.openSync(image, { readOnly: false });
    writeOn(writable);
    writable.closeSync();
    checkImage(image);
  });
});

/** Sizes and link counts of directories are the filesystem's own. */
function comparable(tree: Tree): Tree {
  for (const node of tree.values()) if ((node.mode & 0o170000n) === 0o040000n) node.size = node.nlink = 0n;
  tree.delete("/socket");
  return tree;
}

function sourceFolder(): string {
  const source = join(temporaryFolder(), "source");
  mkdirSync(source);
  run("python3", [new URL("../support/fill.py", import.meta.url).pathname, source, "900"]);
  rmSync(join(source, "symlink-4000")); // it takes a block as large
  truncateSync(join(source, "all-hole"), 3_000_001);
  for (let index = 0; index < 40; index++) {
    const path = join(source, "sizes", `owner-${index}`);
    writeFileSync(path, Buffer.alloc(index * 1000, 7));
    run("chown", [`${index + 1}:${index * 70_000 + 1}`, path]);
  }
  return source;
}

function makeFromFolder(image: string, given: ReturnType<typeof parse>, source: string): void {
  rmSync(image, { force: true });
  writeFileSync(image, "");
  truncateSync(image, given.sizeBytes!);
  const options: MkfsOptions = { ...FIXED, ...given, uuid: FIXED.uuid, deviceIsZero: true };
  const filling = new Filling({ directory: source, image, path: image, startBytes: 0, isHeld: true }, new Output("mkfs", false, true));
  const plan = planMkfs(options, given.sizeBytes!, filling.tree);
  const device = FileDevice.open(image, { readOnly: false });
  runSync(plan.write(device, function* () { filling.finish(); }));
  runSync(device.close());
}

const known = new Map<string, Uint8Array>();

function noise(lengthBytes: number, seed: number): Uint8Array {
  const key = `${lengthBytes}:${seed}`;
  let bytes = known.get(key);
  if (bytes === undefined) {
    const prng = new Prng(seed + 1);
    known.set(key, (bytes = Uint8Array.from({ length: lengthBytes }, () => prng.below(256))));
  }
  return bytes;
}

/** Holds a volume against the tree that it was filled with. */
function expectTree(volume: Volume, node: MemoryNode, path = ""): void {
  const names = volume.readdirSync(path === "" ? "/" : path).filter((name) => path !== "" || name !== "lost+found" || node.children.has(name));
  expect(names.sort()).toEqual([...node.children].filter(([, child]) => (child.mode & S_IFSOCK) !== S_IFSOCK).map(([name]) => name).sort());
  for (const [name, child] of node.children) {
    const at = `${path}/${name}`;
    const type = child.mode & 0o170000;
    if (type === S_IFSOCK) continue;
    const stats = volume.lstatSync(at, { bigint: true });
    expect([at, stats.mode, stats.uid, stats.gid, stats.mtimeNs]).toEqual([at, BigInt(child.mode), BigInt(child.uid), BigInt(child.gid), 1_100_000_000_999_999_999n]);
    if (type === S_IFREG) expect(Buffer.compare(volume.readFileSync(at), child.data), at).toBe(0);
    if (type === S_IFLNK) expect(Buffer.compare(volume.readlinkSync(at, "buffer"), child.readlink())).toBe(0);
    if (type !== S_IFDIR) expect(stats.nlink).toBe(BigInt(child.linkCount));
    else expectTree(volume, child, at);
  }
}

function expectFilled(bytes: Uint8Array, root: MemoryNode): void {
  checkImage(bytes);
  const volume = Ext4.openSync(new MemoryDevice(bytes));
  expectTree(volume, root);
  expect(volume.fs.warnings).toEqual([]);
  volume.closeSync();
}

describe("trees in memory", () => {
  test.each(["", "inline_data", "^dir_index", "bigalloc,^resize_inode", "^extent,^64bit", "quota,ea_inode"])("lost+found, links, devices, sockets: %s", (features) => {
    const linked = file(noise(3000, 1));
    const root = directory({
      "lost+found": directory({ found: file(noise(70_000, 2)), ["long ".repeat(40)]: linked, deeper: directory({ again: linked }) }, { mode: S_IFDIR | 0o711, uid: 5 }),
      first: linked, empty: directory({}), device: new MemoryNode({ mode: S_IFBLK | 0o600 }), pipe: new MemoryNode({ mode: S_IFIFO | 0o640, gid: 70_000 }), socket: new MemoryNode({ mode: S_IFSOCK | 0o777 }),
      short: new MemoryNode({ mode: S_IFLNK | 0o777, target: noise(59, 3).map((byte) => byte | 1) }), long: new MemoryNode({ mode: S_IFLNK | 0o777, target: noise(900, 4).map((byte) => byte | 1) }),
    }, { uid: 1, gid: 2 });
    const tree = new MemoryTree(root);
    const bytes = makeFilled({ features, blockBytes: 1024 }, 16 * MIB, tree, 0xaa);
    expect(tree.leftOut).toEqual(["sockets, which live only as long as who listens"]);
    expectFilled(bytes, root);
    const volume = Ext4.openSync(new MemoryDevice(bytes));
    expect(volume.statSync("/")).toMatchObject({ uid: 1, gid: 2 });
    expect(volume.lstatSync("/device").rdev).toBeGreaterThan(0);
    volume.closeSync();
  });

  /** Three of them fill a leaf of 1 KiB. */
  const longName = (index: number): string => `${index}-${"long".repeat(59)}`;

  test.each([["", 3000], ["large_dir", 48_000], ["^dir_index", 3000]] as const)("a directory of long names, %s: %d", (features, count) => {
    const many: Record<string, MemoryNode> = {};
    for (let index = 0; index < count; index++) many[longName(index)] = index % 500 === 0 ? file(noise(index % 1000, index)) : emptyFile(index);
    const root = directory({ many: directory(many) });
    const bytes = makeFilled({ features, blockBytes: 1024, inodesCount: count + 1000, type: "ext4" }, (count > 10_000 ? 96 : 32) * MIB, new MemoryTree(root));
    checkImage(bytes);
    const volume = Ext4.openSync(new MemoryDevice(bytes), { readOnly: false });
    expect(volume.readdirSync("/many").sort().join() === Object.keys(many).sort().join()).toBe(true);
    for (const index of [0, 1, 999, count - 1]) expect(volume.existsSync(`/many/${longName(index)}`)).toBe(true);
    for (let index = 0; index < (features === "^dir_index" ? 10 : 500); index++) volume.writeFileSync(`/many/new-${index}`, "");
    volume.closeSync();
    checkImage(bytes);
  });

  test("a directory that its tree cannot hold is refused", () => {
    const many: Record<string, MemoryNode> = {};
    for (let index = 0; index < 48_000; index++) many[longName(index)] = emptyFile(index);
    const tree = new MemoryTree(directory({ many: directory(many) }));
    expect(() => planMkfs({ ...FIXED, blockBytes: 1024, inodesCount: 70_000 }, 96 * MIB, tree)).toThrow(/ENOSPC.*tree.*'\/many'/);
  });

  test("more subdirectories than are counted", () => {
    const many: Record<string, MemoryNode> = {};
    for (let index = 0; index < 65_010; index++) many[`d${index}`] = EMPTY_DIRECTORY;
    const tree = new MemoryTree(directory({ many: directory(many) }));
    const options = { blockBytes: 1024, inodesCount: 66_000 };
    const bytes = makeFilled(options, 128 * MIB, tree);
    checkImage(bytes);
    const volume = Ext4.openSync(new MemoryDevice(bytes));
    expect(volume.statSync("/many").nlink).toBe(1);
    volume.closeSync();
    expect(() => planMkfs({ ...FIXED, ...options, features: "^dir_nlink" }, 128 * MIB, tree)).toThrow(/EMLINK.*'\/many'/);
  });

  test.each(["ea_inode", "ea_inode,inline_data,quota", "ea_inode,bigalloc,^resize_inode", ""])("attributes: shared, large, refused: %s", (features) => {
    const has = features.includes("ea_inode");
    const large = noise(9000, 9);
    const xattrs = (index: number): Record<string, Uint8Array> => ({
      "user.small": noise(8, 1), "user.shared": noise(400, 2), "security.label": noise(30, index % 3), ...(has ? { "user.large": large, "user.larger": noise(20_000, index % 2) } : {}), "nonsense.x": noise(1, 1),
    });
    const files = Object.fromEntries(Array.from({ length: 1200 }, (_, index) => [`file-${index}`, file(noise(index % 200, index), { uid: index % 20, xattrs: xattrs(index) })]));
    const root = directory({ ...files, link: new MemoryNode({ mode: S_IFLNK | 0o777, target: noise(5, 5).map((byte) => byte | 1), xattrs: { "user.not": noise(1, 1), "trusted.yes": noise(100, 1) } }) }, { xattrs: { "user.root": noise(300, 8) } });
    const tree = new MemoryTree(root);
    const bytes = makeFilled({ features, blockBytes: 1024 }, 32 * MIB, tree);
    expect(tree.leftOut).toHaveLength(1201);
    expectFilled(bytes, root);
    const volume = Ext4.openSync(new MemoryDevice(bytes));
    for (const index of [0, 7, 1199]) {
      const expected = Object.fromEntries(Object.entries(xattrs(index)).filter(([name]) => name !== "nonsense.x"));
      const found = Object.fromEntries(volume.listxattrSync(`/file-${index}`).map((name) => [name, Uint8Array.from(volume.getxattrSync(`/file-${index}`, name)!)]));
      expect(found).toEqual(expected);
    }
    volume.closeSync();
    if (features.includes("quota")) return;
    const writable = Ext4.openSync(new MemoryDevice(bytes), { readOnly: false });
    for (let index = 0; index < 600; index++) writable.unlinkSync(`/file-${index}`);
    writable.setxattrSync("/file-900", "user.shared", noise(200, 3));
    writable.closeSync();
    checkImage(bytes);
  });

  test.each(["", "^extent,^64bit", "bigalloc,^resize_inode"])("files with many holes: %s", (features) => {
    const data = new Uint8Array(3 * MIB + 77);
    const runs: { offsetBytes: number; endBytes: number }[] = [];
    for (let offsetBytes = 300; offsetBytes < data.length; offsetBytes += 9000 + runs.length * 3) {
      const endBytes = Math.min(offsetBytes + 700, data.length);
      data.set(noise(endBytes - offsetBytes, offsetBytes), offsetBytes);
      runs.push({ offsetBytes, endBytes });
    }
    const root = directory({ holes: file(data, { runs }), all: file(new Uint8Array(100_000), { runs: [] }), end: file(data.slice(0, 5000), { runs: [{ offsetBytes: 4999, endBytes: 5000 }, ...runs.slice(0, 0)] }) });
    root.children.get("end")!.data.fill(0, 0, 4096);
    expectFilled(makeFilled({ features, blockBytes: 1024 }, 16 * MIB, new MemoryTree(root), 0x55), root);
  });
});

const EMPTY_DIRECTORY = directory({});
/** With no more to it than its names: so many may lead to one. */
const EMPTY_FILES = Array.from({ length: 10 }, () => file(new Uint8Array(0)));
const emptyFile = (index: number): MemoryNode => EMPTY_FILES[index % EMPTY_FILES.length]!;

describe("on devices of every small size", () => {
  const KINDS: readonly Partial<MkfsOptions>[] = [
    { blockBytes: 1024 }, { blockBytes: 1024, type: "ext2" }, { blockBytes: 4096, features: "inline_data,ea_inode" }, { blockBytes: 1024, features: "bigalloc,quota,^resize_inode", clusterBytes: 4096 },
    { blockBytes: 2048, features: "^flex_bg,orphan_file", inodesCount: 40 },
  ];

  function randomTree(prng: Prng, depth: number): MemoryNode {
    const children: Record<string, MemoryNode> = {};
    for (let count = prng.below(8); count >= 0; count--) {
      const name = `${prng.below(1000)}${"-name".repeat(prng.below(20))}`;
      const kind = prng.below(8);
      if (kind === 0 && depth < 4) children[name] = randomTree(prng, depth + 1);
      else if (kind === 1) children[name] = new MemoryNode({ mode: S_IFLNK | 0o777, target: noise(1 + prng.below(400), kind).map((byte) => byte | 1) });
      else children[name] = file(noise(prng.below(5) === 0 ? prng.below(100_000) : prng.below(3000), prng.below(99)), prng.below(4) === 0 ? { xattrs: { "user.a": noise(prng.below(500), 3) } } : {});
    }
    return directory(children);
  }

  test.each([...KINDS.entries()])("kind %d: %o", (seed, options) => {
    const root = randomTree(new Prng(seed + 40), 0);
    let fitted = 0;
    let refused = 0;
    for (let sizeBytes = 64 * 1024; sizeBytes <= 1600 * 1024; sizeBytes += 24 * 1024) {
      const tree = new MemoryTree(root);
      try {
        const bytes = makeFilled(options, sizeBytes, tree, sizeBytes % (48 * 1024) === 0 ? 0 : 0xff);
        if (fitted++ % 6 === 0) expectFilled(bytes, root);
      } catch (error) {
        if (!(error instanceof FsError) || error.code !== "ENOSPC") throw error;
        refused++;
      }
    }
    expect(fitted).toBeGreaterThan(0);
    expect(refused).toBeGreaterThan(0);
  });
});

if (!canMount) notTestedHere("filling from a folder with one of everything", "needs root and loop devices");
