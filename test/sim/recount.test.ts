/**
 * Counting a filesystem again: nothing is wrong with what Linux, mke2fs and the engine itself made, in the midst of work as at its end; whatever is planted is found, and e2fsck complains of it as well;
 * and bytes that are damaged at random are reported or passed by, but never end in an error or a loop.
 */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { MemoryDevice } from "../../src/block/memory.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import { mountExt4 } from "../../src/ext4/mount.js";
import { orphanAdd } from "../../src/ext4/orphan.js";
import type { Ext4 } from "../../src/ext4/super.js";
import { CorruptionError, UnsupportedFeatureError } from "../../src/format/corruption.js";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { Ext4 as Opener } from "../../src/platform/node/index.js";
import { Scheduler } from "../../src/sched/scheduler.js";
import { LabWorld } from "../support/lab-world.js";
import { recount } from "../../src/sim/recount.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";
import type { Inode } from "../../src/vfs/inode.js";
import { Churn } from "../support/churn.js";
import { FIXTURES, fixtureImage } from "../support/fixtures.js";
import { readImage, run, temporaryFolder } from "../support/host.js";
import { Prng } from "../../src/lib/prng.js";

const scheduler = new Scheduler();

function mount(bytes: Uint8Array, readOnly: boolean): Ext4 {
  return scheduler.runSync(mountExt4(new MemoryDevice(bytes), { readOnly }));
}

const problemsOf = (fs: Ext4): string[] => scheduler.runSync(recount(fs));

describe("nothing is wrong", () => {
  test.each(FIXTURES)("with the fixture %s, mounted for reading and for writing", (name) => {
    expect(problemsOf(mount(fixtureImage(name), true))).toEqual([]);
    expect(problemsOf(mount(fixtureImage(name), false))).toEqual([]);
  });

  const KINDS: [args: string, sizeMib?: number][] = [
    ["-t ext2 -b 1024"], ["-t ext2 -r 0 -b 1024"], ["-t ext2 -O ^filetype,^dir_index,^sparse_super,^resize_inode"], ["-t ext3 -b 4096 -I 128"], ["-t ext4 -b 1024"], ["-t ext4 -b 4096"],
    ["-t ext4 -O ^extent,^64bit"], ["-t ext4 -O inline_data -b 4096"], ["-t ext4 -O ^has_journal"], ["-t ext4 -O ^metadata_csum,^uninit_bg"], ["-t ext4 -O uninit_bg,^metadata_csum"],
    ["-t ext4 -O bigalloc -b 4096 -C 16384", 32], ["-t ext4 -O bigalloc -b 1024 -C 8192", 32], ["-t ext4 -O orphan_file,metadata_csum_seed,fast_commit"], ["-t ext4 -O mmp -b 1024"],
    ["-t ext4 -O meta_bg,^resize_inode -b 1024 -g 1024"], ["-t ext4 -O sparse_super2 -b 1024", 24], ["-t ext4 -O ^flex_bg -b 1024", 24], ["-t ext4 -O ea_inode,large_dir -b 1024"], ["-t ext4 -b 1024 -G 2 -g 2048"],
  ];

  test.each(KINDS)("as mke2fs made it, and while the engine works on it: %s", (args, sizeMib = 16) => {
    const image = join(temporaryFolder(), "disk.img");
    run("mke2fs", ["-q", "-F", ...args.split(" "), image, `${sizeMib}M`]);
    const bytes = readImage(image);
    expect(problemsOf(mount(bytes, true))).toEqual([]);
    const volume = Opener.openSync(new MemoryDevice(bytes), { readOnly: false });
    const churn = new Churn(volume as never, new Prng(7));
    const count = (): void => expect(volume.runSync(recount(volume.fs))).toEqual([]);
    for (let batch = 0; batch < 4; batch++) {
      for (let step = 0; step < 60; step++) churn.step();
      volume.writeFileSync("/attributes", "");
      for (const [name, bytesCount] of [["user.small", 20], ["user.large", 700], ["user.held", 3000]] as const) {
        try {
          volume.setxattrSync("/attributes", name, new Uint8Array(bytesCount).fill(batch + 1));
        } catch {
          // Not every kind has room for it.
        }
      }
      count();
    }
    const fd = volume.openSync("/nameless", "w");
    volume.writeSync(fd, new Uint8Array(50_000));
    volume.unlinkSync("/nameless");
    count(); // an orphan, but open
    volume.closeSync(fd);
    volume.runSync(volume.fs.sync());
    count();
    volume.closeSync();
    expect(problemsOf(mount(bytes, true))).toEqual([]);
  });

  test("on persistent memory, with pages of its own mapped", () => {
    const world = new LabWorld();
    world.mount({ dax: "always" });
    const { process } = world;
    const fd = world.run(process.open("/file", O_RDWR | O_CREAT));
    world.run(process.pwrite(fd, new Uint8Array(20_000), 0));
    const map = world.run(process.mmap(0, 16_384, PROT_READ | PROT_WRITE, MAP_SHARED, fd));
    world.run(process.store(map + 5000, 7));
    world.run(process.unlink("/file"));
    expect(world.run(recount(world.fs))).toEqual([]); // an orphan, but mapped
    world.run(process.close(fd));
    expect(world.run(recount(world.fs))).toEqual([]);
    world.unmount();
    world.mount({ readOnly: true });
    expect(world.run(recount(world.fs))).toEqual([]);
  });
});

