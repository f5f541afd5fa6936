/**
 * Where the filesystem's own structures stand: superblocks and descriptors at the start of their groups, then each group's two bitmaps and its inode table. With flex_bg
 * those of several groups stand side by side in the first of them, and step over what is in the way.
 */
import { descBlocksIn, groupOfBlock, hasSuper, inodeTableBlocks, superblockOf } from "../ext4/groups.js";
import type { Superblock } from "../ext4/superblock.js";
import type { GroupNo, Pblk } from "../lib/numbers.js";
import { BlockSpace } from "./block-space.js";
import { tooSmall } from "./options.js";

/** All groups, by number; a typed array each, as there may be millions. */
export interface Groups {
  readonly blockBitmap: Float64Array;
  readonly inodeBitmap: Float64Array;
  readonly inodeTable: Float64Array;
  /** 1: the block bitmap must be written, as what it says does not follow from the descriptor. */
  readonly hasBitmap: Uint8Array;
}

/** The first block past the group. */
export function endOf(sb: Superblock, group: GroupNo): Pblk {
  return sb.firstBlockOf(group) + sb.blocksIn(group);
}

/** The groups behind the first that hold a copy of the superblock. */
export function backupGroups(sb: Superblock): GroupNo[] {
  const groups: GroupNo[] = [];
  for (let group = 1; group < sb.groupsCount; group++) if (hasSuper(sb, group)) groups.push(group);
  return groups;
}

/** Blocks are taken that the groups' descriptors do not tell of. */
export function needBitmaps(sb: Superblock, groups: Groups, first: Pblk, count: number): void {
  groups.hasBitmap.fill(1, groupOfBlock(sb, first), groupOfBlock(sb, first + count - 1) + 1);
}

/** Blocks at the group's start for superblock, descriptors and room for more of these. */
function baseBlocks(sb: Superblock, group: GroupNo): number {
  const { count, reserved } = descBlocksIn(sb, group);
  return (hasSuper(sb, group) ? superblockOf(sb, group) - sb.firstBlockOf(group) + 1 : 0) + count + reserved;
}

/** Places everything, and takes its blocks. @throws FsError ENOSPC. */
export function placeGroups(sb: Superblock, options: { flexLog: number; strideBlocks: number }): { groups: Groups; space: BlockSpace } {
  const { groupsCount } = sb;
  const tableBlocks = inodeTableBlocks(sb);
  const groups: Groups = {
    blockBitmap: new Float64Array(groupsCount), inodeBitmap: new Float64Array(groupsCount), inodeTable: new Float64Array(groupsCount),
    hasBitmap: new Uint8Array(groupsCount),
  };
  const space = new BlockSpace(sb.firstDataBlock, sb.blocksCount);
  for (let group = 0; group < groupsCount; group++) {
    const count = baseBlocks(sb, group);
    if (count > 0) space.mark(sb.firstBlockOf(group), count);
  }
  groups.hasBitmap[groupsCount - 1] = 1; // it says where the filesystem ends
  if (options.flexLog > 0) placeInFlexGroups(sb, space, groups, tableBlocks, 2 ** options.flexLog);
  else placeInOwnGroups(sb, space, groups, tableBlocks, options.strideBlocks);
  space.useClusters(sb.clusterBlocks);
  return { groups, space };
}

/** Each group holds its own; with a RAID's stride their bitmaps do not all fall on one disk. */
function placeInOwnGroups(sb: Superblock, space: BlockSpace, groups: Groups, tableBlocks: number, strideBlocks: number): void {
  const take = (from: Pblk, group: GroupNo, count: number): Pblk => {
    const end = endOf(sb, group) - 1;
    const place = space.find(from, end, count) ?? space.find(sb.firstBlockOf(group), end, count);
    if (place === undefined) throw tooSmall(`the tables of group ${group}`);
    space.mark(place, count);
    return place;
  };
  for (let group = 0; group < sb.groupsCount; group++) {
    const first = sb.firstBlockOf(group);
    const start = strideBlocks === 0 ? first : skewed(sb, space, group, tableBlocks, strideBlocks);
    groups.blockBitmap[group] = take(start, group, 1);
    groups.inodeBitmap[group] = take(start, group, 1);
    groups.inodeTable[group] = take(first, group, tableBlocks);
  }
}

function skewed(sb: Superblock, space: BlockSpace, group: GroupNo, tableBlocks: number, strideBlocks: number): Pblk {
  const first = sb.firstBlockOf(group);
  const last = endOf(sb, group) - 1;
  const behindTable = (space.find(first, last, 1) ?? first) + tableBlocks;
  const start = behindTable + ((strideBlocks * group) % (last - behindTable + 1));
  return start >= last ? first : start;
}

function placeInFlexGroups(sb: Superblock, space: BlockSpace, groups: Groups, tableBlocks: number, flexGroups: number): void {
  const { groupsCount } = sb;
  for (let flexFirst = 0; flexFirst < groupsCount; flexFirst += flexGroups) {
    const flexEnd = Math.min(flexFirst + flexGroups, groupsCount);
    // Room for what the other groups will need; a group alone gets as much as if all were there.
    const spacing = flexEnd - flexFirst > 1 ? flexEnd - flexFirst : flexGroups;
    const range = { first: sb.firstBlockOf(flexFirst), last: endOf(sb, flexEnd - 1) - 1 };
    for (let group = flexFirst; group < flexEnd; group++) {
      const isFirst = group === flexFirst;
      const left = flexEnd - group;
      const take = (preferred: Pblk, count: number): Pblk => {
        const place = findFlexPlace(sb, space, range, preferred, count, left);
        if (place === undefined) throw tooSmall(`the tables of group ${group}`);
        space.mark(place, count);
        needBitmaps(sb, groups, place, count);
        return place;
      };
      groups.blockBitmap[group] = take(isFirst ? 0 : groups.blockBitmap[group - 1]! + 1, 1);
      groups.inodeBitmap[group] = take(isFirst ? groups.blockBitmap[group]! + spacing : groups.inodeBitmap[group - 1]! + 1, 1);
      groups.inodeTable[group] = take(isFirst ? groups.inodeBitmap[group]! + spacing : groups.inodeTable[group - 1]! + tableBlocks, tableBlocks);
    }
  }
}

/** @param preferred where the structure would best stand; 0: anywhere. `left` of its kind, this one included, are to follow each other. */
function findFlexPlace(sb: Superblock, space: BlockSpace, range: { first: Pblk; last: Pblk }, preferred: Pblk, count: number, left: number): Pblk | undefined {
  const allBlocks = Math.min(left * count, Math.floor(sb.blocksPerGroup / 4));
  if (preferred !== 0 && preferred < sb.blocksCount) {
    // Small obstacles, such as a backup of the descriptors, are stepped over.
    const near = space.find(preferred, preferred + allBlocks, count);
    if (near !== undefined) return near;
  }
  return space.find(range.first, range.last, allBlocks) ?? space.find(range.first, range.last, count) ?? space.find(sb.firstDataBlock, range.last, count);
}
