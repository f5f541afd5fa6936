/**
 * The host's files as a source. A regular file costs four system calls: it is opened, asked for its inode, read in one piece and closed; with koffi one more tells whether it has
 * extended attributes.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readlinkSync, readSync, statSync, type BigIntStats, type Stats } from "node:fs";
import { loadNativeFs, type NativeFs } from "../../platform/node/native.js";
import type { Task } from "../../platform/node/index.js";
import { S_IFMT, S_IFREG, S_IFSOCK, type Timespec } from "../../vfs/inode.js";
import { dataRuns, HostStats, timeOf } from "../host-stats.js";
import type { DataRun, SourceNode, Xattr } from "./source.js";

const SLASH = Buffer.from("/");
const NO_NAME = new Uint8Array(0);
const RETRY_MS = 10;
const READ_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

/** What is asked of the host beyond what Node gives. */
export interface HostAccess {
  readonly native: NativeFs | undefined;
  /** Times to the nanosecond and extended attributes are wanted. */
  readonly isExact: boolean;
}

export function hostAccess(isExact: boolean): HostAccess {
  return { native: loadNativeFs(), isExact };
}

/** @param follow whether a symbolic link is taken as what it leads to. @throws Node's own error. */
export function openHostNode(access: HostAccess, path: string, name: Uint8Array, follow: boolean): SourceNode {
  const bytes = Buffer.from(path);
  const isFile = (follow ? statSync(bytes) : lstatSync(bytes)).isFile();
  return isFile ? openFile(access, bytes, name, follow) : new HostNode(access, bytes, name, -1, look(access, bytes, follow));
}

function openFile(access: HostAccess, path: Buffer, name: Uint8Array, follow: boolean): HostNode {
  const fd = openSync(path, follow ? constants.O_RDONLY : READ_FLAGS);
  try {
    return new HostNode(access, path, name, fd, access.isExact ? fstatSync(fd, { bigint: true }) : fstatSync(fd));
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function look({ isExact }: HostAccess, path: Buffer, follow: boolean): Stats | BigIntStats {
  if (follow) return isExact ? statSync(path, { bigint: true }) : statSync(path);
  return isExact ? lstatSync(path, { bigint: true }) : lstatSync(path);
}

class HostNode extends HostStats implements SourceNode {
  readonly atime: Timespec;
  readonly mtime: Timespec;
  /** Of the names in this directory, those that are regular files for certain. */
  private files: Set<string> | undefined;

  constructor(private readonly access: HostAccess, private readonly at: Buffer, readonly name: Uint8Array, private readonly fd: number, stats: Stats | BigIntStats) {
    super(stats);
    this.atime = timeOf(stats, "atime");
    this.mtime = timeOf(stats, "mtime");
  }

  path(): Uint8Array {
    return this.at;
  }

  *names(): Task<Uint8Array[]> {
    const entries = readdirSync(this.at, { encoding: "buffer", withFileTypes: true });
    this.files = new Set(entries.filter((entry) => entry.isFile()).map(({ name }) => name.toString("latin1")));
    return entries.map(({ name }) => name);
  }

  *child(name: Uint8Array): Task<SourceNode> {
    const path = Buffer.concat([this.at, SLASH, name]);
    // A device must not be opened only to be looked at, and a pipe would wait for its writer.
    const isFile = this.files?.has(Buffer.from(name.buffer, name.byteOffset, name.length).toString("latin1")) === true;
    return isFile ? openFile(this.access, path, name, false) : openUnknown(this.access, path, name);
  }

  *readlink(): Task<Uint8Array> {
    return readlinkSync(this.at, "buffer");
  }

  *xattrs(): Task<readonly Xattr[]> {
    const { native } = this.access;
    if (native === undefined) return [];
    const place = this.fd >= 0 ? this.fd : Buffer.concat([this.at, Uint8Array.of(0)]);
    return native.listXattrs(place).map((name) => ({ name, value: native.getXattr(place, name) }));
  }

  *runs(): Task<readonly DataRun[] | undefined> {
    const { sizeBytes, access: { native } } = this;
    if (!this.hasHoles) return [{ offsetBytes: 0, endBytes: sizeBytes }];
    return native === undefined ? undefined : dataRuns(native, this.fd, sizeBytes);
  }

  *read(offsetBytes: number, into: Uint8Array): Task<number> {
    return readSync(this.fd, into, 0, into.length, offsetBytes);
  }

  close(): void {
    if (this.fd >= 0) closeSync(this.fd);
  }
}

function openUnknown(access: HostAccess, path: Buffer, name: Uint8Array): HostNode {
  const stats = look(access, path, false);
  return stats.isFile() ? openFile(access, path, name, false) : new HostNode(access, path, name, -1, stats);
}

/** Standard input, as a file of the caller's that ends when it ends. */
export function standardInput(): SourceNode {
  const now = { sec: Math.floor(Date.now() / 1000), nsec: 0 };
  return {
    name: NO_NAME, mode: S_IFREG | 0o666, uid: 0, gid: 0, linkCount: 1, sizeBytes: Infinity, rdev: { major: 0, minor: 0 }, atime: now, mtime: now,
    path: () => Buffer.from("standard input"),
    identity: () => "-",
    *names() { return []; },
    *child() { throw new Error("standard input has no names"); },
    *readlink() { return NO_NAME; },
    *xattrs() { return []; },
    *runs() { return [{ offsetBytes: 0, endBytes: Infinity }]; },
    *read(_offsetBytes, into) { return readWaiting(into); },
    close: () => undefined,
  };
}

/** A terminal or pipe may be set so that a read does not wait; then it is asked again. */
function readWaiting(into: Uint8Array): number {
  for (;;) {
    try {
      return readSync(0, into, 0, into.length, null);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EOF") return 0;
      if (code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    }
  }
}

export const isSocket = (mode: number): boolean => (mode & S_IFMT) === S_IFSOCK;
