/**
 * The memory of a process: what is mapped where, the page tables, and the system calls on them. Addresses and lengths are bytes; lengths are rounded up to pages.
 * Source: mm/mmap.c, mm/mremap.c, mm/mprotect.c, mm/msync.c, mm/mincore.c, mm/mlock.c, dup_mmap (kernel/fork.c).
 */
import { FsError } from "../lib/errno.js";
import { FaultFlag, PTE_ORDER, VmFault } from "../lib/vm-fault.js";
import { footprint } from "../sched/footprint.js";
import { MMAP_LOCK, MMAP_LOCK_CHILD } from "../sched/lock-classes.js";
import { doAll } from "../sched/all.js";
import { RwSem } from "../sched/locks.js";
import type { Task } from "../sched/task.js";
import { AddressMap } from "./address-map.js";
import * as C from "./constants.js";
import type { VmEvents } from "./events.js";
import { handleMmFault } from "./fault.js";
import { AnonymousPage, PAGE_BYTES, PMD_BYTES } from "./memory.js";
import { ACCESSED, ADDRESS_END, PageTables, WRITABLE } from "./page-table.js";
import { countSplit } from "./rmap.js";
import { SharedMemory } from "./shmem.js";
import { Vma, type MappableFile } from "./vma.js";

export interface MmapRequest {
  /** A wish, or with MAP_FIXED an order. */
  readonly address?: number | undefined;
  readonly lengthBytes: number;
  readonly prot: number;
  readonly flags: number;
  /** Undefined with MAP_ANONYMOUS. */
  readonly file?: MappableFile | undefined;
  readonly offsetBytes?: number | undefined;
}

const VM_ACCESS = C.VM_READ | C.VM_WRITE | C.VM_EXEC;
const FILE_PAGES_MAX = 2 ** 51;

export const roundUp = (bytes: number): number => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;

/** Who locks several takes the oldest first. */
let createdCount = 0;

export class MmStruct {
  readonly mmap_lock: RwSem;
  /** [mmap_lock] */
  readonly vmas = new AddressMap();
  readonly pageTables = new PageTables();

  constructor(readonly events: VmEvents) {
    this.mmap_lock = new RwSem(MMAP_LOCK, undefined, ++createdCount);
  }

  private *exclusively<T>(work: () => Task<T>): Task<T> {
    if (!this.mmap_lock.tryWrite()) yield* this.mmap_lock.write();
    footprint(this);
    try {
      return yield* work();
    } finally {
      this.mmap_lock.unlockWrite();
    }
  }

  /** @returns the address. @throws FsError EINVAL, ENOMEM, EEXIST, EACCES, EPERM, EOVERFLOW, EOPNOTSUPP, and what the file says. */
  *mmap(request: MmapRequest): Task<number> {
    const vma = yield* this.exclusively(() => this.map(request));
    const isLocked = (request.flags & C.MAP_LOCKED) !== 0;
    if (isLocked || (request.flags & (C.MAP_POPULATE | C.MAP_NONBLOCK)) === C.MAP_POPULATE) yield* this.populate(vma.vm_start, vma.vm_end);
    return vma.vm_start;
  }

  private *map({ address, lengthBytes, prot, flags, file, offsetBytes = 0 }: MmapRequest): Task<Vma> {
    const length = roundUp(lengthBytes);
    if (!(lengthBytes > 0) || offsetBytes % PAGE_BYTES !== 0 || !(offsetBytes >= 0)) throw new FsError("EINVAL");
    if (length > ADDRESS_END) throw new FsError("ENOMEM");
    const isAnonymous = (flags & C.MAP_ANONYMOUS) !== 0;
    if (!isAnonymous && file === undefined) throw new FsError("EBADF");
    if (!isAnonymous && offsetBytes / PAGE_BYTES + length / PAGE_BYTES > FILE_PAGES_MAX) throw new FsError("EOVERFLOW");
    const start = this.placeFor(address, length, flags, offsetBytes, isAnonymous ? undefined : file);
    const vmFlags = isAnonymous ? anonymousFlags(prot, flags) : fileFlags(prot, flags, file!);
    if ((flags & C.MAP_FIXED) !== 0) yield* this.unmap(start, start + length);
    const vma = new Vma(this, start, start + length, vmFlags, isAnonymous ? 0 : offsetBytes / PAGE_BYTES, isAnonymous ? undefined : file);
    if (!isAnonymous) {
      yield* file!.mmap(vma);
      if (vma.vm_ops?.isFsDax === true) vma.vm_flags = (vma.vm_flags & ~C.VM_LOCKED) >>> 0;
    } else if ((vmFlags & C.VM_SHARED) !== 0) vma.vm_ops = new SharedMemory();
    this.vmas.insert(vma);
    return vma;
  }

