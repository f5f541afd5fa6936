/** Small files in memory, for mkfs to fill a filesystem with: they go into their inodes where the filesystem has the feature. */
import { encode } from "../../src/lib/utf8.js";
import type { TreeNode, TreeSource } from "../../src/mkfs/tree-source.js";
import { S_IFDIR, S_IFREG } from "../../src/vfs/inode.js";

const TIME = { sec: 0, nsec: 0 };

/** @param files names in the root, and what is in them: no more than fits an inode. */
export function inlineTree(files: Readonly<Record<string, Uint8Array>>): TreeSource {
  const node = (path: string, mode: number, data: Uint8Array): TreeNode => ({
    mode, uid: 0, gid: 0, linkCount: 1, sizeBytes: data.length, atime: TIME, mtime: TIME, rdev: { major: 0, minor: 0 }, path: encode(path),
    identity: () => path,
    names: () => (mode === (S_IFDIR | 0o755) ? Object.keys(files).map(encode) : []),
    child: (name) => {
      const text = String.fromCharCode(...name);
      return node(`/${text}`, S_IFREG | 0o644, files[text]!);
    },
    readlink: () => new Uint8Array(0),
    xattrs: () => [],
    runs: () => [{ offsetBytes: 0, endBytes: data.length }],
    read: (sizeBytes) => data.slice(0, sizeBytes),
  });
  const refuse = (): never => { throw new RangeError("a file is too large for its inode"); };
  return { root: node("/", S_IFDIR | 0o755, new Uint8Array(0)), copy: refuse, taken: () => {}, leaveOut: () => {} };
}
