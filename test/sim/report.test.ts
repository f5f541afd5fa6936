/** The story of a failure, for a terminal and for other programs. */
import { describe, expect, test } from "vitest";
import { scenarioNamed, strategyNamed } from "../../src/sim/catalogue.js";
import { Choices } from "../../src/sim/choices.js";
import { DEFAULT_BUDGET, explore } from "../../src/sim/explore.js";
import { decodeReplay } from "../../src/sim/replay.js";
import { storyHtml } from "../../src/sim/report/html.js";
import { storyJson, storyStretches } from "../../src/sim/report/json.js";
import type { Story, StoryEvent } from "../../src/sim/report/story.js";
import { tell } from "../../src/sim/report/story-teller.js";
import { storyTable } from "../../src/sim/report/table.js";
import { runScenario } from "../../src/sim/run.js";
import { scenario, type Scenario } from "../../src/sim/scenario.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";

const event = (step: number, task: number, kind: StoryEvent["kind"], text: string, more: Partial<StoryEvent> = {}): StoryEvent => ({ step, task, kind, text, ...more });
const lock = (step: number, task: number, kind: "acquire" | "wait" | "release", name: string, functionName: string, call: string, mode = "write"): StoryEvent =>
  event(step, task, kind, `${name} (${mode})`, { lock: name, function: functionName, call });

/** Each holds what the other one waits for. */
const DEADLOCK: Story = {
  scenario: "engine/rename-truncate",
  description: "A file is renamed while it is truncated.",
  strategy: "handle-inside-invalidate-lock",
  replay: "engine/rename-truncate:it's:0.1.1", replayOptions: [],
  tasks: ["rename", "truncate"],
  events: [
    event(1, 0, "call", 'rename("/a", "/b")', { call: "rename", function: "rename" }),
    lock(1, 0, "acquire", "i_rwsem of inode 2", "lockRename", "rename"),
    event(2, 0, "handle", "EXT4_HT_DIR credits=24", { call: "rename", function: "start", tid: 7 }),
    event(3, 1, "call", "ftruncate(3, 0)", { call: "ftruncate", function: "ftruncate" }),
    lock(3, 1, "acquire", "invalidate_lock of inode 12", "truncate", "ftruncate"),
    event(4, 1, "wait", "handles of transaction 7", { call: "ftruncate", function: "reserve" }),
    lock(5, 0, "wait", "invalidate_lock of inode 12", "evict", "rename", "read"),
  ],
  failure: { kind: "deadlock", message: "nothing can run: rename waits for truncate, truncate for the commit of transaction 7, and that for rename", step: 5 },
  warnings: [],
  stacks: [
    { task: "rename", state: "waits for invalidate_lock of inode 12 (read)", stack: ["evict", "rename"] },
    { task: "truncate", state: "waits for handles of transaction 7", stack: ["reserve", "truncate"] },
  ],
};

test("a small story", () => {
  expect(storyTable(DEADLOCK, { widthMax: 110 })).toMatchInlineSnapshot(`
    "scenario   engine/rename-truncate
               A file is renamed while it is truncated.
    strategy   handle-inside-invalidate-lock
    failure    deadlock at step 5 of 5: nothing can run: rename waits for truncate, truncate for the commit of
               transaction 7, and that for rename
    story      2 tasks, 5 steps, 2 switches between tasks, 7 events

       step  task        system call  function    what happened
    ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
          1  rename      rename       rename      rename("/a", "/b")
             ┊                        lockRename  takes i_rwsem of inode 2 (write)
          2  ┊                        start       handle: EXT4_HT_DIR credits=24 (transaction 7)
          3    truncate  ftruncate    ftruncate   ftruncate(3, 0)
               ┊                      truncate    takes invalidate_lock of inode 12 (write)
    ~     4    ┊                      reserve     waits for handles of transaction 7
    ✗     5  rename      rename       evict       waits for invalidate_lock of inode 12 (read), held by truncate
    ✗     5                                       FAILURE: deadlock: nothing can run: rename waits for truncate,
                                                  truncate for the commit of transaction 7, and that for rename

    INFO: task rename blocked: waits for invalidate_lock of inode 12 (read)
    task:rename          state:D  waits for invalidate_lock of inode 12 (read)
    Call Trace:
     <TASK>
     evict
     rename
     </TASK>

    INFO: task truncate blocked: waits for handles of transaction 7
    task:truncate        state:D  waits for handles of transaction 7
    Call Trace:
     <TASK>
     reserve
     truncate
     </TASK>

    ext4 lab replay 'engine/rename-truncate:it'\\''s:0.1.1'"
  `);
});

