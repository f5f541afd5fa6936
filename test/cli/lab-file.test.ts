/** Scenarios from files of a user's own: the example of docs/lab.md, and which engine a file gets. */
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { hasCommand, notTestedHere, temporaryFolder } from "../support/host.js";
import { BIN, ext4, ext4Output, type Ended } from "./ext4.js";

const SMALL = ["--explorer", "random", "--runs", "1", "--crash-states", "4", "--workers", "1"];

function fileWith(text: string, name = "scenario.mjs"): string {
  const file = join(temporaryFolder(), name);
  writeFileSync(file, text);
  return file;
}

test("the verdict of docs/lab.md is what comes out, but for the time that it takes", async () => {
  const text = readFileSync("docs/lab.md", "utf8");
  const verdict = /```\n(mine\/append with [\s\S]*?\n  budget: .*;) [^;]*```/.exec(text)![1]!;
  expect(await ext4Output("lab", "run", fileWith(/```js\n([\s\S]*?)```/.exec(text)![1]!), "--runs", "30", "--crash-states", "4")).toContain(verdict);
});

test("the example of docs/lab.md, with its planted bug", async () => {
  const file = fileWith(/```js\n([\s\S]*?)```/.exec(readFileSync("docs/lab.md", "utf8"))![1]!);
  expect(await ext4Output("lab", "run", file, ...SMALL)).toMatch(/^mine\/append with the engine as it ships: nothing found\n/);
  const { status, stdout } = await ext4("lab", "run", file, ...SMALL, "--strategy", "unflushed");
  expect(status).toBe(1);
  expect(stdout).toContain("the power fails");
  const replay = /^ext4 lab replay --file \S+ '(mine\/append:unflushed:.*)'$/m.exec(stdout)![1]!;
  // Which of the two it is hangs on what the cut left of the record: the commit block vouches for another's bytes, or for none.
  const failure = /FAILURE: (?:durability|corruption): .*/.exec(stdout)![0];
  expect(await ext4("lab", "replay", "--file", file, replay)).toMatchObject({ status: 1, stdout: expect.stringContaining(failure) as string });
  expect(await ext4("lab", "replay", replay)).toMatchObject({ status: 2, stderr: expect.stringContaining("no scenario is called 'mine/append'") as string });
});

const WITH_ERROR = `
import { FsError as Engines } from "ext4";
import { FsError, scenario } from "ext4/sim";
export default scenario({
  name: "mine/enoent",
  description: "a name that is not there",
  *prepare() {},
  tasks: {
    *open({ process }) {
      try {
        yield* process.open("/missing", 0);
      } catch (error) {
        if (!(error instanceof FsError) || FsError !== Engines) throw new TypeError("two engines");
        throw error;
      }
    },
  },
  mayFailWith: ["ENOENT"],
});
`;

const hasE2fsck = hasCommand("e2fsck");
if (!hasE2fsck) notTestedHere("images of the lab, with e2fsck", "e2fsck is not installed");

test("a file has the engine that runs it, whatever is installed beside it; e2fsck sees its images, and nothing is left behind", async () => {
  const left = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith("ext4-lab-"));
  const before = left();
  const folder = temporaryFolder();
  const other = join(folder, "node_modules", "ext4");
  mkdirSync(other, { recursive: true });
  writeFileSync(join(other, "package.json"), JSON.stringify({ name: "ext4", type: "module", exports: { ".": "./other.js", "./sim": "./other.js" } }));
  writeFileSync(join(other, "other.js"), 'throw new Error("the other engine");');
  const file = join(folder, "scenario.mjs");
  writeFileSync(file, WITH_ERROR);
  expect(await ext4Output("lab", "run", file, ...SMALL, ...(hasE2fsck ? ["--fsck"] : []))).toContain("mine/enoent with the engine as it ships: nothing found");
  expect(left()).toEqual(before);
});

