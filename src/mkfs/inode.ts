/** Inodes of a new filesystem. */
import { inodeChecksum, inodeSeed } from "../format/checksum.js";
import { RO_COMPAT } from "../format/features.js";
import type { Field } from "../format/layout.js";
import { encodeTime, EXT4_GOOD_OLD_INODE_BYTES, ext4_inode as I } from "../format/inode.js";
import { TWO_32, type Ino, type Pblk } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import type { Timespec } from "../vfs/inode.js";
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
  readonly generation?: number;
  /** Default: those of the filesystem. */
  readonly atime?: Timespec;
  readonly mtime?: Timespec;
  /** The block of extended attributes. */
  readonly fileAcl?: Pblk;
  readonly map: Pick<FileMap, "root" | "flags" | "blocksUsed">;
}

/** A record without a checksum, which comes when the inode is complete. */
export function newInode(draft: Draft, fields: InodeFields): Uint8Array {
  const record = new Uint8Array(draft.sb.inodeBytes);
  writeInode(draft, viewOf(record), 0, fields);
  return record;
}

/** The same at a place of zeroes. */
export function writeInode(draft: Draft, view: DataView, at: number, fields: InodeFields): void {
  const { sb, parameters: { options: { timeSec } } } = draft;
  if (fields.sizeBytes >= LARGE_FILE_BYTES) sb.setFeature("roCompat", RO_COMPAT.large_file, true);
  const { uid = 0, gid = 0, generation = 0, fileAcl = 0, map } = fields;
  I.i_mode.set(view, at, fields.mode);
  I.i_uid.set(view, at, uid % 0x1_0000);
  I.i_uid_high.set(view, at, Math.floor(uid / 0x1_0000));
  I.i_gid.set(view, at, gid % 0x1_0000);
  I.i_gid_high.set(view, at, Math.floor(gid / 0x1_0000));
  I.i_links_count.set(view, at, fields.links);
  I.i_size_lo.set(view, at, fields.sizeBytes % TWO_32);
  I.i_size_high.set(view, at, Math.floor(fields.sizeBytes / TWO_32));
  I.i_flags.set(view, at, (fields.flags ?? 0) | map.flags);
  const sectors = map.blocksUsed * (sb.blockBytes / SECTOR_BYTES);
  I.i_blocks_lo.set(view, at, sectors % TWO_32);
  I.i_blocks_high.set(view, at, Math.floor(sectors / TWO_32));
  I.i_block.set(view, at, map.root);
  I.i_generation.set(view, at, generation);
  I.i_file_acl_lo.set(view, at, fileAcl % TWO_32);
  I.i_file_acl_high.set(view, at, Math.floor(fileAcl / TWO_32));
  const hasExtra = sb.inodeBytes > EXT4_GOOD_OLD_INODE_BYTES;
  if (hasExtra) I.i_extra_isize.set(view, at, I.$.size - EXT4_GOOD_OLD_INODE_BYTES);
  setTime(view, at, hasExtra, I.i_atime, I.i_atime_extra, fields.atime?.sec ?? timeSec, fields.atime?.nsec ?? 0);
  setTime(view, at, hasExtra, I.i_mtime, I.i_mtime_extra, fields.mtime?.sec ?? timeSec, fields.mtime?.nsec ?? 0);
  setTime(view, at, hasExtra, I.i_ctime, I.i_ctime_extra, timeSec, 0);
  if (hasExtra) setTime(view, at, true, I.i_crtime, I.i_crtime_extra, timeSec, 0);
}

/** Without the extra word seconds have 32 bits, and a time beyond them is the nearest there is. */
function setTime(view: DataView, at: number, hasExtra: boolean, seconds: Field, extra: Field, sec: number, nsec: number): void {
  seconds.set(view, at, hasExtra ? sec | 0 : Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, sec)));
  if (hasExtra) extra.set(view, at, encodeTime({ sec, nsec }).extra);
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
