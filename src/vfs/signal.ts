/** Signals that memory sends: what a load or store ends in when its fault cannot be served. Source: include/uapi/asm-generic/siginfo.h, signal(7), arch/x86/mm/fault.c (do_user_addr_fault, do_sigbus). */
import { VmFault } from "../lib/vm-fault.js";
import type { FailedAccess } from "../mm/access.js";

export const SIGBUS = 7;
export const SIGKILL = 9;
export const SIGSEGV = 11;

/** si_code of SIGSEGV: nothing is mapped there; the access is not allowed there. */
export const SEGV_MAPERR = 1;
export const SEGV_ACCERR = 2;
/** si_code of SIGBUS: there is no such place in the file; memory is broken, and the access met it. */
export const BUS_ADRERR = 2;
export const BUS_MCEERR_AR = 4;
/** Sent by the kernel, without a place. */
export const SI_KERNEL = 0x80;

const NAMES: Readonly<Record<number, string>> = { [SIGBUS]: "SIGBUS", [SIGKILL]: "SIGKILL", [SIGSEGV]: "SIGSEGV" };

/** What a process gets instead of a result. Not an FsError: no system call returns it. */
export class Signal extends Error {
  override name = "Signal";

  constructor(readonly signo: number, readonly si_code: number, readonly si_addr: number) {
    super(`${NAMES[signo] ?? `signal ${signo}`}, si_code ${si_code}, at 0x${si_addr.toString(16)}`);
  }
}

export function signalOf({ code, address, isMapped }: FailedAccess): Signal {
  if ((code & (VmFault.HWPOISON | VmFault.HWPOISON_LARGE)) !== 0) return new Signal(SIGBUS, BUS_MCEERR_AR, address);
  if ((code & VmFault.SIGBUS) !== 0) return new Signal(SIGBUS, BUS_ADRERR, address);
  if ((code & VmFault.OOM) !== 0) return new Signal(SIGKILL, SI_KERNEL, 0);
  return new Signal(SIGSEGV, isMapped ? SEGV_ACCERR : SEGV_MAPERR, address);
}
