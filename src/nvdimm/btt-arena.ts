/**
 * An arena at work. A sector is never overwritten: the data goes to the lane's free block, the log says what is about to happen, and the map's entry, four bytes that no power cut
 * tears, makes it so; the block that the entry left becomes the lane's free one. A complete log entry commits the write: the next open finishes the map from it.
 *
 * A lane belongs to one task at a time. The map's locks order writers of one sector. Readers take none: a reader names its block in `reading` (the kernel's rtt), looks at the map
 * once more, and who is about to overwrite a block waits until nobody names it.
 * Source: drivers/nvdimm/btt.c (7.1: btt_read_pg, btt_write_pg, btt_freelist_init); dax-and-faults.md 12.3.
 */
import { CorruptionError } from "../format/corruption.js";
import { viewOf } from "../format/layout.js";
import { btt_map_entry, LOG_GROUP_BYTES, log_entry, MAP_ENT_ERROR, MAP_ENT_NORMAL, MAP_ENT_ZERO, MAP_ENTRY_BYTES, MAP_LBA_MASK } from "../format/nvdimm.js";
import { FsError } from "../lib/errno.js";
import { BTT_MAP_LOCK } from "../sched/lock-classes.js";
import { Mutex } from "../sched/locks.js";
import type { Task } from "../sched/task.js";
import { WaitQueue } from "../sched/wait-queue.js";
import type { ArenaInfo } from "./btt-info.js";
import { encodeLogEntry, logSlots, nextSeq, readLane, slotAt, type LogSlots } from "./btt-log.js";
import type { ByteStore } from "./byte-store.js";

/** An entry of the map, decoded. */
export interface MapEntry {
  readonly block: number;
  /** Reads give zeroes. Linux never writes such entries, UEFI drivers may. */
  readonly isZero: boolean;
  readonly isError: boolean;
}

interface Lane {
  readonly index: number;
  freeBlock: number;
  /** The free block has to be overwritten before it can be used. */
  isFreeBlockBad: boolean;
  /** Of the next entry, and which of the two slots it goes to. */
  seq: number;
  olderEntry: 0 | 1;
  /** A lane's own, since tasks take turns in the middle of a transfer. */
  readonly entry: Uint8Array;
  readonly entryView: DataView;
}

const NOT_READING = -1;
const CHECK_PIECE_BYTES = 65536;
const PROBLEMS_MAX = 10;
/** Lines of the cache that the map's locks tell apart. */
const LINE_BYTES = 64;

export class BttArena {
  /** [the task that has the lane] */
  private readonly lanes: Lane[] = [];
  /** By lane: the block that its task reads from. */
  private readonly reading: Int32Array;
  private readonly readersGone = new WaitQueue("btt readers");
  private readonly mapLocks: readonly Mutex[];
  private slots: LogSlots = [0, 1];
  /** For a store that must not be written: what recovery would have put into the map. */
  private readonly unwritten = new Map<number, number>();
  /** A write failed half-way, or the info block says so: only reading is safe. */
  private hasFailed: boolean;
  /** Map entries that recovery finished. */
  recoveredCount = 0;

  private constructor(private readonly store: ByteStore, readonly info: ArenaInfo, /** Sector number of its first sector. */ readonly firstSector: number) {
    this.reading = new Int32Array(info.laneCount).fill(NOT_READING);
    this.mapLocks = Array.from({ length: info.laneCount }, (_, index) => new Mutex(BTT_MAP_LOCK, `btt_map_lock ${index}`));
    this.hasFailed = info.hasErrorFlag;
  }

  /**
   * Reads the log and finishes the writes that a power cut interrupted.
   * Crash: each repair is one map entry of four bytes; a cut in between leaves the rest to the next open.
   * @throws CorruptionError btt-log; FsError EIO.
   * @kernel btt_freelist_init
   */
  static *open(store: ByteStore, info: ArenaInfo, firstSector: number): Task<BttArena> {
    const arena = new BttArena(store, info, firstSector);
    const log = new Uint8Array(info.laneCount * LOG_GROUP_BYTES);
    yield* store.read(info.logAt, log);
    arena.slots = logSlots(log, info);
    for (let index = 0; index < info.laneCount; index++) yield* arena.recoverLane(log, index);
    return arena;
  }

  get hasOldLogSlots(): boolean {
    return this.slots[1] === 2;
  }

  get isWritable(): boolean {
    return !this.hasFailed && !this.store.readOnly;
  }

  /** Blocks that no sector has, by lane. */
  get freeBlocks(): number[] {
    return this.lanes.map(({ freeBlock }) => freeBlock);
  }

