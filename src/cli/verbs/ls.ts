/** ls: a directory's entries, or a file itself; long, recursive, sorted as GNU ls sorts with LC_ALL=C. */
import { compareBytes } from "../../lib/bytes.js";
import { FsError } from "../../lib/errno.js";
import type { Task } from "../../sched/task.js";
import { S_IFBLK, S_IFCHR, S_IFMT, type Inode } from "../../vfs/inode.js";
import { Dentry, dentryPath } from "../../vfs/namei.js";
import { listDirectory } from "../../vfs/walk.js";
import type { Output } from "../output.js";
import { humanSize, jsonName, modeString, quoted, shortTime, table, timeNumber } from "../text.js";

export interface LsOptions {
  readonly long?: boolean;
  readonly all?: boolean;
  readonly almostAll?: boolean;
  readonly recursive?: boolean;
  readonly inode?: boolean;
  readonly humanReadable?: boolean;
  readonly directory?: boolean;
  readonly time?: boolean;
  readonly size?: boolean;
  readonly reverse?: boolean;
}

interface Row {
  readonly name: Uint8Array;
  readonly inode: Inode;
}

export function* ls(top: Dentry, title: string | undefined, options: LsOptions, out: Output): Task<void> {
  if (options.directory === true || !top.d_inode.isDirectory()) {
    yield* print([{ name: top.d_name.length === 0 ? Uint8Array.of(0x2f) : top.d_name, inode: top.d_inode }], dentryPath(top), options, out);
    return;
  }
  const entered = new Set<number>();
  const pending = [top];
  while (pending.length > 0) {
    const directory = pending.pop()!;
    const path = dentryPath(directory);
    if (entered.has(directory.d_inode.i_ino)) {
      out.error(`${quoted(path)}: this directory stands in two places`);
      continue;
    }
    entered.add(directory.d_inode.i_ino);
    const rows = yield* readRows(directory, path, options, out);
    const heading = options.recursive === true ? quoted(path) : title;
    if (!out.isJson && heading !== undefined) out.line(`${out.hasWritten ? "\n" : ""}${heading}:`);
    if (!out.isJson && options.long === true) out.line(`total ${yield* totalSize(rows, options)}`);
    yield* print(rows, path, options, out);
    if (options.recursive !== true) return;
    const children = rows.filter(({ name, inode }) => inode.isDirectory() && !isDots(name)).map(({ name, inode }) => new Dentry(inode, name, directory));
    pending.push(...children.reverse());
  }
}

const isDots = (name: Uint8Array): boolean => name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e));

/** What the entries take on the disk: KiB, or as people read it. */
function* totalSize(rows: readonly Row[], { humanReadable }: LsOptions): Task<number | string> {
  let blocks = 0;
  for (const { inode } of rows) blocks += (yield* inode.getattr()).blocks;
  return humanReadable === true ? humanSize(blocks * 512) : Math.ceil(blocks / 2);
}

function* readRows(directory: Dentry, path: Uint8Array, options: LsOptions, out: Output): Task<Row[]> {
  const rows: Row[] = [];
  if (options.all === true) {
    rows.push({ name: Buffer.from("."), inode: directory.d_inode }, { name: Buffer.from(".."), inode: directory.d_parent.d_inode });
  }
  try {
    for (const { name, ino } of yield* listDirectory(directory.d_inode)) {
      if (name[0] === 0x2e && options.all !== true && options.almostAll !== true) continue;
      try {
        rows.push({ name, inode: yield* directory.d_inode.i_sb.iget(ino) });
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        out.error(`${quoted(dentryPath(new Dentry(directory.d_inode, name, directory)))}: ${error.message}`);
      }
    }
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    out.error(`${quoted(path)}: ${error.message}`);
  }
  return rows.sort(order(options));
}

function order(options: LsOptions): (a: Row, b: Row) => number {
  const byName = (a: Row, b: Row): number => compareBytes(a.name, b.name);
  const byTime = (a: Row, b: Row): number => b.inode.i_mtime.sec - a.inode.i_mtime.sec || b.inode.i_mtime.nsec - a.inode.i_mtime.nsec || byName(a, b);
  const bySize = (a: Row, b: Row): number => b.inode.i_size - a.inode.i_size || byName(a, b);
  const compare = options.time === true ? byTime : options.size === true ? bySize : byName;
  return options.reverse === true ? (a, b) => -compare(a, b) : compare;
}

function* print(rows: readonly Row[], path: Uint8Array, options: LsOptions, out: Output): Task<void> {
  if (out.isJson) {
    for (const row of rows) out.record(yield* jsonRow(row, path));
    return;
  }
  const cells: (string | number)[][] = [];
  for (const { name, inode } of rows) {
    const inodeCell = options.inode === true ? [inode.i_ino] : [];
    if (options.long !== true) {
      out.line([...inodeCell, quoted(name)].join(" "));
      continue;
    }
    const { sizeBytes } = yield* inode.getattr();
    const type = inode.i_mode & S_IFMT;
    const isDevice = type === S_IFCHR || type === S_IFBLK;
    const size = isDevice ? `${inode.i_rdev.major}, ${inode.i_rdev.minor}` : options.humanReadable === true ? humanSize(sizeBytes) : sizeBytes;
    const target = inode.isSymlink() ? ` -> ${quoted(yield* inode.readlink())}` : "";
    cells.push([...inodeCell, modeString(inode.i_mode), inode.i_nlink, inode.i_uid, inode.i_gid, size, shortTime(inode.i_mtime), quoted(name) + target]);
  }
  if (options.long === true) out.write(table(cells));
}

function* jsonRow({ name, inode }: Row, path: Uint8Array): Task<object> {
  const { sizeBytes, blocks } = yield* inode.getattr();
  return {
    ...jsonName(name), directory: quoted(path), ino: inode.i_ino, mode: inode.i_mode, nlink: inode.i_nlink, uid: inode.i_uid, gid: inode.i_gid, size: sizeBytes, blocks,
    mtime: timeNumber(inode.i_mtime), atime: timeNumber(inode.i_atime), ctime: timeNumber(inode.i_ctime),
    ...(inode.isSymlink() ? jsonName(yield* inode.readlink(), "target") : {}),
  };
}
