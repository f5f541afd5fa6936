/**
 * cp: out of an image onto the host. It walks by inode, reads each small file in one piece before anything is created, and writes large ones under a temporary
 * name, extent by extent, so that holes stay holes and no partial file is left under its final name. Small files of which nothing but bytes and mode is kept are created by threads, in any
 * order. Nothing is ever created through a symbolic link below the target: a directory is made here, before what is in it, and never replaced; one that exists is looked at first, files and
 * links are created where nothing is. So whatever names the image holds, the copy stays inside.
 */
import {
  closeSync, existsSync, fchmodSync, fchownSync, ftruncateSync, futimesSync, lchownSync, chmodSync, linkSync, lstatSync, lutimesSync, mkdirSync, renameSync, statSync, symlinkSync, unlinkSync,
} from "node:fs";
import { FsError } from "../../lib/errno.js";
import type { Ino } from "../../lib/numbers.js";
import { loadNativeFs, type NativeFs } from "../../platform/node/native.js";
import type { Task } from "../../sched/task.js";
import { S_IFMT, type Inode, type SuperBlock } from "../../vfs/inode.js";
import { dentryPath, type Dentry } from "../../vfs/namei.js";
import { walkTree } from "../../vfs/walk.js";
import { FileThreads } from "../file-threads.js";
import { atFreePlace, openAtFreePlace, openNew, writeFully } from "../host-files.js";
import type { Output } from "../output.js";
import { humanSize, quoted } from "../text.js";
import { cat } from "./cat.js";

export interface CpOptions {
  readonly recursive?: boolean;
  /** Recursive, with owners, times, modes, links, devices and extended attributes. */
  readonly archive?: boolean;
}

const SMALL_BYTES = 1 << 20;
const SECTOR_BYTES = 512;
const SLASH = Buffer.from("/");
const SLASH_BYTE = 0x2f;

