/** An image's files as a source: of another image, or of the one that is written to. */
import { FsError } from "../../lib/errno.js";
import type { Task } from "../../platform/node/index.js";
import type { Inode, Timespec } from "../../vfs/inode.js";
import { Dentry, dentryPath } from "../../vfs/namei.js";
import { listDirectory } from "../../vfs/walk.js";
import type { DataRun, SourceNode, Xattr } from "./source.js";

const SECTOR_BYTES = 512;

export class ImageNode implements SourceNode {
  readonly inode: Inode;
  readonly name: Uint8Array;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly linkCount: number;
  readonly rdev: { readonly major: number; readonly minor: number };
  // As they are before the copy reads or, in the same image, changes them.
  readonly atime: Timespec;
  readonly mtime: Timespec;

  private constructor(readonly dentry: Dentry, readonly sizeBytes: number, private readonly blocks: number) {
    const { d_inode: inode } = dentry;
    this.inode = inode;
    this.name = dentry.d_name;
    this.mode = inode.i_mode;
    this.uid = inode.i_uid;
    this.gid = inode.i_gid;
    this.linkCount = inode.i_nlink;
    this.rdev = inode.i_rdev;
    this.atime = inode.i_atime;
    this.mtime = inode.i_mtime;
    // Held while it is open, so that it stays in core and is the same object.
    inode.i_count++;
  }

  static *open(dentry: Dentry): Task<ImageNode> {
    dentry.d_inode.checkOpen(false);
    const { sizeBytes, blocks } = yield* dentry.d_inode.getattr();
    return new ImageNode(dentry, sizeBytes, blocks);
  }

  path(): Uint8Array {
    return dentryPath(this.dentry);
  }

  identity(): string {
    return String(this.inode.i_ino);
  }

  *names(): Task<Uint8Array[]> {
    return (yield* listDirectory(this.inode)).map(({ name }) => name);
  }

  *child(name: Uint8Array): Task<SourceNode> {
    const inode = yield* this.inode.lookup(name);
    if (inode === undefined) throw new FsError("ENOENT");
    return yield* ImageNode.open(new Dentry(inode, name, this.dentry));
  }

  *readlink(): Task<Uint8Array> {
    return yield* this.inode.readlink();
  }

  *xattrs(): Task<readonly Xattr[]> {
    const found: Xattr[] = [];
    for (const name of yield* this.inode.listxattr()) found.push({ name, value: (yield* this.inode.getxattr(name)) ?? new Uint8Array(0) });
    return found;
  }

  *runs(): Task<readonly DataRun[]> {
    const { inode, sizeBytes } = this;
    if (this.blocks * SECTOR_BYTES >= sizeBytes) return [{ offsetBytes: 0, endBytes: sizeBytes }];
    const runs: DataRun[] = [];
    for (let endBytes = 0; endBytes < sizeBytes;) {
      const offsetBytes = yield* this.nextData(endBytes);
      if (offsetBytes === undefined) break;
      endBytes = yield* inode.seek(offsetBytes, "hole");
      runs.push({ offsetBytes, endBytes });
    }
    return runs;
  }

  private *nextData(fromBytes: number): Task<number | undefined> {
    try {
      return yield* this.inode.seek(fromBytes, "data");
    } catch (error) {
      if (error instanceof FsError && error.code === "ENXIO") return undefined;
      throw error;
    }
  }

  *read(offsetBytes: number, into: Uint8Array): Task<number> {
    return yield* this.inode.read(offsetBytes, into);
  }

  close(): void {
    this.inode.i_count--;
  }
}
