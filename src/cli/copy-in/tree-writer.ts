/**
 * Writes trees into a volume, one node per step: a step is an operation of its own, so the memory it takes is that of one file and of the directories on the way. A file that cannot be
 * written whole is taken away again; the copy then goes on with the next. Directory entries are made in the order of their names, so the same tree gives the same image.
 */
import { encode } from "../../lib/utf8.js";
import { FsError } from "../../lib/errno.js";
import { compareBytes } from "../../lib/bytes.js";
import type { Task } from "../../platform/node/index.js";
import { createAt, linkAt, unlinkAt, withDirectory } from "../../vfs/change.js";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, type Inode, type NewInode, type SuperBlock, type Timespec } from "../../vfs/inode.js";
import { Dentry, dentryPath, pathLookup, rootDentry, type LastName } from "../../vfs/namei.js";
import { ROOT } from "../../vfs/permission.js";
import type { Output } from "../output.js";
import { humanSize, quoted } from "../text.js";
import { isSocket } from "./host-source.js";
import { ImageNode } from "./image-source.js";
import type { DataRun, SourceNode } from "./source.js";

export interface CopyInOptions {
  /** Directories, too; links are copied as links. */
  readonly isRecursive: boolean;
  /** Owners, modes, times, hard links and extended attributes are kept. */
  readonly isArchive: boolean;
}

const PERMISSIONS = 0o7777;
const BUFFER_BYTES = 1 << 20;
const ACL_ACCESS = encode("system.posix_acl_access");
const ACL_DEFAULT = encode("system.posix_acl_default");

/** A directory that is being filled. */
interface Level {
  readonly node: SourceNode;
  readonly dentry: Dentry;
  /** Nothing is in it but what this copy puts there. */
  readonly isNew: boolean;
  readonly names: readonly Uint8Array[];
  next: number;
}

export class TreeWriter {
  private readonly levels: Level[] = [];
  private readonly buffer = new Uint8Array(BUFFER_BYTES);
  /** The inode that a source with several names was written to. */
  private readonly linked = new Map<string, number>();
  private readonly leftOut = new Map<string, number>();
  private readonly umask: number;
  /** The directory asked last, as files of one directory come one after the other; its own ACL is set when it is left. */
  private aclDirectory: { readonly dir: Inode; readonly hasDefault: boolean } | undefined;
  private fileCount = 0;
  private byteCount = 0;

  /** @param image how the user calls it, for messages. */
  constructor(private readonly fs: SuperBlock, private readonly image: string, private readonly options: CopyInOptions, private readonly out: Output) {
    this.umask = options.isArchive ? 0 : process.umask();
  }

  /** Begins a copy of `node`, which is closed at its end, as what `last` says. */
  *begin(node: SourceNode, last: LastName): Task<void> {
    if (!last.isPlain || (last.mustBeDirectory && !isDirectory(node))) {
      node.close();
      throw new FsError(last.isPlain ? "ENOTDIR" : "EEXIST");
    }
    yield* this.put(node, last.dir, last.name, false);
  }

  /** Begins to fill a directory that is there with what is in the directory `node`. */
  *beginInto(node: SourceNode, dentry: Dentry): Task<void> {
    if (isDirectory(node) && this.options.isRecursive) return yield* this.enter(node, dentry, false);
    node.close();
    throw isDirectory(node) ? new FsError("EISDIR", "a directory is copied with -r or -a") : new FsError("EISDIR", "it needs a name to go by in a directory");
  }

  /** The next step, undefined at the end. */
  next(): Task<void> | undefined {
    const level = this.levels.at(-1);
    if (level === undefined) return undefined;
    const name = level.names[level.next++];
    return name === undefined ? this.leave(level) : this.step(level, name);
  }

  /** Lets go of what a copy that ends early holds. */
  abandon(): void {
    for (const { node, dentry } of this.levels.splice(0)) this.release(node, dentry);
  }

  /** Says at the end what was not taken along. */
  finish(): void {
    this.out.clearProgress();
    if (this.leftOut.size === 0) return;
    this.out.note(`left out: ${[...this.leftOut].map(([kind, count]) => `${count} ${kind}`).join(", ")}`);
  }

