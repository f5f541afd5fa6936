/** Runs a failing run again and writes down what happens in it: calls, locks, faults, handles, transactions, requests, and where each task stood when it ended. */
import type { Strategy } from "../../ext4/strategy.js";
import type { Bio } from "../../block/device.js";
import { describeBio } from "../../block/leaf.js";
import { FsError } from "../../lib/errno.js";
import { settings, type ClassedLock } from "../../sched/lockdep.js";
import { currentTask, setPauseListener } from "../../sched/scheduler.js";
import type { Io } from "../../sched/task.js";
import { Choices } from "../choices.js";
import type { Medium } from "../crash/medium.js";
import type { LabTask } from "../driver.js";
import { forgetOthers } from "../explore.js";
import type { Failure } from "../failure.js";
import { describeCall, describeValue, type Call, type CallListener } from "../recorder.js";
import { encodeReplay, type Replay } from "../replay.js";
import { Run, type RunFault, type RunListener, type RunPlan, type RunResult } from "../run.js";
import type { Scenario } from "../scenario.js";
import { headline, stackHere, traceOfError, withLongStacks } from "./call-trace.js";
import type { Story, StoryEvent } from "./story.js";
import { count } from "./table.js";

export interface Told {
  /** Undefined: the run passes. */
  readonly story: Story | undefined;
  readonly result: RunResult;
}

export interface TellOptions {
  /** Looks at the image with other eyes, as when the failure was found. */
  readonly fsck?: RunPlan["fsck"];
  /** What `ext4 lab replay` must be told besides the string. */
  readonly replayOptions?: readonly string[];
}

/** @throws FsError EINVAL the string was made for another scenario or engine. */
export function tell(scenario: Scenario, strategyName: string, strategy: Partial<Strategy>, replay: Replay, { fsck, replayOptions = [] }: TellOptions = {}): Told {
  const { choices, cuts, fault } = replay;
  forgetOthers(scenario);
  let teller!: StoryTeller;
  const run = new Run({ scenario, strategy, choices: new Choices(choices), cuts, fault, fsck, watch: (watched) => (teller = new StoryTeller(watched)) });
  settings.listener = (event, lock, mode) => teller.lock(event, lock, mode);
  setPauseListener(() => teller.leaves());
  let result: RunResult;
  try {
    result = withLongStacks(() => run.play());
  } finally {
    settings.listener = undefined;
    setPauseListener(undefined);
  }
  if (result.failure === undefined) return { story: undefined, result };
  const { name, description } = scenario;
  return { story: { scenario: name, description, strategy: strategyName, replay: encodeReplay({ ...replay, scenario: name, strategy: strategyName }), replayOptions, ...(fault === undefined ? {} : { fault: faultInWords(fault) }), ...teller.end(result.failure) }, result };
}

/** A story that goes on and on is told from both its ends. */
const EVENTS_MAX = 1500;
const EVENTS_AT_END = 300;

class StoryTeller implements RunListener, CallListener {
  private readonly events: StoryEvent[] = [];
  /** Where each task was left. */
  private readonly stacks = new Map<LabTask, readonly string[]>();
  /** The same of requests that failed, by what was thrown: the device's own stack says nothing. */
  private readonly faultStacks = new Map<unknown, readonly string[]>();
  /** As of the failure. */
  private standing: Story["stacks"] | undefined;
  private readonly calls = new Map<string, Call[]>();
  private readonly lockNames = new Map<object, string>();
  private readonly lockCounts = new Map<string, number>();
  private isListening = false;
  private committing: number | undefined;
  private cutCount = 0;
  private recovering: Medium | undefined;

  constructor(private readonly run: Run) {
    run.lab.recorder.addListener(this);
    run.medium.onSubmit = (bios) => this.submitted(bios);
    run.medium.onFault = (bio, error) => this.requestFailed(bio, error);
  }

  /** The power has failed; what the step would have done is not told. */
  private get isOver(): boolean { return this.run.failure?.cuts !== undefined; }
  private get current(): LabTask | undefined { return this.run.driver.current; }
  /** What the judge does aside is nobody's. */
  private get isTaskRunning(): boolean { return this.current !== undefined && currentTask() === this.current.context; }

