/**
 * Inline data: a small file or directory inside its inode. The first 60 bytes stand in i_block, the rest is the value of the attribute
 * "system.data" in the inode. A directory begins with its parent's number, and each of the two pieces is an area of entries of its own.
 * Source: fs/ext4/inline.c.
 */
import { I_BLOCK_AT, I_BLOCK_BYTES } from "../format/inode.js";
import { CorruptionError } from "../format/corruption.js";
import type { Task } from "../sched/task.js";
import type { DirContext } from "../vfs/inode.js";
import { checkEntries, emit, shownNames, walkEntries } from "./dir.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";
import { inlineDataValue } from "./xattr.js";

/** The number of an inline directory's parent, in front of its entries. */
export const PARENT_BYTES = 4;
const DT_DIR = 4;
/** Positions of "." and ".." in an inline directory, as if they stood in front. */
const DOTDOT_POS = 12;
const ENTRIES_POS = 24;

/** All bytes that are stored; what i_size has beyond them reads as zeroes. */
export function* readInlineData(fs: Ext4, inode: Ext4Inode): Task<Uint8Array> {
  const head = inode.raw.subarray(I_BLOCK_AT, I_BLOCK_AT + I_BLOCK_BYTES);
  const rest = requireValue(fs, inode);
  const data = new Uint8Array(head.length + rest.length);
  data.set(head);
  data.set(rest, head.length);
  return data;
}

function requireValue(fs: Ext4, inode: Ext4Inode): Uint8Array {
  const value = inlineDataValue(fs, inode);
  if (value === undefined) throw new CorruptionError("inline-data", { ino: inode.i_ino, found: "no system.data attribute" });
  return value;
}

export interface InlineArea {
  readonly view: DataView;
  readonly from: number;
  readonly end: number;
}

/** The two areas of an inline directory's entries, checked, where they stand in the inode. The second may be missing. */
export function inlineAreas(fs: Ext4, dir: Ext4Inode): InlineArea[] {
  const value = requireValue(fs, dir);
  const sizeBytes = I_BLOCK_BYTES + value.length;
  if (dir.i_size > sizeBytes || dir.i_size < I_BLOCK_BYTES) {
    throw new CorruptionError("inline-data", { ino: dir.i_ino, field: "i_size", found: dir.i_size, expected: sizeBytes });
  }
  const areas = [{ view: dir.rawView, from: I_BLOCK_AT + PARENT_BYTES, end: I_BLOCK_AT + I_BLOCK_BYTES }];
  const valueAt = value.byteOffset - dir.raw.byteOffset;
  if (value.length > 0) areas.push({ view: dir.rawView, from: valueAt, end: valueAt + value.length });
  for (const { view, from, end } of areas) checkEntries(fs, dir, view, from, end, { field: "inline data" });
  return areas;
}

export function* iterateInline(fs: Ext4, dir: Ext4Inode, context: DirContext): Task<void> {
  const areas = inlineAreas(fs, dir);
  const shown = yield* shownNames(fs, dir);
  if (context.pos < DOTDOT_POS) {
    if (!context.actor(Uint8Array.of(0x2e), dir.i_ino, DT_DIR)) return;
    context.pos = DOTDOT_POS;
  }
  if (context.pos < ENTRIES_POS) {
    if (!context.actor(Uint8Array.of(0x2e, 0x2e), dir.rawView.getUint32(I_BLOCK_AT, true), DT_DIR)) return;
    context.pos = ENTRIES_POS;
  }
  let areaPos = ENTRIES_POS;
  for (const { view, from, end } of areas) {
    const base = areaPos - from;
    const stop = walkEntries(fs, view, from, end, (at) => base + at < context.pos || emit(fs, view, at, shown, context));
    context.pos = Math.max(context.pos, base + stop);
    if (stop !== end) return;
    areaPos += end - from;
  }
}
