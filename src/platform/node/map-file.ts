/**
 * A host file as memory: what a region of persistent memory can stand on. Needs Linux on a 64-bit machine and the optional package koffi; without them nothing is mapped, and who asked
 * reads the file instead.
 */
import { closeSync, fstatSync, openSync } from "node:fs";
import { createRequire } from "node:module";
import { getSystemErrorName } from "node:util";
import type Koffi from "koffi";
import { PmemDevice, type PmemOptions } from "../../nvdimm/pmem.js";

export interface MappedFile {
  /** The file's content, live. */
  readonly bytes: Uint8Array;
  /** Makes what was stored durable (msync). Throws Error with the call's errno. */
  sync(): void;
  /** Ends the mapping. A view that outlives it reads zeroes. */
  unmap(): void;
}

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 0x1;
const MAP_PRIVATE = 0x2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MS_SYNC = 4;
/** What mmap returns where it fails. */
const MAP_FAILED = 2n ** 64n - 1n;

type Mapper = (path: string, writable: boolean) => MappedFile;

/** Undefined: not Linux on a 64-bit machine, or koffi is not installed. */
function loadMapper(): Mapper | undefined {
  if (process.platform !== "linux" || !["x64", "arm64"].includes(process.arch)) return undefined;
  try {
    const koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
    const libc = koffi.load("libc.so.6");
    const mmap = libc.func("void *mmap(void *, size_t, int, int, int, int64_t)");
    const msync = libc.func("int msync(void *, size_t, int)");
    const failure = (call: string): Error => Object.assign(new Error(`${call} failed: errno ${koffi.errno()}`), { errno: koffi.errno(), syscall: call, code: getSystemErrorName(-koffi.errno()) });
    const map = (at: unknown, length: number, protection: number, flags: number, fd: number): unknown => {
      const pointer = mmap(at, length, protection, flags, fd, 0) as unknown;
      if (koffi.address(pointer) === MAP_FAILED) throw failure("mmap");
      return pointer;
    };
    return (path, writable) => {
      const fd = openSync(path, writable ? "r+" : "r");
      try {
        const { size } = fstatSync(fd);
        const protection = PROT_READ | PROT_WRITE;
        // For reading the mapping is private: a stray store into the view changes a page in memory, instead of ending the program.
        const pointer = map(null, size, protection, writable ? MAP_SHARED : MAP_PRIVATE, fd);
        let isMapped = true;
        return {
          bytes: new Uint8Array(koffi.view(pointer, size)),
          sync(): void {
            if (isMapped && msync(pointer, size, MS_SYNC) !== 0) throw failure("msync");
          },
          unmap(): void {
            // Plain munmap would make every view that is left a crash to come; so the range gets empty memory, which takes none.
            if (isMapped) map(pointer, size, protection, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE, -1);
            isMapped = false;
          },
        };
      } finally {
        closeSync(fd);
      }
    };
  } catch {
    return undefined;
  }
}

/** Undefined: this host cannot. Throws Error with a code: the file cannot be opened or mapped (an empty one cannot). */
export function mapFile(path: string, options: { writable?: boolean } = {}): MappedFile | undefined {
  const mapper = loadMapper();
  return mapper === undefined ? undefined : mapper(path, options.writable ?? false);
}

/** Persistent memory on a host file; undefined: this host cannot map files. A block flush makes the file durable; MAP_SYNC is refused, since a fence does not. */
export function openPmemFile(path: string, options: PmemOptions & { writable?: boolean } = {}): PmemDevice | undefined {
  const { writable = false, ...others } = options;
  const file = mapFile(path, { writable });
  if (file === undefined) return undefined;
  try {
    return new PmemDevice(file.bytes, { name: path, ...others, readOnly: !writable, hostFlush: () => file.sync(), onClose: () => file.unmap() });
  } catch (error) {
    file.unmap();
    throw error;
  }
}
