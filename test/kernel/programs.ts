/**
 * What the programs of the recorder's guest do (tools/kernel-recorder/guest/elf.c). No instruction runs here: execve loads the program, and the accesses that the trace shows are made in their order.
 * They must find what the program would find.
 */
import { FsError } from "../../src/lib/errno.js";
import type { Task } from "../../src/sched/task.js";
import type { Process } from "../../src/vfs/process.js";
import { Signal } from "../../src/vfs/signal.js";
import type { TracedFault } from "./traces.js";

const EXIT_CODES: Readonly<Record<string, number>> = { EACCES: 113, ETXTBSY: 126, ENOEXEC: 108, EIO: 105 };
const SUCCESS = 42;

/** Runs a program in a child. @param faults those that Linux had: the first is the kernel's own. */
export function* runProgram(parent: Process, path: string, argument: string | undefined, faults: readonly TracedFault[]): Task<Record<string, unknown>> {
  const child = yield* parent.fork();
  try {
    const { entry } = yield* child.execve(path, argument === undefined ? [path] : [path, argument]);
    for (const { addr, flags } of faults.slice(1)) yield* access(child, Number(addr), flags, entry);
    yield* child.exit(SUCCESS);
    return { exit: SUCCESS, stdout: "ran\n" };
  } catch (error) {
    if (error instanceof FsError) {
      yield* child.exit(EXIT_CODES[error.code] ?? 127);
      return { exit: EXIT_CODES[error.code] ?? 127 };
    }
    if (!(error instanceof Signal)) throw error;
    yield* child.kill(error);
    return { killed: error.signo === 7 ? "SIGBUS" : "SIGSEGV" };
  }
}

function* access(child: Process, address: number, flags: string, entry: number): Task<void> {
  // The first instruction stands in the page that is fetched first.
  if (flags === "EXEC") yield* child.fetch(address === entry - (entry % 4096) ? entry : address);
  else if (flags === "WRITE") yield* child.store(address, 77);
  else yield* child.load(address);
}
