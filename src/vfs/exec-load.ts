/**
 * Mapping the segments of an ELF file. All of it runs behind the point of no return: whatever it throws kills.
 * A segment is the file's pages, privately; what it has in memory beyond the file begins in the last of these, whose rest the kernel zeroes as the program would, by a store that may fault and fail.
 * Source: fs/binfmt_elf.c (load_elf_binary, load_elf_interp, elf_map, set_brk, padzero, total_mapping_size) of Linux 6.1.
 */
import { FsError } from "../lib/errno.js";
import { MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_PRIVATE, PROT_EXEC, PROT_READ, PROT_WRITE } from "../mm/constants.js";
import { PAGE_BYTES } from "../mm/memory.js";
import type { MmStruct } from "../mm/mm-struct.js";
import type { Task } from "../sched/task.js";
import { ET_DYN, ET_EXEC, protOf, PT_INTERP, PT_LOAD, type ElfHeader, type ProgramHeader } from "./elf.js";
import { STACK_TOP } from "./exec-stack.js";
import type { File } from "./file.js";
import { copyToUser } from "./user-memory.js";

/** TASK_SIZE: where a process's addresses end. */
const ADDRESSES_END = STACK_TOP;
/** Where a program that may stand anywhere is put if an interpreter is to be mapped, too: two thirds up, so that both have room. */
const ELF_ET_DYN_BASE = pageStart((ADDRESSES_END / 3) * 2);

interface Elf {
  readonly file: File;
  readonly header: ElfHeader;
  readonly segments: readonly ProgramHeader[];
}

function pageStart(address: number): number {
  return address - pageOffset(address);
}

/** Addresses may be negative on the way, as Linux's wrap around. */
function pageOffset(address: number): number {
  return ((address % PAGE_BYTES) + PAGE_BYTES) % PAGE_BYTES;
}

function pageAlign(address: number): number {
  return pageStart(address + PAGE_BYTES - 1);
}

export interface LoadedProgram {
  /** What is added to each address in the file. */
  readonly loadBias: number;
  /** Where the program headers are in memory; 0: no segment has them. */
  readonly phdrAddress: number;
}

/** @throws FsError EINVAL, ENOMEM, EEXIST, EFAULT …: whatever it is, the process dies of it. */
export function* loadProgram(mm: MmStruct, { file, header, segments }: Elf): Task<LoadedProgram> {
  const bss = new Bss(mm);
  const hasInterpreter = segments.some(({ p_type: type }) => type === PT_INTERP);
  let loadBias = 0;
  let phdrAddress = 0;
  let isFirst = true;
  for (const segment of segments) {
    const { p_type: type, p_vaddr: vaddr, p_offset: offset, p_filesz: fileBytes } = segment;
    if (type !== PT_LOAD) continue;
    yield* bss.finishSegment(loadBias);
    let flags = MAP_PRIVATE | MAP_FIXED;
    let totalBytes = 0;
    if (isFirst && header.e_type === ET_EXEC) flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE;
    else if (isFirst) {
      flags = MAP_PRIVATE | (hasInterpreter ? MAP_FIXED_NOREPLACE : 0);
      loadBias = pageStart((hasInterpreter ? alignedBase(segments) : 0) - vaddr);
      totalBytes = totalMappingBytes(segments);
      if (totalBytes === 0) throw new FsError("EINVAL");
    }
    const at = yield* mapSegment(mm, file, segment, loadBias + vaddr, flags, totalBytes);
    if (isFirst && header.e_type === ET_DYN) loadBias += at - pageStart(loadBias + vaddr);
    isFirst = false;
    if (offset <= header.e_phoff && header.e_phoff < offset + fileBytes) phdrAddress = header.e_phoff - offset + vaddr + loadBias;
    checkExtent(vaddr, segment, "EINVAL");
    bss.add(segment, vaddr);
  }
  yield* bss.finish(loadBias);
  return { loadBias, phdrAddress };
}

/** @returns what is added to each address in the file. */
export function* loadInterpreter(mm: MmStruct, { file, header, segments }: Elf): Task<number> {
  let totalBytes = totalMappingBytes(segments);
  if (totalBytes === 0) throw new FsError("EINVAL");
  let base = 0;
  let isPlaced = header.e_type === ET_EXEC;
  let fileEnd = 0;
  let memoryEnd = 0;
  let isExecutable = false;
  for (const segment of segments) {
    const { p_type: type, p_vaddr: vaddr, p_filesz: fileBytes, p_memsz: memoryBytes } = segment;
    if (type !== PT_LOAD) continue;
    const at = yield* mapSegment(mm, file, segment, base + vaddr, MAP_PRIVATE | (isPlaced ? MAP_FIXED : 0), totalBytes);
    totalBytes = 0;
    if (!isPlaced) {
      base = at - pageStart(vaddr);
      isPlaced = true;
    }
    checkExtent(base + vaddr, segment, "ENOMEM");
    fileEnd = Math.max(fileEnd, base + vaddr + fileBytes);
    if (base + vaddr + memoryBytes > memoryEnd) {
      memoryEnd = base + vaddr + memoryBytes;
      isExecutable = (protOf(segment) & PROT_EXEC) !== 0;
    }
  }
  if (!(yield* padZero(mm, fileEnd))) throw new FsError("EFAULT");
  yield* mapZeroes(mm, fileEnd, memoryEnd, isExecutable);
  return base;
}

