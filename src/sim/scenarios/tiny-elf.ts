/** A program of two segments, made by hand: text, and data that ends within a page with .bss behind it. */
import { elf64_hdr, elf64_phdr, ET_EXEC, PF_X, PT_LOAD } from "../../vfs/elf.js";

const PAGE = 4096;
const [PF_R, PF_W] = [4, 2];
const [ELFCLASS64, ELFDATA2LSB, EV_CURRENT, EM_X86_64] = [2, 1, 1, 62];

export const ELF_TEXT = 0x40_0000;
export const ELF_DATA = 0x40_1000;
/** In the last page of the data: the kernel zeroes from here on, as the file has something else there. */
export const ELF_BSS = ELF_DATA + 600;
/** What each byte of the data is, and what stands behind it in the file. */
export const [ELF_DATA_BYTE, ELF_BEHIND_BYTE] = [0xdd, 0xee];

export function tinyElf(): Uint8Array {
  const bytes = new Uint8Array(2 * PAGE).fill(ELF_BEHIND_BYTE, PAGE).fill(ELF_DATA_BYTE, PAGE, PAGE + (ELF_BSS - ELF_DATA));
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, ELFCLASS64, ELFDATA2LSB]);
  const header = { e_type: ET_EXEC, e_machine: EM_X86_64, e_version: EV_CURRENT, e_entry: ELF_TEXT, e_phoff: 64, e_ehsize: 64, e_phentsize: elf64_phdr.$.size, e_phnum: 2 };
  for (const [name, value] of Object.entries(header)) elf64_hdr[name as keyof typeof header].set(view, 0, value);
  const segments = [
    { p_type: PT_LOAD, p_flags: PF_R | PF_X, p_offset: 0, p_vaddr: ELF_TEXT, p_filesz: PAGE, p_memsz: PAGE, p_align: PAGE },
    { p_type: PT_LOAD, p_flags: PF_R | PF_W, p_offset: PAGE, p_vaddr: ELF_DATA, p_filesz: ELF_BSS - ELF_DATA, p_memsz: 2 * PAGE, p_align: PAGE },
  ];
  segments.forEach((segment, index) => {
    for (const [name, value] of Object.entries(segment)) elf64_phdr[name as keyof typeof segment].set(view, 64 + index * elf64_phdr.$.size, value);
  });
  return bytes;
}