test("no line is wider than the terminal, and nothing is lost", () => {
  for (const widthMax of [10, 60, 80, 100, 200]) {
    const lines = storyTable(DEADLOCK, { widthMax }).split("\n");
    const end = lines.findIndex((line) => line.startsWith("INFO:"));
    for (const line of lines.slice(0, end)) expect(line.length).toBeLessThanOrEqual(Math.max(widthMax, 60));
    expect(lines.slice(0, end).join(" ").replace(/\s+/g, " ")).toContain("invalidate_lock of inode 12 (read), held by truncate");
  }
});

test("the last line is what a shell takes", () => {
  expect(storyTable(DEADLOCK).split("\n").at(-1)).toBe("ext4 lab replay 'engine/rename-truncate:it'\\''s:0.1.1'");
});

test("each task has its place, and is named where its turn begins", () => {
  const lines = storyTable({ ...DEADLOCK, tasks: ["first", "second"], events: [0, 0, 1, 1, 0].map((task, index) => event(index, task, "call", `call ${index}`)) }).split("\n");
  const cells = lines.filter((line) => / call \d$/.test(line)).map((line) => /^. +\d+ {2}( *\S+)/.exec(line)![1]);
  expect(cells).toEqual(["first", "┊", "  second", "  ┊", "first"]);
});

test("waits, faults, power cuts and the failing step are marked", () => {
  const events = [event(1, 0, "wait", "a commit"), event(2, 0, "fault", "a fault"), event(3, -1, "power", "the power fails"), event(4, 0, "event", "a mount"), event(5, 0, "event", "after it")];
  const lines = storyTable({ ...DEADLOCK, events, failure: { kind: "lost write", message: "a byte is gone\nand another", step: 4 } }).split("\n");
  const table = lines.slice(lines.findIndex((line) => line.startsWith("─")) + 1);
  expect(table.slice(0, 6).map((line) => [line[0], line.slice(1).trim().split(/ {2,}/).at(-1)])).toEqual([
    ["~", "waits for a commit"], ["!", "a fault"], ["↯", "the power fails"], ["✗", "a mount"], ["✗", "FAILURE: lost write: a byte is gone"], [" ", "after it"],
  ]);
  expect(lines.filter((line) => line.includes("and another"))).toEqual(["           and another"]);
});

test("what one task does in peace is folded; locks that others wait for are not, nor is the step that fails", () => {
  const quiet = Array.from({ length: 20 }, (_, index) => event(2, 0, index % 2 === 0 ? "io" : "event", `quiet ${index}`));
  const told = (events: readonly StoryEvent[], step = 9): string[] => storyTable({ ...DEADLOCK, events, failure: { ...DEADLOCK.failure, step } }).split("\n").filter((line) => /quiet|more|takes/.test(line)).map((line) => line.replace(/^.* {2}/, ""));
  expect(told(quiet)).toEqual(["quiet 0", "quiet 1", "… 17 more (9 I/Os, 8 events)", "quiet 19"]);
  expect(told(quiet.slice(0, 8))).toHaveLength(8);
  expect(told(quiet, 2)).toHaveLength(20);
  const acquire = lock(2, 0, "acquire", "i_rwsem", "write", "pwrite");
  expect(told([...quiet.slice(0, 5), acquire, ...quiet.slice(5, 10)])).toEqual(["quiet 0", "quiet 1", "… 8 more (1 lock taken, 4 I/Os, 3 events)", "quiet 9"]);
  expect(told([...quiet.slice(0, 5), acquire, ...quiet.slice(5, 10), lock(3, 1, "wait", "i_rwsem", "write", "pwrite")])).toContain("takes i_rwsem (write)");
});

