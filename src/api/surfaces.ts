/**
 * The two surfaces of a volume. Signatures stand here once, with the mode as a parameter; the sync and the promise types are derived from them, and so, at
 * run time, are the functions from the tasks in operations.ts.
 */
import type { BufferEncoding, PathLike } from "./path.js";
import type { XattrFlags } from "../vfs/inode.js";
import type { FileData, MkdirOptions, RmOptions, TimeLike, WriteFileOptions, WriteOptions } from "./changes.js";
import type { FileMapping, MapOptions } from "./mapping.js";
import type { FiemapExtent, FlagsInfo, FollowOptions, ReadOptions } from "./operations.js";
import type { BigIntStats, Dirent, StatFs, Stats } from "./stats.js";

type Mode = "sync" | "promise";
type Result<M extends Mode, T> = M extends "sync" ? T : Promise<T>;
type EncodingOptions<E> = E | { encoding: E };

/** @typeParam Bytes what the host gives bytes in. */
export interface OperationSignatures<M extends Mode, Bytes extends Uint8Array> {
  /** Reads a file whole. @throws FsError ENOENT …; EISDIR; EFBIG more than 2 GiB - 1; ENOKEY encrypted; CorruptionError. */
  readFile(path: PathLike | number, options?: null | { encoding?: null | undefined; flag?: string | number | undefined }): Result<M, Bytes>;
  readFile(path: PathLike | number, options: BufferEncoding | { encoding: BufferEncoding; flag?: string | number | undefined }): Result<M, string>;
  readFile(path: PathLike | number, options?: BufferEncoding | null | { encoding?: BufferEncoding | null | undefined; flag?: string | number | undefined }): Result<M, string | Bytes>;

  /** Lists a directory, sorted by bytes as Node has it, without "." and "..". Symbolic links are not followed, not even with `recursive`. */
  readdir(path: PathLike, options?: BufferEncoding | null | { encoding?: BufferEncoding | null | undefined; withFileTypes?: false | undefined; recursive?: boolean | undefined }): Result<M, string[]>;
  readdir(path: PathLike, options: "buffer" | { encoding: "buffer"; withFileTypes?: false | undefined; recursive?: boolean | undefined }): Result<M, Bytes[]>;
  readdir(path: PathLike, options: { encoding?: BufferEncoding | null | undefined; withFileTypes: true; recursive?: boolean | undefined }): Result<M, Dirent[]>;
  readdir(path: PathLike, options: { encoding: "buffer"; withFileTypes: true; recursive?: boolean | undefined }): Result<M, Dirent<Bytes>[]>;

  stat(path: PathLike, options?: { bigint?: false | undefined }): Result<M, Stats>;
  stat(path: PathLike, options: { bigint: true }): Result<M, BigIntStats>;
  stat(path: PathLike, options: { bigint?: false | undefined; throwIfNoEntry: false }): Result<M, Stats | undefined>;
  stat(path: PathLike, options: { bigint: true; throwIfNoEntry: false }): Result<M, BigIntStats | undefined>;
  lstat(path: PathLike, options?: { bigint?: false | undefined }): Result<M, Stats>;
  lstat(path: PathLike, options: { bigint: true }): Result<M, BigIntStats>;
  lstat(path: PathLike, options: { bigint?: false | undefined; throwIfNoEntry: false }): Result<M, Stats | undefined>;
  lstat(path: PathLike, options: { bigint: true; throwIfNoEntry: false }): Result<M, BigIntStats | undefined>;

  readlink(path: PathLike, options?: EncodingOptions<BufferEncoding> | null): Result<M, string>;
  readlink(path: PathLike, options: EncodingOptions<"buffer">): Result<M, Bytes>;
  realpath(path: PathLike, options?: EncodingOptions<BufferEncoding> | null): Result<M, string>;
  realpath(path: PathLike, options: EncodingOptions<"buffer">): Result<M, Bytes>;

  /** On a volume that is only read W_OK is EROFS. */
  access(path: PathLike, mode?: number): Result<M, void>;
  exists(path: PathLike): Result<M, boolean>;
  statfs(path: PathLike, options?: { bigint?: false | undefined }): Result<M, StatFs>;
  statfs(path: PathLike, options: { bigint: true }): Result<M, StatFs<bigint>>;

