/**
 * The block translation table: a block device upon persistent memory whose sectors are whole after a power cut, though the memory's own are not. A write is durable when it
 * returns. Up to 256 transfers go on at a time, each in a lane of its own; a further one waits for a lane.
 *
 * A sector holds 512 or 4096 bytes; sizes beyond (520, 4104 ...) leave room for integrity metadata, which is kept as zeroes. A write of less than a sector of 4096 bytes reads it, changes it
 * and writes it whole, under a lock that keeps other writes away. Source: drivers/nvdimm/btt.c (7.1); dax-and-faults.md 12.3.
 */
import { SECTOR_BYTES, type Bio, type BlockDevice } from "../block/device.js";
import { checkBio } from "../block/leaf.js";
import { FsError } from "../lib/errno.js";
import { BTT_SECTOR_SEM } from "../sched/lock-classes.js";
import { RwSem } from "../sched/locks.js";
import type { Task } from "../sched/task.js";
import { WaitQueue } from "../sched/wait-queue.js";
import { BttArena, type MapEntry } from "./btt-arena.js";
import { planArenas, readArenas, writeInfoBlocks, type ArenaInfo, type BttOptions } from "./btt-info.js";
import { initialLog } from "./btt-log.js";
import type { ByteStore } from "./byte-store.js";

const ZERO_PIECE_BYTES = 2 ** 20;

/**
 * Makes a table on `store`: map, log and info blocks, for each arena in this order, so that a cut leaves a whole arena or none. What the data area holds stays, and is what new sectors read.
 * @throws FsError EINVAL, ENXIO it is too small, EROFS, EIO.
 */
export function* createBtt(store: ByteStore, options: BttOptions): Task<void> {
  const arenas = planArenas(store.sizeBytes, options);
  // The first info block makes the table: it comes when everything else is there.
  for (const arena of arenas.toReversed()) yield* createArena(store, arena);
  yield* store.flush();
}

function* createArena(store: ByteStore, arena: ArenaInfo): Task<void> {
  const zeroes = new Uint8Array(Math.min(ZERO_PIECE_BYTES, arena.logAt - arena.mapAt));
  // An old info block must not stand before a map that is no longer its own.
  yield* store.write(arena.startBytes, zeroes.subarray(0, 4096));
  for (let at = arena.mapAt; at < arena.logAt; at += zeroes.length) yield* store.write(at, zeroes.subarray(0, Math.min(zeroes.length, arena.logAt - at)));
  yield* store.write(arena.logAt, initialLog(arena));
  yield* writeInfoBlocks(store, arena);
}

/** Opens the table on `store`, and finishes what a power cut interrupted; undefined: there is none. @throws CorruptionError btt-info, btt-info-checksum, btt-log; FsError EIO. */
export function* openBtt(store: ByteStore): Task<BttDevice | undefined> {
  const layout = yield* readArenas(store);
  if (layout === undefined) return undefined;
  const arenas: BttArena[] = [];
  let firstSector = 0;
  for (const info of layout.arenas) {
    arenas.push(yield* BttArena.open(store, info, firstSector));
    firstSector += info.externalBlocks;
  }
  return new BttDevice(store, arenas, layout.damagedInfoAt);
}

export class BttDevice implements BlockDevice {
  readonly sizeBytes: number;
  /** What a sector holds of the user's: 512 or 4096. */
  readonly sectorBytes: number;
  /** Lanes that no task has; the lowest is taken first. */
  private readonly freeLanes: number[];
  private readonly laneFreed = new WaitQueue("btt lanes");
  /** Writing: parts of sectors are changed. */
  private readonly sectorSem = new RwSem(BTT_SECTOR_SEM);

  constructor(private readonly store: ByteStore, readonly arenas: readonly BttArena[], /** Info blocks whose twin stands in for them. */ readonly damagedInfoAt: readonly number[]) {
    const infos = arenas.map(({ info }) => info);
    this.sectorBytes = infos[0]!.externalBlockBytes >= 4096 ? 4096 : 512;
    this.sizeBytes = infos.reduce((sum, { externalBlocks }) => sum + externalBlocks, 0) * this.sectorBytes;
    const laneCount = Math.min(...infos.map((info) => info.laneCount));
    this.freeLanes = Array.from({ length: laneCount }, (_, index) => laneCount - 1 - index);
  }

