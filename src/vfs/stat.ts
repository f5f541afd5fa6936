/** What statx and fiemap tell of a file. Source: fs/stat.c, ext4_getattr (fs/ext4/inode.c), fs/ioctl.c (ioctl_fiemap), include/uapi/linux/stat.h, fiemap.h. */
import { EXT4_APPEND_FL, EXT4_COMPR_FL, EXT4_ENCRYPT_FL, EXT4_IMMUTABLE_FL, EXT4_INLINE_DATA_FL, EXT4_NODUMP_FL, EXT4_VERITY_FL } from "../format/inode.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import type { FileExtent, Inode, Timespec } from "./inode.js";

export const STATX_BASIC_STATS = 0x7ff;
export const STATX_BTIME = 0x800;

export const STATX_ATTR_COMPRESSED = 0x4;
export const STATX_ATTR_IMMUTABLE = 0x10;
export const STATX_ATTR_APPEND = 0x20;
export const STATX_ATTR_NODUMP = 0x40;
export const STATX_ATTR_ENCRYPTED = 0x800;
export const STATX_ATTR_AUTOMOUNT = 0x1000;
export const STATX_ATTR_MOUNT_ROOT = 0x2000;
export const STATX_ATTR_VERITY = 0x10_0000;
export const STATX_ATTR_DAX = 0x20_0000;

const ATTRIBUTES: readonly (readonly [attribute: number, flag: number])[] = [
  [STATX_ATTR_COMPRESSED, EXT4_COMPR_FL], [STATX_ATTR_IMMUTABLE, EXT4_IMMUTABLE_FL], [STATX_ATTR_APPEND, EXT4_APPEND_FL], [STATX_ATTR_NODUMP, EXT4_NODUMP_FL],
  [STATX_ATTR_ENCRYPTED, EXT4_ENCRYPT_FL], [STATX_ATTR_VERITY, EXT4_VERITY_FL],
];
const ATTRIBUTES_MASK = ATTRIBUTES.reduce((all, [attribute]) => all | attribute, STATX_ATTR_AUTOMOUNT | STATX_ATTR_MOUNT_ROOT | STATX_ATTR_DAX);

export interface Statx {
  readonly stx_mask: number;
  readonly stx_blksize: number;
  readonly stx_attributes: number;
  /** The attributes that the filesystem knows. */
  readonly stx_attributes_mask: number;
  readonly stx_nlink: number;
  readonly stx_uid: number;
  readonly stx_gid: number;
  readonly stx_mode: number;
  readonly stx_ino: number;
  readonly stx_size: number;
  /** Units of 512 bytes. */
  readonly stx_blocks: number;
  readonly stx_atime: Timespec;
  readonly stx_btime: Timespec | undefined;
  readonly stx_ctime: Timespec;
  readonly stx_mtime: Timespec;
  readonly stx_rdev: { readonly major: number; readonly minor: number };
}

export function* statxOf(inode: Inode): Task<Statx> {
  const { sizeBytes, blocks } = yield* inode.getattr();
  const isMountRoot = inode === inode.i_sb.root;
  const fromFlags = ATTRIBUTES.reduce((all, [attribute, flag]) => ((inode.i_flags & flag) === 0 ? all : all | attribute), 0);
  return {
    stx_mask: STATX_BASIC_STATS | (inode.i_crtime === undefined ? 0 : STATX_BTIME), stx_blksize: inode.i_sb.blockBytes,
    stx_attributes: fromFlags | (inode.isDax ? STATX_ATTR_DAX : 0) | (isMountRoot ? STATX_ATTR_MOUNT_ROOT : 0), stx_attributes_mask: ATTRIBUTES_MASK,
    stx_nlink: inode.i_nlink, stx_uid: inode.i_uid, stx_gid: inode.i_gid, stx_mode: inode.i_mode, stx_ino: inode.i_ino, stx_size: sizeBytes, stx_blocks: blocks,
    stx_atime: inode.i_atime, stx_btime: inode.i_crtime, stx_ctime: inode.i_ctime, stx_mtime: inode.i_mtime, stx_rdev: inode.i_rdev,
  };
}

