/**
 * What can be wrong with a filesystem's bytes: one closed table of kinds, shared by the engine, jbd2 and fsck, so that a test can
 * assert exactly which damage was seen. A kind that ends in "-checksum" is EBADMSG (the kernel's EFSBADCRC), all others are EUCLEAN
 * (EFSCORRUPTED).
 */
import { FsError, type ErrorContext } from "../lib/errno.js";
import type { GroupNo, Ino, LogBlk, Pblk } from "../lib/numbers.js";

export const CORRUPTION = {
  "superblock-magic": "this is not an ext2, ext3 or ext4 filesystem: the superblock's magic number is wrong",
  "superblock-checksum": "the superblock's checksum is wrong",
  "superblock-geometry": "the superblock describes an impossible geometry",
  "superblock-field": "a field of the superblock has an impossible value",
  "device-truncated": "the device is smaller than the filesystem on it",
  "group-desc-checksum": "a group descriptor's checksum is wrong",
  "group-desc-location": "a group descriptor points outside the filesystem",
  "bitmap-checksum": "a bitmap's checksum is wrong",
  "block-bitmap": "a block bitmap contradicts the group's counts or structures, or what owns the block",
  "inode-bitmap": "an inode bitmap contradicts the inode's state",
  "system-zone": "blocks of the filesystem's own structures are claimed by a file",
  "inode-number": "an inode number is out of range",
  "inode-checksum": "an inode's checksum is wrong",
  "inode-field": "a field of an inode has an impossible value",
  "inode-unused": "a name points to an inode that is not in use",
  "extent-header": "an extent block's header is damaged",
  "extent-order": "an extent tree's keys are out of order",
  "extent-range": "an extent points outside the filesystem",
  "extent-checksum": "an extent block's checksum is wrong",
  "indirect-range": "an indirect map points outside the filesystem",
  "map-overrun": "a file maps more blocks than the filesystem has",
  "dir-entry": "a directory entry is damaged",
  "dir-hole": "a directory has a hole",
  "dir-checksum": "a directory block's checksum is wrong",
  "dir-loop": "a directory is its own ancestor, or stands in two places",
  "htree-field": "a directory's hash tree is damaged",
  "symlink": "a symbolic link's target is damaged",
  "inline-data": "inline data is damaged",
  "xattr-block": "an extended attribute block is damaged",
  "xattr-entry": "an extended attribute entry is damaged",
  "xattr-checksum": "an extended attribute block's or value's checksum is wrong",
  "acl": "a POSIX ACL is damaged",
  "orphan-list": "the orphan list is damaged",
  "orphan-file": "the orphan file is damaged",
  "orphan-checksum": "an orphan block's checksum is wrong",
  "mmp": "the multi-mount protection block is damaged",
  "mmp-checksum": "the multi-mount protection block's checksum is wrong",
  "quota": "a quota file is damaged",
  "encryption": "an encryption context is damaged",
  "journal-superblock": "the journal's superblock is damaged",
  "journal-checksum": "a checksum in the journal is wrong",
  "journal-block": "a block of the journal is damaged",
  "journal-hole": "the journal's file has a hole",
  "fast-commit": "the fast-commit area of the journal is damaged",
  "fast-commit-checksum": "a fast commit's checksum is wrong",
  "partition-table": "the partition table is damaged",
  "namespace-info": "the info block of a persistent memory namespace is damaged",
  "namespace-checksum": "the checksum of a namespace's info block is wrong",
  "btt-info": "the info block of a block translation table is damaged",
  "btt-info-checksum": "the checksum of a block translation table's info block is wrong",
  "btt-log": "the log of a block translation table is damaged",
  "btt-map": "the map of a block translation table points outside its data",
  "nfit": "the NVDIMM firmware interface table is damaged",
  "nfit-checksum": "the NVDIMM firmware interface table's checksum is wrong",
} as const;

export type CorruptionKind = keyof typeof CORRUPTION;

/** Where the damage was found. Blocks are filesystem blocks; `offset` is in bytes, within the block if one is named, else of the device. */
export interface CorruptionPlace {
  ino?: Ino | undefined;
  block?: Pblk | undefined;
  logBlock?: LogBlk | undefined;
  group?: GroupNo | undefined;
  offset?: number | undefined;
  field?: string | undefined;
  found?: number | string | undefined;
  expected?: number | string | undefined;
}

const PLACE_WORDS: Record<keyof CorruptionPlace, string> = {
  ino: "inode", block: "block", logBlock: "log block", group: "group", offset: "offset", field: "field", found: "found", expected: "expected",
};

/** The bytes on disk are wrong. `kind` says what, `where` says where. */
export class CorruptionError extends FsError {
  override name = "CorruptionError";
  readonly kind: CorruptionKind;
  readonly where: CorruptionPlace;

  constructor(kind: CorruptionKind, where: CorruptionPlace = {}, context: ErrorContext = {}) {
    const places = (Object.keys(PLACE_WORDS) as (keyof CorruptionPlace)[])
      .filter((key) => where[key] !== undefined)
      .map((key) => `${PLACE_WORDS[key]} ${where[key]}`);
    const place = places.length === 0 ? "" : ` (${places.join(", ")})`;
    super(kind.endsWith("-checksum") ? "EBADMSG" : "EUCLEAN", CORRUPTION[kind] + place, context);
    this.kind = kind;
    this.where = where;
  }
}

/** What we refuse to touch, because we do not know it; the names are those of mke2fs's -O, or FEATURE_I12 for a bit without a name. */
export class UnsupportedFeatureError extends FsError {
  override name = "UnsupportedFeatureError";
  readonly features: readonly string[];

  constructor(features: readonly string[], detail: string) {
    super("EOPNOTSUPP", detail);
    this.features = features;
  }
}