  /**
   * An extended attribute's value, as Linux's getxattr gives it (a POSIX ACL in its version 2).
   * @param name full, "user.mime_type". @throws FsError ENODATA there is none; CorruptionError "xattr-…", "acl".
   */
  getxattr(path: PathLike, name: string | Uint8Array, options?: FollowOptions): Result<M, Bytes>;
  /** Full names of all extended attributes. */
  listxattr(path: PathLike, options?: FollowOptions & { encoding?: BufferEncoding | undefined }): Result<M, string[]>;
  listxattr(path: PathLike, options: FollowOptions & { encoding: "buffer" }): Result<M, Bytes[]>;

  /**
   * Lists the extents behind a byte range of a file. Reads no file data. Symbolic links are not followed.
   *
   * @param offset first byte, default 0; rounded down to a block. @param length bytes, above 0; may pass the end of the file.
   * @returns one record per run, ascending by lblk, holes omitted: { lblk, pblk, count, unwritten }. Units are filesystem blocks (volume.blockSize bytes, 1024..65536), never sectors.
   *   Extents that touch on disk are one record.
   * @throws FsError EINVAL offset below 0, or length not above it; EIO. CorruptionError "extent-…", "indirect-range", "map-overrun".
   * @source ext4_fiemap (fs/ext4/extents.c)
   */
  fiemap(path: PathLike, offset?: number, length?: number): Result<M, FiemapExtent[]>;
  /** The attributes that chattr sets and lsattr shows. Symbolic links are not followed. */
  flags(path: PathLike): Result<M, FlagsInfo>;

  // Changes. On a volume that is only read each is EROFS. They are durable after fsync, sync, or the volume's close (docs/durability.md).
  // @throws FsError ENOENT, EEXIST, ENOTDIR, EISDIR, EACCES, EPERM, ENOSPC, EMLINK, EXDEV …, as Linux.

  writeFile(path: PathLike | number, data: FileData, options?: BufferEncoding | null | WriteFileOptions): Result<M, void>;
  appendFile(path: PathLike | number, data: FileData, options?: BufferEncoding | null | WriteFileOptions): Result<M, void>;
  truncate(path: PathLike, length?: number): Result<M, void>;
  copyFile(source: PathLike, destination: PathLike, mode?: number): Result<M, void>;
  /** With `recursive`, returns the first directory that was made. */
  mkdir(path: PathLike, options?: number | string | null | MkdirOptions): Result<M, string | undefined>;
  mkdtemp(prefix: string): Result<M, string>;
  rmdir(path: PathLike): Result<M, void>;
  unlink(path: PathLike): Result<M, void>;
  rm(path: PathLike, options?: RmOptions): Result<M, void>;
  link(existing: PathLike, path: PathLike): Result<M, void>;
  symlink(target: PathLike, path: PathLike, type?: string | null): Result<M, void>;
  /** @param flags RENAME_NOREPLACE 1, RENAME_EXCHANGE 2, RENAME_WHITEOUT 4, as Linux's renameat2. */
  rename(from: PathLike, to: PathLike, flags?: number): Result<M, void>;
  /** A device, FIFO, socket or regular file; `mode` has the type's bits, too. */
  mknod(path: PathLike, mode: number, rdev?: { major: number; minor: number }): Result<M, void>;
  chmod(path: PathLike, mode: number | string): Result<M, void>;
  /** An id of -1 stays as it is. */
  chown(path: PathLike, uid: number, gid: number): Result<M, void>;
  lchown(path: PathLike, uid: number, gid: number): Result<M, void>;
  /** Seconds, or a Date; a bigint is nanoseconds. */
  utimes(path: PathLike, atime: TimeLike, mtime: TimeLike): Result<M, void>;
  lutimes(path: PathLike, atime: TimeLike, mtime: TimeLike): Result<M, void>;
  /** @param options create: EEXIST if it is there; replace: ENODATA if it is not. @throws FsError E2BIG, ERANGE, ENOSPC, EOPNOTSUPP. */
  setxattr(path: PathLike, name: string | Uint8Array, value: string | Uint8Array, options?: XattrFlags & FollowOptions): Result<M, void>;
  removexattr(path: PathLike, name: string | Uint8Array, options?: FollowOptions): Result<M, void>;
  /** Reserves, punches, zeroes or moves a range of bytes. @param mode FALLOC_FL_ bits, as Linux's fallocate. */
  fallocate(target: PathLike | number, mode: number, offset: number, length: number): Result<M, void>;
  /** The first byte at or behind `offset` that is data, or in a hole. @throws FsError ENXIO there is none. */
  seek(target: PathLike | number, offset: number, whence: "data" | "hole"): Result<M, number>;
  /**
   * Views of a file's bytes where they lie, in persistent memory: nothing is read or copied. For files with DAX (`OpenOptions.dax`).
   *
   * @param target a path, or what open gave. @param offset first byte, a multiple of 4096, in the file. @param length bytes, above 0; Infinity, or what passes the file's end: up to the end.
   * @returns one run per piece that is contiguous on the device, ascending, holes among them. It must be closed: see FileMapping.
   * @throws FsError EOPNOTSUPP the file has no DAX; EINVAL; ENODEV no regular file; EBADF; EACCES it is not open for what is asked, or append-only; EHWPOISON memory in the range is bad; with
   *   `writable` EROFS, and ENOSPC: blocks that were there in time stay the file's.
   * @waits for changes of the file's blocks in progress; without `writable` it starts no handle, and a volume that is only read will do.
   */
  map(target: PathLike | number, offset: number, length: number, options?: MapOptions): Result<M, FileMapping<Bytes>>;
  /** Sets the flags that chattr sets: FS_*_FL bits. Those that cannot be changed must be as they are. Symbolic links are not followed. */
  setFlags(path: PathLike, flags: number): Result<M, void>;
  /** Everything that was done so far becomes durable. */
  sync(): Result<M, void>;
}

