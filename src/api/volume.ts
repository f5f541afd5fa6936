/**
 * A mounted volume as a program sees it: Node's fs, sync on the volume itself and with promises under `promises`, and what ext4 has beyond.
 */
import type { BlockDevice } from "../block/device.js";
import { FsError } from "../lib/errno.js";
import type { Scheduler } from "../sched/scheduler.js";
import type { Task } from "../sched/task.js";
import type { Ext4 } from "../ext4/super.js";
import { constants } from "./constants.js";
import { Dir, FileHandle, type OpendirOptions, type Runner } from "./handles.js";
import { unmountExt4 } from "../ext4/mount-writable.js";
import { Kernel } from "../vfs/kernel.js";
import { ROOT, type Credentials } from "../vfs/permission.js";
import type { Process } from "../vfs/process.js";
import { Changes } from "./changes.js";
import type { Host } from "./context.js";
import { shownPath, type BufferEncoding, type PathLike, type WithEncoding } from "./path.js";
import { DESCRIPTOR_OPERATIONS, PATH_OPERATIONS, type PromiseSurface, type SyncSurface } from "./surfaces.js";

/** @typeParam Bytes what this host gives bytes in: Buffer in Node. */
export interface VolumePromises<Bytes extends Uint8Array = Uint8Array> extends PromiseSurface<Bytes> {
  open(path: PathLike, flags?: string | number | null, mode?: number): Promise<FileHandle<Bytes>>;
  opendir(path: PathLike, options?: TextDirOptions): Promise<Dir>;
  opendir(path: PathLike, options: BytesDirOptions): Promise<Dir<Bytes>>;
}

type TextDirOptions = BufferEncoding | null | (OpendirOptions & { encoding?: BufferEncoding | null | undefined });
type BytesDirOptions = "buffer" | (OpendirOptions & { encoding: "buffer" });

// The sync surface is put on the prototype below; declaration merging gives it its types.
// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface Volume<Bytes extends Uint8Array = Uint8Array> extends SyncSurface<Bytes> {}

// eslint-disable-next-line @typescript-eslint/no-unsafe-declaration-merging
export class Volume<Bytes extends Uint8Array = Uint8Array> implements Runner {
  readonly constants = constants;
  readonly promises: VolumePromises<Bytes>;
  protected readonly operations: Changes;
  private isOpen = true;
  private kernel: Kernel | undefined;

  constructor(
    /** The engine, for those who need more than fs: inodes, maps, the superblock. */
    readonly fs: Ext4,
    private readonly scheduler: Scheduler,
    host: Host,
    /** What is closed with the volume. */
    private readonly devices: readonly BlockDevice[],
    /** As whom files are used. */
    credentials: Credentials = ROOT,
  ) {
    this.operations = new Changes(fs, host, credentials, this);
    this.promises = promiseSurface(this, this.operations) as VolumePromises<Bytes>;
  }

  /** Bytes of a filesystem block: the unit of fiemap. */
  get blockSize(): number {
    return this.fs.blockBytes;
  }

  opendirSync(path: PathLike, options?: TextDirOptions): Dir;
  opendirSync(path: PathLike, options: BytesDirOptions): Dir<Bytes>;
  opendirSync(path: PathLike, options?: WithEncoding<OpendirOptions>): Dir<string | Bytes> {
    return new Dir(this, this.operations.host, this.runSync(this.operations.openDirectory(path), "opendir"), shownPath(path), options);
  }

  /**
   * A process on this volume, with descriptors, credentials and memory of its own: it opens and maps files, loads and stores, forks and executes. Its calls are tasks, driven by `runSync` or
   * `runAsync`: `volume.runSync(process.mmap(0, 4096, mman.PROT_READ, mman.MAP_SHARED, fd))`. It ends with the volume, if not before.
   * @param credentials whose rights it has. Default: root's.
   */
  spawn(credentials: Partial<Credentials> = {}): Process {
    this.checkOpen();
    if (this.kernel === undefined) {
      this.kernel = new Kernel({ events: this.fs.events });
      this.kernel.mountRoot(this.fs);
    }
    return this.kernel.spawn({ ...ROOT, ...credentials });
  }

  /**
   * Closes what is open, writes what is in memory, and lets go of the device. Every later call is EBADF.
   * @throws FsError EIO what was not durable yet could not be written; the volume is closed all the same.
   */
  closeSync(fd?: number): void {
    if (fd !== undefined) return this.runSync(this.operations.close(fd), "close");
    this.runSync(this.unmount(), "unmount");
  }

  async close(): Promise<void> {
    await this.runAsync(this.unmount(), "unmount");
  }

  private *unmount(): Task<void> {
    try {
      for (const process of [...(this.kernel?.processes.values() ?? [])]) yield* process.exit();
      yield* this.operations.closeAll();
      yield* unmountExt4(this.fs);
    } finally {
      for (const device of this.devices) yield* device.close();
      this.isOpen = false;
    }
  }

  /** Drives a task of the engine. @throws FsError EOPNOTSUPP the device is read by promises only. */
  runSync<T>(task: Task<T>, name?: string): T {
    this.checkOpen();
    return this.scheduler.runSync(this.fs.operation(task), name);
  }

  async runAsync<T>(task: Task<T>, name?: string): Promise<T> {
    this.checkOpen();
    return await this.scheduler.runAsync(this.fs.operation(task), name);
  }

  private checkOpen(): void {
    if (!this.isOpen) throw new FsError("EBADF", "the volume is closed");
  }
}

type TaskMethod = (this: Changes, ...args: unknown[]) => Task<unknown>;
const methodOf = (name: string): TaskMethod => (Changes.prototype as unknown as Record<string, TaskMethod>)[name]!;

for (const name of [...PATH_OPERATIONS, ...DESCRIPTOR_OPERATIONS]) {
  if (name === "close") continue; // the volume's own closeSync has a second meaning
  const method = methodOf(name);
  Object.defineProperty(Volume.prototype, `${name}Sync`, {
    configurable: true, writable: true,
    value(this: Volume & { operations: Changes }, ...args: unknown[]) {
      return this.runSync(method.apply(this.operations, args), name);
    },
  });
}

function promiseSurface(volume: Volume, operations: Changes): VolumePromises {
  const surface: Record<string, unknown> = {
    async open(path: PathLike, flags?: string | number | null, mode?: number) {
      return new FileHandle(volume, operations, await volume.runAsync(operations.holding((call) => call.open(path, flags, mode)), "open"));
    },
    async opendir(path: PathLike, options?: WithEncoding<OpendirOptions>) {
      return new Dir(volume, operations.host, await volume.runAsync(operations.openDirectory(path), "opendir"), shownPath(path), options);
    },
  };
  for (const name of PATH_OPERATIONS) {
    const method = methodOf(name);
    surface[name] = async (...args: unknown[]) => await volume.runAsync(operations.holding((call) => method.apply(call, args)), name);
  }
  return surface as unknown as VolumePromises;
}