  /** Reads a part of a sector. Requires: the lane. @throws FsError EIO the sector's data was lost, or cannot be read. */
  *read(laneIndex: number, lba: number, offsetBytes: number, into: Uint8Array): Task<void> {
    const lane = this.lanes[laneIndex]!;
    try {
      let entry = yield* this.readMap(lane, lba);
      for (;;) {
        if (entry.isZero) return void into.fill(0);
        if (entry.isError) throw new FsError("EIO", `sector ${this.firstSector + lba} of ${this.store.name} was lost`);
        this.checkBlock(lba, entry);
        this.reading[laneIndex] = entry.block;
        // A writer that made this block free before it was named may already overwrite it.
        const again = yield* this.readMap(lane, lba);
        if (sameEntry(again, entry)) break;
        entry = again;
        this.stopReading(laneIndex);
      }
      yield* this.readBlock(lane, lba, entry, offsetBytes, into);
    } finally {
      this.stopReading(laneIndex);
    }
  }

  /**
   * Writes a whole sector: it is the old or the new one after a power cut.
   * Requires: the lane.
   * Takes:    the map's lock of the sector.
   * Crash:    before the log's second half the old data, from there on the new.
   * @throws FsError EIO.
   */
  *write(laneIndex: number, lba: number, data: Uint8Array): Task<void> {
    this.checkWritable();
    const lane = this.lanes[laneIndex]!;
    yield* this.makeFreeBlockGood(lane);
    const { freeBlock } = lane;
    if (this.reading.includes(freeBlock)) yield* this.readersGone.wait(() => !this.reading.includes(freeBlock));
    yield* this.store.write(this.blockAt(freeBlock), data);
    const lock = this.mapLockOf(lba);
    if (!lock.tryLock()) yield* lock.lock();
    try {
      const old = yield* this.readMap(lane, lba);
      this.checkBlock(lba, old);
      yield* this.commit(lane, lba, old);
    } finally {
      lock.unlock();
    }
  }

  /** What the map says of a sector, with a lane's number. */
  *mapEntry(laneIndex: number, lba: number): Task<MapEntry> {
    return yield* this.readMap(this.lanes[laneIndex]!, lba);
  }

  /** Whether each block belongs to one sector or one lane. Memory: a byte for each. Requires: nobody writes. @returns what is wrong, in words, the first few. */
  *check(): Task<string[]> {
    const { info } = this;
    const problems: string[] = [];
    const isOwned = new Uint8Array(info.internalBlocks);
    const claim = (block: number, owner: () => string): void => {
      const problem = block >= info.internalBlocks ? `of ${info.internalBlocks}` : isOwned[block] !== 0 ? "which belongs to another, too" : undefined;
      if (problem !== undefined && problems.length < PROBLEMS_MAX) problems.push(`${owner()} has block ${block}, ${problem}`);
      isOwned[block] = 1;
    };
    for (const { index, freeBlock } of this.lanes) claim(freeBlock, () => `lane ${index}`);
    const piece = new Uint8Array(CHECK_PIECE_BYTES);
    const view = viewOf(piece);
    for (let lba = 0; lba < info.externalBlocks;) {
      const count = Math.min(CHECK_PIECE_BYTES / MAP_ENTRY_BYTES, info.externalBlocks - lba);
      yield* this.store.read(info.mapAt + lba * MAP_ENTRY_BYTES, piece.subarray(0, count * MAP_ENTRY_BYTES));
      for (let index = 0; index < count; index++, lba++) {
        const raw = this.unwritten.get(lba) ?? btt_map_entry.entry.get(view, index * MAP_ENTRY_BYTES);
        claim(decodeMapEntry(raw, lba).block, () => `sector ${this.firstSector + lba}`);
      }
    }
    return problems;
  }

  private *readMap(lane: Lane, lba: number): Task<MapEntry> {
    const bytes = lane.entry.subarray(0, MAP_ENTRY_BYTES);
    const known = this.unwritten.get(lba);
    if (known === undefined) yield* this.store.read(this.info.mapAt + lba * MAP_ENTRY_BYTES, bytes);
    return decodeMapEntry(known ?? btt_map_entry.entry.get(lane.entryView, 0), lba);
  }

  private *commit(lane: Lane, lba: number, old: MapEntry): Task<void> {
    this.checkWritable(); // another task may have failed meanwhile
    const { freeBlock } = lane;
    encodeLogEntry(lane.entryView, { lba, oldBlock: old.block, isOldBlockBad: old.isError, newBlock: freeBlock, seq: lane.seq });
    const at = this.info.logAt + slotAt(lane.index, this.slots[lane.olderEntry]);
    const half = log_entry.$.size / 2;
    // The sequence number is in the second half: until it is there, the other slot is the newer one.
    yield* this.store.write(at, lane.entry.subarray(0, half));
    try {
      yield* this.store.write(at + half, lane.entry.subarray(half));
      yield* this.writeMap(lane, lba, (freeBlock | MAP_ENT_NORMAL) >>> 0);
    } catch (error) {
      // Log and map may now disagree on which block is free. The next open sorts it out, if nothing is written until then.
      this.hasFailed = true;
      throw error;
    }
    lane.freeBlock = old.block;
    lane.isFreeBlockBad = old.isError;
    lane.olderEntry = lane.olderEntry === 0 ? 1 : 0;
    lane.seq = nextSeq(lane.seq);
  }