  /** One name of a directory. Its failure is told, and is its own. */
  private *step({ node: parent, dentry, isNew }: Level, name: Uint8Array): Task<void> {
    let node: SourceNode | undefined;
    try {
      node = yield* parent.child(name);
      yield* this.put(node, dentry, name, isNew);
    } catch (error) {
      const source = node?.path() ?? Buffer.concat([parent.path(), Buffer.from("/"), name]);
      this.failed(error, source, Buffer.concat([dentryPath(dentry), Buffer.from("/"), name]));
    }
  }

  /** @throws whatever is no fault of host, image or user. */
  private failed(error: unknown, source: Uint8Array, target: Uint8Array): void {
    if (!(error instanceof Error) || !("code" in error)) throw error;
    this.out.error(`${quoted(source)} -> ${this.image}:${quoted(target)}: ${error.message}`);
  }

  private *put(node: SourceNode, dir: Dentry, name: Uint8Array, isNew: boolean): Task<void> {
    let isKept = false;
    try {
      const there = isNew ? undefined : yield* dir.d_inode.lookup(name);
      if (isDirectory(node)) {
        yield* this.putDirectory(node, dir, name, there);
        isKept = true;
      } else if (there?.isDirectory() === true) throw new FsError("EISDIR", "a directory is not replaced by a file");
      else yield* this.putFile(node, { dir, name, isPlain: true, isDotDot: false, mustBeDirectory: false }, there);
    } finally {
      if (!isKept) node.close();
    }
  }

  private *putDirectory(node: SourceNode, dir: Dentry, name: Uint8Array, there: Inode | undefined): Task<void> {
    if (!this.options.isRecursive) throw new FsError("EISDIR", "a directory is copied with -r or -a");
    if (there !== undefined && !there.isDirectory()) throw new FsError("ENOTDIR", "what is there is not replaced by a directory");
    checkNotInside(node, dir);
    const inode = there ?? (yield* this.create(node, dir, name, there === undefined));
    this.told(node, dir, name);
    yield* this.enter(node, new Dentry(inode, name, dir), there === undefined);
  }

  private *enter(node: SourceNode, dentry: Dentry, isNew: boolean): Task<void> {
    checkNotInside(node, dentry);
    const names = (yield* node.names()).sort(compareBytes);
    // Held, so that it stays in core, and is the same object, until it is left.
    dentry.d_inode.i_count++;
    this.levels.push({ node, dentry, isNew, names, next: 0 });
  }

  private *leave(level: Level): Task<void> {
    this.levels.pop();
    try {
      if (this.options.isArchive) yield* this.keepAttributes(level.node, level.dentry.d_inode, level.dentry.d_parent.d_inode);
    } catch (error) {
      this.failed(error, level.node.path(), dentryPath(level.dentry));
    } finally {
      this.release(level.node, level.dentry);
    }
  }

  private release(node: SourceNode, dentry: Dentry): void {
    dentry.d_inode.i_count--;
    node.close();
  }

  private *putFile(node: SourceNode, place: LastName, there: Inode | undefined): Task<void> {
    if (isSocket(node.mode)) return this.leaveOut("sockets, which live only as long as who listens");
    if (there !== undefined && isSame(node, there)) throw new FsError("EINVAL", "both are one file");
    const isLinked = this.options.isArchive && node.linkCount > 1;
    const earlier = isLinked ? this.linked.get(node.identity()) : undefined;
    const inode = earlier !== undefined ? yield* this.putLink(earlier, place, there) : isRegular(node) ? yield* this.putRegular(node, place, there) : yield* this.putSpecial(node, place, there);
    if (isLinked && earlier === undefined) this.linked.set(node.identity(), inode.i_ino);
    this.fileCount++;
    this.told(node, place.dir, place.name);
    this.out.progress(() => `${this.fileCount} files, ${humanSize(this.byteCount)}`);
  }

  private *putLink(ino: number, place: LastName, there: Inode | undefined): Task<Inode> {
    const inode = yield* this.fs.iget(ino);
    if (there === inode) return inode;
    if (there !== undefined) yield* unlinkAt(place, ROOT);
    yield* linkAt(inode, place, ROOT);
    return inode;
  }

  private *putSpecial(node: SourceNode, place: LastName, there: Inode | undefined): Task<Inode> {
    const target = (node.mode & S_IFMT) === S_IFLNK ? yield* node.readlink() : undefined;
    if (there !== undefined) yield* unlinkAt(place, ROOT);
    const inode = yield* this.create(node, place.dir, place.name, there === undefined, target);
    if (this.options.isArchive) yield* this.keepAttributes(node, inode, place.dir.d_inode);
    return inode;
  }

