/**
 * The journal on disk: big-endian throughout. A log block that is not data begins with a common header; a descriptor lists in tags where the blocks that follow it
 * belong, a revoke block lists blocks whose older copies must not be replayed, a commit block ends a transaction. Source: include/linux/jbd2.h.
 */
import { crc32c } from "../lib/crc32c.js";
import { fromHalves, TWO_32 } from "../lib/numbers.js";
import { array, be16, be32, be64, bytes, hole, layout, u8, viewOf } from "./layout.js";

export const JBD2_MAGIC_NUMBER = 0xc03b3998;

/** h_blocktype */
export const JBD2_DESCRIPTOR_BLOCK = 1;
export const JBD2_COMMIT_BLOCK = 2;
export const JBD2_SUPERBLOCK_V1 = 3;
export const JBD2_SUPERBLOCK_V2 = 4;
export const JBD2_REVOKE_BLOCK = 5;

/** Feature bits of the journal's superblock. */
export const JBD2_FEATURE_COMPAT_CHECKSUM = 0x1;
export const JBD2_FEATURE_INCOMPAT_REVOKE = 0x1;
export const JBD2_FEATURE_INCOMPAT_64BIT = 0x2;
export const JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT = 0x4;
export const JBD2_FEATURE_INCOMPAT_CSUM_V2 = 0x8;
export const JBD2_FEATURE_INCOMPAT_CSUM_V3 = 0x10;
export const JBD2_FEATURE_INCOMPAT_FAST_COMMIT = 0x20;
export const JBD2_KNOWN_INCOMPAT = 0x3f;

/** Tag flags. */
export const JBD2_FLAG_ESCAPE = 1; // the block began with the magic number, which the log holds as zeroes
export const JBD2_FLAG_SAME_UUID = 2; // no uuid follows the tag
export const JBD2_FLAG_DELETED = 4;
export const JBD2_FLAG_LAST_TAG = 8;

export const JBD2_CRC32_CHKSUM = 1;
export const JBD2_CRC32C_CHKSUM = 4;
export const JBD2_MIN_JOURNAL_BLOCKS = 1024;
export const JBD2_DEFAULT_FAST_COMMIT_BLOCKS = 256;
export const JOURNAL_SUPERBLOCK_BYTES = 1024;

export const journal_header_s = layout("journal_header_s", 12, {
  h_magic:     be32(0),
  h_blocktype: be32(4),
  h_sequence:  be32(8),
});

export const journal_superblock_s = layout("journal_superblock_s", JOURNAL_SUPERBLOCK_BYTES, {
  h_magic:             be32(0x00),
  h_blocktype:         be32(0x04),
  h_sequence:          be32(0x08),
  s_blocksize:         be32(0x0c),
  s_maxlen:            be32(0x10), // blocks of the journal
  s_first:             be32(0x14), // first block of the log
  s_sequence:          be32(0x18), // first transaction in the log
  s_start:             be32(0x1c), // where it begins; 0: the log is empty
  s_errno:             be32(0x20),
  s_feature_compat:    be32(0x24), // from here on: version 2 only
  s_feature_incompat:  be32(0x28),
  s_feature_ro_compat: be32(0x2c),
  s_uuid:              bytes(0x30, 16),
  s_nr_users:          be32(0x40),
  s_dynsuper:          be32(0x44),
  s_max_transaction:   be32(0x48),
  s_max_trans_data:    be32(0x4c),
  s_checksum_type:     u8(0x50),
  s_padding2:          hole(0x51, 3),
  s_num_fc_blks:       be32(0x54),
  s_head:              be32(0x58), // where the log goes on; counts when it is clean
  s_padding:           hole(0x5c, 0xa0),
  s_checksum:          be32(0xfc),
  s_users:             bytes(0x100, 768), // uuids of the filesystems that share the journal
});

/** Tags of the checksum v3 layout. */
export const journal_block_tag3_s = layout("journal_block_tag3_s", 16, {
  t_blocknr:      be32(0),
  t_flags:        be32(4),
  t_blocknr_high: be32(8),
  t_checksum:     be32(12),
});

