/**
 * Random work on a tree, the same for everything that has Node's fs: a volume of ours, or a folder on a filesystem of Linux. Each step's outcome is a line of text, so two that behave alike
 * give the same lines.
 */
import type * as NodeFs from "node:fs";
import { Buffer } from "node:buffer";
import type { Prng } from "../../src/lib/prng.js";

/** What the work needs of an fs; paths are absolute within it. */
export type WorkFs = Pick<typeof NodeFs,
  "writeFileSync" | "appendFileSync" | "readFileSync" | "openSync" | "closeSync" | "writeSync" | "readSync" | "ftruncateSync" | "fsyncSync" | "truncateSync" | "unlinkSync" | "mkdirSync" | "rmdirSync" |
  "renameSync" | "linkSync" | "symlinkSync" | "readlinkSync" | "chmodSync" | "chownSync" | "utimesSync" | "readdirSync" | "lstatSync" | "rmSync" | "copyFileSync">;

const NAMES_PER_DIRECTORY = 24;
const DIRECTORIES_MAX = 30;
const LONG_NAME = "long-name-".repeat(24);

export class Churn {
  private readonly directories = [""];
  private stepCount = 0;

  /** @param leavesGaps whether writes may begin behind a file's end. Linux (6.18) loses such a write to a file with inline data: it reads as zeroes at once. */
  constructor(private fs: WorkFs, private readonly prng: Prng, private readonly leavesGaps = true) {}

  /** Goes on with the same tree, opened anew. */
  on(fs: WorkFs): this {
    this.fs = fs;
    return this;
  }

  /** One step: what was done and how it ended. */
  step(): string {
    const actions: [number, () => string][] = [
      [18, () => this.writeFile()], [8, () => this.append()], [14, () => this.writeAt()], [6, () => this.truncate()], [12, () => this.unlink()], [8, () => this.mkdir()], [4, () => this.rmdir()],
      [12, () => this.rename()], [5, () => this.link()], [5, () => this.symlink()], [4, () => this.chmod()], [3, () => this.utimes()], [5, () => this.look()], [5, () => this.list()],
      [3, () => this.unlinkedFile()], [1, () => this.removeTree()], [3, () => this.copy()],
    ];
    let ticket = this.prng.below(actions.reduce((sum, [weight]) => sum + weight, 0));
    const action = actions.find(([weight]) => (ticket -= weight) < 0)![1];
    this.stepCount++;
    return action();
  }

