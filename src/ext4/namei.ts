/**
 * Finding a name in a directory: by the hash tree where there is one that can be read, else by looking at every entry.
 * Source: fs/ext4/namei.c (ext4_find_entry, ext4_match), fs/crypto/fname.c.
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { CorruptionError } from "../format/corruption.js";
import { ext4_dir_entry_2, recLenFromDisk, HEAD_BYTES } from "../format/dir-entry.js";
import { EXT4_CASEFOLD_FL, EXT4_ENCRYPT_FL, EXT4_INLINE_DATA_FL } from "../format/inode.js";
import { ext4_super_block } from "../format/superblock.js";
import { bytesEqual } from "../lib/bytes.js";
import { casefold, foldsTo } from "../lib/casefold.js";
import { dirHash } from "../lib/dir-hash.js";
import { FsError } from "../lib/errno.js";
import type { Ino, Lblk } from "../lib/numbers.js";
import { isValidUtf8 } from "../lib/utf8.js";
import type { Task } from "../sched/task.js";
import { parseNoKeyName, standsFor, type NoKeyName } from "./crypto.js";
import { blocksOf, entryName, hasStoredHash, readDirBlock, readNextDirBlock, walkEntries, type DirBlock } from "./dir.js";
import { descend, filingHash, isIndexed, leafOf, nextLeaf, type HashOf } from "./htree.js";
import { inlineAreas } from "./inline.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

/** s_encoding_flags: names that are not valid UTF-8 are refused. */
const EXT4_ENC_STRICT_MODE_FL = 1;

/** Where an entry stands: in a block of the directory, or, with `buffer` undefined, in its inode. */
export interface EntryPlace {
  readonly lblk: Lblk;
  readonly buffer: BufferHead | undefined;
  readonly view: DataView;
  /** Where the area of entries begins, and where in it this one does. */
  readonly from: number;
  readonly at: number;
}

/** The inode number behind `name`, or undefined. */
export function* findEntry(fs: Ext4, dir: Ext4Inode, name: Uint8Array): Task<Ino | undefined> {
  const place = yield* locateEntry(fs, dir, name);
  return place === undefined ? undefined : ext4_dir_entry_2.inode.get(place.view, place.at);
}

/** Where `name` stands, or undefined. The place is good until the caller's next wait, or for as long as i_rwsem is held. */
export function* locateEntry(fs: Ext4, dir: Ext4Inode, name: Uint8Array): Task<EntryPlace | undefined> {
  const wanted = wantedName(fs, dir, name);
  if (wanted === undefined) return undefined;
  const { search, hashOf } = wanted;
  const inBlock = ({ lblk, buffer, view, end }: DirBlock): EntryPlace | undefined => {
    const at = search(view, 0, end);
    return at < 0 ? undefined : { lblk, buffer, view, from: 0, at };
  };
  if ((dir.i_flags & EXT4_INLINE_DATA_FL) !== 0) {
    for (const { view, from, end } of inlineAreas(fs, dir)) {
      const at = search(view, from, end);
      if (at >= 0) return { lblk: 0, buffer: undefined, view, from, at };
    }
    return undefined;
  }
  if (isIndexed(fs, dir)) {
    try {
      const path = yield* descend(fs, dir, hashOf);
      if (path !== undefined) {
        do {
          const place = inBlock(yield* readDirBlock(fs, dir, leafOf(path)));
          if (place !== undefined) return place;
        } while (yield* nextLeaf(fs, dir, path));
        return undefined;
      }
    } catch (error) {
      // As Linux does: where only the tree is damaged, the leaves still tell.
      if (!(error instanceof CorruptionError) || error.kind !== "htree-field") throw error;
      fs.warnings.push(error);
    }
  }
  const blocks = blocksOf(fs, dir);
  for (let lblk = 0; lblk < blocks; lblk++) {
    const place = inBlock(yield* readNextDirBlock(fs, dir, lblk, blocks));
    if (place !== undefined) return place;
  }
  return undefined;
}

/** Looks through one checked area. Returns the entry's offset, or -1. */
type Search = (view: DataView, from: number, end: number) => number;

/** How `name` is told from others, and how it is filed. Undefined: no entry here is ever shown so. */
function wantedName(fs: Ext4, dir: Ext4Inode, name: Uint8Array): { search: Search; hashOf: HashOf } | undefined {
  if ((dir.i_flags & EXT4_ENCRYPT_FL) !== 0) {
    const shown = parseNoKeyName(name);
    return shown === undefined ? undefined : { search: searcher(fs, (stored) => standsFor(shown, stored)), hashOf: (version) => encryptedHash(fs, dir, version, shown) };
  }
  const hashOf: HashOf = (version) => filingHash(fs, dir, version, name);
  if ((dir.i_flags & EXT4_CASEFOLD_FL) === 0) return { search: (view, from, end) => searchExact(fs, view, from, end, name), hashOf };
  checkEncoding(fs, dir, name);
  const folded = casefold(name);
  return { search: searcher(fs, (stored) => bytesEqual(stored, name) || (folded !== undefined && foldsTo(stored, folded))), hashOf };
}

/** Where the filesystem is strict, names of a casefolded directory must be UTF-8: others are not even looked for (generic_ci_d_hash). @throws FsError EINVAL. */
export function checkEncoding(fs: Ext4, dir: Ext4Inode, name: Uint8Array): void {
  if ((dir.i_flags & EXT4_CASEFOLD_FL) === 0 || (ext4_super_block.s_encoding_flags.get(fs.sb.view, 0) & EXT4_ENC_STRICT_MODE_FL) === 0) return;
  if (!isValidUtf8(name)) throw new FsError("EINVAL", "the directory's names are UTF-8, and this is not");
}

/** What is known of a shown name but in part, or filed by a keyed hash, is looked for under the hash that it was shown with. */
function encryptedHash(fs: Ext4, dir: Ext4Inode, version: number, { hash, ciphertext, digest }: NoKeyName): number {
  if (digest !== undefined || hasStoredHash(dir)) return hash;
  return dirHash(version, ciphertext, fs.sb.hashSeed).hash;
}

function searcher(fs: Ext4, matches: (stored: Uint8Array) => boolean): Search {
  return (view, from, end) => {
    const at = walkEntries(fs, view, from, end, (entry) => ext4_dir_entry_2.inode.get(view, entry) === 0 || !matches(entryName(fs, view, entry)));
    return at === end ? -1 : at;
  };
}

/** Names in one directory tend to begin alike, so they are compared from their ends. */
function searchExact(fs: Ext4, view: DataView, from: number, end: number, name: Uint8Array): number {
  for (let at = from; at < end; at += recLenFromDisk(ext4_dir_entry_2.rec_len.get(view, at), fs.blockBytes)) {
    if (ext4_dir_entry_2.name_len.get(view, at) !== name.length || ext4_dir_entry_2.inode.get(view, at) === 0) continue;
    let index = name.length;
    while (index > 0 && view.getUint8(at + HEAD_BYTES + index - 1) === name[index - 1]) index--;
    if (index === 0) return at;
  }
  return -1;
}
