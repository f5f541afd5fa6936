/** df: how full the filesystem is. */
import type { Task } from "../../sched/task.js";
import type { SuperBlock } from "../../vfs/inode.js";
import type { Output } from "../output.js";
import { humanSize, table } from "../text.js";

export interface DfOptions {
  readonly humanReadable?: boolean;
  readonly inodes?: boolean;
}

export function* df(fs: SuperBlock, image: string, options: DfOptions, out: Output): Task<void> {
  const { bsize, blocks, bfree, bavail, files, ffree } = yield* fs.statfs();
  if (out.isJson) {
    out.record({ image, blockSize: bsize, blocks, free: bfree, available: bavail, inodes: files, freeInodes: ffree });
    return;
  }
  const percent = (used: number, of: number): string => (of === 0 ? "-" : `${Math.ceil((used / of) * 100)}%`);
  const size = (count: number): string | number => (options.humanReadable === true ? humanSize(count * bsize) : Math.ceil((count * bsize) / 1024));
  const used = blocks - bfree;
  out.write(options.inodes === true
    ? table([["Image", "Inodes", "IUsed", "IFree", "IUse%"], [image, files, files - ffree, ffree, percent(files - ffree, files)]])
    : table([["Image", options.humanReadable === true ? "Size" : "1K-blocks", "Used", "Available", "Use%"], [image, size(blocks), size(used), size(bavail), percent(used, used + bavail)]]));
}