  private attempt(what: string, work: () => unknown): string {
    try {
      const result = work();
      return `${what}: ${typeof result === "string" ? result : "ok"}`;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === undefined) throw error;
      return `${what}: ${code}`;
    }
  }

  private directory(): string {
    return this.directories[this.prng.below(this.directories.length)]!;
  }

  private path(): string {
    const number = this.prng.below(NAMES_PER_DIRECTORY);
    return `${this.directory()}/${number === 0 ? LONG_NAME : `n${number}`}`;
  }

  private size(): number {
    const kind = this.prng.below(10);
    if (kind < 4) return this.prng.below(200);
    if (kind < 8) return this.prng.below(20_000);
    return this.prng.below(400_000);
  }

  private bytes(length: number): Buffer {
    return Buffer.alloc(length, `${this.stepCount}-`);
  }

  private writeFile(): string {
    const [path, size] = [this.path(), this.size()];
    return this.attempt(`write ${path} ${size}`, () => this.fs.writeFileSync(path, this.bytes(size)));
  }

  private append(): string {
    const [path, size] = [this.path(), this.size()];
    return this.attempt(`append ${path} ${size}`, () => this.fs.appendFileSync(path, this.bytes(size)));
  }

  private writeAt(): string {
    const [path, size, offset, isSynced] = [this.path(), this.size() >>> 2, this.size() * 3, this.prng.below(4) === 0];
    return this.attempt(`write ${path} ${size} at ${offset}`, () => {
      const fd = this.fs.openSync(path, "r+");
      try {
        this.fs.writeSync(fd, this.bytes(size), 0, size, this.leavesGaps ? offset : Math.min(offset, this.fs.lstatSync(path).size));
        if (isSynced) this.fs.fsyncSync(fd);
      } finally {
        this.fs.closeSync(fd);
      }
    });
  }

  private truncate(): string {
    const [path, size] = [this.path(), this.size()];
    return this.attempt(`truncate ${path} ${size}`, () => this.fs.truncateSync(path, size));
  }

  private unlink(): string {
    const path = this.path();
    return this.attempt(`unlink ${path}`, () => this.fs.unlinkSync(path));
  }

  private mkdir(): string {
    const path = this.path();
    return this.attempt(`mkdir ${path}`, () => {
      this.fs.mkdirSync(path);
      if (this.directories.length < DIRECTORIES_MAX) this.directories.push(path);
    });
  }

  private rmdir(): string {
    const path = this.directory();
    return this.attempt(`rmdir ${path}`, () => this.fs.rmdirSync(path === "" ? "/" : path)).replace("EBUSY", "ENOTEMPTY"); // a mount point is busy, and so is a root
  }

  private rename(): string {
    const [from, to] = [this.prng.below(3) === 0 ? this.directory() || this.path() : this.path(), this.path()];
    return this.attempt(`rename ${from} ${to}`, () => {
      this.fs.renameSync(from, to);
      // Directories below keep their old names in the list: what they lead to now is ENOENT, or another's.
      if (this.directories.includes(from)) this.directories.push(to);
    });
  }

  private link(): string {
    const [from, to] = [this.path(), this.path()];
    return this.attempt(`link ${from} ${to}`, () => this.fs.linkSync(from, to));
  }

  private symlink(): string {
    const [path, length] = [this.path(), this.prng.below(3)];
    return this.attempt(`symlink ${path}`, () => this.fs.symlinkSync(["n1", "../n2", "t".repeat(150)][length]!, path));
  }

  private chmod(): string {
    const [path, mode, owner] = [this.path(), this.prng.below(0o10000), this.prng.below(100_000)];
    return this.attempt(`chmod ${path} ${mode.toString(8)}`, () => {
      this.fs.chownSync(path, owner, owner + 1);
      this.fs.chmodSync(path, mode);
    });
  }

  private utimes(): string {
    const [path, seconds] = [this.path(), this.prng.below(2 ** 31)];
    return this.attempt(`utimes ${path}`, () => this.fs.utimesSync(path, seconds, seconds / 2));
  }

  private look(): string {
    const path = this.path();
    return this.attempt(`look ${path}`, () => {
      const { mode, nlink, uid, gid, size } = this.fs.lstatSync(path);
      const isFile = (mode & 0o170000) === 0o100000;
      const content = isFile ? hash(this.fs.readFileSync(path)) : (mode & 0o170000) === 0o120000 ? this.fs.readlinkSync(path) : "";
      return `${mode.toString(8)} ${nlink} ${uid} ${gid} ${isFile ? size : "-"} ${content}`;
    });
  }

  private list(): string {
    const path = this.directory();
    return this.attempt(`list ${path}`, () => this.fs.readdirSync(path || "/").filter((name) => name !== "lost+found").sort().join(" "));
  }

  private unlinkedFile(): string {
    const [path, size] = [this.path(), this.size()];
    return this.attempt(`unlinked ${path}`, () => {
      const fd = this.fs.openSync(path, "wx+");
      try {
        this.fs.unlinkSync(path);
        this.fs.writeSync(fd, this.bytes(size), 0, size, 100);
        this.fs.ftruncateSync(fd, size >>> 1);
        const back = Buffer.alloc(size);
        return hash(back.subarray(0, this.fs.readSync(fd, back, 0, size, 0)));
      } finally {
        this.fs.closeSync(fd);
      }
    });
  }

  private removeTree(): string {
    const path = this.path();
    return this.attempt(`rm -r ${path}`, () => this.fs.rmSync(path, { recursive: true }));
  }

  private copy(): string {
    const [from, to] = [this.path(), this.path()];
    // Node's own copy of a directory fails only after it has made, and perhaps removed, the other file: that is nothing to follow.
    return this.attempt(`copy ${from} ${to}`, () => (this.fs.lstatSync(from).isFile() ? this.fs.copyFileSync(from, to) : "no file"));
  }
}

/** FNV-1a: enough to tell two contents apart in a line of text. */
function hash(bytes: Uint8Array): string {
  let value = 0x811c9dc5;
  for (let index = 0; index < bytes.length; index++) value = Math.imul(value ^ bytes[index]!, 0x01000193);
  return `${bytes.length}:${(value >>> 0).toString(16)}`;
}

/** Node's fs below a folder, as if that were the root. */
export function below(fs: typeof NodeFs, root: string): WorkFs {
  const rooted = (path: unknown): unknown => (typeof path === "string" ? root + path : path);
  const paths: Record<string, number> = { renameSync: 2, linkSync: 2, copyFileSync: 2, symlinkSync: 0, closeSync: 0, writeSync: 0, readSync: 0, ftruncateSync: 0, fsyncSync: 0 };
  return new Proxy(fs, {
    get(target, name: string) {
      const method = (target as unknown as Record<string, (...args: unknown[]) => unknown>)[name]!;
      const count = paths[name] ?? 1;
      return (...args: unknown[]) => {
        if (name === "symlinkSync") return method(args[0], rooted(args[1]));
        return method(...args.map((argument, index) => (index < count ? rooted(argument) : argument)));
      };
    },
  }) as unknown as WorkFs;
}
