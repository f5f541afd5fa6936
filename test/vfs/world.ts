/** Processes on a filesystem in memory, driven call by call; or several at a time, to see who waits for whom. */
import { MemoryDevice } from "../../src/block/memory.js";
import { mountExt4 } from "../../src/ext4/mount.js";
import { unmountExt4 } from "../../src/ext4/mount-writable.js";
import type { Ext4 } from "../../src/ext4/super.js";
import { FsError } from "../../src/lib/errno.js";
import { ManualClock } from "../../src/sched/clock.js";
import { Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import { Kernel, type KernelOptions } from "../../src/vfs/kernel.js";
import type { MountFlags } from "../../src/vfs/mount.js";
import { O_CREAT, O_WRONLY } from "../../src/vfs/flags.js";
import type { Credentials } from "../../src/vfs/permission.js";
import type { Process } from "../../src/vfs/process.js";
import { makeImage } from "../support/allocation-world.js";
import { readImage } from "../support/host.js";

export interface WorldOptions {
  readonly mke2fs?: readonly string[];
  readonly size?: string;
  /** An image that is there already; it is not touched. */
  readonly image?: string;
  readonly kernel?: KernelOptions;
  readonly flags?: MountFlags;
}

export class ProcessWorld {
  readonly device: MemoryDevice;
  readonly scheduler = new Scheduler();
  readonly clock = new ManualClock(1_700_000_000);
  readonly kernel: Kernel;
  fs!: Ext4;
  /** Root's. */
  process!: Process;

  constructor({ mke2fs = ["-b", "4096"], size = "32M", image = makeImage(mke2fs, size), kernel = {}, flags = {} }: WorldOptions = {}) {
    this.device = new MemoryDevice(readImage(image));
    this.kernel = new Kernel(kernel);
    this.mount(false, flags);
  }

  mount(readOnly = false, flags: MountFlags = {}): void {
    this.fs = this.run(mountExt4(this.device, { readOnly, clock: this.clock }));
    this.kernel.mountRoot(this.fs, flags);
    this.process = this.kernel.spawn();
  }

  /** Ends all processes and unmounts. */
  unmount(): void {
    for (const process of [...this.kernel.processes.values()]) this.run(process.exit());
    this.kernel.unmountRoot();
    this.run(unmountExt4(this.fs));
  }

  spawn(cred: Partial<Credentials> = {}): Process {
    return this.kernel.spawn({ uid: 0, gid: 0, groups: [], umask: 0o022, ...cred });
  }

  run<T>(task: Task<T>): T {
    return this.scheduler.runSync(task);
  }

  /** The result, or the error's code. */
  outcome<T>(task: Task<T>): T | string {
    try {
      return this.run(task);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      return error.code;
    }
  }

  /** A file with these bytes. */
  file(path: string, bytes: Uint8Array | string, mode = 0o644): void {
    const { process } = this;
    const fd = this.run(process.open(path, O_WRONLY | O_CREAT, mode));
    this.run(process.write(fd, typeof bytes === "string" ? text(bytes) : bytes));
    this.run(process.close(fd));
    this.run(process.chmod(path, mode));
  }

  /** What a path leads to, as text. */
  contents(path: string): string {
    const fd = this.run(this.process.open(path, 0));
    const bytes = new Uint8Array(this.run(this.process.fstat(fd)).stx_size);
    this.run(this.process.read(fd, bytes));
    this.run(this.process.close(fd));
    return new TextDecoder().decode(bytes);
  }
}

export const text = (value: string): Uint8Array => new TextEncoder().encode(value);