  private placeFor(address: number | undefined, length: number, flags: number, offsetBytes: number, file: MappableFile | undefined): number {
    const isFixed = (flags & (C.MAP_FIXED | C.MAP_FIXED_NOREPLACE)) !== 0;
    if (isFixed) {
      if (address === undefined || address % PAGE_BYTES !== 0) throw new FsError("EINVAL");
      if (!(address >= 0 && address + length <= ADDRESS_END)) throw new FsError("ENOMEM");
      if ((flags & C.MAP_FIXED_NOREPLACE) !== 0 && this.vmas.overlapping(address, address + length).length > 0) throw new FsError("EEXIST");
      return address;
    }
    const wish = roundUp(address ?? 0);
    if (wish > 0 && wish + length <= ADDRESS_END && this.vmas.overlapping(wish, wish + length).length === 0) return wish;
    // Addresses that agree with the file modulo 2 MiB are what makes huge entries possible (thp_get_unmapped_area).
    const alignBytes = file?.mapAlignBytes ?? PMD_BYTES;
    if (file === undefined || length < alignBytes) return this.vmas.findRoom(length, PAGE_BYTES, 0);
    return this.vmas.findRoom(length, alignBytes, offsetBytes % alignBytes);
  }

  /** @throws FsError EINVAL. */
  *munmap(address: number, lengthBytes: number): Task<void> {
    const length = roundUp(lengthBytes);
    if (address % PAGE_BYTES !== 0 || !(lengthBytes > 0) || address + length > ADDRESS_END) throw new FsError("EINVAL");
    yield* this.exclusively(() => this.unmap(address, address + length));
  }

  /** All goes, whatever the files have to say to it. */
  private *unmap(start: number, end: number): Task<void> {
    const files: MappableFile[] = [];
    for (const vma of this.vmas.isolate(start, end)) {
      const { from, to } = this.vmas.gapAround(vma.vm_start, vma.vm_end);
      this.zap(vma, vma.vm_start, vma.vm_end);
      this.vmas.remove(vma);
      this.pageTables.freeTables(from, to);
      if (vma.vm_file !== undefined) files.push(vma.vm_file);
    }
    yield* doAll(files.map((file) => () => file.put()));
  }

  /** Takes the entries of start .. end - 1 away; a huge one that lies there in part goes as a whole. */
  private zap(vma: Vma, start: number, end: number): void {
    this.pageTables.forEach(start, end, (leaf, address) => {
      countSplit(vma, leaf, address, start, end);
      leaf.clear();
    });
  }

  /** @throws FsError EINVAL, ENOMEM a part is not mapped, EACCES. */
  *mprotect(address: number, lengthBytes: number, prot: number): Task<void> {
    const end = address + roundUp(lengthBytes);
    if (address % PAGE_BYTES !== 0 || (prot & ~(C.PROT_READ | C.PROT_WRITE | C.PROT_EXEC)) !== 0) throw new FsError("EINVAL");
    if (end === address) return;
    yield* this.exclusively(function* (this: MmStruct): Task<void> {
      let at = address;
      for (const vma of this.vmas.overlapping(address, end)) {
        if (vma.vm_start > at) throw new FsError("ENOMEM");
        at = Math.min(end, vma.vm_end);
        const wanted = prot & VM_ACCESS;
        if ((wanted & ~(vma.vm_flags >>> 4)) !== 0) throw new FsError("EACCES");
        for (const part of this.vmas.isolate(Math.max(address, vma.vm_start), at)) this.protect(part, wanted);
      }
      if (at < end) throw new FsError("ENOMEM");
    }.bind(this));
  }