/** All other tags; the upper half is there with 64bit only, and 2 bytes more follow with checksum v2. */
export const journal_block_tag_s = layout("journal_block_tag_s", 12, {
  t_blocknr:      be32(0),
  t_checksum:     be16(4),
  t_flags:        be16(6),
  t_blocknr_high: be32(8),
});

export const commit_header = layout("commit_header", 60, {
  h_magic:       be32(0x00),
  h_blocktype:   be32(0x04),
  h_sequence:    be32(0x08),
  h_chksum_type: u8(0x0c),
  h_chksum_size: u8(0x0d),
  h_padding:     hole(0x0e, 2),
  h_chksum:      array(be32, 0x10, 8),
  h_commit_sec:  be64(0x30),
  h_commit_nsec: be32(0x38),
});

export const jbd2_journal_revoke_header_s = layout("jbd2_journal_revoke_header_s", 16, {
  h_magic:     be32(0),
  h_blocktype: be32(4),
  h_sequence:  be32(8),
  r_count:     be32(12), // bytes used, this header included
});

/** Ends a descriptor or revoke block, with checksums v2 and v3. */
export const jbd2_journal_block_tail = layout("jbd2_journal_block_tail", 4, { t_checksum: be32(0) });

/** What the features say of the blocks' shape and their checksums. */
export interface JournalShape {
  readonly blockBytes: number;
  readonly is64bit: boolean;
  readonly isCsumV3: boolean;
  /** Version 2 or 3. */
  readonly hasCsum: boolean;
  readonly tagBytes: number;
  /** Bytes at the end of a descriptor or revoke block that the tail takes. */
  readonly tailBytes: number;
  readonly csumSeed: number;
}

export function journalShape(blockBytes: number, incompat: number, uuid: Uint8Array): JournalShape {
  const is64bit = (incompat & JBD2_FEATURE_INCOMPAT_64BIT) !== 0;
  const isCsumV2 = (incompat & JBD2_FEATURE_INCOMPAT_CSUM_V2) !== 0;
  const isCsumV3 = (incompat & JBD2_FEATURE_INCOMPAT_CSUM_V3) !== 0;
  const hasCsum = isCsumV2 || isCsumV3;
  return {
    blockBytes, is64bit, isCsumV3, hasCsum,
    tagBytes: isCsumV3 ? journal_block_tag3_s.$.size : 8 + (isCsumV2 ? 2 : 0) + (is64bit ? 4 : 0),
    tailBytes: hasCsum ? jbd2_journal_block_tail.$.size : 0,
    csumSeed: hasCsum ? crc32c(0xffff_ffff, uuid) : 0,
  };
}

export interface JournalTag {
  /** Where the block belongs. */
  readonly block: number;
  readonly flags: number;
  /** 32 bits with v3, 16 with v2. */
  readonly checksum: number;
}

const UUID_BYTES = 16;

/** The tags of a descriptor block; a tag that would pass the block's end is not one. */
export function readTags(view: DataView, shape: JournalShape): JournalTag[] {
  const tags: JournalTag[] = [];
  const end = shape.blockBytes - shape.tailBytes;
  for (let at = journal_header_s.$.size; at + shape.tagBytes <= end;) {
    const tag = shape.isCsumV3 ? readTag3(view, at) : readTag(view, at, shape.is64bit);
    tags.push(tag);
    if ((tag.flags & JBD2_FLAG_LAST_TAG) !== 0) break;
    at += shape.tagBytes + ((tag.flags & JBD2_FLAG_SAME_UUID) !== 0 ? 0 : UUID_BYTES);
  }
  return tags;
}

function readTag3(view: DataView, at: number): JournalTag {
  const T = journal_block_tag3_s;
  return { block: fromHalves(T.t_blocknr_high.get(view, at), T.t_blocknr.get(view, at)), flags: T.t_flags.get(view, at), checksum: T.t_checksum.get(view, at) };
}

