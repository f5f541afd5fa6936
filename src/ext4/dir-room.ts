/**
 * Where a linear directory may still have room: kept in memory, so that filling a large one does not look at each full block again and again, and yet each name goes into the first
 * gap that fits it. For each length of an entry, the first block that may have such a gap: the blocks before it have none, and so none for a longer entry.
 * Lock: the directory's i_rwsem(w).
 */
import type { Lblk } from "../lib/numbers.js";
import { ENTRY_BYTES_MAX } from "./dir-edit.js";
import type { Ext4Inode } from "./inode.js";

const UNIT_BYTES = 4;

export class DirRoom {
  private readonly firstOf = new Uint32Array(ENTRY_BYTES_MAX / UNIT_BYTES + 1);

  /** The first block worth a look for an entry of `neededBytes`. */
  first(neededBytes: number): Lblk {
    let first = 0;
    for (let index = 0; index <= neededBytes / UNIT_BYTES; index++) first = Math.max(first, this.firstOf[index]!);
    return first;
  }

  /** No block before `lblk` has room for so much. */
  noneBefore(neededBytes: number, lblk: Lblk): void {
    this.firstOf[neededBytes / UNIT_BYTES] = lblk;
  }

  /** An entry was removed from block `lblk`. */
  freedIn(lblk: Lblk): void {
    for (let index = 0; index < this.firstOf.length; index++) this.firstOf[index] = Math.min(this.firstOf[index]!, lblk);
  }
}

/** What is known of directories in core; without an entry here nothing is known. */
const rooms = new WeakMap<Ext4Inode, DirRoom>();

export function knownRoom(dir: Ext4Inode): DirRoom | undefined {
  return rooms.get(dir);
}

export function roomOf(dir: Ext4Inode): DirRoom {
  let room = rooms.get(dir);
  if (room === undefined) rooms.set(dir, room = new DirRoom());
  return room;
}

/** What was known is no longer so. */
export function forgetRoom(dir: Ext4Inode): void {
  rooms.delete(dir);
}
