/**
 * Block groups: where each group's descriptor stands, what it says, and which blocks hold the filesystem's own structures. Descriptors are read when first asked for, so that a huge
 * filesystem opens at once. In core a descriptor is an object that lives as long as the mount; its counts are the live ones, and reach the disk when a transaction is sealed (group-state.ts).
 * Source: fs/ext4/balloc.c (ext4_bg_has_super, ext4_bg_num_gdb), descriptor_loc and ext4_check_descriptors (fs/ext4/super.c).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { groupDescChecksum, groupDescChecksum16 } from "../format/checksum.js";
import { CorruptionError } from "../format/corruption.js";
import { COMPAT, INCOMPAT, RO_COMPAT } from "../format/features.js";
import { ext4_group_desc, groupDescField, setGroupDescField, type GroupDescFieldName } from "../format/group-desc.js";
import { ext4_super_block as S } from "../format/superblock.js";
import type { GroupNo, Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import type { Ext4 } from "./super.js";
import type { Superblock } from "./superblock.js";

export interface GroupDesc {
  readonly group: GroupNo;
  readonly blockBitmap: Pblk;
  readonly inodeBitmap: Pblk;
  readonly inodeTable: Pblk;
  /** Clear bits of the block bitmap. */
  freeClusters: number;
  freeInodes: number;
  usedDirs: number;
  /** Inodes at the end of the table that were never used: the table's blocks may hold anything there. Counts, as flags do, only with checksums. */
  itableUnused: number;
  /** EXT4_BG_* bits; 0 where the filesystem has no descriptor checksums, as they count only with these. */
  flags: number;
  checksum: number;
  blockBitmapChecksum: number;
  inodeBitmapChecksum: number;
}

/** The group that a block inside the filesystem belongs to. */
export function groupOfBlock(sb: Superblock, block: Pblk): GroupNo {
  return Math.floor((block - sb.firstDataBlock) / sb.blocksPerGroup);
}

/** Clusters in the group; the last one may be short. */
export function clustersIn(sb: Superblock, group: GroupNo): number {
  return Math.ceil(sb.blocksIn(group) / sb.clusterBlocks);
}

/** Blocks of each group's inode table. */
export function inodeTableBlocks(sb: Superblock): number {
  return Math.ceil((sb.inodesPerGroup * sb.inodeBytes) / sb.blockBytes);
}

/** Whether the group begins with a copy of the superblock. */
export function hasSuper(sb: Superblock, group: GroupNo): boolean {
  if (group === 0) return true;
  if (sb.has(COMPAT.sparse_super2, "compat")) {
    return group === S.s_backup_bgs.get(sb.view, 0, 0) || group === S.s_backup_bgs.get(sb.view, 0, 1);
  }
  if (!sb.has(RO_COMPAT.sparse_super, "roCompat") || group === 1) return true;
  return isPowerOf(group, 3) || isPowerOf(group, 5) || isPowerOf(group, 7);
}

function isPowerOf(value: number, base: number): boolean {
  let power = base;
  while (power < value) power *= base;
  return power === value;
}

const descsPerBlock = (sb: Superblock): number => sb.blockBytes / sb.descBytes;

/** Blocks of the whole descriptor table. */
export function descBlocks(sb: Superblock): number {
  return Math.ceil(sb.groupsCount / descsPerBlock(sb));
}

/** Descriptor blocks that a group with a superblock copy holds (primary or backup), and those reserved for growth. */
export function descBlocksIn(sb: Superblock, group: GroupNo): { count: number; reserved: number } {
  const metaGroup = Math.floor(group / descsPerBlock(sb));
  const isMetaBg = sb.has(INCOMPAT.meta_bg, "incompat");
  if (isMetaBg && metaGroup >= S.s_first_meta_bg.get(sb.view, 0)) {
    const inMeta = group % descsPerBlock(sb);
    return { count: inMeta === 0 || inMeta === 1 || inMeta === descsPerBlock(sb) - 1 ? 1 : 0, reserved: 0 };
  }
  if (!hasSuper(sb, group)) return { count: 0, reserved: 0 };
  return {
    count: isMetaBg ? Math.min(S.s_first_meta_bg.get(sb.view, 0), descBlocks(sb)) : descBlocks(sb),
    reserved: sb.has(COMPAT.resize_inode, "compat") ? S.s_reserved_gdt_blocks.get(sb.view, 0) : 0,
  };
}

/** The superblock's own block. With 1 KiB blocks and clusters it is block 1 though counting starts at 0. */
const superblockBlock = (sb: Superblock): Pblk => (sb.blockBytes === 1024 ? 1 : 0);

/** The block of the group's copy of the superblock. */
export function superblockOf(sb: Superblock, group: GroupNo): Pblk {
  return group === 0 ? superblockBlock(sb) : sb.firstBlockOf(group);
}

