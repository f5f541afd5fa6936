/**
 * ELF64, little-endian, as a kernel reads it: the header and the program headers. What is not sane is refused here; sizes and places are judged by whoever maps them.
 * Source: include/uapi/linux/elf.h, fs/binfmt_elf.c (load_elf_binary, load_elf_phdrs).
 */
import { array, hole, layout, le16, le32, le64, u8, viewOf } from "../format/layout.js";
import { PROT_EXEC, PROT_READ, PROT_WRITE } from "../mm/constants.js";

export const ET_EXEC = 2;
export const ET_DYN = 3;
export const PT_LOAD = 1;
export const PT_INTERP = 3;
export const PT_GNU_STACK = 0x6474_e551;
export const PF_X = 1;
const PF_W = 2;
const PF_R = 4;

const MAGIC = [0x7f, 0x45, 0x4c, 0x46];
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const EM_NONE = 0;
/** Program headers of more bytes are not loaded (ELF_MIN_ALIGN). */
const PROGRAM_HEADERS_BYTES_MAX = 4096;

export const elf64_hdr = layout("elf64_hdr", 64, {
  ei_mag: array(u8, 0, 4),
  ei_class: u8(4),
  ei_data: u8(5),
  ei_pad: hole(6, 10),
  e_type: le16(16),
  e_machine: le16(18),
  e_version: le32(20),
  e_entry: le64(24),
  e_phoff: le64(32),
  e_shoff: le64(40),
  e_flags: le32(48),
  e_ehsize: le16(52),
  e_phentsize: le16(54),
  e_phnum: le16(56),
  e_shentsize: le16(58),
  e_shnum: le16(60),
  e_shstrndx: le16(62),
});

export const elf64_phdr = layout("elf64_phdr", 56, {
  p_type: le32(0),
  p_flags: le32(4),
  p_offset: le64(8),
  p_vaddr: le64(16),
  p_paddr: le64(24),
  p_filesz: le64(32),
  p_memsz: le64(40),
  p_align: le64(48),
});

export interface ElfHeader {
  readonly e_type: number;
  readonly e_machine: number;
  readonly e_entry: number;
  readonly e_phoff: number;
  readonly e_phnum: number;
}

export interface ProgramHeader {
  readonly p_type: number;
  readonly p_flags: number;
  readonly p_offset: number;
  readonly p_vaddr: number;
  readonly p_filesz: number;
  readonly p_memsz: number;
  readonly p_align: number;
}

/** @param machine e_machine of what can run; undefined: any. @returns undefined: it is no program for such a machine, or has no sane program headers. */
export function decodeHeader(bytes: Uint8Array, machine: number | undefined): ElfHeader | undefined {
  if (bytes.length < elf64_hdr.$.size) return undefined;
  const view = viewOf(bytes);
  const field = (name: "ei_class" | "ei_data" | "e_type" | "e_machine" | "e_entry" | "e_phoff" | "e_phentsize" | "e_phnum"): number => elf64_hdr[name].get(view, 0);
  if (MAGIC.some((byte, index) => elf64_hdr.ei_mag.get(view, 0, index) !== byte)) return undefined;
  if (field("ei_class") !== ELFCLASS64 || field("ei_data") !== ELFDATA2LSB) return undefined;
  const [e_type, e_machine, e_phnum] = [field("e_type"), field("e_machine"), field("e_phnum")];
  if (e_type !== ET_EXEC && e_type !== ET_DYN) return undefined;
  if (machine === undefined ? e_machine === EM_NONE : e_machine !== machine) return undefined;
  if (field("e_phentsize") !== elf64_phdr.$.size || e_phnum === 0 || e_phnum * elf64_phdr.$.size > PROGRAM_HEADERS_BYTES_MAX) return undefined;
  return { e_type, e_machine, e_entry: field("e_entry"), e_phoff: field("e_phoff"), e_phnum };
}

export function programHeadersBytes({ e_phnum }: ElfHeader): number {
  return e_phnum * elf64_phdr.$.size;
}

export function decodeProgramHeaders(bytes: Uint8Array): ProgramHeader[] {
  const view = viewOf(bytes);
  return Array.from({ length: bytes.length / elf64_phdr.$.size }, (_, index) => {
    const at = index * elf64_phdr.$.size;
    return {
      p_type: elf64_phdr.p_type.get(view, at), p_flags: elf64_phdr.p_flags.get(view, at), p_offset: elf64_phdr.p_offset.get(view, at), p_vaddr: elf64_phdr.p_vaddr.get(view, at),
      p_filesz: elf64_phdr.p_filesz.get(view, at), p_memsz: elf64_phdr.p_memsz.get(view, at), p_align: elf64_phdr.p_align.get(view, at),
    };
  });
}

export function protOf({ p_flags: flags }: ProgramHeader): number {
  return ((flags & PF_R) !== 0 ? PROT_READ : 0) | ((flags & PF_W) !== 0 ? PROT_WRITE : 0) | ((flags & PF_X) !== 0 ? PROT_EXEC : 0);
}
