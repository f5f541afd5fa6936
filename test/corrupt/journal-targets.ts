/** Where the structures of a journal stand: its superblock, what is in the log, and fast commits. */
import { journalGeometry, type Journal } from "../../src/ext4/journal.js";
import { ext4_extent } from "../../src/format/extent.js";
import {
  EXT4_FC_TAG_ADD_RANGE, EXT4_FC_TAG_CREAT, EXT4_FC_TAG_DEL_RANGE, EXT4_FC_TAG_HEAD, EXT4_FC_TAG_INODE, EXT4_FC_TAG_LINK, EXT4_FC_TAG_TAIL, EXT4_FC_TAG_UNLINK,
  ext4_fc_add_range, ext4_fc_del_range, ext4_fc_dentry_info, ext4_fc_head, ext4_fc_inode, ext4_fc_tail, ext4_fc_tl,
} from "../../src/format/fast-commit.js";
import { ext4_inode } from "../../src/format/inode.js";
import {
  commit_header, jbd2_journal_block_tail, jbd2_journal_revoke_header_s, JBD2_COMMIT_BLOCK, JBD2_DESCRIPTOR_BLOCK, JBD2_FLAG_SAME_UUID, JBD2_MAGIC_NUMBER, JBD2_REVOKE_BLOCK,
  journal_block_tag3_s, journal_block_tag_s, journal_header_s, journal_superblock_s, readTags, type JournalShape,
} from "../../src/format/jbd2.js";
import { be64, layout, le32, viewOf, type AnyLayout } from "../../src/format/layout.js";
import { crc32c } from "../../src/lib/crc32c.js";
import type { Task, Volume } from "../../src/platform/node/index.js";
import type { Add } from "./targets.js";

/** What has no table in format/, as it is but numbers; of revoked blocks 8 bytes, as in the fixtures that have any. */
const revoke_record = layout("revoke_record", 8, { block: be64(0) });
const logged_block = layout("logged_block", 4, { word: le32(0) });

const HEADERS_MAX = 12;

export function* addJournalTargets(fs: Volume["fs"], journal: Journal, add: Add): Task<void> {
  const { shape, fastCommitFirst, maxlen } = yield* journalGeometry(fs, journal);
  const bytes = new Uint8Array(fs.blockBytes);
  const view = viewOf(bytes);
  const placeOf = (logBlock: number): number => {
    const extent = journal.extents.find(({ lblk, count }) => logBlock >= lblk && logBlock < lblk + count)!;
    return (extent.pblk + logBlock - extent.lblk) * fs.blockBytes;
  };
  add(journal_superblock_s, placeOf(0));
  for (let logBlock = 1; logBlock < fastCommitFirst; logBlock++) {
    yield* journal.read(logBlock, bytes);
    if (journal_header_s.h_magic.get(view, 0) === JBD2_MAGIC_NUMBER) addLogBlock(view, shape, placeOf(logBlock), add);
  }
  const fastCommits: number[] = [];
  for (let logBlock = fastCommitFirst; logBlock < maxlen; logBlock++) fastCommits.push(placeOf(logBlock));
  yield* addFastCommits(fs, fastCommits, add);
}

function addLogBlock(view: DataView, shape: JournalShape, at: number, add: Add): void {
  const tailAt = at + shape.blockBytes - jbd2_journal_block_tail.$.size;
  add(journal_header_s, at, { countMax: HEADERS_MAX });
  switch (journal_header_s.h_blocktype.get(view, 0)) {
    case JBD2_DESCRIPTOR_BLOCK: {
      let tagAt = journal_header_s.$.size;
      for (const { flags } of readTags(view, shape)) {
        if (shape.isCsumV3) add(journal_block_tag3_s, at + tagAt);
        else add(journal_block_tag_s, at + tagAt, { sizeBytes: Math.min(shape.tagBytes, journal_block_tag_s.$.size) });
        tagAt += shape.tagBytes + ((flags & JBD2_FLAG_SAME_UUID) !== 0 ? 0 : 16);
      }
      add(logged_block, at + shape.blockBytes);
      if (shape.hasCsum) add(jbd2_journal_block_tail, tailAt);
      break;
    }
    case JBD2_COMMIT_BLOCK:
      add(commit_header, at);
      break;
    case JBD2_REVOKE_BLOCK:
      add(jbd2_journal_revoke_header_s, at);
      add(revoke_record, at + jbd2_journal_revoke_header_s.$.size);
      if (shape.hasCsum) add(jbd2_journal_block_tail, tailAt, { countMax: Infinity });
      break;
  }
}

