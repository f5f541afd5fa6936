/**
 * Runs scenarios as the guest of the recorder does (tools/kernel-recorder/guest/odx.c), on our kernel: each operation is a system call or an access of a named process, driven to its end on the spot, and
 * gives a record with the fields that a trace has. The clock stands still, but for 10 ms before each operation.
 */
import { readFileSync } from "node:fs";
import { brotliDecompressSync } from "node:zlib";
import { MemoryDevice } from "../../src/block/memory.js";
import type { BlockDevice } from "../../src/block/device.js";
import { mountExt4 } from "../../src/ext4/mount.js";
import { parseExt4Options } from "../../src/ext4/mount-options.js";
import { unmountExt4 } from "../../src/ext4/mount-writable.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import type { Ext4 } from "../../src/ext4/super.js";
import { FsError } from "../../src/lib/errno.js";
import { VmEvents } from "../../src/mm/events.js";
import { PAGE_BYTES } from "../../src/mm/memory.js";
import { pagemapOf, smapsOf } from "../../src/mm/task-mmu.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import { ManualClock } from "../../src/sched/clock.js";
import { DeadlockError, Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import { WaitQueue } from "../../src/sched/wait-queue.js";
import { O_CREAT, O_NONBLOCK, O_RDONLY, O_RDWR, O_TRUNC, SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET } from "../../src/vfs/flags.js";
import { Kernel } from "../../src/vfs/kernel.js";
import { parseMountOptions } from "../../src/vfs/mount-options.js";
import type { Process } from "../../src/vfs/process.js";
import { Signal } from "../../src/vfs/signal.js";
import { FIEMAP_EXTENT_DATA_INLINE, FIEMAP_EXTENT_DELALLOC, FIEMAP_EXTENT_LAST, FIEMAP_EXTENT_UNWRITTEN, STATX_ATTR_DAX } from "../../src/vfs/stat.js";
import { FaultLog, type LoggedFault } from "./fault-log.js";
import { runProgram } from "./programs.js";
import { ASYNC_RECORDS, type Operation, type TraceRecord } from "./traces.js";
import { FALLOC, flagsOf, FS_FLAGS, MEMORY, namesOf, OPEN, STATX, XFLAGS } from "./words.js";

/** Every mapping has an address of its own in here, 1 GiB aligned unless it is shifted off. */
const ARENA = 0x1000_0000_0000;
const ARENA_END = 0x2000_0000_0000;
const SLOT = 0x1_0000_0000;
const TICK_NSEC = 10_000_000;
const RUNS_MAX = 24;
const BIG = 8 * 2 ** 20;
const WHENCE: Readonly<Record<string, number>> = { SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE };

interface Mapping { address: number; length: number }

/** A process of the scenario, with its names for descriptors and mappings. */
interface Actor {
  readonly name: string;
  readonly process: Process;
  readonly fds: Map<string, number>;
  readonly maps: Map<string, Mapping>;
  slots: number;
}

type Fields = Record<string, unknown>;

/** What an operation of ours gave, and what it did. */
export interface OurRecord {
  readonly i: number;
  readonly fields: Readonly<Fields>;
  readonly faults: readonly LoggedFault[];
  readonly handles: Readonly<Record<string, number>>;
  readonly writtenBack: number;
  readonly vm: Readonly<Record<string, number>>;
  /** Whether the file behind the mapping has got blocks, or its blocks were converted. */
  readonly hasNewBlocks: boolean;
}

const bytesOf = (value: unknown): Uint8Array => new TextEncoder().encode(String(value));
const number = (value: unknown, fallback = 0): number => (value === undefined ? fallback : Number(value));

/** As memset's argument: a number begins with 0, all else is a character. */
function fillByte(value: unknown): number {
  const text = String(value ?? "A");
  return text.startsWith("0") ? Number(text) & 0xff : text.charCodeAt(0);
}

export function runsOf(bytes: Uint8Array): unknown[] {
  const runs: unknown[] = [];
  for (let from = 0; from < bytes.length;) {
    if (runs.length === RUNS_MAX) {
      let hash = 2166136261;
      for (; from < bytes.length; from++) hash = Math.imul(hash ^ bytes[from]!, 16777619) >>> 0;
      runs.push(`...fnv:${hash.toString(16).padStart(8, "0")}`);
      break;
    }
    let end = from + 1;
    while (end < bytes.length && bytes[end] === bytes[from]) end++;
    runs.push([end - from, bytes[from]]);
    from = end;
  }
  return runs;
}

export class Interpreter {
  readonly scheduler = new Scheduler();
  readonly events = new VmEvents();
  readonly kernel = new Kernel({ events: this.events });
  readonly log = new FaultLog(this.events, (address) => (address >= ARENA && address < ARENA_END) || this.freeMappings.some(({ address: start, length }) => address >= start && address < start + length));
  readonly clock: ManualClock;
  private readonly pmem: PmemDevice;
  private ram: MemoryDevice | undefined;
  private now = { sec: 1_577_836_814, nsec: 500_000_000 };
  private readonly actors = new Map<string, Actor>();
  private readonly finished = new Map<string, { isDone: boolean; readonly queue: WaitQueue }>();
  /** Of operations that another process was left alone with. */
  private readonly asyncFields = new Map<number, Fields>();
  /** Whose address the kernel chose. */
  private readonly freeMappings: Mapping[] = [];
  private readonly exitCodes = new Map<string, number>();
  private mounted: Ext4 | undefined;

  /** @param physicalAddress where the memory begins in the machine: what is aligned there can be mapped by 2 MiB. */
  constructor(readonly image: Uint8Array, physicalAddress = 0) {
    this.pmem = new PmemDevice(image, { physicalAddress });
    this.clock = new ManualClock();
    this.tick(0);
    this.actors.set("main", { name: "main", process: this.kernel.spawn({ uid: 0, gid: 0, groups: [], umask: 0o022 }), fds: new Map(), maps: new Map(), slots: 0 });
  }

  private tick(nsec: number): void {
    const sum = this.now.nsec + nsec;
    this.now = { sec: this.now.sec + Math.floor(sum / 1e9), nsec: sum % 1e9 };
    this.clock.set(this.now.sec, this.now.nsec);
  }

  /** @param trace what Linux did: programs do what they did there. */
  run(op: Operation, i: number, trace?: TraceRecord): OurRecord {
    if (i >= ASYNC_RECORDS) return { i, fields: this.asyncFields.get(i - ASYNC_RECORDS)!, faults: [], handles: {}, writtenBack: 0, vm: {}, hasNewBlocks: false };
    this.tick(TICK_NSEC);
    this.log.reset();
    const before = new Map(this.events.counts);
    const actor = this.actors.get(String(op.proc ?? "main"))!;
    const mapped = this.blocksOf(actor, op);
    const fields = this.outcome(this.scheduled(this.operation(actor, op, i, trace)), actor, op);
    const vm = Object.fromEntries([...this.events.counts].map(([name, count]) => [name, count - (before.get(name) ?? 0)]));
    return { i, fields, faults: this.log.faults, handles: this.log.handles, writtenBack: this.log.writtenBack, vm, hasNewBlocks: mapped !== this.blocksOf(actor, op) };
  }

  /** An error or a signal is a result, too. */
  private outcome(result: { readonly fields?: Fields; readonly error?: unknown }, actor: Actor, op: Operation): Fields {
    if (result.fields !== undefined) return { ret: 0, ...result.fields };
    const { error } = result;
    if (error instanceof FsError && !(error instanceof DeadlockError)) return { ret: -1, errno: error.code, ...(error.detail === "" ? {} : { detail: error.detail }) };
    if (!(error instanceof Signal)) throw error;
    const mapping = actor.maps.get(String(op.map));
    return {
      ret: -1, sig: error.signo === 7 ? "SIGBUS" : "SIGSEGV", si_code: error.signo === 7 ? (error.si_code === 4 ? "BUS_MCEERR_AR" : "BUS_ADRERR") : error.si_code === 1 ? "SEGV_MAPERR" : "SEGV_ACCERR",
      ...(mapping === undefined ? {} : { si_off: error.si_addr - mapping.address }),
      ...(op.op === "touch" ? { done: Math.floor((error.si_addr - mapping!.address - number(op.off)) / number(op.step, PAGE_BYTES)) } : {}),
    };
  }

  private scheduled(task: Task<Fields>): { readonly fields?: Fields; readonly error?: unknown } {
    try {
      return { fields: this.scheduler.runSync(task) };
    } catch (error) {
      return { error };
    }
  }

  /** Where the file behind a mapping has blocks, and which are written. */
  private blocksOf(actor: Actor, op: Operation): string {
    const mapping = actor.maps.get(String(op.map ?? op.buf));
    const file = mapping === undefined ? undefined : actor.process.mm.vmas.find(mapping.address)?.vm_file;
    if (file === undefined) return "";
    const inode = file.f_mapping.host as Ext4Inode;
    return JSON.stringify(this.scheduler.runSync(inode.fiemap(0, 2 ** 32 - 1)).map(({ lblk, count, unwritten }) => [lblk, count, unwritten]));
  }

  private mapping(actor: Actor, name: unknown): Mapping {
    const mapping = actor.maps.get(String(name));
    if (mapping === undefined) throw new FsError("ENXIO", "no such mapping");
    return mapping;
  }

  private fd(actor: Actor, name: unknown): number {
    return actor.fds.get(String(name)) ?? -1;
  }

  private *operation(actor: Actor, op: Operation, i: number, trace: TraceRecord | undefined): Task<Fields> {
    const { process } = actor;
    const map = op.map !== undefined && op.op !== "mmap" ? this.mapping(actor, op.map) : { address: 0, length: 0 };
    const at = map.address + number(op.off);
    const length = number(op.len);
    const path = String(op.path ?? "/");
    switch (op.op) {
      case "mount": return yield* this.mount(op);
      case "remount": yield* this.kernel.remount(String(op.opts)); return {};
      case "umount": return yield* this.unmount();
      case "open": return yield* this.open(actor, op, path);
      case "close": {
        const fd = this.fd(actor, op.fd);
        actor.fds.delete(String(op.fd));
        yield* process.close(fd);
        return {};
      }
      case "dup": actor.fds.set(String(op.to), process.dup(this.fd(actor, op.fd))); return {};
      case "pwrite": case "write": return { ret: yield* this.write(actor, op) };
      case "pread": case "read": return yield* this.read(actor, op);
      case "lseek": return { ret: yield* process.lseek(this.fd(actor, op.fd), number(op.off), WHENCE[String(op.whence ?? "SEEK_SET")]!) };
      case "ftruncate": yield* process.ftruncate(this.fd(actor, op.fd), number(op.size)); return {};
      case "truncate": yield* process.truncate(path, number(op.size)); return {};
      case "fallocate": yield* process.fallocate(this.fd(actor, op.fd), flagsOf(op.mode, FALLOC), number(op.off), length); return {};
      case "fsync": yield* process.fsync(this.fd(actor, op.fd)); return {};
      case "fdatasync": yield* process.fdatasync(this.fd(actor, op.fd)); return {};
      case "syncfs": yield* process.syncfs(this.fd(actor, op.fd)); return {};
      case "sync": yield* process.sync(); return {};
      case "mmap": return yield* this.mmap(actor, op);
      case "munmap": {
        const bytes = length === 0 ? map.length - number(op.off) : length;
        yield* process.munmap(at, bytes);
        if (number(op.off) === 0 && bytes >= map.length) actor.maps.delete(String(op.map));
        return {};
      }
      case "mremap": return yield* this.mremap(actor, op, map);
      case "mprotect": yield* process.mprotect(at, length === 0 ? map.length : length, flagsOf(op.prot, MEMORY, ["PROT_READ"])); return {};
      case "msync": yield* process.msync(at, length === 0 ? map.length - number(op.off) : length, flagsOf(op.flags, MEMORY, ["MS_SYNC"])); return {};
      case "madvise": yield* process.madvise(at, length === 0 ? map.length - number(op.off) : length, flagsOf(op.advice, MEMORY)); return {};
      case "mlock": yield* process.mlock(at, length === 0 ? map.length - number(op.off) : length); return {};
      case "munlock": yield* process.munlock(at, length === 0 ? map.length - number(op.off) : length); return {};
      case "load": return { val: yield* process.load(at, number(op.size, 1) as 1 | 8) };
      case "store": yield* process.store(at, number(op.val, 1), number(op.size, 1) as 1 | 8); return {};
      case "touch": return yield* this.touch(actor, op, at);
      case "scan": {
        const bytes = yield* process.loadBytes(at, Math.min(length, BIG));
        return { ret: bytes.length, runs: runsOf(bytes) };
      }
      case "fill": yield* process.storeBytes(at, new Uint8Array(length).fill(fillByte(op.fill))); return {};
      case "call": yield* process.fetch(at); return {};
      case "pagemap": return { pages: this.pagemap(actor, at, number(op.len, PAGE_BYTES)) };
      case "smaps": return { vmas: this.smaps(actor, map) };
      case "getflags": return { flags: namesOf(yield* this.onFile(actor, op, (fd) => process.getflags(fd)), FS_FLAGS) };
      case "setflags":
        yield* this.onFile(actor, op, function* (fd) {
          const flags = yield* process.getflags(fd);
          yield* process.setflags(fd, ((flags | flagsOf(op.add, FS_FLAGS)) & ~flagsOf(op.del, FS_FLAGS)) >>> 0);
        });
        return {};
      case "fsgetxattr": return { xflags: namesOf((yield* this.onFile(actor, op, (fd) => process.fsgetxattr(fd))).fsx_xflags, XFLAGS) };
      case "fssetxattr":
        yield* this.onFile(actor, op, function* (fd) {
          const fsx = yield* process.fsgetxattr(fd);
          yield* process.fssetxattr(fd, { ...fsx, fsx_xflags: ((fsx.fsx_xflags | flagsOf(op.add, XFLAGS)) & ~flagsOf(op.del, XFLAGS)) >>> 0 });
        });
        return {};
      case "statx": return yield* this.statx(actor, op, path);
      case "statfs": {
        const { blocks, bfree, files, ffree } = yield* process.statfs("/");
        return { blocks, bfree, files, ffree };
      }
      case "fiemap": {
        const extents = yield* process.fiemap(this.fd(actor, op.fd));
        return { extents: extents.map(({ fe_logical: l, fe_physical: p, fe_length: n, fe_flags: flags }) => ({ l, p, n, f: FIEMAP.filter(([bit]) => (flags & bit) !== 0).map(([, letter]) => letter).join("") })) };
      }
      case "link": yield* process.link(path, String(op.to)); return {};
      case "unlink": yield* process.unlink(path); return {};
      case "rename": yield* process.rename(path, String(op.to)); return {};
      case "mkdir": yield* process.mkdir(path, number(op.mode, 0o755)); return {};
      case "rmdir": yield* process.rmdir(path); return {};
      case "symlink": yield* process.symlink(String(op.target), path); return {};
      case "chmod": yield* process.chmod(path, number(op.mode, 0o644)); return {};
      case "readdir": return { names: (yield* process.readdir(path)).map(({ d_name: name }) => new TextDecoder().decode(name)) };
      case "drop_caches": yield* this.kernel.dropCaches(); return {};
      case "freeze": yield* this.kernel.freeze(); return {};
      case "thaw":
        yield* this.kernel.thaw();
        for (const name of this.finished.keys()) yield* this.isFinished(name);
        return {};
      case "shutdown": yield* this.kernel.shutdown(number(op.how, 2)); return {};
      case "sleep": this.tick(number(op.ms, 100) * 1e6); return {};
      case "fork": {
        const child = yield* process.fork();
        this.actors.set(String(op.name), { name: String(op.name), process: child, fds: new Map(actor.fds), maps: new Map([...actor.maps].map(([name, mapping]) => [name, { ...mapping }])), slots: actor.slots });
        return {};
      }
      case "exit":
        yield* process.exit(number(op.code));
        this.exitCodes.set(actor.name, number(op.code));
        return {};
      case "wait": return { exit: this.exitCodes.get(String(op.name)) };
      case "exec": return yield* runProgram(process, path, op.arg === undefined ? undefined : String(op.arg), trace?.sum?.faults ?? []);
      case "async": return yield* this.startAsync(op, i, trace);
      case "join": return yield* this.isFinished(String(op.name));
      case "copyin": return yield* this.copyIn(actor, op, path);
      case "copydev": this.ram = new MemoryDevice(this.image.slice()); return {};
      case "cleanup": return yield* this.cleanUp(actor);
      case "encaddkey": throw new FsError("EOPNOTSUPP", "no key can be added here");
      // Settings of the guest that nothing here depends on.
      case "note": case "sysctl": case "insmod": case "cat": return {};
      default: throw new Error(`no operation ${op.op}`);
    }
  }

  private *mount(op: Operation): Task<Fields> {
    const { isReadOnly, flags, options } = parseMountOptions(String(op.opts ?? ""));
    const device: BlockDevice = op.dev === "/dev/ram0" ? this.ram! : this.pmem;
    this.mounted = yield* mountExt4(device, { ...parseExt4Options(options), readOnly: isReadOnly, clock: this.clock, events: this.events });
    this.kernel.mountRoot(this.mounted, flags);
    return {};
  }

  private *unmount(): Task<Fields> {
    this.kernel.unmountRoot();
    const fs = this.mounted!;
    this.mounted = undefined;
    try {
      yield* unmountExt4(fs);
    } catch (error) {
      // Linux tells nobody: what was lost was lost by the abort.
      if (!(error instanceof FsError) || fs.writable !== undefined) throw error;
    }
    return {};
  }

  private *open(actor: Actor, op: Operation, path: string): Task<Fields> {
    const fd = yield* actor.process.open(path, flagsOf(op.flags, OPEN, ["O_RDONLY"]), number(op.mode, 0o644));
    const old = actor.fds.get(String(op.fd));
    if (old !== undefined) yield* actor.process.close(old);
    actor.fds.set(String(op.fd), fd);
    return {};
  }

  /** A descriptor by name, or one that is opened for this alone. */
  private *onFile<T>(actor: Actor, op: Operation, work: (fd: number) => Task<T>): Task<T> {
    const known = actor.fds.get(String(op.fd));
    if (known !== undefined) return yield* work(known);
    if (op.path === undefined) throw new FsError("EBADF");
    const fd = yield* actor.process.open(String(op.path), O_RDONLY | O_NONBLOCK);
    try {
      return yield* work(fd);
    } finally {
      yield* actor.process.close(fd);
    }
  }

  private *write(actor: Actor, op: Operation): Task<number> {
    const { process } = actor;
    const fd = this.fd(actor, op.fd);
    if (op.buf !== undefined) {
      const buffer = { address: this.mapping(actor, op.buf).address + number(op.boff), lengthBytes: number(op.len) };
      return op.op === "write" ? yield* process.write(fd, buffer) : yield* process.pwrite(fd, buffer, number(op.off));
    }
    const text = op.data === undefined ? undefined : bytesOf(op.data);
    const bytes = new Uint8Array(Math.min(number(op.len) || (text?.length ?? 0), BIG)).fill(text === undefined ? fillByte(op.fill) : 0);
    if (text !== undefined) bytes.set(text);
    return op.op === "write" ? yield* process.write(fd, bytes) : yield* process.pwrite(fd, bytes, number(op.off));
  }

  private *read(actor: Actor, op: Operation): Task<Fields> {
    const { process } = actor;
    const fd = this.fd(actor, op.fd);
    if (op.buf !== undefined) {
      const buffer = { address: this.mapping(actor, op.buf).address + number(op.boff), lengthBytes: number(op.len) };
      return { ret: op.op === "read" ? yield* process.read(fd, buffer) : yield* process.pread(fd, buffer, number(op.off)) };
    }
    const bytes = new Uint8Array(Math.min(number(op.len), BIG));
    const count = op.op === "read" ? yield* process.read(fd, bytes) : yield* process.pread(fd, bytes, number(op.off));
    return { ret: count, runs: runsOf(bytes.subarray(0, count)) };
  }

  private *mmap(actor: Actor, op: Operation): Task<Fields> {
    const isFree = op.addr === "kernel";
    const address = isFree ? 0 : ARENA + actor.slots++ * SLOT + number(op.shift);
    const flags = flagsOf(op.flags, MEMORY, ["MAP_SHARED"]) | (isFree ? 0 : MEMORY.MAP_FIXED!);
    const start = yield* actor.process.mmap(address, number(op.len), flagsOf(op.prot, MEMORY, ["PROT_READ", "PROT_WRITE"]), flags, this.fd(actor, op.fd), number(op.off));
    actor.maps.set(String(op.map), { address: start, length: number(op.len) });
    if (isFree) this.freeMappings.push({ address: start, length: number(op.len) });
    return isFree ? { addr_mod_2M: start % 2 ** 21 } : {};
  }

  private *mremap(actor: Actor, op: Operation, map: Mapping): Task<Fields> {
    const oldLength = number(op.old_len, map.length);
    const newLength = number(op.new_len, map.length);
    const flags = flagsOf(op.flags, MEMORY, ["MREMAP_MAYMOVE"]);
    const from = map.address + number(op.off);
    const target = (flags & MEMORY.MREMAP_FIXED!) === 0 ? undefined : ARENA + actor.slots++ * SLOT + number(op.shift);
    const start = yield* actor.process.mremap(from, oldLength, newLength, flags, target);
    if ((flags & MEMORY.MREMAP_DONTUNMAP!) !== 0 || oldLength === 0) actor.maps.set(`${String(op.map)}.old`, { ...map });
    actor.maps.set(String(op.map), { address: start, length: newLength });
    return { moved: start === from ? 0 : 1 };
  }

  private *touch({ process }: Actor, op: Operation, at: number): Task<Fields> {
    const step = number(op.step, PAGE_BYTES);
    let done = 0;
    for (let offset = 0; offset < number(op.len); offset += step, done++) {
      if (op.rw === "w") yield* process.store(at + offset, number(op.val, 1));
      else yield* process.load(at + offset);
    }
    return { done };
  }

  private *statx(actor: Actor, op: Operation, path: string): Task<Fields> {
    const fd = actor.fds.get(String(op.fd));
    const stat = yield* actor.process.statx(fd ?? path, { followLast: op.nofollow === undefined });
    const time = ({ sec, nsec }: { sec: number; nsec: number }): string => `${sec}.${String(nsec).padStart(9, "0")}`;
    return {
      size: stat.stx_size, blocks: stat.stx_blocks, mode: stat.stx_mode.toString(8), nlink: stat.stx_nlink, ino: stat.stx_ino, dax: (stat.stx_attributes & STATX_ATTR_DAX) === 0 ? 0 : 1,
      attrs: namesOf(stat.stx_attributes, STATX), dax_supported: (stat.stx_attributes_mask & STATX_ATTR_DAX) === 0 ? 0 : 1,
      mtime: time(stat.stx_mtime), ctime: time(stat.stx_ctime), atime: time(stat.stx_atime),
    };
  }

  private pagemap({ process: { mm } }: Actor, at: number, length: number): Fields[] {
    const pages: { p: number; n: number; w: string }[] = [];
    let last: { w: string; blk: number } | undefined;
    for (let page = 0; page < Math.ceil(length / PAGE_BYTES); page++) {
      const { kind, offsetBytes } = pagemapOf(mm, at + page * PAGE_BYTES);
      const w = kind === "device" ? "pmem" : kind;
      const blk = kind === "device" ? offsetBytes / PAGE_BYTES : -1;
      if (last?.w === w && (blk < 0 || blk === last.blk + 1)) pages.at(-1)!.n++;
      else pages.push({ p: page, n: 1, w });
      last = { w, blk };
    }
    return pages;
  }

  private smaps({ process: { mm } }: Actor, map: Mapping): Fields[] {
    return smapsOf(mm, map.address, map.length).map((vma) => ({
      off: vma.start - map.address, len: vma.end - vma.start, perm: vma.permissions, Size: (vma.end - vma.start) / 1024, Rss: vma.rss / 1024, Shared_Clean: vma.sharedClean / 1024,
      Shared_Dirty: vma.sharedDirty / 1024, Private_Clean: vma.privateClean / 1024, Private_Dirty: vma.privateDirty / 1024, Anonymous: vma.anonymous / 1024, VmFlags: vma.vmFlags.join(" "),
    }));
  }

  /** Starts an operation in another process, and sees whether it ends by itself. */
  private *startAsync(op: Operation, i: number, trace: TraceRecord | undefined): Task<Fields> {
    const name = String(op.name);
    const state = { isDone: false, queue: new WaitQueue(`the operation of ${name}`) };
    this.finished.set(name, state);
    const task = this.operation(this.actors.get(name)!, op.do as Operation, i, trace);
    const { asyncFields } = this;
    this.scheduler.spawn(`process ${name}`, (function* () {
      asyncFields.set(i, { ret: 0, ...(yield* task) });
      state.isDone = true;
      state.queue.wakeAll();
    })());
    return yield* this.isFinished(name);
  }

  /** Waits until it is done, or nothing more can happen. */
  private *isFinished(name: string): Task<Fields> {
    const { queue } = this.finished.get(name)!;
    try {
      yield* queue.wait(() => this.finished.get(name)!.isDone);
    } catch (error) {
      if (!(error instanceof DeadlockError)) throw error;
      return { finished: 0 };
    }
    return { finished: 1 };
  }

  /** A program onto the filesystem, as the guest copies it; `falloc` lays it out first, in pieces that the allocator aligns. */
  private *copyIn({ process }: Actor, op: Operation, path: string): Task<Fields> {
    const bytes = new Uint8Array(brotliDecompressSync(readFileSync(new URL(`programs/${String(op.src).replace("/elf/", "")}.br`, import.meta.url))));
    const fd = yield* process.open(path, O_CREAT | O_TRUNC | O_RDWR, number(op.mode, 0o755));
    const piece = 4 * 2 ** 20;
    if (op.falloc !== undefined) for (let at = 0; at < bytes.length; at += piece) yield* process.fallocate(fd, FALLOC.KEEP_SIZE!, at, piece);
    for (let at = 0; at < bytes.length; at += BIG) yield* process.write(fd, bytes.subarray(at, at + BIG));
    yield* process.fsync(fd);
    yield* process.close(fd);
    return { bytes: bytes.length };
  }

  private *cleanUp({ process, fds, maps }: Actor): Task<Fields> {
    for (const { address, length } of maps.values()) yield* process.munmap(address, length);
    maps.clear();
    for (const fd of fds.values()) yield* process.close(fd);
    fds.clear();
    return {};
  }
}

const FIEMAP: readonly (readonly [bit: number, letter: string])[] = [
  [FIEMAP_EXTENT_LAST, "L"], [FIEMAP_EXTENT_UNWRITTEN, "U"], [FIEMAP_EXTENT_DELALLOC, "D"], [FIEMAP_EXTENT_DATA_INLINE, "I"],
];
