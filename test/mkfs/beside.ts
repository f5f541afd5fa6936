/** Our mkfs beside mke2fs: the same options, twice, and what differs then. */
import { Command } from "commander";
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { addMkfsOptions, parseMkfsOptions, type MkfsArguments } from "../../src/cli/verbs/mkfs-options.js";
import { ext4_super_block as S } from "../../src/format/superblock.js";
import { viewOf } from "../../src/lib/view.js";
import { mkfs } from "../../src/mkfs/mkfs.js";
import type { MkfsResult } from "../../src/mkfs/options.js";
import { Ext4, FileDevice, runSync } from "../../src/platform/node/index.js";
import { attempt, canMount, run, temporaryFolder, withMount } from "../support/host.js";

export const TIME_SEC = 1_700_000_000;
const UUID = "00112233-4455-6677-8899-aabbccddeeff";
const HASH_SEED = "hash_seed=01234567-89ab-cdef-0123-456789abcdef";

/** mke2fs.conf as Debian ships it with 1.47.0, which is what our profiles say. */
const CONFIG = `
[defaults]
  base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
  default_mntopts = acl,user_xattr
  enable_periodic_fsck = 0
  blocksize = 4096
  inode_size = 256
  inode_ratio = 16384
[fs_types]
  ext3 = { 
    features = has_journal
  }
  ext4 = {
    features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
  }
  small = {
    blocksize = 1024
    inode_ratio = 4096
  }
  floppy = {
    blocksize = 1024
    inode_ratio = 8192
  }
  big = {
    inode_ratio = 32768
  }
  huge = {
    inode_ratio = 65536
  }
  news = {
    inode_ratio = 4096
  }
  largefile = {
    inode_ratio = 1048576
    blocksize = -1
  }
  largefile4 = {
    inode_ratio = 4194304
    blocksize = -1
  }
  hurd = {
    blocksize = 4096
    inode_size = 128
    warn_y2038_dates = 0
  }
`;

/** Other versions choose otherwise here and there. */
export const hasMke2fs = attempt("mke2fs", ["-V"]).stderr?.includes("mke2fs 1.47.0") === true;

const folder = temporaryFolder();
const config = join(folder, "mke2fs.conf");
writeFileSync(config, CONFIG);
const environment = { ...process.env, LC_ALL: "C", TZ: "UTC", MKE2FS_CONFIG: config, E2FSPROGS_FAKE_TIME: String(TIME_SEC), SOURCE_DATE_EPOCH: String(TIME_SEC) };

/** Words as a shell splits them, with what makes an image repeatable. */
export function words(options: string): string[] {
  const given = options === "" ? [] : options.split(" ");
  const at = given.indexOf("-E");
  if (at >= 0) given[at + 1] += `,${HASH_SEED}`;
  return [...(given.includes("-U") ? [] : ["-U", UUID]), ...given, ...(at < 0 ? ["-E", HASH_SEED] : [])];
}

export function parse(options: string, size?: string): MkfsArguments {
  const command = addMkfsOptions(new Command("mkfs").exitOverride());
  command.parse(words(options), { from: "user" });
  return parseMkfsOptions(command.opts(), size);
}

export function makeTheirs(image: string, options: string): void {
  run("mke2fs", ["-q", "-F", ...words(options), image], { env: environment });
}

export function makeOurs(image: string, options: string, isZero: boolean): MkfsResult {
  const given = parse(options);
  const device = FileDevice.open(image, { readOnly: false });
  try {
    return runSync(mkfs(device, { ...given, timeSec: TIME_SEC, uuid: given.uuid as Uint8Array, hashSeed: given.hashSeed!, deviceIsZero: isZero }));
  } finally {
    runSync(device.close());
  }
}

/** What dumpe2fs says, but for what depends on who wrote how much when. */
function dump(image: string): string[] {
  return attempt("dumpe2fs", [image]).stdout.split("\n").filter((line) => !/^(Lifetime writes|Checksum): |^ {4}mmp_(update|node|device)/.test(line));
}

const differencesScript = fileURLToPath(new URL("differences.py", import.meta.url));

/** How much was written, and the checksum that covers it; who last updated the block of multi-mount protection. */
function incomparable(image: string, { backupSuperblocks, blockBytes }: MkfsResult): [number, number][] {
  const superblocks = [1024, ...backupSuperblocks.map((block) => block * blockBytes)];
  const ranges = superblocks.flatMap((at): [number, number][] => [[S.s_kbytes_written.at, 8], [S.s_checksum.at, 4]].map(([from, size]) => [at + from!, at + from! + size!]));
  const mmpAt = S.s_mmp_block.get(viewOf(headOf(image)), 1024) * blockBytes;
  return mmpAt === 0 ? ranges : [...ranges, [mmpAt + 8, mmpAt + 112], [mmpAt + 1020, mmpAt + 1024]];
}

function headOf(image: string): Uint8Array {
  const head = new Uint8Array(2048);
  const device = FileDevice.open(image);
  runSync(device.submit([{ op: "read", offsetBytes: 0, data: head }]));
  runSync(device.close());
  return head;
}

export function byteDifferences(theirs: string, ours: string, result: MkfsResult): string {
  return run("python3", ["-I", "-S", differencesScript, theirs, ours, ...incomparable(ours, result).map((range) => range.join("-"))]);
}

export interface Row {
  readonly options: string;
  readonly size: string;
  /** False: nothing is learnt from mounting it. Default true. */
  readonly isMountable?: boolean;
}

/** A file of zeroes, however large. */
function emptyImage(name: string, size: string): string {
  const image = join(folder, name);
  rmSync(image, { force: true });
  writeFileSync(image, "");
  truncateSync(image, parse("", size).sizeBytes!);
  return image;
}

/** Makes an image both ways and holds them against each other; then ours alone against e2fsck, our reader and Linux. */
export function checkRow({ options, size, isMountable }: Row): void {
  const theirs = emptyImage("theirs.img", size);
  makeTheirs(theirs, options);
  const ours = emptyImage("ours.img", size);
  const result = makeOurs(ours, options, true);
  expect(dump(ours)).toEqual(dump(theirs));
  expect(byteDifferences(theirs, ours, result), "bytes that differ: offset, theirs, ours").toBe("");
  rmSync(theirs);
  checkImage(ours);
  if (canMount && isMountable !== false) checkMounted(ours);
  rmSync(ours);
}

export function checkImage(image: string): void {
  const { status, stdout } = attempt("e2fsck", ["-fn", image]);
  expect(status, stdout).toBe(0);
  const volume = Ext4.openSync(image);
  expect(volume.readdirSync("/")).toEqual(["lost+found"]);
  expect(volume.readdirSync("/lost+found")).toEqual([]);
  expect(volume.statfsSync("/").bfree).toBeGreaterThan(0);
  volume.closeSync();
}

function checkMounted(image: string): void {
  const content = randomBytes(100_000);
  const isMounted = withMount(image, "rw", (mountPoint) => {
    mkdirSync(join(mountPoint, "directory"));
    writeFileSync(join(mountPoint, "directory", "file"), content);
    return true;
  });
  if (isMounted === undefined) return; // not for this kernel
  const { status, stdout } = attempt("e2fsck", ["-fn", image]);
  expect(status, stdout).toBe(0);
  const volume = Ext4.openSync(image);
  expect(volume.readFileSync("/directory/file")).toEqual(content);
  volume.closeSync();
}
