/**
 * The buffer cache: the filesystem's metadata blocks by number, in memory up to a byte limit; the block used longest ago goes first. `peek` is the hot path and a plain call; `read`
 * waits. Two tasks that want the same absent block share one read. A pinned block stays: who changes a block pins it until the change is on the device, so that there is never a second,
 * older copy of it. Source: fs/buffer.c.
 */
import { assert, FsError } from "../lib/errno.js";
import type { Pblk } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import { footprint } from "../sched/footprint.js";
import type { Task } from "../sched/task.js";
import { WaitQueue } from "../sched/wait-queue.js";
import type { Bio, BlockDevice } from "./device.js";

/** One block in memory. It stays readable for who holds it, even after the cache let it go. */
export class BufferHead {
  readonly view: DataView;
  /** Brings the checksum up to date before the block is written: set by who changes the block. */
  seal: ((buffer: BufferHead) => void) | undefined;
  /** Above 0 the cache keeps it. [the cache] */
  pinCount = 0;
  /** What the content was checked as: a token of who checked it, 0 for nothing. Two structures that claim one block are so both checked. */
  verifiedAs = 0;
  /** Neighbours in order of use. [the cache] */
  older: BufferHead | undefined;
  newer: BufferHead | undefined;

  constructor(readonly b_blocknr: Pblk, readonly data: Uint8Array) {
    this.view = viewOf(data);
  }
}

export class BufferCache {
  private readonly buffers = new Map<Pblk, BufferHead>();
  private readonly loading = new Set<Pblk>();
  private readonly loaded = new WaitQueue("buffer read");
  private oldest: BufferHead | undefined;
  private newest: BufferHead | undefined;
  private readonly buffersMax: number;
  private readonly blocksCount: number;

  constructor(private readonly device: BlockDevice, readonly blockBytes: number, limitBytes: number) {
    this.buffersMax = Math.max(1, Math.floor(limitBytes / blockBytes));
    this.blocksCount = Math.floor(device.sizeBytes / blockBytes);
  }

  /** Bytes of blocks held: never above the limit, but for pinned blocks and what readers themselves still hold. */
  get sizeBytes(): number {
    return this.buffers.size * this.blockBytes;
  }

  /** The block, if it is here. */
  peek(block: Pblk): BufferHead | undefined {
    const buffer = this.buffers.get(block);
    footprint(buffer ?? this, buffer === undefined);
    if (buffer !== undefined && buffer !== this.newest && buffer.pinCount === 0) {
      this.unlink(buffer);
      this.append(buffer);
    }
    return buffer;
  }

  /** @throws FsError EIO. */
  *read(block: Pblk): Task<BufferHead> {
    for (;;) {
      const buffer = this.peek(block);
      if (buffer !== undefined) return buffer;
      if (!this.loading.has(block)) return (yield* this.load([block]))[0]!;
      yield* this.loaded.wait(() => !this.loading.has(block));
    }
  }

  /** Brings in those of blocks first .. first + count - 1 that are absent, in one batch. Blocks past the device's end are left out. */
  *readAhead(first: Pblk, count: number): Task<void> {
    const absent: Pblk[] = [];
    const end = Math.min(first + Math.min(count, this.buffersMax), this.blocksCount);
    for (let block = first; block < end; block++) {
      if (!this.buffers.has(block) && !this.loading.has(block)) absent.push(block);
    }
    if (absent.length > 0) yield* this.load(absent);
  }

  /** A block whose old content does not matter: all zeroes, nothing is read. What the cache held of it is overwritten. */
  create(block: Pblk): BufferHead {
    const known = this.peek(block);
    if (known !== undefined) {
      known.data.fill(0);
      known.verifiedAs = 0;
      known.seal = undefined;
      return known;
    }
    return this.add(new BufferHead(block, new Uint8Array(this.blockBytes)));
  }

  /** Keeps the block here until as many calls of unpin. */
  pin(buffer: BufferHead): void {
    assert(this.buffers.get(buffer.b_blocknr) === buffer, `block ${buffer.b_blocknr} is pinned through a copy that the cache has let go`);
    if (buffer.pinCount++ === 0) this.unlink(buffer);
  }

  unpin(buffer: BufferHead): void {
    assert(buffer.pinCount > 0, `block ${buffer.b_blocknr} is not pinned`);
    if (--buffer.pinCount > 0 || this.buffers.get(buffer.b_blocknr) !== buffer) return;
    this.append(buffer);
    this.shrink();
  }

