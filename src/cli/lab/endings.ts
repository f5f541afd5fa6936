/** What the lab ends with, and how it is asked to end. */
import { constants } from "node:os";
import type { Output } from "../output.js";

export const EXIT_FOUND = 1;
/** Wrong usage, or a fault of the lab's own: 1 means that a failure was found. */
export const EXIT_FAULT = 2;

export const exitCodeOf = (signal: NodeJS.Signals): number => 128 + constants.signals[signal];

/** SIGINT and SIGTERM. The first lets the lab end with what it has, the second ends it at once. */
export class Interruption {
  /** Of the first. */
  exitCode: number | undefined;

  constructor(out: Output, stop: () => void) {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        if (this.exitCode !== undefined) {
          out.clearProgress();
          process.exit(exitCodeOf(signal));
        }
        this.exitCode = exitCodeOf(signal);
        stop();
      });
    }
  }
}
