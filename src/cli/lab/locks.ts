/** lab locks: runs a workload in memory and draws in which order locks were taken. */
import { writeFileSync } from "node:fs";
import { lockRanks } from "../../sched/lock-classes.js";
import { observedOrder, resetLockdep } from "../../sched/lockdep.js";
import type { Output } from "../output.js";
import { drawOrder, reasonsFor } from "./order-drawing.js";
import { runLockWorkload } from "./workload.js";

export interface LocksOptions {
  /** The file that gets what would go to standard output. */
  readonly output?: string;
}

/** @throws Error of the host. LockOrderError: the order is broken. */
export function labLocks(options: LocksOptions, out: Output): void {
  resetLockdep();
  runLockWorkload();
  const edges = observedOrder();
  const text = out.isJson
    ? `${JSON.stringify({
        classes: [...lockRanks()].map(([{ name }, rank]) => ({ name, rank })),
        edges: edges.map((edge) => ({ from: edge.from.name, to: edge.to.name, why: reasonsFor(edge), fromStack: linesOf(edge.fromStack), toStack: linesOf(edge.toStack) })),
      })}\n`
    : drawOrder(edges);
  if (options.output === undefined) out.write(text);
  else writeFileSync(options.output, text);
}

const linesOf = (stack: string): string[] => stack.split("\n").map((line) => line.trim().replace(/^at /, ""));
