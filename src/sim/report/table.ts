/**
 * The story of a failure for a terminal: what failed, what the tasks did step by step, what the engine warned of, where the tasks stood, and the line that replays it. Each task has its own indentation in the table, so the
 * interleaving shows as a zigzag; what repeats from the line above is left out, and long stretches of one task in which nobody else has a part are folded.
 */
import { headline } from "./call-trace.js";
import { storyStretches } from "./json.js";
import type { Story, StoryEvent } from "./story.js";

export interface StoryTableOptions {
  /** Columns of the terminal; the table is never narrower than 60. Default 120. */
  readonly widthMax?: number;
}

/** Lines without a newline at the end. Whatever would move the cursor or change colours is escaped. */
export function storyTable(story: Story, { widthMax = 120 }: StoryTableOptions = {}): string {
  const width = Math.max(widthMax, 60);
  return [
    ...header(story, width), "",
    ...table(story, width), "",
    ...story.warnings.flatMap((warning) => [...warningLines(warning), ""]),
    ...story.stacks.flatMap((stack) => [...stackLines(stack), ""]),
    replayCommand(story),
  ].join("\n");
}

/** What a shell takes. */
export function replayCommand({ replay, replayOptions }: Story): string {
  return ["ext4 lab replay", ...replayOptions.map((word) => (/^[\w./-]+$/.test(word) ? word : quoted(word))), quoted(replay)].join(" ");
}

const quoted = (word: string): string => `'${plain(word).replaceAll("'", "'\\''")}'`;

/** One line that shows as what it is: control characters, marks that change the direction of writing and halves of characters are escaped. */
export function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0)!;
    return code === 10 ? "\\n" : code === 9 ? "\\t" : code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}

