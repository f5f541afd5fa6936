/**
 * What a new filesystem is filled with: a tree of nodes, a folder of the host's, say. The planner asks for everything once, in the order of the tree, and reads no file's data but what goes into inodes:
 * where the rest belongs it tells the source, which brings it there.
 */
import type { Timespec } from "../vfs/inode.js";

export interface Xattr {
  /** Full, "user.x". */
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

/** Bytes of a file that hold data; between two runs is a hole. */
export interface DataRun {
  readonly offsetBytes: number;
  readonly endBytes: number;
}

export interface TreeNode {
  /** Type and permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly linkCount: number;
  readonly sizeBytes: number;
  readonly atime: Timespec;
  readonly mtime: Timespec;
  readonly rdev: { readonly major: number; readonly minor: number };
  /** For messages. */
  readonly path: Uint8Array;
  /** The same for all names of one file. */
  identity(): string;
  /** The names in this directory, but "." and "..", in whatever order. */
  names(): Uint8Array[];
  child(name: Uint8Array): TreeNode;
  readlink(): Uint8Array;
  xattrs(): readonly Xattr[];
  /** Where the file has data, ascending, within its size. */
  runs(): readonly DataRun[];
  /** The first `sizeBytes` bytes; zeroes where the file has become shorter. */
  read(sizeBytes: number): Uint8Array;
}

/** Bytes of a file, and where they go: whole blocks, the last of which goes on with zeroes. */
export interface Piece {
  /** In the file. */
  readonly offsetBytes: number;
  readonly dataBytes: number;
  /** In the filesystem. */
  readonly at: number;
  readonly lengthBytes: number;
}

export interface TreeSource {
  /** A directory, whose attributes the root gets. */
  readonly root: TreeNode;
  /** The piece is to be brought where it belongs, now or later. */
  copy(node: TreeNode, piece: Piece): void;
  /** A node has its place under this name in the filesystem. */
  taken(node: TreeNode): void;
  /** Something that the filesystem does not take. */
  leaveOut(kind: string): void;
}
