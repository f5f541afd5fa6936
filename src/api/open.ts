/** Opening a volume on a device: the partition, the namespace of persistent memory, the mount, the volume around it. */
import type { BlockDevice } from "../block/device.js";
import { openPartition } from "../block/partition.js";
import { mountExt4 } from "../ext4/mount.js";
import type { DaxMode } from "../ext4/dax.js";
import type { DataMode, ErrorsPolicy, Ext4 } from "../ext4/super.js";
import { deviceInside } from "../nvdimm/namespace.js";
import type { VmEvents } from "../mm/events.js";
import type { Clock } from "../sched/clock.js";
import type { Task } from "../sched/task.js";
import { ROOT, type Credentials } from "../vfs/permission.js";

export interface OpenOptions {
  /** False: the volume may be changed. Default true: the image is never written, whatever its journal holds. */
  readOnly?: boolean | undefined;
  /** The partition of a GPT or MBR disk that holds the filesystem, as Linux numbers it. Default: the whole device. */
  partition?: number | undefined;
  /** False: read on where a checksum is wrong. Default true. */
  checksum?: boolean | undefined;
  /** True: leave a dirty journal alone and see the filesystem as it was at some moment before the crash, perhaps inconsistent. Read-only. */
  noload?: boolean | undefined;
  /** Bytes of memory for metadata blocks. Default 64 MiB. */
  bufferCacheBytes?: number | undefined;
  /** Bytes of memory for file data, written or not. Default 32 MiB. */
  pageCacheBytes?: number | undefined;
  /** As whom files are used: permissions are checked for all but user 0. Default: root, with a umask of 022. */
  credentials?: Partial<Credentials> | undefined;
  /** How data and metadata hang together after a crash, as the mount option data=. Default ordered. */
  dataMode?: DataMode | undefined;
  /**
   * Which files are read and written where they lie in persistent memory, without a page cache, and can be mapped (FileMapping), as the mount option dax=: "always" all that can be, "inode" those whose
   * flag says so (chattr +x), "never" none. It takes a device that is memory: a PmemDevice. Default "inode". @throws FsError EINVAL "always", and the device, the block size, data=journal or
   * inline data are against it.
   */
  dax?: DaxMode | undefined;
  /** False: a file's flag for journaled data (chattr +j) counts, as with the mount option nodelalloc. Default true, and then it does not, as in Linux. */
  delalloc?: boolean | undefined;
  /** What damage does to a volume that may be changed. Default: what the superblock says. */
  errors?: ErrorsPolicy | undefined;
  /** Where tracepoints and counters of faults and the journal go. */
  events?: VmEvents | undefined;
  /** Where times come from. Default: the host's clock. */
  clock?: Clock | undefined;
  /** 32 random bits. Default: the host's generator. */
  random?: (() => number) | undefined;
}

export function* mountVolume(device: BlockDevice, options: OpenOptions, journalDevice?: BlockDevice): Task<Ext4> {
  const target = yield* deviceInside(options.partition === undefined ? device : yield* openPartition(device, options.partition));
  const { readOnly, noload, bufferCacheBytes, pageCacheBytes, dataMode, dax, delalloc, errors, events, clock, random } = options;
  return yield* mountExt4(target, { readOnly, journalDevice, verifyChecksums: options.checksum, noload, bufferCacheBytes, pageCacheBytes, dataMode, dax, delalloc, errors, events, clock, random });
}

export function credentialsOf(options: OpenOptions): Credentials {
  return { ...ROOT, ...options.credentials };
}
