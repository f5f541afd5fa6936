/** ls, find, du, df, stat, tree, lsattr and getfattr say of an image what the commands of the same names say of the mounted image, and what Linux said of the fixtures. */
import { describe, expect, test } from "vitest";
import { FIXTURES, fixtureFile, fixtureTree } from "../support/fixtures.js";
import { attempt, notTestedHere, run } from "../support/host.js";
import { makeSpecimen } from "../support/specimen.js";
import { ext4, ext4Output, ext4Records } from "./ext4.js";

const specimen = makeSpecimen();
const isMounted = specimen?.isMounted === true;
if (!isMounted) notTestedHere("listings beside GNU's", "needs root and loop devices");

const root = specimen?.root ?? "";
const image = specimen?.image ?? "";

/** Words of each line, paths as they are in the image. */
const words = (output: string): string[] => output.replaceAll(`${root}/`, "/").replaceAll(root, "/").split("\n").map((line) => line.trim().split(/\s+/).join(" ")).filter((line) => line !== "");

describe.runIf(isMounted)("ls beside GNU ls", () => {
  const gnu = (options: string, ...paths: string[]): string[] => words(run("ls", ["--time-style=long-iso", "-n", ...options.split(" ").filter((option) => option !== ""), "--quoting-style=literal", ...paths.map((path) => root + path)]));
  test.each([
    ["-l", "/"], ["-lA", "/dir"], ["-laR", "/dir"], ["-lR", "/times"], ["-li", "/flags"], ["-lh", "/"], ["-lah", "/dir"], ["-lS", "/"], ["-lt", "/"], ["-lrt", "/times"], ["-lrS", "/"], ["-ld", "/dir"], ["-ld", "/"],
    ["-l", "/small"], ["-l", "/to-file"], ["-l", "/to-dir"], ["-l", "/terminal"], ["-l", "/disk"], ["-la", "/void"],
  ])("ls %s %s", async (options, path) => {
    const ours = words(await ext4Output("ls", options, `${image}:${path}`));
    // GNU names a file as it was asked for, a directory's -d as well.
    const theirs = gnu(options, path);
    expect(ours.map((line) => line.replace(/ \/?(\S+)( -> .*)?$/, " $1$2"))).toEqual(theirs.map((line) => line.replace(/ \/?(\S+)( -> .*)?$/, " $1$2")));
  });

  test.each([[[]], [["-a"]], [["-A"]], [["-r"]], [["-S"]], [["-t"]], [["-1"]]])("names alone: ls %s", async (options) => {
    const paths = ["/dir", "/lost+found", "/times"];
    const ours = await ext4Output("ls", ...options, ...paths.map((path) => `${image}:${path}`));
    // GNU sorts its operands as it does names.
    const theirs = paths.map((path) => `${root}${path}:\n${run("ls", ["-1", "--quoting-style=literal", ...options, root + path])}`).join("\n");
    expect(ours.replaceAll(`${image}:`, root)).toBe(theirs);
  });
});

test.each(FIXTURES)("ls --json of %s is the tree that Linux saw", async (name) => {
  const tree = fixtureTree(name);
  const records = await ext4Records("ls", "-AR", fixtureFile(name));
  expect(records).toHaveLength(tree.size - 1);
  for (const { name: entry, directory, ino, mode, nlink, uid, gid, size, blocks, mtime, target } of records) {
    const path = `${directory === "/" ? "" : String(directory)}/${String(entry)}`;
    const theirs = tree.get(path)!;
    const told = { ino: BigInt(ino as number), mode: BigInt(mode as number), nlink: BigInt(nlink as number), uid: BigInt(uid as number), gid: BigInt(gid as number), size: BigInt(size as number), blocks: BigInt(blocks as number), target };
    const expected = { ino: theirs.ino, mode: theirs.mode, nlink: theirs.nlink, uid: theirs.uid, gid: theirs.gid, size: theirs.size, blocks: theirs.blocks, target: theirs.target };
    expect(told, path).toEqual(expected);
    const isReplayedDirectory = name === "fast-commit" && (theirs.mode & 0o170000n) === 0o040000n; // Linux stamps these anew
    if (!isReplayedDirectory) expect(BigInt(String(mtime).replace(".", "")), path).toBe(theirs.mtimeNs);
  }
});

