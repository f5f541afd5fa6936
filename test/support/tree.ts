/** A whole tree, by path: as Linux sees a directory, and as we see an image; and what differs between two. Paths are byte strings (latin1). */
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readlinkSync, openSync, readSync, closeSync } from "node:fs";
import type { Volume } from "../../src/platform/node/index.js";
import { dentryPath, rootDentry } from "../../src/vfs/namei.js";
import { walkTree } from "../../src/vfs/walk.js";
import { statsOf, type BigIntStats } from "../../src/api/stats.js";
import { run } from "./host.js";

export interface Node {
  mode: bigint;
  ino: bigint;
  nlink: bigint;
  uid: bigint;
  gid: bigint;
  rdev: bigint;
  size: bigint;
  blocks: bigint;
  atimeNs: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
  birthtimeNs: bigint;
  target?: string;
  sha256?: string;
  error?: string;
  xattrs: Record<string, string>;
}

export type Tree = Map<string, Node>;

/** One for all files: a new one for each would be gigabytes of fresh memory. */
const piece = new Uint8Array(1 << 20);

function nodeOf(stats: Pick<BigIntStats, "mode" | "ino" | "nlink" | "uid" | "gid" | "rdev" | "size" | "blocks" | "atimeNs" | "mtimeNs" | "ctimeNs" | "birthtimeNs">): Node {
  const { mode, ino, nlink, uid, gid, rdev, size, blocks, atimeNs, mtimeNs, ctimeNs, birthtimeNs } = stats;
  return { mode, ino, nlink, uid, gid, rdev, size, blocks, atimeNs, mtimeNs, ctimeNs, birthtimeNs, xattrs: {} };
}

/** A file larger than this is hashed by its data alone: reading gigabytes of zeroes proves little. */
const HASH_BYTES_MAX = 200_000_000n;

/** What Linux says of everything below `root`. */
export function linuxTree(root: string): Tree {
  const tree: Tree = new Map();
  const xattrs = linuxXattrs(root);
  const visit = (path: Buffer, shown: string): void => {
    const stats = lstatSync(path, { bigint: true });
    const node = nodeOf(stats);
    node.xattrs = xattrs.get(shown) ?? {};
    tree.set(shown, node);
    try {
      if (stats.isSymbolicLink()) node.target = readlinkSync(path, "buffer").toString("latin1");
      else if (stats.isFile() && stats.size <= HASH_BYTES_MAX) node.sha256 = hashOf(path);
      else if (stats.isFile()) {
        const hash = createHash("sha256");
        for (const offset of probes(stats.size)) hash.update(readPiece(path, offset, piece.subarray(0, PROBE_BYTES)));
        node.sha256 = hash.digest("hex");
      }
    } catch (error) {
      node.error = (error as NodeJS.ErrnoException).code ?? String(error);
    }
    if (!stats.isDirectory()) return;
    for (const name of readdirSync(path, "buffer")) visit(Buffer.concat([path, Buffer.from("/"), name]), `${shown === "/" ? "" : shown}/${name.toString("latin1")}`);
  };
  visit(Buffer.from(root), "/");
  return tree;
}

/** The SHA-256 of a file, in hexadecimal. */
export function hashOf(path: Buffer | string): string {
  const hash = createHash("sha256");
  const fd = openSync(path, "r");
  try {
    for (let length = readSync(fd, piece); length > 0; length = readSync(fd, piece)) hash.update(piece.subarray(0, length));
  } finally {
    closeSync(fd);
  }
  return hash.digest("hex");
}

const PROBE_BYTES = 65536;

/** Where a file too large to read whole is looked at: beginning, end, and places that the tests write to. */
function probes(size: bigint): number[] {
  return [0, 2 ** 20, 3_000_000_000 - 4096, 2 ** 32, 2 ** 33 - 4096, Number(size) - PROBE_BYTES].filter((offset) => offset >= 0 && offset < Number(size));
}

function readPiece(path: Buffer, offset: number, into: Uint8Array): Uint8Array {
  const fd = openSync(path, "r");
  try {
    return into.subarray(0, readSync(fd, into, 0, into.length, offset));
  } finally {
    closeSync(fd);
  }
}

/** All extended attributes below `root`, values in hexadecimal. */
function linuxXattrs(root: string): Map<string, Record<string, string>> {
  const found = new Map<string, Record<string, string>>();
  const output = run("getfattr", ["-R", "-h", "-P", "-d", "-m", "-", "-e", "hex", "--absolute-names", root], { encoding: "latin1" });
  let current: Record<string, string> = {};
  for (const line of output.split("\n")) {
    const [, file] = /^# file: (.*)$/s.exec(line) ?? [];
    if (file !== undefined) {
      const path = file.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
      current = {};
      found.set(path.slice(root.length) || "/", current);
    } else if (line !== "") {
      const at = line.indexOf("=");
      current[line.slice(0, at)] = line.slice(at + 3).replace(/^"$/, "");
    }
  }
  return found;
}

/** What we say of everything in the volume. */
export function ourTree(volume: Volume): Tree {
  const tree: Tree = new Map();
  volume.runSync(walkTree(rootDentry(volume.fs.root), {
    *enter(dentry) {
      const inode = dentry.d_inode;
      const node = nodeOf((yield* statsOf(inode, true)) as BigIntStats);
      tree.set(Buffer.from(dentryPath(dentry)).toString("latin1"), node);
      for (const name of yield* inode.listxattr()) node.xattrs[Buffer.from(name).toString("latin1")] = Buffer.from((yield* inode.getxattr(name))!).toString("hex");
      try {
        inode.checkOpen(false);
        if (inode.isSymlink()) node.target = Buffer.from(yield* inode.readlink()).toString("latin1");
        else if (inode.isRegular() && node.size <= HASH_BYTES_MAX) {
          const hash = createHash("sha256");
          for (let offset = 0; offset < inode.i_size; offset += piece.length) hash.update(piece.subarray(0, yield* inode.read(offset, piece)));
          node.sha256 = hash.digest("hex");
        } else if (inode.isRegular()) {
          const hash = createHash("sha256");
          const probe = piece.subarray(0, PROBE_BYTES);
          for (const offset of probes(node.size)) hash.update(probe.subarray(0, yield* inode.read(offset, probe)));
          node.sha256 = hash.digest("hex");
        }
      } catch (error) {
        node.error = (error as NodeJS.ErrnoException).code ?? String(error);
      }
    },
  }));
  return tree;
}

/** Differences, one line each, the first `limit` of them; fields in `ignored` do not count. */
export function treeDifferences(theirs: Tree, ours: Tree, ignored: ReadonlySet<keyof Node> = new Set(), limit = 10): string[] {
  const differences: string[] = [];
  for (const path of new Set([...theirs.keys(), ...ours.keys()])) {
    const [a, b] = [theirs.get(path), ours.get(path)];
    if (a === undefined || b === undefined) differences.push(`${JSON.stringify(path)}: ${a === undefined ? "only ours" : "missing in ours"}`);
    else {
      for (const key of new Set([...Object.keys(a), ...Object.keys(b)]) as Set<keyof Node>) {
        const [x, y] = key === "xattrs" ? [xattrText(a), xattrText(b)] : [a[key], b[key]];
        if (!ignored.has(key) && x !== y) differences.push(`${JSON.stringify(path)}: ${key} is ${String(x)}, ours ${String(y)}`);
      }
    }
    if (differences.length >= limit) break;
  }
  return differences;
}

const xattrText = (node: Node): string => Object.keys(node.xattrs).sort().map((name) => `${name}=${node.xattrs[name]}`).join(";");
