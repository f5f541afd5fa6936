/**
 * Which flex group a new inode goes to: plain functions over the flex groups' sums. After Grigory Orlov: directories below the root are unrelated, so each gets a place with few directories and
 * more than the average of free inodes and blocks; deeper ones stay by their parent, as long as that place is not much fuller than the average.
 * Source of the rules: find_group_orlov, find_group_other (fs/ext4/ialloc.c).
 */
import type { FlexGroups } from "./flex-groups.js";
import type { Groups } from "./group-table.js";
import type { Superblock } from "./superblock.js";

/** A directory below another may find this share of a flex group's inodes, or clusters, less than the average. */
const SLACK_SHARE = 4;
/** And this share of its inodes more directories. */
const DIRECTORIES_SHARE = 16;

interface Averages { readonly freeInodes: number; readonly freeClusters: number; readonly usedDirs: number }

/** @param from where to look first: any place for a directory below the root (isTop), else the parent's flex group. */
export function chooseFlexForDirectory(groups: Groups, from: { start: number; isTop: boolean }): number {
  const { flex } = groups;
  const average = {
    freeInodes: Math.floor(groups.freeInodes / flex.count), freeClusters: Math.floor(groups.freeClusters / flex.count), usedDirs: Math.floor(groups.usedDirs / flex.count),
  };
  const chosen = from.isTop ? emptiest(flex, from.start, average) : nearest(groups.fs.sb, flex, from.start, average);
  return chosen ?? firstFrom(flex, from.start, (index) => flex.freeInodes[index]! > 0 && flex.freeInodes[index]! >= average.freeInodes) ?? from.start;
}

/** The one with fewest directories among those that are not fuller than the average. */
function emptiest(flex: FlexGroups, start: number, average: Averages): number | undefined {
  let best: number | undefined;
  for (let step = 0; step < flex.count; step++) {
    const index = (start + step) % flex.count;
    if (flex.freeInodes[index] === 0 || flex.freeInodes[index]! < average.freeInodes || flex.freeClusters[index]! < average.freeClusters) continue;
    if (best === undefined || flex.usedDirs[index]! < flex.usedDirs[best]!) best = index;
  }
  return best;
}

function nearest(sb: Superblock, flex: FlexGroups, start: number, average: Averages): number | undefined {
  const inodes = sb.inodesPerGroup * flex.size;
  const clusters = sb.clustersPerGroup * flex.size;
  const dirsMax = average.usedDirs + inodes / DIRECTORIES_SHARE;
  const inodesMin = Math.max(1, average.freeInodes - inodes / SLACK_SHARE);
  const clustersMin = average.freeClusters - clusters / SLACK_SHARE;
  return firstFrom(flex, start, (index) => flex.usedDirs[index]! < dirsMax && flex.freeInodes[index]! >= inodesMin && flex.freeClusters[index]! >= clustersMin);
}

/** A file stays by its directory while there are inodes and space; then all of the directory's further files go to one place, the next that would suit a directory. */
export function chooseFlexForFile(groups: Groups, home: number): number {
  const { flex } = groups;
  if (flex.freeInodes[home]! > 0 && flex.freeClusters[home]! > 0) return home;
  return chooseFlexForDirectory(groups, { start: (home + 1) % flex.count, isTop: false });
}

function firstFrom(flex: FlexGroups, start: number, suits: (index: number) => boolean): number | undefined {
  for (let step = 0; step < flex.count; step++) {
    const index = (start + step) % flex.count;
    if (suits(index)) return index;
  }
  return undefined;
}