  /** Fewer rights hold at once; more are found out by the next fault. */
  private protect(vma: Vma, access: number): void {
    const before = vma.vm_flags;
    vma.vm_flags = ((vma.vm_flags & ~VM_ACCESS) | access) >>> 0;
    if (before === vma.vm_flags) return;
    this.pageTables.forEach(vma.vm_start, vma.vm_end, (leaf, address) => {
      if (address < vma.vm_start || address + leaf.lengthBytes > vma.vm_end) {
        this.events.count("thp_split_pmd");
        leaf.clear();
      } else if ((access & C.VM_WRITE) === 0) leaf.unmark(WRITABLE);
    });
  }

  /** @throws FsError EINVAL, EFAULT, ENOMEM. */
  *mremap(address: number, oldLengthBytes: number, newLengthBytes: number, flags: number, newAddress?: number): Task<number> {
    const oldLength = roundUp(oldLengthBytes);
    const newLength = roundUp(newLengthBytes);
    const isFixed = (flags & C.MREMAP_FIXED) !== 0;
    const keepsOld = (flags & C.MREMAP_DONTUNMAP) !== 0;
    if (address % PAGE_BYTES !== 0 || newLength === 0 || (flags & ~(C.MREMAP_MAYMOVE | C.MREMAP_FIXED | C.MREMAP_DONTUNMAP)) !== 0) throw new FsError("EINVAL");
    if ((isFixed || keepsOld) && (flags & C.MREMAP_MAYMOVE) === 0) throw new FsError("EINVAL");
    if (keepsOld && oldLength !== newLength) throw new FsError("EINVAL");
    if (newLength < oldLength && address + oldLength > ADDRESS_END) throw new FsError("EINVAL");
    if (isFixed && newAddress !== undefined && newAddress + newLength > ADDRESS_END) throw new FsError("EINVAL");
    if (isFixed && (newAddress === undefined || newAddress % PAGE_BYTES !== 0 || overlaps(address, oldLength, newAddress, newLength))) throw new FsError("EINVAL");
    return yield* this.exclusively(() => this.remap(address, oldLength, newLength, { mayMove: (flags & C.MREMAP_MAYMOVE) !== 0, keepsOld, target: isFixed ? newAddress : undefined }));
  }

  private *remap(address: number, oldLength: number, newLength: number, { mayMove, keepsOld, target }: { mayMove: boolean; keepsOld: boolean; target: number | undefined }): Task<number> {
    let vma = this.vmas.find(address);
    if (vma === undefined) throw new FsError("EFAULT");
    if (oldLength === 0 && !vma.isShared) throw new FsError("EINVAL");
    if (target !== undefined) yield* this.unmap(target, target + newLength);
    // What is too long is cut off first, whatever is mapped there.
    if (newLength < oldLength) {
      yield* this.unmap(address + newLength, address + oldLength);
      oldLength = newLength;
    }
    if (target === undefined && !keepsOld && newLength === oldLength) return address;
    vma = this.vmas.find(address); // what was unmapped may have been its other end, or all of it
    if (vma === undefined || oldLength > vma.vm_end - address) throw new FsError("EFAULT");
    const fits = address + newLength <= ADDRESS_END;
    if (target === undefined && !keepsOld && fits && oldLength > 0 && address + oldLength === vma.vm_end && this.vmas.overlapping(vma.vm_end, address + newLength).length === 0) {
      vma.vm_end = address + newLength;
      return address;
    }
    if (!mayMove) throw new FsError("ENOMEM");
    return yield* this.moveTo(address, oldLength, newLength, target, keepsOld);
  }

  private *moveTo(address: number, oldLength: number, newLength: number, target: number | undefined, keepsOld: boolean): Task<number> {
    const whole = this.vmas.find(address)!;
    const isCopy = oldLength === 0;
    const moved = isCopy ? whole : this.vmas.isolate(address, address + oldLength)[0]!;
    const pgoff = moved.vm_pgoff + (address - moved.vm_start) / PAGE_BYTES;
    const start = target ?? this.placeFor(undefined, newLength, 0, pgoff * PAGE_BYTES, moved.vm_file);
    const vma = new Vma(this, start, start + newLength, moved.vm_flags, pgoff, moved.vm_file);
    vma.vm_ops = moved.vm_ops;
    this.vmas.insert(vma);
    if (!isCopy) this.moveEntries(address, start, Math.min(oldLength, newLength));
    if (!isCopy && !keepsOld) yield* this.unmap(address, address + oldLength);
    return start;
  }

