/**
 * A file's bytes as they lie in persistent memory, for a program that reads and writes them in place. Nothing is copied: a run's `bytes` are a view of the device's own memory, a PmemDevice's buffer
 * or the mapping of a host file.
 */
import { FsError } from "../lib/errno.js";
import type { HeldPages } from "../dax/held-pages.js";
import type { Task } from "../sched/task.js";
import type { File } from "../vfs/file.js";
import { inContext, type Host } from "./context.js";
import type { Runner } from "./handles.js";

export interface MapOptions {
  /** True: the views may be stored into. All of the range is given blocks first, which read as zeroes, so that each run has bytes. The file must be open for reading and writing. Default false. */
  readonly writable?: boolean | undefined;
}

/** Bytes offset .. offset + length - 1 of the file, in one piece on the device. */
export interface MappedRun<Bytes extends Uint8Array = Uint8Array> {
  readonly offset: number;
  readonly length: number;
  /** Live, as long as the mapping is open. Undefined: a hole, or blocks that were never written; both read as zeroes, and what comes there later is not seen here. */
  readonly bytes: Bytes | undefined;
}

/**
 * An open mapping. While it is open its pages stay the file's: whoever cuts them off, punches or moves them (truncate, fallocate) waits until it is closed, if he does so with promises. A synchronous
 * call cannot wait for the program that makes it, so it fails with EBUSY. The descriptor it was made by may be closed before.
 *
 * Stores through views are seen by every reader at once. They are durable after msync, and only so: fsync of the file does not know of them.
 */
export class FileMapping<Bytes extends Uint8Array = Uint8Array> {
  /** First byte in the file. */
  readonly offset: number;
  /** Bytes; less than were asked for, if the file ended. */
  readonly length: number;
  private held: HeldPages | undefined;
  private ownRuns: readonly MappedRun<Bytes>[];

  /** Takes over `held`, and one of the file's counts. */
  constructor(private readonly runner: Runner, host: Host, private readonly file: File, held: HeldPages, readonly isWritable: boolean, private readonly closed: (mapping: FileMapping) => void) {
    this.held = held;
    this.ownRuns = held.runs.map(({ offsetBytes, lengthBytes, addressBytes }) => ({
      offset: offsetBytes, length: lengthBytes,
      bytes: addressBytes === undefined ? undefined : host.wrapBytes(held.device.data.subarray(addressBytes, addressBytes + lengthBytes)) as Bytes,
    }));
    const first = this.ownRuns[0]!;
    const last = this.ownRuns.at(-1)!;
    this.offset = first.offset;
    this.length = last.offset + last.length - first.offset;
  }

  /** Ascending, without gaps. None once it is closed: views that were kept are then of memory that may become another file's. */
  get runs(): readonly MappedRun<Bytes>[] {
    return this.ownRuns;
  }

  /**
   * Returns when what was stored is durable, with all that is needed to find it; sets the file's times, if it may be stored into. @param offset in the file; default: the mapping's first byte.
   * @param length default: to the mapping's end. @throws FsError EBADF it is closed; EIO.
   */
  async msync(offset?: number, length?: number): Promise<void> {
    await this.runner.runAsync(this.sync(offset, length), "msync");
  }

  msyncSync(offset?: number, length?: number): void {
    this.runner.runSync(this.sync(offset, length), "msync");
  }

  /** Lets go of the pages, once, however often it is called. What was stored is not lost, but durable only after msync. */
  async close(): Promise<void> {
    if (this.held !== undefined) await this.runner.runAsync(this.end(), "munmap");
  }

  closeSync(): void {
    if (this.held !== undefined) this.runner.runSync(this.end(), "munmap");
  }

  private *sync(offset = this.offset, length = this.offset + this.length - offset): Task<void> {
    if (this.held === undefined) throw new FsError("EBADF", "the mapping is closed", { syscall: "msync" });
    yield* inContext({ syscall: "msync" }, this.held.sync(offset, offset + length));
  }

  /** For the volume, which ends what is left. */
  *end(): Task<void> {
    const { held } = this;
    if (held === undefined) return;
    this.held = undefined;
    this.ownRuns = [];
    held.release();
    this.closed(this);
    yield* this.file.put();
  }
}