export const taskName = ({ tasks }: Story, task: number): string => (task < 0 ? "" : plain(tasks[task] ?? `task ${task}`));
export const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? "" : /(?:s|ch|sh|x)$/.test(noun) ? "es" : "s"}`;

/** What happened, in words: the same in all reports. @param holders of a wait: who holds the lock. */
export function sentence(story: Story, event: StoryEvent, holders: readonly number[] = []): string {
  const text = plain(event.text);
  switch (event.kind) {
    case "acquire": return `takes ${text}`;
    case "release": return `releases ${text}`;
    case "wait": return `${/^waits?\b/i.test(text) ? text : `waits for ${text}`}${holders.length === 0 ? "" : `, held by ${holders.map((task) => taskName(story, task)).join(" and ")}`}`;
    case "handle":
    case "commit": return event.tid === undefined || new RegExp(`\\b${event.tid}\\b`).test(text) ? named(event.kind, text) : `${named(event.kind, text)} (transaction ${event.tid})`;
    case "warning": return named("WARNING", text);
    default: return text;
  }
}

/** "handle: EXT4_HT_INODE credits=8", but "jbd2_handle_start credits=8". */
const named = (name: string, text: string): string => (text.toLowerCase().includes(name.toLowerCase()) ? text : `${name}: ${text}`);

/** As in "warning at step 17 of 23". */
export function failurePlace(story: Story): string {
  const { failure: { kind, step } } = story;
  return `${plain(kind)} at step ${step} of ${lastStep(story)}`;
}

/** As in "3 tasks, 23 steps, 9 switches between tasks, 41 events". */
export function storySize(story: Story): string {
  const { tasks, events } = story;
  const size = [count(tasks.length, "task"), count(lastStep(story), "step")];
  const gap = events.find(({ kind }) => kind === "gap");
  if (gap !== undefined) return [...size, `${events.length - 1 + gap.count!} events, of which ${events.length - 1} are told`].join(", ");
  const acting = events.filter((event) => event.task >= 0);
  const switches = acting.filter((event, index) => index > 0 && acting[index - 1]!.task !== event.task).length;
  return [...size, `${count(switches, "switch")} between tasks`, count(events.length, "event")].join(", ");
}

const lastStep = ({ failure, events }: Story): number => Math.max(failure.step, ...events.map((event) => event.step));

/** How many events come before the failure: those of its step and of all earlier ones. */
export function eventsBeforeFailure({ events, failure }: Story): number {
  const next = events.findIndex((event) => event.step > failure.step);
  return next < 0 ? events.length : next;
}

function header(story: Story, width: number): string[] {
  const [first = "", ...more] = story.failure.message.split("\n");
  const field = (name: string, text: string): string[] => wrap(text, width - 11).map((line, index) => `${(index === 0 ? name : "").padEnd(11)}${line}`);
  return [
    ...field("scenario", plain(story.scenario)),
    ...field("", plain(story.description)),
    ...field("strategy", plain(story.strategy)),
    ...(story.fault === undefined ? [] : field("fault", plain(story.fault))),
    ...field("failure", `${failurePlace(story)}: ${plain(first)}`),
    ...more.flatMap((line) => field("", plain(line))),
    ...field("story", storySize(story)),
  ];
}

interface Row {
  readonly mark: string;
  readonly step: string;
  readonly task: string;
  readonly call: string;
  readonly function: string;
  readonly what: string;
}

const TITLES: Row = { mark: "", step: "step", task: "task", call: "system call", function: "function", what: "what happened" };
const MARKS: Partial<Record<StoryEvent["kind"], string>> = { wait: "~", fault: "!", warning: "!", power: "↯", gap: "⋮" };
const WIDTHS_MAX = { task: 20, call: 14, function: 24 } as const;

function table(story: Story, width: number): string[] {
  const rows = tableRows(story);
  const widest = (key: Exclude<keyof Row, "mark" | "what">): number => Math.max(...[TITLES, ...rows].map((row) => widthOf(row[key])));
  const narrow = width < 90;
  const widths = {
    step: widest("step"),
    task: Math.min(widest("task"), WIDTHS_MAX.task),
    call: Math.min(widest("call"), WIDTHS_MAX.call),
    // A narrow terminal has room for what happened, and the function is the first to go.
    function: narrow ? 0 : Math.min(widest("function"), WIDTHS_MAX.function),
  };
  const left = (row: Row): string => [
    row.mark.padEnd(1), row.step.padStart(widths.step), fit(row.task, widths.task), fit(row.call, widths.call), ...(narrow ? [] : [fit(row.function, widths.function)]),
  ].join("  ");
  const indentation = widthOf(left(TITLES)) + 2;
  const line = (row: Row): string[] => wrap(row.what, Math.max(width - indentation, 24)).map((part, index) => `${index === 0 ? left(row) : " ".repeat(indentation - 2)}  ${part}`.trimEnd());
  return [...line(TITLES), "─".repeat(Math.min(width, indentation + Math.max(...rows.map((row) => widthOf(row.what)), 13))), ...rows.flatMap(line)];
}

function tableRows(story: Story): Row[] {
  const { events, failure } = story;
  const holders = new Map(storyStretches(story).map((stretch) => [stretch.from, stretch.holders]));
  const folds = foldedStretches(story);
  const failureAt = eventsBeforeFailure(story);
  const failed: Row = { mark: "✗", step: String(failure.step), task: "", call: "", function: "", what: `FAILURE: ${plain(failure.kind)}: ${plain(headline(failure.message))}` };
  const rows: Row[] = [];
  let above: StoryEvent | undefined;
  for (let index = 0; index < events.length; index++) {
    if (index === failureAt) rows.push(failed);
    const event = events[index]!;
    const fold = folds.get(index);
    const isSwitch = above?.task !== event.task;
    const indent = " ".repeat(2 * Math.min(Math.max(event.task, 0), 5));
    rows.push({
      mark: markOf(event, failure.step, fold !== undefined),
      step: isSwitch || above?.step !== event.step ? String(event.step) : "",
      task: event.task < 0 ? "" : `${indent}${isSwitch ? taskName(story, event.task) : "┊"}`,
      call: fold === undefined && (isSwitch || above?.call !== event.call) ? plain(event.call ?? "") : "",
      function: fold === undefined && (isSwitch || above?.function !== event.function) ? plain(event.function ?? "") : "",
      what: fold === undefined ? sentence(story, event, holders.get(index)) : `… ${fold.length} more (${kindsOf(fold)})`,
    });
    above = fold === undefined ? event : fold.at(-1);
    if (fold !== undefined) index += fold.length - 1;
  }
  if (failureAt === events.length) rows.push(failed);
  return rows;
}

function markOf({ kind, step, error }: StoryEvent, failureStep: number, isFolded: boolean): string {
  if (kind === "power" || kind === "gap") return MARKS[kind]!;
  if (step === failureStep) return "✗";
  return isFolded ? "" : error !== undefined ? "!" : MARKS[kind] ?? "";
}

const FOLD_MIN = 6;
/** What stays in sight at the two ends of what is folded. */
const FOLD_BEFORE = 2;
const FOLD_AFTER = 1;

/** What is left out, by the index of its first event: locks that nobody waits for, I/O and events of one task between two things of more weight, never of a task in the step that fails. */
function foldedStretches({ events, failure }: Story): Map<number, StoryEvent[]> {
  const contended = new Set(events.filter((event) => event.kind === "wait").map((event) => event.lock));
  const isDull = ({ kind, lock, step, task, error }: StoryEvent): boolean => (step !== failure.step || task < 0) && ((kind === "io" && error === undefined) || kind === "event" || ((kind === "acquire" || kind === "release") && !contended.has(lock)));
  const folds = new Map<number, StoryEvent[]>();
  for (let from = 0; from < events.length; from++) {
    let to = from;
    while (to < events.length && isDull(events[to]!) && events[to]!.task === events[from]!.task) to++;
    if (to - from < FOLD_MIN + FOLD_BEFORE + FOLD_AFTER) continue;
    folds.set(from + FOLD_BEFORE, events.slice(from + FOLD_BEFORE, to - FOLD_AFTER));
    from = to - 1;
  }
  return folds;
}

function kindsOf(events: readonly StoryEvent[]): string {
  const number = (...kinds: StoryEvent["kind"][]): number => events.filter((event) => kinds.includes(event.kind)).length;
  const parts = [[number("acquire"), "lock taken"], [number("release"), "lock released"], [number("io"), "I/O"], [number("event"), "event"]] as const;
  const plural: Record<string, string> = { "lock taken": "locks taken", "lock released": "locks released", "I/O": "I/Os", event: "events" };
  return parts.filter(([size]) => size > 0).map(([size, noun]) => `${size} ${size === 1 ? noun : plural[noun]}`).join(", ");
}

/** As Linux prints it: between its two dashed lines. What is no warning of Linux's (lockdep's report, say) has none. */
export function warningLines(warning: string): string[] {
  const lines = warning.replace(/^E[A-Z]+: /, "").trimEnd().split("\n").map(plain);
  if (!lines[0]!.startsWith("WARNING:")) return lines;
  return ["------------[ cut here ]------------", ...lines, "---[ end trace 0000000000000000 ]---"];
}

/** In the manner of the hung-task report. */
export function stackLines({ task, state, stack }: Story["stacks"][number]): string[] {
  const isBlocked = /^wait|^blocked/i.test(state);
  const name = plain(task);
  return [
    ...(isBlocked ? [`INFO: task ${name} blocked: ${plain(state)}`] : []),
    `task:${name.padEnd(15)} state:${isBlocked ? "D" : /^(?:ended|done|exited)/i.test(state) ? "X" : "R"}  ${plain(state)}`.trimEnd(),
    ...(stack.length === 0 ? [] : ["Call Trace:", " <TASK>", ...stack.map((line) => ` ${plain(line.trim())}`), " </TASK>"]),
  ];
}

const widthOf = (text: string): number => Array.from(text).length;

/** Cut or filled to the width. */
function fit(text: string, width: number): string {
  const characters = Array.from(text);
  return characters.length > width ? `${characters.slice(0, width - 1).join("")}…` : text + " ".repeat(width - characters.length);
}

/** In lines of at most `width`: between words if that can be. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let rest = Array.from(text);
  while (rest.length > width) {
    const space = rest.lastIndexOf(" ", width);
    const cut = space > width / 2 ? space : width;
    lines.push(rest.slice(0, cut).join("").trimEnd());
    rest = Array.from(rest.slice(cut).join("").trimStart());
  }
  return [...lines, rest.join("")];
}
