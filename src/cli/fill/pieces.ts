/**
 * Pieces of the host's files on their way into an image. They are packed in batches in shared memory, so that any thread can take one. Whoever does gathers what stands side by side in the image in a
 * buffer: the image gets few large writes, however small the files are.
 */
import { closeSync, constants, openSync, readSync } from "node:fs";
import type { Piece } from "../../mkfs/tree-source.js";
import { writeFully } from "../host-files.js";

const BATCH_PATH_BYTES = 64 * 1024;
const BATCH_PIECES = 512;
/** A batch that has so much is full. */
const BATCH_BYTES = 2 * 2 ** 20;
/** Numbers per piece: bytes of its path, then as in Piece. */
const RECORD_LENGTH = 5;
/** Small enough to stay in a processor's cache between a read and its write. */
const BUFFER_BYTES = 512 * 1024;
/** A name that has become a pipe or a link since it was looked at is not waited for, or followed. */
const READ_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

export interface Batch {
  /** Paths, one behind the other. */
  readonly paths: Uint8Array;
  readonly records: Float64Array;
  readonly pieceCount: number;
  readonly dataBytes: number;
}

export class BatchBuilder {
  private paths = new Uint8Array(new SharedArrayBuffer(BATCH_PATH_BYTES));
  private records = new Float64Array(new SharedArrayBuffer(BATCH_PIECES * RECORD_LENGTH * 8));
  private pathBytes = 0;
  private pieceCount = 0;
  private dataBytes = 0;

  /** @returns false: the batch is full. */
  add(path: Uint8Array, { offsetBytes, dataBytes, at, lengthBytes }: Piece): boolean {
    if (this.pieceCount === BATCH_PIECES || this.dataBytes >= BATCH_BYTES || this.pathBytes + path.length > BATCH_PATH_BYTES) return false;
    this.paths.set(path, this.pathBytes);
    this.pathBytes += path.length;
    this.records.set([path.length, offsetBytes, dataBytes, at, lengthBytes], this.pieceCount++ * RECORD_LENGTH);
    this.dataBytes += lengthBytes;
    return true;
  }

  /** What there is, cut to size; undefined: nothing. */
  take(): Batch | undefined {
    if (this.pieceCount === 0) return undefined;
    const { pieceCount, dataBytes } = this;
    const batch = { paths: sharedCopy(this.paths, this.pathBytes), records: sharedNumbers(this.records, pieceCount * RECORD_LENGTH), pieceCount, dataBytes };
    this.pathBytes = this.pieceCount = this.dataBytes = 0;
    return batch;
  }
}

function sharedCopy(bytes: Uint8Array, length: number): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(length));
  copy.set(bytes.subarray(0, length));
  return copy;
}

function sharedNumbers(numbers: Float64Array, length: number): Float64Array {
  const copy = new Float64Array(new SharedArrayBuffer(length * 8));
  copy.set(numbers.subarray(0, length));
  return copy;
}

/** Brings batches into one image, one after the other. */
export class BatchCopier {
  private readonly buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  private filledBytes = 0;
  /** Where in the image the buffer's bytes belong. */
  private at = 0;

  /** @param startBytes where in the image the filesystem begins. */
  constructor(private readonly image: number, private readonly startBytes: number) {}

  /** @throws Node's own errors; the batch is then half done. */
  copy({ paths, records, pieceCount }: Batch): void {
    const pathBytes = Buffer.from(paths); // Node takes no path in shared memory
    this.filledBytes = 0;
    for (let index = 0, pathAt = 0; index < pieceCount; index++) {
      const record = index * RECORD_LENGTH;
      const path = pathBytes.subarray(pathAt, (pathAt += records[record]!));
      this.copyPiece(path, { offsetBytes: records[record + 1]!, dataBytes: records[record + 2]!, at: records[record + 3]!, lengthBytes: records[record + 4]! });
    }
    this.flush();
  }

  private copyPiece(path: Buffer, piece: Piece): void {
    if (piece.at !== this.at + this.filledBytes) {
      this.flush();
      this.at = piece.at;
    }
    const fd = openSync(path, READ_FLAGS);
    try {
      for (let done = 0; done < piece.lengthBytes;) {
        if (this.filledBytes === BUFFER_BYTES) this.flush();
        const length = Math.min(piece.lengthBytes - done, BUFFER_BYTES - this.filledBytes);
        this.fill(fd, piece.offsetBytes + done, Math.min(length, Math.max(0, piece.dataBytes - done)), length);
        done += length;
      }
    } finally {
      closeSync(fd);
    }
  }

  /** Takes `length` bytes in, of which so many are the file's and the rest zeroes; so is what the file does not have any more. */
  private fill(fd: number, position: number, dataBytes: number, length: number): void {
    const { buffer, filledBytes: from } = this;
    let done = 0;
    while (done < dataBytes) {
      const count = readSync(fd, buffer, from + done, dataBytes - done, position + done);
      if (count === 0) break;
      done += count;
    }
    if (done < length) buffer.fill(0, from + done, from + length);
    this.filledBytes += length;
  }

  private flush(): void {
    if (this.filledBytes > 0) writeFully(this.image, this.buffer.subarray(0, this.filledBytes), this.startBytes + this.at);
    this.at += this.filledBytes;
    this.filledBytes = 0;
  }
}