/** One of everything that is to be spoiled. */
function makePlot(args: readonly string[]): string {
  const folder = temporaryFolder();
  const source = join(folder, "source");
  mkdirSync(join(source, "dir", "sub"), { recursive: true });
  for (const name of ["data", "twin", "dir/inside"]) writeFileSync(join(source, name), new Uint8Array(20_000).fill(1));
  writeFileSync(join(source, "small"), "small");
  symlinkSync("small", join(source, "link"));
  const image = join(folder, "disk.img");
  run("mke2fs", ["-q", "-F", ...args, "-d", source, image, "8M"]);
  run("debugfs", ["-w", "-f", "-", image], { input: `ea_set data user.large ${"x".repeat(700)}\n` });
  return image;
}

interface Plot {
  readonly bytes: Buffer;
  readonly fs: Ext4;
  /** The word of i_block that leads to a file's first block. */
  readonly firstPointer: number;
  find(path: string): Ext4Inode;
  /** Its first. */
  block(path: string): number;
}

function plotOf(image: string, firstPointer: number, bytes = readFileSync(image)): Plot {
  const fs = mount(new Uint8Array(bytes), true);
  const find = (path: string): Ext4Inode => scheduler.runSync((function* () {
    let inode: Inode = fs.root;
    for (const name of path === "." ? [] : path.split("/")) inode = (yield* inode.lookup(Buffer.from(name)))!;
    return inode as Ext4Inode;
  })());
  return { bytes, fs, firstPointer, find, block: (path) => scheduler.runSync(find(path).fiemap(0, 1))[0]!.pblk };
}

const group0 = (fs: Ext4) => scheduler.runSync(fs.groupDesc(0));

/** Of e2fsck's exit code: what is wrong stays so. */
const UNCORRECTED = 4;

