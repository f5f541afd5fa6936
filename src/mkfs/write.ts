/** Carrying a laid-out filesystem to the device: zeroes where old bytes would lie, then everything else, then the superblock. */
import { flush, type BlockDevice } from "../block/device.js";
import { inodeTableBlocks, superblockOf } from "../ext4/groups.js";
import { SUPERBLOCK_AT, SUPERBLOCK_BYTES } from "../ext4/superblock.js";
import { ext4_super_block as S, setFreeBlocksCount } from "../format/superblock.js";
import type { GroupNo } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { WriteBatch } from "./batch.js";
import type { Draft } from "./draft.js";
import { descPlaces, usedInodesOf, writeBitmaps } from "./group-tables.js";
import { setInodeChecksum } from "./inode.js";
import { backupGroups } from "./placement.js";
import { superblockCopy } from "./superblock.js";

/** A RAID's own superblock may stand in the last whole unit of so many bytes, or in what follows it. */
const RAID_UNIT_BYTES = 65536;

/** @param bringData what the filesystem is filled with goes where the draft says; asked when nothing of that will be zeroed any more. */
export function* writeDraft(draft: Draft, device: BlockDevice, bringData?: () => Task<void>): Task<void> {
  const { sb } = draft;
  const { blockBytes, view } = sb;
  const batch = new WriteBatch(device);
  if (draft.parameters.options.deviceIsZero !== true) yield* zeroAreas(draft, batch);
  yield* batch.flush(); // what follows writes into what was zeroed
  if (bringData !== undefined) yield* bringData();
  const { descs, free } = yield* writeBitmaps(draft, batch);
  for (const { block, data } of draft.contents) yield* batch.write(block * blockBytes, data);
  yield* writeInodes(draft, batch);
  for (const { index, count, places } of descPlaces(draft)) {
    for (const place of places) yield* batch.write(place * blockBytes, descs.subarray(index * blockBytes, (index + count) * blockBytes));
  }
  S.s_kbytes_written.set(view, 0, Math.ceil((batch.writtenBytes + SUPERBLOCK_BYTES) / 1024));
  setFreeBlocksCount(view, 0, sb.has64bit, free.clusters * sb.clusterBlocks);
  S.s_free_inodes_count.set(view, 0, free.inodes);
  for (const group of backupGroups(sb)) yield* batch.write(superblockOf(sb, group) * blockBytes, superblockBlock(draft, group));
  yield* batch.flush();
  yield* flush(device);
  yield* batch.write(SUPERBLOCK_AT, superblockBlock(draft, 0));
  yield* batch.flush();
  yield* flush(device);
}

/** A copy of the superblock, up to the end of its block. */
function superblockBlock({ sb }: Draft, group: GroupNo): Uint8Array {
  const block = new Uint8Array(group === 0 ? Math.max(sb.blockBytes, 2048) - SUPERBLOCK_AT : sb.blockBytes);
  block.set(superblockCopy(sb.view, group, sb.hasMetadataCsum));
  return block;
}

/** Zeroes what must not keep old bytes: other filesystems' marks at both ends, inode tables, the journal. */
function* zeroAreas(draft: Draft, batch: WriteBatch): Task<void> {
  const { sb, groups } = draft;
  const { blockBytes } = sb;
  const endBytes = sb.blocksCount * blockBytes;
  yield* batch.zero(0, SUPERBLOCK_AT + superblockBlock(draft, 0).length);
  const lastUnitAt = Math.floor(endBytes / RAID_UNIT_BYTES) * RAID_UNIT_BYTES - RAID_UNIT_BYTES;
  if (lastUnitAt > 0) yield* batch.zero(lastUnitAt, endBytes - lastUnitAt);
  yield* batch.flush(); // the last blocks may be part of what comes now
  for (let group = 0; group < sb.groupsCount; group++) {
    const usedBlocks = draft.leavesTablesToKernel ? Math.ceil((usedInodesOf(draft, group) * sb.inodeBytes) / blockBytes) : inodeTableBlocks(sb);
    yield* batch.zero(groups.inodeTable[group]! * blockBytes, usedBlocks * blockBytes);
  }
  for (const { first, count } of draft.zeroes) yield* batch.zero(first * blockBytes, count * blockBytes);
}

/** Only blocks of the tables that hold an inode: others are zero, or nobody reads them. */
function* writeInodes(draft: Draft, batch: WriteBatch): Task<void> {
  const { sb, groups } = draft;
  for (let group = 0; group < sb.groupsCount; group++) {
    const count = usedInodesOf(draft, group);
    for (let index = 0; index < count; index++) {
      const ino = group * sb.inodesPerGroup + index + 1;
      setInodeChecksum(draft, ino, draft.inodes.record(ino));
    }
    const usedBytes = Math.ceil((count * sb.inodeBytes) / sb.blockBytes) * sb.blockBytes;
    for (const { offsetBytes, bytes } of draft.inodes.piecesOf(group, count)) yield* batch.write(groups.inodeTable[group]! * sb.blockBytes + offsetBytes, bytes.subarray(0, usedBytes - offsetBytes));
  }
}
