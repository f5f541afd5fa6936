/** What Linux tells with WARN_ON: the place, and how one got there. It goes to `fs.warnings`, and to who listens to the mount's events. */
import type { Ext4 } from "../ext4/super.js";
import { FsError } from "../lib/errno.js";
import { kernelTrace } from "./kernel-trace.js";

export class KernelWarning extends FsError {
  override name = "KernelWarning";

  /** @param trace functions of Linux, innermost first. */
  constructor(readonly functionName: string, readonly place: string, readonly trace: readonly string[]) {
    super("EIO", `WARNING: at ${place} ${functionName}\nCall Trace:\n${trace.map((name) => ` ${name}`).join("\n")}`);
  }
}

const STACK_FRAMES = 60;

export function warn(fs: Ext4, functionName: string, place: string): void {
  const limits = Error as { stackTraceLimit?: number };
  const { stackTraceLimit: limit } = limits;
  limits.stackTraceLimit = STACK_FRAMES;
  const { stack } = new Error();
  if (limit !== undefined) limits.stackTraceLimit = limit;
  const warning = new KernelWarning(functionName, place, kernelTrace(stack ?? ""));
  fs.warnings.push(warning);
  fs.events?.listener?.("WARNING", { function: functionName, place, trace: warning.trace });
}
