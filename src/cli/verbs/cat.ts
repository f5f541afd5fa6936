/** cat: a file's bytes to standard output. */
import { FsError } from "../../lib/errno.js";
import type { Task } from "../../sched/task.js";
import type { Inode } from "../../vfs/inode.js";

const PIECE_BYTES = 1 << 20;

/** Gives the file's data to `take`, piece by piece; the piece is the callee's only until it returns. */
export function* cat(inode: Inode, take: (bytes: Uint8Array) => void): Task<void> {
  if (inode.isDirectory()) throw new FsError("EISDIR");
  if (!inode.isRegular()) throw new FsError("ENXIO", "a device, FIFO or socket has no data in an image");
  inode.checkOpen(false);
  const piece = new Uint8Array(Math.min(PIECE_BYTES, inode.i_size));
  for (let offset = 0; offset < inode.i_size;) {
    const count = yield* inode.read(offset, piece);
    take(piece.subarray(0, count));
    offset += count;
  }
}
