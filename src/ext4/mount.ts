/**
 * Mounting, in Linux's order: superblock, journal recovery, everything read anew, root. Read-only, recovery goes into an overlay in memory and the device is not touched.
 * Source: ext4_fill_super (fs/ext4/super.c).
 */
import { readBytes, type BlockDevice } from "../block/device.js";
import { CorruptionError } from "../format/corruption.js";
import { EXT4_ROOT_INO } from "../format/inode.js";
import type { Task } from "../sched/task.js";
import { recoverIntoOverlay, type JournalRecovery } from "./journal.js";
import { mountWritable } from "./mount-writable.js";
import { Ext4, type Ext4MountOptions } from "./super.js";
import { Superblock, SUPERBLOCK_AT, SUPERBLOCK_BYTES } from "./superblock.js";

export function* readSuperblock(device: BlockDevice, verifyChecksums: boolean): Task<Superblock> {
  if (device.sizeBytes < SUPERBLOCK_AT + SUPERBLOCK_BYTES) {
    throw new CorruptionError("device-truncated", { field: "bytes", found: device.sizeBytes, expected: SUPERBLOCK_AT + SUPERBLOCK_BYTES });
  }
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  yield* readBytes(device, SUPERBLOCK_AT, bytes);
  // Where a power cut tears sectors it may part the superblock from its checksum; each of its fields is right by itself.
  return new Superblock(bytes, { verifyChecksums: verifyChecksums && device.tearsSectors !== true, deviceBytes: device.sizeBytes });
}

/**
 * Mounts, by default for reading: then the device is read and never written, whatever its journal holds.
 *
 * @throws CorruptionError the filesystem is damaged where mounting must read it; UnsupportedFeatureError it needs what we do not know, or an external journal
 *   that was not given; FsError EIO, EROFS, EBUSY somebody else has it.
 */
export function* mountExt4(device: BlockDevice, options: Ext4MountOptions = {}): Task<Ext4> {
  const verifyChecksums = options.verifyChecksums ?? true;
  const fs = new Ext4(device, yield* readSuperblock(device, verifyChecksums), options);
  if (options.readOnly === false) return yield* mountWritable(fs);
  const recovery = options.noload === true ? undefined : yield* recoverIntoOverlay(fs);
  if (recovery === undefined) return yield* withRoot(fs);
  // The superblock is itself a journaled block: everything is read anew from what recovery left.
  return yield* withRoot(new Ext4(recovery.device, yield* readSuperblock(recovery.device, verifyChecksums), options), recovery);
}

export function* withRoot(fs: Ext4, recovery?: JournalRecovery): Task<Ext4> {
  fs.recovery = recovery;
  fs.root = yield* fs.iget(EXT4_ROOT_INO);
  if (!fs.root.isDirectory()) {
    throw new CorruptionError("inode-field", { ino: EXT4_ROOT_INO, field: "i_mode", found: `0${fs.root.i_mode.toString(8)}`, expected: "a directory" });
  }
  return fs;
}