test("warnings stand between the lines of Linux's, other reports as they are", () => {
  const text = storyTable({ ...DEADLOCK, warnings: ["EIO: WARNING: at mm/filemap.c:262 __delete_from_page_cache\nCall Trace:\n dax_insert_mapping_entry", "possible circular locking"] });
  expect(text).toContain("\n------------[ cut here ]------------\nWARNING: at mm/filemap.c:262 __delete_from_page_cache\nCall Trace:\n dax_insert_mapping_entry\n---[ end trace 0000000000000000 ]---\n\npossible circular locking\n\n");
});

test("a terminal is told nothing but text", () => {
  const evil = "\u001b[31mred\u0007\u202e\ud800\n";
  const text = storyTable({ scenario: evil, description: evil, strategy: evil, replay: evil, replayOptions: [evil], tasks: [evil], events: [event(1, 0, "call", evil, { call: evil, function: evil })], failure: { kind: evil, message: evil, step: 1 }, warnings: [evil], stacks: [{ task: evil, state: evil, stack: [evil] }] });
  expect(text).not.toMatch(/[^\n\P{C}]/u);
  expect(text).toContain("\\x1b[31mred\\x07\\u{202e}\\u{d800}\\n");
});

test("a story of nothing", () => {
  expect(storyTable({ ...DEADLOCK, tasks: [], events: [], stacks: [], failure: { kind: "fsck", message: "a block is claimed twice", step: 0 } })).toContain("✗     0  ");
});

test("stretches: a lock is waited for, then held; the power ends everything", () => {
  const events = [
    event(1, 0, "call", "fsync(3)"),
    lock(1, 0, "acquire", "i_rwsem", "fsync", "fsync", "read"),
    lock(2, 1, "wait", "i_rwsem", "write", "pwrite"),
    lock(3, 0, "release", "i_rwsem", "fsync", "fsync", "read"),
    lock(4, 1, "acquire", "i_rwsem", "write", "pwrite"),
    event(4, 1, "handle", "starts", { tid: 3 }),
    event(5, 2, "commit", "jbd2_start_commit", { tid: 3 }),
    event(5, 1, "handle", "ends", { tid: 3 }),
    event(6, 2, "commit", "jbd2_commit_logging", { tid: 3 }),
    event(7, -1, "power", "the power fails"),
    event(8, 0, "call", "pread(3)"),
  ];
  const stretches = storyStretches({ ...DEADLOCK, tasks: ["reader", "writer", "jbd2"], events });
  expect(stretches.map(({ kind, task, from, to, isCutOff, mode, holders }) => [kind, task, from, to, isCutOff, mode ?? "", holders ?? ""])).toEqual([
    ["call", 0, 0, 9, true, "", ""],
    ["hold", 0, 1, 3, false, "read", ""],
    ["wait", 1, 2, 4, false, "write", [0]],
    ["hold", 1, 4, 9, true, "write", ""],
    ["handle", 1, 5, 7, false, "", ""],
    ["running", -1, 5, 6, false, "", ""],
    ["committing", -1, 6, 9, true, "", ""],
    ["call", 0, 10, 11, true, "", ""],
  ]);
  expect(stretches.find(({ kind }) => kind === "committing")!.events).toEqual([6, 7, 8, 9]);
});

test("JSON is the story and its stretches", () => {
  const { stretches, ...story } = JSON.parse(JSON.stringify(storyJson(DEADLOCK))) as ReturnType<typeof storyJson>;
  expect(story).toEqual(DEADLOCK);
  expect(stretches).toHaveLength(8);
});

/** What a run by this string tells: it must fail. */
function storyOf(told: Scenario, strategy: string, tail: string): Story {
  const { story } = tell(told, strategy, strategyNamed(strategy), decodeReplay(`${told.name}:${strategy}:${tail}`));
  expect(story, tail).toBeDefined();
  return story!;
}
const recorded = (text: string): Story => storyOf(scenarioNamed(text.split(":")[0]!), text.split(":")[1]!, text.split(":")[2]!);

