/** The command line on filesystems that are out of the ordinary: encrypted directories without their key, a journal on a device of its own, files under verity. */
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { attempt, canMount, notTestedHere, run, temporaryFolder, withLoop, withMount } from "../support/host.js";
import { hashOf } from "../support/tree.js";
import { ext4, ext4Output, ext4Records } from "./ext4.js";

const fscrypt = new URL("../support/fscrypt.py", import.meta.url).pathname;
function makeImage(...args: readonly string[]): string {
  const image = join(temporaryFolder(), "disk.img");
  run("mke2fs", ["-q", "-F", "-t", "ext4", ...args, image, "48M"]);
  return image;
}

const canEncrypt = canMount && withMount(makeImage("-O", "encrypt"), "rw", (mountPoint) => attempt("python3", [fscrypt, "fill", mountPoint, "0"]).status === 0) === true;

describe.runIf(canEncrypt)("an encrypted directory", () => {
  let image = "";
  let names: string[] = [];
  const NO_KEY = "ENOKEY: the file is encrypted, and its key is not here";

  beforeAll(() => {
    image = makeImage("-O", "encrypt");
    withMount(image, "rw", (mountPoint) => run("python3", [fscrypt, "fill", mountPoint, "0"]));
    names = withMount(image, "ro", (mountPoint) => readdirSync(`${mountPoint}/few`))!.sort();
    expect(names).toHaveLength(4);
  });

  test("is listed as Linux lists it without the key", async () => {
    expect(await ext4Output("ls", `${image}:/few`)).toBe(names.map((name) => `${name}\n`).join(""));
    expect((await ext4Records("ls", "-l", `${image}:/few`)).map(({ name, size }) => [name, size])).toEqual(names.map((name) => [name, 12]));
    const lines = (await ext4Output("lsattr", `${image}:/few`)).trimEnd().split("\n");
    expect(lines.map((line) => line.replace(/^(\S+) /, (letters) => (letters.includes("E") ? "E " : "? ")))).toEqual(names.map((name) => `E /few/${name}`));
    expect((await ext4Output("find", `${image}:/pad4`, "-type", "l")).trimEnd().split("\n")).toHaveLength(11);
  });

  test("gives no data: exit code 1, and the reason for each file", async () => {
    const path = `${image}:/few/${names[0]}`;
    expect(await ext4("cat", path)).toMatchObject({ status: 1, stdout: "", stderr: `ext4 cat: ${path}: ${NO_KEY}\n` });
    const [empty] = (await ext4Output("find", `${image}:/pad4`, "-type", "f", "-size", "0")).split("\n");
    expect(await ext4("cat", `${image}:${empty}`), "not even an empty file's").toMatchObject({ status: 1, stderr: expect.stringContaining(NO_KEY) });
    expect(await ext4("cat", `${image}:/few/plain-name`)).toMatchObject({ status: 1, stderr: expect.stringContaining("ENOENT") });

    const out = join(temporaryFolder(), "out");
    const { status, stderr } = await ext4("cp", "-a", `${image}:/`, out);
    expect(status).toBe(1);
    const refused = stderr.trimEnd().split("\n").filter((line) => line.includes(NO_KEY));
    expect(refused).toHaveLength((await ext4Output("find", `${image}:/`, "-type", "f")).split("\n").filter((line) => line !== "" && !line.startsWith("/plain/")).length);
    expect(readFileSync(`${out}/plain/file`, "utf8"), "what is not encrypted is copied").toBe("for all to read");
    expect(readdirSync(`${out}/few`)).toEqual([]);
    const link = readdirSync(`${out}/pad4`).find((name) => lstatSync(`${out}/pad4/${name}`).isSymbolicLink())!;
    expect(withMount(image, "ro", (mountPoint) => readlinkSync(`${mountPoint}/pad4/${link}`))).toBe(readlinkSync(`${out}/pad4/${link}`));
  });

  test("takes none either, but what is in it can be removed", async () => {
    const copy = join(temporaryFolder(), "copy.img");
    run("cp", ["--sparse=always", image, copy]);
    const path = `${copy}:/few/${names[0]}`;
    const source = join(temporaryFolder(), "source");
    run("bash", ["-c", `echo new > "$1"`, "bash", source]);
    for (const args of [["cp", source, path], ["cp", source, `${copy}:/few/new`], ["cp", source, `${copy}:/few`], ["mkdir", `${copy}:/few/new`], ["mv", path, `${copy}:/few/new`], ["truncate", "-s", "5", path], ["ln", path, `${copy}:/few/new`], ["touch", `${copy}:/few/new`], ["fallocate", "-l", "9", path]]) {
      expect(await ext4(...args), args.join(" ")).toMatchObject({ status: 1, stderr: expect.stringContaining("ENOKEY") });
    }
    expect(await ext4Output("ls", `${copy}:/few`)).toBe(names.map((name) => `${name}\n`).join(""));
    await ext4Output("rm", path);
    await ext4Output("rm", "-r", `${copy}:/pad4`);
    expect(attempt("e2fsck", ["-fn", copy])).toMatchObject({ status: 0 });
    expect(withMount(copy, "ro", (mountPoint) => readdirSync(`${mountPoint}/few`))!.sort()).toEqual(names.slice(1));
  });
});