export const FIEMAP_FLAG_SYNC = 1;

export const FIEMAP_EXTENT_LAST = 0x1;
export const FIEMAP_EXTENT_UNKNOWN = 0x2;
export const FIEMAP_EXTENT_DELALLOC = 0x4;
export const FIEMAP_EXTENT_NOT_ALIGNED = 0x100;
export const FIEMAP_EXTENT_DATA_INLINE = 0x200;
export const FIEMAP_EXTENT_UNWRITTEN = 0x800;
export const FIEMAP_EXTENT_MERGED = 0x1000;

/** In bytes. */
export interface FiemapRecord {
  readonly fe_logical: number;
  /** On the device; 0 where it is not known. */
  readonly fe_physical: number;
  readonly fe_length: number;
  readonly fe_flags: number;
}

/** The extents behind bytes fromBytes .. fromBytes + lengthBytes - 1. @throws FsError EINVAL, EFBIG. */
export function* fiemapOf(inode: Inode, fromBytes: number, lengthBytes: number, flags: number): Task<FiemapRecord[]> {
  if (!(lengthBytes > 0) || !(fromBytes >= 0) || (flags & ~FIEMAP_FLAG_SYNC) !== 0) throw new FsError("EINVAL");
  if (fromBytes > inode.maxBytes) throw new FsError("EFBIG");
  if ((flags & FIEMAP_FLAG_SYNC) !== 0) yield* inode.fsync(false);
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0) {
    if (fromBytes >= inode.i_size) return [];
    return [{ fe_logical: 0, fe_physical: 0, fe_length: inode.i_size, fe_flags: FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_NOT_ALIGNED }];
  }
  const { blockBytes } = inode.i_sb;
  const first = Math.floor(fromBytes / blockBytes);
  const end = Math.min(2 ** 32, Math.ceil((fromBytes + lengthBytes) / blockBytes));
  const delayed = inode.delayedBlocks();
  const extents = withDelayed(yield* inode.fiemap(first, end - first), delayed.filter(({ lblk, count }) => lblk < end && lblk + count > first));
  const isEnd = end === 2 ** 32 || ((yield* inode.fiemap(end, 2 ** 32 - end, 1)).length === 0 && !delayed.some(({ lblk, count }) => lblk + count > end));
  return extents.map((extent, index) => recordOf(extent, blockBytes, isEnd && index === extents.length - 1));
}

interface ShownExtent extends FileExtent { readonly isDelayed?: boolean }

/** Adds what has space promised, as far as it has no blocks yet; neighbours are joined. */
function withDelayed(extents: readonly ShownExtent[], delayed: readonly { readonly lblk: number; readonly count: number }[]): readonly ShownExtent[] {
  if (delayed.length === 0) return extents;
  const shown: ShownExtent[] = [];
  let next = 0;
  const takeBefore = (lblk: number): void => {
    while (next < extents.length && extents[next]!.lblk <= lblk) shown.push(extents[next++]!);
  };
  for (const { lblk, count } of delayed) {
    for (let at = lblk; at < lblk + count; at++) {
      takeBefore(at);
      const last = shown.at(-1);
      if (last !== undefined && at < last.lblk + last.count) continue;
      if (last?.isDelayed === true && last.lblk + last.count === at) shown[shown.length - 1] = { ...last, count: last.count + 1 };
      else shown.push({ lblk: at, pblk: 0, count: 1, unwritten: false, isDelayed: true });
    }
  }
  takeBefore(Infinity);
  return shown;
}

function recordOf({ lblk, pblk, count, unwritten, isDelayed = false }: ShownExtent, blockBytes: number, isLast: boolean): FiemapRecord {
  return {
    fe_logical: lblk * blockBytes, fe_physical: pblk * blockBytes, fe_length: count * blockBytes,
    fe_flags: (isLast ? FIEMAP_EXTENT_LAST : 0) | (unwritten ? FIEMAP_EXTENT_UNWRITTEN : 0) | (isDelayed ? FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_UNKNOWN : 0),
  };
}
