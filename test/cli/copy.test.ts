/** cat and cp: what comes out of the image is what the host sees in it, and lands where GNU cp would put it. */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { fixtureFile, fixtureImage, fixtureTree } from "../support/fixtures.js";
import { attempt, notTestedHere, temporaryFolder } from "../support/host.js";
import { makeSpecimen } from "../support/specimen.js";
import { linuxTree, treeDifferences, type Node } from "../support/tree.js";
import { BIN, ext4, ext4Output } from "./ext4.js";

const specimen = makeSpecimen();
const root = specimen?.root ?? "";
const image = specimen?.image ?? "";
const isRoot = process.getuid?.() === 0;

let out = "";
beforeEach(() => {
  out = temporaryFolder();
});

describe("cat", () => {
  test("a file, several files, a large one", async () => {
    const file = fixtureFile("checksums");
    const tree = fixtureTree("checksums");
    expect(await ext4Output("cat", `${file}:/small`)).toBe("small file");
    expect(await ext4Output("cat", `${file}:/small`, `${file}:/dir/deep/deeper/bottom`)).toBe(`small file${"b".repeat(5000)}`);
    const { bytes } = await ext4("cat", `${file}:/sparse`);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(tree.get("/sparse")!.sha256);
  });

  test("what is no file, between two that are", async () => {
    const file = fixtureFile("checksums");
    const { status, stdout, stderr } = await ext4("cat", `${file}:/small`, `${file}:/dir`, `${file}:/absent`, `${file}:/fifo`, `${file}:/linked`);
    expect(stdout).toBe("small filesmall file");
    expect(status).toBe(1);
    expect(stderr.trimEnd().split("\n")).toEqual([
      expect.stringContaining(`${file}:/dir: EISDIR`), expect.stringContaining(`${file}:/absent: ENOENT`), expect.stringContaining(`${file}:/fifo: ENXIO`),
    ]);
  });
});

/** Times of reading, and what another filesystem has of its own. */
const NOT_COPIED = new Set<keyof Node>(["ino", "blocks", "ctimeNs", "birthtimeNs", "atimeNs"]);

/** A directory's size and link count are its filesystem's affair. */
function comparable(folder: string): ReturnType<typeof linuxTree> {
  const tree = linuxTree(folder);
  for (const node of tree.values()) if ((node.mode & 0o170000n) === 0o040000n) node.size = node.nlink = 0n;
  return tree;
}

describe.runIf(specimen !== undefined)("cp -a", () => {
  test("the root's entries into a folder that is not there yet, and into one that is", async () => {
    const theirs = comparable(root);
    theirs.delete("/"); // its own modes and times
    for (const isThere of [false, true]) {
      const target = join(out, String(isThere));
      if (isThere) fs.mkdirSync(target);
      const { status, stderr } = await ext4("cp", "-a", `${image}:/`, target);
      if (isRoot) expect([status, stderr]).toEqual([0, ""]);
      const ours = comparable(target);
      ours.delete("/");
      if (!isRoot) for (const path of ["/lost+found", "/socket"]) for (const tree of [theirs, ours]) tree.delete(path);
      expect(treeDifferences(theirs, ours, NOT_COPIED)).toEqual([]);
    }
  });

  test("holes stay holes", async () => {
    await ext4("cp", "-a", `${image}:/sparse`, out);
    const { size, blocks } = fs.statSync(join(out, "sparse"));
    expect(size).toBe(2_000_000);
    expect(blocks * 512).toBeLessThan(200_000);
    expect(fs.readFileSync(join(out, "sparse")).equals(fs.readFileSync(`${root}/sparse`))).toBe(true);
  });

  test("names of one file stay names of one file", async () => {
    await ext4("cp", "-a", `${image}:/`, out);
    const [one, other] = ["small", "hard"].map((name) => fs.statSync(join(out, name)));
    expect(one!.ino).toBe(other!.ino);
    expect(one!.nlink).toBe(2);
  });

  test("access and modification times to the nanosecond, on links, too", async () => {
    await ext4("cp", "-a", `${image}:/`, out);
    for (const path of ["small", "to-file", "dir", "times/-1.5", "times/8589934592.75"]) {
      const [theirs, ours] = [root, out].map((folder) => fs.lstatSync(join(folder, path), { bigint: true }));
      expect(ours!.mtimeNs, path).toBe(theirs!.mtimeNs);
    }
  });
});

