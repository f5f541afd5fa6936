/** What describes the groups: their descriptors, and the bitmaps that do not follow from these. */
import { BufferHead } from "../block/buffer-cache.js";
import { bitmapSum, fillInitialInodeBitmap } from "../ext4/bitmaps.js";
import { clustersIn, descBlocks, encodeGroupDesc, hasSuper, superblockOf, type GroupDesc } from "../ext4/groups.js";
import { INCOMPAT } from "../format/features.js";
import { EXT4_BG_BLOCK_UNINIT, EXT4_BG_INODE_UNINIT, EXT4_BG_INODE_ZEROED, ext4_group_desc, setGroupDescField } from "../format/group-desc.js";
import { fillBits } from "../lib/bitmap.js";
import type { GroupNo, Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import type { WriteBatch } from "./batch.js";
import type { Draft } from "./draft.js";
import { backupGroups, endOf } from "./placement.js";

export interface FreeCounts {
  clusters: number;
  inodes: number;
}

/** Writes the bitmaps, and returns the table of descriptors that tell of them. */
export function* writeBitmaps(draft: Draft, batch: WriteBatch): Task<{ descs: Uint8Array; free: FreeCounts }> {
  const { sb } = draft;
  const table = new BufferHead(0, new Uint8Array(descBlocks(sb) * sb.blockBytes));
  const free: FreeCounts = { clusters: 0, inodes: 0 };
  const usedDirs = new Uint32Array(sb.groupsCount);
  for (const ino of draft.directories) usedDirs[Math.floor((ino - 1) / sb.inodesPerGroup)]!++;
  for (let group = 0; group < sb.groupsCount; group++) {
    const desc = describe(draft, group, usedDirs[group]!);
    free.clusters += desc.freeClusters;
    free.inodes += desc.freeInodes;
    if ((desc.flags & EXT4_BG_BLOCK_UNINIT) === 0) {
      const bitmap = blockBitmap(draft, group);
      desc.blockBitmapChecksum = bitmapSum(sb, "block", bitmap);
      yield* batch.write(desc.blockBitmap * sb.blockBytes, bitmap);
    }
    if ((desc.flags & EXT4_BG_INODE_UNINIT) === 0) {
      const bitmap = inodeBitmap(draft, group);
      desc.inodeBitmapChecksum = bitmapSum(sb, "inode", bitmap);
      yield* batch.write(desc.inodeBitmap * sb.blockBytes, bitmap);
    }
    const at = group * sb.descBytes;
    for (const [name, block] of [["bg_block_bitmap", desc.blockBitmap], ["bg_inode_bitmap", desc.inodeBitmap], ["bg_inode_table", desc.inodeTable]] as const) {
      setGroupDescField(name, table.view, at, sb.descBytes, block);
    }
    ext4_group_desc.bg_flags.set(table.view, at, desc.flags);
    encodeGroupDesc(sb, desc, table, at);
  }
  return { descs: table.data, free };
}

function describe(draft: Draft, group: GroupNo, usedDirs: number): GroupDesc {
  const { sb, groups, space } = draft;
  const usedInodes = usedInodesOf(draft, group);
  const uninit = (groups.hasBitmap[group] === 1 ? 0 : EXT4_BG_BLOCK_UNINIT) | (usedInodes > 0 ? 0 : EXT4_BG_INODE_UNINIT);
  const flags = (sb.hasGroupChecksums ? uninit : 0) | (draft.saysTablesAreZero ? EXT4_BG_INODE_ZEROED : 0);
  return {
    group,
    blockBitmap: groups.blockBitmap[group]!,
    inodeBitmap: groups.inodeBitmap[group]!,
    inodeTable: groups.inodeTable[group]!,
    freeClusters: space.freeClusters(sb.firstBlockOf(group), endOf(sb, group)),
    freeInodes: sb.inodesPerGroup - usedInodes,
    usedDirs,
    itableUnused: sb.inodesPerGroup - usedInodes,
    flags,
    checksum: 0,
    blockBitmapChecksum: 0,
    inodeBitmapChecksum: 0,
  };
}

/** Inodes in use stand at the start of the first groups' tables, without a gap. */
export function usedInodesOf({ sb, lastIno }: Draft, group: GroupNo): number {
  return Math.min(Math.max(lastIno - group * sb.inodesPerGroup, 0), sb.inodesPerGroup);
}

/** Bits past the group's end are set. */
function blockBitmap({ sb, space }: Draft, group: GroupNo): Uint8Array {
  const bitmap = new Uint8Array(sb.blockBytes);
  const first = sb.firstBlockOf(group);
  for (const run of space.runs(first, endOf(sb, group))) fillBits(bitmap, (run.first - first) / sb.clusterBlocks, Math.ceil(run.count / sb.clusterBlocks), true);
  const clusters = clustersIn(sb, group);
  fillBits(bitmap, clusters, bitmap.length * 8 - clusters, true);
  return bitmap;
}

function inodeBitmap(draft: Draft, group: GroupNo): Uint8Array {
  const bitmap = new Uint8Array(draft.sb.blockBytes);
  fillBits(bitmap, 0, usedInodesOf(draft, group), true);
  fillInitialInodeBitmap(draft.sb, bitmap);
  return bitmap;
}

/** A part of the table of descriptors, and the blocks at which it stands. */
export interface DescPlaces {
  readonly index: number;
  readonly count: number;
  /** The first is what is read, the others are its backups. */
  readonly places: readonly Pblk[];
}

/** The whole table, or with meta_bg each block of it. */
export function descPlaces({ sb }: Draft): DescPlaces[] {
  const behindSuper = (group: GroupNo): Pblk => (hasSuper(sb, group) ? superblockOf(sb, group) + 1 : sb.firstBlockOf(group));
  if (!sb.has(INCOMPAT.meta_bg, "incompat")) return [{ index: 0, count: descBlocks(sb), places: [0, ...backupGroups(sb)].map(behindSuper) }];
  const groupsPerBlock = sb.blockBytes / sb.descBytes;
  return Array.from({ length: descBlocks(sb) }, (_, index) => {
    const first = index * groupsPerBlock;
    const groups = [first, first + 1, first + groupsPerBlock - 1].filter((group) => group < sb.groupsCount);
    return { index, count: 1, places: groups.map(behindSuper) };
  });
}
