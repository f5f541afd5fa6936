/**
 * What a caller may ask of a new filesystem. All but time, uuid and hash seed have the defaults of mke2fs: the core has neither clock nor randomness, so these three
 * are the caller's, and with them the same options give the same bytes.
 */
import type { BlockDevice } from "../block/device.js";
import { FsError } from "../lib/errno.js";
import type { Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";

export const CREATOR_SYSTEMS = ["linux", "hurd", "masix", "freebsd", "lites"] as const;
export const ERRORS_BEHAVIOURS = ["continue", "remount-ro", "panic"] as const;
export const QUOTA_TYPES = ["usrquota", "grpquota", "prjquota"] as const;

export type CreatorSystem = (typeof CREATOR_SYSTEMS)[number];
export type ErrorsBehaviour = (typeof ERRORS_BEHAVIOURS)[number];
export type QuotaType = (typeof QUOTA_TYPES)[number];

/** A place or a length, which some options take in blocks of the new filesystem or in bytes. */
export type Amount = { readonly blocks: number } | { readonly bytes: number };

/** A device that is a journal, made with the feature journal_dev. */
export interface ExternalJournal {
  /** The journal's uuid, by which the filesystem knows it. */
  readonly uuid: Uint8Array;
  readonly blockBytes: number;
  /** Linux's number of the device, as stat gives it; 0: a file. */
  readonly deviceNumber: number;
}

export interface MkfsOptions {
  /** Seconds since 1970: every time in the filesystem. */
  readonly timeSec: number;
  /** 16 bytes each. */
  readonly uuid: Uint8Array;
  readonly hashSeed: Uint8Array;

  /** Bytes of the filesystem. Default: the device's, in whole pages. */
  readonly sizeBytes?: number | undefined;
  /** "ext2", "ext3" or "ext4", the default. */
  readonly type?: string | undefined;
  /** Usage types; the default follows from the size. */
  readonly usage?: readonly string[] | undefined;
  /** 1024 .. 65536. */
  readonly blockBytes?: number | undefined;
  /** The block size is chosen, and is at least this. */
  readonly blockBytesMin?: number | undefined;
  /** With bigalloc. Default: 16 blocks. */
  readonly clusterBytes?: number | undefined;
  /** Changes of the features that the types bring, as in "bigalloc,^resize_inode". */
  readonly features?: string | undefined;
  /** 0: as filesystems were before features. Default 1. */
  readonly revision?: number | undefined;
  readonly inodeBytes?: number | undefined;
  /** One inode for so many bytes of the filesystem. */
  readonly inodeRatioBytes?: number | undefined;
  readonly inodesCount?: number | undefined;
  /** Blocks of a group; with bigalloc clusters. */
  readonly groupBlocks?: number | undefined;
  /** Groups whose bitmaps and tables stand together. Default 16. */
  readonly flexGroups?: number | undefined;
  /** Of the blocks, for root. Default 5. */
  readonly reservedPercent?: number | undefined;
  readonly label?: string | undefined;
  readonly lastMounted?: string | undefined;
  readonly errors?: ErrorsBehaviour | undefined;
  readonly creatorOs?: CreatorSystem | undefined;

  /** Turns the feature has_journal on. */
  readonly hasJournal?: boolean | undefined;
  /** Without the fast-commit area. */
  readonly journalBytes?: number | undefined;
  readonly fastCommitBytes?: number | undefined;
  readonly journalAt?: Amount | undefined;
  readonly externalJournal?: ExternalJournal | undefined;
  /** Leaves the journal's old bytes where they are. */
  readonly lazyJournalInit?: boolean | undefined;

  /** Leaves inode tables to be zeroed by the kernel, where descriptors have checksums. Default true. */
  readonly lazyItableInit?: boolean | undefined;
  /** The device reads as zeroes: nothing is zeroed, and inode tables count as zeroed. */
  readonly deviceIsZero?: boolean | undefined;
  readonly strideBlocks?: number | undefined;
  readonly stripeWidthBlocks?: number | undefined;
  /** The size up to which the descriptor table can grow where it stands. */
  readonly resizeMax?: Amount | undefined;
  /** Bitmaps, inode tables and journal stand at the beginning. */
  readonly packedMetaBlocks?: boolean | undefined;
  /** 0, 1 or 2, with sparse_super2. Default 2. */
  readonly backupSuperblocks?: number | undefined;
  readonly rootOwner?: { readonly uid: number; readonly gid: number } | undefined;
  /** "utf8" or "utf8-12.1"; turns the feature casefold on. */
  readonly encoding?: string | undefined;
  /** Names that are not UTF-8 are refused. */
  readonly strictEncoding?: boolean | undefined;
  readonly quotaTypes?: readonly QuotaType[] | undefined;
  readonly mmpIntervalSec?: number | undefined;
  readonly orphanFile?: Amount | undefined;
  /** Marks a filesystem that experimental code may mount. */
  readonly isTest?: boolean | undefined;
}

/** A value that an option cannot have, or options that contradict each other; `option` is the one to blame. */
export class MkfsOptionError extends FsError {
  override name = "MkfsOptionError";

  constructor(readonly option: keyof MkfsOptions, detail: string) {
    super("EINVAL", detail);
  }
}

/** The filesystem's own structures do not fit. */
export function tooSmall(what: string): FsError {
  return new FsError("ENOSPC", `the filesystem is too small for ${what}`);
}

/** What was made. */
export interface MkfsResult {
  /** Names, as dumpe2fs prints them. */
  readonly features: readonly string[];
  readonly blockBytes: number;
  readonly clusterBytes: number;
  readonly inodeBytes: number;
  readonly blocksCount: number;
  readonly freeBlocksCount: number;
  readonly reservedBlocksCount: number;
  readonly inodesCount: number;
  readonly groupsCount: number;
  readonly blocksPerGroup: number;
  readonly inodesPerGroup: number;
  /** Blocks of the journal in the filesystem, or of the device that is one. */
  readonly journalBlocks: number;
  readonly uuid: Uint8Array;
  /** Blocks where copies of the superblock stand. */
  readonly backupSuperblocks: readonly Pblk[];
  /** Sentences for who asked: what was not done as asked, and what may surprise. */
  readonly notes: readonly string[];
}

/** A filesystem that is laid out and not written. */
export interface MkfsPlan {
  readonly result: MkfsResult;
  /**
   * @param device of the size that the plan was made for.
   * @param bringData brings the data of the tree that the filesystem is filled with; asked when nothing of that will be zeroed any more. @throws FsError EIO, EROFS.
   */
  write(device: BlockDevice, bringData?: () => Task<void>): Task<void>;
}
