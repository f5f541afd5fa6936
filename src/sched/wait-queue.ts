/** Tasks that wait for something to become true. Who makes it true wakes them, and each looks again for itself. */
import { AssertionError } from "../lib/errno.js";
import { footprint } from "./footprint.js";
import { currentTask, type TaskContext } from "./scheduler.js";
import type { Sleepable, Task } from "./task.js";

export class WaitQueue implements Sleepable {
  private readonly waiting: TaskContext[] = [];

  /** @param isWokenFromOutside no task but the program itself makes it true: a wait for it is no deadlock. */
  constructor(readonly name: string, readonly isWokenFromOutside = false) {}

  describeHolders(): string[] {
    return [];
  }

  /** Returns once `until` says true, at once if it does now. */
  *wait(until: () => boolean): Task<void> {
    for (;;) {
      footprint(this);
      if (until()) return;
      const context = currentTask();
      if (context?.scheduler === undefined) throw new AssertionError(`${this.name}: only a task can wait`);
      this.waiting.push(context);
      context.scheduler.sleep(context, this);
      yield { op: "event", queue: this };
    }
  }

  wakeOne(): void {
    footprint(this);
    const context = this.waiting.shift();
    context?.scheduler?.wake(context);
  }

  wakeAll(): void {
    footprint(this);
    for (const context of this.waiting.splice(0)) context.scheduler?.wake(context);
  }
}
