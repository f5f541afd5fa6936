/**
 * What Node's fs cannot do to a host file: times to the nanosecond, extended attributes, device nodes. With the optional package koffi these are calls into the C library
 * (Linux); without it they are left out, and whoever asked says so.
 */
import { createRequire } from "node:module";
import type Koffi from "koffi";

export interface NativeFs {
  /** @param path bytes with a NUL at the end. Symbolic links are not followed. Throws Error with the call's errno. */
  setTimes(path: Uint8Array, atime: TimespecParts, mtime: TimespecParts): void;
  setTimesOfFd(fd: number, atime: TimespecParts, mtime: TimespecParts): void;
  setXattr(path: Uint8Array, name: Uint8Array, value: Uint8Array): void;
  makeNode(path: Uint8Array, mode: number, major: number, minor: number): void;
}

interface TimespecParts { readonly sec: number; readonly nsec: number }

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;

/** Undefined: not Linux on a 64-bit little-endian machine, or koffi is not installed. */
export function loadNativeFs(): NativeFs | undefined {
  if (process.platform !== "linux" || !["x64", "arm64"].includes(process.arch)) return undefined;
  try {
    const koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
    const libc = koffi.load("libc.so.6");
    const utimensat = libc.func("int utimensat(int, const void *, const void *, int)");
    const futimens = libc.func("int futimens(int, const void *)");
    const lsetxattr = libc.func("int lsetxattr(const void *, const void *, const void *, size_t, int)");
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
      if (result !== 0) throw Object.assign(new Error(`${call} failed: errno ${koffi.errno()}`), { errno: koffi.errno(), syscall: call });
    };
    return {
      setTimes: (path, atime, mtime) => check("utimensat", utimensat(AT_FDCWD, path, fill(atime, mtime), AT_SYMLINK_NOFOLLOW) as number),
      setTimesOfFd: (fd, atime, mtime) => check("futimens", futimens(fd, fill(atime, mtime)) as number),
      setXattr: (path, name, value) => check("lsetxattr", lsetxattr(path, Buffer.concat([name, Buffer.of(0)]), value, value.length, 0) as number),
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
