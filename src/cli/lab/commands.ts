/** The lab's verbs. What they need is loaded when one of them is called: no other verb waits for it. */
import type { Command } from "commander";
import { FsError } from "../../lib/errno.js";
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { finish, type Session } from "../session.js";
import type { MakeVerb } from "../write-verbs.js";
import { EXIT_FAULT } from "./endings.js";
import type { LocksOptions } from "./locks.js";
import type { RunOptions } from "./options.js";
import type { ReplayOptions } from "./replay.js";

const EXIT_CODES = `Exit codes: 0 nothing was found within the budget; 1 a failure was found; 2 wrong usage, or a fault of the lab's own;
130 interrupted (143 by SIGTERM): what was looked at so far is told, and a second Ctrl-C ends it at once.`;

export function registerLab(verb: MakeVerb, session: Session): void {
  const lab = verb("lab", "run the engine through its interleavings and power cuts", `  ext4 lab list                                     what can be run
  ext4 lab run engine/rename-unlink                 looks for a failure within the budget
  ext4 lab run history/journal-switch --strategy linux-4.13
  ext4 lab replay 'history/journal-switch:linux-4.13:zc.1'
  ext4 lab locks > locks.svg                        in which order locks are taken`);
  const action = (name: string, description: string, examples: string, ending = `\n\n${EXIT_CODES}`): Command =>
    lab.command(name).description(description).helpOption("--help", "show this help").addHelpText("after", `\nExamples:\n${examples}${ending}`).exitOverride();

  action("run", "explore scenarios within a budget: tell what was looked at, and the shortest failing story that was found", `  ext4 lab run engine/rename-unlink
  ext4 lab run 'engine/*' --runs 1000
  ext4 lab run history/journal-switch --strategy linux-4.13 --html story.html
  ext4 lab run my-scenario.mjs --seconds 60         a file that exports scenarios (docs/lab.md)
  ext4 --json lab run all                           one JSON object for each scenario`)
    .argument("<name>", "a scenario, all that begin so ('engine/*'), all of them (all), or a file that exports scenarios")
    .option("--strategy <name>", "a planted bug or an old kernel's way, in place of the engine as it ships", "default")
    .option("--runs <n>", "so many runs in all (default 200)").option("--seconds <n>", "so long at most; without --runs, as many runs as that allows; shrinking may take as long again")
    .option("--grace <n>", "seconds that a run under way may go on when the time is up", "10")
    .option("--explorer <name>", "auto, depth-first, pct or random", "auto").option("--preemptions <n>", "of depth-first search: a bound, or none (default: first 1, then 2)")
    .option("--seed <n>", "of pct and random (default 1)").option("--crash-states <n>", "states that are looked at for each moment of a power cut (default 24)")
    .option("--workers <n>", "threads (default: one for each core); the verdict is the same for any number")
    .option("--no-shrink", "tell the failing run as it was found").option("--fsck", "show one image in 32 to e2fsck, too")
    .option("--html <file>", "write the story there as a page, too").option("--story", "with --json: the story in the record")
    .action((name: string, options: RunOptions) => attempt(session.output("lab"), async (out) => (await import("./run.js")).labRun(name, options, out)));

  action("list", "show all scenarios, planted bugs and strategies, with what was measured of them", "  ext4 lab list\n  ext4 --json lab list", "")
    .action(() => attempt(session.output("lab"), async (out) => (await import("./list.js")).labList(out)));

  const REPLAY_CODES = "\n\nExit codes: 0 it passes; 1 it fails; 2 the string does not fit, wrong usage, or a fault of the lab's own.";
  action("replay", "run again what a string says, and tell the story", `  ext4 lab replay 'history/journal-switch:linux-4.13:zc.1'
  ext4 lab replay --file my-scenario.mjs 'mine/rename:default:z5.1' --html story.html`, REPLAY_CODES)
    .argument("<string>", "scenario:strategy:choices").option("--file <file>", "the file that exports the scenario").option("--fsck", "show images to e2fsck, too").option("--html <file>", "write the story there, too")
    .action((text: string, options: ReplayOptions) => attempt(session.output("lab"), async (out) => (await import("./replay.js")).labReplay(text, options, out)));

  action("shrink", "make a failing run simpler: print the shorter string, and tell the story", "  ext4 lab shrink 'history/journal-switch:linux-4.13:z6.1'", REPLAY_CODES)
    .argument("<string>", "scenario:strategy:choices").option("--file <file>", "the file that exports the scenario").option("--fsck", "show images to e2fsck, too").option("--html <file>", "write the story there, too")
    .action((text: string, options: ReplayOptions) => attempt(session.output("lab"), async (out) => (await import("./replay.js")).labShrink(text, options, out)));

  action("locks", "draw the order in which a built-in workload, in memory, takes locks", `  ext4 lab locks > locks.svg                   outer above inner; reasons hover over the arcs
  ext4 lab locks -o locks.svg
  ext4 --json lab locks                        each pair with its reasons, and where it was seen`, "")
    .option("-o, --output <file>", "write there, not to standard output")
    .action((options: LocksOptions) => attempt(session.output("lab"), async (out) => (await import("./locks.js")).labLocks(options, out)));
}

async function attempt(out: Output, work: (out: Output) => Promise<void>): Promise<void> {
  try {
    await work(out);
  } catch (error) {
    if (error instanceof UsageError || error instanceof FsError) throw error;
    out.note(error instanceof Error ? error.stack ?? error.message : String(error));
    process.exitCode = EXIT_FAULT;
  } finally {
    finish(out);
  }
}
