/** What a fault handler answers, and what it is asked, under Linux's names and with its bits. Source: enum vm_fault_reason, enum fault_flag (include/linux/mm_types.h). */
const VM_FAULT_OOM = 0x1;
const VM_FAULT_SIGBUS = 0x2;
const VM_FAULT_HWPOISON = 0x10;
const VM_FAULT_HWPOISON_LARGE = 0x20;
const VM_FAULT_SIGSEGV = 0x40;
const VM_FAULT_FALLBACK = 0x800;

export const VmFault = {
  OOM: VM_FAULT_OOM,
  SIGBUS: VM_FAULT_SIGBUS,
  /** Accounting only: blocks were read or allocated. */
  MAJOR: 0x4,
  HWPOISON: VM_FAULT_HWPOISON,
  HWPOISON_LARGE: VM_FAULT_HWPOISON_LARGE,
  SIGSEGV: VM_FAULT_SIGSEGV,
  /** The handler made the entry itself, or asks for the access to be tried again. */
  NOPAGE: 0x100,
  LOCKED: 0x200,
  RETRY: 0x400,
  /** The handler declines this size: a smaller one is tried. */
  FALLBACK: VM_FAULT_FALLBACK,
  /** The handler copied into cow_page and mapped it. */
  DONE_COW: 0x1000,
  /** The block is there, but the entry must not be writable before the metadata is durable. */
  NEEDDSYNC: 0x2000,
  COMPLETED: 0x4000,
  /** All that is no success. FALLBACK is among them. */
  ERROR: VM_FAULT_OOM | VM_FAULT_SIGBUS | VM_FAULT_SIGSEGV | VM_FAULT_HWPOISON | VM_FAULT_HWPOISON_LARGE | VM_FAULT_FALLBACK,
} as const;

export const FaultFlag = { WRITE: 0x1, MKWRITE: 0x2, USER: 0x40, REMOTE: 0x80, INSTRUCTION: 0x100 } as const;

/** The sizes of a mapping, as powers of two of pages. */
export const PTE_ORDER = 0;
export const PMD_ORDER = 9;
export const PUD_ORDER = 18;
export type Order = typeof PTE_ORDER | typeof PMD_ORDER | typeof PUD_ORDER;
