/**
 * The log as a place: which blocks it has, where it wraps, what the journal's superblock says of it. Reads go through a window of many blocks,
 * so that a walk over the log is a few large requests and memory stays bounded however large the journal is. Source: fs/jbd2/journal.c (journal_load_superblock, journal_get_superblock).
 */
import { CorruptionError, UnsupportedFeatureError } from "../format/corruption.js";
import {
  JBD2_CRC32C_CHKSUM, JBD2_DEFAULT_FAST_COMMIT_BLOCKS, JBD2_FEATURE_COMPAT_CHECKSUM, JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT, JBD2_FEATURE_INCOMPAT_CSUM_V2,
  JBD2_FEATURE_INCOMPAT_CSUM_V3, JBD2_FEATURE_INCOMPAT_FAST_COMMIT, JBD2_KNOWN_INCOMPAT, JBD2_MAGIC_NUMBER, JBD2_MIN_JOURNAL_BLOCKS, JBD2_SUPERBLOCK_V1,
  JBD2_SUPERBLOCK_V2, journal_superblock_s as JS, journalShape, journalSuperblockChecksum, JOURNAL_SUPERBLOCK_BYTES, type JournalShape,
} from "../format/jbd2.js";
import { viewOf } from "../format/layout.js";
import type { LogBlk, Tid } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";

/** Where the journal's blocks are: what the filesystem, or an external device, must provide. */
export interface JournalBlocks {
  readonly blockBytes: number;
  /** Blocks that the journal's file or device has. */
  readonly lengthBlocks: number;
  /** The block of the journal's superblock: 0 in a file; an external device has the filesystem's kind of superblock in front. */
  readonly superblockAt: LogBlk;
  /** A power cut may tear a sector: see BlockDevice. */
  readonly tearsSectors: boolean;
  /** Reads `into.length / blockBytes` blocks of the journal from `first` on. */
  read(first: LogBlk, into: Uint8Array): Task<void>;
}

/** The journal's superblock, checked and cooked. */
export interface JournalGeometry {
  readonly superblock: DataView;
  readonly shape: JournalShape;
  /** The log: first .. last - 1, a ring. */
  readonly first: LogBlk;
  readonly last: LogBlk;
  /** The area of fast commits: fastCommitFirst .. maxlen - 1; empty without the feature. */
  readonly fastCommitFirst: LogBlk;
  readonly maxlen: number;
  /** The first transaction in the log, and where it begins; 0: the log is empty. */
  readonly sequence: Tid;
  readonly start: LogBlk;
  /** The first version of checksums, one crc32 per transaction. */
  readonly hasCsumV1: boolean;
  readonly hasAsyncCommit: boolean;
}

