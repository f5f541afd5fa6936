/** execve of programs out of a volume. Nothing here can run them: what is looked at is their memory, as the first instruction would find it. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { FsError } from "../../src/lib/errno.js";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { VmFault } from "../../src/lib/vm-fault.js";
import type { Fault, Vma, VmOperations } from "../../src/mm/vma.js";
import type { Inode } from "../../src/vfs/inode.js";
import { resetLockdep } from "../../src/sched/lockdep.js";
import { elf64_hdr, elf64_phdr, ET_DYN, PT_GNU_STACK, PT_INTERP, type ElfHeader } from "../../src/vfs/elf.js";
import { AT_BASE, AT_ENTRY, AT_EUID, AT_EXECFN, AT_PAGESZ, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PLATFORM, AT_RANDOM, AT_SECURE, AT_UID, STACK_TOP } from "../../src/vfs/exec-stack.js";
import type { ExecResult } from "../../src/vfs/exec.js";
import { O_CLOEXEC, O_RDONLY, O_RDWR, O_WRONLY } from "../../src/vfs/flags.js";
import type { Process } from "../../src/vfs/process.js";
import { SEGV_ACCERR, SEGV_MAPERR, Signal, SIGSEGV } from "../../src/vfs/signal.js";
import { hasCommand, notTestedHere, run, temporaryFolder } from "../support/host.js";
import { buildElf, filled, PF_R, PF_W, PF_X, plainElf } from "./elf-image.js";
import { ProcessWorld, text } from "./world.js";

interface Stack { readonly argv: string[]; readonly envp: string[]; readonly auxv: Map<number, number> }

function readStack(world: ProcessWorld, process: Process, { stackPointer }: ExecResult): Stack {
  let at = stackPointer;
  const word = (): number => {
    const value = world.run(process.load(at, 8));
    at += 8;
    return value;
  };
  const strings = (): string[] => {
    const found: string[] = [];
    for (let address = word(); address !== 0; address = word()) found.push(stringAt(world, process, address));
    return found;
  };
  const argc = word();
  const argv = strings();
  expect(argv.length).toBe(argc);
  const envp = strings();
  const auxv = new Map<number, number>();
  for (let type = word(); type !== 0; type = word()) auxv.set(type, word());
  return { argv, envp, auxv };
}

function stringAt(world: ProcessWorld, process: Process, address: number): string {
  const bytes: number[] = [];
  for (let byte = world.run(process.load(address)); byte !== 0; byte = world.run(process.load(address + bytes.length))) bytes.push(byte);
  return String.fromCharCode(...bytes);
}

function signalOf(world: ProcessWorld, work: Parameters<ProcessWorld["run"]>[0]): unknown[] {
  try {
    world.run(work);
  } catch (error) {
    if (error instanceof Signal) return [error.signo, error.si_code, error.si_addr];
    throw error;
  }
  return [];
}

beforeAll(() => resetLockdep());

test("segments, the zeroed rest of the last page, bss, and the stack", () => {
  const world = new ProcessWorld({ kernel: { random: () => 0x0403_0201 } });
  world.file("/prog", plainElf(), 0o755);
  const p = world.run(world.process.fork());
  const result = world.run(p.execve("/prog", ["prog", "one", "two words"], ["HOME=/", "EMPTY="]));
  expect(result.entry).toBe(0x40_1000);
  expect(result.mm).toBe(p.mm);
  expect([world.run(p.fetch(0x40_1000)), world.run(p.load(0x40_4100)), world.run(p.load(0x40_4100 + 4999))]).toEqual([Uint8Array.of(0x90), 0xdd, 0xdd]);
  const rest = world.run(p.loadBytes(0x40_4100 + 5000, 35_000));
  expect(rest.every((byte) => byte === 0)).toBe(true);
  world.run(p.store(0x40_4100, 1, 4));
  world.run(p.store(0x40_4100 + 39_999, 7));
  expect([signalOf(world, p.store(0x40_1000, 1)), signalOf(world, p.fetch(0x40_4100)), signalOf(world, p.load(0x50_0000)), signalOf(world, p.fetch(result.stackPointer))]).toEqual([
    [SIGSEGV, SEGV_ACCERR, 0x40_1000], [SIGSEGV, SEGV_ACCERR, 0x40_4100], [SIGSEGV, SEGV_MAPERR, 0x50_0000], [SIGSEGV, SEGV_ACCERR, result.stackPointer],
  ]);
  const { argv, envp, auxv } = readStack(world, p, result);
  expect([argv, envp]).toEqual([["prog", "one", "two words"], ["HOME=/", "EMPTY="]]);
  expect([AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_ENTRY, AT_UID, AT_SECURE].map((type) => auxv.get(type))).toEqual([0x40_0040, 56, 3, 4096, 0, 0x40_1000, 0, 0]);
  expect([stringAt(world, p, auxv.get(AT_EXECFN)!), stringAt(world, p, auxv.get(AT_PLATFORM)!)]).toEqual(["/prog", "x86_64"]);
  expect([...world.run(p.loadBytes(auxv.get(AT_RANDOM)!, 16))]).toEqual([1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]);
  expect(result.stackPointer % 16).toBe(0);
  expect(world.run(p.load(STACK_TOP - 8, 8))).toBe(0);
  // Room for a stack that grows, and what was stored is the process's own.
  world.run(p.store(result.stackPointer - 1_000_000, 1));
  expect(world.contents("/prog")).toBe(new TextDecoder().decode(plainElf()));
  world.unmount();
});

test("a program that may stand anywhere, and its interpreter", () => {
  const world = new ProcessWorld();
  const segments = [
    { p_vaddr: 0, p_offset: 0, p_filesz: 4096, p_memsz: 4096, p_flags: PF_R },
    { p_vaddr: 0x2000, p_flags: PF_R | PF_X, data: filled(4096, 0x11) },
    { p_vaddr: 0x5010, p_flags: PF_R | PF_W, data: filled(16, 0x22), p_memsz: 9000 },
  ];
  world.file("/pie", buildElf({ type: ET_DYN, entry: 0x2004, segments }), 0o755);
  world.file("/ld.so", buildElf({ type: ET_DYN, entry: 0x2008, segments }), 0o755);
  world.file("/dynamic", buildElf({ type: ET_DYN, entry: 0x2004, segments: [...segments, { p_type: PT_INTERP, p_vaddr: 0x9000, data: text("/ld.so\0") }] }), 0o755);
  const p = world.spawn();
  const alone = world.run(p.execve("/pie", []));
  const aloneStack = readStack(world, p, alone);
  const base = alone.entry - 0x2004;
  expect([base % 4096, aloneStack.argv, aloneStack.auxv.get(AT_BASE), aloneStack.auxv.get(AT_PHDR)]).toEqual([0, [""], 0, base + 64]);
  expect([world.run(p.load(base + 0x2000)), world.run(p.load(base + 0x5010)), world.run(p.load(base + 0x5020, 8))]).toEqual([0x11, 0x22, 0]);
  const { entry, ...both } = world.run(p.execve("/dynamic", ["d"]));
  const { auxv } = readStack(world, p, { entry, ...both });
  const loader = auxv.get(AT_BASE)!;
  expect([entry, auxv.get(AT_ENTRY)! % 4096, auxv.get(AT_PHNUM)]).toEqual([loader + 0x2008, 4, 4]);
  expect([world.run(p.load(loader + 0x2000)), world.run(p.load(auxv.get(AT_ENTRY)!))]).toEqual([0x11, 0x11]);
  // The interpreter may be written again once it is mapped; the program may not.
  expect([typeof world.outcome(world.process.open("/ld.so", O_RDWR)), world.outcome(world.process.open("/dynamic", O_RDWR))]).toEqual(["number", "ETXTBSY"]);
  world.unmount();
});

test("scripts run their interpreter, with one argument and their own path", () => {
  const world = new ProcessWorld();
  world.file("/prog", plainElf(), 0o755);
  world.file("/s1", "#! /prog  -x  and more \necho\n", 0o755);
  world.file("/s2", "#!/s1\n", 0o755);
  for (let depth = 0; depth < 7; depth++) world.file(`/deep${depth}`, `#!${depth === 0 ? "/prog" : `/deep${depth - 1}`}\n`, 0o755);
  world.file("/blank", "#!   \n", 0o755);
  world.file("/long", `#!/${"p".repeat(300)}\n`, 0o755);
  world.file("/fits", `#!/prog ${"a".repeat(300)}\n`, 0o755);
  world.file("/lost", "#!/nowhere\n", 0o755);
  const p = world.spawn();
  const argv = (path: string): string[] => readStack(world, p, world.run(p.execve(path, ["zero", "one"]))).argv;
  expect(argv("/s1")).toEqual(["/prog", "-x  and more", "/s1", "one"]);
  expect(argv("/s2")).toEqual(["/prog", "-x  and more", "/s1", "/s2", "one"]);
  expect(argv("/fits")).toEqual(["/prog", "a".repeat(247), "/fits", "one"]);
  expect(argv("/deep4").length).toBe(7);
  expect(["/deep5", "/deep6", "/blank", "/long", "/lost"].map((path) => world.outcome(p.execve(path, ["x"])))).toEqual(["ELOOP", "ELOOP", "ENOEXEC", "ENOEXEC", "ENOENT"]);
});

test("what is refused leaves the process as it was", () => {
  const world = new ProcessWorld();
  world.file("/prog", plainElf(), 0o755);
  world.file("/plain", plainElf(), 0o644);
  world.file("/text", "just text\n", 0o755);
  world.file("/empty", "", 0o755);
  world.file("/short", plainElf().subarray(0, 80), 0o755);
  world.file("/noterp", buildElf({ segments: [{ p_vaddr: 0x40_0000, data: filled(10, 1) }, { p_type: PT_INTERP, data: text("/nowhere\0") }] }), 0o755);
  world.file("/badterp", buildElf({ segments: [{ p_vaddr: 0x40_0000, data: filled(10, 1) }, { p_type: PT_INTERP, data: text("/long-text\0") }] }), 0o755);
  world.file("/openterp", buildElf({ segments: [{ p_vaddr: 0x40_0000, data: filled(10, 1) }, { p_type: PT_INTERP, data: text("/text") }] }), 0o755);
  world.file("/long-text", "no program ".repeat(20), 0o755);
  world.run(world.process.mkdir("/dir"));
  const user = world.spawn({ uid: 1000, gid: 1000 });
  world.run(world.process.mkdir("/private", 0o700));
  world.run(world.process.mkdir("/private/in"));
  const address = world.run(user.mmap(0, 4096, PROT_READ | PROT_WRITE, 0x22));
  world.run(user.store(address, 42));
  const attempt = (path: string, argv: string[] = ["x"], envp: string[] = []): unknown => world.outcome(user.execve(path, argv, envp));
  expect(["/nowhere", "/plain", "/dir", "/private/in", "/text", "/empty", "/short", "/noterp", "/badterp", "/openterp", "/text/x"].map((path) => attempt(path)))
    .toEqual(["ENOENT", "EACCES", "EACCES", "EACCES", "ENOEXEC", "ENOEXEC", "ENOEXEC", "ENOENT", "ELIBBAD", "ENOEXEC", "ENOTDIR"]);
  expect([attempt("/prog", ["x".repeat(131_072)]), attempt("/prog", Array<string>(20).fill("x".repeat(120_000))), attempt("/prog", ["x"], Array<string>(300_000).fill(""))]).toEqual(["E2BIG", "E2BIG", "E2BIG"]);
  expect(world.outcome(world.process.execve("/plain", []))).toBe("EACCES");
  expect([world.run(user.load(address)), user.exitStatus]).toEqual([42, undefined]);
  // Nothing of all that keeps a file from being written.
  for (const path of ["/prog", "/noterp", "/badterp", "/long-text"]) world.run(world.process.close(world.run(world.process.open(path, O_RDWR))));
  world.unmount();
  world.mount(false, { isNoExec: true });
  expect([world.outcome(world.process.execve("/prog", [])), world.outcome(world.process.mmap(0, 4096, 4, 2, world.run(world.process.open("/prog", O_RDONLY))))]).toEqual(["EACCES", "EPERM"]);
});

test("what is executed cannot be written, and what is open for writing cannot be executed", () => {
  const world = new ProcessWorld();
  const { process: root } = world;
  world.file("/prog", plainElf(), 0o755);
  const fd = world.run(root.open("/prog", O_RDWR));
  const p = world.spawn();
  expect(world.outcome(p.execve("/prog", []))).toBe("ETXTBSY");
  const address = world.run(root.mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd));
  world.run(root.close(fd));
  expect(world.outcome(p.execve("/prog", []))).toBe("ETXTBSY");
  expect(() => world.kernel.mount!.checkRemountReadOnly()).toThrow("EBUSY");
  world.run(root.munmap(address, 8192));
  world.kernel.mount!.checkRemountReadOnly();
  world.run(p.execve("/prog", []));
  const child = world.run(p.fork());
  world.run(p.exit());
  expect([world.outcome(root.open("/prog", O_WRONLY)), world.outcome(root.truncate("/prog", 0)), typeof world.outcome(root.open("/prog", O_RDONLY))]).toEqual(["ETXTBSY", "ETXTBSY", "number"]);
  // Its name may go: it is another file that is made in its place.
  world.run(root.unlink("/prog"));
  world.file("/prog", "new", 0o755);
  expect(world.run(child.load(0x40_1000))).toBe(0x90);
  world.run(child.exit());
  expect(world.contents("/prog")).toBe("new");
  world.unmount();
});

test("set-id programs run as their owner, descriptors with O_CLOEXEC are closed", () => {
  const world = new ProcessWorld();
  world.file("/prog", plainElf(), 0o755);
  world.run(world.process.chown("/prog", 5, 6));
  world.run(world.process.chmod("/prog", 0o6755));
  const p = world.spawn({ uid: 1000, gid: 1000 });
  const kept = world.run(p.open("/prog", O_RDONLY));
  const closed = world.run(p.open("/prog", O_RDONLY | O_CLOEXEC));
  const result = world.run(p.execve("/prog", []));
  const { auxv } = readStack(world, p, result);
  expect([p.cred.uid, p.cred.gid, auxv.get(AT_UID), auxv.get(AT_EUID), auxv.get(AT_SECURE)]).toEqual([5, 6, 1000, 5, 1]);
  expect([world.outcome(p.fsync(kept)), world.outcome(p.fsync(closed))]).toEqual([undefined, "EBADF"]);
  world.unmount();
  world.mount(false, { isNoSuid: true });
  const q = world.spawn({ uid: 1000, gid: 1000 });
  world.run(q.execve("/prog", []));
  expect(q.cred.uid).toBe(1000);
});

test("a store of the kernel's that fails kills: as no program started with -o dax,ro before Linux 4.14", () => {
  const world = new ProcessWorld();
  world.file("/prog", plainElf(), 0o755);
  world.file("/no-bss", buildElf({ segments: [{ p_vaddr: 0x40_1000, p_flags: PF_R | PF_X, data: filled(5000, 0x90) }, { p_vaddr: 0x40_4000, p_flags: PF_R | PF_W, data: filled(4096, 1) }] }), 0o755);
  const { fs } = world;
  const found = world.run(fs.root.lookup(text("prog"))) as Inode;
  // The handler of 4.13 took every write fault for a change of the file, and could start no handle.
  const realMmap = found.mmap;
  found.mmap = function* (this: Inode, file, vma: Vma) {
    yield* realMmap.call(this, file, vma);
    const real = vma.vm_ops!;
    const refuse = (fault: Fault): boolean => fault.isWrite;
    vma.vm_ops = { ...real, *fault(fault: Fault) { return refuse(fault) ? VmFault.SIGBUS : yield* real.fault(fault); } } satisfies VmOperations;
  };
  const p = world.spawn();
  const keep = world.run(p.open("/prog", O_RDONLY));
  expect(keep).toBe(3);
  expect(signalOf(world, p.execve("/prog", ["x"]))[0]).toBe(SIGSEGV);
  expect(p.exitStatus).toMatchObject({ signal: { signo: SIGSEGV } });
  expect(world.kernel.processes.has(p.pid)).toBe(false);
  world.run(world.process.execve("/no-bss", ["x"]));
  world.unmount();
});

/** Values that stand for all that a field may hold. */
const values = (sizeBytes: number, now: number): number[] => {
  const most = 2 ** (8 * sizeBytes) - 1;
  return [...new Set([0, 1, now + 1, Math.max(0, now - 1), Math.floor(most / 2), Math.floor(most / 2) + 1, most, ...(sizeBytes === 8 ? [2 ** 47 - 4096, 2 ** 47, 2 ** 53, 4095, 4096] : [])])].filter((value) => value <= most);
};

