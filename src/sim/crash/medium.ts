/**
 * Devices that know what a power cut may leave. What is certain: on a disk, writes that were complete before a flush was asked for that is complete, and complete writes with FUA; on persistent memory, what was
 * written back before a fence. What is not: each other write may be there or not, whatever came before or after it, whole or up to any of its sectors, from the moment when it was asked for, also if it failed; a line of persistent
 * memory holds any of its states since it was last durable (nvdimm/persistence.ts). Sectors are whole, and so is the superblock, which disks write with the 4 KiB around it.
 *
 * The moments that matter are those right before something becomes certain: all that a cut since the last such moment may leave can be left then, too.
 */
import { describeBio, LeafDevice } from "../../block/leaf.js";
import { SECTOR_BYTES, type Bio, type BlockDevice } from "../../block/device.js";
import { SUPERBLOCK_AT, SUPERBLOCK_BYTES } from "../../ext4/superblock.js";
import { FsError } from "../../lib/errno.js";
import { PmemDevice } from "../../nvdimm/pmem.js";
import { footprint } from "../../sched/footprint.js";
import { racePoint } from "../../sched/scheduler.js";
import type { Task } from "../../sched/task.js";

/** Something of which a cut may leave more than one state. */
export interface Unit {
  /** How many. 0 is the oldest: nothing of it. */
  readonly count: number;
  /** The state in which all of it is there. */
  readonly whole: number;
  /** For the story: "write 4096 at 12288". */
  readonly text: string;
  /** Of a state that is neither nothing nor all: what there is. */
  readonly part: (state: number) => string;
}

export interface Medium extends BlockDevice {
  readonly common: Common;
  /** Called right before something becomes certain: "a flush", "a write with FUA", "a fence". */
  onBarrier: ((what: string) => void) | undefined;
  /** Hear of requests where they are made, and of the one that is to fail: for the story. */
  onSubmit: ((bios: readonly Bio[]) => void) | undefined;
  onFault: ((bio: Bio, error: FsError) => void) | undefined;
  /** Requests so far: what a fault is planted by. */
  requestCount: number;
  /** The request that fails with EIO, counted from 1, and whether all later ones do. Infinity: none. */
  failAt: number;
  failsForGood: boolean;
  /** The device as it stands, no cut. */
  readonly bytes: Uint8Array;
  /** What a cut now leaves open, in the order in which it was written. */
  units(): Unit[];
  /** What a cut now leaves, given each unit's state: in an image of `arena`, to be given back there. */
  survivor(states: readonly number[]): Uint8Array;
  /** Pages that may differ from the image that `arena` is of, in any of the device's states. */
  readonly changedPages: ReadonlySet<number>;
  /** Nothing of it is needed any more. */
  release(): void;
}

export const CHANGE_BYTES = 4096;

/** Copies of one image, used again and again: what changed in a copy is put right when it comes back, so that a run costs what it changes and not what the device has. */
export class Arena {
  private readonly free: Uint8Array[] = [];

  constructor(readonly base: Uint8Array) {}

  take(): Uint8Array {
    return this.free.pop() ?? this.base.slice();
  }

  giveBack(copy: Uint8Array, changedPages: Iterable<number>): void {
    copyPages(this.base, copy, changedPages);
    this.free.push(copy);
  }
}

function copyPages(from: Uint8Array, to: Uint8Array, pages: Iterable<number>): void {
  for (const page of pages) to.set(from.subarray(page * CHANGE_BYTES, (page + 1) * CHANGE_BYTES), page * CHANGE_BYTES);
}

function notePages(changed: Set<number>, offsetBytes: number, lengthBytes: number): void {
  const last = Math.floor((offsetBytes + lengthBytes - 1) / CHANGE_BYTES);
  for (let page = Math.floor(offsetBytes / CHANGE_BYTES); page <= last; page++) changed.add(page);
}

export interface MediumOptions {
  /** What the device holds, of the arena's size: the arena's, too, and given back with `release`. Default: the base. */
  readonly bytes?: Uint8Array;
  /** Where `bytes` differs from the base. */
  readonly changedPages?: ReadonlySet<number>;
  /** A power cut is asked about: else nothing is kept for it. */
  readonly isMortal: boolean;
}