/** A file is written and synced; who does not get what he wants throws what is none of the engine's errors. */
const writeAndSync = scenario<{ readonly fd: number }>({
  name: "test/write-and-sync", description: "a file is written and synced",
  *prepare({ process }) {
    return { fd: yield* process.open("/f", O_RDWR | O_CREAT) };
  },
  tasks: {
    *write({ process }, { fd }) {
      try {
        yield* process.pwrite(fd, new Uint8Array(3000).fill(7), 0);
        yield* process.fsync(fd);
      } catch {
        throw new TypeError("it went wrong");
      }
    },
    *later({ process }) {
      yield* process.stat("/f");
    },
  },
  faults: { requests: true, space: true, memory: true },
  afterCrash: function* (lab) {
    lab.check(false, "no cut is right");
  },
  crash: true,
});

describe("a fault from outside", () => {
  test.each([
    ["f1", "request 1 fails with EIO"],
    ["F1", "request 1 fails with EIO, and all later ones"],
    ["s0", "0 blocks are free"],
  ])("%s stands in the head of each report", (tail, words) => {
    const story = storyOf(writeAndSync, "default", tail);
    expect(storyJson(story).fault).toBe(words);
    expect(storyTable(story)).toContain(`\nfault      ${words}\n`);
    expect(storyHtml(story)).toContain(`<b>fault</b> ${words}<`);
  });

  test("the request that fails is told as such", () => {
    const story = storyOf(writeAndSync, "default", "f1");
    const [asked, failed] = story.events.filter(({ kind }) => kind === "io");
    expect(asked!.text).toMatch(/^read 1024 at \d+$/);
    expect(failed).toEqual({ step: asked!.step + 1, task: 0, kind: "io", text: `fails with EIO: ${asked!.text}`, call: "fsync", function: asked!.function, error: "EIO" });
    expect(storyTable(story)).toMatch(/^✗ .*fails with EIO: read 1024 at/m);
    expect(storyTable({ ...story, failure: { ...story.failure, step: 99 } })).toMatch(/^! .*fails with EIO: read 1024 at/m);
  });

  test("and on persistent memory, where nobody waits for it", () => {
    const story = storyOf({ ...writeAndSync, name: "test/on-pmem", world: { device: "pmem" } }, "default", "F1");
    expect(story.events.filter(({ error }) => error !== undefined).map(({ text }) => text)[0]).toMatch(/^fails with EIO: (?:read|write) 4096 at \d+/);
  });

  test("a cache of few pages", () => {
    const told = scenario({ name: "test/few-pages", description: "", faults: { memory: true }, tasks: { *fails() { throw new Error("always"); } } });
    expect(storyOf(told, "default", "m1").fault).toBe("the page cache holds 1 page");
    expect(storyOf(told, "default", "m3").fault).toBe("the page cache holds 3 pages");
    expect(storyOf(told, "default", "").fault).toBeUndefined();
  });
});

