/**
 * execve: a program out of a file takes the place of a process's memory. Until the old memory goes every failure is an error code and nothing has happened; behind that point there is nothing left
 * to return to, and a failure kills with SIGSEGV. Source: fs/exec.c (do_execveat_common, bprm_execve, begin_new_exec), fs/binfmt_elf.c (load_elf_binary), fs/binfmt_script.c, of Linux 6.1.
 */
import { FsError } from "../lib/errno.js";
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_EXEC, PROT_READ, PROT_WRITE } from "../mm/constants.js";
import { PAGE_BYTES } from "../mm/memory.js";
import { MmStruct } from "../mm/mm-struct.js";
import type { Task } from "../sched/task.js";
import { decodeHeader, decodeProgramHeaders, PF_X, PT_GNU_STACK, PT_INTERP, programHeadersBytes, elf64_phdr, type ElfHeader, type ProgramHeader } from "./elf.js";
import { loadInterpreter, loadProgram } from "./exec-load.js";
import { BINPRM_BUF_SIZE, decodeScript, isScript } from "./exec-script.js";
import {
  AT_BASE, AT_CLKTCK, AT_EGID, AT_ENTRY, AT_EUID, AT_FLAGS, AT_GID, AT_HWCAP, AT_PAGESZ, AT_PHDR, AT_PHENT, AT_PHNUM, AT_SECURE, AT_UID, buildStack, checkArguments, STACK_BYTES, STACK_TOP,
} from "./exec-stack.js";
import { File } from "./file.js";
import { O_RDONLY } from "./flags.js";
import { S_ISGID, S_ISUID, S_IXGRP } from "./inode.js";
import { withReadLock } from "./inode-lock.js";
import { allowWriteAccess, denyWriteAccess } from "./mount.js";
import { pathLookup } from "./namei.js";
import type { Walker } from "./open.js";
import { checkPermission, MAY_EXEC, type Credentials } from "./permission.js";
import { pathOf, type Path } from "./process-files.js";
import type { Process } from "./process.js";
import { SI_KERNEL, Signal, SIGSEGV } from "./signal.js";
import { copyToUser } from "./user-memory.js";

/** What a program begins with. */
export interface ExecResult {
  /** The first instruction: the interpreter's, if there is one. */
  readonly entry: number;
  readonly stackPointer: number;
  readonly mm: MmStruct;
}

/** A script's interpreter may be a script, and so on, so often. */
const SCRIPTS_MAX = 5;
/** A path in PT_INTERP, with its NUL. */
const INTERP_BYTES_MIN = 2;
const PATH_MAX = 4096;
const CLOCK_TICKS = 100;

/** What is executed, as far as it is known: struct linux_binprm. */
interface Program {
  readonly file: File;
  readonly argv: readonly Uint8Array[];
  readonly head: Uint8Array;
}

interface Elf {
  readonly file: File;
  readonly header: ElfHeader;
  readonly segments: readonly ProgramHeader[];
}

export function* execve(process: Process, walker: Walker, path: Path, argv: readonly Path[], envp: readonly Path[]): Task<ExecResult> {
  const filename = pathOf(path);
  // A program may rely on its first argument, so there is one.
  const given = argv.length === 0 ? [new Uint8Array(0)] : argv.map(pathOf);
  const environment = envp.map(pathOf);
  checkArguments({ filename, argv: given, envp: environment });
  const program = yield* findProgram(walker, filename, given);
  try {
    checkArguments({ filename, argv: program.argv, envp: environment });
    return yield* execProgram(process, walker, program, filename, environment);
  } finally {
    yield* closeExecuted(program.file);
  }
}

