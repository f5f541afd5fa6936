/**
 * Reading the area of fast commits: one after the other, each whole only if its tail's checksum says so. What counts is everything up to the last whole one that belongs to
 * the transaction which never committed. A fast commit that was torn ends the list; Linux refuses the mount if the very first one is torn, here it counts as none.
 * Source: ext4_fc_replay_scan (fs/ext4/fast_commit.c).
 */
import { UnsupportedFeatureError } from "../format/corruption.js";
import { ext4_extent, extentIsUnwritten, extentLength, extentPblock } from "../format/extent.js";
import {
  EXT4_FC_TAG_ADD_RANGE, EXT4_FC_TAG_CREAT, EXT4_FC_TAG_DEL_RANGE, EXT4_FC_TAG_HEAD, EXT4_FC_TAG_INODE, EXT4_FC_TAG_LINK, EXT4_FC_TAG_PAD, EXT4_FC_TAG_TAIL,
  EXT4_FC_TAG_UNLINK, ext4_fc_add_range, ext4_fc_del_range, ext4_fc_dentry_info, ext4_fc_head, ext4_fc_inode, ext4_fc_tail, ext4_fc_tl,
} from "../format/fast-commit.js";
import { crc32c } from "../lib/crc32c.js";
import type { Ino, Lblk, Pblk, Tid } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { LogReader, type JournalBlocks, type JournalGeometry } from "./log.js";

export type FastCommitRecord =
  | { readonly tag: "add-range"; readonly ino: Ino; readonly lblk: Lblk; readonly pblk: Pblk; readonly count: number; readonly unwritten: boolean }
  | { readonly tag: "del-range"; readonly ino: Ino; readonly lblk: Lblk; readonly count: number }
  | { readonly tag: "creat" | "link" | "unlink"; readonly parent: Ino; readonly ino: Ino; readonly name: Uint8Array }
  | { readonly tag: "inode"; readonly ino: Ino; readonly raw: Uint8Array };

const HEAD_BYTES = ext4_fc_tl.$.size;
/** A tail may stand so close to the block's end that no further header fits behind it. */
const INODE_BYTES_MIN = 128;

/** All records to be replayed on top of the log's last whole transaction, in order. */
export function* readFastCommits(blocks: JournalBlocks, geometry: JournalGeometry, expectedTid: Tid): Task<FastCommitRecord[]> {
  const reader = new LogReader(blocks, geometry.maxlen);
  const pending: FastCommitRecord[] = [];
  let wholeCount = 0; // records up to the last good tail
  let crc = 0;
  for (let at = geometry.fastCommitFirst; at < geometry.maxlen; at++) {
    const { bytes, view } = yield* reader.block(at);
    if (at === geometry.fastCommitFirst && ext4_fc_tl.fc_tag.get(view, 0) !== EXT4_FC_TAG_HEAD) break;
    for (let from = 0; from + HEAD_BYTES <= bytes.length;) {
      const tag = ext4_fc_tl.fc_tag.get(view, from);
      const length = ext4_fc_tl.fc_len.get(view, from);
      const value = from + HEAD_BYTES;
      const end = value + length;
      if (end > bytes.length) return pending.slice(0, wholeCount);
      if (tag === EXT4_FC_TAG_TAIL) {
        if (length < ext4_fc_tail.$.size) return pending.slice(0, wholeCount);
        crc = crc32c(crc, bytes, from, value + ext4_fc_tail.fc_crc.at);
        const isWhole = ext4_fc_tail.fc_tid.get(view, value) === expectedTid && ext4_fc_tail.fc_crc.get(view, value) === crc;
        if (!isWhole) return pending.slice(0, wholeCount);
        wholeCount = pending.length;
        crc = 0;
      } else {
        if (tag === EXT4_FC_TAG_HEAD) {
          if (length < ext4_fc_head.$.size) return pending.slice(0, wholeCount);
          const features = ext4_fc_head.fc_features.get(view, value);
          if (features !== 0) throw new UnsupportedFeatureError([`fast commit 0x${features.toString(16)}`], "a fast commit uses features that are not known here");
          if (ext4_fc_head.fc_tid.get(view, value) !== expectedTid) return pending.slice(0, wholeCount);
        } else if (tag !== EXT4_FC_TAG_PAD) {
          const record = decodeRecord(tag, bytes, view, value, length);
          if (record === undefined) return pending.slice(0, wholeCount);
          pending.push(record);
        }
        crc = crc32c(crc, bytes, from, end);
      }
      from = end;
    }
  }
  return pending.slice(0, wholeCount);
}

/** Undefined: an unknown tag, or a value that is too short for its tag. */
function decodeRecord(tag: number, bytes: Uint8Array, view: DataView, at: number, length: number): FastCommitRecord | undefined {
  switch (tag) {
    case EXT4_FC_TAG_ADD_RANGE: {
      if (length < ext4_fc_add_range.$.size + ext4_extent.$.size) return undefined;
      const extent = at + ext4_fc_add_range.$.size;
      const eeLen = ext4_extent.ee_len.get(view, extent);
      return {
        tag: "add-range", ino: ext4_fc_add_range.fc_ino.get(view, at), lblk: ext4_extent.ee_block.get(view, extent), pblk: extentPblock(view, extent),
        count: extentLength(eeLen), unwritten: extentIsUnwritten(eeLen),
      };
    }
    case EXT4_FC_TAG_DEL_RANGE:
      if (length < ext4_fc_del_range.$.size) return undefined;
      return {
        tag: "del-range", ino: ext4_fc_del_range.fc_ino.get(view, at), lblk: ext4_fc_del_range.fc_lblk.get(view, at), count: ext4_fc_del_range.fc_len.get(view, at),
      };
    case EXT4_FC_TAG_CREAT:
    case EXT4_FC_TAG_LINK:
    case EXT4_FC_TAG_UNLINK: {
      const name = bytes.slice(at + ext4_fc_dentry_info.$.size, at + length);
      if (name.length === 0 || name.length > 255 || name.includes(0) || name.includes(0x2f)) return undefined;
      return {
        tag: tag === EXT4_FC_TAG_CREAT ? "creat" : tag === EXT4_FC_TAG_LINK ? "link" : "unlink", name,
        parent: ext4_fc_dentry_info.fc_parent_ino.get(view, at), ino: ext4_fc_dentry_info.fc_ino.get(view, at),
      };
    }
    case EXT4_FC_TAG_INODE:
      if (length < ext4_fc_inode.$.size + INODE_BYTES_MIN) return undefined;
      return { tag: "inode", ino: ext4_fc_inode.fc_ino.get(view, at), raw: bytes.slice(at + ext4_fc_inode.$.size, at + length) };
    default:
      return undefined;
  }
}
