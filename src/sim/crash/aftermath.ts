/** After a power cut: the image is mounted, which recovers it, perhaps with another cut on the way; then everything is compared with what was promised, and counted again. */
import { aside, runSync } from "../../sched/scheduler.js";
import { alwaysFirst, MisfitError } from "../choices.js";
import { failureKindOf, textOf } from "../failure.js";
import { lookAt, makeMedium, type FoundTree } from "../image.js";
import { crashProblems, differences } from "../judge.js";
import { Lab } from "../lab.js";
import { recount } from "../recount.js";
import { ScenarioError, taskOf } from "../scenario.js";
import { checkStates, describeSurvivors, type CutNumbers, type Run } from "../run.js";
import { forEachState } from "./cutter.js";
import { CHANGE_BYTES, type Medium } from "./medium.js";

/** Of the random numbers of a mount after a cut. */
const RECOVERY_SEED = 3;

/** What a cut left: the image, and how it came about. */
export interface Wreck {
  readonly image: Uint8Array;
  /** Pages that may differ from the image that runs begin with. */
  readonly changedPages: ReadonlySet<number>;
  readonly cuts: CutNumbers;
  /** Where: "a flush", "a flush, then at a fence of the recovery". */
  readonly where: string;
}

/**
 * Judges a wreck, and gives its image back. @param next the cuts to be made during recovery, of which only the last one's wreck is judged; [] none: undefined: none at first, then each that there can be, as far
 * as the budget goes.
 */
export function judgeWreck(run: Run, wreck: Wreck, next: CutNumbers | undefined): void {
  const { plan: { crash, scenario }, base } = run;
  const isCutAgain = next === undefined ? crash !== undefined && crash.budget.recoveryStatesMax > 0 : next.length > 0;
  const medium = makeMedium(scenario.world ?? {}, base.arena, { bytes: wreck.image, changedPages: wreck.changedPages, isMortal: isCutAgain });
  const wrecks: LaterWreck[] = [];
  let moment = 0;
  if (isCutAgain) medium.onBarrier = (what) => aside(() => collect(run, medium, wreck, { moment: moment++, what, wanted: next?.[0] }, wrecks));
  if (next !== undefined && next.length > 0) run.listener.recovers?.(medium);
  // What a second cut shows is of interest only where one alone shows nothing.
  recover(run, medium, wreck, next === undefined || next.length === 0);
  medium.release();
  if (next !== undefined && next.length > 0 && wrecks.length === 0) throw new MisfitError(`the recovery has no moment ${next[0]![0]}`);
  for (const { pages, ...each } of wrecks) {
    if (run.failure !== undefined) return;
    const image = base.arena.take();
    for (const [page, bytes] of pages) image.set(bytes, page * CHANGE_BYTES);
    judgeWreck(run, { ...each, image, changedPages: new Set(pages.keys()) }, next?.slice(1) ?? []);
  }
}

/** One that is kept until the recovery that was cut is over: only what differs from the image that runs begin with, as there may be many. */
interface LaterWreck extends Pick<Wreck, "cuts" | "where"> { readonly pages: ReadonlyMap<number, Uint8Array> }

interface RecoveryMoment {
  readonly moment: number;
  readonly what: string;
  /** The moment and states that are asked for; undefined: all. */
  readonly wanted: readonly number[] | undefined;
}

/** At a moment of the recovery: what a cut there leaves. */
function collect(run: Run, medium: Medium, { cuts, where }: Wreck, { moment, what, wanted }: RecoveryMoment, wrecks: LaterWreck[]): void {
  const { plan: { crash }, base } = run;
  const add = (states: readonly number[], image: Uint8Array): void => {
    const pages = new Map(Array.from(medium.changedPages, (page) => [page, image.slice(page * CHANGE_BYTES, (page + 1) * CHANGE_BYTES)]));
    base.arena.giveBack(image, medium.changedPages);
    wrecks.push({ pages, cuts: [...cuts, [moment, ...states]], where: `${where}, then at ${what} of the recovery` });
  };
  if (wanted !== undefined) {
    if (moment !== wanted[0]) return;
    checkStates(medium.units(), wanted.slice(1));
    run.listener.powerFails?.(what, describeSurvivors(medium.units(), wanted.slice(1)));
    add(wanted.slice(1), medium.survivor(wanted.slice(1)));
    return;
  }
  const promises = `again ${run.judgedBy}`;
  forEachState(medium, crash!, true, (states, image) => {
    // Not cut once more: as the wreck of a first cut the same image would be.
    if (!crash!.isNew(image, medium.changedPages, base, promises)) base.arena.giveBack(image, medium.changedPages);
    else {
      crash!.counts.states++;
      crash!.counts.recoveryStates++;
      add(states, image);
    }
    return true;
  });
}

