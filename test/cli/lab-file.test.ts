/** Scenarios from files of a user's own: the example of docs/lab.md, and which engine a file gets. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { hasCommand, notTestedHere, temporaryFolder } from "../support/host.js";
import { ext4, ext4Output } from "./ext4.js";

const SMALL = ["--explorer", "random", "--runs", "1", "--crash-states", "4", "--workers", "1"];

function fileWith(text: string, name = "scenario.mjs"): string {
  const file = join(temporaryFolder(), name);
  writeFileSync(file, text);
  return file;
}

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
  const folder = temporaryFolder();
  writeFileSync(join(folder, "e2fsck"), STRICT_E2FSCK, { mode: 0o755 });
  vi.stubEnv("PATH", `${folder}:${process.env["PATH"]}`);
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
});

test("time is a budget, too", async () => {
  const { stdout } = await ext4("--json", "lab", "run", fileWith(WITH_ERROR), "--seconds", "0.5", "--explorer", "random");
  const { isOutOfTime, seconds, found } = JSON.parse(stdout) as { isOutOfTime: boolean; seconds: number; found: unknown };
  expect({ isOutOfTime, found }).toEqual({ isOutOfTime: true, found: null });
  expect(seconds).toBeLessThan(20);
});
