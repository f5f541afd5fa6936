/** du: what directories and files take on the disk, hard links once. */
import type { Task } from "../../sched/task.js";
import { dentryPath, type Dentry } from "../../vfs/namei.js";
import { walkTree } from "../../vfs/walk.js";
import type { Output } from "../output.js";
import { humanSize, jsonName, quoted } from "../text.js";

export interface DuOptions {
  readonly summarize?: boolean;
  readonly all?: boolean;
  readonly humanReadable?: boolean;
  readonly apparentSize?: boolean;
}

export function* du(top: Dentry, options: DuOptions, out: Output): Task<void> {
  const counted = new Set<number>();
  const totals: number[] = []; // bytes of the directories that are being walked, outermost first
  const show = (dentry: Dentry, bytes: number): void => {
    if (out.isJson) out.record({ ...jsonName(dentryPath(dentry), "path"), bytes });
    else out.line(`${options.humanReadable === true ? humanSize(bytes) : Math.ceil(bytes / 1024)}\t${quoted(dentryPath(dentry))}`);
  };
  yield* walkTree(top, {
    *enter(dentry, depth) {
      const inode = dentry.d_inode;
      const { sizeBytes, blocks } = yield* inode.getattr();
      const isKnown = inode.i_nlink > 1 && !inode.isDirectory() && counted.has(inode.i_ino);
      counted.add(inode.i_ino);
      const bytes = isKnown ? 0 : options.apparentSize === true ? sizeBytes : blocks * 512;
      if (inode.isDirectory()) totals.push(bytes);
      else {
        if (totals.length > 0) totals[totals.length - 1] = totals[totals.length - 1]! + bytes;
        if (!isKnown && (depth === 0 || (options.all === true && options.summarize !== true))) show(dentry, bytes);
      }
      out.progress(() => `${counted.size} inodes`);
    },
    *leave(dentry, depth) {
      const bytes = totals.pop()!;
      if (totals.length > 0) totals[totals.length - 1] = totals[totals.length - 1]! + bytes;
      if (options.summarize !== true || depth === 0) show(dentry, bytes);
    },
    failed: (error, path) => out.error(`${quoted(path)}: ${error.message}`),
  });
}
