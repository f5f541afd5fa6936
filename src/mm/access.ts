/**
 * Loads and stores through the page tables, as a program makes them and as the kernel does for system calls; and pages that are held for somebody who works on them past the page tables
 * (get_user_pages). Source: arch/x86/mm/fault.c, mm/gup.c.
 */
import { FsError } from "../lib/errno.js";
import { FaultFlag, VmFault } from "../lib/vm-fault.js";
import { footprint } from "../sched/footprint.js";
import type { Task } from "../sched/task.js";
import { FOLL_FORCE, FOLL_LONGTERM, FOLL_WRITE, VM_EXEC, VM_READ, VM_WRITE } from "./constants.js";
import { Folio, type AddressSpace } from "./address-space.js";
import { PAGE_BYTES, type Memory } from "./memory.js";
import type { MmStruct } from "./mm-struct.js";
import { ACCESSED, DIRTY } from "./page-table.js";
import type { Vma } from "./vma.js";

/** Why an access went no further. */
export interface FailedAccess {
  /** The first byte that could not be accessed. */
  readonly address: number;
  /** Bits of VmFault. */
  readonly code: number;
  /** False: nothing is mapped there. */
  readonly isMapped: boolean;
}

export interface Access {
  /** Bytes copied: all, if `failed` is undefined. */
  readonly doneBytes: number;
  readonly failed: FailedAccess | undefined;
}

type Kind = "load" | "store" | "fetch";

export function* load(mm: MmStruct, address: number, into: Uint8Array): Task<Access> {
  return yield* copy(mm, address, into, "load");
}

export function* store(mm: MmStruct, address: number, bytes: Uint8Array): Task<Access> {
  return yield* copy(mm, address, bytes, "store");
}

/** An instruction fetch. */
export function* fetch(mm: MmStruct, address: number, into: Uint8Array): Task<Access> {
  return yield* copy(mm, address, into, "fetch");
}

function* copy(mm: MmStruct, address: number, bytes: Uint8Array, kind: Kind): Task<Access> {
  footprint(mm);
  for (let done = 0; done < bytes.length;) {
    const at = address + done;
    const run = accessible(mm, at, bytes.length - done, kind);
    if (run === undefined) {
      const code = yield* faultFor(mm, at, kind);
      if ((code & VmFault.ERROR) !== 0) return { doneBytes: done, failed: { address: at, code, isMapped: mm.vmas.find(at) !== undefined } };
      continue;
    }
    const { memory, from, length } = run;
    if (kind === "store") {
      memory.data.set(bytes.subarray(done, done + length), from);
      memory.stored?.(from, length);
    } else {
      const good = memory.isReadable?.(from, length) === false ? goodBytes(memory, from, length) : length;
      bytes.set(memory.data.subarray(from, from + good), done);
      if (good < length) return { doneBytes: done + good, failed: { address: at + good, code: VmFault.HWPOISON, isMapped: true } };
    }
    done += length;
  }
  return { doneBytes: bytes.length, failed: undefined };
}

interface Run { readonly memory: Memory; readonly from: number; readonly length: number }

/** What the hardware lets this access have from `address` on without a fault, as far as it lies in one piece: neighbouring entries of a contiguous file are one. Undefined: nothing. */
function accessible(mm: MmStruct, address: number, wantedBytes: number, kind: Kind): Run | undefined {
  // Rights are in each entry on real hardware; here those of the VMA are asked, which mprotect changes.
  const vma = mm.vmas.find(address);
  if (vma?.vm_file !== undefined) footprint(vma.vm_file.f_mapping.shared);
  const first = vma === undefined || !hasRight(vma, kind) ? undefined : mm.pageTables.find(address);
  if (first === undefined || (kind === "store" && !first.isWritable)) return undefined;
  const bits = kind === "store" ? ACCESSED | DIRTY : ACCESSED;
  const { memory } = first;
  const inLeaf = address % first.lengthBytes;
  const from = first.offsetBytes + inLeaf;
  const endBytes = Math.min(wantedBytes, vma!.vm_end - address);
  let length = first.lengthBytes - inLeaf;
  first.mark(bits);
  while (length < endBytes) {
    const leaf = mm.pageTables.find(address + length);
    if (leaf?.memory !== memory || leaf.offsetBytes !== from + length || (kind === "store" && !leaf.isWritable)) break;
    leaf.mark(bits);
    length += leaf.lengthBytes;
  }
  return { memory, from, length: Math.min(length, endBytes) };
}

