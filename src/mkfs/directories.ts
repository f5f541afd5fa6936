/** The root directory, and lost+found, which is as long as it is so that e2fsck need not look for blocks when it fills it. */
import { EXT4_FT_DIR_CSUM, ext4_dir_entry_2, ext4_dir_entry_tail, recLenToDisk } from "../format/dir-entry.js";
import { inodeSeed, sealDirLeaf } from "../format/checksum.js";
import { EXT4_ROOT_INO, ext4_inode } from "../format/inode.js";
import { ext4_xattr_ibody_header, EXT4_XATTR_MAGIC } from "../format/xattr.js";
import type { Ino } from "../lib/numbers.js";
import { encode } from "../lib/utf8.js";
import { viewOf } from "../lib/view.js";
import { S_IFDIR } from "../vfs/inode.js";
import type { Draft } from "./draft.js";
import { allocateFile, blockOf, type FileMap } from "./file-map.js";
import { newInode } from "./inode.js";

const FT_DIR = 2;
const LOST_AND_FOUND = encode("lost+found");
const LOST_AND_FOUND_BYTES = 16384;
const LOST_AND_FOUND_BLOCKS = { min: 2, max: 12 } as const;

interface Entry {
  readonly ino: Ino;
  readonly name: Uint8Array;
}

const UNUSED_ENTRY: Entry = { ino: 0, name: new Uint8Array(0) };

export function addRoot(draft: Draft, lostAndFoundIno: Ino): void {
  const { blockBytes } = draft.sb;
  const { uid = 0, gid = 0 } = draft.parameters.options.rootOwner ?? {};
  const map = allocateFile(draft, { ino: EXT4_ROOT_INO, blocks: 1, name: "the root directory" });
  addDirectoryBlocks(draft, EXT4_ROOT_INO, map, [...dots(EXT4_ROOT_INO), { ino: lostAndFoundIno, name: LOST_AND_FOUND }]);
  draft.addInode(EXT4_ROOT_INO, newInode(draft, { mode: S_IFDIR | 0o755, links: 3, uid, gid, sizeBytes: blockBytes, map }), true);
}

export function addLostAndFound(draft: Draft, ino: Ino): void {
  const { blockBytes } = draft.sb;
  // Where directories begin inline, the first growth only gives it a block.
  const isInline = draft.geometry.features.has("inline_data");
  const blocks = Math.min(Math.max(LOST_AND_FOUND_BYTES / blockBytes, LOST_AND_FOUND_BLOCKS.min), LOST_AND_FOUND_BLOCKS.max) - (isInline ? 1 : 0);
  const map = allocateFile(draft, { ino, blocks, name: "lost+found" });
  const record = newInode(draft, { mode: S_IFDIR | 0o700, links: 2, sizeBytes: blocks * blockBytes, map });
  // What was inline was one unused entry, and the data's attribute leaves its header.
  const leftOver = isInline ? [UNUSED_ENTRY] : [];
  if (isInline) ext4_xattr_ibody_header.h_magic.set(viewOf(record), ext4_inode.$.size, EXT4_XATTR_MAGIC);
  addDirectoryBlocks(draft, ino, map, [...dots(ino), ...leftOver]);
  draft.addInode(ino, record, true);
}

const dots = (ino: Ino): Entry[] => [{ ino, name: encode(".") }, { ino: EXT4_ROOT_INO, name: encode("..") }];

/** All of `entries` stand in the first block. */
function addDirectoryBlocks(draft: Draft, ino: Ino, map: FileMap, entries: readonly Entry[]): void {
  const { blockBytes, hasMetadataCsum, csumSeed } = draft.sb;
  const blocks = map.runs.reduce((sum, { count }) => sum + count, 0);
  for (let lblk = 0; lblk < blocks; lblk++) {
    const data = new Uint8Array(blockBytes);
    const tailAt = hasMetadataCsum ? blockBytes - ext4_dir_entry_tail.$.size : blockBytes;
    writeEntries(draft, data.subarray(0, tailAt), lblk === 0 ? entries : []);
    if (hasMetadataCsum) {
      const view = viewOf(data);
      ext4_dir_entry_tail.det_rec_len.set(view, tailAt, ext4_dir_entry_tail.$.size);
      ext4_dir_entry_tail.det_reserved_ft.set(view, tailAt, EXT4_FT_DIR_CSUM);
      sealDirLeaf(data, inodeSeed(csumSeed, ino, 0));
    }
    draft.addContent(blockOf(map, lblk), data);
  }
}

/** Fills an area with directories' names, the last one's entry to its end; without any, with one unused entry. */
function writeEntries(draft: Draft, area: Uint8Array, entries: readonly Entry[]): void {
  const view = viewOf(area);
  const { blockBytes, hasFiletype } = draft.sb;
  let at = 0;
  const all = entries.length === 0 ? [UNUSED_ENTRY] : entries;
  all.forEach(({ ino, name }, index) => {
    const needed = ext4_dir_entry_2.$.size + Math.ceil(name.length / 4) * 4;
    const recLen = index === all.length - 1 ? area.length - at : needed;
    ext4_dir_entry_2.inode.set(view, at, ino);
    ext4_dir_entry_2.rec_len.set(view, at, recLenToDisk(recLen, blockBytes));
    ext4_dir_entry_2.name_len.set(view, at, name.length);
    if (hasFiletype && ino !== 0) ext4_dir_entry_2.file_type.set(view, at, FT_DIR);
    area.set(name, at + ext4_dir_entry_2.$.size);
    at += recLen;
  });
}
