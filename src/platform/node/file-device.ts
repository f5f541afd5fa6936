/** A disk image in a file, or a block device, through Node's fs. Offsets may pass 2^31; a transfer that comes up short goes on where it stopped. */
import { closeSync, constants, fstatSync, fsyncSync, openSync, read, readFileSync, readSync, write, writeSync, fsync } from "node:fs";
import { basename } from "node:path";
import { promisify } from "node:util";
import type { Bio } from "../../block/device.js";
import { LeafDevice } from "../../block/leaf.js";
import { FsError } from "../../lib/errno.js";
import type { Task } from "../../sched/task.js";

const readAsync = promisify(read);
const writeAsync = promisify(write);
const fsyncAsync = promisify(fsync);

export class FileDevice extends LeafDevice {
  private isOpen = true;

  private constructor(private readonly fd: number, readonly name: string, readonly sizeBytes: number, readonly readOnly: boolean) {
    super();
  }

  /** @throws Node's own error, if the file cannot be opened. */
  static open(path: string, options: { readOnly?: boolean } = {}): FileDevice {
    const readOnly = options.readOnly ?? true;
    const fd = openSync(path, readOnly ? constants.O_RDONLY : constants.O_RDWR);
    try {
      const stats = fstatSync(fd);
      if (stats.isDirectory()) throw new FsError("EISDIR", undefined, { syscall: "open", path });
      return new FileDevice(fd, path, stats.isBlockDevice() ? blockDeviceBytes(path) : stats.size, readOnly);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  protected transferSync(bio: Bio): void {
    this.checkOpen();
    try {
      if (bio.op === "flush") return fsyncSync(this.fd);
      for (let done = 0; done < bio.data.length;) {
        const position = bio.offsetBytes + done;
        const moved = bio.op === "read"
          ? readSync(this.fd, bio.data, done, bio.data.length - done, position)
          : writeSync(this.fd, bio.data, done, bio.data.length - done, position);
        done += this.progress(bio, moved);
      }
      if (bio.fua === true) fsyncSync(this.fd);
    } catch (error) {
      throw this.failure(bio, error);
    }
  }

  protected async transferAsync(bio: Bio): Promise<void> {
    this.checkOpen();
    try {
      if (bio.op === "flush") return await fsyncAsync(this.fd);
      for (let done = 0; done < bio.data.length;) {
        const position = bio.offsetBytes + done;
        const { length } = bio.data;
        const moved = bio.op === "read"
          ? (await readAsync(this.fd, bio.data, done, length - done, position)).bytesRead
          : (await writeAsync(this.fd, bio.data, done, length - done, position)).bytesWritten;
        done += this.progress(bio, moved);
      }
      if (bio.fua === true) await fsyncAsync(this.fd);
    } catch (error) {
      throw this.failure(bio, error);
    }
  }

  *close(): Task<void> {
    if (this.isOpen) closeSync(this.fd);
    this.isOpen = false;
  }

  private checkOpen(): void {
    if (!this.isOpen) throw new FsError("EBADF", `${this.name} is closed`);
  }

  private progress(bio: Bio, moved: number): number {
    if (moved === 0) throw new FsError("EIO", `${bio.op} at ${bio.offsetBytes} of ${this.name} ended early: the file has shrunk`);
    return moved;
  }

  private failure(bio: Bio, error: unknown): unknown {
    if (error instanceof FsError || !(error instanceof Error)) return error;
    return new FsError("EIO", `${bio.op} at ${bio.offsetBytes} of ${this.name} failed: ${error.message}`);
  }
}

/** Linux tells a block device's size in sectors of 512 bytes. */
function blockDeviceBytes(path: string): number {
  try {
    return Number(readFileSync(`/sys/class/block/${basename(path)}/size`, "utf8")) * 512;
  } catch {
    throw new FsError("ENXIO", "the size of this block device is not known", { syscall: "open", path });
  }
}
