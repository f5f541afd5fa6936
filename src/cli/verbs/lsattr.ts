/** lsattr: the flags that chattr sets, in lsattr's columns. */
import { INODE_FLAG_LETTERS } from "../../format/inode.js";
import { compareBytes } from "../../lib/bytes.js";
import type { Task } from "../../sched/task.js";
import { Dentry, dentryPath } from "../../vfs/namei.js";
import { listDirectory, walkTree } from "../../vfs/walk.js";
import type { Output } from "../output.js";
import { jsonName, quoted } from "../text.js";

export interface LsattrOptions {
  readonly recursive?: boolean;
  readonly all?: boolean;
  readonly directory?: boolean;
  readonly project?: boolean;
}

export function* lsattr(top: Dentry, options: LsattrOptions, out: Output): Task<void> {
  if (options.directory === true || !top.d_inode.isDirectory()) return show(top, options, out);
  const isShown = (name: Uint8Array): boolean => options.all === true || name[0] !== 0x2e;
  if (options.recursive === true) {
    yield* walkTree(top, {
      *enter(dentry) {
        if (dentry !== top && !isShown(dentry.d_name)) return false;
        if (dentry !== top) show(dentry, options, out);
        return true;
      },
      sort: (entries) => entries.sort((a, b) => compareBytes(a.name, b.name)),
      failed: (error, path) => out.error(`${quoted(path)}: ${error.message}`),
    });
    return;
  }
  const entries = (yield* listDirectory(top.d_inode)).filter(({ name }) => isShown(name)).sort((a, b) => compareBytes(a.name, b.name));
  for (const { name, ino } of entries) show(new Dentry(yield* top.d_inode.i_sb.iget(ino), name, top), options, out);
}

function show(dentry: Dentry, options: LsattrOptions, out: Output): void {
  const { i_flags: flags, i_projid: project } = dentry.d_inode;
  const path = dentryPath(dentry);
  if (out.isJson) return out.record({ ...jsonName(path, "path"), flags, letters: INODE_FLAG_LETTERS.filter(([bit]) => (flags & bit) !== 0).map(([, letter]) => letter).join(""), project });
  const columns = INODE_FLAG_LETTERS.map(([bit, letter]) => ((flags & bit) !== 0 ? letter : "-")).join("");
  out.line(`${options.project === true ? `${String(project).padStart(5)} ` : ""}${columns} ${quoted(path)}`);
}
