/** What both ways of taking the host's files in have in common: what stat says, in a filesystem's terms, and where a file's data lies. */
import type { BigIntStats, Stats } from "node:fs";
import type { NativeFs } from "../platform/node/native.js";
import type { Timespec } from "../vfs/inode.js";

const NS_PER_SEC = 1_000_000_000n;
const SECTOR_BYTES = 512;

export abstract class HostStats {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly linkCount: number;
  readonly sizeBytes: number;

  constructor(protected readonly stats: Stats | BigIntStats) {
    this.mode = Number(stats.mode);
    this.uid = Number(stats.uid);
    this.gid = Number(stats.gid);
    this.linkCount = Number(stats.nlink);
    this.sizeBytes = Number(stats.size);
  }

  /** As glibc's major and minor for numbers of 12 and 20 bits. */
  get rdev(): { major: number; minor: number } {
    const rdev = Number(this.stats.rdev);
    return { major: (rdev >>> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00) };
  }

  /** The same for all names of one file. */
  identity(): string {
    return `${this.stats.dev}:${this.stats.ino}`;
  }

  protected get hasHoles(): boolean {
    return Number(this.stats.blocks) * SECTOR_BYTES < this.sizeBytes;
  }
}

export function timeOf(stats: Stats | BigIntStats, which: "atime" | "mtime"): Timespec {
  if (typeof stats.mode === "number") {
    const ms = (stats as Stats)[`${which}Ms`];
    const sec = Math.floor(ms / 1000);
    return { sec, nsec: Math.floor((ms - sec * 1000) * 1e6) };
  }
  const ns = (stats as BigIntStats)[`${which}Ns`];
  const nsec = Number(((ns % NS_PER_SEC) + NS_PER_SEC) % NS_PER_SEC);
  return { sec: Number((ns - BigInt(nsec)) / NS_PER_SEC), nsec };
}

/** Where the host says that there is data. */
export function dataRuns(native: NativeFs, fd: number, sizeBytes: number): { offsetBytes: number; endBytes: number }[] {
  const runs: { offsetBytes: number; endBytes: number }[] = [];
  for (let endBytes = 0; endBytes < sizeBytes;) {
    const offsetBytes = native.seekData(fd, endBytes);
    if (offsetBytes === undefined || offsetBytes >= sizeBytes) break;
    endBytes = Math.min(native.seekHole(fd, offsetBytes), sizeBytes);
    runs.push({ offsetBytes, endBytes });
  }
  return runs;
}
