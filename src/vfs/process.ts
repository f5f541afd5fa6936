/**
 * A process: who it is, what it has open, what it has mapped, and what it can ask for. File calls stand in process-files.ts; here are those on memory, and its birth and end. What it does by itself,
 * loads and stores, ends in a Signal where it cannot be done; what it asks of the kernel ends in an FsError. Source: struct task_struct, kernel/fork.c, kernel/exit.c, mm/mmap.c.
 */
import { FsError } from "../lib/errno.js";
import { viewOf } from "../lib/view.js";
import { fetch, getUserPages, load, store, type Access, type PinnedPage } from "../mm/access.js";
import { MAP_ANONYMOUS } from "../mm/constants.js";
import { PAGE_BYTES } from "../mm/memory.js";
import type { MmStruct } from "../mm/mm-struct.js";
import { doAll } from "../sched/all.js";
import { footprint } from "../sched/footprint.js";
import type { Task } from "../sched/task.js";
import { execve, type ExecResult } from "./exec.js";
import type { File } from "./file.js";
import type { Kernel } from "./kernel.js";
import { allowWriteAccess, denyWriteAccess } from "./mount.js";
import type { Credentials } from "./permission.js";
import { ProcessFiles, type Path } from "./process-files.js";
import { signalOf, type Signal } from "./signal.js";

export type AccessBytes = 1 | 2 | 4 | 8;

/** How a process ended. */
export type ExitStatus = { readonly code: number } | { readonly signal: Signal };

export class Process extends ProcessFiles {
  readonly pid: number;
  /** Undefined: it runs. */
  exitStatus: ExitStatus | undefined;
  /** What it executes: nobody may write that meanwhile. Undefined: it never called execve. */
  exe_file: File | undefined;

  constructor(kernel: Kernel, cred: Credentials, public mm: MmStruct) {
    super(kernel, cred);
    this.pid = kernel.newPid();
    footprint(kernel);
    kernel.processes.set(this.pid, this);
  }

  // What the program does by itself

  /** Loads a number, little-endian and unsigned; of 8 bytes exact up to 2^53 (loadU64 has them all). @throws Signal. */
  *load(address: number, widthBytes: AccessBytes = 1): Task<number> {
    const view = viewOf(yield* this.loadBytes(address, widthBytes));
    switch (widthBytes) {
      case 1: return view.getUint8(0);
      case 2: return view.getUint16(0, true);
      case 4: return view.getUint32(0, true);
      case 8: return Number(view.getBigUint64(0, true));
    }
  }

  *loadU64(address: number): Task<bigint> {
    return viewOf(yield* this.loadBytes(address, 8)).getBigUint64(0, true);
  }

  /** Stores a number; its higher bits are cut off. @throws Signal. */
  *store(address: number, value: number | bigint, widthBytes: AccessBytes = 1): Task<void> {
    const whole = new Uint8Array(8);
    viewOf(whole).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
    yield* this.storeBytes(address, whole.subarray(0, widthBytes));
  }

  /** As a memcpy of the program's: what comes before the place that ends in a signal was copied. @throws Signal. */
  *loadBytes(address: number, lengthBytes: number): Task<Uint8Array> {
    const bytes = new Uint8Array(lengthBytes);
    yield* this.loadInto(address, bytes);
    return bytes;
  }

  *loadInto(address: number, into: Uint8Array): Task<void> {
    succeeded(yield* load(this.mm, address, into));
  }

  *storeBytes(address: number, bytes: Uint8Array): Task<void> {
    succeeded(yield* store(this.mm, address, bytes));
  }

  /** Fetches instructions. @throws Signal. */
  *fetch(address: number, lengthBytes = 1): Task<Uint8Array> {
    const bytes = new Uint8Array(lengthBytes);
    succeeded(yield* fetch(this.mm, address, bytes));
    return bytes;
  }

  // What it asks for its memory

