/**
 * What a scenario has in its hands: a filesystem that was made from nothing, mounted, with a process; each call that the process makes is recorded, and others may come in before it. One lab is one run's;
 * after a power cut there is another one.
 */
import type { Ext4 } from "../ext4/super.js";
import { mountExt4 } from "../ext4/mount.js";
import { unmountExt4 } from "../ext4/mount-writable.js";
import type { Strategy } from "../ext4/strategy.js";
import { writebackAged } from "../ext4/sync.js";
import { LogJournal } from "../jbd2/log-journal.js";
import type { FsError } from "../lib/errno.js";
import { VmEvents } from "../mm/events.js";
import { ManualClock } from "../sched/clock.js";
import { Scheduler } from "../sched/scheduler.js";
import type { Task } from "../sched/task.js";
import { Kernel } from "../vfs/kernel.js";
import type { Process } from "../vfs/process.js";
import type { Medium } from "./crash/medium.js";
import { Prng } from "../lib/prng.js";
import { Recorder } from "./recorder.js";
import type { WorldRecipe } from "./scenario.js";

export const EPOCH_SEC = 1_700_000_000;

export class Lab {
  readonly events = new VmEvents();
  readonly clock = new ManualClock(EPOCH_SEC);
  readonly kernel = new Kernel({ events: this.events });
  readonly scheduler = new Scheduler();
  /** Every call that was made. */
  readonly recorder: Recorder;
  /** What the scenario found wrong. */
  readonly problems: string[] = [];
  fs!: Ext4;
  /** Who makes the calls. Its forks are recorded as well. */
  process!: Process;

  private readonly random: () => number;

  /** @param choose answers `choose`. @param seed of the mount's random numbers: another one for each mount of one filesystem, so that no two files have the same number and generation. */
  constructor(readonly device: Medium, private readonly recipe: WorldRecipe, private readonly strategy: Partial<Strategy>, readonly choose: (count: number) => number, seed: number) {
    this.recorder = new Recorder();
    const prng = new Prng(seed);
    this.random = () => prng.next();
  }

  /** Says what is wrong, unless `isRight`. */
  readonly check = (isRight: boolean, message: string): void => {
    if (!isRight) this.problems.push(message);
  };

  *mount(): Task<void> {
    this.fs = yield* mountExt4(this.device, { readOnly: false, clock: this.clock, events: this.events, random: this.random, ...this.recipe.mount, strategy: this.strategy });
    this.kernel.mountRoot(this.fs);
    this.process = this.recorder.record(this.kernel.spawn());
  }

  /** Ends all processes first. */
  *unmount(): Task<void> {
    for (const process of [...this.kernel.processes.values()]) yield* process.exit();
    this.kernel.unmountRoot();
    yield* unmountExt4(this.fs);
  }

  /** None before it is mounted. */
  get warnings(): readonly FsError[] { return (this.fs as Ext4 | undefined)?.warnings ?? []; }

  /** As the flusher does it: dirty pages go to disk, and old transactions are committed. */
  *writeback(): Task<void> {
    yield* this.recorder.call("writeback", [], () => this.fs.operation(writebackAged(this.fs)));
  }

  /** As the commit timer does it. */
  *commit(): Task<void> {
    yield* this.recorder.call("commit", [], () => this.fs.journal.commitAll());
  }

  /** As a journal does it that runs out of room: everything that was committed goes home. */
  *checkpoint(): Task<void> {
    const { journal } = this.fs;
    if (journal instanceof LogJournal) yield* this.recorder.call("checkpoint", [], () => journal.checkpoint());
  }
}
