/**
 * The story for other programs: its events, and what they make of stretches of time (a call under way, a lock held or waited for, a handle, a transaction that runs and then commits). The HTML report draws these
 * stretches; the table takes from them who holds what another one waits for.
 */
import type { Story, StoryEvent } from "./story.js";

export interface Stretch {
  readonly kind: "call" | "hold" | "wait" | "handle" | "running" | "committing";
  /** Index into the story's tasks; -1: a transaction's. */
  readonly task: number;
  /** Index of the event that began it. */
  readonly from: number;
  /** Index of the event that ended it; the number of events if none did. */
  to: number;
  /** Nothing ended it but the power, a gap in the story, or its end. */
  isCutOff: boolean;
  readonly text: string;
  readonly lock?: string;
  /** Of hold and wait. What has no modes (a mutex) is held for writing. */
  readonly mode?: "read" | "write";
  readonly tid?: number;
  /** Of wait: the tasks that held the lock when it began. */
  readonly holders?: readonly number[];
  /** Events that belong to it: the first, the last, and of a transaction those that name it. */
  readonly events: number[];
}

/** As it begins, in the order of the events. */
export function storyStretches(story: Story): Stretch[] {
  const maker = new StretchMaker(story.events.length);
  story.events.forEach((event, index) => maker.take(event, index));
  return maker.stretches;
}

/** What `--json` prints: the story, with its stretches. */
export function storyJson(story: Story): Story & { readonly stretches: readonly Stretch[] } {
  return { ...story, stretches: storyStretches(story) };
}

const HANDLE_LOCK = "jbd2_handle";
/** Words of the last event of a commit or a handle, as in "jbd2_end_commit" or "the commit block is durable". */
const LAST_WORDS = /(?:^|[^a-z])(?:end|ends|ended|done|finished|complete|completed|committed|durable|stop|stops|stopped)(?:[^a-z]|$)/i;

class StretchMaker {
  readonly stretches: Stretch[] = [];
  private readonly open: Stretch[] = [];
  private readonly committed = new Set<number>();

  constructor(private readonly count: number) {}

  take(event: StoryEvent, index: number): void {
    const { task, kind } = event;
    // Whoever waits does nothing else: its next event, whatever it is, ends the wait.
    if (task >= 0) this.close(index, (stretch) => stretch.kind === "wait" && stretch.task === task);
    switch (kind) {
      case "call": this.begin({ kind: "call", task, text: event.text }, index); break;
      case "return":
        this.close(index, (stretch) => stretch.kind === "handle" && stretch.task === task);
        this.closeLast(index, (stretch) => stretch.kind === "call" && stretch.task === task);
        break;
      case "acquire": this.begin({ kind: "hold", task, text: event.text, ...lockOf(event) }, index); break;
      case "wait": this.begin({ kind: "wait", task, text: event.text, ...lockOf(event), holders: this.holders(event) }, index); break;
      case "release": this.release(event, index); break;
      case "handle": this.handle(event, index); break;
      case "commit": this.commit(event, index); break;
      // What becomes of it where the story has a gap is not known.
      case "gap":
      case "power": this.cutOff(index, () => true); break;
      case "end": if (task >= 0) this.cutOff(index, (stretch) => stretch.task === task); break;
    }
  }

  private begin(stretch: Omit<Stretch, "from" | "to" | "isCutOff" | "events">, index: number): Stretch {
    const begun: Stretch = { ...stretch, from: index, to: this.count, isCutOff: true, events: [index] };
    this.stretches.push(begun);
    this.open.push(begun);
    return begun;
  }

  private close(index: number, which: (stretch: Stretch) => boolean, isCutOff = false): void {
    for (const stretch of this.open.filter(which)) {
      this.open.splice(this.open.indexOf(stretch), 1);
      Object.assign(stretch, { to: index, isCutOff });
      if (stretch.events.at(-1) !== index) stretch.events.push(index);
    }
  }

  private cutOff(index: number, which: (stretch: Stretch) => boolean): void {
    this.close(index, which, true);
  }

  private closeLast(index: number, which: (stretch: Stretch) => boolean): void {
    const last = this.open.findLast(which);
    this.close(index, (stretch) => stretch === last);
  }

  private release({ task, lock }: StoryEvent, index: number): void {
    if (lock === HANDLE_LOCK) this.closeLast(index, (stretch) => stretch.kind === "handle" && stretch.task === task);
    this.closeLast(index, (stretch) => stretch.kind === "hold" && stretch.task === task && stretch.lock === lock);
  }

  private holders({ task, lock }: StoryEvent): number[] {
    if (lock === undefined) return [];
    return [...new Set(this.open.filter((stretch) => stretch.kind === "hold" && stretch.lock === lock && stretch.task !== task).map((stretch) => stretch.task))];
  }

  /** A transaction runs from its first handle on. */
  private handle({ task, text, tid }: StoryEvent, index: number): void {
    const ours = (stretch: Stretch): boolean => stretch.kind === "handle" && stretch.task === task;
    if (LAST_WORDS.test(text)) this.closeLast(index, ours);
    else this.begin({ kind: "handle", task, text, ...(tid === undefined ? {} : { tid }) }, index);
    if (tid === undefined) return;
    const transaction = this.transaction(tid);
    if (transaction !== undefined) transaction.events.push(index);
    else if (!this.committed.has(tid)) this.begin({ kind: "running", task: -1, text: `transaction ${tid} runs`, tid }, index);
  }

  private commit({ text, tid }: StoryEvent, index: number): void {
    if (tid === undefined) return;
    this.close(index, (stretch) => stretch.kind === "running" && stretch.tid === tid);
    const transaction = this.transaction(tid);
    if (transaction !== undefined) transaction.events.push(index);
    else if (!this.committed.has(tid)) this.begin({ kind: "committing", task: -1, text: `transaction ${tid} commits`, tid }, index);
    this.committed.add(tid);
    if (LAST_WORDS.test(text)) this.close(index, (stretch) => stretch.kind === "committing" && stretch.tid === tid);
  }

  private transaction(tid: number): Stretch | undefined {
    return this.open.find((stretch) => stretch.task === -1 && stretch.tid === tid);
  }
}

function lockOf({ lock, text }: StoryEvent): { lock?: string; mode?: "read" | "write" } {
  return lock === undefined ? {} : { lock, mode: /\b(?:read|shared)\b/.test(text) ? "read" : "write" };
}
