/** Small files packed together, so that a message to another thread carries many, and nothing of them is copied on the way. */
import { writeFile } from "./host-files.js";

const BATCH_BYTES = 256 * 1024;
const BATCH_FILES = 1024;
/** Numbers per file: bytes of its path, bytes of its data, mode. */
const RECORD_LENGTH = 3;

export interface Batch {
  /** Path and data of each file, one behind the other. */
  readonly bytes: Uint8Array;
  readonly records: Uint32Array;
  fileCount: number;
  usedBytes: number;
}

export interface Failure {
  readonly path: Uint8Array;
  readonly message: string;
}

export function newBatch(): Batch {
  return { bytes: new Uint8Array(BATCH_BYTES), records: new Uint32Array(BATCH_FILES * RECORD_LENGTH), fileCount: 0, usedBytes: 0 };
}

/** What a message takes along instead of copying it. */
export function transferred({ bytes, records }: Batch): ArrayBuffer[] {
  return [bytes.buffer as ArrayBuffer, records.buffer as ArrayBuffer];
}

/** Whether a file would fit into an empty batch. */
export function fitsInBatch(path: Uint8Array, data: Uint8Array): boolean {
  return path.length + data.length <= BATCH_BYTES;
}

/** @returns false: the batch is full. */
export function addFile(batch: Batch, path: Uint8Array, mode: number, data: Uint8Array): boolean {
  const end = batch.usedBytes + path.length + data.length;
  if (batch.fileCount === BATCH_FILES || end > BATCH_BYTES) return false;
  batch.bytes.set(path, batch.usedBytes);
  batch.bytes.set(data, batch.usedBytes + path.length);
  const record = batch.fileCount++ * RECORD_LENGTH;
  batch.records[record] = path.length;
  batch.records[record + 1] = data.length;
  batch.records[record + 2] = mode;
  batch.usedBytes = end;
  return true;
}

/** Creates the files and empties the batch. One that fails does not stop the others. */
export function writeBatch(batch: Batch): Failure[] {
  const failures: Failure[] = [];
  const { records } = batch;
  const bytes = Buffer.from(batch.bytes.buffer);
  let at = 0;
  for (let record = 0; record < batch.fileCount * RECORD_LENGTH; record += RECORD_LENGTH) {
    const path = bytes.subarray(at, (at += records[record]!));
    const data = bytes.subarray(at, (at += records[record + 1]!));
    try {
      writeFile(path, records[record + 2]!, data);
    } catch (error) {
      failures.push({ path: Uint8Array.from(path), message: (error as Error).message });
    }
  }
  batch.fileCount = batch.usedBytes = 0;
  return failures;
}
