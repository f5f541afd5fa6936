/** ELF files made by hand, for what no compiler makes. */
import { elf64_hdr, elf64_phdr, ET_EXEC, PT_LOAD, type ProgramHeader } from "../../src/vfs/elf.js";

export const PF_X = 1;
export const PF_W = 2;
export const PF_R = 4;
const PAGE_BYTES = 4096;

export interface ElfPlan {
  readonly type?: number;
  readonly entry?: number;
  readonly machine?: number;
  readonly segments: readonly (Partial<ProgramHeader> & { readonly data?: Uint8Array })[];
}

/** Header and program headers in the first page; each segment's data in pages of its own, at the offset in the page that its address has. */
export function buildElf({ type = ET_EXEC, entry = 0x40_1000, machine = 62, segments }: ElfPlan): Uint8Array {
  let end = PAGE_BYTES;
  const placed = segments.map((segment) => {
    const vaddr = segment.p_vaddr ?? 0;
    const offset = segment.p_offset ?? end + (vaddr % PAGE_BYTES);
    if (segment.p_offset === undefined && segment.data !== undefined) end = Math.ceil((offset + segment.data.length) / PAGE_BYTES) * PAGE_BYTES;
    return { segment, offset, vaddr };
  });
  const bytes = new Uint8Array(end);
  const view = new DataView(bytes.buffer);
  [0x7f, 0x45, 0x4c, 0x46].forEach((byte, index) => elf64_hdr.ei_mag.set(view, 0, index, byte));
  const header: Partial<Record<"ei_class" | "ei_data" | "e_type" | "e_machine" | "e_version" | "e_entry" | "e_phoff" | "e_ehsize" | "e_phentsize" | "e_phnum", number>> = {
    ei_class: 2, ei_data: 1, e_type: type, e_machine: machine, e_version: 1, e_entry: entry, e_phoff: 64, e_ehsize: 64, e_phentsize: elf64_phdr.$.size, e_phnum: segments.length,
  };
  for (const [name, value] of Object.entries(header)) elf64_hdr[name as "e_type"].set(view, 0, value);
  placed.forEach(({ segment: { data, ...given }, offset, vaddr }, index) => {
    const fields: ProgramHeader = { p_type: PT_LOAD, p_flags: PF_R, p_filesz: data?.length ?? 0, p_memsz: data?.length ?? 0, p_align: PAGE_BYTES, ...given, p_offset: offset, p_vaddr: vaddr };
    for (const [name, value] of Object.entries(fields)) elf64_phdr[name as keyof ProgramHeader].set(view, 64 + index * elf64_phdr.$.size, value);
    if (data !== undefined) bytes.set(data, offset);
  });
  return bytes;
}

export const filled = (lengthBytes: number, byte: number): Uint8Array => new Uint8Array(lengthBytes).fill(byte);

/** Text, and data that ends in the middle of a page with more behind it in memory. */
export function plainElf(): Uint8Array {
  return buildElf({
    segments: [
      { p_vaddr: 0x40_0000, p_offset: 0, p_filesz: PAGE_BYTES, p_memsz: PAGE_BYTES, p_flags: PF_R },
      { p_vaddr: 0x40_1000, p_flags: PF_R | PF_X, data: filled(5000, 0x90) },
      { p_vaddr: 0x40_4100, p_flags: PF_R | PF_W, data: filled(5000, 0xdd), p_memsz: 40_000 },
    ],
  });
}