  /** Huge entries go along where both places allow them; else what they mapped comes back by faults. */
  private moveEntries(from: number, to: number, length: number): void {
    this.pageTables.forEach(from, from + length, (leaf, address) => {
      const target = to + (address - from);
      const fits = target % leaf.lengthBytes === 0 && address >= from && address + leaf.lengthBytes <= from + length && this.pageTables.stateOf(target, leaf.order) === "none";
      const { order, memory, offsetBytes, isWritable } = leaf;
      leaf.clear();
      this.pageTables.makeTables(target);
      if (fits) this.pageTables.set(target, order, memory, offsetBytes, ACCESSED | (isWritable ? WRITABLE : 0));
      else this.events.count("thp_split_pmd");
    });
  }

  /** MS_SYNC: what was stored is durable. MS_ASYNC does nothing, as in Linux: it is dirty already. @throws FsError EINVAL, ENOMEM a part is not mapped, EBUSY, EIO. */
  *msync(address: number, lengthBytes: number, flags: number): Task<void> {
    if ((flags & ~(C.MS_ASYNC | C.MS_INVALIDATE | C.MS_SYNC)) !== 0 || address % PAGE_BYTES !== 0) throw new FsError("EINVAL");
    if ((flags & C.MS_ASYNC) !== 0 && (flags & C.MS_SYNC) !== 0) throw new FsError("EINVAL");
    const end = address + roundUp(lengthBytes);
    let at = address;
    let hasGap = false;
    while (at < end) {
      const [vma] = this.vmas.overlapping(at, end);
      hasGap ||= vma === undefined || vma.vm_start > at;
      if (vma === undefined) break;
      if ((flags & C.MS_INVALIDATE) !== 0 && (vma.vm_flags & C.VM_LOCKED) !== 0) throw new FsError("EBUSY");
      const from = Math.max(at, vma.vm_start);
      at = Math.min(end, vma.vm_end);
      const file = vma.vm_file;
      if ((flags & C.MS_SYNC) === 0 || file === undefined || (vma.vm_flags & C.VM_SHARED) === 0) continue;
      const fileBytes = vma.vm_pgoff * PAGE_BYTES + from - vma.vm_start;
      file.get();
      footprint(file.f_mapping.shared);
      try {
        yield* file.fsyncRange(fileBytes, fileBytes + at - from, true);
      } finally {
        yield* file.put();
      }
    }
    if (hasGap) throw new FsError("ENOMEM");
  }

  /** @throws FsError EINVAL, ENOMEM a part is not mapped, EACCES, EFAULT. */
  *madvise(address: number, lengthBytes: number, advice: number): Task<void> {
    const end = address + roundUp(lengthBytes);
    if (address % PAGE_BYTES !== 0 || !KNOWN_ADVICE.has(advice)) throw new FsError("EINVAL");
    if (end === address) return;
    if (advice === C.MADV_POPULATE_READ || advice === C.MADV_POPULATE_WRITE) return yield* this.populateStrictly(address, end, advice === C.MADV_POPULATE_WRITE);
    const isCovered = yield* this.exclusively(function* (this: MmStruct): Task<boolean> {
      let at = address;
      let hasGap = false;
      while (at < end) {
        // Looked up each time: MADV_REMOVE lets go of mmap_lock.
        const [vma] = this.vmas.overlapping(at, end);
        if (vma === undefined) return false;
        hasGap ||= vma.vm_start > at;
        const from = Math.max(at, vma.vm_start);
        at = Math.min(end, vma.vm_end);
        yield* this.advise(from, at, advice);
      }
      return !hasGap;
    }.bind(this));
    if (!isCovered) throw new FsError("ENOMEM");
  }

