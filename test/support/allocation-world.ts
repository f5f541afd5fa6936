/**
 * The allocators of a real image, used by hand: blocks and inodes that belong to nobody, known to a plain model. What e2fsck then says of bitmaps and counts must be exactly that, and of
 * everything else nothing.
 */
import { join } from "node:path";
import { Groups } from "../../src/ext4/group-table.js";
import { InodeAllocator } from "../../src/ext4/ialloc.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import { BlockAllocator, type BlockRun } from "../../src/ext4/mballoc.js";
import { mountExt4 } from "../../src/ext4/mount.js";
import type { Ext4 } from "../../src/ext4/super.js";
import { DirectJournal } from "../../src/jbd2/direct-journal.js";
import type { Handle } from "../../src/jbd2/handle.js";
import { FileDevice } from "../../src/platform/node/file-device.js";
import { ManualClock } from "../../src/sched/clock.js";
import { Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import { attempt, run, temporaryFolder } from "./host.js";

export class AllocationWorld {
  readonly image: string;
  readonly scheduler = new Scheduler();
  readonly clock = new ManualClock(1_700_000_000);
  readonly fs: Ext4;
  readonly groups: Groups;
  readonly allocator: BlockAllocator;
  readonly inodeAllocator: InodeAllocator;
  /** Owns all blocks here; never written. */
  readonly inode: Ext4Inode;

  /** @param isTight little is kept in memory, so that bitmaps and their indexes come and go. */
  constructor(args: readonly string[], size: string, image = makeImage(args, size), private readonly isTight = false) {
    this.image = image;
    this.fs = this.run(mountExt4(FileDevice.open(image, { readOnly: false }), { clock: this.clock, ...(isTight ? { bufferCacheBytes: 32_768 } : {}) }));
    this.groups = this.run(Groups.load(this.fs));
    if (isTight) Object.assign(this.groups, { buddiesMax: 2 });
    this.allocator = new BlockAllocator(this.groups);
    this.inodeAllocator = new InodeAllocator(this.groups);
    this.fs.writable = { journal: new DirectJournal(this.fs.cache, this.clock, function* () {}), allocator: this.allocator, inodeAllocator: this.inodeAllocator };
    this.inode = { i_ino: this.fs.root.i_ino, i_blocks: 0, isRegular: () => true } as Ext4Inode;
  }

  run<T>(task: Task<T>): T {
    return this.scheduler.runSync(task);
  }

  /** In one handle. */
  change<T>(work: (handle: Handle) => Task<T>): T {
    const { fs } = this;
    return this.run((function* () {
      const handle = yield* fs.journal.start(60);
      try {
        return yield* work(handle);
      } finally {
        handle.stop();
      }
    })());
  }

  mark(claimed: BlockRun): void {
    this.change((handle) => this.allocator.mark(handle, this.inode, claimed));
  }

  free({ pblk, count }: BlockRun, isMetadata = false): void {
    this.change((handle) => this.allocator.free(handle, this.inode, pblk, count, isMetadata));
  }

  commit(): void {
    this.run(this.fs.journal.commitAll());
  }

  /** Closes the image and opens it anew, as another mount would find it. */
  remount(): AllocationWorld {
    this.commit();
    return new AllocationWorld([], "", this.image, this.isTight);
  }

  /** What e2fsck says of the image, line by line, but for its passes and answers. */
  complaints(): string[] {
    this.commit();
    const { stdout } = attempt("e2fsck", ["-fn", this.image]);
    return stdout.split("\n").filter((line) => !/^(Pass \d|e2fsck |\s*$|Fix\? no|.*: \d+\/\d+ files|.*WARNING: Filesystem still has errors)/.test(line));
  }
}

export function makeImage(args: readonly string[], size: string): string {
  const image = join(temporaryFolder(), "disk.img");
  run("mke2fs", ["-q", "-F", ...(args.includes("-t") ? args : ["-t", "ext4", ...args]), image, size]);
  return image;
}

/** The numbers of a line such as "Block bitmap differences:  -(8225--8230) -8240". */
export function differences(lines: readonly string[], kind: "Block" | "Inode"): Set<number> {
  const numbers = new Set<number>();
  for (const line of lines) {
    if (!line.startsWith(`${kind} bitmap differences:`)) continue;
    for (const part of line.slice(line.indexOf(":") + 1).trim().split(/\s+/)) {
      const range = part.match(/^-(?:\((\d+)--(\d+)\)|(\d+))$/);
      if (range === null) throw new Error(`e2fsck says ${part} in: ${line}`);
      const first = Number(range[1] ?? range[3]);
      for (let at = first; at <= Number(range[2] ?? first); at++) numbers.add(at);
    }
  }
  return numbers;
}