function readTag(view: DataView, at: number, is64bit: boolean): JournalTag {
  const T = journal_block_tag_s;
  const hi = is64bit ? T.t_blocknr_high.get(view, at) : 0;
  return { block: fromHalves(hi, T.t_blocknr.get(view, at)), flags: T.t_flags.get(view, at), checksum: T.t_checksum.get(view, at) };
}

export function writeTag(view: DataView, at: number, shape: JournalShape, { block, flags, checksum }: JournalTag): void {
  const [hi, lo] = [Math.floor(block / TWO_32), block % TWO_32];
  const T = shape.isCsumV3 ? journal_block_tag3_s : journal_block_tag_s;
  T.t_blocknr.set(view, at, lo);
  T.t_flags.set(view, at, flags);
  T.t_checksum.set(view, at, checksum);
  if (shape.isCsumV3 || shape.is64bit) T.t_blocknr_high.set(view, at, hi);
}

/** The blocks that a revoke block names; undefined: r_count is impossible. */
export function readRevokes(view: DataView, shape: JournalShape): number[] | undefined {
  const header = jbd2_journal_revoke_header_s;
  const end = header.r_count.get(view, 0);
  if (end > shape.blockBytes - shape.tailBytes) return undefined;
  const step = shape.is64bit ? 8 : 4;
  const blocks: number[] = [];
  for (let at = header.$.size; at + step <= end; at += step) {
    blocks.push(shape.is64bit ? fromHalves(view.getUint32(at), view.getUint32(at + 4)) : view.getUint32(at));
  }
  return blocks;
}

const ZEROES = new Uint8Array(4);
const word = new Uint8Array(4);
const wordView = viewOf(word);

/** Over `bytes` with the four of them at `fieldAt` taken as zeroes. */
function crcWithout(seed: number, block: Uint8Array, fieldAt: number): number {
  return crc32c(crc32c(crc32c(seed, block, 0, fieldAt), ZEROES), block, fieldAt + 4);
}

export function journalSuperblockChecksum(superblock: Uint8Array): number {
  return crcWithout(0xffff_ffff, superblock.subarray(0, JOURNAL_SUPERBLOCK_BYTES), journal_superblock_s.s_checksum.at);
}

/** Whether the tail of a descriptor or revoke block agrees with it. */
export function blockTailAgrees(block: Uint8Array, view: DataView, shape: JournalShape): boolean {
  const at = shape.blockBytes - jbd2_journal_block_tail.$.size;
  return jbd2_journal_block_tail.t_checksum.get(view, at) === crcWithout(shape.csumSeed, block, at);
}

/** Gives a descriptor or revoke block its tail. */
export function sealBlockTail(block: Uint8Array, view: DataView, shape: JournalShape): void {
  const at = shape.blockBytes - jbd2_journal_block_tail.$.size;
  jbd2_journal_block_tail.t_checksum.set(view, at, crcWithout(shape.csumSeed, block, at));
}

/** Of one logged block as it stands in the log, escaped if it is. */
export function tagChecksum(block: Uint8Array, sequence: number, shape: JournalShape): number {
  wordView.setUint32(0, sequence);
  const crc = crc32c(crc32c(shape.csumSeed, word), block);
  return shape.isCsumV3 ? crc : crc & 0xffff;
}

export function sealCommitBlock(block: Uint8Array, view: DataView, shape: JournalShape): void {
  commit_header.h_chksum.set(view, 0, 0, crcWithout(shape.csumSeed, block, commit_header.h_chksum.at));
}

/** Whether a commit block agrees with its own checksum, over the whole block or, as some kernels left garbage there, with all behind the header taken as zeroes. */
export function commitBlockAgrees(block: Uint8Array, view: DataView, shape: JournalShape): boolean {
  const field = commit_header.h_chksum.at;
  const stored = commit_header.h_chksum.get(view, 0, 0);
  if (stored === crcWithout(shape.csumSeed, block, field)) return true;
  const head = new Uint8Array(block.length);
  head.set(block.subarray(0, commit_header.$.size));
  return stored === crcWithout(shape.csumSeed, head, field);
}
