/** What the promise surface opens: a file's handle, and a directory read entry by entry. Both are Node's shapes. */
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { S_IFDIR, type Inode } from "../vfs/inode.js";
import { withReadLock } from "../vfs/inode-lock.js";
import type { WalkEntry } from "../vfs/walk.js";
import type { Changes, FileData, TimeLike, WriteFileOptions, WriteOptions } from "./changes.js";
import { inContext, type Host } from "./context.js";
import { childOf, childPath, entryName, entryType } from "./entries.js";
import type { ReadOptions } from "./operations.js";
import type { FileMapping, MapOptions } from "./mapping.js";
import { checkInteger, optionsOf, type BufferEncoding, type WithEncoding } from "./path.js";
import { Dirent, type BigIntStats, type Stats } from "./stats.js";

/** How a handle gets its tasks run. */
export interface Runner {
  runSync<T>(task: Task<T>, name?: string): T;
  runAsync<T>(task: Task<T>, name?: string): Promise<T>;
}

export interface ReadResult<Buffer extends ArrayBufferView> {
  readonly bytesRead: number;
  readonly buffer: Buffer;
}

const READ_BYTES = 16 * 1024;

export class FileHandle<Bytes extends Uint8Array = Uint8Array> {
  private closing: Promise<void> | undefined;

  constructor(private readonly runner: Runner, private readonly operations: Changes, private descriptor: number) {}

  /** -1 once the handle is closed: the number may then be another file's. */
  get fd(): number {
    return this.descriptor;
  }

  /** Reads into a buffer of the caller's, or into a new one of 16 KiB. Without a position, reads on where the last read ended. */
  read<Buffer extends ArrayBufferView>(buffer: Buffer, offset?: number | null, length?: number | null, position?: number | bigint | null): Promise<ReadResult<Buffer>>;
  read<Buffer extends ArrayBufferView>(buffer: Buffer, options: ReadOptions): Promise<ReadResult<Buffer>>;
  read<Buffer extends ArrayBufferView>(options: ReadOptions & { buffer: Buffer }): Promise<ReadResult<Buffer>>;
  read(options?: ReadOptions & { buffer?: undefined }): Promise<ReadResult<Bytes>>;
  async read(
    first?: ArrayBufferView | (ReadOptions & { buffer?: ArrayBufferView | undefined }), second?: number | ReadOptions | null, length?: number | null, position?: number | bigint | null,
  ): Promise<ReadResult<ArrayBufferView>> {
    const isBuffer = ArrayBuffer.isView(first);
    const buffer = isBuffer ? first : first?.buffer ?? this.operations.host.wrapBytes(new Uint8Array(READ_BYTES));
    const task = isBuffer ? this.operations.read(this.open("read"), buffer, second, length, position) : this.operations.read(this.open("read"), buffer, first);
    return { bytesRead: await this.runner.runAsync(task, "read"), buffer };
  }

  readFile(options?: null | { encoding?: null | undefined }): Promise<Bytes>;
  readFile(options: BufferEncoding | { encoding: BufferEncoding }): Promise<string>;
  readFile(options?: null | BufferEncoding | { encoding?: BufferEncoding | null | undefined }): Promise<Bytes | string>;
  async readFile(options?: null | BufferEncoding | { encoding?: BufferEncoding | null | undefined }): Promise<Uint8Array | string> {
    return await this.runner.runAsync(this.operations.readFile(this.open("readFile"), options), "readFile");
  }

  stat(options?: { bigint?: false | undefined }): Promise<Stats>;
  stat(options: { bigint: true }): Promise<BigIntStats>;
  async stat(options?: { bigint?: boolean | undefined }): Promise<Stats | BigIntStats> {
    return await this.runner.runAsync(this.operations.fstat(this.open("fstat"), options), "stat");
  }