/** Each record of the fast commits: its tag and length, and what they announce. */
function* addFastCommits(fs: Volume["fs"], blocks: readonly number[], add: Add): Task<void> {
  const reseal = (image: Uint8Array): void => resealFastCommits(image, blocks, fs.blockBytes);
  const addSealed = (of: AnyLayout, at: number, countMax?: number): void => add(of, at, countMax === undefined ? { reseal } : { countMax, reseal });
  const bytes = new Uint8Array(fs.blockBytes);
  const view = viewOf(bytes);
  for (const blockAt of blocks) {
    yield* fs.device.submit([{ op: "read", offsetBytes: blockAt, data: bytes }]);
    for (let at = 0; at + ext4_fc_tl.$.size <= bytes.length;) {
      const tag = ext4_fc_tl.fc_tag.get(view, at);
      const value = blockAt + at + ext4_fc_tl.$.size;
      if (tag === 0) return;
      addSealed(ext4_fc_tl, blockAt + at);
      if (tag === EXT4_FC_TAG_ADD_RANGE) {
        addSealed(ext4_fc_add_range, value);
        addSealed(ext4_extent, value + ext4_fc_add_range.$.size, Infinity);
      } else if (tag === EXT4_FC_TAG_INODE) {
        addSealed(ext4_fc_inode, value);
        addSealed(ext4_inode, value + ext4_fc_inode.$.size, 2);
      } else if (FAST_COMMIT_VALUES.has(tag)) addSealed(FAST_COMMIT_VALUES.get(tag)!, value);
      at += ext4_fc_tl.$.size + ext4_fc_tl.fc_len.get(view, at);
    }
  }
}

const FAST_COMMIT_VALUES = new Map<number, AnyLayout>([
  [EXT4_FC_TAG_DEL_RANGE, ext4_fc_del_range], [EXT4_FC_TAG_CREAT, ext4_fc_dentry_info], [EXT4_FC_TAG_LINK, ext4_fc_dentry_info], [EXT4_FC_TAG_UNLINK, ext4_fc_dentry_info],
  [EXT4_FC_TAG_TAIL, ext4_fc_tail], [EXT4_FC_TAG_HEAD, ext4_fc_head],
]);

/** Gives every tail in the area the checksum of the records in front of it. */
function resealFastCommits(image: Uint8Array, blocks: readonly number[], blockBytes: number): void {
  let crc = 0;
  for (const blockAt of blocks) {
    const block = image.subarray(blockAt, blockAt + blockBytes);
    const view = viewOf(block);
    for (let at = 0; at + ext4_fc_tl.$.size <= blockBytes;) {
      const value = at + ext4_fc_tl.$.size;
      const end = value + ext4_fc_tl.fc_len.get(view, at);
      if (end > blockBytes) return;
      if (ext4_fc_tl.fc_tag.get(view, at) === EXT4_FC_TAG_TAIL && end - value >= ext4_fc_tail.$.size) {
        ext4_fc_tail.fc_crc.set(view, value, crc32c(crc, block, at, value + ext4_fc_tail.fc_crc.at));
        crc = 0;
      } else crc = crc32c(crc, block, at, end);
      at = end;
    }
  }
}
