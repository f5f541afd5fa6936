/**
 * The story of a failure as one HTML file that needs nothing else: what failed, a timeline (inline SVG, a lane for each task and each transaction, one column for each event), the events as a table, warnings and stacks. Bars and
 * rows point at each other by the indexes of their events, in `data-events` and `data-event`. All that comes from the story passes through `html`; the page's policy allows no address and no script but its own.
 */
import { headline } from "./call-trace.js";
import { storyStretches, type Stretch } from "./json.js";
import type { Story, StoryEvent } from "./story.js";
import { eventsBeforeFailure, failurePlace, plain, replayCommand, sentence, stackLines, storySize, taskName, warningLines } from "./table.js";

/** The same story gives the same bytes. */
export function storyHtml(story: Story): string {
  const [message = "", ...details] = story.failure.message.split("\n");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-lab'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>${html(`${story.scenario}: ${story.failure.kind}`)}</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<p class="kicker">ext4 lab · strategy <b>${html(story.strategy)}</b></p>
<h1>${html(story.scenario)}</h1>
<p class="description">${html(story.description)}</p>
<div class="failure"><h2>${html(failurePlace(story))}</h2><p>${html(message)}</p>${details.length === 0 ? "" : `<pre>${html(...details)}</pre>`}</div>
${story.fault === undefined ? "" : `<p class="cause"><b>fault</b> ${html(story.fault)}</p>`}
<div class="replay"><code id="replay">${html(replayCommand(story))}</code><button type="button" id="copy">Copy</button></div>
<p class="size">${html(storySize(story))}</p>
</header>
<main>
<section>
${new Timeline(story).toString()}
${eventTable(story)}
</section>
${story.warnings.length === 0 ? "" : `<section><h2>Warnings</h2>\n${story.warnings.map((warning) => `<pre>${html(...warningLines(warning))}</pre>`).join("\n")}\n</section>`}
${story.stacks.length === 0 ? "" : `<section><h2>Where the tasks stood</h2>\n${story.stacks.map((stack) => `<pre>${html(...stackLines(stack))}</pre>`).join("\n")}\n</section>`}
</main>
<script nonce="lab">${SCRIPT}</script>
</body>
</html>
`;
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** Text as it may stand between tags and in quoted attributes. */
function html(...lines: readonly string[]): string {
  return lines.map((line) => plain(line).replace(/[&<>"']/g, (character) => ENTITIES[character]!)).join("\n");
}

/** What can be shown and hidden together: its name, and the swatch that explains it. */
const FILTERS = {
  call: ["system calls", '<rect class="shape call" x="1" y="2" width="18" height="10" rx="2"/>'],
  lock: ["locks held", '<rect class="shape hold write h0" x="1" y="2" width="11" height="10" rx="2"/><rect class="shape hold read h0" x="15" y="2" width="11" height="10" rx="2"/>'],
  wait: ["waiting", '<rect class="shape hold h0" x="1" y="2" width="18" height="10" rx="2"/><rect fill="url(#hatch)" x="1" y="2" width="18" height="10"/>'],
  fault: ["faults", '<path class="fault" d="M8 1 14 7 8 13 2 7Z"/>'],
  journal: ["journal", '<rect class="shape running" x="1" y="2" width="9" height="10" rx="2"/><rect class="shape committing" x="10" y="2" width="9" height="10" rx="2"/>'],
  io: ["I/O", '<rect class="io" x="3" y="2" width="10" height="10" rx="1"/>'],
  warning: ["warnings", '<path class="warning" d="M8 1 15 13 1 13Z"/>'],
  event: ["events", '<circle class="event" cx="8" cy="7" r="4"/>'],
  power: ["power", '<path class="power" d="M9 0 3 8 7 8 5 14 13 5 8.5 5 11 0Z"/>'],
} as const;
type Filter = keyof typeof FILTERS;
const FILTER_OF: Readonly<Record<StoryEvent["kind"] | Stretch["kind"], Filter | "gap">> = {
  call: "call", return: "call", acquire: "lock", release: "lock", hold: "lock", wait: "wait", fault: "fault", handle: "journal", commit: "journal", running: "journal", committing: "journal",
  io: "io", warning: "warning", event: "event", end: "event", power: "power", gap: "gap",
};

const HUE_COUNT = 8;
/** A lock has the same colour wherever it is seen, as far as colours go. */
function lockHues(story: Story): Map<string, number> {
  const locks = new Set(story.events.flatMap(({ lock }) => (lock === undefined ? [] : [lock])));
  return new Map([...locks].map((lock, index) => [lock, index % HUE_COUNT]));
}

const AXIS = 36;
const BAR = 14;
const ROW = 18;
const PADDING = 6;
const LABELS = 132;
/** The word at the line of the failure. */
const FLAG = 52;
/** Of a monospaced character of 10 px, and a little more than most have. */
const CHARACTER = 6.1;
const LABEL_MAX = 190;
/** Long bars say again what they are, so that one need not scroll back. */
const LABEL_EVERY = 640;
/** What a sheet of paper holds, in pixels of the timeline. */
const STRIP_MAX = 1150;

class Timeline {
  private readonly stretches: readonly Stretch[];
  private readonly hues: Map<string, number>;
  private readonly unit: number;
  private readonly width: number;
  private height = AXIS;
  private readonly back: string[] = [];
  private readonly front: string[] = [];
  private readonly labels: string[] = [];
  /** Tops of the tasks' lanes. */
  private readonly tops: number[] = [];

  constructor(private readonly story: Story) {
    const { events, tasks } = story;
    this.stretches = storyStretches(story);
    this.hues = lockHues(story);
    this.unit = events.length <= 60 ? 24 : events.length <= 150 ? 20 : 15;
    this.width = (events.length + 1) * this.unit + FLAG;
    if (events.some(({ task, kind }) => task < 0 && kind !== "power" && kind !== "gap")) this.lane("machine", "", "no task", () => this.marks(-1));
    tasks.forEach((_, task) => this.taskLane(task));
    for (const tid of new Set(this.stretches.flatMap((stretch) => (stretch.task < 0 ? [stretch.tid!] : [])))) {
      this.lane("transaction", `transaction ${tid}`, "", () => this.rows(this.stretches.filter((stretch) => stretch.task < 0 && stretch.tid === tid)));
    }
    this.height += 4;
    this.axis();
  }

  toString(): string {
    const { width, height } = this;
    return `<h2>Timeline</h2>
<fieldset class="filters"><legend>Show</legend>${this.filters()}</fieldset>
<svg class="definitions" aria-hidden="true"><defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch" width="3" height="6"/></pattern></defs></svg>
<div class="sticky">
<div class="scroll" tabindex="0" role="region" aria-label="Timeline, scrolls sideways"><div class="sheet">
<svg class="labels" width="${LABELS}" height="${height}" aria-hidden="true"><g id="labels">${this.labels.join("")}</g></svg>
<svg class="chart" width="${width}" height="${height}" data-unit="${this.unit}"><rect id="cursor" x="-99" y="0" width="${this.unit}" height="${height}"/><g id="bars">
${this.back.join("\n")}
${this.front.join("\n")}
</g></svg>
</div></div>
<p class="detail" id="detail" aria-live="polite">Point at a bar or a row; click to go to the other.</p>
</div>
<div class="strips" aria-hidden="true">${this.strips()}</div>`;
  }

  private filters(): string {
    const present = new Set<Filter | "gap">([...this.story.events, ...this.stretches].map(({ kind }) => FILTER_OF[kind]));
    return (Object.keys(FILTERS) as Filter[]).filter((filter) => present.has(filter)).map((filter) => {
      const [name, swatch] = FILTERS[filter];
      return `<label><input type="checkbox" data-filter="${filter}" checked><svg width="${/x="1[0-9]/.test(swatch) ? 27 : 20}" height="14" aria-hidden="true">${swatch}</svg>${name}</label>`;
    }).join("");
  }

  /** For paper, which does not scroll: the timeline in pieces, one below the other. */
  private strips(): string {
    const { width, height } = this;
    const strips = Math.ceil(width / STRIP_MAX);
    const strip = Math.ceil(width / strips);
    return Array.from({ length: strips }, (_, index) =>
      `<svg viewBox="0 0 ${LABELS + strip} ${height}"><use href="#labels"/><svg x="${LABELS}" width="${strip}" height="${height}" viewBox="${index * strip} 0 ${strip} ${height}"><use href="#bars"/></svg></svg>`).join("");
  }

  private lane(kind: string, name: string, note: string, draw: () => number): void {
    const top = this.height;
    this.height += PADDING;
    const content = draw();
    this.height = Math.max(top + PADDING + content, top + (name !== "" && note !== "" ? 32 : 18)) + PADDING;
    this.labels.push(`<g transform="translate(0 ${top})"><path class="rule" d="M0 .5H${LABELS}"/>${name === "" ? "" : label(10, 18, name, LABELS - 16, "name")}${note === "" ? "" : label(10, name === "" ? 17 : 31, note, LABELS - 16, "note")}</g>`);
    this.back.unshift(`<g data-lane="${kind}"><title>${html(name)}</title><rect class="lane" x="0" y="${top}" width="${this.width}" height="${this.height - top}"/><path class="rule" d="M0 ${top + 0.5}H${this.width}"/></g>`);
  }

  private taskLane(task: number): void {
    const { story } = this;
    const top = this.height;
    const ours = this.stretches.filter((stretch) => stretch.task === task);
    this.tops[task] = top;
    const name = taskName(story, task);
    this.lane("task", name, story.stacks.find((stack) => stack.task === story.tasks[task])?.state ?? "", () => {
      const start = this.height;
      this.height += this.rows(ours.filter((stretch) => stretch.kind === "call"));
      this.height += this.marks(task);
      this.height += this.rows(ours.filter((stretch) => stretch.kind !== "call"));
      const content = this.height - start;
      this.height = start;
      return content;
    });
    this.turns(task, top + 1, this.height - top - 1);
  }

  /** Where it is this task's turn. */
  private turns(task: number, top: number, height: number): void {
    const { events } = this.story;
    for (let from = 0; from < events.length; from++) {
      if (events[from]!.task !== task) continue;
      let to = from;
      while (events[to + 1]?.task === task) to++;
      this.back.push(`<rect class="turn" x="${from * this.unit}" y="${top}" width="${(to - from + 1) * this.unit}" height="${height}"/>`);
      from = to;
    }
  }

  private center(index: number): number {
    return index * this.unit + this.unit / 2;
  }

  /** Stretches in as few rows as they need. @returns the height taken, from `this.height` on. */
  private rows(stretches: readonly Stretch[]): number {
    const rows: { readonly bars: Stretch[]; end: number }[] = [];
    for (const stretch of stretches) {
      const [from, to] = [this.center(stretch.from), this.center(stretch.to)];
      // What was waited for is held where the waiting was drawn.
      const waited = rows.find(({ bars }) => bars.at(-1)?.kind === "wait" && bars.at(-1)!.to === stretch.from && bars.at(-1)!.lock === stretch.lock && stretch.kind === "hold");
      let row = waited ?? rows.find(({ bars, end }) => end <= from || (stretch.kind === "call" && this.center(bars.at(-1)!.to) <= from) || bars.at(-1)!.tid === stretch.tid && stretch.task < 0);
      if (row === undefined) rows.push(row = { bars: [], end: 0 });
      row.bars.push(stretch);
      row.end = Math.max(to, from + Math.min(labelWidth(stretch.text), LABEL_MAX)) + 4;
    }
    rows.forEach(({ bars }, index) => bars.forEach((stretch, place) => this.bar(stretch, this.height + index * ROW, bars[place + 1])));
    return rows.length * ROW;
  }

  private bar(stretch: Stretch, y: number, next: Stretch | undefined): void {
    const { kind, isCutOff, lock, mode, holders = [] } = stretch;
    const [from, to] = [this.center(stretch.from), this.center(stretch.to)];
    const text = kind === "running" ? "running" : kind === "committing" ? "committing" : kind === "handle" && stretch.tid !== undefined ? `handle ${stretch.tid}: ${stretch.text}` : stretch.text;
    const room = (next === undefined ? this.width : this.center(next.from)) - from - 8;
    const hue = lock === undefined ? "" : ` h${this.hues.get(lock)}`;
    const classes = { call: "call", hold: `hold ${mode}${hue}`, wait: `wait${hue}`, handle: "handle", running: "running", committing: "committing" }[kind];
    const shape = isCutOff ? `d="M${from} ${y}H${to}l-3 3.5 3 3.5-3 3.5 3 3.5H${from}Z"` : `d="M${from + 2} ${y}H${to - 2}q2 0 2 2v${BAR - 4}q0 2-2 2H${from + 2}q-2 0-2-2v-${BAR - 4}q0-2 2-2Z"`;
    const end = isCutOff ? this.cutOff(stretch.to) : `to step ${this.story.events[stretch.to]!.step}`;
    const told = kind === "wait" ? sentence(this.story, this.story.events[stretch.from]!, holders) : kind === "hold" ? `holds ${stretch.text}` : kind === "handle" ? `handle: ${stretch.text}` : stretch.text;
    const labels: string[] = [];
    for (let at = 0; at === 0 || at < to - from - 100; at += LABEL_EVERY) {
      labels.push(label(from + at + 4, y + 10.5, text, Math.min(room, Math.max(to - from - 8, LABEL_MAX)) - at, kind === "wait" ? "halo" : "text"));
    }
    this.front.push(`<g class="bar" tabindex="-1" data-kind="${FILTER_OF[kind]}" data-events="${stretch.events.join(" ")}"><title>${html(`${this.owner(stretch.task)}${told}, from step ${this.story.events[stretch.from]!.step} ${end}`)}</title><path class="shape ${classes}" ${shape}/>${kind === "wait" ? `<path fill="url(#hatch)" ${shape}/>` : ""}${labels.join("")}</g>`);
  }

  private cutOff(to: number): string {
    const event = this.story.events[to];
    return event === undefined ? "to the end" : event.kind === "gap" ? "to where the story has a gap" : "until it was cut off";
  }

  private owner(task: number): string {
    return task < 0 ? "" : `${taskName(this.story, task)}: `;
  }

  /** What takes no time. @returns the height taken, from `this.height` on. */
  private marks(task: number): number {
    const marked = this.story.events.flatMap((event, index) => (event.task === task && ["fault", "io", "warning", "event", "commit", "end"].includes(event.kind) ? [index] : []));
    for (const index of marked) {
      const event = this.story.events[index]!;
      const [x, y] = [this.center(index), this.height + BAR / 2];
      const shape = event.kind === "commit" ? `<path class="commit" d="M${x - 5} ${y - 5}h10v10h-10Z"/>` : event.kind === "end" ? `<path class="end" d="M${x} ${y - 7}v14"/>` : event.error !== undefined ? `<path class="error" d="M${x - 5} ${y - 5}l10 10m0-10-10 10"/>` : MARKS[event.kind as keyof typeof MARKS](x, y);
      this.front.push(`<g class="mark" tabindex="-1" data-kind="${FILTER_OF[event.kind]}" data-events="${index}"><title>${html(`${this.owner(task)}${sentence(this.story, event)}, step ${event.step}`)}</title><rect class="target" x="${x - this.unit / 2}" y="${y - BAR / 2}" width="${this.unit}" height="${BAR}"/>${shape}</g>`);
    }
    return marked.length === 0 ? 0 : ROW;
  }

  /** Steps above, lines down through all lanes: steps, power cuts, the failure, and from task to task. */
  private axis(): void {
    const { unit, height, story: { events, failure } } = this;
    let labelled = -Infinity;
    this.labels.push(label(10, AXIS - 9, "step", LABELS, "note"));
    events.forEach((event, index) => {
      const before = events[index - 1];
      const x = index * unit;
      if (event.step !== before?.step) {
        this.back.push(`<path class="step" d="M${x + 0.5} ${AXIS - 4}V${height}"/>`);
        if (x - labelled >= Math.max(24, String(before?.step ?? 0).length * CHARACTER + 6)) {
          this.back.push(`<text class="number" x="${x + 4}" y="${AXIS - 9}">${event.step}</text>`);
          labelled = x;
        }
      }
      const [top, topBefore] = [this.tops[event.task], before === undefined ? undefined : this.tops[before.task]];
      if (top !== undefined && topBefore !== undefined && top !== topBefore) this.back.push(`<path class="switch" d="M${x + 0.5} ${topBefore + 4}V${top + 4}"/>`);
      if (event.kind === "power") this.power(event, index);
      if (event.kind === "gap") this.back.push(`<g><title>${html(event.text)}</title><rect class="lane" x="${x}" y="${AXIS}" width="${unit}" height="${height - AXIS}"/><rect fill="url(#hatch)" x="${x}" y="${AXIS}" width="${unit}" height="${height - AXIS}"/></g>`);
    });
    const x = Math.max(2, eventsBeforeFailure(this.story) * unit);
    this.front.push(`<g class="failed"><title>${html(`${failurePlace(this.story)}: ${headline(failure.message)}`)}</title><path d="M${x} 4V${height}"/><path class="flag" d="M${x} 2h${FLAG - 3}v14h-${FLAG - 3}Z"/>${label(x + 4, 13, "failure", FLAG, "text")}</g>`);
  }

  private power(event: StoryEvent, index: number): void {
    const x = this.center(index);
    this.front.push(`<g class="mark" tabindex="-1" data-kind="power" data-events="${index}"><title>${html(`${sentence(this.story, event)}, step ${event.step}`)}</title><path class="cut" d="M${x} ${AXIS - 8}V${this.height}"/><path class="power" transform="translate(${x - 7} 1) scale(.85)" d="M9 0 3 10 7.5 10 5 22 14 8 9.5 8 12 0Z"/></g>`);
  }
}

