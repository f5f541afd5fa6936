/**
 * A real image, mounted for writing, whose inodes' attributes are changed by their own functions. Handles, allocators and maps are the real ones, so e2fsck may judge all of it.
 */
import { join } from "node:path";
import { MemoryDevice } from "../../src/block/memory.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import { mountExt4, readSuperblock } from "../../src/ext4/mount.js";
import { mountWritable, unmountExt4 } from "../../src/ext4/mount-writable.js";
import { withSpaceRetry } from "../../src/ext4/space.js";
import { Ext4, type Ext4MountOptions } from "../../src/ext4/super.js";
import { setXattr, xattrCredits, type XattrFlags } from "../../src/ext4/xattr-write.js";
import type { Handle } from "../../src/jbd2/handle.js";
import { FsError } from "../../src/lib/errno.js";
import { ManualClock } from "../../src/sched/clock.js";
import { Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import { attempt, readImage, run, temporaryFolder, writeImage } from "./host.js";

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"));

export interface XattrWorldOptions {
  readonly sizeMib?: number;
  /** For debugfs: what the image has in its root. */
  readonly commands: readonly string[];
  readonly mount?: Ext4MountOptions;
}

export class XattrWorld {
  readonly scheduler = new Scheduler();
  readonly image = join(temporaryFolder(), "disk.img");
  fs!: Ext4;
  private memory!: Uint8Array;

  constructor(args: readonly string[], private readonly options: XattrWorldOptions) {
    run("mke2fs", ["-q", "-F", ...args, this.image, `${options.sizeMib ?? 16}M`]);
    run("debugfs", ["-w", "-f", "-", this.image], { input: options.commands.join("\n") });
    this.mount();
  }

  mount(): void {
    this.memory = readImage(this.image);
    const device = new MemoryDevice(this.memory);
    const options = { readOnly: false, clock: new ManualClock(1_700_000_000, 1), ...this.options.mount };
    this.fs = this.run((function* () {
      return yield* mountWritable(new Ext4(device, yield* readSuperblock(device, true), options));
    })());
  }

  /** Leaves the filesystem as it was found, in the file. */
  save(): void {
    this.run(unmountExt4(this.fs));
    writeImage(this.image, this.memory);
  }

  /** Saves, has e2fsck look, and mounts again. @returns what e2fsck complains of. */
  check(): string {
    this.save();
    const { status, stdout } = attempt("e2fsck", ["-fn", this.image]);
    this.mount();
    return status === 0 ? "" : stdout;
  }

  /** The image as it stands, mounted by itself, for reading. */
  reread(): Ext4 {
    return this.run(mountExt4(new MemoryDevice(readImage(this.image), { readOnly: true })));
  }

  run<T>(task: Task<T>): T {
    return this.scheduler.runSync(task);
  }

  find(name: string, fs = this.fs): Ext4Inode {
    return this.run(fs.root.lookup(bytes(name))) as Ext4Inode;
  }

  /** `work` in a handle of its own, with the inode locked, as the system calls do it. */
  *changing<T>(inode: Ext4Inode, credits: number, work: (handle: Handle) => Task<T>): Task<T> {
    const { fs } = this;
    if (!inode.i_rwsem.tryWrite()) yield* inode.i_rwsem.write();
    try {
      return yield* withSpaceRetry(fs, function* () {
        const handle = yield* fs.journal.start(credits);
        try {
          return yield* work(handle);
        } finally {
          handle.stop();
        }
      });
    } finally {
      inode.i_rwsem.unlockWrite();
    }
  }

  *setting(inode: Ext4Inode, name: string, value: Uint8Array | undefined, flags?: XattrFlags): Task<void> {
    yield* this.changing(inode, xattrCredits(this.fs, value?.length ?? 0), (handle) => setXattr(handle, this.fs, inode, bytes(name), value, flags));
  }

  /** @returns the error's code, or "". */
  set(inode: Ext4Inode, name: string, value: Uint8Array | undefined, flags?: XattrFlags): string {
    try {
      this.run(this.setting(inode, name, value, flags));
      return "";
    } catch (error) {
      if (error instanceof FsError) return error.code;
      throw error;
    }
  }

  /** All that can be listed, values in hexadecimal. */
  attributes(inode: Ext4Inode): Record<string, string> {
    return this.run((function* () {
      const found: Record<string, string> = {};
      for (const name of yield* inode.listxattr()) found[Buffer.from(name).toString("latin1")] = Buffer.from((yield* inode.getxattr(name))!).toString("hex");
      return found;
    })());
  }
}
