/** lab: looks into the engine. locks runs a workload in memory and draws in which order locks were taken. */
import { writeFileSync } from "node:fs";
import { lockRanks } from "../../sched/lock-classes.js";
import { observedOrder, resetLockdep } from "../../sched/lockdep.js";
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { drawOrder, reasonsFor } from "../lab/order-drawing.js";
import { runLockWorkload } from "../lab/workload.js";

export interface LabOptions {
  /** The file that gets what would go to standard output. */
  readonly output?: string;
}

export const LAB_ACTIONS = ["locks"];

/** @throws UsageError; Error of the host. LockOrderError: the order is broken. */
export function lab(action: string, options: LabOptions, out: Output): void {
  if (!LAB_ACTIONS.includes(action)) throw new UsageError(`'${action}' is not one of ${LAB_ACTIONS.join(", ")}`);
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
