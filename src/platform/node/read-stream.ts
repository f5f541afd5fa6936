/** As Node's fs.ReadStream: a file's bytes, read as they are asked for, in pieces of highWaterMark. */
import { Readable } from "node:stream";
import type { FileHandle, PathLike } from "../../api/index.js";
import { optionsOf, pathBytes, shownPath, streamRange } from "../../api/path.js";

export interface ReadStreamOptions {
  /** First byte. Default 0. */
  start?: number | undefined;
  /** Last byte, inclusive, as Node's. */
  end?: number | undefined;
  highWaterMark?: number | undefined;
  encoding?: BufferEncoding | null | undefined;
  signal?: AbortSignal | undefined;
}

const READ_STREAM_BYTES = 64 * 1024;

export class ReadStream extends Readable {
  readonly path: string;
  bytesRead = 0;
  private handle: FileHandle | undefined;
  private positionBytes: number;
  private readonly endBytes: number;

  constructor(private readonly openFile: () => Promise<FileHandle>, path: PathLike, options?: ReadStreamOptions | BufferEncoding | null) {
    const { highWaterMark = READ_STREAM_BYTES, encoding, signal, ...range } = optionsOf<ReadStreamOptions>(options);
    const { start, end } = streamRange(range);
    pathBytes(path); // what is no path is the caller's mistake, and told at once
    super({ highWaterMark, ...(encoding === undefined ? {} : { encoding }), ...(signal === undefined ? {} : { signal }) });
    this.path = shownPath(path);
    this.positionBytes = start;
    this.endBytes = end;
  }

  /** Whether the file is still to be opened. */
  get pending(): boolean {
    return this.handle === undefined;
  }

  close(callback?: (error?: Error | null) => void): void {
    if (callback !== undefined) this.once("close", callback);
    this.destroy();
  }

  override _construct(callback: (error?: Error | null) => void): void {
    this.openFile().then((handle) => {
      this.handle = handle;
      callback();
      this.emit("open", handle.fd);
      this.emit("ready");
    }, callback);
  }

  override _read(size: number): void {
    const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(size, this.endBytes + 1 - this.positionBytes)));
    if (buffer.length === 0) {
      this.push(null);
      return;
    }
    this.handle!.read(buffer, 0, buffer.length, this.positionBytes).then(({ bytesRead }) => {
      this.positionBytes += bytesRead;
      this.bytesRead += bytesRead;
      this.push(bytesRead === 0 ? null : buffer.subarray(0, bytesRead));
    }, (error: Error) => this.destroy(error));
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (this.handle === undefined) return callback(error);
    this.handle.close().then(() => callback(error), (closing: Error) => callback(error ?? closing));
  }
}
