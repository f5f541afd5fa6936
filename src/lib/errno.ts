/**
 * Errors in Node's shape. An FsError is something that may happen; a bug of ours is an AssertionError and is never caught in the core.
 * Numbers are Linux's (include/uapi/asm-generic/errno*.h), on every host; texts are libuv's where it has one, else Linux's.
 */
export const ERRNO = {
  EPERM: [1, "operation not permitted"],
  ENOENT: [2, "no such file or directory"],
  EINTR: [4, "interrupted system call"],
  EIO: [5, "i/o error"],
  ENXIO: [6, "no such device or address"],
  E2BIG: [7, "argument list too long"],
  ENOEXEC: [8, "exec format error"],
  EBADF: [9, "bad file descriptor"],
  EAGAIN: [11, "resource temporarily unavailable"],
  ENOMEM: [12, "not enough memory"],
  EACCES: [13, "permission denied"],
  EFAULT: [14, "bad address in system call argument"],
  EBUSY: [16, "resource busy or locked"],
  EEXIST: [17, "file already exists"],
  EXDEV: [18, "cross-device link not permitted"],
  ENODEV: [19, "no such device"],
  ENOTDIR: [20, "not a directory"],
  EISDIR: [21, "illegal operation on a directory"],
  EINVAL: [22, "invalid argument"],
  EMFILE: [24, "too many open files"],
  ENOTTY: [25, "inappropriate ioctl for device"],
  ETXTBSY: [26, "text file is busy"],
  EFBIG: [27, "file too large"],
  ENOSPC: [28, "no space left on device"],
  EROFS: [30, "read-only file system"],
  EMLINK: [31, "too many links"],
  ERANGE: [34, "result too large"],
  EDEADLK: [35, "resource deadlock would occur"],
  ENAMETOOLONG: [36, "name too long"],
  ENOTEMPTY: [39, "directory not empty"],
  ELOOP: [40, "too many symbolic links encountered"],
  ENODATA: [61, "no data available"],
  EOVERFLOW: [75, "value too large for defined data type"],
  EBADMSG: [74, "bad message"],
  ELIBBAD: [80, "accessing a corrupted shared library"],
  EOPNOTSUPP: [95, "operation not supported on socket"],
  ESTALE: [116, "stale file handle"],
  EUCLEAN: [117, "structure needs cleaning"],
  ENOKEY: [126, "required key not available"],
  EHWPOISON: [133, "memory page has hardware error"],
} as const satisfies Record<string, readonly [number, string]>;

export type ErrnoCode = keyof typeof ERRNO;

/** What a caller was doing when an error met it; the API's surface fills in what the engine below does not know. */
export interface ErrorContext {
  syscall?: string | undefined;
  path?: string | undefined;
  dest?: string | undefined;
}

/** Something that may happen: `code`, negative `errno`, `syscall` and `path` as on Node's own errors. */
export class FsError extends Error {
  readonly code: ErrnoCode;
  readonly errno: number;
  syscall?: string;
  path?: string;
  dest?: string;
  /** What this error says beyond its code; the message is rebuilt around it when the context becomes known. */
  readonly detail: string;

  constructor(code: ErrnoCode, detail = "", context: ErrorContext = {}) {
    super();
    this.name = "FsError";
    this.code = code;
    this.errno = -ERRNO[code][0];
    this.detail = detail;
    this.addContext(context);
  }

  /** Names the call and the path, unless they are named already: the innermost word stands. */
  addContext(context: ErrorContext): this {
    if (context.syscall !== undefined) this.syscall ??= context.syscall;
    if (context.path !== undefined) this.path ??= context.path;
    if (context.dest !== undefined) this.dest ??= context.dest;
    const call = this.syscall === undefined ? "" : `, ${this.syscall}`;
    const path = this.path === undefined ? "" : `${call === "" ? "," : ""} '${this.path}'`;
    const dest = this.dest === undefined ? "" : ` -> '${this.dest}'`;
    this.message = `${this.code}: ${this.detail || ERRNO[this.code][1]}${call}${path}${dest}`;
    return this;
  }
}

/** A bug of ours. Bytes from disk never raise one. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
