/** Reads everything that an image holds, in every way there is, and says how it ended. */
import { createHash } from "node:crypto";
import { statsOf, type BigIntStats } from "../../src/api/stats.js";
import { blockBitmap, inodeBitmap } from "../../src/ext4/bitmaps.js";
import { listOrphans } from "../../src/ext4/orphan.js";
import { CorruptionError, UnsupportedFeatureError } from "../../src/format/corruption.js";
import { FsError } from "../../src/lib/errno.js";
import { Ext4, MemoryDevice, type OpenOptions, type Task, type Volume } from "../../src/platform/node/index.js";
import type { Inode } from "../../src/vfs/inode.js";
import { dentryPath, rootDentry, type Dentry } from "../../src/vfs/namei.js";
import { walkTree } from "../../src/vfs/walk.js";

export type Ending = "right" | "different" | "corruption" | "unsupported";

/** What a volume holds, one line per name and one for the volume itself, and what of it could not be read. */
export interface Contents {
  readonly lines: readonly string[];
  readonly failures: readonly FsError[];
}

/** What one run may take: an image of some MiB is read in a thousandth of it. */
const TIME_MS_MAX = 20_000;

/** A file up to this size is read whole, a larger one where it has data and at its end: gigabytes of zeroes prove little. */
const WHOLE_BYTES_MAX = 1 << 18;
const PROBE_BYTES = 1 << 12;
const PROBES_MAX = 32;
const scratch = new Uint8Array(WHOLE_BYTES_MAX);

/** Answers of a sound volume to what a field may come to mean: an encrypted file has no key here, a partition may be gone. */
const HONEST_CODES: ReadonlySet<string> = new Set(["ENOKEY", "ENXIO"]);

/**
 * Mounts and reads it all.
 * @throws whatever is no answer to damage: an assertion, a RangeError, EIO, corruption that does not say where, or a run that took too long.
 */
export function exercise(image: Uint8Array, pristine: Contents, options: OpenOptions): Ending {
  const started = performance.now();
  let ending: Ending;
  try {
    const { lines, failures } = contentsOf(Ext4.openSync(new MemoryDevice(image, { readOnly: true }), options));
    const isSame = lines.length === pristine.lines.length && lines.every((line, index) => line === pristine.lines[index]);
    ending = failures.length > 0 ? worstOf(failures) : isSame ? "right" : "different";
  } catch (error) {
    ending = endingOf(error);
  }
  const tookMs = performance.now() - started;
  if (tookMs > TIME_MS_MAX) throw new Error(`it took ${tookMs} ms`);
  return ending;
}

function worstOf(failures: readonly FsError[]): Ending {
  const endings = failures.map(endingOf);
  return endings.includes("corruption") ? "corruption" : endings[0]!;
}

function endingOf(error: unknown): Ending {
  if (error instanceof CorruptionError) {
    if (Object.values(error.where).every((value) => value === undefined)) throw new Error(`${error.message}: this says not where`, { cause: error });
    return "corruption";
  }
  if (error instanceof UnsupportedFeatureError) return "unsupported";
  if (error instanceof FsError && HONEST_CODES.has(error.code)) return "different";
  throw error;
}

/** Reads all that the volume holds; where one file is damaged, the others are read on. */
export function contentsOf(volume: Volume): Contents {
  const { fs } = volume;
  const lines: string[] = [];
  const failures: FsError[] = [];
  const attempt = (task: Task<unknown>): void => {
    try {
      volume.runSync(task);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      failures.push(error);
    }
  };
  const known = new Set<number>();
  attempt(walkTree(rootDentry(fs.root), {
    *enter(dentry) { lines.push(yield* describe(dentry, known)); },
    failed: (error) => { failures.push(error); },
  }));
  attempt((function* () {
    const statfs = Object.values(yield* fs.statfs()).join(" ");
    lines.push(`${statfs}, orphans ${(yield* listOrphans(fs)).join(" ")}`);
  })());
  for (let group = 0; group < fs.sb.groupsCount; group++) {
    attempt(blockBitmap(fs, group));
    attempt(inodeBitmap(fs, group));
  }
  // What was met and did not stop the reader counts as well: an index that cannot be used, say.
  lines.push(...fs.warnings.map(({ message }) => message));
  return { lines, failures };
}

/** One line with all that there is to say of a name: where it leads, what its directory answers when asked for it, and the file, unless `known` says that another name told it all. */
function* describe(dentry: Dentry, known: Set<number>): Task<string> {
  const inode = dentry.d_inode;
  const words: unknown[] = [Buffer.from(dentryPath(dentry)).toString("latin1"), inode.i_ino];
  if (dentry.d_parent !== dentry) words.push((yield* dentry.d_parent.d_inode.lookup(dentry.d_name))?.i_ino);
  if (!known.has(inode.i_ino)) yield* describeFile(inode, words);
  if (inode.i_nlink > 1) known.add(inode.i_ino);
  return words.join(" ");
}

/** Attributes, map and data. */
function* describeFile(inode: Inode, words: unknown[]): Task<void> {
  const stats = (yield* statsOf(inode, true)) as BigIntStats;
  words.push(stats.mode, stats.nlink, stats.uid, stats.gid, stats.rdev, stats.size, stats.blocks, stats.atimeNs, stats.mtimeNs, stats.ctimeNs, stats.birthtimeNs, inode.i_flags);
  for (const name of yield* inode.listxattr()) {
    const value = yield* inode.getxattr(name); // as on Linux, a damaged name may be listed that cannot be asked for
    words.push(Buffer.from(name).toString("latin1"), value === undefined ? "absent" : digest(value));
  }
  if (inode.isSymlink()) words.push(digest(yield* inode.readlink()));
  const map = yield* inode.fiemap(0, 2 ** 32);
  for (const { lblk, pblk, count, unwritten } of map) words.push(lblk, pblk, count, unwritten);
  if (inode.isRegular() && inode.i_size > 0) words.push(yield* dataDigest(inode, map.map(({ lblk }) => lblk * inode.i_sb.blockBytes)));
}

function* dataDigest(inode: Inode, dataOffsets: readonly number[]): Task<string> {
  const { i_size: sizeBytes } = inode;
  if (sizeBytes <= WHOLE_BYTES_MAX) return digest(scratch.subarray(0, yield* inode.read(0, scratch)));
  const hash = createHash("sha1");
  const probe = scratch.subarray(0, PROBE_BYTES);
  for (const offset of [...dataOffsets.slice(0, PROBES_MAX), sizeBytes - PROBE_BYTES]) hash.update(probe.subarray(0, yield* inode.read(offset, probe)));
  return hash.digest("base64");
}

const digest = (bytes: Uint8Array): string => createHash("sha1").update(bytes).digest("base64");
