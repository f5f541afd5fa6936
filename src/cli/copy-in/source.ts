/** What a copy into an image reads: a tree of nodes, of the host or of an image. A node is opened, used and closed before the next one, but for the directories on the way. */
import type { DataRun, Xattr } from "../../mkfs/tree-source.js";
import type { Task } from "../../platform/node/index.js";
import type { Timespec } from "../../vfs/inode.js";

export type { DataRun, Xattr };

export interface SourceNode {
  /** In its directory; empty for what has no name there. */
  readonly name: Uint8Array;
  /** Type and permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly linkCount: number;
  readonly sizeBytes: number;
  readonly rdev: { readonly major: number; readonly minor: number };
  readonly atime: Timespec;
  readonly mtime: Timespec;
  /** For messages. */
  path(): Uint8Array;
  /** The same for all names of one file. */
  identity(): string;
  /** The names in this directory, but "." and "..", in whatever order. */
  names(): Task<Uint8Array[]>;
  child(name: Uint8Array): Task<SourceNode>;
  readlink(): Task<Uint8Array>;
  xattrs(): Task<readonly Xattr[]>;
  /** Where a file has data. Undefined: there may be holes, and nobody knows where. */
  runs(): Task<readonly DataRun[] | undefined>;
  /** Returns the bytes read; 0 at the end. */
  read(offsetBytes: number, into: Uint8Array): Task<number>;
  close(): void;
}