/** Opens a file to be executed: nobody may write it from now on. @throws FsError EACCES, ETXTBSY; of the path, ENOENT … */
function* openExec(walker: Walker, path: Uint8Array): Task<File> {
  const { mnt, cred } = walker;
  const dentry = yield* pathLookup(mnt.mnt_root, walker.base, path, { followLast: true, cred, held: walker.held });
  const { d_inode: inode } = dentry;
  if (!inode.isRegular() || mnt.flags.isNoExec === true) throw new FsError("EACCES");
  yield* checkPermission(inode, cred, MAY_EXEC);
  const file = new File(dentry, mnt, O_RDONLY, cred);
  try {
    denyWriteAccess(inode);
  } catch (error) {
    yield* file.put();
    throw error;
  }
  return file;
}

function* closeExecuted(file: File): Task<void> {
  allowWriteAccess(file.f_inode);
  yield* file.put();
}

/** Follows scripts to what executes them. */
function* findProgram(walker: Walker, path: Uint8Array, argv: readonly Uint8Array[]): Task<Program> {
  let interpreter = path;
  let rest = argv;
  for (let depth = 0; ; depth++) {
    const file = yield* openExec(walker, interpreter);
    try {
      if (depth > SCRIPTS_MAX) throw new FsError("ELOOP");
      const head = new Uint8Array(BINPRM_BUF_SIZE);
      yield* readFile(file, 0, head);
      if (!isScript(head)) return { file, argv: rest, head };
      const script = decodeScript(head);
      if (script === undefined) throw new FsError("ENOEXEC");
      // The script's own path takes the place of what it was called by.
      rest = [script.interpreter, ...(script.argument === undefined ? [] : [script.argument]), interpreter, ...rest.slice(1)];
      interpreter = script.interpreter;
    } catch (error) {
      yield* closeExecuted(file);
      throw error;
    }
    yield* closeExecuted(file);
  }
}

/** As far as the file goes; who may execute need not be allowed to read. */
function* readFile(file: File, offsetBytes: number, into: Uint8Array): Task<number> {
  const { f_inode: inode } = file;
  return offsetBytes > inode.maxBytes ? 0 : yield* withReadLock(inode, () => inode.read(offsetBytes, into));
}

function* readElf(file: File, head: Uint8Array, machine: number | undefined): Task<Elf | undefined> {
  const header = decodeHeader(head, machine);
  if (header === undefined) return undefined;
  const bytes = new Uint8Array(programHeadersBytes(header));
  if ((yield* readFile(file, header.e_phoff, bytes)) < bytes.length) return undefined;
  return { file, header, segments: decodeProgramHeaders(bytes) };
}

function* execProgram(process: Process, walker: Walker, { file, argv, head }: Program, filename: Uint8Array, envp: readonly Uint8Array[]): Task<ExecResult> {
  const elf = yield* readElf(file, head, process.kernel.machine);
  if (elf === undefined) throw new FsError("ENOEXEC");
  const interpreter = yield* openInterpreter(walker, elf, process.kernel.machine);
  try {
    try {
      yield* beginNewExec(process, elf);
      return yield* load(process, elf, interpreter, { filename, argv, envp });
    } catch (error) {
      if (!(error instanceof FsError) && !(error instanceof Signal)) throw error;
      const signal = error instanceof Signal ? error : new Signal(SIGSEGV, SI_KERNEL, 0);
      yield* process.kill(signal);
      throw signal;
    }
  } finally {
    if (interpreter !== undefined) yield* closeExecuted(interpreter.file);
  }
}

/** What PT_INTERP names. @throws FsError ENOEXEC the name is no name; ENOENT, EACCES …; EIO it is shorter than a header; ELIBBAD it is no program. */
function* openInterpreter(walker: Walker, { file, segments }: Elf, machine: number | undefined): Task<Elf | undefined> {
  const segment = segments.find(({ p_type: type }) => type === PT_INTERP);
  if (segment === undefined) return undefined;
  const { p_filesz: lengthBytes, p_offset: offsetBytes } = segment;
  if (lengthBytes > PATH_MAX || lengthBytes < INTERP_BYTES_MIN) throw new FsError("ENOEXEC");
  const name = new Uint8Array(lengthBytes);
  if ((yield* readFile(file, offsetBytes, name)) < name.length) throw new FsError("EIO");
  if (name[name.length - 1] !== 0) throw new FsError("ENOEXEC");
  const interpreter = yield* openExec(walker, name.subarray(0, name.indexOf(0)));
  try {
    const head = new Uint8Array(BINPRM_BUF_SIZE);
    if ((yield* readFile(interpreter, 0, head)) < HEADER_BYTES) throw new FsError("EIO");
    const elf = yield* readElf(interpreter, head, machine);
    if (elf === undefined) throw new FsError("ELIBBAD");
    return elf;
  } catch (error) {
    yield* closeExecuted(interpreter);
    throw error;
  }
}