test("every field spoiled ends in an error code, a signal or a program, and leaves nothing behind", () => {
  const world = new ProcessWorld();
  const { process: root } = world;
  const interpreted = buildElf({
    type: ET_DYN, entry: 0x2004, segments: [
      { p_vaddr: 0, p_offset: 0, p_filesz: 4096, p_memsz: 4096, p_flags: PF_R }, { p_vaddr: 0x2000, p_flags: PF_R | PF_X, data: filled(4096, 0x11) },
      { p_vaddr: 0x5010, p_flags: PF_R | PF_W, data: filled(16, 0x22), p_memsz: 9000 }, { p_type: PT_INTERP, p_vaddr: 0x9000, data: text("/ld.so\0") }, { p_type: PT_GNU_STACK, p_flags: PF_R | PF_W | PF_X },
    ],
  });
  const loader = buildElf({ type: ET_DYN, entry: 0x2008, segments: [{ p_vaddr: 0, p_offset: 0, p_filesz: 4096, p_memsz: 4096 }, { p_vaddr: 0x2000, p_flags: PF_R | PF_W | PF_X, data: filled(100, 0x33), p_memsz: 20_000 }] });
  const seen = new Map<string, number>();
  const attempt = (): void => {
    const p = world.spawn();
    let outcome: string;
    try {
      world.run(p.execve("/prog", ["a"]));
      outcome = "runs";
    } catch (error) {
      if (error instanceof Signal) outcome = `signal ${error.signo}`;
      else if (error instanceof FsError) outcome = error.code;
      else throw error;
    }
    seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
    world.run(p.exit());
    expect([...world.kernel.mount!.files]).toEqual([]);
  };
  const spoil = (path: string, bytes: Uint8Array): void => {
    const put = (changed: Uint8Array): void => {
      const fd = world.run(root.open(path, O_WRONLY));
      world.run(root.pwrite(fd, changed, 0));
      world.run(root.close(fd));
      attempt();
    };
    const spots = [{ fields: elf64_hdr.$.fields, at: 0 }, ...Array.from({ length: new DataView(bytes.buffer).getUint16(56, true) }, (_, index) => ({ fields: elf64_phdr.$.fields, at: 64 + index * elf64_phdr.$.size }))];
    for (const { fields, at } of spots) {
      for (const [, field] of fields) {
        if (field.type === "hole" || !("get" in field)) continue;
        const width = field.type === "u8" ? 1 : field.size;
        const now = width === 8 ? Number(new DataView(bytes.buffer).getBigUint64(at + field.at, true)) : 0;
        for (const value of values(width, now)) {
          const changed = bytes.slice();
          const view = new DataView(changed.buffer);
          for (let index = 0; index < width; index++) view.setUint8(at + field.at + index, Number((BigInt(value) >> BigInt(8 * index)) & 0xffn));
          put(changed);
        }
      }
    }
    put(bytes);
  };
  world.file("/ld.so", loader, 0o755);
  for (const [path, bytes] of [["/prog", plainElf()], ["/prog", interpreted], ["/ld.so", loader]] as const) {
    world.file(path, bytes, 0o755);
    spoil(path, bytes);
  }
  for (const outcome of ["runs", "ENOEXEC", "ELIBBAD", `signal ${SIGSEGV}`]) expect(seen.get(outcome) ?? 0, outcome).toBeGreaterThan(0);
  expect([...seen.keys()].filter((outcome) => !["runs", "ENOEXEC", "ELIBBAD", "EIO", "ENOENT", "EACCES", `signal ${SIGSEGV}`].includes(outcome))).toEqual([]);
  world.unmount();
});

