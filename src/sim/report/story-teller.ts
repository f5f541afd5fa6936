/** Runs a failing run again and writes down what happens in it: calls, locks, faults, handles, transactions, requests, and where each task stood when it ended. */
import type { Strategy } from "../../ext4/strategy.js";
import { settings, type ClassedLock } from "../../sched/lockdep.js";
import { currentTask } from "../../sched/scheduler.js";
import { Choices } from "../choices.js";
import type { DriverListener, LabTask } from "../driver.js";
import { forgetOthers } from "../explore.js";
import type { Failure } from "../failure.js";
import { describeCall, describeValue, type Call, type CallListener } from "../recorder.js";
import { encodeReplay, type Replay } from "../replay.js";
import { Run, type RunPlan, type RunResult } from "../run.js";
import type { Scenario } from "../scenario.js";
import type { Story, StoryEvent } from "./story.js";

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
  let result: RunResult;
  try {
    result = run.play();
  } finally {
    settings.listener = undefined;
  }
  if (result.failure === undefined) return { story: undefined, result };
  const { name, description } = scenario;
  return { story: { scenario: name, description, strategy: strategyName, replay: encodeReplay({ ...replay, scenario: name, strategy: strategyName }), replayOptions, ...teller.end(result.failure) }, result };
}

/** What stands between an event and the function that brought it about. */
const INFRASTRUCTURE = new Set([
  "stackHere", "lock", "touched", "recorder", "footprint", "acquire", "acquireIfFree", "tryAcquire", "releaseAs", "release", "afterAcquire", "beforeAcquire", "read", "write", "unlockRead", "unlockWrite", "tryRead", "tryWrite",
  "tryLock", "unlock", "next", "throw", "resume", "step", "run", "runTasks", "play", "tell", "note", "event", "wait", "wakeAll", "wakeOne", "wake", "handOver", "racePoint", "call", "began", "ended", "expected", "operation",
  "listener", "get", "finishIo", "runSync", "submit", "listen", "doAll", "addHolder", "takeIn",
]);
const STACK_FRAMES = 60;

