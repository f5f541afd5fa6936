/**
 * Images of every kind that mke2fs makes, filled by Linux itself with one of everything: every path, mode, owner, time, size, link count, attribute, target and
 * content is what Linux says. Kinds that this kernel does not mount are filled by mke2fs -d and held against the folder that they were made from.
 */
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Ext4, type Volume } from "../../src/platform/node/index.js";
import { attempt, canMount, notTestedHere, run, temporaryFolder, withMount } from "../support/host.js";
import { hashOf, linuxTree, ourTree, treeDifferences, type Node } from "../support/tree.js";

interface Row {
  readonly name: string;
  readonly args: readonly string[];
  readonly sizeMib?: number;
  readonly entries?: number;
  /** After mke2fs, before it is filled. */
  readonly tune?: readonly string[];
}

const ext4 = (options: string, ...args: string[]): string[] => ["-t", "ext4", ...(options === "" ? [] : ["-O", options]), ...args];

const ROWS: readonly Row[] = [
  { name: "ext2, 1 KiB", args: ["-t", "ext2", "-b", "1024"] },
  { name: "ext2, 4 KiB", args: ["-t", "ext2", "-b", "4096"] },
  { name: "ext2, revision 0", args: ["-t", "ext2", "-r", "0", "-b", "1024"] },
  { name: "ext2, without filetype and dir_index", args: ["-t", "ext2", "-O", "^filetype,^dir_index,^sparse_super,^resize_inode"] },
  { name: "ext3, 1 KiB", args: ["-t", "ext3", "-b", "1024"] },
  { name: "ext3, 4 KiB, 128-byte inodes", args: ["-t", "ext3", "-b", "4096", "-I", "128"] },
  { name: "ext4, 1 KiB", args: ext4("", "-b", "1024"), entries: 20_000 },
  { name: "ext4, 2 KiB", args: ext4("", "-b", "2048") },
  { name: "ext4, 4 KiB", args: ext4("", "-b", "4096") },
  { name: "128-byte inodes", args: ext4("^metadata_csum", "-I", "128") },
  { name: "512-byte inodes", args: ext4("", "-I", "512") },
  { name: "1024-byte inodes", args: ext4("", "-I", "1024", "-b", "4096") },
  { name: "without 64bit", args: ext4("^64bit") },
  { name: "meta_bg", args: ext4("meta_bg,^resize_inode", "-b", "1024", "-g", "1024"), sizeMib: 64 },
  { name: "meta_bg, 64bit, small groups", args: ext4("meta_bg,^resize_inode,64bit", "-b", "1024", "-g", "256"), sizeMib: 96 },
  { name: "without flex_bg", args: ext4("^flex_bg") },
  { name: "flex_bg of 4, packed", args: ext4("", "-G", "4", "-E", "packed_meta_blocks=1") },
  { name: "sparse_super2", args: ext4("sparse_super2", "-b", "1024") },
  { name: "without sparse_super", args: ext4("^sparse_super,^resize_inode", "-b", "1024") },
  { name: "without resize_inode", args: ext4("^resize_inode") },
  { name: "bigalloc, 16 KiB clusters", args: ext4("bigalloc", "-b", "4096", "-C", "16384"), sizeMib: 96 },
  { name: "bigalloc, 1 KiB blocks", args: ext4("bigalloc", "-b", "1024", "-C", "8192"), sizeMib: 96 },
  { name: "uninit_bg without metadata_csum", args: ext4("uninit_bg,^metadata_csum") },
  { name: "no checksums at all", args: ext4("^uninit_bg,^metadata_csum") },
  { name: "metadata_csum_seed", args: ext4("metadata_csum_seed") },
  { name: "without extents", args: ext4("^extent,^64bit") },
  { name: "inline_data", args: ext4("inline_data") },
  { name: "inline_data, 1024-byte inodes", args: ext4("inline_data", "-I", "1024", "-b", "4096") },
  { name: "ea_inode", args: ext4("ea_inode"), sizeMib: 64 },
  { name: "ea_inode and inline_data", args: ext4("ea_inode,inline_data") },
  { name: "large_dir", args: ext4("large_dir", "-b", "1024"), entries: 30_000 },
  { name: "orphan_file", args: ext4("orphan_file") },
  { name: "mmp", args: ext4("mmp") },
  { name: "quota and project", args: ext4("quota,project", "-E", "quotatype=usrquota:grpquota:prjquota") },
  { name: "verity", args: ext4("verity") },
  { name: "encrypt", args: ext4("encrypt") },
  { name: "casefold", args: ext4("casefold", "-E", "encoding=utf8") },
  { name: "without huge_file", args: ext4("^huge_file") },
  { name: "without dir_index", args: ext4("^dir_index") },
  { name: "without dir_nlink", args: ext4("^dir_nlink") },
  { name: "without extra_isize", args: ext4("^extra_isize") },
  { name: "without journal", args: ext4("^has_journal") },
  { name: "fast_commit", args: ext4("fast_commit") },
  { name: "legacy hash", args: ext4(""), tune: ["-E", "hash_alg=legacy"] },
  { name: "TEA hash", args: ext4(""), tune: ["-E", "hash_alg=tea"] },
  { name: "lazy inode tables", args: ext4("", "-E", "lazy_itable_init=1,lazy_journal_init=1"), sizeMib: 256 },
  { name: "stride and stripe", args: ext4("", "-E", "stride=16,stripe_width=64") },
  { name: "every feature at once", args: ext4("bigalloc,ea_inode,inline_data,large_dir,quota,project,metadata_csum_seed,orphan_file,mmp,^resize_inode", "-b", "4096", "-C", "16384"), sizeMib: 96 },
  { name: "8 KiB", args: ext4("", "-b", "8192"), sizeMib: 64 },
  { name: "16 KiB", args: ext4("", "-b", "16384"), sizeMib: 96 },
  { name: "32 KiB", args: ext4("", "-b", "32768"), sizeMib: 128 },
  { name: "64 KiB", args: ext4("", "-b", "65536"), sizeMib: 256 },
  { name: "64 KiB, inline data and bigalloc", args: ext4("bigalloc,inline_data", "-b", "65536", "-C", "131072"), sizeMib: 256 },
];