const MARKS = {
  fault: (x: number, y: number) => `<path class="fault" d="M${x} ${y - 7}l7 7-7 7-7-7Z"/>`,
  io: (x: number, y: number) => `<rect class="io" x="${x - 5}" y="${y - 5}" width="10" height="10" rx="1"/>`,
  warning: (x: number, y: number) => `<path class="warning" d="M${x} ${y - 8}l8 14h-16Z"/><path class="exclamation" d="M${x} ${y - 3}v5m0 1.5v1.5"/>`,
  event: (x: number, y: number) => `<circle class="event" cx="${x}" cy="${y}" r="4"/>`,
};

const labelWidth = (text: string): number => Math.ceil(Array.from(plain(text)).length * CHARACTER) + 8;

/** As much of it as fits. */
function label(x: number, y: number, text: string, room: number, className: string): string {
  const characters = Array.from(plain(text));
  const fitting = Math.floor(room / CHARACTER);
  if (fitting < 2) return "";
  return `<text class="${className}" x="${x}" y="${y}">${html(characters.length <= fitting ? characters.join("") : `${characters.slice(0, fitting - 1).join("")}…`)}</text>`;
}

function eventTable(story: Story): string {
  const { events, tasks } = story;
  const hues = lockHues(story);
  const holders = new Map(storyStretches(story).map((stretch) => [stretch.from, stretch.holders]));
  const failureAt = eventsBeforeFailure(story);
  const failed = `<tr class="failed"><td class="step">${story.failure.step}</td><td></td><td></td><td></td><td class="what">${html(`failure: ${story.failure.kind}: ${headline(story.failure.message)}`)}</td></tr>`;
  const rows = events.map((event, index) => {
    const before = events[index - 1];
    const isSwitch = before?.task !== event.task;
    const classes = [event.kind, event.error === undefined ? "" : "error", isSwitch ? "switch" : "", event.step === story.failure.step ? "fails" : ""].filter((name) => name !== "").join(" ");
    const chip = event.lock === undefined ? "" : `<i class="chip h${hues.get(event.lock)}"></i>`;
    const dot = event.task < 0 ? "" : `<i class="lane" style="--lane:${Math.min(event.task, 7)}"></i>`;
    return `<tr class="${classes}" tabindex="-1" data-event="${index}" data-kind="${FILTER_OF[event.kind]}"><td class="step">${isSwitch || before?.step !== event.step ? event.step : ""}</td><td class="task">${dot}${html(taskName(story, event.task))}</td><td class="call">${html(event.call ?? "")}</td><td class="function">${html(event.function ?? "")}</td><td class="what">${chip}${html(sentence(story, event, holders.get(index)))}</td></tr>`;
  });
  rows.splice(failureAt, 0, failed);
  return `<h2>Events</h2>
<table style="--lanes:${Math.min(tasks.length, 8)}"><thead><tr><th scope="col">step</th><th scope="col">task</th><th scope="col">system call</th><th scope="col">function</th><th scope="col">what happened</th></tr></thead>
<tbody>
${rows.join("\n")}
</tbody></table>`;
}

