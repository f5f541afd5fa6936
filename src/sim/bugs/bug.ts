/** A bug that is planted, or a kernel's old way: what the lab must find in its scenario within its budget, and what the engine as it ships must not show there. */
import type { Strategy } from "../../ext4/strategy.js";

export interface PlantedBug {
  /** As `--strategy` knows it: "missing-revoke". */
  readonly name: string;
  /** What is wrong, in a sentence. */
  readonly description: string;
  /** Where the kernel had it, or what taught it: "59bf4fb9d386, Linux 4.5". */
  readonly source?: string;
  readonly strategy: Partial<Strategy>;
  /** The scenario in which it shows. */
  readonly scenario: string;
  /** Runs within which it is found. */
  readonly budgetRuns: number;
}
