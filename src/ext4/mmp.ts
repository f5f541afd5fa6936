/**
 * Multi-mount protection: a block that says whether somebody has the filesystem. Whoever opens it from outside a kernel says so with the sequence number of fsck, at which Linux refuses to mount.
 * Source: fs/ext4/mmp.c.
 */
import { readBytes, writeBytes } from "../block/device.js";
import { CorruptionError } from "../format/corruption.js";
import { INCOMPAT } from "../format/features.js";
import { EXT4_MMP_MAGIC, EXT4_MMP_SEQ_CLEAN, EXT4_MMP_SEQ_FSCK, mmp_struct, sealMmp } from "../format/mmp.js";
import { ext4_super_block as S } from "../format/superblock.js";
import { FsError } from "../lib/errno.js";
import { viewOf } from "../lib/view.js";
import type { Task } from "../sched/task.js";
import type { Ext4 } from "./super.js";

/** @throws FsError EBUSY somebody has the filesystem, or had it when the power failed; CorruptionError mmp. */
export function* acquireMmp(fs: Ext4): Task<void> {
  const block = yield* readMmp(fs);
  if (block === undefined) return;
  const view = viewOf(block);
  const magic = mmp_struct.mmp_magic.get(view, 0);
  const place = { block: S.s_mmp_block.get(fs.sb.view, 0) };
  if (magic !== EXT4_MMP_MAGIC) throw new CorruptionError("mmp", { ...place, field: "mmp_magic", found: magic, expected: EXT4_MMP_MAGIC });
  const sequence = mmp_struct.mmp_seq.get(view, 0);
  if (sequence !== EXT4_MMP_SEQ_CLEAN) throw new FsError("EBUSY", `another has the filesystem: its multi-mount protection block says 0x${sequence.toString(16)}`);
  yield* writeSequence(fs, block, EXT4_MMP_SEQ_FSCK);
}

export function* releaseMmp(fs: Ext4): Task<void> {
  const block = yield* readMmp(fs);
  if (block !== undefined) yield* writeSequence(fs, block, EXT4_MMP_SEQ_CLEAN);
}

function* readMmp(fs: Ext4): Task<Uint8Array | undefined> {
  const at = S.s_mmp_block.get(fs.sb.view, 0);
  if (!fs.sb.has(INCOMPAT.mmp, "incompat") || at === 0) return undefined;
  if (!fs.sb.containsBlocks(at, 1)) throw new CorruptionError("mmp", { field: "s_mmp_block", found: at });
  const block = new Uint8Array(fs.blockBytes);
  yield* readBytes(fs.device, at * fs.blockBytes, block);
  return block;
}

function* writeSequence(fs: Ext4, block: Uint8Array, sequence: number): Task<void> {
  mmp_struct.mmp_seq.set(viewOf(block), 0, sequence);
  if (fs.sb.hasMetadataCsum) sealMmp(block, fs.sb.csumSeed);
  yield* writeBytes(fs.device, S.s_mmp_block.get(fs.sb.view, 0) * fs.blockBytes, block, true);
}
