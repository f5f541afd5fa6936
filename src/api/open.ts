/** Opening a volume on a device: the partition, the mount, the volume around it. */
import type { BlockDevice } from "../block/device.js";
import { openPartition } from "../block/partition.js";
import { mountExt4, type Ext4 } from "../ext4/super.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";

export interface OpenOptions {
  /** Only reading is possible so far; false is EROFS. */
  readOnly?: boolean | undefined;
  /** The partition of a GPT or MBR disk that holds the filesystem, as Linux numbers it. Default: the whole device. */
  partition?: number | undefined;
  /** False: read on where a checksum is wrong. Default true. */
  checksum?: boolean | undefined;
  /** True: leave a dirty journal alone and see the filesystem as it was at some moment before the crash, perhaps inconsistent. */
  noload?: boolean | undefined;
  /** Bytes of memory for metadata blocks. Default 64 MiB. */
  bufferCacheBytes?: number | undefined;
}

export function* mountVolume(device: BlockDevice, options: OpenOptions, journalDevice?: BlockDevice): Task<Ext4> {
  if (options.readOnly === false) throw new FsError("EROFS", "volumes are read-only so far");
  const target = options.partition === undefined ? device : yield* openPartition(device, options.partition);
  return yield* mountExt4(target, {
    journalDevice, verifyChecksums: options.checksum, noload: options.noload, bufferCacheBytes: options.bufferCacheBytes,
  });
}
