/** The package's door for Node: images in files and on block devices, Buffers, streams, the host's clock, and a timer that writes back. */
import { Writable } from "node:stream";
import type { BlockDevice } from "../../block/device.js";
import { credentialsOf, FsError, mountVolume, Scheduler, writebackAged, Volume as CoreVolume, type EngineVolume, type OpenOptions as CoreOptions, type PathLike } from "../../api/index.js";
import { HttpDevice } from "../http-device.js";
import { FileDevice } from "./file-device.js";
import { hostClock, hostRandom } from "./host.js";
import { openPmemFile } from "./map-file.js";
import { ReadStream, type ReadStreamOptions } from "./read-stream.js";

export * from "../../api/index.js";
export { BlobDevice } from "../browser/blob-device.js";
export { FileDevice } from "./file-device.js";
export { openPmemFile } from "./map-file.js";
export { HttpDevice } from "../http-device.js";
export { ReadStream, type ReadStreamOptions } from "./read-stream.js";

export interface OpenOptions extends CoreOptions {
  /** The device of an external journal. */
  journalDevice?: string | BlockDevice | undefined;
}

export interface WriteStreamOptions {
  flags?: string | number | undefined;
  mode?: number | undefined;
  /** First byte to be written. Default: where `flags` say. */
  start?: number | undefined;
  highWaterMark?: number | undefined;
  encoding?: BufferEncoding | undefined;
  /** True: the stream is finished when the file is on stable storage. */
  flush?: boolean | undefined;
}

const WRITEBACK_INTERVAL_MS = 5000;
const host = { wrapBytes: (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) };

export class Volume extends CoreVolume<Buffer> {
  createReadStream(path: PathLike, options?: ReadStreamOptions | BufferEncoding | null): ReadStream {
    return new ReadStream(() => this.promises.open(path), path, options);
  }

  createWriteStream(path: PathLike, options: WriteStreamOptions | BufferEncoding = {}): Writable {
    const { flags = "w", mode = 0o666, start, flush = false, encoding, highWaterMark } = typeof options === "string" ? { encoding: options } : options;
    const open = this.promises.open(path, flags, mode);
    open.catch(() => undefined); // reported by the first write, or the end
    let position = start;
    const put = async (data: Buffer): Promise<void> => {
      await (await open).write(data, 0, data.length, position ?? null);
      if (position !== undefined) position += data.length;
    };
    return new Writable({
      highWaterMark, defaultEncoding: encoding ?? "utf8", decodeStrings: true,
      write(chunk: Buffer, _encoding, callback) {
        put(chunk).then(() => callback(), callback);
      },
      writev(chunks, callback) {
        put(Buffer.concat(chunks.map(({ chunk }) => chunk as Buffer))).then(() => callback(), callback);
      },
      final(callback) {
        (async () => { if (flush) await (await open).sync(); else await open; })().then(() => callback(), callback);
      },
      destroy(error, callback) {
        open.then((handle) => handle.close()).then(() => callback(error), () => callback(error));
      },
    });
  }
}

/** Every few seconds what is in memory alone is written, as a kernel does it. */
function startWriteback(volume: Volume): void {
  if (!volume.fs.isWritable) return;
  const timer = setInterval(() => {
    if (!volume.fs.isWritable) clearInterval(timer);
    else volume.runAsync(writebackAged(volume.fs), "writeback").catch(() => undefined); // the journal remembers, and the next call says it
  }, WRITEBACK_INTERVAL_MS);
  timer.unref();
}

function makeVolume(fs: EngineVolume, scheduler: Scheduler, devices: readonly BlockDevice[], options: OpenOptions): Volume {
  const volume = new Volume(fs, scheduler, host, devices, credentialsOf(options));
  startWriteback(volume);
  return volume;
}

const isUrl = (target: string): boolean => /^https?:\/\//.test(target);

/** The device behind a file's path, a block device's path, or a http(s) URL, which can only be read. @throws FsError; Node's own error if the file cannot be opened. */
export async function openDevice(target: string, options: { readOnly?: boolean } = {}): Promise<BlockDevice> {
  return isUrl(target) ? await HttpDevice.open(target) : FileDevice.open(target, options);
}

/** For files that are to be read where they lie the image is mapped into memory. @throws FsError EOPNOTSUPP dax "always" is asked for, and it cannot be mapped here. */
function openMapped(target: string, readOnly: boolean, { dax }: OpenOptions): BlockDevice | undefined {
  if (dax !== "always" && dax !== "inode") return undefined;
  const device = isUrl(target) ? undefined : openPmemFile(target, { writable: !readOnly });
  if (device !== undefined || dax === "inode") return device;
  const needs = isUrl(target) ? "a file" : "Linux on a 64-bit machine and the optional package koffi (npm install koffi)";
  throw new FsError("EOPNOTSUPP", `dax: "always" maps the image into memory, which needs ${needs}`, { syscall: "open", path: target });
}

const withDefaults = (options: OpenOptions): OpenOptions => ({ clock: hostClock, random: hostRandom, ...options });

export const Ext4 = {
  /**
   * Mounts an image, by default for reading: then it is never written, whatever its journal holds. With `readOnly: false` it may be changed; its journal is recovered first. Close it, or the next
   * mount has to recover what was synced and loses the rest.
   * @param target a file's path, a block device's path, a http(s) URL (for reading), or a device. With the option `dax` a file is mapped into memory, if Linux and the package koffi are there.
   * @throws CorruptionError, UnsupportedFeatureError, FsError; Node's own error if the file cannot be opened.
   */
  async open(target: string | BlockDevice, options: OpenOptions = {}): Promise<Volume> {
    const scheduler = new Scheduler();
    const readOnly = options.readOnly ?? true;
    const deviceFor = async (where: string | BlockDevice): Promise<BlockDevice> => (typeof where === "string" ? await openDevice(where, { readOnly }) : where);
    const devices = [typeof target === "string" ? openMapped(target, readOnly, options) ?? await deviceFor(target) : target];
    try {
      if (options.journalDevice !== undefined) devices.push(await deviceFor(options.journalDevice));
      return makeVolume(await scheduler.runAsync(mountVolume(devices[0]!, withDefaults(options), devices[1]), "mount"), scheduler, devices, options);
    } catch (error) {
      for (const device of devices) await scheduler.runAsync(device.close());
      throw error;
    }
  },

  /** The same at once. A URL cannot be opened so. */
  openSync(target: string | BlockDevice, options: OpenOptions = {}): Volume {
    const scheduler = new Scheduler();
    const readOnly = options.readOnly ?? true;
    const open = (where: string | BlockDevice): BlockDevice => (typeof where === "string" ? FileDevice.open(where, { readOnly }) : where);
    const devices = [typeof target === "string" ? openMapped(target, readOnly, options) ?? open(target) : target];
    try {
      if (options.journalDevice !== undefined) devices.push(open(options.journalDevice));
      return makeVolume(scheduler.runSync(mountVolume(devices[0]!, withDefaults(options), devices[1]), "mount"), scheduler, devices, options);
    } catch (error) {
      for (const device of devices) scheduler.runSync(device.close());
      throw error;
    }
  },
};
