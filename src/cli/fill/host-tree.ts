/** A folder of the host as what a filesystem is filled with. A file costs one lstat, with koffi one more call that tells whether it has extended attributes; its data is read by who copies it. */
import { closeSync, constants, lstatSync, openSync, readdirSync, readlinkSync, readSync, statSync, type BigIntStats } from "node:fs";
import type { DataRun, Piece, TreeNode, TreeSource, Xattr } from "../../mkfs/tree-source.js";
import { loadNativeFs, type NativeFs } from "../../platform/node/native.js";
import { FsError } from "../../lib/errno.js";
import { isAllZero } from "../../lib/bytes.js";
import type { Timespec } from "../../vfs/inode.js";
import { dataRuns, HostStats, timeOf } from "../host-stats.js";
import type { Output } from "../output.js";
import { humanSize, quoted } from "../text.js";

const SLASH = 0x2f;
const READ_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
/** Where the host does not tell where holes are, so many bytes of zeroes are one: no filesystem has smaller blocks. */
const HOLE_UNIT_BYTES = 1024;
const PIECE_BYTES = 2 ** 20;
const NO_XATTRS: readonly Xattr[] = [];

export interface HostTreeOptions {
  /** Takes the pieces; undefined: nobody does. */
  readonly copy: ((path: Uint8Array, piece: Piece) => void) | undefined;
  /** Times are no later than this, and the time of the last access, which reading changes, is that of the last modification: so the same tree gives the same bytes. */
  readonly latestSec: number | undefined;
  /** How the user calls the image, for messages. */
  readonly image: string;
}

export class HostTree implements TreeSource {
  readonly root: HostNode;
  private readonly native = loadNativeFs();
  private readonly leftOut = new Map<string, number>();
  private fileCount = 0;
  private byteCount = 0;
  private readonly rootBytes: number;

  /** @throws Node's own error; FsError ENOTDIR. */
  constructor(directory: string, private readonly options: HostTreeOptions, private readonly out: Output) {
    const path = Buffer.from(`${directory}\0`);
    this.rootBytes = path.length - 1;
    this.root = new HostNode(this.native, options.latestSec, path, statSync(directory, { bigint: true }));
    if (!statSync(directory).isDirectory()) throw new FsError("ENOTDIR", undefined, { path: directory });
  }

  copy(node: HostNode, piece: Piece): void {
    this.options.copy?.(node.path, piece);
  }

  taken(node: HostNode): void {
    this.fileCount++;
    this.byteCount += node.sizeBytes;
    const { out } = this;
    if (this.options.copy === undefined) return;
    const target = (): string => `${this.options.image}:${quoted(node.path.subarray(this.rootBytes))}`;
    out.did(() => `${quoted(node.path)} -> ${target()}`, () => ({ from: quoted(node.path), to: target() }));
    out.progress(() => `${this.fileCount} files, ${humanSize(this.byteCount)}`);
  }

  leaveOut(kind: string): void {
    this.leftOut.set(kind, (this.leftOut.get(kind) ?? 0) + 1);
  }

  /** Says what was not taken along. */
  finish(): void {
    this.out.clearProgress();
    if (this.leftOut.size === 0) return;
    this.out.note(`left out: ${[...this.leftOut].map(([kind, count]) => `${count} ${kind}`).join(", ")}`);
  }
}

class HostNode extends HostStats implements TreeNode {
  readonly atime: Timespec;
  readonly mtime: Timespec;
  readonly path: Buffer;

  /** @param terminated the path with a NUL behind it, as the C library wants it. */
  constructor(private readonly native: NativeFs | undefined, private readonly latestSec: number | undefined, private readonly terminated: Buffer, stats: BigIntStats) {
    super(stats);
    this.path = terminated.subarray(0, terminated.length - 1);
    const mtime = timeOf(stats, "mtime");
    this.mtime = latestSec === undefined || mtime.sec < latestSec ? mtime : { sec: latestSec, nsec: 0 };
    this.atime = latestSec === undefined ? timeOf(stats, "atime") : this.mtime;
  }

  names(): Uint8Array[] {
    return readdirSync(this.path, "buffer");
  }

  child(name: Uint8Array): HostNode {
    const { length } = this.path;
    const path = Buffer.allocUnsafe(length + name.length + 2);
    path.set(this.path);
    path[length] = SLASH;
    path.set(name, length + 1);
    path[path.length - 1] = 0;
    return new HostNode(this.native, this.latestSec, path, lstatSync(path.subarray(0, path.length - 1), { bigint: true }));
  }

  readlink(): Uint8Array {
    return readlinkSync(this.path, "buffer");
  }

  xattrs(): readonly Xattr[] {
    const { native, terminated } = this;
    if (native === undefined) return NO_XATTRS;
    const names = native.listXattrs(terminated);
    return names.length === 0 ? NO_XATTRS : names.map((name) => ({ name, value: native.getXattr(terminated, name) }));
  }

  runs(): readonly DataRun[] {
    const { sizeBytes, native } = this;
    if (!this.hasHoles) return [{ offsetBytes: 0, endBytes: sizeBytes }];
    return this.opened((fd) => (native === undefined ? runsByContent(fd, sizeBytes) : dataRuns(native, fd, sizeBytes)));
  }

  read(sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(sizeBytes);
    this.opened((fd) => readFully(fd, bytes, 0));
    return bytes;
  }

  private opened<Result>(work: (fd: number) => Result): Result {
    const fd = openSync(this.path, READ_FLAGS);
    try {
      return work(fd);
    } finally {
      closeSync(fd);
    }
  }
}

/** Zeroes may be a hole: where nobody can tell, they are taken for one. */
function runsByContent(fd: number, sizeBytes: number): DataRun[] {
  const runs: { offsetBytes: number; endBytes: number }[] = [];
  const piece = new Uint8Array(PIECE_BYTES);
  for (let at = 0; at < sizeBytes; at += PIECE_BYTES) {
    const count = readFully(fd, piece.subarray(0, Math.min(PIECE_BYTES, sizeBytes - at)), at);
    for (let from = 0; from < count; from += HOLE_UNIT_BYTES) {
      const to = Math.min(from + HOLE_UNIT_BYTES, count);
      if (isAllZero(piece.subarray(from, to))) continue;
      const last = runs.at(-1);
      if (last?.endBytes === at + from) last.endBytes = at + to;
      else runs.push({ offsetBytes: at + from, endBytes: at + to });
    }
  }
  return runs;
}

/** Returns the bytes read: fewer where the file ends. */
function readFully(fd: number, into: Uint8Array, position: number): number {
  for (let done = 0; done < into.length;) {
    const count = readSync(fd, into, done, into.length - done, position + done);
    if (count === 0) return done;
    done += count;
  }
  return into.length;
}