/** Touched anew each time, as what tasks sleep on: nothing of it stays in hand. [footprint] */
class Touchable {
  describeHolders(): string[] { return []; }
}

const CELL_BYTES = 1024;

/** What tasks have in common on a device. That no cut is asked about changes nothing of it: a run is the same with cuts and without. [footprint] */
export class Common {
  /** Which request comes next. */
  readonly count = new Touchable();
  /** What is certain: changed by whatever makes something so; all that this hangs on, and all that is judged there, has read it. */
  readonly certainty = new Touchable();
  private readonly cells = new Map<number, Touchable>();

  /** The bytes themselves. */
  touch(offsetBytes: number, lengthBytes: number, isWrite: boolean): void {
    for (let at = Math.floor(offsetBytes / CELL_BYTES); at * CELL_BYTES < offsetBytes + lengthBytes; at++) {
      let cell = this.cells.get(at);
      if (cell === undefined) this.cells.set(at, cell = new Touchable());
      footprint(cell, isWrite);
    }
  }

  /** A request that is made, or carried out. */
  touchFor({ op, offsetBytes, data, fua }: Bio, isTransfer: boolean): void {
    if (op !== "flush" && isTransfer) this.touch(offsetBytes, data.length, op === "write");
    if (op !== "read") footprint(this.certainty, op === "flush" || (isTransfer && fua === true));
  }
}

/** Counts a request. @throws FsError EIO it is one that is to fail. */
function countRequest(medium: Medium, bio: Bio): void {
  // Which task's request it is that fails hangs on the order of all.
  if (medium.failAt !== Infinity) footprint(medium.common.count);
  const number = ++medium.requestCount;
  if (number < medium.failAt || (number > medium.failAt && !medium.failsForGood)) return;
  const error = new FsError("EIO", `request ${number}, ${describeBio(bio)}, was to fail`);
  medium.onFault?.(bio, error);
  throw error;
}

/** What was read is that of the moment when it was transferred: others may come in before its task goes on. */
function* beforeUse(bios: readonly Bio[]): Task<void> {
  if (bios.some(({ op }) => op === "read")) yield* racePoint("what was read");
}

interface Write { readonly id: number; readonly offsetBytes: number; data: Uint8Array; state: "under way" | "complete" | "failed" }

const firstSectors = (state: number): string => `its first ${state === 2 ? "sector" : `${state - 1} sectors`}`;
const valueBetween = (state: number): string => `as after ${state === 1 ? "the first store" : `store ${state}`} of those since it was durable`;

export class LabDisk extends LeafDevice implements Medium {
  readonly name = "disk";
  readonly readOnly = false;
  readonly common = new Common();
  onBarrier: ((what: string) => void) | undefined;
  onSubmit: ((bios: readonly Bio[]) => void) | undefined;
  onFault: ((bio: Bio, error: FsError) => void) | undefined;
  requestCount = 0;
  failAt = Infinity;
  failsForGood = false;
  readonly bytes: Uint8Array;
  readonly changedPages: Set<number>;
  private readonly certain: Uint8Array;
  private readonly isMortal: boolean;
  private uncertain: Write[] = [];
  /** Of requests under way. */
  private readonly writes = new Map<Bio, Write>();
  private readonly flushed = new Map<Bio, ReadonlySet<number>>();
  private lastId = 0;

  constructor(private readonly arena: Arena, { bytes, changedPages, isMortal }: MediumOptions) {
    super();
    this.bytes = bytes ?? arena.take();
    this.changedPages = new Set(changedPages);
    this.isMortal = isMortal;
    this.certain = isMortal ? arena.take() : this.bytes;
    if (isMortal) copyPages(this.bytes, this.certain, this.changedPages);
  }

  release(): void {
    this.arena.giveBack(this.bytes, this.changedPages);
    if (this.isMortal) this.arena.giveBack(this.certain, this.changedPages);
  }