const HUES_LIGHT = ["#2468c9", "#0f8a72", "#a86f00", "#7d4cc2", "#c23d82", "#4f8a10", "#c4551d", "#52708f"];
const HUES_DARK = ["#6aa5ff", "#38c9a8", "#e3b341", "#b48cf5", "#f07bb5", "#93c94b", "#f58f5a", "#9db4cc"];
const hueVariables = (hues: readonly string[]): string => hues.map((hue, index) => `--h${index}:${hue}`).join(";");

const STYLE = `
:root{color-scheme:light dark;--page:#f6f6f4;--surface:#fff;--ink:#1b1d20;--soft:#5d636b;--line:#dcdee2;--grid:#ebecee;--turn:#e6edf7;--call:#6d7885;--fail:#c8232c;--fail-back:#fdecec;--warn:#d97a00;--power:#e0a000;--power-back:#fdf1cf;--on:#fff0b8;--journal:#4a6b8a;--commit:#8a3fa0;--sticky:0px;${hueVariables(HUES_LIGHT)}}
@media screen and (prefers-color-scheme:dark){:root{--page:#121316;--surface:#1a1c20;--ink:#e8eaed;--soft:#9fa6af;--line:#343941;--grid:#25282d;--turn:#232c3a;--call:#8c97a5;--fail:#ff6b6b;--fail-back:#341b1e;--warn:#ffa940;--power:#ffd24a;--power-back:#3a3116;--on:#4b4017;--journal:#86aed4;--commit:#d18fe6;${hueVariables(HUES_DARK)}}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1500px;padding:28px 24px 60px;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;overflow-wrap:anywhere}
h1{margin:0;font-size:28px;line-height:1.2;letter-spacing:-.01em}h2{margin:36px 0 10px;font-size:17px}p{margin:0}
code,pre,td.call,td.function,td.what,.detail,text{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
.kicker,.size{color:var(--soft);font-size:13px}.kicker{margin-bottom:4px}.description{margin:4px 0 18px;color:var(--soft);max-width:75ch}
.failure{padding:12px 16px;border-left:4px solid var(--fail);border-radius:4px;background:var(--fail-back)}.failure h2{margin:0;color:var(--fail);font-size:15px}.failure p{font-size:16px}.failure pre{margin:8px 0 0;border:0;padding:0;background:none}
.cause{margin-top:10px}.cause b{color:var(--fail)}
.replay{display:flex;margin:14px 0 8px;border:1px solid var(--line);border-radius:6px;background:var(--surface);overflow:hidden}.replay code{flex:1;min-width:0;padding:9px 12px;font-size:13px}
button{border:0;border-left:1px solid var(--line);padding:0 18px;min-width:86px;background:none;color:inherit;font:600 13px system-ui,sans-serif;cursor:pointer}button:hover{background:var(--turn)}
.filters{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 10px;border:0;padding:0;font-size:13px}.filters legend{float:left;padding:0;color:var(--soft)}.filters label{display:inline-flex;align-items:center;gap:5px;cursor:pointer}.filters input{margin:0;accent-color:var(--h0)}
.definitions{position:absolute;width:0;height:0}
.scroll{overflow:auto;border:1px solid var(--line);border-radius:6px 6px 0 0;background:var(--surface)}.sheet{display:flex;width:max-content;min-width:100%}.sheet svg{display:block;flex:none}
.labels{position:sticky;left:0;z-index:1;background:var(--surface);border-right:1px solid var(--line)}
.detail{border:1px solid var(--line);border-top:0;border-radius:0 0 6px 6px;padding:5px 12px;min-height:31px;background:var(--surface);color:var(--soft);font-size:12px;line-height:20px;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}.detail.told{color:var(--ink)}
text{font-size:10px;fill:var(--ink);user-select:none}text.name{font:600 12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}.note,.number{fill:var(--soft)}
.lane{fill:none}.turn{fill:var(--turn)}.rule{stroke:var(--line)}.step{stroke:var(--grid)}path.step{stroke:var(--grid)}path.switch{stroke:var(--soft);stroke-opacity:.5}
#cursor{fill:var(--on)}
.bar,.mark{cursor:pointer;outline:none}.target{fill:transparent}
.call{--hue:var(--call)}.handle,.running{--hue:var(--journal)}.committing,.commit{--hue:var(--commit)}.wait{--hue:var(--call)}
.shape{fill:var(--hue);fill-opacity:.22;stroke:var(--hue);stroke-opacity:.9}
.hold.write{fill-opacity:.42}.hold.read{fill-opacity:.08;stroke-dasharray:3 2}.shape.wait{fill-opacity:.1}.shape.committing{fill-opacity:.42}.shape.handle,.shape.running{fill-opacity:.16}
${HUES_LIGHT.map((_, index) => `.h${index}{--hue:var(--h${index})}`).join("")}
.hatch{fill:var(--ink);fill-opacity:.16}.halo{stroke:var(--surface);stroke-width:3px;stroke-linejoin:round;paint-order:stroke}
.fault{fill:var(--h4)}.io{fill:var(--h7)}.event{fill:var(--soft)}.warning{fill:var(--warn)}.exclamation{stroke:#fff;stroke-width:1.6;fill:none}path.commit{fill:var(--commit)}.end{stroke:var(--soft);stroke-width:3}path.error{stroke:var(--fail);stroke-width:3}
path.power{fill:var(--power);stroke:var(--ink);stroke-width:.6;stroke-linejoin:round}.cut{stroke:var(--power);stroke-width:2;stroke-dasharray:5 3;fill:none}
g.failed path{stroke:var(--fail);stroke-width:2}g.failed .flag{fill:var(--fail)}g.failed text{fill:var(--surface);font-weight:700}
.bar.on>path:first-of-type,.mark.on>:not(.target):not(.cut){stroke:var(--ink);stroke-width:2;stroke-opacity:1;stroke-dasharray:none}.bar:focus-visible>path:first-of-type{stroke:var(--ink);stroke-width:2.5}
table{width:100%;border-collapse:collapse;background:var(--surface);border:1px solid var(--line);font-size:13px}
th{padding:6px 10px;border-bottom:1px solid var(--line);text-align:left;color:var(--soft);font-weight:500}
td{padding:2px 10px;vertical-align:top}td.call,td.function,td.what{font-size:12px;line-height:20px}th,td.step{white-space:nowrap}td.step,th:first-child{width:1%;text-align:right;color:var(--soft);font-variant-numeric:tabular-nums}
td.task{width:1%;white-space:nowrap;font-weight:500;padding-left:calc(10px + var(--lanes)*13px)}td.task,td.what{position:relative}td.task{max-width:260px;overflow:hidden;text-overflow:ellipsis}i.lane{position:absolute;left:calc(10px + var(--lane)*13px);top:8px;width:8px;height:8px;border-radius:50%;background:var(--ink)}
td.call,td.function{width:1%;white-space:nowrap;color:var(--soft)}td.function{max-width:280px;overflow:hidden;text-overflow:ellipsis}
.chip{display:inline-block;width:9px;height:9px;margin-right:7px;border-radius:2px;background:var(--hue)}
tr.switch>td{border-top:1px solid var(--line)}tr[data-event]{cursor:pointer;outline:none;scroll-margin:calc(var(--sticky) + 12px) 0 24vh}
tr.wait>.what{background:repeating-linear-gradient(135deg,transparent 0 4px,var(--grid) 4px 8px)}tr.call>.what{font-weight:700}tr.warning>.what{color:var(--warn);font-weight:700}tr.fault>.what{color:var(--h4)}tr.power{background:var(--power-back)}tr.power>.what{font-weight:700}tr.error>.what{color:var(--fail);font-weight:700}tr.gap{background:repeating-linear-gradient(135deg,transparent 0 4px,var(--grid) 4px 8px)}tr.gap>.what{color:var(--soft);font-style:italic}
tr.fails>td:first-child{box-shadow:inset 3px 0 var(--fail)}tr.failed{background:var(--fail)}tr.failed>td{color:var(--surface);font-weight:700}
tr.on.on.on,tr.on.on.on>td,tr[data-event]:focus-visible>td{background:var(--on);color:var(--ink)}
pre{margin:0 0 12px;border:1px solid var(--line);border-radius:6px;padding:12px 14px;background:var(--surface);font-size:12px;line-height:1.5;white-space:pre-wrap}
${Object.keys(FILTERS).map((filter) => `.no-${filter} [data-kind=${filter}]`).join(",")}{display:none}
.strips{display:none}
@media screen and (min-width:900px) and (min-height:640px){.sticky{position:sticky;top:0;z-index:2;background:var(--page);padding-top:6px}.scroll{max-height:56vh}}
@media (max-width:720px){body{padding:18px 12px 40px}h1{font-size:22px}thead{display:none}table,tbody{display:block}tr{display:grid;grid-template-columns:3.2em auto 1fr;padding:3px 8px 3px 0}td{padding:1px 6px}td.step{width:auto}td.task,td.call{width:auto;max-width:none}td.call{text-align:right}td.function{display:none}td.what{grid-column:2/4}tr.failed td:empty{display:none}tr.switch{border-top:1px solid var(--line)}tr.switch>td{border-top:0}}
@media print{@page{size:A4 landscape;margin:12mm}:root{--page:#fff}body{padding:0;max-width:none;font-size:11pt;-webkit-print-color-adjust:exact;print-color-adjust:exact}.filters,.sticky,button{display:none}.strips{display:block}.strips>svg{display:block;width:100%;margin-bottom:8px;border:1px solid var(--line);break-inside:avoid}tr,pre{break-inside:avoid}h2{break-after:avoid}thead{display:table-header-group}}
`;

