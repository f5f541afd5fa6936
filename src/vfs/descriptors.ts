/** A process's descriptors: numbers for open files, which more of them may share. Source: struct files_struct (include/linux/fdtable.h), fs/file.c. */
import { FsError } from "../lib/errno.js";
import { doAll } from "../sched/all.js";
import { footprint } from "../sched/footprint.js";
import type { Task } from "../sched/task.js";
import type { File } from "./file.js";

/** The first number that open gives: those below are a terminal's, which is not here. */
const FIRST_FD = 3;
/** RLIMIT_NOFILE. */
const FD_END = 1024;

interface Descriptor {
  readonly file: File;
  closesOnExec: boolean;
}

export class Descriptors {
  private readonly open = new Map<number, Descriptor>();

  /** @throws FsError EBADF. */
  get(fd: number): File {
    footprint(this, false);
    const descriptor = this.open.get(fd);
    if (descriptor === undefined) throw new FsError("EBADF");
    return descriptor.file;
  }

  /** The lowest number that is free, not below `from`. @throws FsError EMFILE. */
  free(from = FIRST_FD): number {
    for (let fd = from; fd < FD_END; fd++) if (!this.open.has(fd)) return fd;
    throw new FsError("EMFILE");
  }

  /** Takes the caller's hold on the file. */
  install(fd: number, file: File, closesOnExec: boolean): number {
    footprint(this);
    this.open.set(fd, { file, closesOnExec });
    return fd;
  }

  /** The file is the caller's to put. */
  remove(fd: number): File {
    const file = this.get(fd);
    footprint(this);
    this.open.delete(fd);
    return file;
  }

  /** @throws FsError EBADF: no descriptor can have this number. */
  checkNumber(fd: number): void {
    if (!(Number.isInteger(fd) && fd >= 0 && fd < FD_END)) throw new FsError("EBADF");
  }

  has(fd: number): boolean {
    return this.open.has(fd);
  }

  /** The same numbers for the same files, for a child. */
  copy(): Descriptors {
    const copy = new Descriptors();
    for (const [fd, { file, closesOnExec }] of this.open) {
      file.get();
      copy.install(fd, file, closesOnExec);
    }
    return copy;
  }

  *closeOnExec(): Task<void> {
    for (const [fd, { closesOnExec }] of [...this.open]) if (closesOnExec) yield* this.remove(fd).put();
  }

  *closeAll(): Task<void> {
    yield* doAll([...this.open.keys()].map((fd) => () => this.remove(fd).put()));
  }
}
