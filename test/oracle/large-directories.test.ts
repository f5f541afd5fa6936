/** Directories of tens and hundreds of thousands of names: what Linux made we read, name by name; what we made Linux lists, and e2fsck finds whole. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Ext4 } from "../../src/platform/node/index.js";
import { attempt, canMount, notTestedHere, run, temporaryFolder, withMount } from "../support/host.js";

function makeImage(args: readonly string[]): string {
  const image = join(temporaryFolder(), "disk.img");
  run("mke2fs", ["-q", "-F", "-t", "ext4", ...args, image, "256M"]);
  return image;
}

/** "number name" of each entry, by name. */
function listedByLinux(directory: string): string[] {
  return run("python3", ["-c", `
import os, sys
print("\\n".join(f"{entry.inode()} {entry.name}" for entry in sorted(os.scandir(sys.argv[1]), key=lambda entry: entry.name)))
`, directory]).trimEnd().split("\n");
}

/** Of many lines: a failure should not print all of them. */
function expectSameLines(ours: readonly string[], theirs: readonly string[]): void {
  expect(ours.length).toBe(theirs.length);
  expect(ours.filter((line, index) => line !== theirs[index]).slice(0, 5)).toEqual([]);
}

describe.runIf(canMount)("large directories", () => {
  test("50,000 files that Linux made, in a tree of three levels", () => {
    const image = makeImage(["-b", "1024", "-N", "60000", "-O", "large_dir"]);
    const theirs = withMount(image, "rw", (mountPoint) => {
      run("python3", ["-c", `
import os, sys
os.mkdir(sys.argv[1] + "/dir"); os.chdir(sys.argv[1] + "/dir")
for i in range(50000): os.close(os.open(f"an-entry-with-a-name-{i * 7919 % 50000}", os.O_CREAT | os.O_WRONLY))
`, mountPoint]);
      return listedByLinux(`${mountPoint}/dir`);
    })!;
    expect(theirs).toHaveLength(50_000);
    const volume = Ext4.openSync(image);
    const names = volume.readdirSync("/dir");
    // By looking each of them up: what a listing says of numbers is the same entries' word.
    expectSameLines(names.map((name) => `${volume.lstatSync(`/dir/${name}`).ino} ${name}`), theirs);
    for (let index = 0; index < 50_000; index += 50) expect(volume.existsSync(`/dir/an-entry-with-a-name-${index + 50_000}`)).toBe(false);
    volume.closeSync();
  });

  test("250,000 names that we made", () => {
    const image = makeImage(["-b", "4096"]);
    const volume = Ext4.openSync(image, { readOnly: false });
    volume.mkdirSync("/dir");
    // Five files of 50,000 names each: the directory is what is large here.
    for (let index = 0; index < 250_000; index++) {
      if (index % 50_000 === 0) volume.writeFileSync(`/${index / 50_000}`, "");
      volume.linkSync(`/${Math.floor(index / 50_000)}`, `/dir/a-name-of-many-${index}`);
    }
    const inos = Array.from({ length: 5 }, (_, index) => volume.lstatSync(`/${index}`).ino);
    volume.closeSync();
    expect(attempt("e2fsck", ["-fn", image])).toMatchObject({ status: 0 });
    const expected = Array.from({ length: 250_000 }, (_, index) => ({ ino: inos[Math.floor(index / 50_000)], name: `a-name-of-many-${index}` })).sort((a, b) => (a.name < b.name ? -1 : 1));
    expectSameLines(expected.map(({ ino, name }) => `${ino} ${name}`), withMount(image, "ro", (mountPoint) => listedByLinux(`${mountPoint}/dir`))!);
  });
});

if (!canMount) notTestedHere("large directories", "needs root and loop devices");