  private *advise(start: number, end: number, advice: number): Task<void> {
    const vma = this.vmas.find(start)!;
    const setFlags = (set: number, clear: number): void => {
      for (const part of this.vmas.isolate(start, end)) part.vm_flags = ((part.vm_flags & ~clear) | set) >>> 0;
    };
    switch (advice) {
      case C.MADV_DONTNEED:
        if ((vma.vm_flags & C.VM_LOCKED) !== 0) throw new FsError("EINVAL");
        return this.zap(vma, start, end);
      case C.MADV_FREE:
        if (vma.vm_file !== undefined || vma.isShared) throw new FsError("EINVAL");
        return this.zap(vma, start, end);
      case C.MADV_HUGEPAGE: return setFlags(C.VM_HUGEPAGE, C.VM_NOHUGEPAGE);
      case C.MADV_NOHUGEPAGE: return setFlags(C.VM_NOHUGEPAGE, C.VM_HUGEPAGE);
      case C.MADV_DONTFORK: return setFlags(C.VM_DONTCOPY, 0);
      case C.MADV_DOFORK: return setFlags(0, C.VM_DONTCOPY);
      case C.MADV_REMOVE: {
        if ((vma.vm_flags & C.VM_LOCKED) !== 0 || (vma.vm_file === undefined && !(vma.vm_ops instanceof SharedMemory))) throw new FsError("EINVAL");
        if ((vma.vm_flags & (C.VM_SHARED | C.VM_MAYWRITE)) !== (C.VM_SHARED | C.VM_MAYWRITE)) throw new FsError("EACCES");
        const { vm_file: file } = vma;
        const fileBytes = vma.vm_pgoff * PAGE_BYTES + start - vma.vm_start;
        if (file === undefined) return (vma.vm_ops as SharedMemory).clear(fileBytes / PAGE_BYTES, (fileBytes + end - start) / PAGE_BYTES);
        // The file's lock comes before mmap_lock, so this one is let go.
        file.get();
        this.mmap_lock.unlockWrite();
        try {
          yield* file.punchHole(fileBytes, end - start);
        } finally {
          if (!this.mmap_lock.tryWrite()) yield* this.mmap_lock.write();
          yield* file.put();
        }
      }
    }
  }

  /** One byte per page: 1, if it is in memory. @throws FsError EINVAL, ENOMEM. */
  *mincore(address: number, lengthBytes: number): Task<Uint8Array> {
    const end = address + roundUp(lengthBytes);
    if (address % PAGE_BYTES !== 0) throw new FsError("EINVAL");
    if (!(lengthBytes >= 0 && end <= ADDRESS_END)) throw new FsError("ENOMEM");
    if (!this.mmap_lock.tryRead()) yield* this.mmap_lock.read();
    footprint(this);
    try {
      // First, lest a caller's claim of terabytes be believed.
      const mappedBytes = this.vmas.overlapping(address, end).reduce((sum, { vm_start: from, vm_end: to }) => sum + Math.min(to, end) - Math.max(from, address), 0);
      if (mappedBytes < end - address) throw new FsError("ENOMEM");
      return Uint8Array.from({ length: (end - address) / PAGE_BYTES }, (_, index) => {
        const at = address + index * PAGE_BYTES;
        const vma = this.vmas.find(at)!;
        if (this.pageTables.find(at) !== undefined) return 1;
        const mapping = vma.vm_file?.f_mapping;
        if (mapping !== undefined) footprint(mapping.shared, false);
        const pgoff = vma.vm_pgoff + (at - vma.vm_start) / PAGE_BYTES;
        return mapping?.find(Math.floor(pgoff / mapping.pagesPerFolio)) === undefined ? 0 : 1;
      });
    } finally {
      this.mmap_lock.unlockRead();
    }
  }

  /** @throws FsError ENOMEM a part is not mapped; EINVAL. */
  *mlock(address: number, lengthBytes: number): Task<void> {
    const start = address - (address % PAGE_BYTES);
    yield* this.setLocked(start, roundUp(address + lengthBytes), true);
    yield* this.populate(start, roundUp(address + lengthBytes));
  }

  *munlock(address: number, lengthBytes: number): Task<void> {
    yield* this.setLocked(address - (address % PAGE_BYTES), roundUp(address + lengthBytes), false);
  }

