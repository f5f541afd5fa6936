/**
 * What began all this: a program on a filesystem that is mounted dax,ro. The kernel's own store into the last page of .data is private, so it is no store into the file. Programs are this machine's
 * gcc's, with segments of a page and of 2 MiB; the faults are those that Linux 6.1 was measured to take (../shared/kernel FACTS.md e01, e02; the traces themselves are replayed in test/kernel).
 *
 * Up to Linux 4.13 each fault with FAULT_FLAG_WRITE counted as a store into the file. The handler answered VM_FAULT_SIGBUS, as no journal handle starts on what is only read. Of what becomes of that
 * there are two cases. In execve it is the kernel that stores (padzero, fs/binfmt_elf.c): do_sigbus sends no signal to kernel mode but goes to the fixup of clear_user, load_elf_binary fails behind the
 * point of no return, and search_binary_handler kills with force_sigsegv: the segmentation fault that users saw. A program that gets past that, as it has no .bss whose first part shares a page with
 * .data, or a dynamic loader that relocates itself, dies of SIGBUS with its first own store.
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Strategy } from "../../src/ext4/strategy.js";
import { FaultFlag, PMD_ORDER, PTE_ORDER, PUD_ORDER, VmFault } from "../../src/lib/vm-fault.js";
import { PROT_READ, MAP_SHARED } from "../../src/mm/constants.js";
import { AnonymousPage } from "../../src/mm/memory.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import { O_CREAT, O_RDONLY, O_RDWR } from "../../src/vfs/flags.js";
import { BUS_ADRERR, SI_KERNEL, Signal, SIGBUS, SIGSEGV } from "../../src/vfs/signal.js";
import type { Task } from "../../src/sched/task.js";
import { hasCommand, notTestedHere, run, temporaryFolder } from "../support/host.js";
import { MappingWorld, type MappingWorldOptions } from "./world.js";

const PAGE = 4096;
const HUGE = 2 ** 21;
const CAN_RUN = hasCommand("gcc") && hasCommand("nm");
if (!CAN_RUN) notTestedHere("programs of gcc's on dax,ro", "needs gcc");

const DATA = "what was there from the beginning";
const SOURCE = `
  #include <stdio.h>
  char written[3 * 4096] = "${DATA}";
  volatile long counter = 0x1122334455667788;
  static volatile char zeroed[5 * 4096 + 77];
  #ifdef LARGE
  __asm__(".text\\n.skip 4194304, 0x90\\n"); // entries of 2 MiB take segments that have so much
  char large[4194304] = "x";
  #endif
  int main(int argc, char **argv) { counter++; zeroed[argc]++; return printf("%s %ld\\n", written, counter) < 0; }`;
/** No library, and all of .data's pages are full or end with the file: nothing is left for the kernel to zero. */
const SOURCE_WITHOUT_BSS = `
  char written[2 * 4096] = "${DATA}";
  void _start(void) { written[0]++; for (;;) ; }`;

interface Program { readonly bytes: Buffer; readonly symbols: ReadonlyMap<string, number> }

function compile(source: string, options: readonly string[]): Program {
  const folder = temporaryFolder();
  const path = join(folder, "program");
  writeFileSync(join(folder, "program.c"), source);
  run("gcc", ["-O1", "-o", path, join(folder, "program.c"), ...options]);
  const symbols = new Map(run("nm", [path]).split("\n").map((line) => line.split(" ")).filter(({ length }) => length === 3).map(([address, , name]) => [name!, parseInt(address!, 16)]));
  return { bytes: readFileSync(path), symbols };
}

interface Tried { readonly order: number; readonly flags: number; readonly code: number }

class ExecWorld extends MappingWorld {
  readonly handles: unknown[] = [];
  readonly tried: Tried[] = [];

  constructor(options: Partial<MappingWorldOptions> & { device: MappingWorldOptions["device"] }) {
    super({ ...options, mount: { dax: "always", ...options.mount } });
    this.events.listener = (event, fields) => {
      if (event === "jbd2:jbd2_handle_start") this.handles.push(fields["type"]);
      else if (event === "ext4_dax_huge_fault") this.tried.push(fields as unknown as Tried);
    };
  }

  get hash(): string {
    return createHash("sha256").update(this.image).digest("hex");
  }

  /** What faults were tried meanwhile. */
  triedIn<T>(task: Task<T>): { value: T; tried: Tried[] } {
    this.tried.length = 0;
    const value = this.run(task);
    return { value, tried: [...this.tried] };
  }
}

/** A filesystem in which files of 2 MiB and more lie on boundaries of 2 MiB, as in the recorder's images, with the programs in it. */
function imageWith(programs: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const world = new MappingWorld({ device: "pmem", size: "96M", mount: { dax: "always" }, mke2fs: ["-b", "4096", "-E", "stride=512,stripe_width=512"] });
  const { process } = world;
  for (const [path, bytes] of Object.entries(programs)) {
    const fd = world.run(process.open(path, O_RDWR | O_CREAT, 0o755));
    // Space first, so that the allocator sees how much is wanted.
    world.run(process.fallocate(fd, 0, 0, Math.ceil(bytes.length / HUGE) * HUGE));
    world.run(process.pwrite(fd, bytes, 0));
    world.run(process.ftruncate(fd, bytes.length));
  }
  world.unmount();
  return world.image;
}

