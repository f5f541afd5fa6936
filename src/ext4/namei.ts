/**
 * Finding a name in a directory: by the hash tree where there is one that can be read, else by looking at every entry.
 * Source: fs/ext4/namei.c (ext4_find_entry, ext4_match), fs/crypto/fname.c.
 */
import { CorruptionError } from "../format/corruption.js";
import { ext4_dir_entry_2 } from "../format/dir-entry.js";
import { EXT4_CASEFOLD_FL, EXT4_ENCRYPT_FL, EXT4_INLINE_DATA_FL } from "../format/inode.js";
import { bytesEqual } from "../lib/bytes.js";
import { casefold } from "../lib/casefold.js";
import type { Ino } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { entryName, readDirBlock, shownName, walkEntries } from "./dir.js";
import { isIndexed, visitLeaves } from "./htree.js";
import { inlineAreas } from "./inline.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

/** The inode number behind `name`, or undefined. */
export function* findEntry(fs: Ext4, dir: Ext4Inode, name: Uint8Array): Task<Ino | undefined> {
  const matches = matcher(fs, dir, name);
  let found: Ino | undefined;
  /** Looks through one area; true: it was here. */
  const scan = (view: DataView, from: number, end: number): boolean => {
    const stop = walkEntries(fs, view, from, end, (at) => {
      const ino = ext4_dir_entry_2.inode.get(view, at);
      if (ino === 0 || !matches(entryName(fs, view, at))) return true;
      found = ino;
      return false;
    });
    return stop !== end;
  };
  if ((dir.i_flags & EXT4_INLINE_DATA_FL) !== 0) {
    for (const area of yield* inlineAreas(fs, dir)) if (scan(area.view, area.from, area.end)) return found;
    return undefined;
  }
  // The encoded form of an encrypted name does not tell how it is filed.
  if (isIndexed(fs, dir) && (dir.i_flags & EXT4_ENCRYPT_FL) === 0) {
    try {
      if (yield* visitLeaves(fs, dir, name, ({ view, end }) => scan(view, 0, end))) return found;
    } catch (error) {
      // As Linux does: where only the tree is damaged, the leaves still tell.
      if (!(error instanceof CorruptionError) || error.kind !== "htree-field") throw error;
      fs.warnings.push(error);
    }
  }
  const blocks = Math.ceil(dir.i_size / fs.blockBytes);
  for (let lblk = 0; lblk < blocks; lblk++) {
    const { view, end } = yield* readDirBlock(fs, dir, lblk);
    if (scan(view, 0, end)) return found;
  }
  return undefined;
}

function matcher(fs: Ext4, dir: Ext4Inode, name: Uint8Array): (stored: Uint8Array) => boolean {
  if ((dir.i_flags & EXT4_ENCRYPT_FL) !== 0) return (stored) => bytesEqual(shownName(fs, dir, stored), name);
  if ((dir.i_flags & EXT4_CASEFOLD_FL) === 0) return (stored) => bytesEqual(stored, name);
  const folded = casefold(name);
  return (stored) => {
    if (bytesEqual(stored, name)) return true;
    if (folded === undefined) return false;
    const storedFolded = casefold(stored);
    return storedFolded !== undefined && bytesEqual(storedFolded, folded);
  };
}
