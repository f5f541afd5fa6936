/** What the kernel of 2017 did, in the two stories that the lab is for. */
import { STRATEGIES } from "../strategies.js";
import type { PlantedBug } from "./bug.js";

export const HISTORY_BUGS: readonly PlantedBug[] = [
  {
    name: "linux-4.13",
    description: "chattr -j makes a DAX file of one whose pages are dirty in the page cache, and nobody takes them away",
    source: "the report of September 2017; e9072d859df3, Linux 4.15",
    strategy: STRATEGIES["linux-4.13"],
    scenario: "history/journal-switch",
    budgetRuns: 60,
  },
  {
    name: "linux-4.13",
    description: "a write fault that ends in a private copy asks the journal of a read-only mount, and the program is killed",
    source: "fd96b8da68d3, Linux 4.14",
    strategy: STRATEGIES["linux-4.13"],
    scenario: "history/dax-ro-exec",
    budgetRuns: 10,
  },
];
