/** One directory, /d, of a filesystem in memory, changed by the directory code alone: its names lead to a few files, whose link counts are put right before e2fsck looks. */
import { join } from "node:path";
import { expect } from "vitest";
import { MemoryDevice } from "../../src/block/memory.js";
import { directoryCredits } from "../../src/ext4/dir-write.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import { readSuperblock } from "../../src/ext4/mount.js";
import { mountWritable, unmountExt4 } from "../../src/ext4/mount-writable.js";
import { Ext4 } from "../../src/ext4/super.js";
import type { Handle } from "../../src/jbd2/handle.js";
import { FsError } from "../../src/lib/errno.js";
import { Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import { listDirectory, type WalkEntry } from "../../src/vfs/walk.js";
import { attempt, readImage, run, temporaryFolder, writeImage } from "./host.js";

/** What names lead to: /f0 and so on. */
const FILES = 4;

export interface DirWorldOptions {
  readonly sizeMib?: number;
  /** For tune2fs, then for debugfs, when the directory and the files are there. */
  readonly tune?: readonly string[];
  readonly commands?: readonly string[];
  /** Blocks that the directory may still take. */
  readonly blocksMax?: number;
  /** An image that is there already; it is not touched. */
  readonly image?: string;
  readonly verifyChecksums?: boolean;
}

export class DirWorld {
  readonly scheduler = new Scheduler();
  /** These are others after each reread. */
  fs!: Ext4;
  dir!: Ext4Inode;
  files: Ext4Inode[] = [];
  private blocksLeft: number;
  private readonly device: MemoryDevice;
  private readonly image = join(temporaryFolder(), "disk.img");

  constructor(args: readonly string[], private readonly options: DirWorldOptions = {}) {
    this.blocksLeft = options.blocksMax ?? Infinity;
    if (options.image === undefined) this.make(args);
    this.device = new MemoryDevice(readImage(options.image ?? this.image));
    this.mount();
  }

  private make(args: readonly string[]): void {
    const { sizeMib = 16, tune, commands = [] } = this.options;
    run("mke2fs", ["-q", "-F", ...args, this.image, `${sizeMib}M`]);
    if (tune !== undefined) run("tune2fs", [...tune, this.image]);
    const files = Array.from({ length: FILES }, (_, index) => `write /dev/null f${index}`);
    run("debugfs", ["-w", "-f", "-", this.image], { input: ["mkdir d", ...files, ...commands].join("\n") });
  }

  private mount(): void {
    const { verifyChecksums } = this.options;
    const sb = this.run(readSuperblock(this.device, verifyChecksums ?? true));
    this.fs = this.run(mountWritable(new Ext4(this.device, sb, { readOnly: false, verifyChecksums })));
    this.limitBlocks();
    this.dir = this.find("d");
    this.files = Array.from({ length: FILES }, (_, index) => this.find(`f${index}`));
  }

  private limitBlocks(): void {
    const { allocator } = this.fs;
    const claim = allocator.claim.bind(allocator);
    const release = allocator.release.bind(allocator);
    allocator.claim = (request) => {
      if (this.blocksLeft === 0) throw new FsError("ENOSPC");
      this.blocksLeft--;
      return claim(request);
    };
    allocator.release = (run) => {
      this.blocksLeft++;
      release(run);
    };
  }

  private find(name: string): Ext4Inode {
    return this.run(this.fs.root.lookup(new TextEncoder().encode(name))) as Ext4Inode;
  }

  run<T>(task: Task<T>): T {
    return this.scheduler.runSync(task);
  }

  /** Runs `work` in one handle with the directory locked, and sees to it that the credits for one change would have done. */
  change<T>(work: (handle: Handle) => Task<T>): T {
    const { fs, dir } = this;
    const credits = directoryCredits(fs);
    return this.run((function* () {
      if (!dir.i_rwsem.tryWrite()) yield* dir.i_rwsem.write();
      try {
        const handle = yield* fs.journal.start(credits);
        const before = handle.transaction.buffers.size;
        try {
          return yield* work(handle);
        } finally {
          expect(handle.transaction.buffers.size - before).toBeLessThanOrEqual(credits);
          handle.stop();
        }
      } finally {
        dir.i_rwsem.unlockWrite();
      }
    })());
  }

  list(): WalkEntry[] {
    return this.run(listDirectory(this.dir));
  }

  /** The image's bytes as on the device. */
  get bytes(): Uint8Array {
    return this.device.bytes;
  }

  /** Unmounts, and mounts again. */
  reread(): void {
    this.countLinks();
    this.run(unmountExt4(this.fs));
    writeImage(this.image, this.device.bytes);
    this.mount();
  }

  private countLinks(): void {
    const counts = new Map<number, number>();
    for (const { ino } of this.list()) counts.set(ino, (counts.get(ino) ?? 0) + 1);
    for (const file of this.files) {
      file.i_nlink = 1 + (counts.get(file.i_ino) ?? 0);
      this.change((handle) => file.markDirty(handle));
    }
  }

  /** The image in a file, unmounted. */
  save(): string {
    this.reread();
    return this.image;
  }

  /** What e2fsck finds: nothing. */
  complaints(): string[] {
    const { status, stdout } = attempt("e2fsck", ["-fn", this.save()]);
    return status === 0 ? [] : stdout.split("\n");
  }
}
