/**
 * What Node's fs cannot do to a host file: times to the nanosecond, extended attributes, device nodes, the holes of a file. With the optional package koffi these are calls into the C library
 * (Linux); without it they are left out, and whoever asked says so.
 */
import { createRequire } from "node:module";
import { getSystemErrorName } from "node:util";
import type Koffi from "koffi";

export interface NativeFs {
  /** @param path bytes with a NUL at the end. Symbolic links are not followed. Throws Error with the call's errno. */
  setTimes(path: Uint8Array, atime: TimespecParts, mtime: TimespecParts): void;
  setTimesOfFd(fd: number, atime: TimespecParts, mtime: TimespecParts): void;
  setXattr(path: Uint8Array, name: Uint8Array, value: Uint8Array): void;
  makeNode(path: Uint8Array, mode: number, major: number, minor: number): void;
  /** Full names. @param file an open file, or a path as above. */
  listXattrs(file: number | Uint8Array): Uint8Array[];
  getXattr(file: number | Uint8Array, name: Uint8Array): Uint8Array;
  /** The first byte at or behind `offsetBytes` that is data; undefined: there is none. */
  seekData(fd: number, offsetBytes: number): number | undefined;
  /** The first byte at or behind `offsetBytes` that is in a hole, the end of the file at the latest. */
  seekHole(fd: number, offsetBytes: number): number;
}

interface TimespecParts { readonly sec: number; readonly nsec: number }

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const ENXIO = 6;
const EOPNOTSUPP = 95;
/** As Linux limits names and values. */
const XATTR_BYTES_MAX = 65536;

const NO_NAMES: Uint8Array[] = [];

/** Undefined: not Linux on a 64-bit little-endian machine, or koffi is not installed. */
export function loadNativeFs(): NativeFs | undefined {
  if (process.platform !== "linux" || !["x64", "arm64"].includes(process.arch)) return undefined;
  try {
    const koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
    const libc = koffi.load("libc.so.6");
    const utimensat = libc.func("int utimensat(int, const void *, const void *, int)");
    const futimens = libc.func("int futimens(int, const void *)");
    const lsetxattr = libc.func("int lsetxattr(const void *, const void *, const void *, size_t, int)");
    const llistxattr = libc.func("int64_t llistxattr(const void *, void *, size_t)");
    const flistxattr = libc.func("int64_t flistxattr(int, void *, size_t)");
    const lgetxattr = libc.func("int64_t lgetxattr(const void *, const void *, void *, size_t)");
    const fgetxattr = libc.func("int64_t fgetxattr(int, const void *, void *, size_t)");
    const lseek = libc.func("int64_t lseek(int, int64_t, int)");
    const mknod = libc.func("int mknod(const void *, unsigned int, uint64_t)");
    const times = Buffer.alloc(32);
    const fill = (atime: TimespecParts, mtime: TimespecParts): Buffer => {
      [atime, mtime].forEach(({ sec, nsec }, index) => {
        times.writeBigInt64LE(BigInt(sec), index * 16);
        times.writeBigInt64LE(BigInt(nsec), index * 16 + 8);
      });
      return times;
    };
    const check = (call: string, result: number): void => {
      if (result !== 0) throw failure(call);
    };
    const failure = (call: string): Error => Object.assign(new Error(`${call} failed: errno ${koffi.errno()}`), { errno: koffi.errno(), syscall: call, code: getSystemErrorName(-koffi.errno()) });
    const found = Buffer.alloc(XATTR_BYTES_MAX);
    const seek = (fd: number, offsetBytes: number, whence: number): number | undefined => {
      const at = Number(lseek(fd, offsetBytes, whence));
      if (at < 0 && koffi.errno() !== ENXIO) throw failure("lseek");
      return at < 0 ? undefined : at;
    };
    return {
      setTimes: (path, atime, mtime) => check("utimensat", utimensat(AT_FDCWD, path, fill(atime, mtime), AT_SYMLINK_NOFOLLOW) as number),
      setTimesOfFd: (fd, atime, mtime) => check("futimens", futimens(fd, fill(atime, mtime)) as number),
      setXattr: (path, name, value) => check("lsetxattr", lsetxattr(path, Buffer.concat([name, Buffer.of(0)]), value, value.length, 0) as number),
      listXattrs(file) {
        // Almost no file has any, and to ask how long the list is takes less than to ask for it.
        if (Number(typeof file === "number" ? flistxattr(file, null, 0) : llistxattr(file, null, 0)) === 0) return NO_NAMES;
        const count = Number(typeof file === "number" ? flistxattr(file, found, found.length) : llistxattr(file, found, found.length));
        if (count === 0) return NO_NAMES;
        if (count < 0 && koffi.errno() === EOPNOTSUPP) return NO_NAMES;
        if (count < 0) throw failure("listxattr");
        // Each name ends with a NUL.
        const names: Uint8Array[] = [];
        for (let from = 0; from < count; from = found.indexOf(0, from) + 1) names.push(Uint8Array.from(found.subarray(from, found.indexOf(0, from))));
        return names;
      },
      getXattr(file, name) {
        const terminated = Buffer.concat([name, Buffer.of(0)]);
        const count = Number(typeof file === "number" ? fgetxattr(file, terminated, found, found.length) : lgetxattr(file, terminated, found, found.length));
        if (count < 0) throw failure("getxattr");
        return Uint8Array.from(found.subarray(0, count));
      },
      seekData: (fd, offsetBytes) => seek(fd, offsetBytes, SEEK_DATA),
      seekHole: (fd, offsetBytes) => seek(fd, offsetBytes, SEEK_HOLE) ?? Infinity, // the file has shrunk: its end is met by who reads
      makeNode: (path, mode, major, minor) => check("mknod", mknod(path, mode, deviceNumber(major, minor)) as number),
    };
  } catch {
    return undefined;
  }
}

/** As glibc's makedev for numbers of 12 and 20 bits. */
function deviceNumber(major: number, minor: number): number {
  return major * 256 + (minor % 256) + Math.floor(minor / 256) * 2 ** 20;
}
