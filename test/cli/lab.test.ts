/** The lab's verbs: runs, replays, shorter strings, the list, and the order of locks. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../support/host.js";
import { ext4, ext4Output, ext4Records } from "./ext4.js";

const SWITCH = "history/journal-switch";

/** What a run printed, as the story's last line has it. */
const replayIn = (text: string): string => /^ext4 lab replay '(.*)'$/m.exec(text)![1]!;

test("a failure is found, told, replayed, and gone with the engine as it ships", async () => {
  const page = join(temporaryFolder(), "story.html");
  const { status, stdout, stderr } = await ext4("lab", "run", SWITCH, "--strategy", "linux-4.13", "--html", page);
  expect({ status, stderr }).toEqual({ status: 1, stderr: "" });
  expect(stdout).toMatch(/^history\/journal-switch with linux-4\.13: warning, found in run \d+\n/);
  expect(stdout.replace(/\s+/g, " ")).toContain("FAILURE: warning: WARNING: at mm/filemap.c:262 __delete_from_page_cache");
  expect(readFileSync(page, "utf8")).toMatch(/^<!doctype html>[\s\S]*__delete_from_page_cache/);
  const replay = replayIn(stdout);
  expect(replay).toMatch(/^history\/journal-switch:linux-4\.13:[0-9a-z.]+$/);

  const again = await ext4("lab", "replay", replay);
  expect(again.status).toBe(1);
  expect(stdout).toContain(again.stdout.slice(0, again.stdout.indexOf("FAILURE"))); // the same story
  expect(await ext4Output("lab", "replay", replay.replace("linux-4.13", "default"))).toBe("history/journal-switch with default passes\n");
});

test("nothing is found: the budget and what was left out are stated", async () => {
  const output = await ext4Output("lab", "run", SWITCH, "--runs", "8", "--workers", "1");
  expect(output).toMatch(/^history\/journal-switch with the engine as it ships: nothing found\n/);
  expect(output).toMatch(/interleavings with at most 2 preemptions, depth first: \d+ runs .*cut off by the budget/);
  expect(output).toMatch(/\d+ runs by PCT/);
  expect(output).toMatch(/budget: 8 runs, explorer auto, seed 1, .* 1 worker\n$/);
});

test.each([
  ["a failure", ["--strategy", "linux-4.13", "--no-shrink"], 1],
  ["nothing found", ["--runs", "12"], 0],
] as const)("%s: the verdict is the same for one worker and for three", async (_name, options, expected) => {
  const [one, three] = await Promise.all(["1", "3"].map(async (workers) => {
    const { status, stdout } = await ext4("--json", "lab", "run", SWITCH, ...options, "--story", "--workers", workers);
    return { status, stdout: stdout.replace(/"seconds":[\d.]+\}\n$/, "}\n") };
  }));
  expect(one).toEqual(three);
  expect(one!.status).toBe(expected);
});

test("shrink: a shorter string for the same failure", async () => {
  const { stdout } = await ext4("--json", "lab", "run", SWITCH, "--strategy", "linux-4.13", "--explorer", "random", "--no-shrink");
  const { replay, found } = JSON.parse(stdout) as { replay: string; found: { kind: string } };
  const { status, stdout: shrunk } = await ext4("--json", "lab", "shrink", replay);
  expect(status).toBe(1);
  const record = JSON.parse(shrunk) as { replay: string; found: { kind: string; turns: number }; story: { tasks: string[]; events: unknown[]; stretches: unknown[] } };
  expect(record.replay.length).toBeLessThan(replay.length);
  expect(record.found.kind).toBe(found.kind);
  expect(record.story.tasks).toEqual(["fault", "chattr"]);
  expect(Math.min(record.story.events.length, record.story.stretches.length)).toBeGreaterThan(10);
  expect(await ext4Output("lab", "shrink", `${SWITCH}:default:`)).toContain("passes");
});

