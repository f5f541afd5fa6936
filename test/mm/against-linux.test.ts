/**
 * Memory calls beside a real Linux: the same random script of mmap, munmap, mprotect, mremap, msync, madvise, loads, stores, reads, writes and cuts runs in a program on a loop mount and in a process
 * here, and each step gives the same: number, error, or signal with its code and page.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FsError } from "../../src/lib/errno.js";
import * as C from "../../src/mm/constants.js";
import { FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from "../../src/vfs/inode.js";
import { O_CREAT, O_RDONLY, O_RDWR } from "../../src/vfs/flags.js";
import type { Process } from "../../src/vfs/process.js";
import type { Task } from "../../src/sched/task.js";
import { Signal } from "../../src/vfs/signal.js";
import { MappingWorld } from "../dax/world.js";
import { canMount, hasCommand, notTestedHere, run, temporaryFolder, withMount } from "../support/host.js";
import { Prng } from "../../src/lib/prng.js";

const PAGE = 4096;
const ARENA = 2 ** 28;
/** What is mapped lies in so many pages, so that calls meet each other's mappings. */
const PAGES = 96;
const FILE_PAGES = 64;
const STEPS = Number(process.env["EXT4_STEPS"] ?? 1200);
const SEEDS = Number(process.env["EXT4_SEEDS"] ?? 2);
const CAN_RUN = canMount && hasCommand("gcc");

function compile(): string {
  const program = join(temporaryFolder(), "mapper");
  run("gcc", ["-O1", "-o", program, new URL("../support/mapper.c", import.meta.url).pathname]);
  return program;
}

/** The next step: one letter and numbers, as mapper.c reads it. */
function nextStep(prng: Prng, interpreter: Interpreter): string {
  const page = (): number => prng.below(PAGES) * PAGE;
  const length = (): number => (prng.below(8) === 0 ? prng.below(20 * PAGE) : (prng.below(24) + 1) * PAGE);
  const odd = (value: number): number => (prng.below(25) === 0 ? value + prng.below(PAGE) : value);
  const position = (): number => prng.below(FILE_PAGES * PAGE);
  const prot = (): number => prng.pick([0, 1, 1, 3, 3, 3, 2, 5, 7]);
  const kinds: (() => string)[] = [
    () => {
      const type = prng.pick([C.MAP_SHARED, C.MAP_SHARED, C.MAP_PRIVATE, C.MAP_PRIVATE, C.MAP_SHARED_VALIDATE, 0]);
      const where = prng.pick([C.MAP_FIXED, C.MAP_FIXED, C.MAP_FIXED, C.MAP_FIXED_NOREPLACE]);
      const what = prng.pick([0, 0, 0, 0, C.MAP_ANONYMOUS, 2 ** 30, C.MAP_POPULATE]);
      return `m ${odd(page())} ${length()} ${prot()} ${type + where + what} ${odd(prng.below(FILE_PAGES) * PAGE)}`;
    },
    () => `u ${odd(page())} ${length()}`,
    () => `p ${odd(page())} ${length()} ${prot()}`,
    () => {
      const flags = prng.pick([0, C.MREMAP_MAYMOVE | C.MREMAP_FIXED, C.MREMAP_MAYMOVE | C.MREMAP_FIXED, C.MREMAP_FIXED]);
      // The kernel chooses no place here: the script could not know it.
      const [from, bytes] = [page(), length()];
      // Newer kernels move several mappings at once, and where one ends depends on what was joined: only one is moved here.
      return interpreter.isOneMapping(from, bytes) ? `r ${odd(from)} ${bytes} ${length()} ${flags} ${odd(page())}` : `g 0 ${FILE_PAGES * PAGE}`;
    },
    () => `s ${odd(page())} ${length()} ${prng.pick([C.MS_SYNC, C.MS_SYNC, C.MS_ASYNC, C.MS_INVALIDATE, 0, 5, 8])}`,
    () => `v ${odd(page())} ${length()} ${prng.pick([C.MADV_DONTNEED, C.MADV_DONTNEED, C.MADV_REMOVE, C.MADV_NOHUGEPAGE, C.MADV_HUGEPAGE, C.MADV_NORMAL, C.MADV_POPULATE_READ, C.MADV_POPULATE_WRITE, 99])}`,
    ...Array.from({ length: 5 }, () => () => `L ${prng.below(PAGES * PAGE)} ${prng.below(3 * PAGE) + 1}`),
    ...Array.from({ length: 6 }, () => () => `S ${prng.below(PAGES * PAGE)} ${prng.below(2 * PAGE) + 1} ${prng.below(256)}`),
    () => `t ${position()}`,
    () => `f ${prng.pick([FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, 0, FALLOC_FL_KEEP_SIZE])} ${position()} ${length() + 1}`,
    () => `f ${prng.pick([FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE])} ${prng.below(FILE_PAGES) * PAGE} ${(prng.below(4) + 1) * PAGE}`,
    () => `w ${position()} ${prng.below(3 * PAGE) + 1} ${prng.below(256)}`,
    // Behind its end Linux 6.18 makes the file longer though the buffer cannot be read, and says EFAULT: that is left alone.
    // And where the buffer is a mapping of the very bytes that are written or read, what comes out depends on the pieces that the page cache happens to have.
    () => {
      const [memory, bytes, at] = [prng.below(PAGES * PAGE), prng.below(3 * PAGE) + 1, prng.below(interpreter.sizeBytes + 1)];
      return interpreter.isApart(memory, bytes, at) ? `${prng.pick(["W", "R"])} ${at} ${bytes} ${memory}` : `g 0 ${FILE_PAGES * PAGE}`;
    },
    () => `R ${interpreter.sizeBytes + prng.below(PAGE)} ${prng.below(3 * PAGE) + 1} ${prng.below(PAGES * PAGE)}`,
    () => `g ${position()} ${prng.below(9 * PAGE) + 1}`,
    () => (prng.below(12) === 0 ? "F" : `g 0 ${FILE_PAGES * PAGE}`),
  ];
  return prng.pick(kinds)();
}

