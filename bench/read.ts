/** Reading a large file through the API, against reading the same bytes of the image as they lie there: what the filesystem costs on top of the read calls. */
import { createReadStream, openSync, read as readWithCallback, readSync } from "node:fs";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { Ext4 } from "ext4";
import { bigFileImage } from "./images.js";
import type { Comparison } from "./measure.js";
import type { Scale } from "./scale.js";

const readAsync = promisify(readWithCallback);
const MIB = 2 ** 20;
const PATH = "/big";
const TARGET = 0.8;

/** One contiguous piece of the file in the image. */
interface Run { readonly offsetBytes: number; readonly lengthBytes: number }

/** All runs in pieces of at most 1 MiB. */
function piecesOf(runs: readonly Run[]): Run[] {
  return runs.flatMap(({ offsetBytes, lengthBytes }) => Array.from({ length: Math.ceil(lengthBytes / MIB) }, (_, index) => (
    { offsetBytes: offsetBytes + index * MIB, lengthBytes: Math.min(MIB, lengthBytes - index * MIB) }
  )));
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
  const pieces = piecesOf(runs);
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
        { name: "fs.readSync of the same bytes", round: (timed) => check(timed(() => {
          let total = 0;
          for (const { offsetBytes, lengthBytes } of pieces) total += readSync(rawFd, buffer, 0, lengthBytes, offsetBytes);
          return total;
        })) },
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
      ...shared, title: "the same with promises",
      contenders: [
        { name: "fs.read of the same bytes", round: async (timed) => check(await timed(async () => {
          let total = 0;
          for (const { offsetBytes, lengthBytes } of pieces) total += (await readAsync(rawFd, buffer, 0, lengthBytes, offsetBytes)).bytesRead;
          return total;
        })) },
        { name: "volume FileHandle.read", target: TARGET, round: async (timed) => check(await timed(async () => {
          const handle = await volume.promises.open(PATH);
          let total = 0;
          for (let count; (count = (await handle.read(buffer)).bytesRead) > 0;) total += count;
          await handle.close();
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
