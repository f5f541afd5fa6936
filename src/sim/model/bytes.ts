/**
 * A file as bytes that each stand for themselves: ext4 promises no reader that a larger write is seen as a whole. Here a file is cut into segments, whose bytes have been touched by the same calls in the
 * same way, and each call becomes an action on the bytes of a segment.
 */
import { hasEnded, isDataRecord, type CallRecord, type DataRead, type DataRecord, type DataWrite, type FileId } from "./history.js";
import type { Step } from "./order.js";

export const PAGE_BYTES = 4096;
const SECTOR_BYTES = 512;
const SHORT_BYTES = 64;
/** Pages of a segment that are looked at: all of 4 MiB. */
const SAMPLE_MAX = 1024;

/**
 * What a call does to a byte, or has seen of it:
 * set, a write's byte; store, the same, which makes no file longer; fill, what was behind the end becomes zero; cut, it is behind the end; zero, zero if it was not behind the end; clear, zero;
 * see, a read's byte or its end of file; inside and outside, it is the first of a page of which a load or store found that it begins before the end, or not.
 */
export type Deed = "set" | "store" | "fill" | "cut" | "zero" | "clear" | "see" | "inside" | "outside";

export interface Action extends Step { readonly deed: Deed; readonly record: DataRecord }

/** A write of which it is known where. */
type PlacedWrite = DataWrite & { readonly offset: number };
type PlacedRecord = PlacedWrite | Exclude<DataRecord, DataWrite>;

export const doneBytesOf = ({ doneBytes, code, bytes, end }: DataWrite): number => doneBytes ?? (code === undefined && end !== Infinity ? bytes.length : 0);
const isPartial = (record: DataWrite): boolean => record.code !== undefined || !hasEnded(record);
/** Bytes that a write may have changed. */
const reachOf = (record: DataWrite): number => (isPartial(record) ? record.bytes.length : doneBytesOf(record));

/** The records of one file that judges of bytes look at. Reads that failed or have not ended tell nothing. */
export function recordsOf(records: readonly CallRecord[], file: FileId, initialBytes: number): PlacedRecord[] {
  const own = records.filter((record): record is DataRecord => isDataRecord(record) && record.file === file && !(record.kind === "read" && (record.code !== undefined || !hasEnded(record))));
  return placeAppends(own, initialBytes);
}

/**
 * An append under way ends wherever the file does at its moment. It becomes one that may have happened at each place where the file can have ended; that it might then happen twice lets more pass than it
 * should, and nothing less.
 */
function placeAppends(records: readonly DataRecord[], initialBytes: number): PlacedRecord[] {
  const isPlaced = (record: DataRecord): record is PlacedRecord => record.kind !== "write" || record.offset !== undefined;
  const placed = records.filter(isPlaced);
  if (placed.length === records.length) return placed;
  const appends = records.filter((record): record is DataWrite => !isPlaced(record));
  const ends = new Set([initialBytes, ...placed.map(endOf).filter((end) => end !== undefined)]);
  appends.forEach(() => {
    for (const end of [...ends]) for (const { bytes } of appends) ends.add(end + bytes.length);
  });
  return [...placed, ...appends.flatMap((record) => [...ends].map((offset): PlacedWrite => ({ ...record, offset })))].sort((a, b) => a.begin - b.begin);
}

/** Where the file may end by this call. */
function endOf(record: PlacedRecord): number | undefined {
  if (record.kind === "write") return record.isStore ? undefined : record.offset + reachOf(record);
  if (record.kind === "size") return record.sizeBytes;
  return record.kind === "zero" && !record.keepsSize ? record.offset + record.lengthBytes : undefined;
}

/** Bytes `start` .. `end` - 1. The last segment of a file is all that lies behind, with `end` Infinity. */
export interface Segment { readonly start: number; readonly end: number; readonly actions: readonly Action[] }

/** @param edges further places where a segment must end: sizes, ranges of a sync. */
export function segmentsOf(records: readonly PlacedRecord[], edges: readonly number[]): Segment[] {
  const places = new Set([0, ...edges]);
  for (const record of records) addEdges(record, places);
  places.delete(Infinity);
  const starts = [...places].sort((a, b) => a - b);
  const sorted = [...records].sort((a, b) => a.begin - b.begin);
  return starts.map((start, index) => {
    const actions: Action[] = [];
    for (const record of sorted) {
      const action = actionOf(record, start);
      if (action !== undefined && !isAgain(action, actions)) actions.push(action);
    }
    return { start, end: starts[index + 1] ?? Infinity, actions };
  });
}

