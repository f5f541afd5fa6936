/**
 * Decisions of the engine that the lab may take otherwise: as an older kernel took them, or wrongly on purpose. What ships is DEFAULT_STRATEGY; the others live in sim/ and in tests.
 */
import type { Fault } from "../mm/vma.js";

export interface Strategy {
  /**
   * Whether a fault of a DAX file will change the file: then it takes freeze protection, needs a journal, and stamps the file's times. Linux up to 4.13 looked at FAULT_FLAG_WRITE alone,
   * and so killed every program that it executed from a read-only mount (commit fd96b8da68d3).
   */
  isFileWrite(fault: Fault): boolean;
}

export const DEFAULT_STRATEGY: Strategy = {
  isFileWrite: (fault) => fault.isFileWrite,
};