class Interpreter {
  private process: Process;
  private readonly files: number[];

  constructor(private readonly world: MappingWorld) {
    this.process = world.process;
    this.files = [O_RDWR | O_CREAT, O_RDONLY].map((flags) => world.run(this.process.open("/file", flags)));
  }

  get sizeBytes(): number {
    return this.world.run(this.process.fstat(this.files[0]!)).stx_size;
  }

  /** Whether what is mapped there is neither behind the file's end nor the file's bytes from `position` on. */
  isApart(offset: number, length: number, position: number): boolean {
    const [start, end] = [ARENA + offset, ARENA + offset + length];
    return this.process.mm.vmas.overlapping(start, end).every((vma) => {
      if (vma.vm_file === undefined) return true;
      const fileBytes = vma.vm_pgoff * PAGE - vma.vm_start;
      const [first, last] = [fileBytes + Math.max(start, vma.vm_start), fileBytes + Math.min(end, vma.vm_end)];
      return last <= this.sizeBytes && (last <= position || first >= position + length);
    });
  }

  isOneMapping(offset: number, length: number): boolean {
    const start = ARENA + offset;
    const [vma, ...others] = this.process.mm.vmas.overlapping(start, start + Math.ceil(length / PAGE) * PAGE);
    return others.length === 0 && vma?.contains(start, Math.ceil(length / PAGE) * PAGE) === true;
  }

  step(line: string): string {
    const [a = 0, b = 0, c = 0, d = 0, e = 0] = line.slice(1).trim().split(" ").map(Number);
    try {
      return String(this.call(line[0]!, a, b, c, d, e) ?? 0);
    } catch (error) {
      if (error instanceof FsError) return error.code;
      if (error instanceof Signal) return `signal ${error.signo} code ${error.si_code} at ${Math.floor((error.si_addr - ARENA) / PAGE) * PAGE}`;
      throw error;
    }
  }