const readOnly = (image: Uint8Array, strategy?: Partial<Strategy>): ExecWorld => new ExecWorld({ device: new PmemDevice(image), mount: { readOnly: true, strategy } });
/** Linux's rule up to 4.13 (commit fd96b8da68d3 ended it). */
const RULE_OF_4_13: Partial<Strategy> = { isFileWrite: (fault) => fault.isWrite };

function signalOf(world: MappingWorld, task: Task<unknown>): readonly [signo: number, si_code: number, si_addr: number] | undefined {
  try {
    world.run(task);
    return undefined;
  } catch (error) {
    if (!(error instanceof Signal)) throw error;
    return [error.signo, error.si_code, error.si_addr];
  }
}

const SIZES = [["segments of a page", []], ["segments of 2 MiB", ["-DLARGE", "-Wl,-z,max-page-size=2097152", "-Wl,-z,common-page-size=2097152", "-Wl,-z,separate-code"]]] as const;

describe.runIf(CAN_RUN).each(SIZES)("a static program with %s, on dax,ro", (name, options) => {
  const program = CAN_RUN ? compile(SOURCE, ["-static", "-no-pie", ...options]) : undefined!;
  const image = CAN_RUN ? imageWith({ "/program": program.bytes }) : undefined!;
  const at = (symbol: string): number => program.symbols.get(symbol)!;
  const text = (world: ExecWorld, address: number, length: number): string => Buffer.from(world.run(world.process.loadBytes(address, length))).toString("latin1");

  test("comes to its entry point, and changes nothing", () => {
    const world = readOnly(image);
    const { process } = world;
    const before = world.hash;
    const { value: { entry }, tried } = world.triedIn(process.execve("/program", ["program", "one"]));
    expect(entry).toBe(at("_start"));
    // The kernel's store behind .data: a private copy of one page, made by the handler (e01, e02: PUD and PMD FALLBACK, PTE DONE_COW).
    const WRITE = FaultFlag.WRITE;
    expect(tried.map(({ order, flags, code }) => [order, flags & WRITE, code & (VmFault.FALLBACK | VmFault.DONE_COW | VmFault.SIGBUS)])).toEqual([
      [PUD_ORDER, WRITE, VmFault.FALLBACK], [PMD_ORDER, WRITE, VmFault.FALLBACK], [PTE_ORDER, WRITE, VmFault.DONE_COW],
    ]);

    // The first instruction, out of the file; with 2 MiB by one entry of that size, as Linux maps it.
    const { value: fetched, tried: fetching } = world.triedIn(process.fetch(entry, 16));
    const inFile = program.bytes.indexOf(fetched);
    expect(inFile).toBeGreaterThan(0);
    expect(fetching.every(({ flags }) => (flags & FaultFlag.INSTRUCTION) !== 0)).toBe(true);
    expect(process.mm.pageTables.find(entry)!.order).toBe(name === "segments of a page" ? PTE_ORDER : PMD_ORDER);

    expect(text(world, at("written"), DATA.length)).toBe(DATA);
    expect(world.run(process.loadU64(at("counter")))).toBe(0x1122334455667788n);
    // .bss begins in .data's last page, whose rest in the file is something else (its section headers and names).
    const start = at("__bss_start");
    expect(start % PAGE).not.toBe(0);
    expect(world.run(process.loadBytes(start, at("_end") - start)).every((byte) => byte === 0)).toBe(true);

    // The program's own stores are private. Into an entry of 2 MiB: it is emptied, and a page of it copied (e01:8; Linux 6.1 offers it to the filesystem before that, 6.12 does not any more).
    if (name === "segments of 2 MiB") {
      const large = Math.ceil(at("large") / HUGE) * HUGE;
      world.run(process.load(large));
      expect(process.mm.pageTables.find(large)!.order).toBe(PMD_ORDER);
      const { tried: storing } = world.triedIn(process.store(large + 2 * PAGE, 1));
      expect(storing.map(({ order, code }) => [order, code & (VmFault.FALLBACK | VmFault.DONE_COW)])).toEqual([[PTE_ORDER, VmFault.DONE_COW]]);
      expect(world.events.get("thp_split_pmd")).toBe(1);
      expect(process.mm.pageTables.find(large)).toBeUndefined();
    }
    world.run(process.store(at("counter"), 5n, 8));
    world.run(process.storeBytes(at("written") + PAGE, Buffer.from("stored")));
    world.run(process.store(at("zeroed") + 3 * PAGE, 7));
    expect([world.run(process.load(at("counter"), 8)), text(world, at("written") + PAGE, 6), world.run(process.load(at("zeroed") + 3 * PAGE))]).toEqual([5, "stored", 7]);
    expect(process.mm.pageTables.find(at("counter"))!.memory).toBeInstanceOf(AnonymousPage);
    const other = world.kernel.spawn();
    const fd = world.run(other.open("/program", O_RDONLY));
    const file = world.run(other.mmap(0, program.bytes.length, PROT_READ, MAP_SHARED, fd));
    expect(Buffer.from(world.run(other.loadBytes(file, program.bytes.length))).equals(program.bytes)).toBe(true);

    expect(world.handles).toEqual([]);
    expect(world.hash).toBe(before);
    world.unmount();
    expect(world.hash).toBe(before);
  });

  test("dies by the rule of Linux 4.13, and lives again without it", () => {
    const world = readOnly(image, RULE_OF_4_13);
    const before = world.hash;
    const { process } = world;
    world.tried.length = 0;
    expect(signalOf(world, process.execve("/program", ["program"]))).toEqual([SIGSEGV, SI_KERNEL, 0]);
    // What the handler said of the kernel's store, of which the program knows nothing any more: 1 GiB is declined before anything is asked; 2 MiB is SIGBUS.
    expect(world.tried.map(({ order, code }) => [order, code])).toEqual([[PUD_ORDER, VmFault.FALLBACK], [PMD_ORDER, VmFault.SIGBUS]]);
    expect(process.exitStatus).toMatchObject({ signal: { signo: SIGSEGV } });
    expect(world.hash).toBe(before);
    world.unmount();

    const again = readOnly(image);
    expect(again.run(again.process.execve("/program", ["program"])).entry).toBe(at("_start"));
    again.unmount();
  });

  test("on a filesystem that may be written it starts no handle for its pages either", () => {
    const world = new ExecWorld({ device: new PmemDevice(image.slice()) });
    world.handles.length = 0;
    const { process } = world;
    world.run(process.execve("/program", ["program"]));
    world.run(process.fetch(at("_start")));
    world.run(process.store(at("counter"), 1n, 8));
    expect(world.handles.filter((type) => type !== "INODE")).toEqual([]); // e01:6 has one for the access time
    world.unmount();
  });
});