/** Whatever it is shown: what it says of an image that the lab itself finds nothing wrong with. */
const STRICT_E2FSCK = `#!/bin/sh
test "$1" = -V && exit 0
echo "Inode 12 is not to e2fsck's taste in $2"
exit 4
`;

afterEach(() => {
  vi.unstubAllEnvs();
});

test("what e2fsck alone sees is made simpler, told, and replayed with it", async () => {
  const file = fileWith(WITH_ERROR);
  withE2fsck(STRICT_E2FSCK);
  const { status, stdout } = await ext4("lab", "run", file, ...SMALL, "--fsck");
  expect({ status, stdout }).toMatchObject({ status: 1, stdout: expect.stringContaining("FAILURE: e2fsck: in the end: Inode 12 is not to e2fsck's taste") as string });
  const command = `ext4 lab replay --file ${file} --fsck 'mine/enoent:default:`;
  const replay = `mine/enoent:default:${stdout.slice(stdout.indexOf(command) + command.length).split("'")[0]}`;
  expect(stdout).toContain(`${command}${replay.split(":")[2]}'`);
  expect(await ext4("lab", "replay", "--file", file, "--fsck", replay)).toMatchObject({ status: 1, stdout: expect.stringContaining("FAILURE: e2fsck") as string });
  expect(await ext4("lab", "replay", "--file", file, replay)).toMatchObject({ status: 0, stdout: "mine/enoent with default passes\n" });
});

test("what is wrong with a file", async () => {
  expect(await ext4("lab", "run", fileWith("export default 1;"))).toMatchObject({ status: 2, stderr: expect.stringContaining("exports no scenario") as string });
  expect(await ext4("lab", "run", fileWith("export default ;"))).toMatchObject({ status: 2, stderr: expect.stringContaining("SyntaxError") as string });
  const broken = fileWith(WITH_ERROR.replace("*prepare() {},", '*prepare() {}, *setup({ process }) { yield* process.rmdir("/none"); },'));
  expect(await ext4("lab", "run", broken)).toMatchObject({ status: 2, stderr: expect.stringContaining("mine/enoent: its setup fails: FsError: ENOENT") as string });
  expect(await ext4("lab", "run", fileWith('exports.s = require("ext4/sim");', "scenario.cjs"))).toMatchObject({ status: 2, stderr: expect.stringContaining("scenarios are ES modules: name it scenario.mjs") as string });
});

test.each(["5", "null", "[]", "{ one: 1 }", "{ one: null }"])("what is exported as strategies is none: %s", async (strategies) => {
  expect(await ext4("lab", "run", fileWith(`${WITH_ERROR}export const strategies = ${strategies};`))).toMatchObject({ status: 2, stdout: "", stderr: expect.stringContaining("scenario.mjs: its strategies are no strategies by name") as string });
});

test("time is a budget, too", async () => {
  const { stdout } = await ext4("--json", "lab", "run", fileWith(WITH_ERROR), "--seconds", "0.5", "--explorer", "random");
  const { isOutOfTime, isInterrupted, seconds, found, budget, fsckImages } = JSON.parse(stdout) as { isOutOfTime: boolean; isInterrupted: boolean; seconds: number; found: unknown; budget: { runs: unknown; seconds: unknown }; fsckImages: unknown };
  expect({ isOutOfTime, isInterrupted, found, fsckImages }).toEqual({ isOutOfTime: true, isInterrupted: false, found: null, fsckImages: null });
  expect(budget).toMatchObject({ runs: null, seconds: 0.5 });
  expect(seconds).toBeLessThan(20);
});

test("a budget that nobody lives to see is one", async () => {
  const { stdout } = await ext4("--json", "lab", "run", fileWith(WITH_ERROR), "--runs", "1000000000", "--seconds", "0.3");
  expect(JSON.parse(stdout)).toMatchObject({ found: null, isOutOfTime: true, budget: { runs: 1_000_000_000, seconds: 0.3 } });
});