/** What Windows takes for a path, a stream, a pattern or a device, and endings that it drops, so that ".. " would be the parent. */
const UNSAFE_ON_WINDOWS = /[<>:"/\\|?*\u0000-\u001f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

/** Whether a name out of an image, which has neither slash nor NUL, is just a name on this host. */
export function isHostName(name: Uint8Array, platform: string = process.platform): boolean {
  return platform !== "win32" || !UNSAFE_ON_WINDOWS.test(Buffer.from(name).toString("latin1"));
}

export interface Source {
  readonly dentry: Dentry;
  /** The last part of the path as it was given, under which it goes into a directory. Empty: what is in it goes there. */
  readonly name: Uint8Array;
}

/** A file on the host that later names of its inode are linked to, and how to know it again. */
interface HostFile { readonly path: Buffer; readonly identity: string }

/** A number alone may have come to another file since. */
function identityOf(path: Buffer): string | undefined {
  const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? undefined : `${stats.dev} ${stats.ino} ${Number(stats.mode) & S_IFMT}`;
}

/** One run of cp: what it remembers of its earlier sources, and of what the host did not take. */
export class Copy {
  private readonly native: NativeFs | undefined;
  private readonly isArchive: boolean;
  private readonly keepsOwners: boolean;
  private readonly umask: number;
  /** Where a file with several links was put, by its image and its inode there. */
  private readonly linked = new Map<SuperBlock, Map<Ino, HostFile>>();
  private readonly leftOut = new Map<string, number>();
  private readonly small = new Uint8Array(SMALL_BYTES);
  private fileCount = 0;
  private byteCount = 0;
  private temporaryCount = 0;
  private readonly threads: FileThreads;

  constructor(private readonly options: CpOptions, private readonly out: Output) {
    this.threads = new FileThreads(({ path, message }) => out.error(`${quoted(path)}: ${message}`));
    this.isArchive = options.archive === true;
    this.native = this.isArchive ? loadNativeFs() : undefined;
    this.keepsOwners = this.isArchive && process.getuid?.() === 0;
    // An archive's modes are exact, so the umask is out of the way until the end.
    this.umask = process.umask(0);
    if (!this.isArchive) process.umask(this.umask);
  }

  /** @param isInto the destination must be a directory, as there are several sources. */
  *from({ dentry, name }: Source, destination: string, isInto: boolean): Task<void> {
    if (destination === "-") return yield* cat(dentry.d_inode, (bytes) => this.out.bytes(bytes));
    const isDirectory = existsSync(destination) && statSync(destination).isDirectory();
    if (isInto && !isDirectory) throw new FsError("ENOTDIR", "several sources need a directory to go to", { path: destination });
    const target = Buffer.from(destination);
    const isInDirectory = isDirectory && name.length > 0;
    try {
      yield* this.tree(dentry, isInDirectory ? Buffer.concat([target, SLASH, name]) : target, isDirectory && !isInDirectory);
    } finally {
      this.threads.settle(); // a later source may have the same names
    }
  }

  /** Copies `top` to `target`. `isThere`: the target is a directory that is to be filled. */
  private *tree(top: Dentry, target: Buffer, isThere: boolean): Task<void> {
    const inode = top.d_inode;
    if (inode.isDirectory() && this.options.recursive !== true && !this.isArchive) {
      throw new FsError("EISDIR", "a directory is copied with -r or -a", { path: quoted(dentryPath(top)) });
    }
    const targets: Buffer[] = []; // where each level of the walk goes, outermost first
    yield* walkTree(top, {
      enter: (dentry, depth) => {
        const path = depth === 0 ? target : Buffer.concat([targets[depth - 1]!, SLASH, dentry.d_name]);
        targets[depth] = path;
        return this.host(dentry, path, depth === 0 || isHostName(dentry.d_name) ? this.create(dentry.d_inode, path, depth === 0 && isThere) : refuseName());
      },
      leave: (dentry, depth) => this.host(dentry, targets[depth]!, this.finishDirectory(dentry.d_inode, targets[depth]!)),
      failed: (error, path) => this.out.error(`${quoted(path)}: ${error.message}`),
    });
  }

  /** Says at the end what the host did not take. */
  finish(): void {
    this.threads.finish();
    this.out.clearProgress();
    if (this.isArchive) process.umask(this.umask);
    if (this.leftOut.size === 0) return;
    const kinds = [...this.leftOut].map(([kind, count]) => `${count} ${kind}`).join(", ");
    this.out.note(`left out, as this host or user cannot keep them: ${kinds}`);
  }

  /** Runs a step on the host; its failure is reported with the path, and the copy goes on with the next file. */
  private *host(dentry: Dentry, path: Buffer, step: Task<void>): Task<boolean> {
    try {
      yield* step;
      return true;
    } catch (error) {
      if (!(error instanceof Error) || !("code" in error || "errno" in error)) throw error;
      const where = error instanceof FsError ? quoted(dentryPath(dentry)) : quoted(path);
      this.out.error(`${where}: ${error.message}`);
      return false;
    }
  }

  private *create(inode: Inode, path: Buffer, isThere: boolean): Task<void> {
    this.fileCount++;
    this.out.progress(() => `${this.fileCount} files, ${humanSize(this.byteCount)}`);
    if (inode.isDirectory()) return this.createDirectory(inode, path, isThere);
    const keepsLinks = this.isArchive && inode.i_nlink > 1;
    const earlier = keepsLinks ? this.earlierCopy(inode) : undefined;
    if (earlier !== undefined) return earlier.equals(path) ? undefined : atFreePlace(path, () => linkSync(earlier, path));
    if (inode.isRegular()) yield* this.createFile(inode, path);
    else if (inode.isSymlink()) yield* this.createLink(inode, path);
    else if (!this.createSpecial(inode, path)) return;
    if (!keepsLinks) return;
    const identity = identityOf(path);
    if (identity === undefined) return;
    if (!this.linked.has(inode.i_sb)) this.linked.set(inode.i_sb, new Map());
    this.linked.get(inode.i_sb)!.set(inode.i_ino, { path, identity });
  }

  /** The copy that a further name is to be linked to, if it still is where it was put: a directory that has a name twice may have put something else over it. */
  private earlierCopy(inode: Inode): Buffer | undefined {
    const copy = this.linked.get(inode.i_sb)?.get(inode.i_ino);
    // Elsewhere link(2) may follow a symbolic link, and make a name in the copy for a file outside.
    if (copy === undefined || (inode.isSymlink() && process.platform !== "linux")) return undefined;
    return identityOf(copy.path) === copy.identity ? copy.path : undefined;
  }

  private createDirectory(inode: Inode, path: Buffer, isThere: boolean): void {
    try {
      mkdirSync(path, this.isArchive ? 0o700 : (inode.i_mode & 0o777) | 0o700);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      // A symbolic link to a directory is one only for who named it: the operand itself, never what the image would put below it.
      const isDirectory = isThere ? statSync(path).isDirectory() : lstatSync(path).isDirectory();
      if (!isDirectory) throw error;
    }
  }

  private *finishDirectory(inode: Inode, path: Buffer): Task<void> {
    if (!this.isArchive) {
      const mode = inode.i_mode & 0o777 & ~this.umask;
      if ((mode & 0o700) === 0o700) return;
      this.threads.settle(); // what is in it must be there before nothing more may come
      return chmodSync(path, mode);
    }
    if (this.keepsOwners) lchownSync(path, inode.i_uid, inode.i_gid);
    chmodSync(path, inode.i_mode & 0o7777);
    yield* this.copyXattrs(inode, path);
    this.setTimes(inode, path);
  }

  private *createFile(inode: Inode, path: Buffer): Task<void> {
    inode.checkOpen(false);
    const { sizeBytes, blocks } = yield* inode.getattr();
    const isSmall = sizeBytes <= SMALL_BYTES && (blocks * SECTOR_BYTES >= sizeBytes || sizeBytes < inode.i_sb.blockBytes);
    // Read before anything is created: what cannot be read leaves nothing behind.
    const data = isSmall ? this.small.subarray(0, yield* inode.read(0, this.small.subarray(0, sizeBytes))) : undefined;
    const mode = inode.i_mode & 0o777;
    if (data !== undefined && !this.isArchive) {
      this.threads.create(path, mode, data);
      this.byteCount += sizeBytes;
      return;
    }
    const { fd, place } = isSmall ? { fd: openAtFreePlace(path, mode), place: path } : this.openTemporary(path, mode);
    try {
      try {
        if (data !== undefined) writeFully(fd, data, 0);
        else yield* this.copyExtents(inode, fd, sizeBytes);
        yield* this.finishFile(inode, fd, place);
      } finally {
        closeSync(fd);
      }
      if (!isSmall) renameSync(place, path);
    } catch (error) {
      unlinkSync(place);
      throw error;
    }
    this.byteCount += sizeBytes;
  }

  /** A new file beside `path`, under a name that nothing has: a longer form of the file's own might be too long, or in the image as well. */
  private openTemporary(path: Buffer, mode: number): { fd: number; place: Buffer } {
    for (;;) {
      const place = Buffer.concat([path.subarray(0, path.lastIndexOf(SLASH_BYTE) + 1), Buffer.from(`.ext4-cp-${process.pid}-${this.temporaryCount++}`)]);
      try {
        return { fd: openNew(place, mode), place };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
    }
  }

  private *copyExtents(inode: Inode, fd: number, sizeBytes: number): Task<void> {
    ftruncateSync(fd, sizeBytes);
    const { blockBytes } = inode.i_sb;
    for (const { lblk, count, unwritten } of yield* inode.fiemap(0, Math.ceil(sizeBytes / blockBytes))) {
      if (unwritten) continue;
      const end = Math.min((lblk + count) * blockBytes, sizeBytes);
      for (let offset = lblk * blockBytes; offset < end;) {
        const piece = this.small.subarray(0, Math.min(SMALL_BYTES, end - offset));
        yield* inode.read(offset, piece);
        writeFully(fd, piece, offset);
        offset += piece.length;
        this.out.progress(() => `${this.fileCount} files, ${humanSize(this.byteCount + offset)}`);
      }
    }
  }

  private *finishFile(inode: Inode, fd: number, path: Buffer): Task<void> {
    if (!this.isArchive) return;
    const isForeign = this.keepsOwners && (inode.i_uid !== process.geteuid!() || inode.i_gid !== process.getegid!());
    if (isForeign) fchownSync(fd, inode.i_uid, inode.i_gid);
    if (isForeign || (inode.i_mode & 0o7000) !== 0) fchmodSync(fd, inode.i_mode & 0o7777);
    yield* this.copyXattrs(inode, path);
    if (this.native !== undefined) this.native.setTimesOfFd(fd, inode.i_atime, inode.i_mtime);
    else futimesSync(fd, seconds(inode.i_atime), seconds(inode.i_mtime));
  }

  private *createLink(inode: Inode, path: Buffer): Task<void> {
    const target = Buffer.from(yield* inode.readlink());
    atFreePlace(path, () => symlinkSync(target, path));
    if (!this.isArchive) return;
    if (this.keepsOwners) lchownSync(path, inode.i_uid, inode.i_gid);
    yield* this.copyXattrs(inode, path);
    this.setTimes(inode, path);
  }

  /** Devices, FIFOs and sockets; false: the host does not take them. */
  private createSpecial(inode: Inode, path: Buffer): boolean {
    const { native } = this;
    try {
      if (native === undefined) throw new Error("no way to make it");
      atFreePlace(path, () => {
        try {
          native.makeNode(terminated(path), inode.i_mode & 0o177777, inode.i_rdev.major, inode.i_rdev.minor);
        } catch (error) {
          throw (error as { errno?: number }).errno === 17 ? Object.assign(error as Error, { code: "EEXIST" }) : error;
        }
      });
    } catch (error) {
      // What stands in the way is the user's to know; that only root makes devices is not worth a line for each.
      if ((error as NodeJS.ErrnoException).syscall === "unlink") throw error;
      this.leaveOut("special files");
      return false;
    }
    if (this.keepsOwners) lchownSync(path, inode.i_uid, inode.i_gid);
    chmodSync(path, inode.i_mode & 0o7777);
    this.setTimes(inode, path);
    return true;
  }

  private setTimes(inode: Inode, path: Buffer): void {
    if (this.native !== undefined) this.native.setTimes(terminated(path), inode.i_atime, inode.i_mtime);
    else lutimesSync(path, seconds(inode.i_atime), seconds(inode.i_mtime));
  }

  private *copyXattrs(inode: Inode, path: Buffer): Task<void> {
    for (const name of yield* inode.listxattr()) {
      const value = (yield* inode.getxattr(name)) ?? new Uint8Array(0);
      try {
        if (this.native === undefined) throw new Error("no way to set it");
        this.native.setXattr(terminated(path), name, value);
      } catch {
        this.leaveOut("extended attributes");
      }
    }
  }

  private leaveOut(kind: string): void {
    this.leftOut.set(kind, (this.leftOut.get(kind) ?? 0) + 1);
  }
}

function* refuseName(): Task<void> {
  throw new FsError("EINVAL", "on this host the name would be more than a name");
}

const terminated = (path: Buffer): Buffer => Buffer.concat([path, Buffer.of(0)]);
const seconds = ({ sec, nsec }: { sec: number; nsec: number }): number => sec + nsec / 1e9;