test.runIf(CAN_RUN)("a program without .bss comes to its entry point even by the rule of 4.13, and dies of SIGBUS with its first store", () => {
  const program = compile(SOURCE_WITHOUT_BSS, ["-static", "-no-pie", "-nostdlib", "-fno-stack-protector"]);
  const image = imageWith({ "/program": program.bytes });
  const written = program.symbols.get("written")!;
  const world = readOnly(image, RULE_OF_4_13);
  const { entry } = world.run(world.process.execve("/program", ["program"]));
  expect(entry).toBe(program.symbols.get("_start")!);
  expect(world.run(world.process.fetch(entry, 4))).toHaveLength(4);
  // A page that was loaded from is copied without a word to the filesystem; that saved some programs then, and made the failure look like chance.
  expect(world.run(world.process.load(written))).toBe(DATA.charCodeAt(0));
  expect(signalOf(world, world.process.store(written, 1))).toBeUndefined();
  expect(signalOf(world, world.process.store(written + PAGE, 1))).toEqual([SIGBUS, BUS_ADRERR, written + PAGE]);
  world.unmount();
  const again = readOnly(image);
  again.run(again.process.execve("/program", ["program"]));
  expect(signalOf(again, again.process.store(written + PAGE, 1))).toBeUndefined();
  again.unmount();
});

test.runIf(CAN_RUN)("a dynamic program's loader can be relocated, and dies of SIGSEGV by the rule of 4.13", () => {
  const program = compile(SOURCE, []);
  const interpreter = /Requesting program interpreter: (\S+)\]/.exec(run("readelf", ["-lW", compileTo(program)]))![1]!;
  const loader = readFileSync(interpreter);
  // The path in the program is made one that the volume has: it is shorter, and ends with a NUL.
  const bytes = Buffer.from(program.bytes);
  const where = bytes.indexOf(`${interpreter}\0`);
  bytes.fill(0, where, where + interpreter.length);
  bytes.write("/loader", where);
  const image = imageWith({ "/program": bytes, "/loader": loader });
  const relocations = (world: ExecWorld, at: number): unknown => signalOf(world, world.process.store(at, 1n, 8));
  const world = readOnly(image);
  world.run(world.process.execve("/program", ["program"]));
  // Every writable page of the program and of its loader takes a store.
  for (const vma of [...world.process.mm.vmas].filter(({ vm_file: file, isWritable }) => file !== undefined && isWritable)) {
    for (let at = vma.vm_start; at < vma.vm_end; at += PAGE) expect(relocations(world, at)).toBeUndefined();
  }
  expect(world.handles).toEqual([]);
  world.unmount();
  const before = readOnly(image, RULE_OF_4_13);
  expect(signalOf(before, before.process.execve("/program", ["program"]))).toEqual([SIGSEGV, SI_KERNEL, 0]);
  before.unmount();
});

function compileTo({ bytes }: Program): string {
  const path = join(temporaryFolder(), "program");
  writeFileSync(path, bytes);
  return path;
}
