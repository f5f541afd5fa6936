/**
 * The kernel's reach into a process's memory. A byte that cannot be accessed ends it there: a system call then tells what it moved before, and EFAULT only if that was nothing.
 * Source: copy_from_user, copy_to_user, clear_user (include/linux/uaccess.h), rw_verify_area (fs/read_write.c).
 */
import { FsError } from "../lib/errno.js";
import { load, store } from "../mm/access.js";
import type { MmStruct } from "../mm/mm-struct.js";
import { ADDRESS_END } from "../mm/page-table.js";
import type { Task } from "../sched/task.js";

/** Memory of the process that makes the call, as the buffer of a read or write. */
export interface UserMemory {
  readonly address: number;
  readonly lengthBytes: number;
}

/** A buffer of so many bytes is moved at a time, lest a caller's claim of gigabytes be believed. */
export const PIECE_BYTES = 4 * 2 ** 20;

/** @throws FsError EFAULT: no process's memory is there. */
export function checkUserMemory({ address, lengthBytes }: UserMemory): void {
  if (!(address >= 0 && lengthBytes >= 0 && address + lengthBytes <= ADDRESS_END)) throw new FsError("EFAULT");
}

/** Returns the bytes that could be copied. */
export function* copyFromUser(mm: MmStruct, address: number, into: Uint8Array): Task<number> {
  return (yield* load(mm, address, into)).doneBytes;
}

export function* copyToUser(mm: MmStruct, address: number, bytes: Uint8Array): Task<number> {
  return (yield* store(mm, address, bytes)).doneBytes;
}

/** Moves what `fill` gives, piece by piece, into user memory. `fill` is told where in the whole it is, and may give less than asked for: that is the end. */
export function* readIntoUser(mm: MmStruct, buffer: UserMemory, fill: (piece: Uint8Array, doneBytes: number) => Task<number>): Task<number> {
  let doneBytes = 0;
  while (doneBytes < buffer.lengthBytes) {
    const piece = new Uint8Array(Math.min(PIECE_BYTES, buffer.lengthBytes - doneBytes));
    const count = yield* fill(piece, doneBytes);
    const stored = yield* copyToUser(mm, buffer.address + doneBytes, piece.subarray(0, count));
    doneBytes += stored;
    if (stored < count && doneBytes === 0) throw new FsError("EFAULT");
    if (stored < piece.length) break;
  }
  return doneBytes;
}

/** Gives user memory to `drain`, piece by piece, which may take less: that is the end. What was taken before an error counts. */
export function* writeFromUser(mm: MmStruct, buffer: UserMemory, drain: (piece: Uint8Array, doneBytes: number) => Task<number>): Task<number> {
  let doneBytes = 0;
  while (doneBytes < buffer.lengthBytes) {
    const piece = new Uint8Array(Math.min(PIECE_BYTES, buffer.lengthBytes - doneBytes));
    const loaded = yield* copyFromUser(mm, buffer.address + doneBytes, piece);
    if (loaded === 0) {
      if (doneBytes === 0) throw new FsError("EFAULT");
      break;
    }
    let taken: number;
    try {
      taken = yield* drain(piece.subarray(0, loaded), doneBytes);
    } catch (error) {
      if (!(error instanceof FsError) || doneBytes === 0) throw error;
      break;
    }
    doneBytes += taken;
    if (taken < piece.length) break;
  }
  return doneBytes;
}
