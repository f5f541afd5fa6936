/**
 * Inline data: a small file or directory inside its inode. The first 60 bytes stand in i_block, the rest is the value of the attribute
 * "system.data" in the inode. A directory begins with its parent's number, and each of the two pieces is an area of entries of its own.
 * Source: fs/ext4/inline.c.
 */
import { CorruptionError } from "../format/corruption.js";
import { viewOf } from "../format/layout.js";
import type { Task } from "../sched/task.js";
import type { DirContext } from "../vfs/inode.js";
import { checkEntries, emit, walkEntries } from "./dir.js";
import { I_BLOCK_AT, I_BLOCK_BYTES, type Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";
import { inlineDataValue } from "./xattr.js";

const PARENT_BYTES = 4;
const DT_DIR = 4;
/** Positions of "." and ".." in an inline directory, as if they stood in front. */
const DOTDOT_POS = 12;
const ENTRIES_POS = 24;

/** All bytes that are stored; what i_size has beyond them reads as zeroes. */
export function* readInlineData(fs: Ext4, inode: Ext4Inode): Task<Uint8Array> {
  const head = inode.raw.subarray(I_BLOCK_AT, I_BLOCK_AT + I_BLOCK_BYTES);
  const rest = inlineDataValue(fs, inode);
  if (rest === undefined) throw new CorruptionError("inline-data", { ino: inode.i_ino, found: "no system.data attribute" });
  const data = new Uint8Array(head.length + rest.length);
  data.set(head);
  data.set(rest, head.length);
  return data;
}

export interface InlineArea {
  readonly view: DataView;
  readonly from: number;
  readonly end: number;
}

/** The two areas of an inline directory's entries, checked. */
export function* inlineAreas(fs: Ext4, dir: Ext4Inode): Task<InlineArea[]> {
  const data = yield* readInlineData(fs, dir);
  if (dir.i_size > data.length || dir.i_size < I_BLOCK_BYTES) {
    throw new CorruptionError("inline-data", { ino: dir.i_ino, field: "i_size", found: dir.i_size, expected: data.length });
  }
  const view = viewOf(data);
  const areas = [{ view, from: PARENT_BYTES, end: I_BLOCK_BYTES }];
  if (data.length > I_BLOCK_BYTES) areas.push({ view, from: I_BLOCK_BYTES, end: data.length });
  for (const area of areas) checkEntries(fs, dir, view, area.from, area.end, { field: "inline data" });
  return areas;
}

export function* iterateInline(fs: Ext4, dir: Ext4Inode, context: DirContext): Task<void> {
  const areas = yield* inlineAreas(fs, dir);
  if (context.pos < DOTDOT_POS) {
    if (!context.actor(Uint8Array.of(0x2e), dir.i_ino, DT_DIR)) return;
    context.pos = DOTDOT_POS;
  }
  if (context.pos < ENTRIES_POS) {
    if (!context.actor(Uint8Array.of(0x2e, 0x2e), dir.rawView.getUint32(I_BLOCK_AT, true), DT_DIR)) return;
    context.pos = ENTRIES_POS;
  }
  for (const { view, from, end } of areas) {
    const base = ENTRIES_POS - PARENT_BYTES;
    const stop = walkEntries(fs, view, from, end, (at) => base + at < context.pos || emit(fs, dir, view, at, context));
    context.pos = Math.max(context.pos, base + stop);
    if (stop !== end) return;
  }
}