/** Operations on numbers that open gives, which the promise surface has on FileHandle instead. */
export interface DescriptorSignatures {
  openSync(path: PathLike, flags?: string | number | null, mode?: number): number;
  closeSync(fd: number): void;
  /** Returns the bytes read; 0 at the end. Without a position, reads on where the last read ended. */
  readSync(fd: number, buffer: ArrayBufferView, offset?: number, length?: number, position?: number | bigint | null): number;
  readSync(fd: number, buffer: ArrayBufferView, options: ReadOptions): number;
  fstatSync(fd: number, options?: { bigint?: false | undefined }): Stats;
  fstatSync(fd: number, options: { bigint: true }): BigIntStats;
  /** Returns the bytes written, which are all. Without a position, writes on where the last read or write ended. */
  writeSync(fd: number, data: ArrayBufferView, offset?: number | null, length?: number | null, position?: number | bigint | null): number;
  writeSync(fd: number, data: ArrayBufferView, options: WriteOptions): number;
  writeSync(fd: number, data: string, position?: number | null, encoding?: BufferEncoding | null): number;
  writevSync(fd: number, buffers: readonly ArrayBufferView[], position?: number | null): number;
  readvSync(fd: number, buffers: readonly ArrayBufferView[], position?: number | null): number;
  ftruncateSync(fd: number, length?: number): void;
  /** Returns when the file is on stable storage. */
  fsyncSync(fd: number): void;
  /** The same for its data and what is needed to read it. */
  fdatasyncSync(fd: number): void;
  fchmodSync(fd: number, mode: number | string): void;
  fchownSync(fd: number, uid: number, gid: number): void;
  futimesSync(fd: number, atime: TimeLike, mtime: TimeLike): void;
}

export type SyncSurface<Bytes extends Uint8Array> = DescriptorSignatures & {
  [Name in keyof OperationSignatures<"sync", Bytes> as `${Name}Sync`]: OperationSignatures<"sync", Bytes>[Name];
};
export type PromiseSurface<Bytes extends Uint8Array> = OperationSignatures<"promise", Bytes>;

/** Those that both surfaces have. */
export const PATH_OPERATIONS = [
  "readFile", "readdir", "stat", "lstat", "readlink", "realpath", "access", "exists", "statfs", "getxattr", "listxattr", "fiemap", "flags",
  "writeFile", "appendFile", "truncate", "copyFile", "mkdir", "mkdtemp", "rmdir", "unlink", "rm", "link", "symlink", "rename", "mknod", "chmod", "chown", "lchown", "utimes", "lutimes",
  "setxattr", "removexattr", "fallocate", "seek", "map", "setFlags", "sync",
] as const satisfies readonly (keyof OperationSignatures<"sync", Uint8Array>)[];

export const DESCRIPTOR_OPERATIONS = [
  "open", "close", "read", "fstat", "write", "writev", "readv", "ftruncate", "fsync", "fdatasync", "fchmod", "fchown", "futimes",
] as const;