const HEADER_BYTES = 64;

/** The point of no return: the old memory goes, and with it whatever the old program was. */
function* beginNewExec(process: Process, { file }: Elf): Task<void> {
  const before = process.mm;
  const mm = new MmStruct(process.kernel.events);
  process.mm = mm;
  yield* process.dropExeFile();
  process.setExeFile(file);
  yield* before.release();
  yield* process.descriptors.closeOnExec();
}

function* load(process: Process, elf: Elf, interpreter: Elf | undefined, strings: { readonly filename: Uint8Array; readonly argv: readonly Uint8Array[]; readonly envp: readonly Uint8Array[] }): Task<ExecResult> {
  const { mm } = process;
  yield* mapStack(mm, elf.segments);
  const { loadBias, phdrAddress } = yield* loadProgram(mm, elf);
  const base = interpreter === undefined ? 0 : yield* loadInterpreter(mm, interpreter);
  const ownEntry = elf.header.e_entry + loadBias;
  const entry = interpreter === undefined ? ownEntry : base + interpreter.header.e_entry;
  if (entry >= STACK_TOP) throw new FsError("EINVAL");
  const before = process.cred;
  const cred = process.cred = credentialsFor(elf.file, before);
  const isSecure = cred.uid !== before.uid || cred.gid !== before.gid;
  const { stackPointer, bytes } = buildStack({
    ...strings, machine: elf.header.e_machine, random: randomBytes(process.kernel.random),
    auxv: [
      [AT_HWCAP, 0], [AT_PAGESZ, PAGE_BYTES], [AT_CLKTCK, CLOCK_TICKS], [AT_PHDR, phdrAddress], [AT_PHENT, elf64_phdr.$.size], [AT_PHNUM, elf.header.e_phnum], [AT_BASE, base], [AT_FLAGS, 0],
      [AT_ENTRY, ownEntry], [AT_UID, before.uid], [AT_EUID, cred.uid], [AT_GID, before.gid], [AT_EGID, cred.gid], [AT_SECURE, isSecure ? 1 : 0],
    ],
  });
  if ((yield* copyToUser(mm, stackPointer, bytes)) < bytes.length) throw new FsError("EFAULT");
  return { entry, stackPointer, mm };
}

function* mapStack(mm: MmStruct, segments: readonly ProgramHeader[]): Task<void> {
  const isExecutable = segments.some(({ p_type: type, p_flags: flags }) => type === PT_GNU_STACK && (flags & PF_X) !== 0);
  const prot = PROT_READ | PROT_WRITE | (isExecutable ? PROT_EXEC : 0);
  yield* mm.mmap({ address: STACK_TOP - STACK_BYTES, lengthBytes: STACK_BYTES, prot, flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED });
}

/** A set-id program runs as its owner, or as its group. Source: bprm_fill_uid. */
function credentialsFor({ f_inode: { i_mode: mode, i_uid: uid, i_gid: gid }, f_mnt }: File, cred: Credentials): Credentials {
  if (f_mnt.flags.isNoSuid === true) return cred;
  const setGroup = S_ISGID | S_IXGRP;
  return { ...cred, uid: (mode & S_ISUID) !== 0 ? uid : cred.uid, gid: (mode & setGroup) === setGroup ? gid : cred.gid };
}

function randomBytes(random: () => number): Uint8Array {
  return new Uint8Array(Uint32Array.from({ length: 4 }, random).buffer);
}