test("list: every scenario, every planted bug", async () => {
  const records = await ext4Records("lab", "list") as unknown as { type: string; name: string; scenario: string; crash: boolean }[];
  const scenarios = new Set(records.filter(({ type }) => type === "scenario").map(({ name }) => name));
  const bugs = records.filter(({ type }) => type === "bug");
  expect(bugs.length).toBeGreaterThanOrEqual(16);
  for (const { scenario } of bugs) expect(scenarios).toContain(scenario);
  const text = await ext4Output("lab", "list");
  for (const { name } of records) expect(text).toContain(name);
});

test("locks draws what was seen, outer above inner", async () => {
  const drawing = await ext4Output("lab", "locks");
  expect(drawing).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
  expect(drawing).toMatch(/<title>jbd2_handle under i_writeback\n/);
  const place = (name: string): number => Number(new RegExp(`y="(\\d+)">${name}<`).exec(drawing)![1]);
  expect(place("mmap_lock")).toBeLessThan(place("invalidate_lock"));
  expect(place("invalidate_lock")).toBeLessThan(place("jbd2_handle"));
  const file = join(temporaryFolder(), "locks.svg");
  expect(await ext4Output("lab", "locks", "-o", file)).toBe("");
  expect(readFileSync(file, "utf8")).toBe(drawing);
});

test("locks as JSON: each pair with its reasons and both places", async () => {
  const [record] = await ext4Records("lab", "locks") as unknown as { classes: { name: string; rank: number }[]; edges: { from: string; to: string; why: string[]; fromStack: string[]; toStack: string[] }[] }[];
  const rank = new Map(record!.classes.map(({ name, rank }) => [name, rank]));
  for (const { from, to, why, fromStack, toStack } of record!.edges) {
    expect(rank.get(from)!).toBeLessThan(rank.get(to)!);
    expect(Math.min(why.length, fromStack.length, toStack.length), `${from} > ${to}`).toBeGreaterThan(0);
  }
  expect(record!.edges.find(({ from, to }) => from === "i_rwsem" && to === "invalidate_lock")!.toStack.join("\n")).toMatch(/setSize|fallocate|withFaultsLockedOut/);
});

test.each([
  [["nothing"], "unknown command 'nothing'"],
  [[], "Usage: ext4 lab"],
  [["run", "no/such"], "no scenario is called 'no/such'"],
  [["run", "no-such.mjs"], "no-such.mjs: no such file"],
  [["run", SWITCH, "--strategy", "none"], "no strategy is called 'none'"],
  [["run", SWITCH, "--runs", "0"], "--runs is a number from 1"],
  [["run", SWITCH, "--explorer", "none"], "--explorer is auto, depth-first, pct, random"],
  [["run", "history/*", "--html", "x.html"], "--html is for one scenario"],
  [["run", SWITCH, "--html", "/no/such/story.html"], "--html /no/such/story.html: ENOENT"],
  [["run", SWITCH, "--html", "/"], "--html /: it is a folder"],
  [["replay", `${SWITCH}:default:`, "--html", "/no/such/story.html"], "--html /no/such/story.html: ENOENT"],
  [["shrink", `${SWITCH}:default:`, "--html", "/no/such/story.html"], "--html /no/such/story.html: ENOENT"],
  [["run", SWITCH, "--seconds", "0"], "--seconds is a number above 0"],
  [["run", SWITCH, "--grace", "long"], "--grace is a number above 0"],
  [["replay", "nonsense"], "is no replay string"],
  [["replay", `${SWITCH}:linux-4.13:zb.q`], "was made for another scenario, strategy or engine"],
  [["shrink", `${SWITCH}:linux-4.13:A`], "'A' is no choice"],
])("what it cannot do: %j", async (words, complaint) => {
  const { status, stdout, stderr } = await ext4("lab", ...words);
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  expect(stderr).toContain(complaint);
});

test("help has examples, and tells how the lab ends", async () => {
  expect((await ext4("--help")).stdout).toMatch(/Exit codes: .*1 .*or the lab found a failure/);
  expect((await ext4("lab", "run", "--help")).stdout).toMatch(/Exit codes: .*1 a failure was found.*\n130 interrupted/);
  await Promise.all(["run", "list", "replay", "shrink", "locks"].map(async (action) => expect((await ext4("lab", action, "--help")).stdout).toContain(`Examples:\n  ext4 lab ${action}`)));
});
