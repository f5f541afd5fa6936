/** tree: a directory and all below it, drawn. */
import { compareBytes } from "../../lib/bytes.js";
import { FsError } from "../../lib/errno.js";
import type { Task } from "../../sched/task.js";
import { dentryPath, type Dentry } from "../../vfs/namei.js";
import { listDirectory, type WalkEntry } from "../../vfs/walk.js";
import type { Inode } from "../../vfs/inode.js";
import type { Output } from "../output.js";
import { jsonName, quoted, typeName } from "../text.js";

export interface TreeOptions {
  readonly all?: boolean;
  readonly directories?: boolean;
  readonly level?: number;
}

export function* tree(top: Dentry, options: TreeOptions, out: Output): Task<void> {
  const counts = { directories: 0, files: 0 };
  const entered = new Set<number>();
  const children = function* (inode: Inode): Task<WalkEntry[]> {
    if (entered.has(inode.i_ino)) throw new FsError("EUCLEAN", `directory ${inode.i_ino} stands in two places`);
    entered.add(inode.i_ino);
    const entries = (yield* listDirectory(inode)).filter(({ name }) => options.all === true || name[0] !== 0x2e);
    return entries.sort((a, b) => compareBytes(a.name, b.name));
  };
  const below = function* (inode: Inode, prefix: string, depth: number): Task<object[]> {
    const rows: object[] = [];
    const shown: { name: Uint8Array; inode: Inode }[] = [];
    for (const { name, ino } of yield* children(inode)) {
      const child = yield* inode.i_sb.iget(ino);
      if (options.directories !== true || child.isDirectory()) shown.push({ name, inode: child });
    }
    for (const [index, { name, inode: child }] of shown.entries()) {
      const isLast = index === shown.length - 1;
      counts[child.isDirectory() ? "directories" : "files"]++;
      const target = child.isSymlink() ? yield* child.readlink() : undefined;
      if (!out.isJson) out.line(`${prefix}${isLast ? "└── " : "├── "}${quoted(name)}${target === undefined ? "" : ` -> ${quoted(target)}`}`);
      const descend = child.isDirectory() && depth < (options.level ?? Infinity);
      let contents: object[] | undefined;
      try {
        contents = descend ? yield* below(child, prefix + (isLast ? "    " : "│   "), depth + 1) : undefined;
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        out.error(`${quoted(name)}: ${error.message}`);
      }
      rows.push({ ...jsonName(name), type: typeName(child.i_mode), ...(target === undefined ? {} : jsonName(target, "target")), ...(contents === undefined ? {} : { contents }) });
    }
    return rows;
  };
  if (!out.isJson) out.line(quoted(dentryPath(top)));
  const contents = top.d_inode.isDirectory() ? yield* below(top.d_inode, "", 1) : [];
  if (out.isJson) out.record({ ...jsonName(dentryPath(top)), type: typeName(top.d_inode.i_mode), contents });
  else out.line(`\n${counts.directories} director${counts.directories === 1 ? "y" : "ies"}${options.directories === true ? "" : `, ${counts.files} file${counts.files === 1 ? "" : "s"}`}`);
}
