/** The story of a failure, for a terminal and for other programs. */
import { expect, test } from "vitest";
import { storyJson, storyStretches } from "../../src/sim/report/json.js";
import type { Story, StoryEvent } from "../../src/sim/report/story.js";
import { storyTable } from "../../src/sim/report/table.js";

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