describe.runIf(isMounted)("find beside GNU find", () => {
  test.each<[string[]]>([
    [[]], [["-name", "entry-1*"]], [["-name", "[ab]*"]], [["-name", "?mpty"]], [["-name", "[!a-t]*"]], [["-iname", "SMALL"]], [["-path", "*/dir/*1"]], [["-type", "f", "-size", "+10k"]], [["-type", "d"]], [["-type", "l"]],
    [["-type", "p,s"]], [["-type", "c,b"]], [["-size", "10c"]], [["-size", "1"]], [["-size", "-2k"]], [["-size", "+1M"]], [["-links", "2"]], [["-links", "+1"]], [["-uid", "0"]], [["-gid", "+0"]],
    [["-maxdepth", "1"]], [["-mindepth", "2"]], [["-mindepth", "1", "-maxdepth", "2", "-type", "f", "-name", "*-*"]], [["-inum", "12"]],
  ])("find %s", async (conditions) => {
    const ours = (await ext4("find", `${image}:/`, ...conditions, "--print0")).bytes.toString("latin1").split("\0");
    const depths = conditions.filter((_, index) => /depth$/.test(conditions[index % 2 === 0 ? index : index - 1]!));
    const theirs = run("find", [root, ...depths, ...conditions.filter((condition) => !depths.includes(condition)), "-print0"], { encoding: "latin1" }).split("\0");
    expect(ours.toSorted()).toEqual(theirs.map((path) => (path === root ? "/" : path.slice(root.length))).toSorted());
  });

  test("below a directory, names as text", async () => {
    expect(words(await ext4Output("find", `${image}:/dir`)).toSorted()).toEqual(words(run("find", [`${root}/dir`])).toSorted());
  });
});

describe.runIf(isMounted)("du and df beside GNU's", () => {
  test.each([
    [[], "/dir"], [["-a"], "/dir"], [["-s"], "/"], [["-s"], "/sparse"], [["-h"], "/dir"], [["-sh"], "/"], [["-a"], "/flags"], [["--apparent-size"], "/sparse"], [["-a", "--apparent-size"], "/flags"], [[], "/void"], [["-a"], "/times"],
  ])("du %s %s", async (options, path) => {
    expect(words(await ext4Output("du", ...options, image + ":" + path)).toSorted()).toEqual(words(run("du", [...(options.join("").includes("h") ? [] : ["-k"]), ...options, root + path])).toSorted());
  });

  test.each([[[]], [["-h"]], [["-i"]]])("df %s", async (options) => {
    const numbers = (output: string): string => words(output)[1]!.split(" ").slice(1, 5).join(" ");
    expect(numbers(await ext4Output("df", ...options, image))).toBe(numbers(run("df", [...(options.length === 0 ? ["-k"] : options), root])));
  });

  test("df --json", async () => {
    const [blockSize, blocks, free, available, inodes, freeInodes] = run("stat", ["-f", "-c", "%S %b %f %a %c %d", root]).trim().split(" ").map(Number);
    expect(await ext4Records("df", image)).toEqual([{ image, blockSize, blocks, free, available, inodes, freeInodes }]);
  });
});

describe.runIf(isMounted)("stat beside GNU stat", () => {
  const PATHS = ["/", "/small", "/sparse", "/dir", "/to-file", "/dangling", "/terminal", "/disk", "/fifo", "/socket", "/times/-1.5", "/times/8589934592.75", "/executable", "/empty"];
  const theirs = (format: string): string[][] => run("stat", ["-c", format, ...PATHS.map((path) => root + path)]).trimEnd().split("\n").map((line) => line.split("|"));

  test("numbers", async () => {
    const records = await ext4Records("stat", ...PATHS.map((path) => `${image}:${path}`));
    const expected = theirs("%s|%b|%i|%h|%f|%u|%g|%.9X|%.9Y|%.9Z|%.9W|%Hr|%Lr").map(([size, blocks, ino, nlink, mode, uid, gid, atime, mtime, ctime, crtime, major, minor], index) => ({
      path: PATHS[index], size: Number(size), blocks: Number(blocks), ino: Number(ino), nlink: Number(nlink), mode: parseInt(mode!, 16), uid: Number(uid), gid: Number(gid), atime, mtime, ctime, crtime,
      ...(major === "0" ? {} : { rdev: { major: Number(major), minor: Number(minor) } }),
    }));
    expect(expected.some((record) => "rdev" in record)).toBe(true);
    for (const [index, record] of records.entries()) expect(record).toMatchObject(expected[index]!);
  });

  test("words", async () => {
    const files = (await ext4Output("stat", ...PATHS.map((path) => `${image}:${path}`))).split(/^(?= {2}File:)/m);
    for (const [index, [accessed, modified, changed, born, octal, letters, kind]] of theirs("%x|%y|%z|%w|%a|%A|%F").entries()) {
      const text = files[index]!;
      for (const line of [`Access: ${accessed}`, `Modify: ${modified}`, `Change: ${changed}`, ` Birth: ${born}`, `(${octal!.padStart(4, "0")}/${letters})`]) expect(text).toContain(line);
      expect(text).toContain(kind === "regular empty file" ? "regular file" : kind!);
    }
  });
});