/** Nothing of the story stands in it: it reads what it needs from the attributes. */
const SCRIPT = `
(() => {
  "use strict";
  const all = (selector) => [...document.querySelectorAll(selector)];
  const scroll = document.querySelector(".scroll"), sticky = document.querySelector(".sticky"), cursor = document.querySelector("#cursor"), detail = document.querySelector("#detail");
  const unit = Number(document.querySelector(".chart").dataset.unit);
  const rows = new Map(all("tr[data-event]").map((row) => [row.dataset.event, row]));
  const bars = all("#bars [data-events]").sort((one, other) => parseInt(one.dataset.events) - parseInt(other.dataset.events));
  const eventsOf = (element) => element.dataset.event !== undefined ? [element.dataset.event] : element.dataset.events.split(" ");
  const barsOf = (event) => bars.filter((bar) => eventsOf(bar).includes(event));
  const find = (target) => target instanceof Element ? target.closest("[data-event],[data-events]") : null;
  const hint = detail.textContent;
  let pinned = null;

  function show(element) {
    for (const lit of all(".on")) lit.classList.remove("on");
    detail.classList.toggle("told", element !== null);
    if (element === null) { cursor.setAttribute("x", -99); detail.textContent = hint; return; }
    const events = eventsOf(element);
    for (const event of events) rows.get(event)?.classList.add("on");
    for (const bar of element.dataset.event === undefined ? [element] : barsOf(events[0])) bar.classList.add("on");
    cursor.setAttribute("x", Number(events[0]) * unit);
    const title = element.querySelector("title");
    detail.textContent = title !== null ? title.textContent : [...element.cells].map((cell) => cell.textContent).filter((text) => text !== "").slice(element.cells[0].textContent === "" ? 0 : 1).join("  ");
  }

  /** To the row of a bar, or to the column of a row. */
  function reveal(element) {
    if (element.dataset.event === undefined) { rows.get(eventsOf(element)[0])?.scrollIntoView({ block: "nearest" }); return; }
    bring(Number(element.dataset.event) * unit);
  }

  function bring(x) {
    const room = scroll.clientWidth - document.querySelector(".labels").getBoundingClientRect().width;
    if (x < scroll.scrollLeft || x + unit > scroll.scrollLeft + room) scroll.scrollLeft = Math.max(0, x - room / 2);
  }

  document.addEventListener("mouseover", (event) => show(find(event.target) ?? pinned));
  document.addEventListener("focusin", (event) => { const element = find(event.target); if (element !== null) show(element); });
  document.addEventListener("click", (event) => {
    const element = find(event.target);
    if (element === null && event.target.closest("label,button,.scroll")) return;
    pinned = element;
    show(pinned);
    if (element !== null) reveal(element);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { pinned = null; show(null); return; }
    const element = find(event.target);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (element === null || step === undefined) return;
    const list = (element.dataset.event === undefined ? bars : [...rows.values()]).filter((other) => other.getClientRects().length > 0);
    const next = list[list.indexOf(element) + step];
    if (next === undefined) return;
    event.preventDefault();
    element.tabIndex = -1;
    next.tabIndex = 0;
    next.focus({ preventScroll: next.dataset.event === undefined });
    bring(Number(eventsOf(next)[0]) * unit);
  });
  // One stop for the tabulator in the timeline and one in the table; the arrows go on from there.
  for (const first of [bars[0], rows.get("0")]) if (first !== undefined) first.tabIndex = 0;

  for (const box of all("[data-filter]")) {
    const apply = () => document.documentElement.classList.toggle("no-" + box.dataset.filter, !box.checked);
    box.addEventListener("change", apply);
    apply();
  }

  const measure = () => document.documentElement.style.setProperty("--sticky", getComputedStyle(sticky).position === "sticky" ? sticky.offsetHeight + "px" : "0px");
  addEventListener("resize", measure);
  measure();

  const copy = document.querySelector("#copy"), replay = document.querySelector("#replay");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(replay.textContent);
    } catch {
      getSelection().selectAllChildren(replay);
      document.execCommand("copy");
    }
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
})();
`;