/** What memory has beyond the file: from the end of the file's part to the end of the segment, of the highest segment so far. */
class Bss {
  private fileEnd = 0;
  private memoryEnd = 0;
  private isExecutable = false;

  constructor(private readonly mm: MmStruct) {}

  add(segment: ProgramHeader, vaddr: number): void {
    this.fileEnd = Math.max(this.fileEnd, vaddr + segment.p_filesz);
    if (vaddr + segment.p_memsz <= this.memoryEnd) return;
    this.memoryEnd = vaddr + segment.p_memsz;
    this.isExecutable = (protOf(segment) & PROT_EXEC) !== 0;
  }

  /** Another segment follows one that is longer in memory. Whether the rest of its last page can be zeroed is not asked: its protection may be odd. */
  *finishSegment(loadBias: number): Task<void> {
    if (this.memoryEnd <= this.fileEnd) return;
    yield* mapZeroes(this.mm, this.fileEnd + loadBias, this.memoryEnd + loadBias, this.isExecutable);
    const offset = pageOffset(this.fileEnd);
    if (offset > 0) yield* copyToUser(this.mm, this.fileEnd + loadBias, new Uint8Array(Math.min(PAGE_BYTES - offset, this.memoryEnd - this.fileEnd)));
  }

  *finish(loadBias: number): Task<void> {
    yield* mapZeroes(this.mm, this.fileEnd + loadBias, this.memoryEnd + loadBias, this.isExecutable);
    if (this.fileEnd === this.memoryEnd) return;
    // On a filesystem that could not serve this fault, as ext4 with -o dax,ro could not before Linux 4.14, no program starts.
    if (!(yield* padZero(this.mm, this.fileEnd + loadBias))) throw new FsError("EFAULT");
  }
}

/** Zeroes the rest of a page that a file's part ends in. Returns whether that could be done. */
function* padZero(mm: MmStruct, address: number): Task<boolean> {
  const offset = pageOffset(address);
  if (offset === 0) return true;
  const rest = PAGE_BYTES - offset;
  return (yield* copyToUser(mm, address, new Uint8Array(rest))) === rest;
}

/** Anonymous pages from the page behind `from` on up to `end`. */
function* mapZeroes(mm: MmStruct, from: number, end: number, isExecutable: boolean): Task<void> {
  const address = pageAlign(from);
  const lengthBytes = pageAlign(end) - address;
  if (lengthBytes <= 0) return;
  yield* mm.mmap({ address, lengthBytes, prot: PROT_READ | PROT_WRITE | (isExecutable ? PROT_EXEC : 0), flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED });
}

/** @param totalBytes of all segments, for the first: room for all is found together, and what is behind the first is given back. @returns where it is. */
function* mapSegment(mm: MmStruct, file: File, segment: ProgramHeader, wishedAddress: number, flags: number, totalBytes: number): Task<number> {
  const { p_vaddr: vaddr, p_offset: offset, p_filesz: fileBytes } = segment;
  const address = pageStart(wishedAddress);
  const lengthBytes = pageAlign(fileBytes + pageOffset(vaddr));
  if (lengthBytes === 0) return address;
  if (!(address >= 0 && address < ADDRESSES_END)) throw new FsError("ENOMEM");
  const whole = pageAlign(Math.max(totalBytes, lengthBytes));
  const at = yield* mm.mmap({ address, lengthBytes: whole, prot: protOf(segment), flags, file, offsetBytes: offset - pageOffset(vaddr) });
  if (whole > lengthBytes) yield* mm.munmap(at + lengthBytes, whole - lengthBytes);
  return at;
}

/** @throws FsError EINVAL or ENOMEM, as told: the segment goes on behind the last address. */
function checkExtent(address: number, { p_filesz: fileBytes, p_memsz: memoryBytes }: ProgramHeader, code: "EINVAL" | "ENOMEM"): void {
  if (address >= ADDRESSES_END || fileBytes > memoryBytes || memoryBytes > ADDRESSES_END || ADDRESSES_END - memoryBytes < address) throw new FsError(code);
}

/** From the first segment's page to the last one's end; 0: there is none. */
function totalMappingBytes(segments: readonly ProgramHeader[]): number {
  const loads = segments.filter(({ p_type: type }) => type === PT_LOAD);
  if (loads.length === 0) return 0;
  const start = Math.min(...loads.map(({ p_vaddr: vaddr }) => pageStart(vaddr)));
  return Math.max(...loads.map(({ p_vaddr: vaddr, p_memsz: memoryBytes }) => vaddr + memoryBytes)) - start;
}

/** The greatest alignment that is a power of two counts; the others are ignored. */
function alignedBase(segments: readonly ProgramHeader[]): number {
  const alignment = segments.reduce((most, { p_type: type, p_align: align }) => (type === PT_LOAD && align > most && align < ADDRESSES_END && Number.isInteger(Math.log2(align)) ? align : most), PAGE_BYTES);
  return ELF_ET_DYN_BASE - (ELF_ET_DYN_BASE % alignment);
}
