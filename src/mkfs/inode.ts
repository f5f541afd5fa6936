/** Inodes of a new filesystem. */
import { inodeChecksum, inodeSeed } from "../format/checksum.js";
import { RO_COMPAT } from "../format/features.js";
import { encodeTime, EXT4_GOOD_OLD_INODE_BYTES, ext4_inode as I } from "../format/inode.js";
import { TWO_32, type Ino } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import type { Draft } from "./draft.js";
import type { FileMap } from "./file-map.js";

const SECTOR_BYTES = 512;
/** A file of so many bytes needs the feature large_file. */
const LARGE_FILE_BYTES = 2 ** 31;

export interface InodeFields {
  readonly mode: number;
  readonly links: number;
  readonly sizeBytes: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly flags?: number;
  readonly map: Pick<FileMap, "root" | "flags" | "blocksUsed">;
}

/** A record without a checksum, which comes when the inode is complete. */
export function newInode(draft: Draft, fields: InodeFields): Uint8Array {
  const record = emptyInode(draft);
  const view = viewOf(record);
  if (fields.sizeBytes >= LARGE_FILE_BYTES) draft.sb.setFeature("roCompat", RO_COMPAT.large_file, true);
  const { uid = 0, gid = 0, map } = fields;
  I.i_mode.set(view, 0, fields.mode);
  I.i_uid.set(view, 0, uid % 0x1_0000);
  I.i_uid_high.set(view, 0, Math.floor(uid / 0x1_0000));
  I.i_gid.set(view, 0, gid % 0x1_0000);
  I.i_gid_high.set(view, 0, Math.floor(gid / 0x1_0000));
  I.i_links_count.set(view, 0, fields.links);
  I.i_size_lo.set(view, 0, fields.sizeBytes % TWO_32);
  I.i_size_high.set(view, 0, Math.floor(fields.sizeBytes / TWO_32));
  I.i_flags.set(view, 0, (fields.flags ?? 0) | map.flags);
  const sectors = map.blocksUsed * (draft.sb.blockBytes / SECTOR_BYTES);
  I.i_blocks_lo.set(view, 0, sectors % TWO_32);
  I.i_blocks_high.set(view, 0, Math.floor(sectors / TWO_32));
  I.i_block.set(view, 0, map.root);
  if (record.length > EXT4_GOOD_OLD_INODE_BYTES) {
    const { seconds, extra } = encodeTime({ sec: draft.parameters.options.timeSec, nsec: 0 });
    I.i_extra_isize.set(view, 0, I.$.size - EXT4_GOOD_OLD_INODE_BYTES);
    I.i_crtime.set(view, 0, seconds);
    for (const name of ["i_crtime_extra", "i_atime_extra", "i_ctime_extra", "i_mtime_extra"] as const) I[name].set(view, 0, extra);
  }
  return record;
}

/** Nothing but times. */
export function emptyInode(draft: Draft): Uint8Array {
  const record = new Uint8Array(draft.sb.inodeBytes);
  const { seconds } = encodeTime({ sec: draft.parameters.options.timeSec, nsec: 0 });
  for (const name of ["i_atime", "i_ctime", "i_mtime"] as const) I[name].set(viewOf(record), 0, seconds);
  return record;
}

export function setInodeChecksum(draft: Draft, ino: Ino, record: Uint8Array): void {
  if (!draft.sb.hasMetadataCsum) return;
  const view = viewOf(record);
  const sum = inodeChecksum(record, inodeSeed(draft.sb.csumSeed, ino, I.i_generation.get(view, 0)));
  I.i_checksum_lo.set(view, 0, sum % 0x1_0000);
  const hasHi = record.length > EXT4_GOOD_OLD_INODE_BYTES && I.i_checksum_hi.at + I.i_checksum_hi.size <= EXT4_GOOD_OLD_INODE_BYTES + I.i_extra_isize.get(view, 0);
  if (hasHi) I.i_checksum_hi.set(view, 0, Math.floor(sum / 0x1_0000));
}
