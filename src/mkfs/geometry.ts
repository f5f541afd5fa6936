/**
 * How many of everything: groups, inodes in each, blocks of descriptors and those kept for more of them. Pure arithmetic; the numbers depend on each other, so a choice
 * that does not work out is taken back and the count starts again. Source: the format's limits, and what mke2fs was seen to do.
 */
import { TWO_32 } from "../lib/numbers.js";
import type { FeatureName, FeatureSet } from "./features.js";
import { MkfsOptionError, tooSmall } from "./options.js";
import type { MkfsParameters } from "./parameters.js";

/** Counts of a descriptor's lower half have 16 bits, and bitmaps are handled in bytes. */
const GROUP_CLUSTERS_MAX = 2 ** 16 - 8;
/** Below this, a group cannot give up more of its blocks for the sake of inodes. */
const GROUP_BLOCKS_MIN = 256;
/** An end of the device shorter than its structures and so many blocks is left out. */
const LAST_GROUP_FREE_MIN = 50;
export const FIRST_INO = 11;
/** Reserved descriptors make room for a filesystem so many times larger. */
const GROWTH = 1024;
/** Above this, descriptors alone would take gigabytes. */
const GROUPS_MAX = 2 ** 24;

export interface Geometry {
  readonly features: FeatureSet;
  readonly blocksCount: number;
  readonly reservedBlocks: number;
  readonly firstDataBlock: number;
  readonly clustersPerGroup: number;
  readonly blocksPerGroup: number;
  readonly groupsCount: number;
  readonly inodesPerGroup: number;
  /** Blocks of a group's inode table. */
  readonly tableBlocks: number;
  readonly descBytes: number;
  readonly descBlocks: number;
  readonly reservedDescBlocks: number;
  /** The groups with copies of the superblock, with sparse_super2; 0: none. */
  readonly backupGroups: readonly [number, number];
}

/** What a try at it begins with. */
interface Attempt {
  readonly blocksCount: number;
  readonly reservedBlocks: number;
  readonly blocksPerGroup: number;
}

type HasBackup = (geometry: Geometry, group: number) => boolean;

/**
 * @param hasBackup whether a group holds a copy of the superblock in a filesystem so laid out.
 * @throws MkfsOptionError; FsError ENOSPC too small.
 */
export function computeGeometry(parameters: MkfsParameters, hasBackup: HasBackup): Geometry {
  const { blockBytes, clusterBytes, options } = parameters;
  const clusterBlocks = clusterBytes / blockBytes;
  let attempt: Attempt = {
    blocksCount: Math.floor(parameters.blocksCount / clusterBlocks) * clusterBlocks,
    reservedBlocks: parameters.reservedBlocks,
    blocksPerGroup: Math.min(options.groupBlocks ?? blockBytes * 8, GROUP_CLUSTERS_MAX) * clusterBlocks,
  };
  for (;;) {
    const outcome = tryGeometry(parameters, attempt, hasBackup);
    if ("groupsCount" in outcome) return outcome;
    attempt = outcome;
  }
}