describe.runIf(canMount)("a journal on a device of its own", () => {
  let image = "";
  let journal = "";
  let other = "";
  const makeJournal = (): string => {
    const file = join(temporaryFolder(), "journal.img");
    run("mke2fs", ["-q", "-F", "-O", "journal_dev", "-b", "4096", file, "8M"]);
    return file;
  };

  beforeAll(() => {
    [journal, other] = [makeJournal(), makeJournal()];
    const clean = join(temporaryFolder(), "disk.img");
    image = `${clean}.dirty`;
    withLoop(journal, (device) => {
      run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "4096", "-J", `device=${device}`, clean, "48M"]);
      withMount(clean, "rw", (mountPoint) => {
        run("bash", ["-c", `echo synced > "$1/file"; sync "$1/file"; cp --sparse=always "$2" "$2.dirty"; cp --sparse=always "$3" "$3.dirty"`, "bash", mountPoint, clean, journal]);
      });
    });
    journal = `${journal}.dirty`;
  });

  test("must be given: else exit code 2, and nothing is touched", async () => {
    const before = [image, journal, other].map(hashOf);
    for (const verb of ["ls", "info"]) {
      expect(await ext4(verb, image)).toMatchObject({ status: 2, stdout: "", stderr: `ext4: ${image}: EOPNOTSUPP: the filesystem's journal is on another device, which was not given\n` });
    }
    expect(await ext4("mkdir", `${image}:/new`)).toMatchObject({ status: 2, stderr: expect.stringContaining("journal is on another device") });
    expect(await ext4("--journal", other, "ls", image)).toMatchObject({ status: 2, stdout: "", stderr: `ext4: ${image}: EOPNOTSUPP: ${other} is not this filesystem's journal: its uuid is another\n` });
    expect(await ext4("--journal", other, "mkdir", `${image}:/new`)).toMatchObject({ status: 2, stderr: expect.stringContaining("its uuid is another") });
    expect(await ext4("--journal", image, "ls", image)).toMatchObject({ status: 2, stdout: "", stderr: `ext4: ${image}: EINVAL: ${image} is no journal\n` });
    expect(await ext4("--journal", "/nowhere", "ls", image)).toMatchObject({ status: 2, stdout: "", stderr: expect.stringContaining("/nowhere") });
    expect(await ext4Output("--noload", "ls", image), "as it was at some moment").toContain("lost+found");
    expect([image, journal, other].map(hashOf)).toEqual(before);
  });

  test("is read with the image, and recovered for good by what writes", async () => {
    const before = [image, journal].map(hashOf);
    expect(await ext4Output("--journal", journal, "cat", `${image}:/file`)).toBe("synced\n");
    expect(await ext4Output("cat", "--journal", journal, `${image}:/file`)).toBe("synced\n");
    expect([image, journal].map(hashOf), "neither was touched").toEqual(before);
    await ext4Output("--journal", journal, "mkdir", `${image}:/new`);
    expect(attempt("e2fsck", ["-fn", "-j", journal, image])).toMatchObject({ status: 0 });
    const seen = withLoop(journal, (device) => withMount(image, `ro,journal_path=${device}`, (mountPoint) => readdirSync(mountPoint)));
    expect(seen!.sort()).toEqual(["file", "lost+found", "new"]);
  });
});

describe.runIf(canMount)("a file under verity", () => {
  test("is read as far as it goes, shown as what it is, and not changed", async () => {
    const image = makeImage("-O", "verity");
    const size = 70_000;
    withMount(image, "rw", (mountPoint) => run("python3", ["-c", `
import sys
with open(sys.argv[1] + "/file", "wb") as file:
    file.write(b"sealed " * ${size / 7}); file.seek(131072); file.write(b"hashes" * 3000)`, mountPoint]));
    run("debugfs", ["-w", "-f", "-", image], { input: `sif file size ${size}\nsif file flags 0x180000` });
    expect(attempt("e2fsck", ["-fn", image])).toMatchObject({ status: 0 });
    expect(await ext4Output("cat", `${image}:/file`)).toBe("sealed ".repeat(size / 7));
    expect((await ext4Output("lsattr", `${image}:/file`)).split(" ")[0]).toMatch(/^[-e]+V[-e]*$/);
    expect(await ext4Records("stat", `${image}:/file`)).toEqual([expect.objectContaining({ size, flagLetters: "eV" })]);
    const out = join(temporaryFolder(), "out");
    await ext4Output("cp", "-a", `${image}:/file`, out);
    expect(readFileSync(out, "utf8")).toBe("sealed ".repeat(size / 7));
    for (const args of [["cp", out, `${image}:/file`], ["truncate", "-s", "0", `${image}:/file`], ["truncate", "-s", "131072", `${image}:/file`], ["fallocate", "-l", "131072", `${image}:/file`]]) {
      expect(await ext4(...args), args.join(" ")).toMatchObject({ status: 1, stderr: expect.stringContaining("EPERM: the file is sealed by verity") });
    }
    await ext4Output("rm", `${image}:/file`);
    expect(attempt("e2fsck", ["-fn", image])).toMatchObject({ status: 0 });
  });
});

if (!canEncrypt) notTestedHere("the command line on encrypted directories", "needs root, loop devices and a kernel with fscrypt");