  private *setLocked(start: number, end: number, isLocked: boolean): Task<void> {
    yield* this.exclusively(function* (this: MmStruct): Task<void> {
      let at = start;
      for (const vma of this.vmas.overlapping(start, end)) {
        if (vma.vm_start > at) throw new FsError("ENOMEM");
        const from = at;
        at = Math.min(end, vma.vm_end);
        // A device's own pages are in memory anyhow: nothing is noted of them, and their mapping is not cut.
        if (vma.vm_ops?.isFsDax === true) continue;
        for (const part of this.vmas.isolate(from, at)) part.vm_flags = (isLocked ? part.vm_flags | C.VM_LOCKED : part.vm_flags & ~C.VM_LOCKED) >>> 0;
      }
      if (at < end) throw new FsError("ENOMEM");
    }.bind(this));
  }

  /** Brings everything in, as far as it goes. A shared mapping is only read: nothing is allocated for what may never be stored. Source: populate_vma_page_range (mm/gup.c). */
  private *populate(start: number, end: number): Task<void> {
    for (const { vm_start: from, vm_end: to } of this.vmas.overlapping(start, end)) {
      for (let at = Math.max(start, from); at < Math.min(end, to);) {
        const vma = this.vmas.find(at);
        if (vma === undefined || (vma.vm_flags & VM_ACCESS) === 0) break;
        const isWrite = (vma.vm_flags & (C.VM_WRITE | C.VM_SHARED)) === C.VM_WRITE;
        if ((yield* this.faultIn(at, isWrite ? FaultFlag.WRITE : 0)) !== 0) return;
        at = this.endOfLeaf(at);
      }
    }
  }

  private *populateStrictly(start: number, end: number, isWrite: boolean): Task<void> {
    for (let at = start; at < end; at = this.endOfLeaf(at)) {
      const vma = this.vmas.find(at);
      if (vma === undefined) throw new FsError("ENOMEM");
      if ((vma.vm_flags & (isWrite ? C.VM_WRITE : C.VM_READ)) === 0) throw new FsError("EINVAL");
      if ((yield* this.faultIn(at, isWrite ? FaultFlag.WRITE : 0)) !== 0) throw new FsError("EFAULT");
    }
  }

  private endOfLeaf(address: number): number {
    const bytes = this.pageTables.find(address)?.lengthBytes ?? PAGE_BYTES;
    return address - (address % bytes) + bytes;
  }

  /** Faults until the page can be accessed. @returns bits of VmFault that say why it cannot, SIGSEGV where nothing is mapped; 0: it can. */
  *faultIn(address: number, flags: number): Task<number> {
    footprint(this);
    const isWrite = (flags & FaultFlag.WRITE) !== 0;
    for (let tries = 0; ; tries++) {
      const leaf = this.pageTables.find(address);
      if (leaf !== undefined && (!isWrite || leaf.isWritable)) return 0;
      if (tries === FAULTS_MAX) throw new FsError("EDEADLK", `the same fault at 0x${address.toString(16)} came back ${FAULTS_MAX} times`);
      const code = yield* this.fault(address, flags);
      if ((code & VmFault.ERROR) !== 0) return code;
      // A copy that a debugger forces stays read-only.
      if (isWrite && !(this.vmas.find(address)?.isWritable ?? false) && this.pageTables.find(address)?.memory instanceof AnonymousPage) return 0;
    }
  }

  /** One fault, with mmap_lock as the hardware's handler takes it. */
  *fault(address: number, flags: number): Task<number> {
    if (!this.mmap_lock.tryRead()) yield* this.mmap_lock.read();
    try {
      const vma = this.vmas.find(address);
      return vma === undefined ? VmFault.SIGSEGV : yield* handleMmFault(vma, address, flags);
    } finally {
      this.mmap_lock.unlockRead();
    }
  }

  /** A copy of the process's memory: private pages are shared until one of both stores; what is a file's comes back by faults. */
  *fork(): Task<MmStruct> {
    const child = new MmStruct(this.events);
    yield* this.exclusively(function* (this: MmStruct): Task<void> {
      if (!child.mmap_lock.tryWrite(MMAP_LOCK_CHILD)) yield* child.mmap_lock.write(MMAP_LOCK_CHILD);
      for (const vma of this.vmas) if ((vma.vm_flags & C.VM_DONTCOPY) === 0) this.copyTo(child, vma);
      child.mmap_lock.unlockWrite();
    }.bind(this) as () => Task<void>);
    return child;
  }

