/**
 * A block device: a size, and one call that carries out a batch of requests. Stacked devices (overlay, partition) rewrite requests for the device
 * below; a leaf (file, memory, Blob, HTTP) does them. Offsets and lengths are bytes. A read may start and end anywhere; a write
 * covers whole sectors of 512 bytes, which are the unit that a power cut leaves whole.
 */
import type { Task } from "../sched/task.js";

export const SECTOR_BYTES = 512;

/** One request, after the kernel's struct bio. */
export interface Bio {
  readonly op: "read" | "write" | "flush";
  /** First byte on the device. 0 for a flush. */
  readonly offsetBytes: number;
  /** Where a read puts its bytes, or what a write stores. Empty for a flush. */
  readonly data: Uint8Array;
  /** A write that is on stable media when it returns. */
  readonly fua?: boolean;
}

export interface BlockDevice {
  /** For messages: a file name, a URL, "memory". */
  readonly name: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** True: a power cut may leave part of a sector, as on persistent memory without a BTT. Words of 8 bytes stay whole. */
  readonly tearsSectors?: boolean;
  /** A device on part of this one that can do what this one can; left out, a partition just shifts requests. */
  range?(startBytes: number, sizeBytes: number, options: { readonly name: string }): BlockDevice;
  /**
   * Carries out all of `bios`, in any order, and returns when all are done. A flush makes durable what was written in earlier calls.
   * @throws FsError EIO a transfer failed or passes the end; EROFS a write to a read-only device; EOPNOTSUPP the device cannot be driven synchronously.
   */
  submit(bios: readonly Bio[]): Task<void>;
  close(): Task<void>;
}

export function* readBytes(device: BlockDevice, offsetBytes: number, into: Uint8Array): Task<void> {
  yield* device.submit([{ op: "read", offsetBytes, data: into }]);
}

export function* writeBytes(device: BlockDevice, offsetBytes: number, data: Uint8Array, fua = false): Task<void> {
  yield* device.submit([{ op: "write", offsetBytes, data, fua }]);
}

export function* flush(device: BlockDevice): Task<void> {
  yield* device.submit([{ op: "flush", offsetBytes: 0, data: NO_BYTES }]);
}

const NO_BYTES = new Uint8Array(0);