  private *putRegular(node: SourceNode, place: LastName, there: Inode | undefined): Task<Inode> {
    const reused = there === undefined ? undefined : yield* this.reusable(node, place, there);
    if (there !== undefined && reused === undefined) yield* unlinkAt(place, ROOT);
    const inode = reused ?? (yield* this.create(node, place.dir, place.name, there === undefined));
    try {
      if (reused !== undefined) yield* withDirectory(inode, () => inode.setattr({ sizeBytes: 0 }));
      const isDone = reused === undefined && (yield* this.copyInOnePiece(node, inode));
      if (!isDone) yield* this.copyData(node, inode);
      if (this.options.isArchive) yield* this.keepAttributes(node, inode, place.dir.d_inode);
    } catch (error) {
      // Half a file must not look like a whole one.
      if (reused === undefined) yield* unlinkAt(place, ROOT);
      throw error;
    }
    return inode;
  }

  /** The file that is written over: also through a link, as cp does; but not one that has other names, which an archive shall leave alone. */
  private *reusable(node: SourceNode, place: LastName, there: Inode): Task<Inode | undefined> {
    if (this.options.isArchive && there.i_nlink > 1) return undefined;
    const root = rootDentry(this.fs.root);
    const inode = there.isSymlink() ? (yield* pathLookup(root, place.dir, place.name, { followLast: true })).d_inode : there;
    if (isSame(node, inode)) throw new FsError("EINVAL", "both are one file");
    return inode.isRegular() ? inode : undefined;
  }

  /** @param isFree nothing has the name, so that need not be looked up again. */
  private *create(node: SourceNode, dir: Dentry, name: Uint8Array, isFree: boolean, target?: Uint8Array): Task<Inode> {
    const { isArchive } = this.options;
    const { uid, gid, rdev } = isArchive ? node : { ...ROOT, rdev: node.rdev };
    const type = node.mode & S_IFMT;
    const mode = type === S_IFLNK ? 0o777 : isArchive ? node.mode & PERMISSIONS : node.mode & 0o777;
    const wanted: NewInode = { mode: type | mode, umask: type === S_IFLNK ? 0 : this.umask, uid, gid, rdev, target };
    if (isFree) return yield* withDirectory(dir.d_inode, () => dir.d_inode.create(name, wanted));
    return yield* createAt({ dir, name, isPlain: true, isDotDot: false, mustBeDirectory: false }, wanted, ROOT, type === S_IFDIR);
  }

  /** The fast way for what fits the buffer and has no holes. False: it must be copied otherwise. */
  private *copyInOnePiece(node: SourceNode, inode: Inode): Task<boolean> {
    const { sizeBytes } = node;
    if (sizeBytes === 0 || sizeBytes > BUFFER_BYTES || !isWhole(yield* node.runs(), sizeBytes)) return false;
    const { blockBytes } = this.fs;
    const count = yield* node.read(0, this.buffer.subarray(0, sizeBytes));
    if (count !== sizeBytes) return false;
    const endBytes = Math.ceil(sizeBytes / blockBytes) * blockBytes;
    this.buffer.fill(0, sizeBytes, endBytes);
    yield* withDirectory(inode, () => inode.writeNew(this.buffer.subarray(0, endBytes), sizeBytes, this.options.isArchive ? node : undefined));
    this.byteCount += sizeBytes;
    return true;
  }

  private *copyData(node: SourceNode, inode: Inode): Task<void> {
    if (node.sizeBytes === 0) return;
    const runs = yield* node.runs();
    for (const run of runs ?? [{ offsetBytes: 0, endBytes: node.sizeBytes }]) {
      for (let offsetBytes = run.offsetBytes; offsetBytes < run.endBytes;) {
        const piece = this.buffer.subarray(0, Math.min(BUFFER_BYTES, run.endBytes - offsetBytes));
        const count = yield* node.read(offsetBytes, piece);
        if (count === 0) break;
        yield* this.write(inode, offsetBytes, piece.subarray(0, count), runs === undefined);
        offsetBytes += count;
        this.byteCount += count;
        this.out.progress(() => `${this.fileCount} files, ${humanSize(this.byteCount)}`);
      }
    }
    if (Number.isFinite(node.sizeBytes) && inode.i_size < node.sizeBytes) yield* withDirectory(inode, () => inode.setattr({ sizeBytes: node.sizeBytes }));
  }

