/** The package's door for browsers: images in Blobs and Files, in memory, and on web servers. Only promises read the first and the last. */
import type { BlockDevice } from "../../block/device.js";
import { credentialsOf, MemoryDevice, mountVolume, PmemDevice, Scheduler, Volume as CoreVolume, type OpenOptions as CoreOptions, type PathLike } from "../../api/index.js";
import { streamRange } from "../../api/path.js";
import { HttpDevice } from "../http-device.js";
import { BlobDevice } from "./blob-device.js";

export * from "../../api/index.js";
export { BlobDevice } from "./blob-device.js";
export { HttpDevice } from "../http-device.js";

/** A Blob or File, the image's bytes, its URL, or a device. */
export type Target = Blob | Uint8Array | string | URL | BlockDevice;

export interface OpenOptions extends CoreOptions {
  /** The device of an external journal. */
  journalDevice?: Target | undefined;
}

const clock = {
  now(): { sec: number; nsec: number } {
    const milliseconds = Date.now();
    const sec = Math.floor(milliseconds / 1000);
    return { sec, nsec: (milliseconds - sec * 1000) * 1_000_000 };
  },
};
const random = (): number => crypto.getRandomValues(new Uint32Array(1))[0]!;
const READ_STREAM_BYTES = 64 * 1024;
const host = { wrapBytes: (bytes: Uint8Array): Uint8Array => bytes };

export class Volume extends CoreVolume {
  /** The file's bytes start .. end (inclusive, as Node's) as a web stream. */
  createReadStream(path: PathLike, options: { start?: number; end?: number } = {}): ReadableStream<Uint8Array> {
    const { start, end } = streamRange(options);
    const open = this.promises.open(path);
    const close = async (): Promise<void> => await (await open).close();
    let position = start;
    return new ReadableStream({
      pull: async (controller) => {
        const bytes = new Uint8Array(Math.max(0, Math.min(READ_STREAM_BYTES, end + 1 - position)));
        try {
          const { bytesRead } = await (await open).read(bytes, 0, bytes.length, position);
          position += bytesRead;
          if (bytesRead > 0) return controller.enqueue(bytes.subarray(0, bytesRead));
        } catch (error) {
          await close().catch(() => undefined); // the file may not even have been opened
          throw error;
        }
        await close();
        controller.close();
      },
      cancel: close,
    });
  }
}

/** Bytes are persistent memory, if files are to be mapped there. */
async function deviceFor(target: Target, { readOnly = true, dax }: OpenOptions): Promise<BlockDevice> {
  if (typeof target === "string" || target instanceof URL) return await HttpDevice.open(String(target));
  if (target instanceof Uint8Array) return dax === "always" || dax === "inode" ? new PmemDevice(target, { readOnly }) : new MemoryDevice(target, { readOnly });
  return target instanceof Blob ? new BlobDevice(target) : target;
}

export const Ext4 = {
  /** Mounts an image, by default for reading; `readOnly: false` changes bytes in memory, or a device that can be written. @throws CorruptionError, UnsupportedFeatureError, FsError. */
  async open(target: Target, options: OpenOptions = {}): Promise<Volume> {
    const scheduler = new Scheduler();
    const device = await deviceFor(target, options);
    const journal = options.journalDevice === undefined ? undefined : await deviceFor(options.journalDevice, { readOnly: options.readOnly });
    const fs = await scheduler.runAsync(mountVolume(device, { clock, random, ...options }, journal), "mount");
    return new Volume(fs, scheduler, host, journal === undefined ? [device] : [device, journal], credentialsOf(options));
  },
};