  private copyTo(child: MmStruct, vma: Vma): void {
    const copy = new Vma(child, vma.vm_start, vma.vm_end, (vma.vm_flags & ~C.VM_LOCKED) >>> 0, vma.vm_pgoff, vma.vm_file);
    copy.vm_ops = vma.vm_ops;
    child.vmas.insert(copy);
    this.pageTables.forEach(vma.vm_start, vma.vm_end, (leaf, address) => {
      const { memory } = leaf;
      if (!(memory instanceof AnonymousPage)) return;
      if (memory.pinCount > 0) {
        // Somebody works on the page past the page tables: it stays the parent's.
        const page = new AnonymousPage();
        page.data.set(memory.data);
        child.pageTables.set(address, PTE_ORDER, page, 0, leaf.isWritable ? WRITABLE : 0);
        return;
      }
      leaf.unmark(WRITABLE);
      child.pageTables.set(address, PTE_ORDER, memory, 0, 0);
    });
  }

  /** The end of the process: everything is unmapped. */
  *release(): Task<void> {
    yield* this.exclusively(() => this.unmap(0, ADDRESS_END));
  }
}

/** So often the same fault may come back: more is a handler that makes no progress. */
const FAULTS_MAX = 1000;
const KNOWN_ADVICE = new Set([C.MADV_NORMAL, C.MADV_RANDOM, C.MADV_SEQUENTIAL, C.MADV_WILLNEED, C.MADV_DONTNEED, C.MADV_FREE, C.MADV_REMOVE, C.MADV_DONTFORK, C.MADV_DOFORK, C.MADV_HUGEPAGE,
  C.MADV_NOHUGEPAGE, C.MADV_COLD, C.MADV_PAGEOUT, C.MADV_POPULATE_READ, C.MADV_POPULATE_WRITE]);

function overlaps(a: number, aLength: number, b: number, bLength: number): boolean {
  return a < b + bLength && b < a + aLength;
}

function anonymousFlags(prot: number, flags: number): number {
  const type = flags & C.MAP_TYPE;
  if (type !== C.MAP_SHARED && type !== C.MAP_PRIVATE) throw new FsError("EINVAL");
  const isShared = type === C.MAP_SHARED;
  return commonFlags(prot, flags) | C.VM_MAYREAD | C.VM_MAYWRITE | C.VM_MAYEXEC | (isShared ? C.VM_SHARED | C.VM_MAYSHARE : 0);
}

/** Source: do_mmap (mm/mmap.c), ksys_mmap_pgoff. MAP_SYNC makes the mapping synchronous with MAP_SHARED and MAP_PRIVATE, too: so a real Linux was measured to do. */
function fileFlags(prot: number, flags: number, file: MappableFile): number {
  const type = flags & C.MAP_TYPE;
  let vmFlags = commonFlags(prot, flags) | C.VM_MAYREAD | C.VM_MAYWRITE | C.VM_MAYEXEC;
  if (type === C.MAP_SHARED_VALIDATE && (flags & ~(C.LEGACY_MAP_MASK | C.MAP_SYNC)) !== 0) throw new FsError("EOPNOTSUPP");
  if (type === C.MAP_SHARED || type === C.MAP_SHARED_VALIDATE) {
    if ((prot & C.PROT_WRITE) !== 0 && !file.isWritable) throw new FsError("EACCES");
    if (file.isAppendOnly && file.isWritable) throw new FsError("EACCES");
    vmFlags |= C.VM_SHARED | C.VM_MAYSHARE;
    if (!file.isWritable) vmFlags &= ~(C.VM_MAYWRITE | C.VM_SHARED);
  } else if (type !== C.MAP_PRIVATE) throw new FsError("EINVAL");
  if (!file.isReadable) throw new FsError("EACCES");
  if (file.isNoExec === true) {
    if ((prot & C.PROT_EXEC) !== 0) throw new FsError("EPERM");
    vmFlags &= ~C.VM_MAYEXEC;
  }
  return (flags & C.MAP_SYNC) !== 0 ? vmFlags | C.VM_SYNC : vmFlags;
}

function commonFlags(prot: number, flags: number): number {
  return (prot & VM_ACCESS) | ((flags & C.MAP_LOCKED) !== 0 ? C.VM_LOCKED : 0);
}