describe.runIf(specimen !== undefined)("tree", () => {
  /** The paths that a drawing shows. */
  function pathsOf(drawing: string): string[] {
    const paths: string[] = [];
    const above: string[] = [];
    for (const line of drawing.split("\n").slice(1)) {
      const [, indent, name] = /^((?:│ {3}| {4})*)[├└]── (.*?)(?: -> .*)?$/.exec(line) ?? [];
      if (name === undefined) break;
      const depth = indent!.length / 4;
      above.length = depth;
      above.push(name);
      paths.push(`/${above.join("/")}`);
    }
    return paths;
  }

  test("draws what find finds, in order", async () => {
    const drawing = await ext4Output("tree", "-a", `${image}:/dir`);
    const theirs = run("find", [`${root}/dir`, "-mindepth", "1"]).trim().split("\n").map((path) => path.slice(`${root}/dir`.length));
    const key = (path: string): string => path.replaceAll("/", "\0");
    expect(pathsOf(drawing)).toEqual(theirs.toSorted((a, b) => (key(a) < key(b) ? -1 : 1)));
    const directories = theirs.filter((path) => /^\/sub(\/deeper)?$/.test(path)).length;
    expect(drawing.trimEnd().split("\n").at(-1)).toBe(`${directories} directories, ${theirs.length - directories} files`);
    expect(drawing).toContain("up -> ../small");
  });

  test("levels and directories alone", async () => {
    expect(pathsOf(await ext4Output("tree", "-d", `${image}:/dir`))).toEqual(["/sub", "/sub/deeper"]);
    expect(pathsOf(await ext4Output("tree", "-d", "-L", "1", `${image}:/dir`))).toEqual(["/sub"]);
    const [record] = await ext4Records("tree", "-L", "1", "-d", `${image}:/dir`);
    expect(record).toMatchObject({ name: "/dir", type: "directory", contents: [{ name: "sub", type: "directory" }] });
  });
});

describe.runIf(isMounted)("lsattr beside e2fsprogs' own", () => {
  const regular = (line: string): boolean => attempt("test", ["-L", root + line.split(" ").at(-1)!]).status !== 0;
  test.each([[["-d"], "/dir"], [[], "/flags"], [["-a"], "/void"], [["-p"], "/flags"], [["-R"], "/dir/sub"], [[], "/small"]])("lsattr %s %s", async (options, path) => {
    const ours = words(await ext4Output("lsattr", ...options, `${image}:${path}`));
    const theirs = words(attempt("lsattr", [...options, root + path]).stdout).filter((line) => !line.endsWith(":"));
    expect(ours.filter(regular)).toEqual(theirs.filter((line) => !/\/\.\.?$/.test(line)).toSorted((a, b) => (a.split(" ").at(-1)! < b.split(" ").at(-1)! ? -1 : 1)));
  });
});

describe.runIf(isMounted)("getfattr beside attr's own", () => {
  const names = isMounted ? run("ls", [`${root}/xattrs`]).trim().split("\n") : [];
  const theirs = (...args: string[]): string => run("getfattr", ["-h", "--absolute-names", ...args], { encoding: "latin1" }).replaceAll(root, "");
  const paths = (where: string): string[] => names.map((name) => `${where}/xattrs/${name}`);
  test.each([[["-d", "-e", "hex"]], [["-d", "-e", "base64"]], [["-m", "user\\.[tn]"]], [[]]])("getfattr %s", async (options) => {
    expect(await ext4Output("getfattr", ...options, ...paths(`${image}:`))).toBe(theirs(...options, ...paths(root)));
  });

  /** What setfattr --restore makes of a dump, by path. */
  const restored = (dump: string): Record<string, string> => Object.fromEntries([...dump.matchAll(/^# file: (.*)\n[^=\n]*=(.*)$/gm)].map(([, path, value]) => {
    const text = value!.startsWith('"') ? value!.slice(1, -1).replace(/\\(?:([0-7]{3})|(.))/g, (_, octal: string, char: string) => char ?? String.fromCharCode(parseInt(octal, 8))) : value!;
    return [path, text];
  }));
  test.each([[["-d"]], [["-d", "-m", "-"]], [["-d", "-e", "text"]]])("getfattr %s: the same encoding for each value, and the same bytes", async (options) => {
    const { bytes } = await ext4("getfattr", ...options, ...paths(`${image}:`));
    const ours = restored(bytes.toString("latin1"));
    expect(Object.keys(ours)).toEqual(paths(""));
    // getfattr drops a NUL at the end, so that restoring a dump of it loses a byte.
    expect({ ...ours, "/xattrs/nul": ours["/xattrs/nul"]!.replace(/\0$/, "") }).toEqual(restored(theirs(...options, ...paths(root))));
    expect(ours["/xattrs/nul"]).toBe("ends in NUL\0");
    expect(bytes.includes(0x1b)).toBe(false); // nothing that a terminal would obey
  });

  test("one name, and none", async () => {
    expect(await ext4Output("getfattr", "-n", "user.text", `${image}:/xattrs/text`)).toBe(theirs("-n", "user.text", `${root}/xattrs/text`));
    const { status, stderr } = await ext4("getfattr", "-n", "user.none", `${image}:/xattrs/text`);
    expect([status, stderr]).toEqual([1, expect.stringContaining(`${image}:/xattrs/text`)]);
  });

  test("recursive", async () => {
    const blocks = (output: string): string[] => output.trim().split("\n\n").toSorted();
    expect(blocks(await ext4Output("getfattr", "-R", "-d", "-e", "hex", `${image}:/xattrs`))).toEqual(blocks(theirs("-R", "-d", "-e", "hex", `${root}/xattrs`)));
  });
});
