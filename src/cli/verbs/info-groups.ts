/** The groups, in the words of dumpe2fs: where each keeps its structures, and what is free in it. */
import { blockBitmap, inodeBitmap } from "../../ext4/bitmaps.js";
import { descBlocks, descBlocksIn, hasSuper, superblockOf } from "../../ext4/groups.js";
import type { Ext4 } from "../../ext4/super.js";
import { INCOMPAT } from "../../format/features.js";
import { EXT4_BG_BLOCK_UNINIT, EXT4_BG_INODE_UNINIT, EXT4_BG_INODE_ZEROED } from "../../format/group-desc.js";
import { clearRuns } from "../../lib/bitmap.js";
import type { GroupNo, Pblk } from "../../lib/numbers.js";
import type { Task } from "../../sched/task.js";
import type { Output } from "../output.js";
import { hex8 } from "../text.js";

const BG_FLAGS: readonly (readonly [number, string])[] = [[EXT4_BG_INODE_UNINIT, "INODE_UNINIT"], [EXT4_BG_BLOCK_UNINIT, "BLOCK_UNINIT"], [EXT4_BG_INODE_ZEROED, "ITABLE_ZEROED"]];

export function* writeGroup(fs: Ext4, group: GroupNo, out: Output): Task<void> {
  const { sb } = fs;
  const desc = yield* fs.groupDesc(group);
  const first = sb.firstBlockOf(group);
  const last = first + sb.blocksIn(group) - 1;
  const flags = BG_FLAGS.filter(([bit]) => (desc.flags & bit) !== 0).map(([, name]) => name).join(", ");
  const csum = sb.hasGroupChecksums ? ` csum 0x${desc.checksum.toString(16).padStart(4, "0")}` : "";
  out.line(`Group ${group}: (Blocks ${first}-${last})${csum}${flags === "" ? "" : ` [${flags}]`}`);
  const { count, reserved } = descBlocksIn(sb, group);
  if (hasSuper(sb, group)) {
    const at = superblockOf(sb, group);
    out.line(`  ${group === 0 ? "Primary" : "Backup"} superblock at ${at}${count === 0 ? "" : `, Group descriptor${count === 1 && sb.has(INCOMPAT.meta_bg, "incompat") ? ` at ${at + 1}` : `s at ${at + 1}-${at + count}`}`}`);
    if (reserved > 0) out.line(`  Reserved GDT blocks at ${at + 1 + descBlocks(sb)}-${at + descBlocks(sb) + reserved}`);
  } else if (count > 0) out.line(`  Group descriptor at ${first}`);
  /** How far from the group's begin, or, in a flex_bg, in whose group. */
  const place = (block: Pblk): string => {
    if (block >= first && block <= last) return ` (+${block - first})`;
    if (!sb.has(INCOMPAT.flex_bg, "incompat")) return "";
    const owner = Math.floor((block - sb.firstDataBlock) / sb.blocksPerGroup);
    return ` (bg #${owner} + ${block - sb.firstBlockOf(owner)})`;
  };
  const sum = (value: number): string => (sb.hasMetadataCsum ? `, csum ${hex8(value)}` : "");
  const tableBlocks = Math.ceil((sb.inodesPerGroup * sb.inodeBytes) / sb.blockBytes);
  out.line(`  Block bitmap at ${desc.blockBitmap}${place(desc.blockBitmap)}${sum(desc.blockBitmapChecksum)}`);
  out.line(`  Inode bitmap at ${desc.inodeBitmap}${place(desc.inodeBitmap)}${sum(desc.inodeBitmapChecksum)}`);
  out.line(`  Inode table at ${desc.inodeTable}-${desc.inodeTable + tableBlocks - 1}${desc.inodeTable === first ? "" : place(desc.inodeTable)}`);
  const unused = sb.hasGroupChecksums && desc.itableUnused !== 0 ? `, ${desc.itableUnused} unused inodes` : "";
  out.line(`  ${desc.freeClusters} free ${sb.clusterBlocks > 1 ? "clusters" : "blocks"}, ${desc.freeInodes} free inodes, ${desc.usedDirs} directories${unused}`);
  const blocks = [...clearRuns(yield* blockBitmap(fs, group), Math.ceil(sb.blocksIn(group) / sb.clusterBlocks))]
    .map(([bit, length]) => [first + bit * sb.clusterBlocks, length * sb.clusterBlocks] as const);
  out.line(`  Free blocks: ${ranges(blocks)}`);
  const inodes = [...clearRuns(yield* inodeBitmap(fs, group), sb.inodesPerGroup)].map(([bit, length]) => [group * sb.inodesPerGroup + bit + 1, length] as const);
  out.line(`  Free inodes: ${ranges(inodes)}`);
}

const ranges = (runs: readonly (readonly [number, number])[]): string => runs.map(([first, length]) => (length === 1 ? `${first}` : `${first}-${first + length - 1}`)).join(", ");

export function* groupRecords(fs: Ext4): Task<object[]> {
  const records: object[] = [];
  for (let group = 0; group < fs.sb.groupsCount; group++) {
    records.push({ ...(yield* fs.groupDesc(group)), firstBlock: fs.sb.firstBlockOf(group), blocks: fs.sb.blocksIn(group), hasSuperblock: hasSuper(fs.sb, group) });
  }
  return records;
}
