/** What the promise surface opens: a file's handle, and a directory read entry by entry. Both are Node's shapes. */
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { S_IFMT, type Inode } from "../vfs/inode.js";
import type { Changes, FileData, TimeLike, WriteFileOptions, WriteOptions } from "./changes.js";
import type { ReadOptions } from "./operations.js";
import { decodeAs, type BufferEncoding } from "./path.js";
import { Dirent, type BigIntStats, type Stats } from "./stats.js";

/** How a handle gets its tasks run. */
export interface Runner {
  runSync<T>(task: Task<T>, name?: string): T;
  runAsync<T>(task: Task<T>, name?: string): Promise<T>;
}

export class FileHandle {
  constructor(private readonly runner: Runner, private readonly operations: Changes, readonly fd: number) {}

  read(buffer: Uint8Array, options?: ReadOptions): Promise<{ bytesRead: number; buffer: Uint8Array }>;
  read(buffer: Uint8Array, offset?: number, length?: number, position?: number | bigint | null): Promise<{ bytesRead: number; buffer: Uint8Array }>;
  async read(buffer: Uint8Array, offset?: number | ReadOptions, length?: number, position?: number | bigint | null): Promise<{ bytesRead: number; buffer: Uint8Array }> {
    return { bytesRead: await this.runner.runAsync(this.operations.read(this.fd, buffer, offset, length, position), "read"), buffer };
  }

  readFile(options?: null | { encoding?: null | undefined }): Promise<Uint8Array>;
  readFile(options: BufferEncoding | { encoding: BufferEncoding }): Promise<string>;
  readFile(options?: null | BufferEncoding | { encoding?: BufferEncoding | null | undefined }): Promise<Uint8Array | string> {
    return this.runner.runAsync(this.operations.readFile(this.fd, options), "readFile");
  }

  stat(options?: { bigint?: false | undefined }): Promise<Stats>;
  stat(options: { bigint: true }): Promise<BigIntStats>;
  stat(options?: { bigint?: boolean | undefined }): Promise<Stats | BigIntStats> {
    return this.runner.runAsync(this.operations.fstat(this.fd, options), "stat");
  }

  write(data: ArrayBufferView, offset?: number | null | WriteOptions, length?: number | null, position?: number | bigint | null): Promise<{ bytesWritten: number; buffer: ArrayBufferView }>;
  write(data: string, position?: number | null, encoding?: BufferEncoding | null): Promise<{ bytesWritten: number; buffer: string }>;
  async write<Data extends ArrayBufferView | string>(
    data: Data, offset?: number | null | WriteOptions, length?: number | string | null, position?: number | bigint | null,
  ): Promise<{ bytesWritten: number; buffer: Data }> {
    return { bytesWritten: await this.runner.runAsync(this.operations.write(this.fd, data, offset, length, position), "write"), buffer: data };
  }

  async writev(buffers: readonly ArrayBufferView[], position?: number | null): Promise<{ bytesWritten: number; buffers: readonly ArrayBufferView[] }> {
    return { bytesWritten: await this.runner.runAsync(this.operations.writev(this.fd, buffers, position), "write"), buffers };
  }

  async readv(buffers: readonly ArrayBufferView[], position?: number | null): Promise<{ bytesRead: number; buffers: readonly ArrayBufferView[] }> {
    return { bytesRead: await this.runner.runAsync(this.operations.readv(this.fd, buffers, position), "read"), buffers };
  }

  writeFile(data: FileData, options?: BufferEncoding | null | WriteFileOptions): Promise<void> {
    return this.runner.runAsync(this.operations.writeFile(this.fd, data, options), "writeFile");
  }

  appendFile(data: FileData, options?: BufferEncoding | null | WriteFileOptions): Promise<void> {
    return this.writeFile(data, options);
  }

  truncate(length?: number): Promise<void> {
    return this.runner.runAsync(this.operations.ftruncate(this.fd, length), "truncate");
  }

  /** Returns when the file is on stable storage. */
  sync(): Promise<void> {
    return this.runner.runAsync(this.operations.fsync(this.fd), "fsync");
  }

  datasync(): Promise<void> {
    return this.runner.runAsync(this.operations.fdatasync(this.fd), "fdatasync");
  }

  chmod(mode: number | string): Promise<void> {
    return this.runner.runAsync(this.operations.fchmod(this.fd, mode), "chmod");
  }

  chown(uid: number, gid: number): Promise<void> {
    return this.runner.runAsync(this.operations.fchown(this.fd, uid, gid), "chown");
  }

  utimes(atime: TimeLike, mtime: TimeLike): Promise<void> {
    return this.runner.runAsync(this.operations.futimes(this.fd, atime, mtime), "utimes");
  }

  close(): Promise<void> {
    return this.runner.runAsync(this.operations.close(this.fd), "close");
  }

}

const BATCH_ENTRIES = 64;

/** As Node's fs.Dir. Entries come in batches, so a directory of any size takes little memory. */
export class Dir {
  private batch: Dirent[] = [];
  private positionOnDisk = 0;
  private isAtEnd = false;
  private isClosed = false;

  constructor(private readonly runner: Runner, private readonly inode: Inode, readonly path: string) {}

  readSync(): Dirent | null {
    return this.runner.runSync(this.next(), "readdir");
  }

  read(): Promise<Dirent | null> {
    return this.runner.runAsync(this.next(), "readdir");
  }

  closeSync(): void {
    this.checkOpen();
    this.isClosed = true;
  }

  async close(): Promise<void> {
    this.closeSync();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Dirent, void> {
    try {
      for (let entry = await this.read(); entry !== null; entry = await this.read()) yield entry;
    } finally {
      if (!this.isClosed) this.closeSync();
    }
  }

  private checkOpen(): void {
    if (this.isClosed) throw Object.assign(new Error("Directory handle was closed"), { code: "ERR_DIR_CLOSED" });
  }

  private *next(): Task<Dirent | null> {
    this.checkOpen();
    if (this.batch.length === 0 && !this.isAtEnd) yield* this.refill();
    return this.batch.shift() ?? null;
  }

  private *refill(): Task<void> {
    const taken: { name: Uint8Array; ino: number; type: number }[] = [];
    const context = {
      pos: this.positionOnDisk,
      actor(name: Uint8Array, ino: number, type: number): boolean {
        if (taken.length === BATCH_ENTRIES) return false;
        const isDots = name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e));
        if (!isDots) taken.push({ name, ino, type });
        return true;
      },
    };
    try {
      yield* this.inode.iterate(context);
    } catch (error) {
      throw error instanceof FsError ? error.addContext({ syscall: "scandir", path: this.path }) : error;
    }
    this.isAtEnd = taken.length < BATCH_ENTRIES;
    this.positionOnDisk = context.pos;
    for (const { name, ino, type } of taken) {
      const mode = type !== 0 ? type << 12 : (yield* this.inode.i_sb.iget(ino)).i_mode & S_IFMT;
      this.batch.push(new Dirent(decodeAs(name, "utf8"), this.path, mode));
    }
  }
}