  private note(kind: StoryEvent["kind"], text: string, more: Partial<StoryEvent> = {}, task = this.current): void {
    if (this.isOver) return;
    this.noteCommits(task);
    const call = task === undefined ? undefined : this.calls.get(task.name)?.at(-1)?.name;
    this.events.push({ step: this.run.driver.stepCount, task: task?.index ?? -1, kind, text, ...(call === undefined ? {} : { call }), ...more });
  }

  stepBegins(): void {
    this.listen();
  }

  ioDone(task: LabTask, io: Io): void {
    this.note("io", `done: ${requestOf(io)}`, {}, task);
  }

  stepEnded(task: LabTask): void {
    this.noteCommits(task);
    const { sleepsOn } = task.context;
    if (sleepsOn !== undefined) this.note("wait", `waits for ${this.nameOf(sleepsOn)}`, { lock: this.nameOf(sleepsOn), ...this.placeOf(task) }, task);
    if (task.isDone) this.note("end", "has come to its end", {}, task);
  }

  private noteCommits(task: LabTask | undefined): void {
    const { fs } = this.run.lab;
    const committing = fs.isWritable ? fs.journal.committing?.t_tid : undefined;
    const before = this.committing;
    if (committing === before) return;
    this.committing = committing;
    if (before !== undefined) this.note("commit", `jbd2_end_commit: transaction ${before} is durable`, { tid: before }, task);
    if (committing !== undefined) this.note("commit", `jbd2_start_commit: transaction ${committing}`, { tid: committing }, task);
  }

  sleeps(): void {
    this.leaves();
  }

  /** The task that runs is about to be left where it stands. */
  leaves(): void {
    if (this.isTaskRunning) this.stacks.set(this.current!, stackHere());
  }

  private placeOf(task: LabTask): { function?: string } {
    return innermost(this.stacks.get(task) ?? []);
  }

  private submitted(bios: readonly Bio[]): void {
    this.leaves();
    if (this.isTaskRunning) this.note("io", bios.map(describeBio).join(", "), this.placeOf(this.current!));
  }

  private requestFailed(bio: Bio, error: FsError): void {
    const task = this.current;
    if (task === undefined) return;
    this.faultStacks.set(error, this.stacks.get(task) ?? []);
    this.note("io", `fails with ${error.code}: ${describeBio(bio)}`, { error: error.code, ...this.placeOf(task) });
  }

  powerFails(what: string, survivors: string): void {
    this.failed();
    if (this.recovering !== undefined) this.recovering.onSubmit = undefined;
    const place = this.cutCount++ === 0 ? `the power fails at ${what}` : `the power fails again, at ${what} of the recovery`;
    this.events.push({ step: this.run.driver.stepCount, task: -1, kind: "power", text: `${place}: ${survivors}` });
  }

  recovers(medium: Medium): void {
    this.recovering = medium;
    medium.onSubmit = (bios) => this.events.push({ step: this.run.driver.stepCount, task: -1, kind: "io", text: `recovery: ${bios.map(describeBio).join(", ")}`, ...innermost(stackHere()) });
  }

  /** After a power cut they stand as they did when it came. */
  failed(): void {
    this.standing ??= this.run.driver.tasks.map((task) => this.stand(task));
  }

  private stand(task: LabTask): Story["stacks"][number] {
    const { name, thrown, isDone, wait } = task;
    const runs = task === this.current && wait === undefined;
    const stack = thrown !== undefined ? this.faultStacks.get(thrown.error) ?? traceOfError(thrown.error) : isDone ? [] : runs ? stackHere() : this.stacks.get(task) ?? [];
    return { task: name, state: stateOf(task, runs), stack: [...stack] };
  }

  lock(event: "acquire" | "release", lock: ClassedLock, mode: string): void {
    if (!this.isListening || !this.isTaskRunning) return;
    const name = this.nameOf(lock);
    this.note(event, `${name}${mode === "read" || mode === "write" ? ` (${mode})` : ""}`, { lock: name, ...innermost(stackHere()) });
  }

  /** Locks of one name are told apart by number, in the order in which they come up. */
  private nameOf(lock: { readonly name: string }): string {
    let name = this.lockNames.get(lock);
    if (name !== undefined) return name;
    const count = (this.lockCounts.get(lock.name) ?? 0) + 1;
    this.lockCounts.set(lock.name, count);
    // A handle is one of many that are all alike.
    name = count === 1 || lock.name === "jbd2_handle" ? lock.name : `${lock.name} #${count}`;
    this.lockNames.set(lock, name);
    return name;
  }

