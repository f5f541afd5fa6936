/** Random system calls, the same ones of a process here and of a process on Linux: each ends alike, and so does the tree. */
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDWR, O_TMPFILE, O_TRUNC } from "../../src/vfs/flags.js";
import type { Process } from "../../src/vfs/process.js";
import { FsError } from "../../src/lib/errno.js";
import { makeImage } from "../support/allocation-world.js";
import { attempt, canMount, hasCommand, mountImage, notTestedHere, run, temporaryFolder, writeImage } from "../support/host.js";
import { Prng } from "../../src/lib/prng.js";
import type { Statx } from "../../src/vfs/stat.js";
import { ProcessWorld, text } from "./world.js";

type Call = readonly [name: string, ...args: (string | number | null)[]];

const SLOTS = 5;

/**
 * A list of calls on few names and few descriptors, so that they meet.
 * @param seeksHoles whether holes are looked for. Not where fallocate makes unwritten blocks: Linux calls those data that a read has brought into the page cache.
 */
function makeCalls(prng: Prng, count: number, seeksHoles: boolean): Call[] {
  const name = (): string => prng.pick(["a", "b", "c", "link", "d", "d/a", "d/e", "d/e/f", "/a", "../a", "e", "nowhere/x", "a/x", "d/", "."]);
  const slot = (): number => prng.below(SLOTS);
  const size = (): number => prng.pick([0, 1, 7, 100, 4095, 4096, 4097, 9000, 65_536]);
  const data = (): string => Buffer.alloc(prng.pick([0, 1, 5, 300, 4096, 5000]), prng.below(256)).toString("hex");
  const mode = (): number => prng.pick([0o644, 0o600, 0o755, 0o444, 0o000, 0o4755, 0o2775, 0o1777, 0o666]);
  const flags = (): number => {
    let bits = prng.pick([0, 1, 2, 2]);
    for (const flag of [O_CREAT, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NOFOLLOW, O_DIRECTORY]) if (prng.below(flag === O_DIRECTORY ? 12 : 4) === 0) bits |= flag;
    // From Linux 6.4 on O_CREAT|O_DIRECTORY is EINVAL whatever is there; before, a directory is opened.
    if ((bits & O_CREAT) !== 0) bits &= ~O_DIRECTORY;
    return prng.below(25) === 0 ? O_TMPFILE | O_RDWR : bits;
  };
  const makers: [number, () => Call][] = [
    [14, () => ["open", slot(), name(), flags(), mode()]], [4, () => ["close", slot()]], [3, () => ["dup", slot(), slot()]], [2, () => ["dup2", slot(), slot()]],
    [8, () => ["read", slot(), size()]], [5, () => ["pread", slot(), size(), size()]], [10, () => ["write", slot(), data()]], [6, () => ["pwrite", slot(), data(), size()]],
    [8, () => ["lseek", slot(), prng.pick([0, 1, -1, 5, 4096, 10_000, -5000]), seeksHoles ? prng.below(6) : prng.pick([0, 1, 2, 5])]], [4, () => ["ftruncate", slot(), prng.pick([-1, 0, 3, 4096, 20_000])]], [3, () => ["truncate", name(), prng.pick([-1, 0, 5, 5000])]],
    [4, () => ["fallocate", slot(), prng.pick(seeksHoles ? [2, 3, 8, 32, 9, 0x1000] : [0, 0, 1, 2, 3, 8, 16, 17, 32, 9, 0x1000]), prng.pick([-1, 0, 4096, 100, 8192]), prng.pick([0, -1, 4096, 5000, 8192])]], [1, () => ["fsync", slot()]],
    [4, () => ["unlink", name()]], [4, () => ["mkdir", name(), mode() | 0o700]], [3, () => ["rmdir", name()]], [5, () => ["rename", name(), name(), prng.pick([0, 0, 0, 1, 2, 3])]], [4, () => ["link", name(), name()]],
    [3, () => ["symlink", prng.pick(["a", "d", "loop", "/d/a"]), name()]], [2, () => ["readlink", name()]], [3, () => ["chmod", name(), mode()]], [2, () => ["chown", name(), prng.pick([-1, 0, 1000, 7]), prng.pick([-1, 0, 1000])]],
    [2, () => ["utime", name(), prng.pick([null, 1000]), 2000]], [5, () => ["stat", name()]], [4, () => ["lstat", name()]], [5, () => ["fstat", slot()]], [2, () => ["chdir", prng.pick(["/", "/", "d", "d/e", "..", "a", "nowhere"])]], [1, () => ["getcwd"]],
    [1, () => ["umask", prng.pick([0o022, 0o077, 0])]], [3, () => ["setxattr", name(), prng.pick(["user.a", "user.b", "trusted.t"]), "v".repeat(prng.below(40)), prng.below(3)]], [2, () => ["getxattr", name(), prng.pick(["user.a", "user.b", "trusted.t"])]],
    [1, () => ["removexattr", name(), prng.pick(["user.a", "user.b"])]], [2, () => ["listxattr", name()]], [2, () => ["list", name()]],
  ];
  const total = makers.reduce((sum, [weight]) => sum + weight, 0);
  return Array.from({ length: count }, () => {
    let ticket = prng.below(total);
    return makers.find(([weight]) => (ticket -= weight) < 0)![1]();
  });
}

