/**
 * The resize inode keeps the blocks into which the descriptor table may grow. Its one pointer of two levels leads to a block of pointers to the reserved blocks of group 0,
 * and each of these is itself a block of pointers to the same block in the groups with a backup.
 */
import { descBlocks, inodeTableBlocks, superblockOf } from "../ext4/groups.js";
import { EXT4_NDIR_BLOCKS, EXT4_RESIZE_INO, ext4_inode } from "../format/inode.js";
import { viewOf } from "../lib/view.js";
import { S_IFREG } from "../vfs/inode.js";
import type { Draft } from "./draft.js";
import { newInode } from "./inode.js";
import { MkfsOptionError } from "./options.js";
import { backupGroups } from "./placement.js";

export function addResizeInode(draft: Draft): void {
  const { sb, geometry: { reservedDescBlocks } } = draft;
  const { blockBytes } = sb;
  const pointersPerBlock = blockBytes / 4;
  const root = new Uint8Array(ext4_inode.i_block.size);
  const firstReserved = superblockOf(sb, 0) + 1 + descBlocks(sb);
  // Not among what stands at the start of a group without flex_bg: descriptors, two bitmaps, the inode table.
  const { first: top } = draft.take(firstReserved + reservedDescBlocks + 1 + inodeTableBlocks(sb), 1, "the resize inode");
  viewOf(root).setUint32((EXT4_NDIR_BLOCKS + 1) * 4, top, true);
  const backups = backupGroups(sb);
  if (backups.length > pointersPerBlock) throw new MkfsOptionError("features", `resize_inode cannot list ${backups.length} backups of the superblock`);
  const topBlock = new Uint8Array(blockBytes);
  const reserved = new Uint8Array(reservedDescBlocks * blockBytes);
  for (let index = 0; index < reservedDescBlocks; index++) {
    const block = firstReserved + index;
    viewOf(topBlock).setUint32(((descBlocks(sb) + index) % pointersPerBlock) * 4, block, true);
    const view = viewOf(reserved);
    backups.forEach((group, slot) => view.setUint32(index * blockBytes + slot * 4, group * sb.blocksPerGroup + block, true));
  }
  draft.addContent(top, topBlock);
  if (reservedDescBlocks > 0) draft.addContent(firstReserved, reserved);
  const blocksUsed = (1 + reservedDescBlocks * (1 + backups.length)) * sb.clusterBlocks; // each block counts as the cluster that it is in
  const sizeBytes = (EXT4_NDIR_BLOCKS + pointersPerBlock + pointersPerBlock ** 2) * blockBytes;
  draft.addInode(EXT4_RESIZE_INO, newInode(draft, { mode: S_IFREG | 0o600, links: 1, sizeBytes, map: { root, flags: 0, blocksUsed } }));
}