  began(call: Call): void {
    if (this.current === undefined) return;
    this.calls.set(call.task, [...(this.calls.get(call.task) ?? []), call]);
    this.note("call", describeCall(call));
  }

  ended(call: Call): void {
    if (this.current === undefined) return;
    this.note("return", `${call.name} = ${call.error ?? describeResult(call.result)}`);
    this.calls.get(call.task)?.pop();
  }

  /** Beside who listens already. */
  private listen(): void {
    if (this.isListening) return;
    this.isListening = true;
    const { events } = this.run.lab;
    const own = events.listener;
    events.listener = (event, fields) => {
      own?.(event, fields);
      this.event(event, fields);
    };
  }

  private event(event: string, fields: Readonly<Record<string, unknown>>): void {
    const text = Object.entries(fields).filter(([, value]) => !Array.isArray(value)).map(([name, value]) => ` ${name}=${name === "address" ? `0x${Number(value).toString(16)}` : String(value)}`).join("");
    const kind = event === "WARNING" ? "warning" : event.startsWith("jbd2:jbd2_handle") ? "handle" : event.includes("fault") || event.includes("mkwrite") || event.includes("wp_page") ? "fault" : "event";
    this.note(kind, `${event}${text}`, { ...innermost(stackHere()), ...(typeof fields["tid"] === "number" ? { tid: fields["tid"] } : {}) });
  }

  end(failure: Failure): Pick<Story, "tasks" | "events" | "failure" | "warnings" | "stacks"> {
    const { driver, lab } = this.run;
    return {
      tasks: driver.tasks.map(({ name }) => name), events: fromBothEnds(this.events), failure: { kind: failure.kind, message: failure.message, step: failure.step },
      warnings: lab.warnings.map(({ message }) => message.replace(/^[A-Z]+: /, "")), stacks: this.standing ?? [],
    };
  }
}

function fromBothEnds(events: readonly StoryEvent[]): readonly StoryEvent[] {
  if (events.length <= EVENTS_MAX) return events;
  const leftOut = events.slice(EVENTS_AT_END, -EVENTS_AT_END);
  const gap: StoryEvent = { step: leftOut[0]!.step, task: -1, kind: "gap", text: `${leftOut.length} events are left out here, up to step ${leftOut.at(-1)!.step}`, count: leftOut.length };
  return [...events.slice(0, EVENTS_AT_END), gap, ...events.slice(-EVENTS_AT_END)];
}

/** The innermost function, if one is known. */
function innermost([first]: readonly string[]): { function?: string } {
  return first === undefined ? {} : { function: first.replace(/ \(.*/, "") };
}

function stateOf({ isDone, thrown, wait, context: { sleepsOn } }: LabTask, runs: boolean): string {
  if (thrown !== undefined) return `ended with ${headline(thrown.error instanceof FsError ? thrown.error.message : String(thrown.error))}`;
  if (isDone) return "ended";
  if (sleepsOn !== undefined) return `waits for ${sleepsOn.name}`;
  if (wait === undefined) return runs ? "runs" : "has not begun";
  return wait.op === "io" ? `blocked on ${requestOf(wait.io)}` : wait.op === "pause" ? `about to go on at ${wait.at}` : "may go on";
}

/** There is but one device. */
const requestOf = ({ description }: Io): string => description.replace(/ of (?:disk|pmem)$/, "");

/** What was wrong from outside. */
function faultInWords(fault: RunFault): string {
  switch (fault.kind) {
    case "request": return `request ${fault.number} fails with EIO${fault.forGood ? ", and all later ones" : ""}`;
    case "space": return fault.number === 1 ? "1 block is free" : `${fault.number} blocks are free`;
    case "memory": return `the page cache holds ${count(fault.number, "page")}`;
  }
}

function describeResult(result: unknown): string {
  if (typeof result === "object" && result !== null && "count" in result && "buffer" in result) return `${describeValue(result.count)}: ${describeValue(result.buffer)}`;
  return result === undefined ? "0" : describeValue(result);
}