  get name(): string {
    return `${this.store.name} (btt)`;
  }

  get readOnly(): boolean {
    return this.store.readOnly;
  }

  get uuid(): Uint8Array {
    return this.arenas[0]!.info.uuid;
  }

  *submit(bios: readonly Bio[]): Task<void> {
    for (const bio of bios) {
      checkBio(this, bio);
      if (bio.op === "read") yield* this.read(bio);
      else if (bio.op === "write") yield* this.write(bio);
      if (bio.op === "flush" || bio.fua === true) yield* this.store.flush();
    }
  }

  *close(): Task<void> {
    yield* this.store.close();
  }

  /** Looks at every entry of the map: each block must belong to one sector or one lane. @returns what is wrong, in words; none: the table is sound. */
  *check(): Task<string[]> {
    const problems: string[] = [];
    for (const arena of this.arenas) problems.push(...(yield* arena.check()));
    return problems;
  }

  /** What the map says of a sector. */
  *mapEntryOf(sector: number): Task<MapEntry> {
    const { arena, lba } = this.locate(sector);
    return yield* this.inLane((lane) => arena.mapEntry(lane, lba));
  }

  private *read({ offsetBytes, data }: Bio): Task<void> {
    const { sectorBytes } = this;
    for (let at = 0; at < data.length;) {
      const inSectorBytes = (offsetBytes + at) % sectorBytes;
      const { arena, lba } = this.locate(Math.floor((offsetBytes + at) / sectorBytes));
      const piece = data.subarray(at, at + Math.min(sectorBytes - inSectorBytes, data.length - at));
      yield* this.inLane((lane) => arena.read(lane, lba, inSectorBytes, piece));
      at += piece.length;
    }
  }

  private *write({ offsetBytes, data }: Bio): Task<void> {
    const { sectorBytes } = this;
    if (sectorBytes === SECTOR_BYTES) return yield* this.writeSectors(offsetBytes, data);
    const isWhole = offsetBytes % sectorBytes === 0 && data.length % sectorBytes === 0;
    if (isWhole) {
      if (!this.sectorSem.tryRead()) yield* this.sectorSem.read();
    } else if (!this.sectorSem.tryWrite()) yield* this.sectorSem.write();
    try {
      if (isWhole) return yield* this.writeSectors(offsetBytes, data);
      const from = Math.floor(offsetBytes / sectorBytes) * sectorBytes;
      const whole = new Uint8Array(Math.ceil((offsetBytes + data.length) / sectorBytes) * sectorBytes - from);
      yield* this.read({ op: "read", offsetBytes: from, data: whole });
      whole.set(data, offsetBytes - from);
      yield* this.writeSectors(from, whole);
    } finally {
      if (isWhole) this.sectorSem.unlockRead();
      else this.sectorSem.unlockWrite();
    }
  }

  /** Each sector is whole after a power cut, and they become new in their order. */
  private *writeSectors(offsetBytes: number, data: Uint8Array): Task<void> {
    const { sectorBytes } = this;
    for (let at = 0; at < data.length; at += sectorBytes) {
      const { arena, lba } = this.locate((offsetBytes + at) / sectorBytes);
      const sector = withMetadata(data.subarray(at, at + sectorBytes), arena.info.externalBlockBytes);
      yield* this.inLane((lane) => arena.write(lane, lba, sector));
    }
  }

  private *inLane<T>(work: (lane: number) => Task<T>): Task<T> {
    if (this.freeLanes.length === 0) yield* this.laneFreed.wait(() => this.freeLanes.length > 0);
    const lane = this.freeLanes.pop()!;
    try {
      return yield* work(lane);
    } finally {
      this.freeLanes.push(lane);
      this.laneFreed.wakeOne();
    }
  }

  private locate(sector: number): { arena: BttArena; lba: number } {
    const arena = this.arenas.findLast(({ firstSector }) => firstSector <= sector);
    if (arena === undefined || sector - arena.firstSector >= arena.info.externalBlocks) throw new FsError("EIO", `${this.name} has no sector ${sector}`);
    return { arena, lba: sector - arena.firstSector };
  }
}

function withMetadata(data: Uint8Array, blockBytes: number): Uint8Array {
  if (data.length === blockBytes) return data;
  const block = new Uint8Array(blockBytes);
  block.set(data);
  return block;
}