  private *recoverLane(log: Uint8Array, index: number): Task<void> {
    const { newest, olderEntry } = readLane(log, this.info, index, this.slots);
    const entry = new Uint8Array(log_entry.$.size);
    const lane: Lane = { index, freeBlock: newest.oldBlock, isFreeBlockBad: newest.isOldBlockBad, seq: nextSeq(newest.seq), olderEntry, entry, entryView: viewOf(entry) };
    this.lanes.push(lane);
    if (newest.oldBlock === newest.newBlock) return; // the lane was never used
    const mapped = yield* this.readMap(lane, newest.lba);
    // Anything but the old block: the write went through, and perhaps later ones of other lanes.
    if (mapped.block !== newest.oldBlock) return;
    this.recoveredCount++;
    const finished = (newest.newBlock | MAP_ENT_NORMAL) >>> 0;
    if (this.store.readOnly) this.unwritten.set(newest.lba, finished);
    else yield* this.writeMap(lane, newest.lba, finished);
  }

  /** Overwrites a free block whose old data could not be read, which makes its memory good. @kernel arena_clear_freelist_error */
  private *makeFreeBlockGood(lane: Lane): Task<void> {
    const { externalBlockBytes } = this.info;
    const at = this.blockAt(lane.freeBlock);
    if (!lane.isFreeBlockBad && !this.store.isBad(at, externalBlockBytes)) return;
    yield* this.store.write(at, new Uint8Array(externalBlockBytes));
    lane.isFreeBlockBad = false;
  }

  /** Reads from the sector's block, which this lane has named. If the memory is bad, the map remembers, and the next write of the sector clears it. */
  private *readBlock(lane: Lane, lba: number, entry: MapEntry, offsetBytes: number, into: Uint8Array): Task<void> {
    try {
      yield* this.store.read(this.blockAt(entry.block) + offsetBytes, into);
    } catch (error) {
      if (!(error instanceof FsError) || error.code !== "EIO") throw error;
      if (this.isWritable) yield* this.markLost(lane, lba, entry);
      throw error;
    }
  }

  private *markLost(lane: Lane, lba: number, entry: MapEntry): Task<void> {
    const lock = this.mapLockOf(lba);
    if (!lock.tryLock()) yield* lock.lock();
    try {
      // A writer may have given the sector good data meanwhile.
      if (sameEntry(yield* this.readMap(lane, lba), entry)) yield* this.writeMap(lane, lba, (entry.block | MAP_ENT_ERROR) >>> 0);
    } finally {
      lock.unlock();
    }
  }

  private *writeMap(lane: Lane, lba: number, raw: number): Task<void> {
    const bytes = lane.entry.subarray(0, MAP_ENTRY_BYTES);
    btt_map_entry.entry.set(lane.entryView, 0, raw);
    yield* this.store.write(this.info.mapAt + lba * MAP_ENTRY_BYTES, bytes);
  }

  private stopReading(laneIndex: number): void {
    if (this.reading[laneIndex] === NOT_READING) return;
    this.reading[laneIndex] = NOT_READING;
    this.readersGone.wakeAll();
  }

  private mapLockOf(lba: number): Mutex {
    return this.mapLocks[Math.floor((lba * MAP_ENTRY_BYTES) / LINE_BYTES) % this.mapLocks.length]!;
  }

  private blockAt(block: number): number {
    return this.info.dataAt + block * this.info.internalBlockBytes;
  }

  private checkBlock(lba: number, { block }: MapEntry): void {
    if (block < this.info.internalBlocks) return;
    throw new CorruptionError("btt-map", { offset: this.info.mapAt + lba * MAP_ENTRY_BYTES, field: "entry", found: block, expected: `below ${this.info.internalBlocks}` });
  }

  private checkWritable(): void {
    if (this.hasFailed) throw new FsError("EIO", `an arena of ${this.store.name} has failed and can only be read until it is opened anew`);
  }
}

export function decodeMapEntry(raw: number, lba: number): MapEntry {
  const flags = (raw & MAP_ENT_NORMAL) >>> 0;
  return { block: flags === 0 ? lba : raw & MAP_LBA_MASK, isZero: flags === MAP_ENT_ZERO, isError: flags === MAP_ENT_ERROR };
}

function sameEntry(a: MapEntry, b: MapEntry): boolean {
  return a.block === b.block && a.isZero === b.isZero && a.isError === b.isError;
}
