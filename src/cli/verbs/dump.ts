/** dump: the structures themselves, as tables: an inode, its extent tree, a directory's hash tree, a group, the journal's log, raw blocks. */
import { readDirBlock } from "../../ext4/dir.js";
import { findGroupDesc } from "../../ext4/groups.js";
import { entryAt, nodeDepth, nodeEntries, walkExtentTree } from "../../ext4/extents.js";
import { indexBlock, indexEntries, indexHash, readRoot } from "../../ext4/htree.js";
import { hasMap, type Ext4Inode } from "../../ext4/inode.js";
import { journalGeometry, openJournal } from "../../ext4/journal.js";
import { listOrphans } from "../../ext4/orphan.js";
import type { Ext4 } from "../../ext4/super.js";
import { CorruptionError } from "../../format/corruption.js";
import { ext4_extent, ext4_extent_header, ext4_extent_idx, extentIsUnwritten, extentLength, extentPblock, indexPblock } from "../../format/extent.js";
import { ext4_group_desc } from "../../format/group-desc.js";
import { EXT4_EXTENTS_FL, ext4_inode } from "../../format/inode.js";
import { commit_header, journal_superblock_s, readRevokes } from "../../format/jbd2.js";
import type { AnyField, AnyLayout } from "../../format/layout.js";
import { ext4_super_block } from "../../format/superblock.js";
import { readFastCommits } from "../../jbd2/fast-commit.js";
import { LogReader } from "../../jbd2/log.js";
import { walkLog } from "../../jbd2/recovery.js";
import { isAllZero } from "../../lib/bytes.js";
import { FsError } from "../../lib/errno.js";
import { viewOf } from "../../lib/view.js";
import type { Task } from "../../sched/task.js";
import { allXattrs } from "../../ext4/xattr.js";
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { quoted, table } from "../text.js";

type Cell = string | number;