/** Either it works out, or the result is another attempt. */
function tryGeometry(parameters: MkfsParameters, attempt: Attempt, hasBackup: HasBackup): Geometry | Attempt {
  const { blockBytes, clusterBytes } = parameters;
  const { blocksCount, reservedBlocks, blocksPerGroup } = attempt;
  const firstDataBlock = clusterBytes === 1024 ? 1 : 0;
  const groupsCount = Math.ceil((blocksCount - firstDataBlock) / blocksPerGroup);
  if (groupsCount < 1) throw tooSmall("a block group");
  if (groupsCount > GROUPS_MAX) throw new MkfsOptionError("sizeBytes", `${groupsCount} groups are more than are made here; take larger blocks or clusters`);
  const descBytes = parameters.features.has("64bit") ? 64 : 32;
  const descBlocks = Math.ceil(groupsCount / (blockBytes / descBytes));

  const inodesAsked = Math.max(parameters.inodesWanted, FIRST_INO + 1);
  if (Math.ceil(inodesAsked / groupsCount) > blockBytes * 8) {
    if (parameters.features.has("bigalloc") || blocksPerGroup < GROUP_BLOCKS_MIN) throw tooManyInodes(parameters);
    return { blocksCount: parameters.blocksCount, reservedBlocks, blocksPerGroup: blocksPerGroup - 8 }; // an end that was left out may be long enough now
  }
  const { inodesPerGroup, tableBlocks } = inodesOfGroup(parameters, inodesAsked, groupsCount);

  const { features, reservedDescBlocks } = reserveDescBlocks(parameters, { blocksCount, firstDataBlock, blocksPerGroup, descBytes, descBlocks });
  const descs = features.has("meta_bg") ? 1 : descBlocks;
  if (3 + tableBlocks + reservedDescBlocks + descs > blocksPerGroup) throw tooManyInodes(parameters);

  const geometry: Geometry = {
    features, blocksCount, firstDataBlock, blocksPerGroup, clustersPerGroup: (blocksPerGroup * blockBytes) / clusterBytes, groupsCount, inodesPerGroup, tableBlocks,
    descBytes, descBlocks, reservedDescBlocks,
    reservedBlocks, backupGroups: backupGroups(parameters, groupsCount),
  };
  const rest = (blocksCount - firstDataBlock) % blocksPerGroup;
  const overhead = 2 + tableBlocks + (hasBackup(geometry, groupsCount - 1) ? 1 + descBlocks + reservedDescBlocks : 0);
  if (groupsCount === 1 && rest !== 0 && rest < overhead) throw tooSmall("its inode table");
  if (rest !== 0 && rest < overhead + LAST_GROUP_FREE_MIN) {
    const reservedRatio = parameters.reservedBlocks / parameters.blocksCount;
    return { blocksCount: blocksCount - rest, reservedBlocks: Math.floor(reservedRatio * (blocksCount - rest)), blocksPerGroup };
  }
  return geometry;
}

function tooManyInodes({ options }: MkfsParameters): MkfsOptionError {
  return new MkfsOptionError(options.inodesCount === undefined ? "inodeRatioBytes" : "inodesCount", "a group cannot hold so many inodes");
}

/** Inodes fill the blocks of their table, and their bitmap whole bytes. */
function inodesOfGroup({ blockBytes, inodeBytes }: MkfsParameters, inodesAsked: number, groupsCount: number): { inodesPerGroup: number; tableBlocks: number } {
  const inodesPerBlock = blockBytes / inodeBytes;
  const inodesMax = Math.min(blockBytes * 8, 2 ** 16 - inodesPerBlock);
  for (let inodes = Math.min(Math.ceil(inodesAsked / groupsCount), inodesMax); ; inodes--) {
    const filled = Math.ceil(inodes / inodesPerBlock) * inodesPerBlock;
    const inodesPerGroup = Math.max(8, filled - (filled % 8));
    const tableBlocks = Math.ceil(inodesPerGroup / inodesPerBlock);
    if (inodesPerGroup * groupsCount < TWO_32) return { inodesPerGroup, tableBlocks };
  }
}

interface DescNumbers { blocksCount: number; firstDataBlock: number; blocksPerGroup: number; descBytes: number; descBlocks: number }

/** Blocks behind the descriptors, into which their table can grow; where it would take most of a group, meta groups take its place. */
function reserveDescBlocks(parameters: MkfsParameters, numbers: DescNumbers): { features: FeatureSet; reservedDescBlocks: number } {
  const { features, blockBytes, reservedDescBlocks: asked } = parameters;
  const { blocksCount, firstDataBlock, blocksPerGroup, descBytes, descBlocks } = numbers;
  let reservedDescBlocks = 0;
  if (features.has("resize_inode")) {
    const blocksMax = Math.min(blocksCount * GROWTH, TWO_32 - 1);
    const groupsMax = Math.ceil((blocksMax - firstDataBlock) / blocksPerGroup);
    reservedDescBlocks = asked ?? Math.min(Math.ceil(groupsMax / (blockBytes / descBytes)) - descBlocks, blockBytes / 4);
  }
  if (reservedDescBlocks + descBlocks <= Math.floor((blocksPerGroup * 3) / 4)) return { features, reservedDescBlocks };
  const changed = new Set<FeatureName>(features).add("meta_bg");
  changed.delete("resize_inode");
  return { features: changed, reservedDescBlocks: 0 };
}

/** Ascending, so that a single one stands second. */
function backupGroups({ features, backupSuperblocks }: MkfsParameters, groupsCount: number): readonly [number, number] {
  if (!features.has("sparse_super2") || backupSuperblocks === 0 || groupsCount < 2) return [0, 0];
  return backupSuperblocks === 1 || groupsCount === 2 ? [0, 1] : [1, groupsCount - 1];
}
