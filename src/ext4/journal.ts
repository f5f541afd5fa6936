/**
 * The journal of a filesystem: where its log stands, and recovery on the way in. For a reader recovery goes into an overlay in memory, and the device below is only read; for a writer it
 * goes home. Source: ext4_load_and_init_journal, ext4_open_inode_journal, ext4_open_dev_journal (fs/ext4/super.c).
 */
import { flush, readBytes, writeBytes, type Bio, type BlockDevice } from "../block/device.js";
import { OverlayDevice } from "../block/overlay.js";
import { superblockChecksum } from "../format/checksum.js";
import { CorruptionError, UnsupportedFeatureError } from "../format/corruption.js";
import { INCOMPAT } from "../format/features.js";
import { journal_superblock_s, journalSuperblockChecksum } from "../format/jbd2.js";
import { blocksCount, EXT4_ERROR_FS, EXT4_SUPER_MAGIC, ext4_super_block as S } from "../format/superblock.js";
import { readFastCommits } from "../jbd2/fast-commit.js";
import { readJournalSuperblock, type JournalGeometry } from "../jbd2/log.js";
import type { LogJournal, WritableJournalBlocks } from "../jbd2/log-journal.js";
import { findLogEnd, recover, type RecoveryResult, type ReplayTarget } from "../jbd2/recovery.js";
import { nextTid } from "../jbd2/tid.js";
import { bytesEqual } from "../lib/bytes.js";
import { FsError } from "../lib/errno.js";
import type { LogBlk, Pblk, Tid } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import type { Task } from "../sched/task.js";
import type { FileExtent } from "../vfs/inode.js";
import { replayFastCommits } from "./fast-commit.js";
import { listExtents } from "./map.js";
import { readSuperblock } from "./mount.js";
import { Ext4 } from "./super.js";
import { SUPERBLOCK_AT, SUPERBLOCK_BYTES } from "./superblock.js";

export interface JournalRecovery {
  /** The filesystem as recovery leaves it: an overlay, or the device itself. */
  readonly device: BlockDevice;
  readonly log: RecoveryResult;
  /** Records of fast commits that were replayed on top. */
  readonly fastCommitRecords: number;
}

/** Where a filesystem's journal is. */
export interface Journal extends WritableJournalBlocks {
  /** Blocks of the filesystem that hold it, none if it is on a device of its own. */
  readonly extents: readonly FileExtent[];
}

/** @throws UnsupportedFeatureError the journal is on another device, which was not given, or is another filesystem's; FsError EINVAL that is no journal, EROFS; CorruptionError. */
export function* openJournal(fs: Ext4): Task<Journal | undefined> {
  if (!fs.sb.hasJournal) return undefined;
  const ino = S.s_journal_inum.get(fs.sb.view, 0);
  if (ino !== 0) return yield* openJournalFile(fs, ino);
  const { journalDevice } = fs.options;
  if (journalDevice === undefined) {
    throw new UnsupportedFeatureError(["journal_dev"], "the filesystem's journal is on another device, which was not given");
  }
  return yield* openJournalDevice(fs, journalDevice);
}

function* openJournalFile(fs: Ext4, ino: number): Task<Journal> {
  const inode = yield* fs.igetSpecial(ino);
  const lengthBlocks = Math.floor(inode.i_size / fs.blockBytes);
  if (!inode.isRegular() || inode.i_nlink === 0) throw new CorruptionError("inode-field", { ino, field: "i_mode", found: `0${inode.i_mode.toString(8)}`, expected: "a journal" });
  const extents = yield* listExtents(fs, inode, 0, lengthBlocks);
  let next = 0;
  for (const extent of extents) {
    if (extent.lblk !== next) break;
    next += extent.count;
  }
  if (next < lengthBlocks) throw new CorruptionError("journal-hole", { ino, logBlock: next });
  return {
    blockBytes: fs.blockBytes, lengthBlocks, superblockAt: 0, extents, tearsSectors: fs.device.tearsSectors === true,
    read: (first, into) => fs.device.submit(requests(fs, extents, "read", first, into)),
    write: (first, data, fua) => fs.device.submit(requests(fs, extents, "write", first, data, fua)),
    flush: () => flush(fs.device),
    flushHome: undefined,
  };
}