/** An access control list is kept, in whatever form the host shows it. */
test.runIf(isRoot)("cp -a keeps what Linux saw in a fixture: attributes, lists, devices, owners", async () => {
  const file = fixtureFile("checksums");
  await ext4("cp", "-a", `${file}:/`, out);
  const theirs = fixtureTree("checksums");
  const ours = comparable(out);
  for (const node of theirs.values()) if ((node.mode & 0o170000n) === 0o040000n) node.size = node.nlink = 0n;
  for (const tree of [theirs, ours]) tree.delete("/");
  expect(treeDifferences(theirs, ours, NOT_COPIED)).toEqual([]);
});

describe.runIf(specimen !== undefined)("where cp puts things, beside GNU cp", () => {
  const PREPARED = ["/", "/there", "/there/sub", "/there/small", "/clash", "/clash/small", "/file", "/link-to-there"];

  /** A folder with things to run into. */
  function prepare(): string {
    const folder = temporaryFolder();
    fs.mkdirSync(join(folder, "there/sub"), { recursive: true });
    fs.mkdirSync(join(folder, "clash/small"), { recursive: true });
    fs.writeFileSync(join(folder, "file"), "here before");
    fs.writeFileSync(join(folder, "there/small"), "to be replaced");
    fs.symlinkSync("there", join(folder, "link-to-there"));
    return folder;
  }

  test.each<[string, string[], string[], string]>([
    ["a file to a new name", [], ["/small"], "new"],
    ["a file into a directory, over one of its name", [], ["/small"], "there"],
    ["a file into a directory, by a link to it", [], ["/small"], "link-to-there"],
    ["a file over a file", [], ["/small"], "file"],
    ["a file where a directory has its name", [], ["/small"], "clash"],
    ["a file to a directory that is not there", [], ["/small"], "absent/new"],
    ["a file to a name with a slash", [], ["/small"], "absent/"],
    ["a file that is not there", [], ["/absent"], "new"],
    ["a link without -r: what it leads to", [], ["/to-file"], "new"],
    ["a link with -r: itself", ["-r"], ["/to-file"], "new"],
    ["a link into a directory without -r: by its own name", [], ["/to-file", "/dir/up"], "there"],
    ["what is above a directory", ["-r"], ["/dir/sub/.."], "there"],
    ["a dangling link without -r", [], ["/dangling"], "new"],
    ["a dangling link with -r", ["-r"], ["/dangling"], "new"],
    ["a directory without -r", [], ["/dir"], "new"],
    ["a file and a directory without -r", [], ["/small", "/dir", "/text"], "there"],
    ["a directory to a new name", ["-r"], ["/dir"], "new"],
    ["a directory into a directory", ["-r"], ["/dir"], "there"],
    ["a directory with a slash", ["-r"], ["/dir/"], "there"],
    ["what is in a directory", ["-r"], ["/dir/."], "there"],
    ["what is in a directory, to a new name", ["-r"], ["/dir/."], "new"],
    ["a directory onto a file", ["-r"], ["/dir"], "file"],
    ["a directory by a link to it, with a slash", ["-r"], ["/to-dir/"], "there"],
    ["several into a directory", ["-r"], ["/dir/sub", "/small", "/executable"], "there"],
    ["several onto a file", [], ["/small", "/text"], "file"],
    ["several to what is not there", [], ["/small", "/text"], "new"],
    ["-R is -r", ["-R"], ["/dir/sub"], "new"],
    ["modes, less the umask", ["-r"], ["/executable", "/closed", "/void"], "there"],
    ["an archive of one directory", ["-a"], ["/dir"], "there"],
    ["an archive of several", ["-a"], ["/dir/sub", "/small", "/hard", "/to-file"], "there"],
  ])("%s", async (_name, options, sources, destination) => {
    const [theirs, ours] = [prepare(), prepare()];
    const theirStatus = attempt("cp", [...options, ...sources.map((source) => root + source), join(theirs, destination)]).status;
    const { status } = await ext4("cp", ...options, ...sources.map((source) => `${image}:${source}`), `${ours}/${destination}`);
    const keepsTimes = options.includes("-a");
    const ignored = new Set<keyof Node>([...NOT_COPIED, ...(keepsTimes ? [] : ["mtimeNs"] as const)]);
    const [expected, copied] = [theirs, ours].map(comparable);
    // What stood there before has times of its own.
    for (const tree of [expected!, copied!]) for (const path of PREPARED) if (tree.has(path)) tree.get(path)!.mtimeNs = 0n;
    expect(treeDifferences(expected!, copied!, ignored)).toEqual([]);
    expect(status).toBe(theirStatus);
  });
});

