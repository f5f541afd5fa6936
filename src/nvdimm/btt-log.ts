/**
 * The log of an arena (flog): for each lane the last two writes, of which the newer tells where the lane's free block is, and whether the map still has to learn of a write. Of a
 * lane's four slots two are used: 0 and 1, or 0 and 2 by kernels before 4.15, told apart by which are all zero in every lane.
 * Source: drivers/nvdimm/btt.c (7.1: log_set_indices, btt_log_get_old, btt_freelist_init); dax-and-faults.md 12.3.
 */
import { CorruptionError } from "../format/corruption.js";
import { viewOf } from "../format/layout.js";
import { LOG_GROUP_BYTES, log_entry, LOG_SEQ_INIT, LOG_SLOTS, MAP_ENT_ERROR, MAP_LBA_MASK } from "../format/nvdimm.js";
import { isAllZero } from "../lib/bytes.js";
import type { ArenaInfo } from "./btt-info.js";

/** Which slots hold a lane's two entries. */
export type LogSlots = readonly [first: number, second: number];

const CURRENT_SLOTS: LogSlots = [0, 1];
const OLD_SLOTS: LogSlots = [0, 2];

export interface LogEntry {
  readonly lba: number;
  /** The block that the write made free. */
  readonly oldBlock: number;
  /** That block could not be read: it is to be overwritten before it is used. */
  readonly isOldBlockBad: boolean;
  readonly newBlock: number;
  readonly seq: number;
}

/** What a lane's log says. */
export interface LaneLog {
  readonly newest: LogEntry;
  /** 0 or 1: which of the two entries the next write overwrites. */
  readonly olderEntry: 0 | 1;
}

export const nextSeq = (seq: number): number => (seq % 3) + 1;

/** @throws CorruptionError btt-log: the slots are used in no known way. */
export function logSlots(log: Uint8Array, arena: ArenaInfo): LogSlots {
  let used = 0;
  for (let lane = 0; lane < arena.laneCount; lane++) {
    const laneUsed = usedSlots(log, lane);
    if ((laneUsed & 1) === 0) throw badLog(arena, lane, 0, "seq", 0, "an entry");
    used |= laneUsed;
  }
  if (used === 0b001 || used === 0b011) return CURRENT_SLOTS;
  if (used === 0b101) return OLD_SLOTS;
  throw new CorruptionError("btt-log", { offset: arena.logAt, field: "slots", found: `0b${used.toString(2).padStart(4, "0")}`, expected: "entries in slots 0 and 1, or 0 and 2" });
}

/** Bit n: the lane's slot n is not all zero. */
function usedSlots(log: Uint8Array, lane: number): number {
  let used = 0;
  for (let slot = 0; slot < LOG_SLOTS; slot++) {
    const at = slotAt(lane, slot);
    if (!isAllZero(log.subarray(at, at + log_entry.$.size))) used |= 1 << slot;
  }
  return used;
}

export const slotAt = (lane: number, slot: number): number => lane * LOG_GROUP_BYTES + slot * log_entry.$.size;

/** @throws CorruptionError btt-log. */
export function readLane(log: Uint8Array, arena: ArenaInfo, lane: number, slots: LogSlots): LaneLog {
  const view = viewOf(log);
  const seqs = slots.map((slot) => log_entry.seq.get(view, slotAt(lane, slot)));
  const newer = newerOf(seqs[0]!, seqs[1]!);
  if (newer === undefined) throw badLog(arena, lane, slots[0], "seq", seqs.join(" and "), "two of 1, 2 and 3, or 0");
  const at = slotAt(lane, slots[newer]);
  const oldMap = log_entry.old_map.get(view, at);
  const newMap = log_entry.new_map.get(view, at);
  const newest: LogEntry = {
    lba: log_entry.lba.get(view, at), oldBlock: oldMap & MAP_LBA_MASK, newBlock: newMap & MAP_LBA_MASK, seq: seqs[newer]!,
    isOldBlockBad: (oldMap & ~MAP_LBA_MASK) >>> 0 === MAP_ENT_ERROR,
  };
  const inside = (field: string, value: number, limit: number): void => {
    if (value >= limit) throw badLog(arena, lane, slots[newer], field, value, `below ${limit}`);
  };
  inside("lba", newest.lba, arena.externalBlocks);
  inside("old_map", newest.oldBlock, arena.internalBlocks);
  inside("new_map", newest.newBlock, arena.internalBlocks);
  return { newest, olderEntry: newer === 0 ? 1 : 0 };
}

/** Which of two entries was written last; undefined: no two writes leave such numbers. */
function newerOf(first: number, second: number): 0 | 1 | undefined {
  if (first > 3 || second > 3 || first === second) return undefined;
  if (second === 0) return 0;
  if (first === 0) return 1;
  return nextSeq(first) === second ? 1 : 0;
}

/** One entry, as written in two halves. */
export function encodeLogEntry(view: DataView, entry: LogEntry): void {
  log_entry.lba.set(view, 0, entry.lba);
  log_entry.old_map.set(view, 0, entry.isOldBlockBad ? (entry.oldBlock | MAP_ENT_ERROR) >>> 0 : entry.oldBlock);
  log_entry.new_map.set(view, 0, entry.newBlock);
  log_entry.seq.set(view, 0, entry.seq);
}

/** The log of a new arena: each lane's free block is one of those behind the sectors'. */
export function initialLog(arena: ArenaInfo): Uint8Array {
  const log = new Uint8Array(arena.infoCopyAt - arena.logAt);
  const view = viewOf(log);
  for (let lane = 0; lane < arena.laneCount; lane++) {
    const at = slotAt(lane, 0);
    log_entry.lba.set(view, at, lane);
    log_entry.old_map.set(view, at, arena.externalBlocks + lane);
    log_entry.new_map.set(view, at, arena.externalBlocks + lane);
    log_entry.seq.set(view, at, LOG_SEQ_INIT);
  }
  return log;
}

function badLog(arena: ArenaInfo, lane: number, slot: number, field: string, found: number | string, expected: string): CorruptionError {
  return new CorruptionError("btt-log", { offset: arena.logAt + slotAt(lane, slot), field, found, expected });
}