/** An append under way stands here once for each place that it may have; before which of them a byte lies makes no difference, nor, where all its bytes are the same, in which. */
function isAgain({ deed, begin, record }: Action, actions: readonly Action[]): boolean {
  if (deed !== "fill" && deed !== "set") return false;
  return actions.some((other) => other.begin === begin && other.deed === deed && (deed === "fill" || isUniform((record as DataWrite).bytes)));
}

const isUniform = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === bytes[0]);

function addEdges(record: PlacedRecord, places: Set<number>): void {
  if (record.kind === "size") places.add(record.sizeBytes);
  else if (record.kind === "zero") places.add(record.offset).add(record.offset + record.lengthBytes);
  else {
    const { offset, bytes } = record;
    places.add(offset).add(offset + bytes.length);
    if (record.kind === "write") places.add(offset + doneBytesOf(record));
    else places.add(offset + record.askedBytes);
    // What a page's first byte tells of its page.
    if (record.kind === "read" ? record.isLoad : record.isStore) {
      if (offset % PAGE_BYTES !== 0) places.add(pageOf(offset)).add(pageOf(offset) + 1);
    }
  }
}

const pageOf = (at: number): number => Math.floor(at / PAGE_BYTES) * PAGE_BYTES;

/** What `record` does to the bytes of the segment that starts at `start`; undefined: nothing. */
function actionOf(record: PlacedRecord, start: number): Action | undefined {
  const deed = deedOf(record, start);
  if (deed === undefined) return undefined;
  const { begin, end } = record;
  const isSight = deed === "see" || deed === "inside" || deed === "outside";
  const isCertain = record.kind !== "write" ? record.code === undefined : deed === "set" || deed === "store" ? start < record.offset + doneBytesOf(record) : doneBytesOf(record) > 0;
  return { begin, end, deed, record, isSight, isWanted: hasEnded(record) && isCertain, mayBeAbsent: hasEnded(record) && !isCertain };
}

function deedOf(record: PlacedRecord, start: number): Deed | undefined {
  if (record.kind === "size") return start >= record.sizeBytes ? "cut" : "fill";
  if (record.kind === "zero") {
    const isWithin = start >= record.offset && start < record.offset + record.lengthBytes;
    if (isWithin) return record.keepsSize ? "zero" : "clear";
    return !record.keepsSize && start < record.offset ? "fill" : undefined;
  }
  const { offset } = record;
  if (record.kind === "read") return sightOf(record, start);
  const reach = reachOf(record);
  if (reach === 0) return undefined;
  if (start >= offset && start < offset + reach) return record.isStore ? "store" : "set";
  if (!record.isStore) return start < offset ? "fill" : undefined;
  return record.code === undefined && hasEnded(record) && start === pageOf(offset) ? "inside" : undefined;
}

function sightOf({ offset, bytes, askedBytes, isLoad }: DataRead, start: number): Deed | undefined {
  if (start >= offset && start < offset + askedBytes) return "see";
  if (!isLoad || start !== pageOf(offset) || askedBytes === 0) return undefined;
  return bytes.length > 0 ? "inside" : "outside";
}

/** The byte that a write left, or a read saw, at `at`; undefined: END_OF_FILE. */
export function byteOf({ offset, bytes }: { readonly offset: number | undefined; readonly bytes: Uint8Array }, at: number): number | undefined {
  return bytes[at - offset!];
}

/** Bytes of a segment that stand for all of them: of a short one each, else the first and the last, and in between those where sectors (in a long one, pages) begin, as data comes and goes in these. */
export function sampleOf({ start, end }: Segment): number[] {
  if (end === Infinity || end === start + 1) return [start];
  const bytes = end - start;
  if (bytes <= SHORT_BYTES) return Array.from({ length: bytes }, (_, index) => start + index);
  const stride = bytes <= 64 * 1024 ? SECTOR_BYTES : Math.ceil(bytes / (SAMPLE_MAX * PAGE_BYTES)) * PAGE_BYTES;
  const sample = [start];
  for (let at = (Math.floor(start / stride) + 1) * stride; at < end - 1; at += stride) sample.push(at);
  sample.push(end - 1);
  return sample;
}