/** By debugfs, which keeps checksums right. What is found, as a pattern. */
const PLANTED: Readonly<Record<string, readonly [commands: (plot: Plot) => string[], problem: RegExp, isComplaining?: boolean]>> = {
  "a block of a file that is free": [(plot) => [`freeb ${plot.block("data")}`], /^block \d+: free in the bitmap, and owned by inode \d+$/],
  "a block that nobody has": [(plot) => [`setb ${plot.fs.sb.blocksCount - 5}`], /^block \d+: in use in the bitmap, and owned by nobody$/],
  "a block of the inode table that is free": [(plot) => [`freeb ${group0(plot.fs).inodeTable + 2}`], /free in the bitmap, and owned by an inode table$/],
  "an inode that is free": [() => ["freei data"], /^inode \d+: free in the bitmap, and in use$/],
  "an inode marked as used": [(plot) => [`seti <${plot.fs.sb.inodesCount - 3}>`], /^inode \d+: in use in the bitmap, and unused$/],
  "too many links": [() => ["sif data links_count 3"], /^inode \d+ has 1 names, and says 3$/],
  "a name that is not counted": [() => ["ln small again"], /^inode \d+ has 2 names, and says 1$/],
  "a directory's links": [() => ["sif dir links_count 7"], /^directory \d+ has 3 links, and says 7$/],
  "a file without a name": [() => ["unlink data"], /^inode \d+ is in use, and has no name$/],
  "a directory without a name": [() => ["unlink dir/sub"], /^inode \d+ is in use, and has no name$/],
  "a name of nothing": [() => ["clri small"], /leads to inode \d+, which is not in use$/],
  "a name of the resize inode": [() => ["ln <7> reserved"], /leads to inode 7, which is the filesystem's own$/],
  "a directory with two names": [() => ["ln dir/sub other", "sif dir/sub links_count 3"], /^directory \d+ is in two places/],
  "a wrong count of blocks": [() => ["sif data blocks 2"], /^inode \d+ has \d+ sectors, and says 2$/],
  "a size before the last block": [() => ["sif data size 100"], /^inode \d+ has 100 bytes, and its block \d+ was written$/],
  "a directory's size": [(plot) => [`sif dir size ${3 * plot.fs.blockBytes}`], /^directory \d+ has \d+ bytes, and says \d+$|has a hole/],
  "a type that is another": [() => ["sif small mode 010644"], /has type 8, and inode \d+ is of type 1$/],
  "a time of deletion": [() => ["sif data dtime 1700000000"], /^inode \d+ is in use, and was deleted at 1700000000$/],
  "a block of attributes that is another's": [() => ["sif small file_acl 100"], /attribute block|belongs to inode/],
  "a block of attributes that two share, and one counts": [(plot) => [`sif small file_acl ${plot.find("data").i_file_acl}`], /^block \d+ has the attributes of 2 inodes, and says 1$/],
  "a block that two files have": [(plot) => [`sif twin block[${plot.firstPointer}] ${plot.block("data")}`], /^block \d+ belongs to inode \d+ and to inode \d+$/],
  "a block that a file and the inode table have": [(plot) => [`sif twin block[${plot.firstPointer}] ${group0(plot.fs).inodeTable + 1}`], /^block \d+ belongs to an inode table and to inode \d+$/],
  "a group's free blocks": [() => ["set_bg 0 free_blocks_count 3", "set_bg 0 checksum calc"], /^group 0 has \d+ free clusters in its bitmap, and says 3$/],
  "a group's free inodes": [() => ["set_bg 0 free_inodes_count 3", "set_bg 0 checksum calc"], /^group 0 has \d+ free inodes in its bitmap, and says 3$/],
  "a group's directories": [() => ["set_bg 0 used_dirs_count 9", "set_bg 0 checksum calc"], /^group 0 has \d+ directories, and says 9$/],
  // The superblock's counts e2fsck sums up anew without a word.
  "the superblock's free blocks": [() => ["ssv free_blocks_count 77"], /^\d+ blocks are free, and the superblock says 77$/, false],
  "the superblock's free inodes": [() => ["ssv free_inodes_count 77"], /^\d+ inodes are free, and the superblock says 77$/, false],
};

const LAYOUTS = {
  "ext4, 4 KiB": { args: ["-t", "ext4", "-b", "4096"], firstPointer: 5 },
  "ext2, 1 KiB": { args: ["-t", "ext2", "-b", "1024"], firstPointer: 0 },
} as const;

interface Planted { readonly name: string; readonly bytes: Uint8Array; readonly commands?: readonly string[] }
interface Verdict { readonly problems: string[]; readonly isComplaining: boolean }

/** What is wrong with each image, by name, and whether e2fsck complains. One shell runs all commands, for a process costs more than its work. */
function judge(planted: readonly Planted[]): Map<string, Verdict> {
  const folder = temporaryFolder();
  planted.forEach(({ bytes, commands = [] }, index) => {
    writeFileSync(join(folder, `${index}.img`), bytes);
    writeFileSync(join(folder, `${index}.commands`), commands.join("\n"));
  });
  const script = "for at in $(seq 0 $1); do debugfs -w -f $at.commands $at.img >$at.log 2>&1; e2fsck -fn $at.img >>$at.log 2>&1; echo $?; done";
  const codes = run("sh", ["-c", script, "sh", String(planted.length - 1)], { cwd: folder }).trim().split("\n");
  return new Map(planted.map(({ name }, index) => {
    const problems = problemsOf(mount(readImage(join(folder, `${index}.img`)), true));
    return [name, { problems, isComplaining: (Number(codes[index]) & UNCORRECTED) !== 0 }];
  }));
}

function expectFound({ problems, isComplaining }: Verdict, problem: RegExp, complains = true): void {
  expect(problems.some((each) => problem.test(each)), problems.join("\n")).toBe(true);
  expect(isComplaining).toBe(complains);
}

describe.each(Object.entries(LAYOUTS))("%s: what is planted is found, and e2fsck complains as well", (_name, { args, firstPointer }) => {
  let verdicts: Map<string, Verdict>;
  beforeAll(() => {
    const plot = plotOf(makePlot(args), firstPointer);
    const planted = Object.entries(PLANTED).map(([name, [commands]]) => ({ name, bytes: plot.bytes, commands: commands(plot) }));
    verdicts = judge([{ name: "", bytes: plot.bytes }, ...planted]);
  }, 120_000);

  test("nothing is wrong before", () => {
    expect(verdicts.get("")).toEqual({ problems: [], isComplaining: false });
  });

  test.each(Object.entries(PLANTED))("%s", (name, [, problem, isComplaining]) => {
    expectFound(verdicts.get(name)!, problem, isComplaining);
  });
});

describe("bytes changed by hand, where nothing has a checksum", () => {
  const plot = plotOf(makePlot(["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,^uninit_bg"]), 5);
  const BY_HAND: Readonly<Record<string, readonly [change: (bytes: Buffer) => void, problem: RegExp]>> = {
    "an entry's type": [(bytes) => void bytes.writeUInt8(2, bytes.indexOf("small", plot.block(".") * 4096) - 1), /has type 4, and inode \d+ is of type 8$/],
    "\"..\"": [(bytes) => void bytes.writeUInt32LE(11, plot.block("dir/sub") * 4096 + 12), /^directory \d+ is in directory \d+, and its second entry does not say so$/],
    "\".\"": [(bytes) => void bytes.writeUInt32LE(2, plot.block("dir/sub") * 4096), /^directory \d+ does not begin with itself$/],
    "a name twice": [(bytes) => void bytes.write("data", bytes.indexOf("twin", plot.block(".") * 4096)), /^directory 2 has two entries "data"$/],
    "a record's length": [(bytes) => void bytes.writeUInt16LE(7, plot.block("dir/sub") * 4096 + 4), /a directory entry is damaged/],
    "an extent's length": [(bytes) => void bytes.writeUInt16LE(0, inodeAt(plot.find("data").i_ino) + 0x28 + 16), /an extent points outside the filesystem/],
    "a deleted inode without a time": [(bytes) => void bytes.writeUInt16LE(0o100644, inodeAt(200)), /^inode 200 was deleted, and has no time of deletion$/],
    "the end of the block bitmap": [(bytes) => void bytes.writeUInt8(0, group0(plot.fs).blockBitmap * 4096 + 4000), /^the block bitmap of group 0 has clear bits behind its end$/],
    "a group's block bitmap": [(bytes) => void bytes.writeUInt8(0, group0(plot.fs).blockBitmap * 4096), /^blocks 0\.\.1: free in the bitmap, and owned by the superblock and the group descriptors$/],
  };

  function inodeAt(ino: number): number {
    return group0(plot.fs).inodeTable * 4096 + (ino - 1) * plot.fs.sb.inodeBytes;
  }

  let verdicts: Map<string, Verdict>;
  beforeAll(() => {
    verdicts = judge(Object.entries(BY_HAND).map(([name, [change]]) => {
      const bytes = Buffer.from(plot.bytes);
      change(bytes);
      return { name, bytes };
    }));
  }, 120_000);

  test.each(Object.entries(BY_HAND))("%s", (name, [, problem]) => {
    expectFound(verdicts.get(name)!, problem);
  });

  test("no problem is told twice, and no more than 20 are told", () => {
    const bytes = new Uint8Array(plot.bytes);
    const { blockBitmap } = group0(plot.fs);
    bytes.fill(0x55, blockBitmap * 4096, blockBitmap * 4096 + 200);
    const problems = problemsOf(mount(bytes, true));
    expect(problems).toHaveLength(20);
    expect(new Set(problems).size).toBe(20);
  });
});

test("the root of a hash tree, without which names are still found", () => {
  const image = join(temporaryFolder(), "disk.img");
  run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^uninit_bg", image, "8M"]);
  const bytes = readImage(image);
  const volume = Opener.openSync(new MemoryDevice(bytes), { readOnly: false });
  volume.mkdirSync("/directory");
  for (let number = 0; number < 120; number++) volume.writeFileSync(`/directory/file-number-${number}`, "");
  volume.closeSync();
  const directory = plotOf(image, 0, Buffer.from(bytes)).block("directory") * 1024;
  // dx_root_info stands behind "." and "..", and behind it a dx_countlimit.
  const spoiled: readonly (readonly [name: string, at: number, value: number])[] = [["hash_version", 28, 77], ["info_length", 29, 5], ["limit", 32, 3]];
  const verdicts = judge([["", 28, bytes[directory + 28]!] as const, ...spoiled].map(([name, at, value]) => {
    const changed = bytes.slice();
    changed[directory + at] = value;
    return { name, bytes: changed };
  }));
  expect(verdicts.get("")).toEqual({ problems: [], isComplaining: false });
  for (const [name] of spoiled) expectFound(verdicts.get(name)!, /: a directory.s hash tree is damaged/);
});

describe("what is wrong in core alone", () => {
  const open = (): Ext4 => mount(fixtureImage("checksums"), false);

  test("an orphan that has a name, and one that nobody has open", () => {
    const fs = open();
    const file = scheduler.runSync(fs.root.createNameless({ mode: 0o100644, umask: 0, uid: 0, gid: 0 }));
    scheduler.runSync(fs.change(20, (handle) => orphanAdd(handle, fs.root)));
    expect(problemsOf(fs)).toEqual([`inode ${file.i_ino} is among the orphans, and nobody has it open`, "inode 2 is among the orphans, and has a name"]);
  });

  test("a promise that nobody will claim", () => {
    const fs = open();
    fs.allocator.reserve(3);
    expect(problemsOf(fs)).toEqual(["3 clusters are promised, and nobody has anything to write"]);
  });

  test("counts", () => {
    const fs = open();
    scheduler.runSync(fs.groupDesc(0)).usedDirs++;
    expect(problemsOf(fs)).toEqual([expect.stringMatching(/^usedDirs of group 0: \d+ on disk, \d+ in core$/)]);
  });
});

test.each(["plain", "extents-unchecked", "inline"] as const)("damage at random in the fixture %s ends in problems, never in an error", (name) => {
  const image = fixtureImage(name);
  const prng = new Prng(11);
  const used: number[] = [];
  for (let at = 0; at < image.length; at++) if (image[at] !== 0) used.push(at);
  let problemCount = 0;
  for (let round = 0; round < 150; round++) {
    const bytes = image.slice();
    for (let change = prng.below(6); change >= 0; change--) bytes[prng.pick(used) ^ prng.below(8)] = prng.below(256);
    let fs: Ext4;
    try {
      fs = scheduler.runSync(mountExt4(new MemoryDevice(bytes), { readOnly: true, verifyChecksums: false }));
    } catch (error) {
      expect(error instanceof CorruptionError || error instanceof UnsupportedFeatureError).toBe(true);
      continue;
    }
    problemCount += problemsOf(fs).length;
  }
  expect(problemCount).toBeGreaterThan(10);
});