  write(data: ArrayBufferView, offset?: number | null | WriteOptions, length?: number | null, position?: number | bigint | null): Promise<{ bytesWritten: number; buffer: ArrayBufferView }>;
  write(data: string, position?: number | null, encoding?: BufferEncoding | null): Promise<{ bytesWritten: number; buffer: string }>;
  async write<Data extends ArrayBufferView | string>(
    data: Data, offset?: number | null | WriteOptions, length?: number | string | null, position?: number | bigint | null,
  ): Promise<{ bytesWritten: number; buffer: Data }> {
    return { bytesWritten: await this.runner.runAsync(this.operations.write(this.open("write"), data, offset, length, position), "write"), buffer: data };
  }

  async writev(buffers: readonly ArrayBufferView[], position?: number | null): Promise<{ bytesWritten: number; buffers: readonly ArrayBufferView[] }> {
    return { bytesWritten: await this.runner.runAsync(this.operations.writev(this.open("write"), buffers, position), "write"), buffers };
  }

  async readv(buffers: readonly ArrayBufferView[], position?: number | null): Promise<{ bytesRead: number; buffers: readonly ArrayBufferView[] }> {
    return { bytesRead: await this.runner.runAsync(this.operations.readv(this.open("read"), buffers, position), "read"), buffers };
  }

  async writeFile(data: FileData, options?: BufferEncoding | null | WriteFileOptions): Promise<void> {
    await this.runner.runAsync(this.operations.writeFile(this.open("writeFile"), data, options), "writeFile");
  }

  appendFile(data: FileData, options?: BufferEncoding | null | WriteFileOptions): Promise<void> {
    return this.writeFile(data, options);
  }

  /** Views of the file's bytes where they lie; as Volume's map. They outlive the handle. */
  async map(offset: number, length: number, options?: MapOptions): Promise<FileMapping<Bytes>> {
    return await this.runner.runAsync(this.operations.map(this.open("mmap"), offset, length, options), "map") as FileMapping<Bytes>;
  }

  async truncate(length?: number): Promise<void> {
    await this.runner.runAsync(this.operations.ftruncate(this.open("ftruncate"), length), "truncate");
  }

  /** Returns when the file is on stable storage. */
  async sync(): Promise<void> {
    await this.runner.runAsync(this.operations.fsync(this.open("fsync")), "fsync");
  }

  async datasync(): Promise<void> {
    await this.runner.runAsync(this.operations.fdatasync(this.open("fdatasync")), "fdatasync");
  }

  async chmod(mode: number | string): Promise<void> {
    await this.runner.runAsync(this.operations.fchmod(this.open("fchmod"), mode), "chmod");
  }

  async chown(uid: number, gid: number): Promise<void> {
    await this.runner.runAsync(this.operations.fchown(this.open("fchown"), uid, gid), "chown");
  }

  async utimes(atime: TimeLike, mtime: TimeLike): Promise<void> {
    await this.runner.runAsync(this.operations.futimes(this.open("futimes"), atime, mtime), "utimes");
  }

  /** Closes once, however often it is called. */
  close(): Promise<void> {
    this.closing ??= this.runner.runAsync(this.operations.close(this.descriptor), "close");
    this.descriptor = -1;
    return this.closing;
  }

  private open(syscall: string): number {
    if (this.closing !== undefined) throw new FsError("EBADF", "file closed", { syscall });
    return this.descriptor;
  }
}

export interface OpendirOptions {
  encoding?: string | null | undefined;
  /** Entries that are fetched at once. Default 64. */
  bufferSize?: number | undefined;
  /** Directories below, too, after those that they are in. Symbolic links are not followed. */
  recursive?: boolean | undefined;
}

const BATCH_ENTRIES = 64;

