/** The root directory, and lost+found, which is as long as it is so that e2fsck need not look for blocks when it fills it. */
import { inodeSeed } from "../format/checksum.js";
import { EXT4_ROOT_INO, ext4_inode } from "../format/inode.js";
import { ext4_xattr_ibody_header, EXT4_XATTR_MAGIC } from "../format/xattr.js";
import type { Ino } from "../lib/numbers.js";
import { encode } from "../lib/utf8.js";
import { viewOf } from "../lib/view.js";
import { S_IFDIR } from "../vfs/inode.js";
import { dotsOf, leafBlock, UNUSED_ENTRY, type Entry } from "./directory-blocks.js";
import type { Draft } from "./draft.js";
import { allocateFile, blockOf, blocksIn, type FileMap } from "./file-map.js";
import { newInode } from "./inode.js";

export const LOST_AND_FOUND = encode("lost+found");
const LOST_AND_FOUND_BYTES = 16384;
const LOST_AND_FOUND_BLOCKS = { min: 2, max: 12 } as const;

export function addRoot(draft: Draft, lostAndFoundIno: Ino): void {
  const { blockBytes } = draft.sb;
  const { uid = 0, gid = 0 } = draft.parameters.options.rootOwner ?? {};
  const map = allocateFile(draft, { ino: EXT4_ROOT_INO, blocks: 1, name: "the root directory" });
  addDirectoryBlocks(draft, EXT4_ROOT_INO, map, [...dotsOf(EXT4_ROOT_INO, EXT4_ROOT_INO), { ino: lostAndFoundIno, name: LOST_AND_FOUND, mode: S_IFDIR }]);
  draft.addInode(EXT4_ROOT_INO, newInode(draft, { mode: S_IFDIR | 0o755, links: 3, uid, gid, sizeBytes: blockBytes, map }), true);
}

export function lostAndFoundBlocks(draft: Draft): number {
  // Where directories begin inline, the first growth only gives it a block.
  const isInline = draft.geometry.features.has("inline_data");
  return Math.min(Math.max(LOST_AND_FOUND_BYTES / draft.sb.blockBytes, LOST_AND_FOUND_BLOCKS.min), LOST_AND_FOUND_BLOCKS.max) - (isInline ? 1 : 0);
}

export function addLostAndFound(draft: Draft, ino: Ino): void {
  const { blockBytes } = draft.sb;
  const isInline = draft.geometry.features.has("inline_data");
  const blocks = lostAndFoundBlocks(draft);
  const map = allocateFile(draft, { ino, blocks, name: "lost+found" });
  const record = newInode(draft, { mode: S_IFDIR | 0o700, links: 2, sizeBytes: blocks * blockBytes, map });
  // What was inline was one unused entry, and the data's attribute leaves its header.
  const leftOver = isInline ? [UNUSED_ENTRY] : [];
  if (isInline) ext4_xattr_ibody_header.h_magic.set(viewOf(record), ext4_inode.$.size, EXT4_XATTR_MAGIC);
  addDirectoryBlocks(draft, ino, map, [...dotsOf(ino, EXT4_ROOT_INO), ...leftOver]);
  draft.addInode(ino, record, true);
}

/** All of `entries` stand in the first block. */
function addDirectoryBlocks(draft: Draft, ino: Ino, map: FileMap, entries: readonly Entry[]): void {
  const seed = inodeSeed(draft.sb.csumSeed, ino, 0);
  for (let lblk = 0; lblk < blocksIn(map); lblk++) draft.addContent(blockOf(map, lblk), leafBlock(draft.sb, seed, lblk === 0 ? entries : []));
}