const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const shown = ({ stx_mode, stx_nlink, stx_size, stx_uid, stx_gid }: Statx): number[] => [stx_mode, stx_nlink, (stx_mode & 0o170000) === 0o040000 ? 0 : stx_size, stx_uid, stx_gid];

/** What syscalls.py does, here. */
class Caller {
  private readonly fds = new Map<number, number>();

  constructor(private readonly world: ProcessWorld, private readonly process: Process) {}

  perform([name, ...args]: Call): unknown {
    try {
      return this.call(name, args as never[]) ?? null;
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      return error.code === "EOPNOTSUPP" ? "ENOTSUP" : error.code;
    }
  }

  private opened(slot: number, fd: number): string {
    const before = this.fds.get(slot);
    if (before !== undefined) this.world.run(this.process.close(before));
    this.fds.set(slot, fd);
    return "ok";
  }

  private call(name: string, args: never[]): unknown {
    const { world, process: p } = this;
    const [first, second, third, fourth] = args as [never, never, never, never];
    const fd = this.fds.get(first) ?? -1;
    const bytes = (count: number, work: (into: Uint8Array) => number): string => {
      const into = new Uint8Array(count);
      return Buffer.from(into.subarray(0, work(into))).toString("hex");
    };
    switch (name) {
      case "open": return this.opened(first, world.run(p.open(second, third, fourth)));
      case "close": this.fds.delete(first); return world.run(p.close(fd));
      case "dup": return this.opened(second, p.dup(fd));
      case "dup2": {
        const to = this.fds.get(second);
        if (to === undefined) this.fds.set(second, p.dup(fd));
        else world.run(p.dup2(fd, to));
        return "ok";
      }
      case "read": return bytes(second, (into) => world.run(p.read(fd, into)));
      case "pread": return bytes(second, (into) => world.run(p.pread(fd, into, third)));
      case "write": return world.run(p.write(fd, Buffer.from(second, "hex")));
      case "pwrite": return world.run(p.pwrite(fd, Buffer.from(second, "hex"), third));
      case "lseek":
        if (fd >= 0 && (world.run(p.fstat(fd)).stx_mode & 0o170000) === 0o040000) return "directory";
        return world.run(p.lseek(fd, second, third));
      case "ftruncate": return world.run(p.ftruncate(fd, second));
      case "fallocate": return world.run(p.fallocate(fd, second, third, fourth));
      case "fsync": return world.run(p.fsync(fd));
      case "fstat": return shown(world.run(p.fstat(fd)));
      case "truncate": return world.run(p.truncate(first, second));
      case "unlink": return world.run(p.unlink(first));
      case "mkdir": return world.run(p.mkdir(first, second));
      case "rmdir": return world.run(p.rmdir(first));
      case "rename": return world.run(p.renameat2(first, second, third));
      case "link": return world.run(p.link(first, second));
      case "symlink": return world.run(p.symlink(first, second));
      case "readlink": return decode(world.run(p.readlink(first)));
      case "chmod": return world.run(p.chmod(first, second));
      case "chown": return world.run(p.chown(first, second, third));
      case "utime": return world.run(second === null ? p.utimensat(first) : p.utimensat(first, { sec: second, nsec: 0 }, { sec: third, nsec: 0 }));
      case "stat": return shown(world.run(p.stat(first)));
      case "lstat": return shown(world.run(p.lstat(first)));
      case "chdir": return world.run(p.chdir(first));
      case "getcwd": return decode(p.getcwd());
      case "umask": return p.umask(first);
      case "setxattr": return world.run(p.setxattr(first, second, text(third), { create: fourth === 1, replace: fourth === 2 }));
      case "getxattr": return decode(world.run(p.getxattr(first, second)));
      case "removexattr": return world.run(p.removexattr(first, second));
      case "listxattr": return world.run(p.listxattr(first)).map(decode).sort();
      case "list": return world.run(p.readdir(first)).map(({ d_name: entry }) => decode(entry)).filter((entry) => entry !== "." && entry !== "..").sort();
      default: throw new Error(name);
    }
  }
}