/** As Node's fs.Dir. Entries come in batches, so a directory of any size takes little memory. */
export class Dir<Name extends string | Uint8Array = string> {
  private readonly batch: Dirent<Name>[] = [];
  private readonly encoding: string | undefined;
  private readonly batchEntries: number;
  private readonly isRecursive: boolean;
  /** What is still to be read, first the directory that is being read. */
  private readonly pending: { inode: Inode; parentPath: string; positionOnDisk: number }[];
  private readonly entered = new Set<number>();
  private isClosed = false;
  /** Promise-based calls that have not ended, and the last of them: each begins when the one before it is done. */
  private callsInProgress = 0;
  private lastCall: Promise<unknown> = Promise.resolve();

  constructor(private readonly runner: Runner, private readonly host: Host, inode: Inode, readonly path: string, options?: WithEncoding<OpendirOptions>) {
    const { encoding, bufferSize = BATCH_ENTRIES, recursive } = optionsOf(options);
    checkInteger(bufferSize, "options.bufferSize", 1);
    this.encoding = encoding;
    this.batchEntries = bufferSize;
    this.isRecursive = recursive === true;
    this.pending = [{ inode, parentPath: path, positionOnDisk: 0 }];
    this.entered.add(inode.i_ino);
  }

  readSync(): Dirent<Name> | null {
    this.checkIdle();
    return this.runner.runSync(this.next(), "readdir");
  }

  async read(): Promise<Dirent<Name> | null> {
    this.checkOpen();
    return await this.inTurn(() => this.runner.runAsync(this.next(), "readdir"));
  }

  closeSync(): void {
    this.checkIdle();
    this.isClosed = true;
  }

  async close(): Promise<void> {
    this.checkOpen();
    this.isClosed = true;
    await this.lastCall;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Dirent<Name>, void> {
    try {
      for (let entry = await this.read(); entry !== null; entry = await this.read()) yield entry;
    } finally {
      if (!this.isClosed) await this.close();
    }
  }

  private checkOpen(): void {
    if (this.isClosed) throw Object.assign(new Error("Directory handle was closed"), { code: "ERR_DIR_CLOSED" });
  }

  private checkIdle(): void {
    this.checkOpen();
    if (this.callsInProgress === 0) return;
    throw Object.assign(new Error("Cannot do synchronous work on directory handle with concurrent asynchronous operations"), { code: "ERR_DIR_CONCURRENT_OPERATION" });
  }

  private async inTurn<T>(call: () => Promise<T>): Promise<T> {
    this.callsInProgress++;
    const result = this.lastCall.then(call);
    this.lastCall = result.catch(() => undefined);
    try {
      return await result;
    } finally {
      this.callsInProgress--;
    }
  }

  private *next(): Task<Dirent<Name> | null> {
    while (this.batch.length === 0 && this.pending.length > 0) yield* this.refill(this.pending[0]!);
    return this.batch.shift() ?? null;
  }

  private *refill(directory: { inode: Inode; parentPath: string; positionOnDisk: number }): Task<void> {
    const { batchEntries } = this;
    const { inode, parentPath } = directory;
    const taken: WalkEntry[] = [];
    const context = {
      pos: directory.positionOnDisk,
      actor(name: Uint8Array, ino: number, type: number): boolean {
        if (taken.length === batchEntries) return false;
        const isDots = name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e));
        if (!isDots) taken.push({ name, ino, type });
        return true;
      },
    };
    yield* inContext({ syscall: "scandir", path: this.path }, withReadLock(inode, () => inode.iterate(context)));
    directory.positionOnDisk = context.pos;
    if (taken.length < batchEntries) this.pending.shift();
    for (const entry of taken) {
      const type = yield* entryType(inode, entry);
      this.batch.push(new Dirent(entryName(this.host, entry.name, this.encoding) as Name, parentPath, type));
      if (!this.isRecursive || type !== S_IFDIR || this.entered.has(entry.ino)) continue;
      this.entered.add(entry.ino);
      const child = yield* childOf(inode, entry);
      if (child?.isDirectory() === true) this.pending.push({ inode: child, parentPath: childPath(parentPath, entry.name), positionOnDisk: 0 });
    }
  }
}
