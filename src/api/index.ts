/** What both front doors, Node's and the browser's, give out. */
export { CorruptionError, UnsupportedFeatureError, type CorruptionKind, type CorruptionPlace } from "../format/corruption.js";
export { FsError, type ErrnoCode } from "../lib/errno.js";
export { MemoryDevice } from "../block/memory.js";
export { OverlayDevice } from "../block/overlay.js";
export { openPartition, PartitionDevice, readPartitions, type Partition } from "../block/partition.js";
export type { Bio, BlockDevice } from "../block/device.js";
export { runAsync, runSync, Scheduler } from "../sched/scheduler.js";
export type { Task } from "../sched/task.js";
export { walkTree, type Visitor, type WalkEntry } from "../vfs/walk.js";
export type { Inode, Timespec } from "../vfs/inode.js";
export { Dentry, dentryPath, pathLookup, rootDentry } from "../vfs/namei.js";
export { Dir, FileHandle } from "./handles.js";
export type { FiemapExtent, FlagsInfo } from "./operations.js";
export type { BufferEncoding, PathLike } from "./path.js";
export { BigIntStats, Dirent, Stats, type StatFs } from "./stats.js";
export { Volume, type VolumePromises } from "./volume.js";
export { mountVolume, type OpenOptions } from "./open.js";