  get sizeBytes(): number { return this.bytes.length; }

  override *submit(bios: readonly Bio[]): Task<void> {
    this.onSubmit?.(bios);
    for (const bio of bios) this.common.touchFor(bio, false);
    if (this.isMortal) for (const bio of bios) this.note(bio);
    try {
      yield* super.submit(bios);
    } catch (error) {
      for (const bio of bios) this.fail(bio);
      throw error;
    }
    yield* beforeUse(bios);
  }

  /** From now on a write may be there, and a flush waits for what is complete. */
  private note(bio: Bio): void {
    if (bio.op === "flush") this.flushed.set(bio, new Set(this.uncertain.filter(({ state }) => state === "complete").map(({ id }) => id)));
    else if (bio.op === "write") {
      notePages(this.changedPages, bio.offsetBytes, bio.data.length);
      const write: Write = { id: ++this.lastId, offsetBytes: bio.offsetBytes, data: bio.data.slice(), state: "under way" };
      this.writes.set(bio, write);
      this.uncertain.push(write);
    }
  }

  /** It may be there or not, for ever, until another is written over it. */
  private fail(bio: Bio): void {
    this.flushed.delete(bio);
    const write = this.writes.get(bio);
    if (write === undefined) return;
    this.writes.delete(bio);
    write.state = "failed";
    this.moveToEnd(write);
  }

  private moveToEnd(write: Write): void {
    this.uncertain.splice(this.uncertain.indexOf(write), 1);
    this.uncertain.push(write);
  }

  protected transferSync(bio: Bio): void {
    countRequest(this, bio);
    this.common.touchFor(bio, true);
    if (bio.op === "read") bio.data.set(this.bytes.subarray(bio.offsetBytes, bio.offsetBytes + bio.data.length));
    else if (bio.op === "write") this.complete(bio);
    else if (this.isMortal) this.flush(bio);
  }

  protected async transferAsync(bio: Bio): Promise<void> {
    this.transferSync(bio);
  }

  private complete(bio: Bio): void {
    notePages(this.changedPages, bio.offsetBytes, bio.data.length);
    this.bytes.set(bio.data, bio.offsetBytes);
    const write = this.writes.get(bio);
    if (write === undefined) return;
    this.writes.delete(bio);
    // What is there at the end of the transfer; the order of two that overlap is that of their ends.
    write.data = bio.data.slice();
    write.state = "complete";
    this.moveToEnd(write);
    if (bio.fua !== true) return;
    this.onBarrier?.("a write with FUA");
    this.makeCertain(new Set([write.id]));
  }

  private flush(bio: Bio): void {
    this.onBarrier?.("a flush");
    this.makeCertain(this.flushed.get(bio)!);
    this.flushed.delete(bio);
  }

  private makeCertain(ids: ReadonlySet<number>): void {
    for (const write of this.uncertain.filter(({ id }) => ids.has(id))) {
      this.certain.set(write.data, write.offsetBytes);
      const at = this.uncertain.indexOf(write);
      // What an older write had there can come back no more.
      const older = this.uncertain.slice(0, at).flatMap((each) => (each.state === "under way" ? [each] : without(each, write)));
      this.uncertain = [...older, ...this.uncertain.slice(at + 1)];
    }
  }

  units(): Unit[] {
    return this.uncertain.map(({ offsetBytes, data }) => ({ count: data.length / SECTOR_BYTES + 1, whole: 1, text: `write ${data.length} at ${offsetBytes}`, part: firstSectors }));
  }

  /** States of a write: 0 nothing, 1 all, n its first n - 1 sectors. */
  survivor(states: readonly number[]): Uint8Array {
    const image = this.arena.take();
    copyPages(this.certain, image, this.changedPages);
    this.uncertain.forEach(({ data, offsetBytes }, index) => {
      const state = states[index]!;
      if (state === 0) return;
      let end = state === 1 ? data.length : (state - 1) * SECTOR_BYTES;
      if (offsetBytes + end > SUPERBLOCK_AT && offsetBytes + end < SUPERBLOCK_AT + SUPERBLOCK_BYTES) end = SUPERBLOCK_AT + SUPERBLOCK_BYTES - offsetBytes;
      image.set(data.subarray(0, end), offsetBytes);
    });
    return image;
  }