/** One request for each run of the journal's file. */
function requests(fs: Ext4, extents: readonly FileExtent[], op: "read" | "write", first: LogBlk, bytes: Uint8Array, fua = false): Bio[] {
  const end = first + bytes.length / fs.blockBytes;
  const bios: Bio[] = [];
  for (const extent of extents) {
    const from = Math.max(first, extent.lblk);
    const to = Math.min(end, extent.lblk + extent.count);
    if (from >= to) continue;
    const data = bytes.subarray((from - first) * fs.blockBytes, (to - first) * fs.blockBytes);
    bios.push({ op, offsetBytes: (extent.pblk + from - extent.lblk) * fs.blockBytes, data, fua });
  }
  return bios;
}

/** An external journal's blocks are numbered from the device's start; its superblock stands behind one of the filesystem's kind. */
function* openJournalDevice(fs: Ext4, device: BlockDevice): Task<Journal> {
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  if (device.sizeBytes >= SUPERBLOCK_AT + SUPERBLOCK_BYTES) yield* readBytes(device, SUPERBLOCK_AT, bytes);
  const view = viewOf(bytes);
  const incompat = S.s_feature_incompat.get(view, 0);
  const isJournal = S.s_magic.get(view, 0) === EXT4_SUPER_MAGIC && (incompat & INCOMPAT.journal_dev) !== 0;
  if (!isJournal) throw new FsError("EINVAL", `${device.name} is no journal`);
  if (S.s_checksum.get(view, 0) !== 0 && fs.verifyChecksums && fs.sb.hasMetadataCsum && S.s_checksum.get(view, 0) !== superblockChecksum(bytes)) {
    throw new CorruptionError("superblock-checksum", { offset: SUPERBLOCK_AT, found: device.name });
  }
  if (!bytesEqual(S.s_uuid.get(view, 0), S.s_journal_uuid.get(fs.sb.view, 0))) {
    throw new UnsupportedFeatureError(["journal_dev"], `${device.name} is not this filesystem's journal: its uuid is another`);
  }
  if (fs.options.readOnly === false && device.readOnly) throw new FsError("EROFS", `${device.name}, the journal, is open for reading only`);
  const journal: Journal = {
    blockBytes: fs.blockBytes, extents: [], tearsSectors: device.tearsSectors === true,
    lengthBlocks: Math.min(blocksCount(view, 0, false), Math.floor(device.sizeBytes / fs.blockBytes)),
    superblockAt: Math.floor(SUPERBLOCK_AT / fs.blockBytes) + 1,
    read: (first, into) => readBytes(device, first * fs.blockBytes, into),
    write: (first, data, fua) => writeBytes(device, first * fs.blockBytes, data, fua),
    flush: () => flush(device),
    flushHome: () => flush(fs.device),
  };
  return journal;
}

/** Reads the journal's superblock and refuses what Linux refuses of a shared one. */
export function* journalGeometry(fs: Ext4, journal: Journal): Task<JournalGeometry> {
  const geometry = yield* readJournalSuperblock(journal, fs.verifyChecksums);
  const users = journal_superblock_s.s_nr_users.get(geometry.superblock, 0);
  if (journal.extents.length === 0 && users !== 1) {
    throw new UnsupportedFeatureError(["journal_dev"], `the journal is shared by ${users} filesystems`);
  }
  return geometry;
}

/** Recovers a dirty journal into memory; undefined: there is nothing to recover. */
export function* recoverIntoOverlay(fs: Ext4): Task<JournalRecovery | undefined> {
  const dirty = yield* openDirty(fs);
  if (dirty === undefined) return undefined;
  return yield* recoverOnto(fs, dirty, new OverlayDevice(fs.device, fs.blockBytes));
}

/**
 * Recovers a dirty journal for good. All of it may be repeated after a crash in its midst: the log is given up only when everything is safely home.
 * Fast commits are replayed in memory first, as they are to be put on what the log's last whole transaction left.
 */
export function* recoverOntoDevice(fs: Ext4): Task<JournalRecovery | undefined> {
  const dirty = yield* openDirty(fs);
  if (dirty === undefined) return undefined;
  const overlay = new OverlayDevice(fs.device, fs.blockBytes);
  const recovery = yield* recoverOnto(fs, dirty, overlay);
  yield* fs.device.submit([...overlay.changedBlocks].map(([index, data]) => ({ op: "write", offsetBytes: index * fs.blockBytes, data })));
  yield* fs.strategy.flushDevice(fs, "recovery");
  yield* emptyLog(fs, dirty, nextTid(recovery.log.endTid));
  return { ...recovery, device: fs.device };
}