/** Goes on and on in some runs, and fails in others. */
const spins = (always: boolean): string => `
import { scenario } from "ext4/sim";
export default scenario({
  name: "mine/spins",
  description: "a step that does not end",
  tasks: {
    *only(lab) {
      const choice = lab.choose(3);
      if (${always} || choice === 1) for (;;);
      lab.check(choice !== 2, "it is two");
    },
  },
});
`;
const LIMITS = ["--seconds", "0.3", "--grace", "2"];

test("a step that does not end is not waited for", async () => {
  const file = fileWith(spins(false));
  const [plain, search, shrinking] = await Promise.all([
    ext4("lab", "run", fileWith(spins(true)), ...LIMITS),
    ext4("lab", "run", file, ...LIMITS, "--explorer", "depth-first", "--workers", "1"),
    // The very first of these runs fails; among simpler ones there is one without an end.
    ext4("lab", "run", file, ...LIMITS, "--explorer", "random", "--runs", "1", "--seed", "2", "--workers", "1"),
  ]);
  expect(plain).toMatchObject({ status: 2, stdout: "", stderr: "ext4: mine/spins: a plain run has not come to its end: a step of it goes on and on\n" });
  expect(search).toMatchObject({ status: 2, stderr: expect.stringContaining("mine/spins: interleavings with at most 2 preemptions, depth first: a step of it does not end") as string });
  expect(search.stdout).toContain("with 1 search that did not end");
  expect(shrinking).toMatchObject({ status: 1, stderr: "", stdout: expect.stringContaining("'mine/spins:default:2'") as string });
});

/** Its runs are told apart by what they print. */
const PRINTS = WITH_ERROR.replace("*prepare() {},", '*prepare() { console.log("prepared"); process.stdout.write("once "); },').replace('import { FsError as', 'console.log("loaded");\nimport { FsError as');

test("what a scenario prints goes to standard error", async () => {
  const file = fileWith(PRINTS);
  const run = await ext4("--json", "lab", "run", file, ...SMALL);
  expect(JSON.parse(run.stdout)).toMatchObject({ scenario: "mine/enoent", found: null });
  expect(run.stderr).toMatch(/^loaded\n[^]*once prepared\n/);
  expect(await ext4("lab", "replay", "--file", file, "mine/enoent:default:")).toMatchObject({ status: 0, stdout: "mine/enoent with default passes\n", stderr: expect.stringContaining("prepared\n") as string });
});

/** Sends signals to a search, each as soon as so many runs have begun. */
function interrupted(args: readonly string[], signals: readonly (readonly [runs: number, signal: NodeJS.Signals])[]): Promise<Pick<Ended, "status" | "stdout">> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [BIN, ...args], { env: process.env });
    const left = [...signals];
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (bytes: Buffer) => { stdout += bytes.toString(); });
    child.stderr.on("data", (bytes: Buffer) => {
      stderr += bytes.toString();
      while (left.length > 0 && stderr.split("prepared").length > left[0]![0]) child.kill(left.shift()![1]);
    });
    child.on("close", (status) => resolve({ status: status ?? -1, stdout }));
  });
}

/** Finds nothing, and says how often it was asked. */
const LENIENT_E2FSCK = `#!/bin/sh
test "$1" = -V || echo "$2" >> "$E2FSCK_LOG"
`;

function withE2fsck(script: string): string {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "e2fsck"), script, { mode: 0o755 });
  vi.stubEnv("PATH", `${folder}:${process.env["PATH"]}`);
  vi.stubEnv("TMPDIR", temporaryFolder());
  return folder;
}

