/**
 * A disk that remembers what was written in which order, and shows what a power cut at any moment may leave.
 *
 * What is certain: writes that were complete before a flush began which is complete, and complete writes with FUA. What is not: each other write may be there or not, whatever came before or after it, and of
 * one that was on its way any of its sectors may be there. Sectors are whole. Reads always see the newest.
 * One exception: the filesystem's superblock is whole, though it has two sectors of 512 bytes. Its checksum stands in the second, so no order of two writes could
 * make a torn one good; Linux and e2fsprogs rely on the 4 KiB that disks write at a time, and so do we.
 */
import { SECTOR_BYTES, type Bio, type BlockDevice } from "../../src/block/device.js";
import { checkBio } from "../../src/block/leaf.js";
import { SUPERBLOCK_AT, SUPERBLOCK_BYTES } from "../../src/ext4/superblock.js";
import { FsError } from "../../src/lib/errno.js";
import type { Prng } from "../../src/lib/prng.js";
import type { Task } from "../../src/sched/task.js";
import { without } from "../../src/sim/crash/medium.js";

interface Write { readonly offsetBytes: number; readonly data: Uint8Array; readonly fua: boolean }
/** A write, or a flush. */
type Event = Write | "flush";

const PAGE_BYTES = 4096;

/** An image that knows only what differs from another one, page by page: thousands of states of a disk take no more memory than what was written to them. */
export class PagedImage {
  /** A page is never changed, but replaced: copies share them. */
  private readonly pages: Map<number, Uint8Array>;

  constructor(private readonly base: Uint8Array, pages: ReadonlyMap<number, Uint8Array> = new Map()) {
    this.pages = new Map(pages);
  }

  get sizeBytes(): number {
    return this.base.length;
  }

  copy(): PagedImage {
    return new PagedImage(this.base, this.pages);
  }

  read(offsetBytes: number, into: Uint8Array): void {
    for (let done = 0; done < into.length;) {
      const [page, from] = this.pageAt(offsetBytes + done);
      const piece = page.subarray(from, from + into.length - done);
      into.set(piece, done);
      done += piece.length;
    }
  }

  write(offsetBytes: number, data: Uint8Array): void {
    for (let done = 0; done < data.length;) {
      const [page, from] = this.pageAt(offsetBytes + done);
      const piece = data.subarray(done, done + page.length - from);
      const changed = page.slice();
      changed.set(piece, from);
      this.pages.set(Math.floor((offsetBytes + done) / PAGE_BYTES), changed);
      done += piece.length;
    }
  }

  private pageAt(offsetBytes: number): [page: Uint8Array, from: number] {
    const index = Math.floor(offsetBytes / PAGE_BYTES);
    const page = this.pages.get(index) ?? this.base.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
    return [page, offsetBytes - index * PAGE_BYTES];
  }

  /** All of it, in memory of its own. */
  get bytes(): Uint8Array {
    const bytes = this.base.slice();
    for (const [index, page] of this.pages) bytes.set(page, index * PAGE_BYTES);
    return bytes;
  }
}

export class CrashDisk implements BlockDevice {
  readonly name = "crash disk";
  readonly readOnly = false;
  readonly events: Event[] = [];
  /** The request that fails, counted from 0, and whether all later ones do, too. */
  failAt = Infinity;
  failsForGood = false;
  requestCount = 0;
  private readonly current: PagedImage;

  constructor(private readonly initial: PagedImage) {
    this.current = initial.copy();
  }

  get sizeBytes(): number {
    return this.current.sizeBytes;
  }

  *submit(bios: readonly Bio[]): Task<void> {
    for (const bio of bios) {
      checkBio(this, bio);
      const number = this.requestCount++;
      if (number === this.failAt || (this.failsForGood && number > this.failAt)) throw new FsError("EIO", `request ${number} failed: ${bio.op} at ${bio.offsetBytes}`);
      if (bio.op === "flush") this.events.push("flush");
      else if (bio.op === "read") this.current.read(bio.offsetBytes, bio.data);
      else {
        this.current.write(bio.offsetBytes, bio.data);
        this.events.push({ offsetBytes: bio.offsetBytes, data: bio.data.slice(), fua: bio.fua === true });
      }
    }
  }

  *close(): Task<void> {}

  /** All of it, as if there had been no cut. */
  get image(): PagedImage {
    return this.current.copy();
  }

  /** Calls `visit` for each moment between two events, in order; the states of a moment are made from it. */
  forEachCut(visit: (cut: Cut) => void): void {
    const certain = this.initial.copy();
    let uncertain: Write[] = [];
    visit(new Cut(0, certain, uncertain));
    this.events.forEach((event, index) => {
      if (event === "flush") {
        for (const write of uncertain) certain.write(write.offsetBytes, write.data);
        uncertain = [];
      } else {
        // With FUA a write is certain when it is complete, whatever came before it is not.
        uncertain.push(event);
        if (event.fua) {
          visit(new Cut(index, certain, uncertain));
          certain.write(event.offsetBytes, event.data);
          uncertain = uncertain.slice(0, -1).map((write) => without(write, event)).flat();
        }
      }
      visit(new Cut(index + 1, certain, uncertain));
    });
  }
}

/** A moment at which the power fails. */
export class Cut {
  constructor(readonly eventCount: number, private readonly certain: PagedImage, private readonly uncertain: readonly Write[]) {}

  get uncertainCount(): number {
    return this.uncertain.length;
  }

  /** Everything that was written. */
  all(): PagedImage {
    return this.state(() => true);
  }

  /** Only what is certain. */
  none(): PagedImage {
    return this.state(() => false);
  }

  /** A third of the writes whole, a third not at all, a third torn: which is any order in which a disk may have written them. */
  some(prng: Prng): PagedImage {
    const fates = this.uncertain.map(() => prng.below(3));
    return this.state((write) => fates[write] === 0 || (fates[write] === 1 && prng.below(2) === 0));
  }

  private state(keepsSector: (write: number) => boolean): PagedImage {
    const image = this.certain.copy();
    this.uncertain.forEach(({ data, offsetBytes }, index) => {
      for (let at = 0; at < data.length;) {
        const end = offsetBytes + at === SUPERBLOCK_AT ? at + SUPERBLOCK_BYTES : at + SECTOR_BYTES;
        if (keepsSector(index)) image.write(offsetBytes + at, data.subarray(at, end));
        at = end;
      }
    });
    return image;
  }
}
