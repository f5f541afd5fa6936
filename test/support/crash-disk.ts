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
import type { Task } from "../../src/sched/task.js";
import { without } from "../../src/sim/crash/medium.js";
import type { Prng } from "../../src/lib/prng.js";

interface Write { readonly offsetBytes: number; readonly data: Uint8Array; readonly fua: boolean }
/** A write, or a flush. */
type Event = Write | "flush";

export class CrashDisk implements BlockDevice {
  readonly name = "crash disk";
  readonly readOnly = false;
  readonly events: Event[] = [];
  /** The request that fails, counted from 0, and whether all later ones do, too. */
  failAt = Infinity;
  failsForGood = false;
  requestCount = 0;
  private readonly current: Uint8Array;

  constructor(private readonly initial: Uint8Array) {
    this.current = initial.slice();
  }

  get sizeBytes(): number {
    return this.current.length;
  }

  *submit(bios: readonly Bio[]): Task<void> {
    for (const bio of bios) {
      checkBio(this, bio);
      const number = this.requestCount++;
      if (number === this.failAt || (this.failsForGood && number > this.failAt)) throw new FsError("EIO", `request ${number} failed: ${bio.op} at ${bio.offsetBytes}`);
      if (bio.op === "flush") this.events.push("flush");
      else if (bio.op === "read") bio.data.set(this.current.subarray(bio.offsetBytes, bio.offsetBytes + bio.data.length));
      else {
        this.current.set(bio.data, bio.offsetBytes);
        this.events.push({ offsetBytes: bio.offsetBytes, data: bio.data.slice(), fua: bio.fua === true });
      }
    }
  }

  *close(): Task<void> {}

  /** All of it, as if there had been no cut. */
  get bytes(): Uint8Array {
    return this.current;
  }

  /** Calls `visit` for each moment between two events, in order; the states of a moment are made from it. */
  forEachCut(visit: (cut: Cut) => void): void {
    const certain = this.initial.slice();
    let uncertain: Write[] = [];
    visit(new Cut(0, certain, uncertain));
    this.events.forEach((event, index) => {
      if (event === "flush") {
        for (const write of uncertain) certain.set(write.data, write.offsetBytes);
        uncertain = [];
      } else {
        // With FUA a write is certain when it is complete, whatever came before it is not.
        uncertain.push(event);
        if (event.fua) {
          visit(new Cut(index, certain, uncertain));
          certain.set(event.data, event.offsetBytes);
          uncertain = uncertain.slice(0, -1).map((write) => without(write, event)).flat();
        }
      }
      visit(new Cut(index + 1, certain, uncertain));
    });
  }
}

/** A moment at which the power fails. */
export class Cut {
  constructor(readonly eventCount: number, private readonly certain: Uint8Array, private readonly uncertain: readonly Write[]) {}

  get uncertainCount(): number {
    return this.uncertain.length;
  }

  /** Everything that was written. */
  all(): Uint8Array {
    return this.state(() => true);
  }

  /** Only what is certain. */
  none(): Uint8Array {
    return this.state(() => false);
  }

  /** A third of the writes whole, a third not at all, a third torn: which is any order in which a disk may have written them. */
  some(prng: Prng): Uint8Array {
    const fates = this.uncertain.map(() => prng.below(3));
    return this.state((write) => fates[write] === 0 || (fates[write] === 1 && prng.below(2) === 0));
  }

  private state(keepsSector: (write: number) => boolean): Uint8Array {
    const bytes = this.certain.slice();
    this.uncertain.forEach(({ data, offsetBytes }, index) => {
      for (let at = 0; at < data.length;) {
        const end = offsetBytes + at === SUPERBLOCK_AT ? at + SUPERBLOCK_BYTES : at + SECTOR_BYTES;
        if (keepsSector(index)) bytes.set(data.subarray(at, end), offsetBytes + at);
        at = end;
      }
    });
    return bytes;
  }
}