const SOURCE = `
__attribute__((aligned(4096))) volatile unsigned char data[8192] = { [0] = 11, [4096] = 12 };
volatile unsigned tail = 7;
volatile unsigned char bss[16384];
void _start(void) { for (;;) bss[0] += data[0] + tail; }
`;

test.runIf(hasCommand("gcc"))("a static program as gcc makes it: ET_EXEC, and static-pie", () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "program.c"), SOURCE);
  const world = new ProcessWorld();
  for (const [name, options] of [["fixed", ["-no-pie", "-static"]], ["anywhere", ["-fPIE", "-static-pie"]]] as const) {
    run("gcc", ["-O1", "-nostdlib", "-ffreestanding", "-fno-stack-protector", ...options, "-o", join(folder, name), join(folder, "program.c")]);
    const bytes = new Uint8Array(readFileSync(join(folder, name)));
    world.file(`/${name}`, bytes, 0o755);
    const p = world.spawn();
    const result = world.run(p.execve(`/${name}`, [name]));
    const symbols = new Map(run("nm", [join(folder, name)]).trim().split("\n").map((line) => [line.split(" ").at(-1)!, parseInt(line.split(" ")[0]!, 16)]));
    const header: Pick<ElfHeader, "e_entry"> = { e_entry: elf64_hdr.e_entry.get(new DataView(bytes.buffer), 0) };
    const bias = result.entry - header.e_entry;
    const at = (symbol: string): number => symbols.get(symbol)! + bias;
    expect([world.run(p.load(at("data"))), world.run(p.load(at("data") + 4096)), world.run(p.load(at("tail"), 4)), world.run(p.load(at("bss"), 8))]).toEqual([11, 12, 7, 0]);
    expect(world.run(p.loadBytes(at("bss"), 16_384)).every((byte) => byte === 0)).toBe(true);
    expect(world.run(p.fetch(result.entry, 16))).toHaveLength(16);
    world.run(p.store(at("data"), 99));
    world.run(p.store(at("bss"), 98));
    world.run(p.exit());
    expect(Buffer.compare(Buffer.from(bytes), Buffer.from(readAll(world, `/${name}`)))).toBe(0);
  }
  world.unmount();
});

if (!hasCommand("gcc")) notTestedHere("a program made by gcc", "there is no gcc");

function readAll(world: ProcessWorld, path: string): Uint8Array {
  const { process: p } = world;
  const fd = world.run(p.open(path, O_RDONLY));
  const bytes = new Uint8Array(world.run(p.fstat(fd)).stx_size);
  world.run(p.read(fd, bytes));
  world.run(p.close(fd));
  return bytes;
}