  /** Writes blocks where they belong; neighbours become one request. They are as sealed as their owner made them. */
  *write(buffers: readonly BufferHead[]): Task<void> {
    const { blockBytes } = this;
    const sorted = [...buffers].sort((a, b) => a.b_blocknr - b.b_blocknr);
    const bios: Bio[] = [];
    for (let at = 0; at < sorted.length;) {
      let end = at + 1;
      while (end < sorted.length && sorted[end]!.b_blocknr === sorted[at]!.b_blocknr + (end - at)) end++;
      // A copy, also of a single block: the buffer may be changed again while the device is at work.
      const data = new Uint8Array((end - at) * blockBytes);
      for (let index = at; index < end; index++) data.set(sorted[index]!.data, (index - at) * blockBytes);
      bios.push({ op: "write", offsetBytes: sorted[at]!.b_blocknr * blockBytes, data });
      at = end;
    }
    if (bios.length > 0) yield* this.device.submit(bios);
  }

  /** Forgets a block, or all that are not pinned. */
  invalidate(block?: Pblk): void {
    footprint(this);
    if (block === undefined) {
      for (const buffer of this.buffers.values()) if (buffer.pinCount === 0) this.drop(buffer);
      return;
    }
    const buffer = this.buffers.get(block);
    if (buffer === undefined) return;
    if (buffer.pinCount === 0) this.drop(buffer);
    else this.buffers.delete(block);
  }

  /** Forgets blocks first .. first + count - 1, but for those that are pinned. */
  invalidateRange(first: Pblk, count: number): void {
    footprint(this);
    const forget = (buffer: BufferHead | undefined): void => {
      if (buffer !== undefined && buffer.pinCount === 0) this.drop(buffer);
    };
    if (count < this.buffers.size) for (let block = first; block < first + count; block++) forget(this.buffers.get(block));
    else for (const buffer of this.buffers.values()) if (buffer.b_blocknr >= first && buffer.b_blocknr < first + count) forget(buffer);
  }

  /** Reads blocks that are neither here nor on their way; neighbours become one request. */
  private *load(blocks: readonly Pblk[]): Task<BufferHead[]> {
    const last = blocks[blocks.length - 1]!;
    if (last >= this.blocksCount) throw new FsError("EIO", `block ${last} lies past the end of ${this.device.name}`);
    const { blockBytes } = this;
    const bios: Bio[] = [];
    for (let at = 0; at < blocks.length;) {
      let end = at + 1;
      while (end < blocks.length && blocks[end] === blocks[at]! + (end - at)) end++;
      bios.push({ op: "read", offsetBytes: blocks[at]! * blockBytes, data: new Uint8Array((end - at) * blockBytes) });
      at = end;
    }
    for (const block of blocks) this.loading.add(block);
    try {
      yield* this.device.submit(bios);
    } finally {
      for (const block of blocks) this.loading.delete(block);
      this.loaded.wakeAll();
    }
    return bios.flatMap((bio) => this.keep(bio));
  }

  private keep({ offsetBytes, data }: Bio): BufferHead[] {
    const { blockBytes } = this;
    const buffers: BufferHead[] = [];
    for (let at = 0; at < data.length; at += blockBytes) {
      // A block gets memory of its own: a window on the batch would keep all of it alive, and the limit would not be one.
      const bytes = data.length === blockBytes ? data : data.slice(at, at + blockBytes);
      const block = (offsetBytes + at) / blockBytes;
      // Meanwhile somebody may have created it: what is here counts, not what was read.
      buffers.push(this.buffers.get(block) ?? this.add(new BufferHead(block, bytes)));
    }
    return buffers;
  }

  private add(buffer: BufferHead): BufferHead {
    footprint(this);
    footprint(buffer);
    this.buffers.set(buffer.b_blocknr, buffer);
    this.append(buffer);
    this.shrink();
    return buffer;
  }

  /** The newest stays whatever the limit is: somebody asked for it just now. */
  private shrink(): void {
    while (this.buffers.size > this.buffersMax && this.oldest !== undefined && this.oldest !== this.newest) this.drop(this.oldest);
  }

  private drop(buffer: BufferHead): void {
    this.buffers.delete(buffer.b_blocknr);
    this.unlink(buffer);
  }

  private append(buffer: BufferHead): void {
    buffer.older = this.newest;
    if (this.newest === undefined) this.oldest = buffer;
    else this.newest.newer = buffer;
    this.newest = buffer;
  }

  private unlink(buffer: BufferHead): void {
    if (buffer.older === undefined) this.oldest = buffer.newer;
    else buffer.older.newer = buffer.newer;
    if (buffer.newer === undefined) this.newest = buffer.older;
    else buffer.newer.older = buffer.older;
    buffer.older = buffer.newer = undefined;
  }
}