/** What can be loaded before bad memory, which comes in units of 512 bytes. */
function goodBytes(memory: Memory, from: number, length: number): number {
  let at = from;
  for (let end = at - (at % 512) + 512; at < from + length && memory.isReadable!(at, Math.min(end, from + length) - at); end += 512) at = end;
  return Math.min(at - from, length);
}

function hasRight({ vm_flags: flags }: Vma, kind: Kind): boolean {
  // What can be written or executed can be read on x86.
  return (flags & (kind === "store" ? VM_WRITE : kind === "fetch" ? VM_EXEC : VM_READ | VM_WRITE | VM_EXEC)) !== 0;
}

/** One fault; the access is then tried again, and may fault anew. */
function* faultFor(mm: MmStruct, address: number, kind: Kind): Task<number> {
  const vma = mm.vmas.find(address);
  if (vma === undefined || !hasRight(vma, kind)) return VmFault.SIGSEGV;
  return yield* mm.faultIn(address, FaultFlag.USER | (kind === "store" ? FaultFlag.WRITE : kind === "fetch" ? FaultFlag.INSTRUCTION : 0));
}

/** A page that is held: its bytes may be read and changed until `release`, whatever happens to the mapping. */
export interface PinnedPage {
  readonly memory: Memory;
  readonly offsetBytes: number;
  readonly data: Uint8Array;
  release(): void;
}

/**
 * Holds `count` pages from `address` on. A shared mapping never gets a copy: FOLL_FORCE writes into a private mapping only.
 * @param flags FOLL_WRITE, FOLL_FORCE, FOLL_LONGTERM.
 * @throws FsError EFAULT the page cannot be accessed so; EOPNOTSUPP a long-term pin of a file on persistent memory, whose truncation would wait for ever. Nothing is held then.
 */
export function* getUserPages(mm: MmStruct, address: number, count: number, flags: number): Task<PinnedPage[]> {
  const pages: PinnedPage[] = [];
  try {
    for (let index = 0; index < count; index++) pages.push(yield* pinPage(mm, address - (address % PAGE_BYTES) + index * PAGE_BYTES, flags));
  } catch (error) {
    for (const page of pages) page.release();
    throw error;
  }
  return pages;
}

function* pinPage(mm: MmStruct, address: number, flags: number): Task<PinnedPage> {
  const isWrite = (flags & FOLL_WRITE) !== 0;
  const vma = mm.vmas.find(address);
  if (vma === undefined) throw new FsError("EFAULT");
  if ((flags & FOLL_LONGTERM) !== 0 && vma.vm_ops?.isFsDax === true) throw new FsError("EOPNOTSUPP");
  const isForced = (flags & FOLL_FORCE) !== 0;
  if (isWrite && !vma.isWritable && !(isForced && vma.isCowMapping)) throw new FsError("EFAULT");
  if (!isWrite && (vma.vm_flags & VM_READ) === 0 && !isForced) throw new FsError("EFAULT");
  const code = yield* mm.faultIn(address, FaultFlag.REMOTE | (isWrite ? FaultFlag.WRITE : 0));
  if (code !== 0) throw new FsError("EFAULT");
  const leaf = mm.pageTables.find(address)!;
  const { memory } = leaf;
  const offsetBytes = leaf.offsetBytes + (address % leaf.lengthBytes);
  const data = memory.data.subarray(offsetBytes, offsetBytes + PAGE_BYTES);
  if (memory instanceof Folio) return { memory, offsetBytes, data, release: holdFolio(vma.vm_file!.f_mapping, memory, isWrite) };
  memory.pin?.(offsetBytes);
  return { memory, offsetBytes, data, release: () => memory.unpin?.(offsetBytes) };
}

/** Keeps a folio in the page cache. Whoever may have stored into it past the page tables makes it dirty when he lets go, as the fault that gave him the page did: it may have been written back since. */
function holdFolio(mapping: AddressSpace, folio: Folio, isWrite: boolean): () => void {
  const stored = isWrite ? folio.dirtyBlocks : 0;
  mapping.hold(folio);
  return () => {
    mapping.letGo(folio);
    // Cut off meanwhile, it is nobody's.
    if (stored !== 0 && mapping.find(folio.index) === folio) mapping.markDirty(folio, stored);
  };
}
