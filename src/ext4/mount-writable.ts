/**
 * Mounting for writing, and unmounting. Recovery goes home, the journal gets the features that Linux gives it, the superblock says that a crash from here on needs recovery, and inodes that an
 * earlier crash left without a name are deleted. Source: ext4_fill_super, ext4_setup_super, ext4_put_super (fs/ext4/super.c).
 */
import { flush } from "../block/device.js";
import { UnsupportedFeatureError } from "../format/corruption.js";
import { COMPAT, featureNames, INCOMPAT, RO_COMPAT, RO_COMPAT_WRITABLE } from "../format/features.js";
import { EXT4_ERROR_FS, EXT4_VALID_FS, ext4_super_block as S, setSuperblockTime } from "../format/superblock.js";
import { DirectJournal } from "../jbd2/direct-journal.js";
import type { Journal } from "../jbd2/journal.js";
import { LogJournal } from "../jbd2/log-journal.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { Groups } from "./group-table.js";
import { InodeAllocator } from "./ialloc.js";
import { openLogJournal, recoverOntoDevice } from "./journal.js";
import { BlockAllocator } from "./mballoc.js";
import { acquireMmp, releaseMmp } from "./mmp.js";
import { readSuperblock, withRoot } from "./mount.js";
import { processOrphans } from "./orphan-cleanup.js";
import { Ext4, type WritableState } from "./super.js";
import { syncFilesystem } from "./sync.js";

/** What was mounted for reading is mounted for writing, with the same inodes in core. @throws FsError EROFS, also where recovery stands in an overlay: it is to be mounted anew. */
export function* openForWriting(fs: Ext4): Task<void> {
  if (fs.recovery !== undefined) throw new FsError("EROFS", "the journal was recovered in memory alone");
  checkWritable(fs);
  yield* acquireMmp(fs);
  fs.writable = yield* writableState(fs, yield* openLogJournal(fs));
  yield* markInUse(fs);
  yield* processOrphans(fs);
}

function* writableState(fs: Ext4, journal: LogJournal | undefined): Task<WritableState> {
  const groups = yield* Groups.load(fs);
  return {
    journal: journal ?? new DirectJournal(fs.cache, fs.clock, () => flush(fs.device)),
    allocator: new BlockAllocator(groups),
    inodeAllocator: new InodeAllocator(groups),
  };
}

export function* mountWritable(dirty: Ext4): Task<Ext4> {
  checkWritable(dirty);
  yield* acquireMmp(dirty);
  try {
    return yield* recoverAndMount(dirty);
  } catch (error) {
    yield* releaseMmp(dirty); // nobody has it after all
    throw error;
  }
}

function* recoverAndMount(dirty: Ext4): Task<Ext4> {
  const { device, options, verifyChecksums } = dirty;
  const recovery = yield* recoverOntoDevice(dirty);
  const fs = recovery === undefined ? dirty : new Ext4(device, yield* readSuperblock(device, verifyChecksums), options);
  fs.writable = yield* writableState(fs, yield* openLogJournal(fs));
  yield* withRoot(fs, recovery);
  yield* markInUse(fs);
  yield* processOrphans(fs);
  return fs;
}

/** @throws UnsupportedFeatureError, FsError EROFS. */
function checkWritable({ device, sb, options }: Ext4): void {
  if (device.readOnly) throw new FsError("EROFS", `${device.name} is open for reading only`);
  if (options.noload === true && sb.has(INCOMPAT.needs_recovery, "incompat")) throw new FsError("EINVAL", "without recovery a dirty filesystem can only be read");
  if (sb.has(RO_COMPAT["read-only"], "roCompat")) throw new FsError("EROFS", "the filesystem is marked read-only");
  const unknown = featureNames("ro_compat", (sb.roCompat & ~RO_COMPAT_WRITABLE) >>> 0);
  if (unknown.length > 0) throw new UnsupportedFeatureError(unknown, `the filesystem can be read here, but not written, as it has ${unknown.join(", ")}`);
}

/** From here on a crash needs recovery, and a filesystem without a journal needs e2fsck. */
function* markInUse(fs: Ext4): Task<void> {
  const { sb } = fs;
  const { view } = sb;
  if (sb.hasJournal) sb.setFeature("incompat", INCOMPAT.needs_recovery, true);
  else S.s_state.set(view, 0, S.s_state.get(view, 0) & ~EXT4_VALID_FS);
  if (sb.has(COMPAT.orphan_file, "compat")) sb.setFeature("roCompat", RO_COMPAT.orphan_present, true);
  S.s_mnt_count.set(view, 0, S.s_mnt_count.get(view, 0) + 1);
  setSuperblockTime("s_mtime", view, 0, fs.clock.now().sec);
  yield* fs.writeSuperblock();
}

/** Writes everything, and leaves the filesystem as one that needs no recovery. Open files that have no name any more are deleted by their close, which comes first. */
export function* unmountExt4(fs: Ext4): Task<void> {
  const { writable } = fs;
  if (writable === undefined) return;
  try {
    if (writable.journal.abortError === undefined) yield* settle(fs, writable.journal);
    yield* releaseMmp(fs);
  } finally {
    fs.writable = undefined;
  }
  if (writable.journal.abortError !== undefined) {
    throw new FsError("EIO", `what was not durable yet is lost, and the next mount will recover: ${writable.journal.abortError.message}`);
  }
}

function* settle(fs: Ext4, journal: Journal): Task<void> {
  const { sb } = fs;
  yield* syncFilesystem(fs);
  if (journal instanceof LogJournal) yield* journal.flush();
  sb.setFeature("incompat", INCOMPAT.needs_recovery, false);
  sb.setFeature("roCompat", RO_COMPAT.orphan_present, false);
  if ((S.s_state.get(sb.view, 0) & EXT4_ERROR_FS) === 0) S.s_state.set(sb.view, 0, S.s_state.get(sb.view, 0) | EXT4_VALID_FS);
  yield* fs.writeSuperblock();
}