describe("where each task stood", () => {
  test("who threw has ended, and where; who never began has not begun", () => {
    const [write, later] = storyOf(writeAndSync, "default", "f1").stacks;
    expect(write).toEqual({ task: "write", state: "ended with TypeError: it went wrong", stack: [expect.stringMatching(/^write \(.*report\.test\.ts:\d+:\d+\)$/)] });
    expect(later).toEqual({ task: "later", state: "has not begun", stack: [] });
    const text = storyTable(storyOf(writeAndSync, "default", "f1"));
    expect(text).toContain("\ntask:write           state:X  ended with TypeError: it went wrong\nCall Trace:\n <TASK>\n write (");
    expect(text).not.toContain("task write blocked");
  });

  test("a request's error has the stack of who made the request", () => {
    const told = scenario<number>({
      name: "test/unexpected", description: "", faults: { requests: true, codes: [] },
      *prepare({ process }) { return yield* process.open("/f", O_RDWR | O_CREAT); },
      tasks: {
        *write({ process }, fd) {
          yield* process.pwrite(fd, new Uint8Array(3000).fill(7), 0);
          yield* process.fsync(fd);
        },
      },
    });
    const { failure, stacks: [write] } = storyOf(told, "default", "f1");
    expect(failure.message).toMatch(/^EIO: request 1, read 1024 at \d+, was to fail/);
    expect(write!.state).toBe(`ended with ${failure.message}`);
    expect(write!.stack).toEqual(["load", expect.anything(), ...write!.stack.slice(2, -2), "fsync", expect.stringMatching(/^write \(/)]);
  });

  test("a power cut: nothing is told of what the step would have gone on to", () => {
    const { stacks: [write], events } = storyOf(writeAndSync, "default", explore(writeAndSync, "default", {}, { ...DEFAULT_BUDGET, runs: 1 }).replay!.split(":")[2]!);
    const power = events.findIndex(({ kind }) => kind === "power");
    expect(events.slice(power + 1)).toEqual([]);
    expect(events[power]!.text).toMatch(/^the power fails at a write with FUA: /);
    const last = events.findLast(({ kind }) => kind === "io")!;
    expect(write!.state).toBe(`blocked on ${last.text}`);
    expect(write!.stack[0]).toBe(last.function);
    expect(write!.stack.at(-1)).toMatch(/^write \(.*report\.test\.ts/);
  });

  test("a stack is that of the state", () => {
    const [fault] = recorded("history/journal-switch:linux-4.13:zc.1").stacks;
    expect(fault).toEqual({ task: "fault", state: "about to go on at fsync", stack: ["fault"] });
    const sleeper = recorded("bugs/lost-wakeup:lost-wakeup:z4.1.z6.1").stacks.find(({ state }) => state === "waits for dax_entry_lock")!;
    expect(sleeper.stack[0]).toBe("lockCurrent");
  });
});

test("requests are told with who made them, in which mode", () => {
  const story = recorded("bugs/freed-metadata-block:freed-block-comes-home:zi!2.1.1.1.1.1.1.1");
  const made = story.events.filter(({ kind, text }) => kind === "io" && !text.startsWith("done")).map(({ text, function: name }) => `${name}: ${text.replace(/\d+ at \d+/g, "N")}`);
  expect(made).toEqual(expect.arrayContaining(["writeOut: write N", "writeRecord: write N", "flushRecord: flush", "writeCommitBlock: write N, FUA", "flushHome: flush"]));
});

test("a cut during the recovery is told after the first one, with what the recovery had done", () => {
  const story = recorded("bugs/create-and-fsync:recovery-without-flush:!2.1!z2.1.2.z1.2.1.1.1");
  const { events } = story;
  const [first, second] = events.flatMap(({ kind }, index) => (kind === "power" ? [index] : []));
  expect(events[first!]!.text).toMatch(/^the power fails at a write with FUA: write 1024 at \d+ is there$/);
  expect(events[second!]!.text).toMatch(/^the power fails again, at a write with FUA of the recovery: write .* is lost/);
  const between = events.slice(first! + 1, second);
  expect(between.every(({ kind, task, text }) => kind === "io" && task === -1 && text.startsWith("recovery: "))).toBe(true);
  expect(between.map(({ function: name }) => name)).toContain("recoverOntoDevice");
  expect(second).toBe(events.length - 1);
  expect(storyTable(story).match(/^↯/gm)).toHaveLength(2);
});

describe("errors with stacks", () => {
  test("lockdep's report has names alone, and a call's row its first line", () => {
    const story = recorded("bugs/commit-under-i_data_sem:commit-under-i_data_sem:");
    const lines = story.failure.message.split("\n");
    expect(lines.slice(0, 3)).toEqual(["s_writepages_rwsem is taken while i_data_sem of inode 12 is held, at", " writebackInode", " syncFile"]);
    expect(lines.slice(3).every((line) => /^(?: \w+|where .* at|but the order is .*)$/.test(line)), story.failure.message).toBe(true);
    expect(story.events.at(-1)!.text).toBe("fsync = LockOrderError: s_writepages_rwsem is taken while i_data_sem of inode 12 is held");
    const text = storyTable(story);
    expect(text).toMatch(/^✗ .*FAILURE: lockdep: s_writepages_rwsem is taken while i_data_sem of inode 12 is$/m);
    expect(text).not.toMatch(/file:|\.ts|\.js|<anonymous>/);
    expect(text.split("\n").length).toBeLessThan(80);
  });

  test("of a scenario's own mistake the place is told, and nothing of the lab's", () => {
    const { failure } = storyOf(writeAndSync, "default", "f1");
    expect(failure.message).toMatch(/^TypeError: it went wrong\nCall Trace:\n write \([^\n]*report\.test\.ts:\d+:\d+\)$/);
  });
});

test("a story that goes on and on is told from both its ends", () => {
  const told = scenario({ name: "test/never", description: "a task that never ends", tasks: { *spins({ process }) { for (;;) yield* process.stat("/"); } } });
  const story = storyOf(told, "default", "");
  const { events, failure } = story;
  expect(failure).toMatchObject({ kind: "livelock", message: "after 20000 steps nobody has come to an end: spins goes on and on" });
  expect(events).toHaveLength(601);
  const gap = events[300]!;
  expect(gap).toMatchObject({ kind: "gap", task: -1, step: events[299]!.step + 1 });
  expect(gap.text).toBe(`${gap.count} events are left out here, up to step ${events[301]!.step - 1}`);
  expect(gap.count).toBeGreaterThan(30_000);
  expect(storyTable(story)).toContain(`${gap.count! + 600} events, of which 600 are told`);
  expect(storyTable(story)).toMatch(/^⋮ .* events are left out here, up to step \d+$/m);
  expect(storyHtml(story).length).toBeLessThan(500_000);
  expect(storyStretches({ ...story, events: [event(1, 0, "call", "stat"), event(2, -1, "gap", "9 events are left out here"), event(9, 0, "return", "stat = 0")] })).toMatchObject([{ kind: "call", to: 1, isCutOff: true }]);
});

test("what differs between two runs that should be one is told", () => {
  const told = (difference: (round: number) => number): string => {
    let round = 0;
    const changing = scenario<number>({
      name: "test/changing", description: "",
      *prepare({ process }) {
        round++;
        return yield* process.open("/f", O_RDWR | O_CREAT);
      },
      tasks: {
        *writes({ process }, fd) {
          yield* process.stat("/f");
          for (let count = difference(round); count > 0; count--) yield* process.pwrite(fd, new Uint8Array(1), 0);
        },
      },
    });
    const { found } = explore(changing, "default", {}, { ...DEFAULT_BUDGET, runs: 1 });
    expect(found?.failure.kind).toBe("nondeterminism");
    return found!.failure.message;
  };
  expect(told((round) => round)).toMatch(/^the same choices lead elsewhere: the first difference is that, the second time, writes calls pwrite\(3, 1 x 0x0, 0\) in step \d+$/);
  expect(told((round) => 2 - round)).toBe("the same choices lead elsewhere: the second time fewer calls are made");
});

test.each([
  "history/journal-switch:linux-4.13:zc.1", "history/journal-switch:default:zb.1", "bugs/lost-wakeup:lost-wakeup:z4.1.z6.1", "bugs/create-and-fsync:recovery-without-flush:!2.1!z2.1.2.z1.2.1.1.1", "bugs/commit-under-i_data_sem:commit-under-i_data_sem:",
  "bugs/map-sync-without-commit:map-sync-without-commit:!1", "engine/rename-unlink:default:z4.1.z2.1",
])("who listens changes nothing: %s", (text) => {
  const { scenario: name, strategy, choices, cuts, fault } = decodeReplay(text);
  const alone = runScenario({ scenario: scenarioNamed(name), strategy: strategyNamed(strategy), choices: new Choices(choices), cuts, fault });
  const { result } = tell(scenarioNamed(name), strategy, strategyNamed(strategy), decodeReplay(text));
  expect({ ...result.failure, message: "" }).toEqual({ ...alone.failure, message: "" });
  expect([result.fingerprint, result.stepCount, result.choices]).toEqual([alone.fingerprint, alone.stepCount, alone.choices]);
});
