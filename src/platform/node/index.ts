/** The package's door for Node: images in files and on block devices, Buffers, streams. */
import { Readable, type ReadableOptions } from "node:stream";
import type { BlockDevice } from "../../block/device.js";
import { mountVolume, Scheduler, Volume as CoreVolume, type OpenOptions as CoreOptions, type PathLike } from "../../api/index.js";
import { HttpDevice } from "../http-device.js";
import { FileDevice } from "./file-device.js";

export * from "../../api/index.js";
export { BlobDevice } from "../browser/blob-device.js";
export { FileDevice } from "./file-device.js";
export { HttpDevice } from "../http-device.js";

export interface OpenOptions extends CoreOptions {
  /** The device of an external journal. */
  journalDevice?: string | BlockDevice | undefined;
}

export interface ReadStreamOptions {
  /** First byte. Default 0. */
  start?: number | undefined;
  /** Last byte, inclusive, as Node's. */
  end?: number | undefined;
  highWaterMark?: number | undefined;
  encoding?: BufferEncoding | undefined;
}

const READ_STREAM_BYTES = 64 * 1024;
const host = { wrapBytes: (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) };

export class Volume extends CoreVolume {
  createReadStream(path: PathLike, options: ReadStreamOptions | BufferEncoding = {}): Readable {
    const { start = 0, end = Infinity, highWaterMark = READ_STREAM_BYTES, encoding } = typeof options === "string" ? { encoding: options } : options;
    const open = this.promises.open(path);
    open.catch(() => undefined); // reported by the first read
    let position = start;
    const streamOptions: ReadableOptions = {
      highWaterMark,
      read(size) {
        void (async () => {
          const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(size, end + 1 - position)));
          const { bytesRead } = buffer.length === 0 ? { bytesRead: 0 } : await (await open).read(buffer, 0, buffer.length, position);
          position += bytesRead;
          this.push(bytesRead === 0 ? null : buffer.subarray(0, bytesRead));
        })().catch((error: unknown) => this.destroy(error as Error));
      },
      destroy(error, callback) {
        open.then((handle) => handle.close()).then(() => callback(error), () => callback(error));
      },
    };
    if (encoding !== undefined) streamOptions.encoding = encoding;
    return new Readable(streamOptions);
  }
}

async function deviceFor(target: string | BlockDevice): Promise<BlockDevice> {
  if (typeof target !== "string") return target;
  return /^https?:\/\//.test(target) ? await HttpDevice.open(target) : FileDevice.open(target);
}

export const Ext4 = {
  /**
   * Mounts an image for reading. The image is never written, whatever its journal holds.
   * @param target a file's path, a block device's path, a http(s) URL, or a device.
   * @throws CorruptionError, UnsupportedFeatureError, FsError; Node's own error if the file cannot be opened.
   */
  async open(target: string | BlockDevice, options: OpenOptions = {}): Promise<Volume> {
    const scheduler = new Scheduler();
    const devices = [await deviceFor(target)];
    try {
      if (options.journalDevice !== undefined) devices.push(await deviceFor(options.journalDevice));
      return new Volume(await scheduler.runAsync(mountVolume(devices[0]!, options, devices[1]), "mount"), scheduler, host, devices);
    } catch (error) {
      for (const device of devices) await scheduler.runAsync(device.close());
      throw error;
    }
  },

  /** The same at once. A URL cannot be opened so. */
  openSync(target: string | BlockDevice, options: OpenOptions = {}): Volume {
    const scheduler = new Scheduler();
    const open = (where: string | BlockDevice): BlockDevice => (typeof where === "string" ? FileDevice.open(where) : where);
    const devices = [open(target)];
    try {
      if (options.journalDevice !== undefined) devices.push(open(options.journalDevice));
      return new Volume(scheduler.runSync(mountVolume(devices[0]!, options, devices[1]), "mount"), scheduler, host, devices);
    } catch (error) {
      for (const device of devices) scheduler.runSync(device.close());
      throw error;
    }
  },
};