/** @throws CorruptionError journal-superblock, journal-checksum; UnsupportedFeatureError. */
export function* readJournalSuperblock(blocks: JournalBlocks, verifyChecksums: boolean): Task<JournalGeometry> {
  const bytes = new Uint8Array(blocks.blockBytes);
  yield* blocks.read(blocks.superblockAt, bytes);
  const view = viewOf(bytes);
  const bad = (field: string, found: number, expected?: number | string): CorruptionError =>
    new CorruptionError("journal-superblock", { logBlock: blocks.superblockAt, field, found, expected });
  const magic = JS.h_magic.get(view, 0);
  if (magic !== JBD2_MAGIC_NUMBER) throw bad("h_magic", magic, JBD2_MAGIC_NUMBER);
  const type = JS.h_blocktype.get(view, 0);
  if (type !== JBD2_SUPERBLOCK_V1 && type !== JBD2_SUPERBLOCK_V2) throw bad("h_blocktype", type);
  const blockBytes = JS.s_blocksize.get(view, 0);
  if (blockBytes !== blocks.blockBytes) throw bad("s_blocksize", blockBytes, blocks.blockBytes);
  const maxlen = JS.s_maxlen.get(view, 0);
  if (maxlen > blocks.lengthBlocks || maxlen < JBD2_MIN_JOURNAL_BLOCKS) throw bad("s_maxlen", maxlen, `${JBD2_MIN_JOURNAL_BLOCKS}..${blocks.lengthBlocks}`);
  const first = JS.s_first.get(view, 0);
  if (first <= blocks.superblockAt || first >= maxlen) throw bad("s_first", first, `${blocks.superblockAt + 1}..${maxlen - 1}`);

  const isV2 = type === JBD2_SUPERBLOCK_V2;
  const compat = isV2 ? JS.s_feature_compat.get(view, 0) : 0;
  const incompat = isV2 ? JS.s_feature_incompat.get(view, 0) : 0;
  const roCompat = isV2 ? JS.s_feature_ro_compat.get(view, 0) : 0;
  const unknown = (incompat & ~JBD2_KNOWN_INCOMPAT) >>> 0;
  if (unknown !== 0 || roCompat !== 0) {
    throw new UnsupportedFeatureError([`journal 0x${(unknown || roCompat).toString(16)}`], `the journal uses features that are not known here: 0x${(unknown || roCompat).toString(16)}`);
  }
  const csumBits = incompat & (JBD2_FEATURE_INCOMPAT_CSUM_V2 | JBD2_FEATURE_INCOMPAT_CSUM_V3);
  const hasCsumV1 = (compat & JBD2_FEATURE_COMPAT_CHECKSUM) !== 0;
  const isTwofold = csumBits === (JBD2_FEATURE_INCOMPAT_CSUM_V2 | JBD2_FEATURE_INCOMPAT_CSUM_V3) || (csumBits !== 0 && hasCsumV1);
  if (isTwofold) throw bad("s_feature_incompat", incompat);
  const shape = journalShape(blockBytes, incompat, JS.s_uuid.get(view, 0));
  if (shape.hasCsum) {
    const checksumType = JS.s_checksum_type.get(view, 0);
    if (checksumType !== JBD2_CRC32C_CHKSUM) throw bad("s_checksum_type", checksumType, JBD2_CRC32C_CHKSUM);
    const found = JS.s_checksum.get(view, 0);
    const expected = journalSuperblockChecksum(bytes);
    // While a filesystem is in use only the place where its log begins changes here, which is one word: where sectors are torn, that is right whatever the checksum says.
    if (verifyChecksums && !blocks.tearsSectors && found !== expected) throw new CorruptionError("journal-checksum", { logBlock: blocks.superblockAt, field: "s_checksum", found, expected });
  }
  const last = logEnd(view, maxlen, (incompat & JBD2_FEATURE_INCOMPAT_FAST_COMMIT) !== 0);
  if (first >= last) throw bad("s_first", first, `1..${last - 1}`);
  const start = JS.s_start.get(view, 0);
  if (start !== 0 && (start < first || start >= last)) throw bad("s_start", start, `${first}..${last - 1}`);
  return {
    superblock: viewOf(bytes.subarray(0, JOURNAL_SUPERBLOCK_BYTES)), shape, first, last, maxlen, start, hasCsumV1,
    fastCommitFirst: last === maxlen ? maxlen : last + 1,
    sequence: JS.s_sequence.get(view, 0),
    hasAsyncCommit: (incompat & JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT) !== 0,
  };
}

/** Fast commits have the journal's end for themselves, if the log stays long enough. */
function logEnd(superblock: DataView, maxlen: number, hasFastCommit: boolean): LogBlk {
  const fastCommitBlocks = JS.s_num_fc_blks.get(superblock, 0) || JBD2_DEFAULT_FAST_COMMIT_BLOCKS;
  const end = maxlen - fastCommitBlocks;
  return hasFastCommit && end >= JBD2_MIN_JOURNAL_BLOCKS ? end : maxlen;
}

/** Most logs are short when they are read: the window begins small, and grows with what is read. */
const WINDOW_BYTES_MIN = 1 << 15;
const WINDOW_BYTES_MAX = 1 << 20;
const WINDOW_GROWTH = 4;

/** One log block, good until the next is asked for. */
export interface LogBlock {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Reads the journal forward through a window. */
export class LogReader {
  private window = new Uint8Array(0);
  private first = 0;
  private count = 0;

  /** @param end the first block that must not be read: the log's end, or the journal's. */
  constructor(private readonly blocks: JournalBlocks, private readonly end: LogBlk) {}

  *block(block: LogBlk): Task<LogBlock> {
    const { blockBytes } = this.blocks;
    if (block < this.first || block >= this.first + this.count) {
      const windowBytes = Math.max(WINDOW_BYTES_MIN, blockBytes, Math.min(this.window.length * WINDOW_GROWTH, WINDOW_BYTES_MAX));
      if (windowBytes > this.window.length) this.window = new Uint8Array(windowBytes);
      this.count = Math.min(this.window.length / blockBytes, this.end - block);
      this.first = block;
      yield* this.blocks.read(block, this.window.subarray(0, this.count * blockBytes));
    }
    const at = (block - this.first) * blockBytes;
    const bytes = this.window.subarray(at, at + blockBytes);
    return { bytes, view: viewOf(bytes) };
  }
}