/** Names of the engine's functions, innermost first. */
function stackHere(): string[] {
  const limits = Error as { stackTraceLimit?: number };
  const { stackTraceLimit: limit } = limits;
  limits.stackTraceLimit = STACK_FRAMES;
  const stack = new Error().stack ?? "";
  if (limit !== undefined) limits.stackTraceLimit = limit;
  const names: string[] = [];
  for (const line of stack.split("\n")) {
    if (/\bat (?:\w+\.)?resume \(/.test(line)) break; // below it is the lab
    const name = /^\s+at (?:[\w.]+\.)?\*?(\w+) \((?!<anonymous>)/.exec(line)?.[1];
    if (name !== undefined && !INFRASTRUCTURE.has(name) && names.at(-1) !== name) names.push(name);
  }
  return names;
}

class StoryTeller implements DriverListener, CallListener {
  private readonly events: StoryEvent[] = [];
  private readonly stacks = new Map<LabTask, readonly string[]>();
  private readonly calls = new Map<string, Call[]>();
  private readonly lockNames = new Map<object, string>();
  private readonly lockCounts = new Map<string, number>();
  private isListening = false;
  private committing: number | undefined;

  constructor(private readonly run: Run) {
    run.lab.recorder.addListener(this);
  }

  /** The power has failed; what the step would have done is not told. */
  private get isOver(): boolean { return this.run.failure?.cuts !== undefined; }
  private get current(): LabTask | undefined { return this.run.driver.current; }

  private note(kind: StoryEvent["kind"], text: string, more: Partial<StoryEvent> = {}, task = this.current): void {
    if (this.isOver) return;
    const call = task === undefined ? undefined : this.calls.get(task.name)?.at(-1)?.name;
    this.events.push({ step: this.run.driver.stepCount, task: task?.index ?? -1, kind, text, ...(call === undefined ? {} : { call }), ...more });
  }

  stepBegins(task: LabTask): void {
    this.listen();
    if (task.pendingIo !== undefined) this.note("io", `done: ${task.pendingIo.description}`, {}, task);
  }

  stepEnded(task: LabTask): void {
    const { committing } = this.run.lab.fs.isWritable ? this.run.lab.fs.journal : { committing: undefined };
    if (committing?.t_tid !== this.committing) {
      if (this.committing !== undefined) this.note("commit", `jbd2_end_commit: transaction ${this.committing} is durable`, { tid: this.committing }, task);
      if (committing !== undefined) this.note("commit", `jbd2_start_commit: transaction ${committing.t_tid}`, { tid: committing.t_tid }, task);
      this.committing = committing?.t_tid;
    }
    const { wait, context: { sleepsOn } } = task;
    const name = this.stacks.get(task)?.[0];
    const where = name === undefined ? {} : { function: name };
    if (sleepsOn !== undefined) this.note("wait", `waits for ${this.nameOf(sleepsOn)}`, { lock: this.nameOf(sleepsOn), ...where }, task);
    else if (wait?.op === "io") this.note("io", wait.io.description, where, task);
    if (task.isDone) this.note("end", "has come to its end", {}, task);
  }

  touched(task: LabTask): void {
    this.stacks.set(task, stackHere());
  }

  lock(event: "acquire" | "release", lock: ClassedLock, mode: string): void {
    // What the judge does aside is nobody's.
    if (!this.isListening || this.current === undefined || currentTask() !== this.current.context) return;
    const stack = stackHere();
    this.stacks.set(this.current, stack);
    const name = this.nameOf(lock);
    this.note(event, `${name}${mode === "read" || mode === "write" ? ` (${mode})` : ""}`, { lock: name, ...(stack[0] === undefined ? {} : { function: stack[0] }) });
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
    const where = stackHere()[0];
    const kind = event === "WARNING" ? "warning" : event.startsWith("jbd2:jbd2_handle") ? "handle" : event.includes("fault") || event.includes("mkwrite") || event.includes("wp_page") ? "fault" : "event";
    this.note(kind, `${event}${text}`, { ...(where === undefined ? {} : { function: where }), ...(typeof fields["tid"] === "number" ? { tid: fields["tid"] } : {}) });
  }

  end(failure: Failure): Pick<Story, "tasks" | "events" | "failure" | "warnings" | "stacks"> {
    const { driver, lab } = this.run;
    if (failure.cuts !== undefined && failure.cuts.length > 0) {
      const lost = failure.cuts.length > 1 ? `, and once more during the recovery (${failure.cuts.length - 1})` : "";
      this.events.push({ step: failure.step, task: -1, kind: "power", text: `the power fails${lost}: ${this.run.survivors}` });
    }
    return {
      tasks: driver.tasks.map(({ name }) => name), events: this.events, failure: { kind: failure.kind, message: failure.message, step: failure.step },
      warnings: lab.warnings.map(({ message }) => message.replace(/^[A-Z]+: /, "")),
      stacks: driver.tasks.map((task) => ({ task: task.name, state: stateOf(task), stack: task.isDone ? [] : [...(this.stacks.get(task) ?? [])] })),
    };
  }
}

function stateOf({ isDone, wait, context: { sleepsOn } }: LabTask): string {
  if (isDone) return "ended";
  if (sleepsOn !== undefined) return `waits for ${sleepsOn.name}`;
  if (wait === undefined) return "runs";
  return wait.op === "io" ? `blocked on ${wait.io.description}` : wait.op === "pause" ? `about to go on at ${wait.at}` : "may go on";
}

function describeResult(result: unknown): string {
  if (typeof result === "object" && result !== null && "count" in result && "buffer" in result) return `${describeValue(result.count)}: ${describeValue(result.buffer)}`;
  return result === undefined ? "0" : describeValue(result);
}