/** Prints rows under a heading; as JSON, one object per row. */
function print(out: Output, columns: readonly string[], rows: readonly (readonly Cell[])[]): void {
  if (out.isJson) for (const row of rows) out.record(Object.fromEntries(columns.map((column, index) => [column, row[index]])));
  else out.write(table([columns, ...rows]));
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const SHOWN_BYTES = 36;

/** As much of raw bytes as fits a table. */
function shortHex(bytes: Uint8Array): string {
  if (isAllZero(bytes)) return "0";
  return bytes.length <= SHOWN_BYTES ? hex(bytes) : `${hex(bytes.subarray(0, SHOWN_BYTES))}…`;
}

function fieldValue(field: AnyField, view: DataView, at: number): Cell {
  if (!("get" in field)) return shortHex(new Uint8Array(view.buffer, view.byteOffset + at + field.at, field.size));
  if ("count" in field) return Array.from({ length: field.count }, (_, index) => field.get(view, at, index)).join(" ");
  const value = (field.get as (view: DataView, base: number) => number | Uint8Array)(view, at);
  return typeof value === "number" ? value : shortHex(value);
}

/** Every field of a structure: where it stands and what it holds, in decimal and hexadecimal. */
export function dumpStructure(layout: AnyLayout, view: DataView, at: number, out: Output): void {
  const rows = layout.$.fields.map(([name, field]): Cell[] => {
    const value = fieldValue(field, view, at);
    return [`0x${field.at.toString(16).padStart(3, "0")}`, field.type, name, typeof value === "number" ? String(value) : value, typeof value === "number" ? `0x${value.toString(16)}` : ""];
  });
  print(out, ["offset", "type", layout.$.name, "value", "hex"], rows);
}

export function dumpSuperblock(fs: Ext4, out: Output): void {
  dumpStructure(ext4_super_block, fs.sb.view, 0, out);
}

export function* dumpInode(fs: Ext4, inode: Ext4Inode, out: Output): Task<void> {
  if (!out.isJson) out.line(`inode ${inode.i_ino}`);
  const view = inode.raw.length >= ext4_inode.$.size ? inode.rawView : viewOf(Uint8Array.from({ length: ext4_inode.$.size }, (_, index) => inode.raw[index] ?? 0));
  dumpStructure(ext4_inode, view, 0, out);
  const attributes = yield* allXattrs(fs, inode);
  if (attributes.length > 0) {
    if (!out.isJson) out.line("\nextended attributes");
    print(out, ["index", "name", "bytes", "inode", "hash"], attributes.map(({ index, name, sizeBytes, valueInum, hash }) => [index, quoted(name), sizeBytes, valueInum, `0x${hash.toString(16)}`]));
  }
}

export function* dumpExtents(fs: Ext4, inode: Ext4Inode, out: Output): Task<void> {
  if ((inode.i_flags & EXT4_EXTENTS_FL) === 0 || !hasMap(fs, inode)) {
    const runs = yield* inode.fiemap(0, Math.ceil(inode.i_size / fs.blockBytes));
    return print(out, ["lblk", "count", "pblk"], runs.map(({ lblk, count, pblk }) => [lblk, count, pblk]));
  }
  const rows: Cell[][] = [];
  yield* walkExtentTree(fs, inode, (node, slot) => {
    const depth = nodeDepth(node);
    const at = entryAt(node, slot);
    const place = [depth, slot + 1, nodeEntries(node), ext4_extent_header.eh_max.get(node.view, node.at)];
    if (depth === 0) {
      const length = ext4_extent.ee_len.get(node.view, at);
      rows.push([...place, ext4_extent.ee_block.get(node.view, at), extentLength(length), extentPblock(node.view, at), extentIsUnwritten(length) ? "unwritten" : ""]);
    } else {
      rows.push([...place, ext4_extent_idx.ei_block.get(node.view, at), "", indexPblock(node.view, at), "index"]);
    }
  });
  print(out, ["depth", "entry", "of", "max", "lblk", "count", "pblk", "state"], rows);
}

export function* dumpHtree(fs: Ext4, dir: Ext4Inode, out: Output): Task<void> {
  const { buffer } = yield* readDirBlock(fs, dir, 0);
  const { hashVersion, levels } = readRoot(fs, dir, buffer);
  if (!out.isJson) out.line(`hash version ${hashVersion}, ${levels + 1} level${levels === 0 ? "" : "s"} of index`);
  const rows: Cell[][] = [];
  const visited = new Set<number>();
  const visit = function* (lblk: number, level: number): Task<void> {
    const { buffer: node, view } = yield* readDirBlock(fs, dir, lblk);
    if (visited.has(lblk)) throw new CorruptionError("htree-field", { ino: dir.i_ino, block: node.b_blocknr, field: "block", found: lblk, expected: "one way to it" });
    visited.add(lblk);
    const { entriesAt, count } = indexEntries(fs, dir, node, level === 0);
    for (let slot = 0; slot < count; slot++) {
      const child = indexBlock(view, entriesAt, slot);
      rows.push([level, lblk, slot, `0x${indexHash(view, entriesAt, slot).toString(16).padStart(8, "0")}`, child]);
      if (level < levels) yield* visit(child, level + 1);
    }
  };
  yield* visit(0, 0);
  print(out, ["level", "block", "slot", "hash", "points to"], rows);
}

export function* dumpGroup(fs: Ext4, group: number, out: Output): Task<void> {
  if (!(group >= 0 && group < fs.sb.groupsCount)) throw new UsageError(`there are groups 0 to ${fs.sb.groupsCount - 1}`);
  const { buffer: { view }, at } = yield* findGroupDesc(fs, group);
  if (fs.sb.descBytes >= ext4_group_desc.$.size) return dumpStructure(ext4_group_desc, view, at, out);
  const padded = new Uint8Array(ext4_group_desc.$.size);
  padded.set(new Uint8Array(view.buffer, view.byteOffset + at, fs.sb.descBytes));
  dumpStructure(ext4_group_desc, viewOf(padded), 0, out);
}

export function* dumpJournal(fs: Ext4, out: Output): Task<void> {
  const journal = yield* openJournal(fs);
  if (journal === undefined) throw new FsError("ENOENT", "the filesystem has no journal");
  const geometry = yield* journalGeometry(fs, journal);
  dumpStructure(journal_superblock_s, geometry.superblock, 0, out);
  if (geometry.start === 0) return out.isJson ? undefined : out.line("\nthe log is empty");
  const rows: Cell[][] = [];
  let endTid = geometry.sequence;
  yield* walkLog(new LogReader(journal, geometry.maxlen), geometry, {
    *descriptor(tid, at, _block, tags) {
      rows.push([at, tid, "descriptor", tags.map(({ block, flags }) => `${block}${flags === 0 ? "" : `/${flags}`}`).join(" ")]);
      return true;
    },
    revoke(tid, at, { view }) {
      rows.push([at, tid, "revoke", (readRevokes(view, geometry.shape) ?? []).join(" ")]);
      return true;
    },
    commit(tid, at, { view }) {
      endTid = (tid + 1) >>> 0;
      rows.push([at, tid, "commit", `${commit_header.h_commit_sec.get(view, 0)}.${String(commit_header.h_commit_nsec.get(view, 0)).padStart(9, "0")}`]);
      return true;
    },
  });
  for (const record of yield* readFastCommits(journal, geometry, endTid)) {
    const { tag, ...fields } = record;
    const shown = Object.entries(fields).map(([key, value]) => `${key} ${value instanceof Uint8Array ? (key === "name" ? quoted(value) : `${value.length} bytes`) : String(value)}`);
    rows.push(["", endTid, `fast ${tag}`, shown.join(", ")]);
  }
  if (!out.isJson) out.line();
  print(out, ["log block", "transaction", "kind", "blocks (with tag flags), revoked blocks, time"], rows);
}

export function* dumpOrphans(fs: Ext4, out: Output): Task<void> {
  print(out, ["orphan"], (yield* listOrphans(fs)).map((ino) => [ino]));
}

const ROW_BYTES = 16;

export function* dumpBlock(fs: Ext4, block: number, out: Output): Task<void> {
  if (!(block >= 0 && block < fs.sb.blocksCount)) throw new UsageError(`there are blocks 0 to ${fs.sb.blocksCount - 1}`);
  const { data } = yield* fs.cache.read(block);
  if (out.isJson) return out.record({ block, hex: hex(data) });
  for (let at = 0; at < data.length; at += ROW_BYTES) {
    const row = data.subarray(at, at + ROW_BYTES);
    const text = Array.from(row, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("");
    out.line(`${at.toString(16).padStart(5, "0")}  ${Array.from(row, (byte) => byte.toString(16).padStart(2, "0")).join(" ")}  |${text}|`);
  }
}