const steps = Number(process.env["EXT4_STEPS"] ?? 600);
const seeds = Number(process.env["EXT4_SEEDS"] ?? 3);
const isPossible = canMount && hasCommand("python3");
if (!isPossible) notTestedHere("system calls beside Linux's", "no loop mounts, or no python3");

test.runIf(isPossible).each(Array.from({ length: seeds }, (_, seed) => [0, 1000].map((uid) => [uid, seed + 1] as const)).flat())("as user %i, seed %i", (uid, seed) => {
  const image = makeImage(["-b", "4096", "-I", "256"], "32M");
  run("debugfs", ["-w", "-R", "set_inode_field / mode 041777", image]);
  const copy = join(temporaryFolder(), "linux.img");
  copyFileSync(image, copy);
  const calls = makeCalls(new Prng(seed * 7919 + uid), steps, seed % 2 === 0);
  const mount = mountImage(copy, "rw")!;
  const linux = attemptCalls(mount.mountPoint, uid, calls);
  mount.unmount();
  const world = new ProcessWorld({ image });
  const caller = new Caller(world, world.spawn({ uid, gid: uid }));
  calls.forEach((call, index) => {
    const ours = caller.perform(call);
    expect({ index, call, result: ours }, history(calls, linux, index)).toEqual({ index, call, result: linux[index] });
  });
  world.unmount();
  const left = join(temporaryFolder(), "ours.img");
  writeImage(left, world.device.bytes);
  expect(attempt("e2fsck", ["-fn", left])).toMatchObject({ status: 0 });
});

function attemptCalls(mountPoint: string, uid: number, calls: readonly Call[]): unknown[] {
  const input = calls.map((call) => JSON.stringify(call)).join("\n");
  return run("python3", [join(import.meta.dirname, "syscalls.py"), mountPoint, String(uid)], { input }).trim().split("\n").map((line) => JSON.parse(line) as unknown);
}

/** The last calls before one, for who has to find out why it ended otherwise. */
function history(calls: readonly Call[], results: readonly unknown[], index: number): string {
  return calls.slice(Math.max(0, index - 25), index).map((call, at) => `${JSON.stringify(call).slice(0, 120)} = ${JSON.stringify(results[Math.max(0, index - 25) + at]).slice(0, 80)}`).join("\n");
}