  /** @param isLoose blocks of zeroes are left out, as they may be holes. */
  private *write(inode: Inode, offsetBytes: number, data: Uint8Array, isLoose: boolean): Task<void> {
    if (!isLoose) return yield* withDirectory(inode, () => inode.write(offsetBytes, data));
    const { blockBytes } = this.fs;
    for (let from = 0; from < data.length; from += blockBytes) {
      const block = data.subarray(from, from + blockBytes);
      if (block.some((byte) => byte !== 0)) yield* withDirectory(inode, () => inode.write(offsetBytes + from, block));
    }
  }

  private *keepAttributes(node: SourceNode, inode: Inode, dir: Inode): Task<void> {
    yield* this.keepXattrs(node, inode, yield* this.hasDefaultAcl(dir));
    const { uid, gid, atime, mtime } = node;
    const mode = inode.isSymlink() ? undefined : node.mode & PERMISSIONS;
    const isModeKept = mode === undefined || mode === (inode.i_mode & PERMISSIONS);
    if (isModeKept && inode.i_uid === uid && inode.i_gid === gid && isSameTime(inode.i_atime, atime) && isSameTime(inode.i_mtime, mtime)) return;
    yield* withDirectory(inode, () => inode.setattr({ mode: isModeKept ? undefined : mode, uid, gid, atime, mtime }));
  }

  private *hasDefaultAcl(dir: Inode): Task<boolean> {
    if (this.aclDirectory?.dir !== dir) this.aclDirectory = { dir, hasDefault: (yield* dir.getxattr(ACL_DEFAULT)) !== undefined };
    return this.aclDirectory.hasDefault;
  }

  /** @param isInheriting what the directory's default ACL gave to a new file is taken away: it is not the source's. */
  private *keepXattrs(node: SourceNode, inode: Inode, isInheriting: boolean): Task<void> {
    const xattrs = yield* node.xattrs();
    for (const { name, value } of xattrs) yield* this.keepXattr(inode, name, value);
    if (!isInheriting || inode.isSymlink()) return;
    for (const acl of [ACL_ACCESS, ACL_DEFAULT]) {
      const isOwn = xattrs.some(({ name }) => compareBytes(name, acl) === 0);
      if (!isOwn && (yield* inode.getxattr(acl)) !== undefined) yield* withDirectory(inode, () => inode.setxattr(acl, undefined, {}));
    }
  }

  private *keepXattr(inode: Inode, name: Uint8Array, value: Uint8Array): Task<void> {
    try {
      yield* withDirectory(inode, () => inode.setxattr(name, value, {}));
    } catch (error) {
      // A filesystem may have no room for it, or not know its kind.
      if (!(error instanceof FsError) || !["EOPNOTSUPP", "E2BIG", "ERANGE", "EINVAL", "EPERM"].includes(error.code)) throw error;
      this.leaveOut("extended attributes");
    }
  }

  private told(node: SourceNode, dir: Dentry, name: Uint8Array): void {
    const target = (): string => `${this.image}:${quoted(dentryPath(new Dentry(dir.d_inode, name, dir)))}`;
    this.out.did(() => `${quoted(node.path())} -> ${target()}`, () => ({ from: quoted(node.path()), to: target() }));
  }

  private leaveOut(kind: string): void {
    this.leftOut.set(kind, (this.leftOut.get(kind) ?? 0) + 1);
  }
}

function isWhole(runs: readonly DataRun[] | undefined, sizeBytes: number): boolean {
  return runs?.length === 1 && runs[0]!.offsetBytes === 0 && runs[0]!.endBytes === sizeBytes;
}

const isSameTime = (a: Timespec, b: Timespec): boolean => a.sec === b.sec && a.nsec === b.nsec;
const isDirectory = ({ mode }: SourceNode): boolean => (mode & S_IFMT) === S_IFDIR;
const isRegular = ({ mode }: SourceNode): boolean => (mode & S_IFMT) === S_IFREG;
const isSame = (node: SourceNode, inode: Inode): boolean => node instanceof ImageNode && node.inode === inode;

/** @throws FsError EINVAL a directory would be copied into itself, without end. */
function checkNotInside(node: SourceNode, dir: Dentry): void {
  for (let at = dir; ; at = at.d_parent) {
    if (isSame(node, at.d_inode)) throw new FsError("EINVAL", "a directory cannot be copied into itself");
    if (at.d_parent === at) return;
  }
}