  /** @param address a wish, or with MAP_FIXED an order; 0: anywhere. @param fd -1 with MAP_ANONYMOUS. @returns the address. */
  *mmap(address: number, lengthBytes: number, prot: number, flags: number, fd = -1, offsetBytes = 0): Task<number> {
    if (offsetBytes % PAGE_BYTES !== 0) throw new FsError("EINVAL");
    const request = { address: address === 0 ? undefined : address, lengthBytes, prot, flags, offsetBytes };
    if ((flags & MAP_ANONYMOUS) !== 0) return yield* this.inMount(this.mm.mmap(request));
    return yield* this.onFile(fd, (file) => this.mm.mmap({ ...request, file }));
  }

  *munmap(address: number, lengthBytes: number): Task<void> {
    yield* this.inMount(this.mm.munmap(address, lengthBytes));
  }

  *mremap(address: number, oldLengthBytes: number, newLengthBytes: number, flags: number, newAddress?: number): Task<number> {
    return yield* this.inMount(this.mm.mremap(address, oldLengthBytes, newLengthBytes, flags, newAddress));
  }

  *mprotect(address: number, lengthBytes: number, prot: number): Task<void> {
    yield* this.inMount(this.mm.mprotect(address, lengthBytes, prot));
  }

  *msync(address: number, lengthBytes: number, flags: number): Task<void> {
    yield* this.inMount(this.mm.msync(address, lengthBytes, flags));
  }

  *madvise(address: number, lengthBytes: number, advice: number): Task<void> {
    yield* this.inMount(this.mm.madvise(address, lengthBytes, advice));
  }

  *mincore(address: number, lengthBytes: number): Task<Uint8Array> {
    return yield* this.mm.mincore(address, lengthBytes);
  }

  *mlock(address: number, lengthBytes: number): Task<void> {
    yield* this.inMount(this.mm.mlock(address, lengthBytes));
  }

  *munlock(address: number, lengthBytes: number): Task<void> {
    yield* this.mm.munlock(address, lengthBytes);
  }

  /** What the kernel does for those who work on a process's pages past its page tables. @param flags FOLL_ bits. */
  *getUserPages(address: number, count: number, flags: number): Task<PinnedPage[]> {
    return yield* getUserPages(this.mm, address, count, flags);
  }

  // Birth and end

  /** A child with the same files open, at the same positions, and a copy of this one's memory. */
  *fork(): Task<Process> {
    const child = new Process(this.kernel, this.cred, yield* this.mm.fork());
    yield* this.copyFilesTo(child);
    if (this.exe_file !== undefined) child.setExeFile(this.exe_file);
    return child;
  }

  /** The file stays, and may not be written, until it is let go. */
  setExeFile(file: File): void {
    denyWriteAccess(file.f_inode);
    file.get();
    this.exe_file = file;
  }

  *dropExeFile(): Task<void> {
    const file = this.exe_file;
    if (file === undefined) return;
    this.exe_file = undefined;
    allowWriteAccess(file.f_inode);
    yield* file.put();
  }

  /**
   * Executes a program instead of this one: memory is new, descriptors stay but for those with O_CLOEXEC.
   * @throws FsError ENOENT, EACCES, ENOEXEC, ETXTBSY, E2BIG, ELIBBAD, ELOOP …: nothing has happened. Signal: it came too far to return, and the process is dead.
   */
  *execve(path: Path, argv: readonly Path[], envp: readonly Path[] = []): Task<ExecResult> {
    return yield* this.walking((walker) => execve(this, walker, path, argv, envp));
  }

  *exit(code = 0): Task<void> {
    yield* this.inMount(this.end({ code }));
  }

  /** The signal's default: the process ends. */
  *kill(signal: Signal): Task<void> {
    yield* this.inMount(this.end({ signal }));
  }

  private *end(status: ExitStatus): Task<void> {
    if (this.exitStatus !== undefined) return;
    this.exitStatus = status;
    footprint(this.kernel);
    this.kernel.processes.delete(this.pid);
    yield* doAll([() => this.mm.release(), () => this.dropExeFile(), () => this.descriptors.closeAll(), () => this.setWorkingDirectory(undefined)]);
  }
}

/** @throws Signal. */
function succeeded({ failed }: Access): void {
  if (failed !== undefined) throw signalOf(failed);
}