  private call(kind: string, a: number, b: number, c: number, d: number, e: number): number | string | void {
    const { process, world, files } = this;
    const of = <T>(task: Task<unknown>): T => world.run(task) as T;
    switch (kind) {
      case "m": return of<number>(process.mmap(ARENA + a, b, c, d % 2 ** 30, (d & C.MAP_ANONYMOUS) !== 0 ? -1 : files[d >= 2 ** 30 ? 1 : 0], e)) - ARENA;
      case "u": return of(process.munmap(ARENA + a, b));
      case "p": return of(process.mprotect(ARENA + a, b, c));
      case "r": return of<number>(process.mremap(ARENA + a, b, c, d, ARENA + e)) - ARENA;
      case "s": return of(process.msync(ARENA + a, b, c));
      case "v": return of(process.madvise(ARENA + a, b, c));
      case "L": return sumOf(of<Uint8Array>(process.loadBytes(ARENA + a, b)));
      case "S": return of(process.storeBytes(ARENA + a, pattern(b, c)));
      case "t": return of(process.ftruncate(files[0]!, a));
      case "f": return of(process.fallocate(files[0]!, a, b, c));
      case "w": return of<number>(process.pwrite(files[0]!, pattern(b, c), a));
      case "W": return of<number>(process.pwrite(files[0]!, { address: ARENA + c, lengthBytes: b }, a));
      case "R": return of<number>(process.pread(files[0]!, { address: ARENA + c, lengthBytes: b }, a));
      case "g": {
        const bytes = new Uint8Array(b);
        const count = of<number>(process.pread(files[0]!, bytes, a));
        return `${count} ${sumOf(bytes.subarray(0, count))}`;
      }
      case "F":
        this.process = of<Process>(process.fork());
        return 0;
    }
    throw new Error(`no such step: ${kind}`);
  }
}

const pattern = (length: number, fill: number): Uint8Array => Uint8Array.from({ length }, (_, index) => (fill + index * 7) & 0xff);
const sumOf = (bytes: Uint8Array): number => bytes.reduce((sum, byte) => (Math.imul(sum, 31) + byte) >>> 0, 0);

describe.runIf(CAN_RUN)("memory calls beside Linux", () => {
  const program = CAN_RUN ? compile() : "";
  test.each(Array.from({ length: SEEDS }, (_, index) => index + 1))("seed %i", (seed) => {
    const prng = new Prng(seed * 6151);
    const interpreter = new Interpreter(new MappingWorld({ device: "memory", size: "48M" }));
    const lines: string[] = [];
    const ours: string[] = [];
    for (let index = 0; index < STEPS; index++) {
      lines.push(nextStep(prng, interpreter));
      ours.push(interpreter.step(lines[index]!));
    }
    const image = join(temporaryFolder(), "disk.img");
    run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "4096", image, "48M"]);
    const theirs = withMount(image, "noatime", (mountPoint) => {
      const { status, stdout, stderr } = spawnSync(program, [join(mountPoint, "file")], { input: lines.join("\n"), encoding: "utf8", maxBuffer: 1 << 26 });
      expect(status, stderr).toBe(0);
      return stdout.trimEnd().split("\n");
    })!;
    expect(theirs).toHaveLength(lines.length);
    lines.forEach((line, index) => {
      expect(ours[index], `step ${index}: ${line}\nafter\n  ${lines.slice(Math.max(0, index - 30), index).map((text, at) => `${text} -> ${theirs[Math.max(0, index - 30) + at]}`).join("\n  ")}`).toBe(theirs[index]);
    });
  });
});

if (!CAN_RUN) notTestedHere("memory calls beside Linux", "needs root, loop devices and gcc");
