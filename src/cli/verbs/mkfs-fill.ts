/** mkfs -d: fills a filesystem that was just made with what is in a folder, as cp -a would. Nobody has seen it yet, so it needs no journal; and all that chance would decide follows from its uuid. */
import type { BlockDevice } from "../../block/device.js";
import { mountVolume } from "../../api/index.js";
import { unmountExt4 } from "../../ext4/mount-writable.js";
import { crc32c } from "../../lib/crc32c.js";
import type { MkfsOptions } from "../../mkfs/options.js";
import type { Task } from "../../platform/node/index.js";
import { ManualClock } from "../../sched/clock.js";
import { rootDentry } from "../../vfs/namei.js";
import { fixedTimeSec } from "../clock.js";
import { hostAccess, openHostNode } from "../copy-in/host-source.js";
import { TreeWriter } from "../copy-in/tree-writer.js";
import type { Output } from "../output.js";

export interface Filling {
  /** A folder of the host. */
  readonly directory: string;
  readonly image: string;
  readonly options: MkfsOptions;
  readonly journalDevice: BlockDevice | undefined;
}

/** @throws FsError ENOSPC …, and the host's errors: then the filesystem is of no use. */
export function* fill(device: BlockDevice, { directory, image, options, journalDevice }: Filling, out: Output): Task<void> {
  const fs = yield* mountVolume(device, { readOnly: false, isFresh: true, clock: new ManualClock(options.timeSec), random: numbersFrom(options.uuid, options.hashSeed) }, journalDevice);
  const writer = new TreeWriter(fs, image, { isRecursive: true, isArchive: true, isStrict: true, latestSec: fixedTimeSec() }, out);
  try {
    yield* writer.beginInto(openHostNode(hostAccess(true), directory, new Uint8Array(0), true), rootDentry(fs.root));
    for (let step = writer.next(); step !== undefined; step = writer.next()) yield* fs.operation(step);
  } finally {
    writer.abandon();
  }
  writer.finish();
  yield* unmountExt4(fs);
}

/** Numbers of 32 bits that follow from the seeds: Weyl's sequence, mixed as in splitmix32. */
function numbersFrom(...seeds: readonly Uint8Array[]): () => number {
  let state = seeds.reduce((sum, seed) => crc32c(sum, seed), 0xffff_ffff);
  return () => {
    state = (state + 0x9e37_79b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0_aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a_2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
}
