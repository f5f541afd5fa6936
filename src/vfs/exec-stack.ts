/**
 * The stack that a new program begins with, from the top: the path by which it was called, its environment and arguments; below, where the stack pointer is, argc, the pointers to both,
 * and the auxiliary vector. Source: fs/exec.c (copy_strings, bprm_stack_limits), fs/binfmt_elf.c (create_elf_tables), on x86-64 without randomization.
 */
import { FsError } from "../lib/errno.js";
import { viewOf } from "../lib/view.js";

export const STACK_TOP = 2 ** 47 - 4096;
/** RLIMIT_STACK: all of it is mapped at once, where Linux lets it grow. */
export const STACK_BYTES = 8 * 2 ** 20;

/** A single string, with its NUL, is no longer. */
const MAX_ARG_STRLEN = 131_072;
/** All strings and pointers together: a quarter of the stack. */
const ARGUMENTS_BYTES_MAX = STACK_BYTES / 4;
const POINTER_BYTES = 8;
const EM_X86_64 = 62;

export const AT_NULL = 0;
export const AT_PHDR = 3;
export const AT_PHENT = 4;
export const AT_PHNUM = 5;
export const AT_PAGESZ = 6;
export const AT_BASE = 7;
export const AT_FLAGS = 8;
export const AT_ENTRY = 9;
export const AT_UID = 11;
export const AT_EUID = 12;
export const AT_GID = 13;
export const AT_EGID = 14;
export const AT_PLATFORM = 15;
export const AT_HWCAP = 16;
export const AT_CLKTCK = 17;
export const AT_SECURE = 23;
export const AT_RANDOM = 25;
export const AT_EXECFN = 31;

/** @throws FsError E2BIG. */
export function checkArguments(strings: { readonly filename: Uint8Array; readonly argv: readonly Uint8Array[]; readonly envp: readonly Uint8Array[] }): void {
  const { filename, argv, envp } = strings;
  let bytesLeft = ARGUMENTS_BYTES_MAX - (Math.max(1, argv.length) + envp.length) * POINTER_BYTES;
  for (const string of [filename, ...envp, ...argv]) {
    const lengthBytes = string.length + 1;
    bytesLeft -= lengthBytes;
    if (lengthBytes > MAX_ARG_STRLEN || bytesLeft < 0) throw new FsError("E2BIG");
  }
}

export interface StackContents {
  readonly filename: Uint8Array;
  readonly argv: readonly Uint8Array[];
  readonly envp: readonly Uint8Array[];
  /** AT_RANDOM's 16 bytes. */
  readonly random: Uint8Array;
  readonly machine: number;
  /** All but those whose values are addresses on the stack. */
  readonly auxv: readonly (readonly [type: number, value: number])[];
}

export interface BuiltStack {
  readonly stackPointer: number;
  /** What stands from the stack pointer up to the top. */
  readonly bytes: Uint8Array;
}

export function buildStack({ filename, argv, envp, random, machine, auxv }: StackContents): BuiltStack {
  let at = STACK_TOP - POINTER_BYTES;
  const pieces: { readonly address: number; readonly bytes: Uint8Array }[] = [];
  const push = (bytes: Uint8Array): number => {
    at -= bytes.length;
    pieces.push({ address: at, bytes });
    return at;
  };
  const pushString = (string: Uint8Array): number => push(Uint8Array.of(...string, 0));
  const pushAll = (strings: readonly Uint8Array[]): number[] => [...strings].reverse().map(pushString).reverse();
  const execfn = pushString(filename);
  const environment = pushAll(envp);
  const argumentsAt = pushAll(argv);
  at -= at % 16;
  const platform = machine === EM_X86_64 ? pushString(ascii("x86_64")) : undefined;
  const randomAt = push(random);
  const vector = [...auxv, [AT_RANDOM, randomAt], [AT_EXECFN, execfn], ...(platform === undefined ? [] : [[AT_PLATFORM, platform]]), [AT_NULL, 0]].flat();
  const words = [argv.length, ...argumentsAt, 0, ...environment, 0, ...vector];
  const stackPointer = at - words.length * POINTER_BYTES - ((at - words.length * POINTER_BYTES) % 16);
  const bytes = new Uint8Array(STACK_TOP - stackPointer);
  const view = viewOf(bytes);
  words.forEach((word, index) => view.setBigUint64(index * POINTER_BYTES, BigInt(word), true));
  for (const { address, bytes: piece } of pieces) bytes.set(piece, address - stackPointer);
  return { stackPointer, bytes };
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}
