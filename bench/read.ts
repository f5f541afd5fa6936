/** Reading a large file through the API, against reading the same bytes of the image as they lie there: what the filesystem costs on top of the read calls. */
import { createReadStream, openSync, readSync } from "node:fs";
import type { Readable } from "node:stream";
import { Ext4 } from "ext4";
import { bigFileImage } from "./images.js";
import type { Comparison } from "./measure.js";
import type { Scale } from "./scale.js";

const MIB = 2 ** 20;
const PATH = "/big";
const TARGET = 0.8;

/** One contiguous piece of the file in the image. */
interface Run { readonly offsetBytes: number; readonly lengthBytes: number }

/** Reads all runs in pieces of at most 1 MiB. Returns the bytes read. */
function readRaw(runs: readonly Run[], readAt: (lengthBytes: number, offsetBytes: number) => number): number {
  let total = 0;
  for (const { offsetBytes, lengthBytes } of runs) {
    for (let done = 0; done < lengthBytes;) {
      const count = readAt(Math.min(MIB, lengthBytes - done), offsetBytes + done);
      done += count;
      total += count;
    }
  }
  return total;
}

async function drain(stream: Readable): Promise<number> {
  let total = 0;
  for await (const piece of stream) total += (piece as Buffer).length;
  return total;
}

export async function read({ fileMib, rounds }: Scale): Promise<Comparison[]> {
  const image = bigFileImage(fileMib);
  const volume = Ext4.openSync(image);
  const runs = volume.fiemapSync(PATH).map(({ pblk, count }) => ({ offsetBytes: pblk * volume.blockSize, lengthBytes: count * volume.blockSize }));
  const buffer = Buffer.alloc(MIB);
  const rawFd = openSync(image, "r");
  const shared = { amount: fileMib, unit: "MiB", rounds: rounds + 2 };
  const check = (bytes: number): void => {
    if (bytes !== fileMib * MIB) throw new Error(`${bytes} bytes were read, not ${fileMib} MiB`);
  };
  const first = runs[0]!.offsetBytes;
  return [
    {
      ...shared, title: "reading a file, 1 MiB at a time",
      contenders: [
        { name: "fs.readSync of the same bytes", round: (timed) => check(timed(() => readRaw(runs, (length, at) => readSync(rawFd, buffer, 0, length, at)))) },
        { name: "volume.readSync", target: TARGET, round: (timed) => check(timed(() => {
          const fd = volume.openSync(PATH);
          let total = 0;
          for (let count; (count = volume.readSync(fd, buffer)) > 0;) total += count;
          volume.closeSync(fd);
          return total;
        })) },
      ],
    },
    {
      ...shared, title: "reading a file as a stream of 1 MiB pieces",
      contenders: [
        { name: "fs.createReadStream of the image", round: async (timed) => { await timed(() => drain(createReadStream(image, { start: first, end: first + fileMib * MIB - 1, highWaterMark: MIB }))); } },
        { name: "volume.createReadStream", target: TARGET, round: async (timed) => check(await timed(() => drain(volume.createReadStream(PATH, { highWaterMark: MIB })))) },
      ],
    },
  ];
}