  *close(): Task<void> {}
}

interface Piece { readonly offsetBytes: number; readonly data: Uint8Array }

/** What is left of an older write that a certain one covers in part. */
export function without<W extends Piece>(write: W, newer: Piece): W[] {
  const end = write.offsetBytes + write.data.length;
  const newerEnd = newer.offsetBytes + newer.data.length;
  if (newerEnd <= write.offsetBytes || newer.offsetBytes >= end) return [write];
  const left = { ...write, data: write.data.subarray(0, Math.max(0, newer.offsetBytes - write.offsetBytes)) };
  const right = { ...write, offsetBytes: newerEnd, data: write.data.subarray(Math.min(write.data.length, newerEnd - write.offsetBytes)) };
  return [left, right].filter(({ data }) => data.length > 0);
}

export class LabPmem extends PmemDevice implements Medium {
  readonly common = new Common();
  onBarrier: ((what: string) => void) | undefined;
  onSubmit: ((bios: readonly Bio[]) => void) | undefined;
  onFault: ((bio: Bio, error: FsError) => void) | undefined;
  requestCount = 0;
  failAt = Infinity;
  failsForGood = false;

  readonly changedPages: Set<number>;
  private readonly durable: Uint8Array | undefined;

  constructor(private readonly arena: Arena, { bytes = arena.take(), changedPages = new Set(), isMortal }: MediumOptions) {
    const durable = isMortal ? arena.take() : undefined;
    if (durable !== undefined) copyPages(bytes, durable, changedPages);
    super(bytes, { persistence: isMortal ? "adr" : undefined, durable });
    this.changedPages = new Set(changedPages);
    this.durable = durable;
  }

  release(): void {
    for (const bytes of [this.bytes, this.durable]) if (bytes !== undefined) this.arena.giveBack(bytes, this.changedPages);
  }

  override stored(offsetBytes: number, lengthBytes: number): void {
    notePages(this.changedPages, offsetBytes, lengthBytes);
    this.touchStored(offsetBytes, lengthBytes);
    super.stored(offsetBytes, lengthBytes);
  }

  override storedNonTemporal(offsetBytes: number, lengthBytes: number): void {
    notePages(this.changedPages, offsetBytes, lengthBytes);
    this.touchStored(offsetBytes, lengthBytes);
    super.storedNonTemporal(offsetBytes, lengthBytes);
  }

  override *submit(bios: readonly Bio[]): Task<void> {
    yield* racePoint("pmem");
    this.onSubmit?.(bios);
    for (const bio of bios) {
      countRequest(this, bio);
      if (bio.op === "read") this.common.touchFor(bio, true);
    }
    yield* super.submit(bios);
    yield* beforeUse(bios);
  }

  override flush(offsetBytes: number, lengthBytes: number): void {
    this.touchStored(offsetBytes, lengthBytes);
    super.flush(offsetBytes, lengthBytes);
  }

  /** From a store on a cut may leave it, and from a write-back on a fence makes it certain. */
  private touchStored(offsetBytes: number, lengthBytes: number): void {
    this.common.touch(offsetBytes, lengthBytes, true);
    footprint(this.common.certainty, false);
  }

  override fence(): void {
    footprint(this.common.certainty);
    this.onBarrier?.("a fence");
    super.fence();
  }

  units(): Unit[] {
    return this.volatileLines.map(({ offsetBytes, stateCount }) => ({ count: stateCount, whole: stateCount - 1, text: `line at ${offsetBytes}`, part: valueBetween }));
  }

  survivor(states: readonly number[]): Uint8Array {
    const image = this.arena.take();
    copyPages(this.durable!, image, this.changedPages);
    let at = 0;
    for (const { offsetBytes, bytes } of this.survivingLines(() => states[at++]!)) image.set(bytes, offsetBytes);
    return image;
  }
}