/** Mounts what is on the device, and, unless it is to be cut again, judges it. */
function recover(run: Run, medium: Medium, { cuts, where }: Wreck, isJudged: boolean): void {
  const { plan: { scenario, strategy } } = run;
  const place = `after a power cut at ${where}`;
  const lab = new Lab(medium, scenario.world ?? {}, strategy, alwaysFirst, RECOVERY_SEED);
  try {
    runSync(lab.mount());
    medium.onBarrier = undefined;
    if (isJudged) judgeRecovered(run, lab, medium, place, cuts);
  } catch (error) {
    if (error instanceof ScenarioError || error instanceof MisfitError) throw error;
    const kind = failureKindOf(error);
    if (isJudged) run.fail(kind === "error" ? "durability" : kind, `${place}, on the way back: ${textOf(error)}`, cuts);
  }
}

/** What a mount has recovered. */
function judgeRecovered(run: Run, lab: Lab, medium: Medium, place: string, cuts: CutNumbers): void {
  const { plan: { scenario }, historian, base } = run;
  let tree = runSync(lookAt(lab));
  const problems = crashProblems(historian.records, base.tree, tree);
  if (problems.length > 0) run.fail("durability", `${place}: ${problems.join("\n")}`, cuts);
  if (scenario.afterCrash !== undefined) {
    runSync(taskOf(scenario, "afterCrash", scenario.afterCrash(lab, run.lab)));
    tree = runSync(lookAt(lab));
  }
  if (lab.problems.length > 0) run.fail("durability", `${place}: ${lab.problems.join("\n")}`, cuts);
  checkFilesystem(run, lab, medium, place, tree, cuts);
}

/** What failing requests have left, which a mount recovers. */
export function judgeAborted(run: Run): void {
  recover(run, run.medium, { image: run.medium.bytes, changedPages: run.medium.changedPages, cuts: [], where: "a request that failed" }, true);
}

/** Unmounts, looks at everything again as the device has it, and counts it. @param tree as it was found before. */
export function checkFilesystem(run: Run, lab: Lab, medium: Medium, place: string, tree: FoundTree, cuts?: CutNumbers): void {
  const { plan: { fault, fsck, scenario } } = run;
  // Warnings of the run itself are judged as it goes.
  if (lab !== run.lab) judgeWarnings(run, lab, place, cuts);
  runSync(lab.unmount());
  const again = new Lab(medium, { ...scenario.world, mount: { ...scenario.world?.mount, readOnly: true } }, {}, alwaysFirst, RECOVERY_SEED);
  runSync(again.mount());
  const lost = differences(tree, runSync(lookAt(again)), fault?.kind !== "request" || lab !== run.lab);
  if (lost.length > 0) run.fail("durability", `${place}, unmounted and mounted again: ${lost.join("\n")}`, cuts);
  judgeWarnings(run, again, `${place}, unmounted and mounted again`, cuts);
  const problems = runSync(recount(again.fs));
  if (problems.length > 0) run.fail("fsck", `${place}: ${problems.join("\n")}`, cuts);
  const complaint = run.failure === undefined ? fsck?.(medium.bytes) : undefined;
  if (complaint !== undefined) run.fail("e2fsck", `${place}: ${complaint}`, cuts);
}

function judgeWarnings(run: Run, { warnings: [warning] }: Lab, place: string, cuts?: CutNumbers): void {
  if (warning !== undefined) run.fail("warning", `${place}: ${warning.message.replace(/^[A-Z]+: /, "")}`, cuts);
}