/** Where descriptor block `index` stands. */
function descBlockLocation(sb: Superblock, index: number): Pblk {
  const isClassic = !sb.has(INCOMPAT.meta_bg, "incompat") || index < S.s_first_meta_bg.get(sb.view, 0);
  if (isClassic) return superblockBlock(sb) + 1 + index;
  const group = index * descsPerBlock(sb);
  // A first group of blocks of 1 KiB that begins at block 0 has the boot block in front.
  const boot = group === 0 && sb.blockBytes === 1024 && sb.firstDataBlock === 0 ? 1 : 0;
  return sb.firstBlockOf(group) + boot + (hasSuper(sb, group) ? 1 : 0);
}

/** The block that holds the group's descriptor, and where in it. */
export function descLocation(sb: Superblock, group: GroupNo): { block: Pblk; at: number } {
  return { block: descBlockLocation(sb, Math.floor(group / descsPerBlock(sb))), at: (group % descsPerBlock(sb)) * sb.descBytes };
}

/** @throws CorruptionError group-desc-location: the superblock gives the filesystem more groups than their descriptors have room in it. */
export function* findGroupDesc(fs: Ext4, group: GroupNo): Task<{ buffer: BufferHead; at: number }> {
  const { block, at } = descLocation(fs.sb, group);
  if (block >= fs.sb.blocksCount) throw new CorruptionError("group-desc-location", { group, block, offset: at, expected: `a block below ${fs.sb.blocksCount}` });
  return { buffer: fs.cache.peek(block) ?? (yield* fs.cache.read(block)), at };
}

export function* readGroupDesc(fs: Ext4, group: GroupNo): Task<GroupDesc> {
  const { buffer, at } = yield* findGroupDesc(fs, group);
  return decodeGroupDesc(fs, group, buffer, at);
}

/** @throws CorruptionError group-desc-checksum, group-desc-location. */
export function decodeGroupDesc(fs: Ext4, group: GroupNo, { view, data, b_blocknr: block }: BufferHead, at: number): GroupDesc {
  const { sb } = fs;
  const checksum = ext4_group_desc.bg_checksum.get(view, at);
  if (sb.hasGroupChecksums && fs.verifyChecksums && !fs.isTorn) {
    const expected = descChecksum(sb, group, data, at);
    if (checksum !== expected) throw new CorruptionError("group-desc-checksum", { group, block, offset: at, found: checksum, expected });
  }
  const field = (name: GroupDescFieldName): number => groupDescField(name, view, at, sb.descBytes);
  const desc: GroupDesc = {
    group,
    blockBitmap: field("bg_block_bitmap"),
    inodeBitmap: field("bg_inode_bitmap"),
    inodeTable: field("bg_inode_table"),
    freeClusters: field("bg_free_blocks_count"),
    freeInodes: field("bg_free_inodes_count"),
    usedDirs: field("bg_used_dirs_count"),
    itableUnused: sb.hasGroupChecksums ? field("bg_itable_unused") : 0,
    flags: sb.hasGroupChecksums ? ext4_group_desc.bg_flags.get(view, at) : 0,
    checksum,
    blockBitmapChecksum: field("bg_block_bitmap_csum"),
    inodeBitmapChecksum: field("bg_inode_bitmap_csum"),
  };
  const check = (name: string, location: Pblk, count: number): void => {
    if (!sb.containsBlocks(location, count)) throw new CorruptionError("group-desc-location", { group, block, offset: at, field: name, found: location });
  };
  check("bg_block_bitmap", desc.blockBitmap, 1);
  check("bg_inode_bitmap", desc.inodeBitmap, 1);
  check("bg_inode_table", desc.inodeTable, inodeTableBlocks(sb));
  return desc;
}

/** Writes what can change of a descriptor, and its checksum. */
export function encodeGroupDesc(sb: Superblock, desc: GroupDesc, { view, data }: BufferHead, at: number): void {
  const set = (name: GroupDescFieldName, value: number): void => setGroupDescField(name, view, at, sb.descBytes, value);
  set("bg_free_blocks_count", desc.freeClusters);
  set("bg_free_inodes_count", desc.freeInodes);
  set("bg_used_dirs_count", desc.usedDirs);
  if (!sb.hasGroupChecksums) return;
  set("bg_itable_unused", desc.itableUnused);
  ext4_group_desc.bg_flags.set(view, at, desc.flags);
  if (sb.hasMetadataCsum) {
    set("bg_block_bitmap_csum", desc.blockBitmapChecksum);
    set("bg_inode_bitmap_csum", desc.inodeBitmapChecksum);
  }
  desc.checksum = descChecksum(sb, desc.group, data, at);
  ext4_group_desc.bg_checksum.set(view, at, desc.checksum);
}

/** Of the descriptor as it stands in a block, by the rule of the feature that is on. */
export function descChecksum(sb: Superblock, group: GroupNo, data: Uint8Array, at: number): number {
  return sb.hasMetadataCsum
    ? groupDescChecksum(data, at, sb.descBytes, sb.csumSeed, group)
    : groupDescChecksum16(data, at, sb.descBytes, S.s_uuid.get(sb.view, 0), group);
}