interface DirtyJournal { readonly journal: Journal; readonly geometry: JournalGeometry }

function* openDirty(fs: Ext4): Task<DirtyJournal | undefined> {
  const isInUse = fs.sb.has(INCOMPAT.needs_recovery, "incompat");
  const journal = yield* isInUse && fs.device.tearsSectors === true ? fs.amidTornBlocks(() => openJournal(fs)) : openJournal(fs);
  if (journal === undefined || !isInUse) return undefined;
  const geometry = yield* journalGeometry(fs, journal);
  return geometry.start === 0 ? undefined : { journal, geometry };
}

function* recoverOnto(fs: Ext4, { journal, geometry }: DirtyJournal, device: BlockDevice): Task<JournalRecovery> {
  const log = yield* recover(journal, geometry, replayTarget(fs, journal, device), fs.verifyChecksums);
  const records = yield* readFastCommits(journal, geometry, log.endTid);
  if (records.length > 0) {
    const recovered = new Ext4(device, yield* readSuperblock(device, fs.verifyChecksums), fs.options);
    yield* replayFastCommits(recovered, records);
  }
  return { device, log, fastCommitRecords: records.length };
}

function* emptyLog(fs: Ext4, { journal, geometry }: DirtyJournal, tid: Tid): Task<void> {
  const { superblock, shape } = geometry;
  journal_superblock_s.s_start.set(superblock, 0, 0);
  journal_superblock_s.s_sequence.set(superblock, 0, tid);
  const block = new Uint8Array(fs.blockBytes);
  block.set(new Uint8Array(superblock.buffer, superblock.byteOffset, superblock.byteLength));
  if (shape.hasCsum) journal_superblock_s.s_checksum.set(viewOf(block), 0, journalSuperblockChecksum(block));
  yield* journal.write(journal.superblockAt, block, true);
}

/** The journal of a filesystem that is to be written, whose log is empty by now; undefined: it has none. */
export function* openLogJournal(fs: Ext4): Task<LogJournal | undefined> {
  const journal = yield* openJournal(fs);
  if (journal === undefined) return undefined;
  const geometry = yield* journalGeometry(fs, journal);
  const { superblock } = geometry;
  if (journal_superblock_s.s_errno.get(superblock, 0) !== 0) {
    // An earlier user of the journal gave up: e2fsck is to look at the filesystem.
    S.s_state.set(fs.sb.view, 0, S.s_state.get(fs.sb.view, 0) | EXT4_ERROR_FS);
    journal_superblock_s.s_errno.set(superblock, 0, 0);
  }
  let tid = nextTid(geometry.sequence);
  if (geometry.start !== 0) {
    // Nobody asked for recovery, so the log does not count; but none of its transactions may seem to go on from one of ours.
    tid = nextTid(yield* findLogEnd(journal, geometry));
    yield* emptyLog(fs, { journal, geometry }, tid);
  }
  return new fs.strategy.LogJournal(fs.cache, fs.clock, journal, geometry, {
    hasChecksums: fs.sb.hasMetadataCsum, is64bit: fs.sb.has64bit, tid, head: journal_superblock_s.s_head.get(geometry.superblock, 0),
  });
}

function replayTarget(fs: Ext4, journal: Journal, device: BlockDevice): ReplayTarget {
  const isOfJournal = membership(journal.extents);
  return {
    isHome: (block: Pblk) => block < fs.sb.blocksCount && !isOfJournal(block),
    write: (block, data) => writeBytes(device, block * fs.blockBytes, data),
  };
}

/** Tells whether a block is in one of the runs. It is asked for each logged block, and a journal may lie in as many pieces as it has blocks. */
function membership(runs: readonly FileExtent[]): (block: Pblk) => boolean {
  const sorted = [...runs].sort((a, b) => a.pblk - b.pblk);
  return (block) => {
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sorted[middle]!.pblk <= block) low = middle + 1;
      else high = middle;
    }
    return low > 0 && block < sorted[low - 1]!.pblk + sorted[low - 1]!.count;
  };
}