/** Where an image that mke2fs -d made may differ from the folder that it was made from. */
const NOT_COPIED: ReadonlySet<keyof Node> = new Set(["ino", "blocks", "ctimeNs", "birthtimeNs", "atimeNs", "mtimeNs", "nlink"]);

const fillScript = new URL("../support/fill.py", import.meta.url).pathname;
function makeImage(row: Row, extra: readonly string[] = []): string {
  const image = join(temporaryFolder(), "disk.img");
  run("mke2fs", ["-q", "-F", "-U", "00112233-4455-6677-8899-aabbccddeeff", ...row.args, ...extra, image, `${row.sizeMib ?? 48}M`]);
  if (row.tune !== undefined) run("tune2fs", [...row.tune, image]);
  return image;
}

function check(image: string, theirs: ReturnType<typeof linuxTree>, ignored?: ReadonlySet<keyof Node>): void {
  const before = hashOf(image);
  const volume: Volume = Ext4.openSync(image);
  expect(treeDifferences(theirs, ourTree(volume), ignored)).toEqual([]);
  volume.closeSync();
  expect(hashOf(image), "the image was not touched").toBe(before);
}

describe.runIf(canMount)("filled by Linux", () => {
  const folder = canMount ? sourceFolder() : "";
  test.each(ROWS)("$name", (row) => {
    const image = makeImage(row);
    const isFilled = withMount(image, "noatime", (mountPoint) => {
      run("python3", [fillScript, mountPoint, String(row.entries ?? 3000)]);
      return true;
    });
    if (isFilled === undefined) {
      // Not for this kernel: then what mke2fs itself copies.
      rmSync(image);
      const copied = makeImage(row, ["-d", folder]);
      const theirs = linuxTree(folder);
      theirs.delete("/");
      const volume = Ext4.openSync(copied);
      const ours = ourTree(volume);
      for (const path of ["/", "/lost+found"]) ours.delete(path);
      const sizeless = new Set(NOT_COPIED);
      for (const tree of [theirs, ours]) for (const node of tree.values()) if ((node.mode & 0o170000n) === 0o040000n) node.size = 0n;
      expect(treeDifferences(theirs, ours, sizeless)).toEqual([]);
      return;
    }
    expect(attempt("e2fsck", ["-fn", image]).status, "Linux left it clean").toBe(0);
    const theirs = withMount(image, "ro,noatime", linuxTree)!;
    expect(theirs.size).toBeGreaterThan(2000);
    check(image, theirs);
    const spoiled = `${image}.statfs`;
    copyFileSync(image, spoiled);
    const linux = withMount(spoiled, "ro", (mountPoint) => run("stat", ["-f", "-c", "%b %f %a %c %d %S", mountPoint]).trim());
    const volume = Ext4.openSync(spoiled);
    const { blocks, bfree, bavail, files, ffree, bsize } = volume.statfsSync("/");
    expect([blocks, bfree, bavail, files, ffree, bsize].join(" ")).toBe(linux);
    volume.closeSync();
  });
});

function sourceFolder(): string {
  const folder = join(temporaryFolder(), "source");
  mkdirSync(folder);
  run("python3", [fillScript, folder, "300"]);
  // What mke2fs -d does not copy, or not everywhere: files of gigabytes, sockets, links longer than a block of 1 KiB, holes at the end with bigalloc.
  for (const name of ["huge-sparse", "sparse", "all-hole", "socket", "symlink-1000", "symlink-4000", "xattrs", "flags", "beyond", "unwritten", "partly", "fragmented"]) rmSync(join(folder, name), { recursive: true, force: true });
  return folder;
}

if (!canMount) notTestedHere("images filled by Linux", "needs root and loop devices");