test.runIf(specimen !== undefined)("cp to - writes to standard output", async () => {
  const { bytes, status } = await ext4("cp", `${image}:/bytes`, "-");
  expect(status).toBe(0);
  expect(bytes.equals(fs.readFileSync(`${root}/bytes`))).toBe(true);
  expect((await ext4("cp", "-r", `${image}:/dir`, "-")).status).toBe(1);
});

describe("what cannot be copied", () => {
  test("one damaged file does not stop the others, and leaves nothing under its name", async () => {
    const bytes = fixtureImage("checksums");
    const file = join(out, "damaged.img");
    // The name of one file becomes that of an inode that is not in use.
    const name = Buffer.from(bytes).indexOf("medium");
    new DataView(bytes.buffer).setUint32(name - 8, 290, true);
    fs.writeFileSync(file, bytes);
    const { status, stderr } = await ext4("--no-checksum", "cp", "-r", `${file}:/`, join(out, "copy"));
    expect(status).toBe(1);
    expect(stderr).toMatch(/^ext4 cp: \/medium: EUCLEAN/m);
    const copied = fs.readdirSync(join(out, "copy"));
    expect(copied).toContain("small");
    expect(copied).not.toContain("medium");
  });

  test("nothing is written through a link that the image brings along", async () => {
    // As if an image had a link and below it, by another name, a file: the copy replaces links, and never follows one.
    const target = join(out, "target");
    const elsewhere = join(out, "elsewhere");
    fs.mkdirSync(target);
    fs.mkdirSync(elsewhere);
    fs.symlinkSync(elsewhere, join(target, "dir"));
    fs.symlinkSync(join(elsewhere, "small"), join(target, "small"));
    const { status, stderr } = await ext4("cp", "-r", `${fixtureFile("plain")}:/`, target);
    expect(status).toBe(1);
    expect(stderr).toMatch(/\/dir: EEXIST/);
    expect(fs.readdirSync(elsewhere)).toEqual([]);
    expect(fs.lstatSync(join(target, "small")).isFile()).toBe(true);
  });

  const AS_NOBODY = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
  const canBeNobody = isRoot && attempt("setpriv", [...AS_NOBODY, process.execPath, "-e", `require("fs").readFileSync(${JSON.stringify(BIN)})`]).status === 0;
  if (isRoot && !canBeNobody) notTestedHere("cp by a user who is not root", "needs setpriv, and a checkout that others may read");

  test.runIf(canBeNobody && specimen !== undefined)("a user who is not root is told once what was left out", async () => {
    const folder = temporaryFolder();
    fs.chmodSync(folder, 0o777);
    for (const path of [image, join(image, "..")]) fs.chmodSync(path, 0o755);
    const { status, stderr } = attempt("setpriv", [...AS_NOBODY, process.execPath, BIN, "cp", "-a", `${image}:/`, join(folder, "copy")]);
    expect(stderr).toMatch(/^ext4 cp: left out, as this host or user cannot keep them: 2 special files/);
    expect(status).toBe(0);
    expect(fs.readFileSync(join(folder, "copy/small"), "utf8")).toBe("small file");
  });
});