test("who interrupts a search is told what was looked at; its images are gone", async () => {
  const file = fileWith(PRINTS);
  vi.stubEnv("E2FSCK_LOG", join(withE2fsck(LENIENT_E2FSCK), "log"));
  const LONG = ["--runs", "1000000", "--explorer", "random", "--workers", "1", "--fsck"];
  const [first, second] = await Promise.all([
    interrupted(["--json", "lab", "run", file, ...LONG], [[9, "SIGINT"]]),
    interrupted(["lab", "run", file, ...LONG], [[9, "SIGTERM"]]),
  ]);
  expect(first.status).toBe(130);
  const record = JSON.parse(first.stdout) as { isInterrupted: boolean; found: unknown; runs: number; fsckImages: number };
  expect(record).toMatchObject({ isInterrupted: true, found: null });
  expect(Math.min(record.runs, record.fsckImages)).toBeGreaterThan(0);
  expect(second.status).toBe(143);
  expect(second.stdout).toMatch(/^mine\/enoent with the engine as it ships: nothing found, interrupted\n[^]*; interrupted after [\d.]+ s, 1 worker\n$/);
  expect(readdirSync(process.env["TMPDIR"]!)).toEqual([]);
});

test("who interrupts it twice does not wait for a run", async () => {
  const file = fileWith(spins(false).replace("const choice", 'console.log("prepared");\n      const choice'));
  vi.stubEnv("E2FSCK_LOG", join(withE2fsck(LENIENT_E2FSCK), "log"));
  // Two of one kind, so near to each other, may arrive as one.
  const { status, stdout } = await interrupted(["lab", "run", file, "--explorer", "depth-first", "--workers", "1", "--fsck"], [[3, "SIGINT"], [3, "SIGTERM"]]);
  expect({ status, stdout }).toEqual({ status: 143, stdout: "" });
  expect(readdirSync(process.env["TMPDIR"]!)).toEqual([]);
});

test("how many images e2fsck was shown, and that one that is told to end finds nothing", async () => {
  const file = fileWith(WITH_ERROR);
  const log = join(withE2fsck(`${LENIENT_E2FSCK}test "$1" = -V || exit 32\n`), "log");
  vi.stubEnv("E2FSCK_LOG", log);
  const stdout = await ext4Output("lab", "run", file, "--fsck", "--explorer", "random", "--runs", "120", "--workers", "1");
  // Three searches of 50, 50 and 20 runs, each with an image in the end.
  expect(stdout).toContain("\n  5 images shown to e2fsck: one in 32, from the first of each search on\n");
  expect(readFileSync(log, "utf8").trimEnd().split("\n")).toHaveLength(5);
});

test("a page is written whole, after everything else was said, and not at all without a story", async () => {
  const folder = temporaryFolder();
  const page = join(folder, "story.html");
  writeFileSync(page, "an older one");
  const file = fileWith(WITH_ERROR);
  expect(await ext4Output("lab", "run", file, ...SMALL, "--html", page)).toMatch(/\nno page is written to \S+story\.html, as there is no story\n$/);
  expect(await ext4Output("lab", "replay", "--file", file, "mine/enoent:default:", "--html", page)).toContain("no page is written");
  expect(JSON.parse(await ext4Output("--json", "lab", "run", file, ...SMALL, "--html", page))).toMatchObject({ found: null });
  expect(readFileSync(page, "utf8")).toBe("an older one");
  const fails = WITH_ERROR.replace('["ENOENT"]', "[]");
  const failing = fileWith(fails);
  expect(await ext4("lab", "replay", "--file", failing, "mine/enoent:default:", "--html", page)).toMatchObject({ status: 1, stderr: "" });
  expect(readFileSync(page, "utf8")).toMatch(/^<!doctype html>[^]*<\/html>\n$/);
  expect(readdirSync(folder)).toEqual(["story.html"]);
  // The folder goes away meanwhile.
  const rude = fileWith(`import { rmSync } from "node:fs";${fails.replace("*prepare() {},", `*prepare() { rmSync(${JSON.stringify(folder)}, { recursive: true, force: true }); },`)}`);
  const { status, stdout, stderr } = await ext4("lab", "run", rude, ...SMALL, "--html", page);
  expect(status).toBe(2);
  expect(stdout).toMatch(/ext4 lab replay --file \S+ 'mine\/enoent:default:'\n$/);
  expect(stderr).toMatch(/^ext4 lab: the page could not be written to \S+story\.html: ENOENT.*\n$/);
});
