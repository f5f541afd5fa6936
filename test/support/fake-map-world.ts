/**
 * One file of a real image, changed by the map code alone: a real buffer cache and real handles over an image in memory, and an allocator that hands out blocks from a plain set and knows what
 * is whose. The filesystem's bitmaps do not learn of it, so what e2fsck says of those is left out; what it says of inodes is not.
 */
import { join } from "node:path";
import { MemoryDevice } from "../../src/block/memory.js";
import { blockBitmap } from "../../src/ext4/bitmaps.js";
import { extentTreeBlocks } from "../../src/ext4/extent-tree.js";
import type { InodeAllocator } from "../../src/ext4/ialloc.js";
import { INODE_ROWS, inodeRow, pointerAt, rowBelow, type PointerRow } from "../../src/ext4/indirect.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import { listExtents } from "../../src/ext4/map.js";
import type { BlockAllocator } from "../../src/ext4/mballoc.js";
import { mapCredits } from "../../src/ext4/map-write.js";
import { mountExt4 } from "../../src/ext4/mount.js";
import type { Ext4 } from "../../src/ext4/super.js";
import { EXT4_EXTENTS_FL } from "../../src/format/inode.js";
import { DirectJournal } from "../../src/jbd2/direct-journal.js";
import type { Handle } from "../../src/jbd2/handle.js";
import type { Transaction } from "../../src/jbd2/transaction.js";
import { assert, FsError } from "../../src/lib/errno.js";
import { Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import type { FileExtent } from "../../src/vfs/inode.js";
import { attempt, readImage, run, temporaryFolder, writeImage } from "./host.js";
import { Prng } from "../../src/lib/prng.js";

const isSet = (bitmap: Uint8Array, index: number): boolean => (bitmap[index >>> 3]! & (1 << (index & 7))) !== 0;

/** By clusters. Each change touches the bitmap and the descriptors of its group, so that credits are counted as they will be. */
export class SetAllocator {
  readonly used = new Set<number>();
  readonly freeInGroup: number[][] = [];
  freeCount = 0;
  /** Freed in transactions that have not ended. */
  pending: number[] = [];
  /** The call that fails, counted down; undefined: none does. */
  failAt: number | undefined;

  constructor(private readonly fs: Ext4, scheduler: Scheduler, private readonly prng: Prng, readonly isScattered: boolean) {
    const { sb } = fs;
    for (let group = 0; group < sb.groupsCount; group++) {
      const bitmap = scheduler.runSync(blockBitmap(fs, group));
      const free: number[] = [];
      for (let bit = 0; bit < Math.floor(sb.blocksIn(group) / sb.clusterBlocks); bit++) if (!isSet(bitmap, bit)) free.push(sb.firstBlockOf(group) + bit * sb.clusterBlocks);
      this.freeInGroup.push(free.reverse());
      this.freeCount += free.length;
    }
  }

  goalFor(): number { return 0; }

  /** Up to `clusters` clusters that follow one another. */
  take(clusters: number): { pblk: number; count: number } {
    const { clusterBlocks } = this.fs.sb;
    let group = this.prng.below(this.freeInGroup.length);
    while (this.freeInGroup[group]!.length === 0) group = (group + 1) % this.freeInGroup.length;
    const free = this.freeInGroup[group]!;
    if (this.isScattered) {
      const at = this.prng.below(free.length);
      [free[at], free[free.length - 1]] = [free[free.length - 1]!, free[at]!];
    }
    const pblk = free.pop()!;
    let taken = 1;
    while (taken < clusters && free[free.length - 1] === pblk + taken * clusterBlocks) {
      free.pop();
      taken++;
    }
    this.freeCount -= taken;
    for (let index = 0; index < taken; index++) this.used.add(pblk + index * clusterBlocks);
    return { pblk, count: taken * clusterBlocks };
  }

  giveBack(pblk: number): void {
    this.freeInGroup[Math.floor((pblk - this.fs.sb.firstDataBlock) / this.fs.sb.blocksPerGroup)]!.push(pblk);
    this.freeCount++;
  }

  *touch(handle: Handle, pblk: number): Task<void> {
    const { sb } = this.fs;
    const group = Math.floor((pblk - sb.firstDataBlock) / sb.blocksPerGroup);
    yield* handle.getWriteAccess((yield* this.fs.groupDesc(group)).blockBitmap);
    yield* handle.getWriteAccess(sb.firstDataBlock + 1 + Math.floor(group / (sb.blockBytes / sb.descBytes)));
  }

  *mark(handle: Handle, inode: Ext4Inode, { pblk, count }: { pblk: number; count: number }): Task<void> {
    for (let at = pblk; at < pblk + count; at += this.fs.sb.clusterBlocks) yield* this.touch(handle, at);
    inode.i_blocks += (count * this.fs.blockBytes) / 512;
  }

  *allocateMetadata(handle: Handle, inode: Ext4Inode): Task<number> {
    if (this.freeCount === 0 || (this.failAt !== undefined && --this.failAt === 0)) throw new FsError("ENOSPC");
    const taken = this.take(1);
    try {
      yield* this.mark(handle, inode, taken);
    } catch (error) {
      this.used.delete(taken.pblk);
      this.giveBack(taken.pblk);
      throw error;
    }
    return taken.pblk;
  }

  *free(handle: Handle, inode: Ext4Inode, pblk: number, count: number, isMetadata: boolean): Task<void> {
    const { clusterBlocks } = this.fs.sb;
    assert(pblk % clusterBlocks === 0 || clusterBlocks === 1, `${pblk} is in the midst of a cluster`);
    assert(count % clusterBlocks === 0 && count > 0, `${count} blocks are not whole clusters`);
    for (let at = pblk; at < pblk + count; at += clusterBlocks) {
      assert(this.used.delete(at), `block ${at} is freed and not in use`);
      this.pending.push(at);
      yield* this.touch(handle, at);
      if (isMetadata) handle.forget(at);
    }
    inode.i_blocks -= (count * this.fs.blockBytes) / 512;
  }
}

/** Its transactions are small, and it lets others look at the disk after each. */
class SmallJournal extends DirectJournal {
  override readonly transactionBlocksMax: number;
  onCommitted: (() => void) | undefined;
  commitCount = 0;

  constructor(fs: Ext4, transactionBlocksMax: number) {
    super(fs.cache, fs.clock, function* () {});
    this.transactionBlocksMax = transactionBlocksMax;
  }

  protected override *settle(transaction: Transaction): Task<void> {
    yield* super.settle(transaction);
    this.commitCount++;
    this.onCommitted?.();
  }
}

export interface MapWorldOptions {
  readonly seed?: number;
  readonly isScattered?: boolean;
  readonly sizeMib?: number;
  readonly transactionBlocksMax?: number;
  readonly cacheBytes?: number;
}

/** What the blocks' being known to the file alone leads to; and advice on a tree's shape, which is no damage. */
const EXPECTED = [
  /^Pass /, /^e2fsck /, /^\s*$/, /bitmap differences/, /^[ +\-0-9()]+$/, /Padding/, /BLOCK_UNINIT/, /Free (blocks|inodes) count wrong/, /^Fix(ed)?\?/, /FILE SYSTEM WAS MODIFIED/, /files \(.*non-contiguous\)/,
  /WARNING: Filesystem still has errors/, /could be narrower/, /could be shorter/,
];

export class MapWorld {
  readonly scheduler = new Scheduler();
  readonly prng: Prng;
  readonly fs: Ext4;
  readonly inode: Ext4Inode;
  readonly allocator: SetAllocator;
  readonly journal: SmallJournal;
  readonly device: MemoryDevice;
  private readonly image = join(temporaryFolder(), "disk.img");

  constructor(args: readonly string[], options: MapWorldOptions = {}) {
    run("mke2fs", ["-q", "-F", ...args, this.image, `${options.sizeMib ?? 16}M`]);
    run("debugfs", ["-w", "-R", "write /dev/null f", this.image]);
    this.prng = new Prng(options.seed ?? 1);
    this.device = new MemoryDevice(readImage(this.image));
    this.fs = this.run(mountExt4(this.device, { readOnly: true, bufferCacheBytes: options.cacheBytes }));
    this.allocator = new SetAllocator(this.fs, this.scheduler, this.prng, options.isScattered ?? false);
    this.journal = new SmallJournal(this.fs, options.transactionBlocksMax ?? 240);
    this.fs.writable = { journal: this.journal, allocator: this.allocator as unknown as BlockAllocator, inodeAllocator: undefined as unknown as InodeAllocator };
    this.inode = this.run(this.fs.root.lookup(new TextEncoder().encode("f"))) as Ext4Inode;
  }

  run<T>(task: Task<T>): T {
    return this.scheduler.runSync(task);
  }

  /** One handle, the inode's i_data_sem held, as callers do it. `pieces`: the handle must not need more than mapCredits says for so many. */
  change<T>(work: (handle: Handle) => Task<T>, pieces?: number): T {
    const { fs, inode } = this;
    return this.run((function* () {
      const credits = mapCredits(fs, inode, pieces);
      const handle = yield* fs.journal.start(credits);
      const { transaction } = handle;
      const before = transaction.buffers.size;
      if (!inode.i_data_sem.tryWrite()) yield* inode.i_data_sem.write();
      try {
        return yield* work(handle);
      } finally {
        inode.i_data_sem.unlockWrite();
        const used = transaction.buffers.size - before;
        handle.stop();
        assert(pieces === undefined || used <= credits, `${used} blocks were changed with ${credits} credits`);
      }
    })());
  }

  /** What is freed comes back: as after a commit. */
  commit(): void {
    this.run(this.journal.commitAll());
    this.run(this.allocatorSettles());
  }

  private *allocatorSettles(): Task<void> {
    for (const block of this.allocator.pending.splice(0)) this.allocator.giveBack(block);
  }

  list(): FileExtent[] {
    return this.run(listExtents(this.fs, this.inode, 0, Infinity));
  }

  /** Blocks of the map itself. */
  mapBlocks(): number[] {
    const { fs, inode } = this;
    if ((inode.i_flags & EXT4_EXTENTS_FL) !== 0) return this.run(extentTreeBlocks(fs, inode)).map(({ pblk }) => pblk);
    const blocks: number[] = [];
    const visit = function* (row: PointerRow): Task<void> {
      for (let slot = 0; row.span > 1 && slot < row.slots; slot++) {
        const pointer = pointerAt(fs, inode, row, slot);
        if (pointer === 0) continue;
        blocks.push(pointer);
        yield* visit(rowBelow(row, slot, yield* fs.cache.read(pointer)));
      }
    };
    for (let index = 0; index < INODE_ROWS; index++) this.run(visit(inodeRow(fs, inode, index)));
    return blocks;
  }

  /** The file as a reader finds it on disk, who knows nothing of this one's memory. A device in memory never waits, so this works inside a running task as well. */
  listOnDisk(): FileExtent[] {
    const task = (function* (device: MemoryDevice, ino: number): Task<FileExtent[]> {
      const fs = yield* mountExt4(device);
      return yield* listExtents(fs, yield* fs.iget(ino), 0, Infinity);
    })(this.device, this.inode.i_ino);
    const result = task.next();
    assert(result.done === true, "reading waits");
    return result.value;
  }

  save(): string {
    this.commit();
    writeImage(this.image, this.device.bytes);
    return this.image;
  }

  /** What e2fsck complains of, but for what is bound to be wrong here. */
  complaints(): string[] {
    const { inode, fs } = this;
    const last = this.list().at(-1);
    inode.i_disksize = last === undefined ? 0 : (last.lblk + last.count) * fs.blockBytes;
    this.change((handle) => inode.markDirty(handle));
    const { stdout, status } = attempt("e2fsck", ["-fn", this.save()]);
    const lines = stdout.split("\n").filter((line) => !EXPECTED.some((pattern) => pattern.test(line)) && !/^\/.*: \d+\/\d+ files/.test(line));
    return status === 0 || status === 4 ? lines : [`e2fsck exits with ${status}`, ...lines];
  }

  debugfs(command: string): string {
    return run("debugfs", ["-R", command, this.save()]);
  }
}
