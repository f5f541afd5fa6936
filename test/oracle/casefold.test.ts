/**
 * Casefolded directories: which spellings lead to one file. The kernel here mounts no such filesystem, so e2fsck is the judge, which has Linux's own tables: Linux fills plain directories, debugfs makes them
 * casefolded, and e2fsck -D, as it makes their hash trees anew, names those in which two names fold alike. Trees that it made we search; trees that we made it checks.
 */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Ext4, type FsError, type Volume } from "../../src/platform/node/index.js";
import { attempt, canMount, notTestedHere, run, temporaryFolder, withMount } from "../support/host.js";

const CASEFOLD_EXTENTS = "0x40080000";

/** One letter, one word, or something of either kind that is easily taken for another. */
const NAMES: readonly (string | Buffer)[] = [
  "a", "A", "Z", "z", "aa", "AA", "k", "K", "\u212a", "s", "S", "\u017f", "\u00e5", "\u00c5", "\u212b", "A\u030a", "a\u030a", "\u03c9", "\u03a9", "\u2126", "\u00b5", "\u03bc",
  "stra\u00dfe", "STRASSE", "strasse", "STRA\u1e9eE", "Stra\u017fse", "\u00e9", "\u00c9", "e\u0301", "E\u0301", "e", "\u03c3", "\u03c2", "\u03a3", "\u0130", "i\u0307", "i", "I", "\u0131", "\u0130stanbul", "istanbul", "i\u0307stanbul",
  "\uac00", "\u1100\u1161", "\uac01", "\u1100\u1161\u11a8", "\uac00\u11a8", "\uff21", "\uff41", "\ufb01", "fi", "FI", "\ufb03", "ffi", "\u01c4", "\u01c5", "\u01c6", "d\u017e", "\u1fb3", "\u03b1\u03b9", "\u0391\u0399", "\u1fbc", "\u0345", "\u03b9",
  "\u1e9b\u0323", "\u1e69", "s\u0323\u0307", "s\u0307\u0323", "a\u0323\u0301", "a\u0301\u0323", "a\u00adb", "ab", "AB", "a\u200db", "a\u2060b", "a\ufe0fb", "a\u034fb", "\u00adab", "ab\u00ad", "a\u200bb", "a b", "a\u00a0b",
  "\u0390", "\u03b9\u0308\u0301", "\u1fd3", "\u0587", "\u0565\u0582", "\u13a0", "\uab70", "\u10d0", "\u1c90", "\u{10400}", "\u{10428}", "\u{1e900}", "\u{1e922}", "\u2c2f", "\u2c5f", "\ua7c7", "\ua7c8", "\u{1f600}", "\u0958", "\u0915\u093c",
  Buffer.of(0xff), Buffer.of(0xfe), Buffer.from("a\xff", "latin1"), Buffer.from("A\xff", "latin1"), Buffer.of(0xc1, 0x81), Buffer.of(0xed, 0xa0, 0x80), Buffer.of(0xe2, 0x84), Buffer.of(0xf4, 0x90, 0x80, 0x80), Buffer.from("\xc3\xa9\xff", "latin1"),
];

const bytesOf = (name: string | Buffer): Buffer => (typeof name === "string" ? Buffer.from(name) : name);
const at = (directory: string, name: string | Buffer): Buffer => Buffer.concat([Buffer.from(`/${directory}/`), bytesOf(name)]);

/** Directories of empty files that Linux makes, and that are casefolded afterwards. */
function casefolded(directories: ReadonlyMap<string, readonly (string | Buffer)[]>, sizeMib: number, encodingFlags?: string): string {
  const image = join(temporaryFolder(), "disk.img");
  run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "1024", "-i", "4096", image, `${sizeMib}M`]);
  const wanted = JSON.stringify([...directories].map(([directory, names]) => [directory, names.map((name) => bytesOf(name).toString("hex"))]));
  withMount(image, "rw", (mountPoint) => run("python3", ["-c", `
import json, os, sys
for directory, names in json.load(sys.stdin):
    os.mkdir(f"{sys.argv[1]}/{directory}")
    for name in names: os.close(os.open(f"{sys.argv[1]}/{directory}/".encode() + bytes.fromhex(name), os.O_CREAT | os.O_WRONLY))
`, mountPoint], { input: wanted }));
  run("tune2fs", ["-E", `encoding=utf8${encodingFlags ?? ""}`, "-O", "casefold", image]);
  run("debugfs", ["-w", "-f", "-", image], { input: [...directories.keys()].map((directory) => `sif ${directory} flags ${CASEFOLD_EXTENTS}`).join("\n") });
  return image;
}

function expectClean(image: string): void {
  expect(attempt("e2fsck", ["-fn", image])).toMatchObject({ status: 0 });
}

const inoOf = (volume: Volume, path: string | Buffer): number | string => {
  try {
    return volume.lstatSync(path).ino;
  } catch (error) {
    return (error as FsError).code;
  }
};

describe.runIf(canMount)("spellings", () => {
  test("any two of the names lead to one file exactly where e2fsck finds that they collide", () => {
    const pairs = new Map<string, (string | Buffer)[]>();
    for (let a = 0; a < NAMES.length; a++) for (let b = a + 1; b < NAMES.length; b++) pairs.set(`${a}-${b}`, [NAMES[a]!, NAMES[b]!]);
    const { stdout } = attempt("e2fsck", ["-fyD", casefolded(pairs, 96)]);
    const colliding = [...stdout.matchAll(/in \/(\d+-\d+) \(\d+\) has a non-unique filename/g)].map(([, pair]) => pair!).sort();
    expect(colliding.length).toBeGreaterThan(60);

    const volume = Ext4.openSync(casefolded(new Map(NAMES.map((name, index) => [String(index), [name]])), 16));
    const found: string[] = [];
    for (let a = 0; a < NAMES.length; a++) {
      const ino = inoOf(volume, at(String(a), NAMES[a]!));
      expect(ino).toBeTypeOf("number");
      for (let b = 0; b < NAMES.length; b++) {
        const other = inoOf(volume, at(String(a), NAMES[b]!));
        expect([ino, "ENOENT"], `${a} and ${b}`).toContain(other);
        if (other === ino && a < b) found.push(`${a}-${b}`);
        if (a > b) expect(other === ino, `${a} and ${b} either way`).toBe(found.includes(`${b}-${a}`));
      }
    }
    volume.closeSync();
    const told = (pair: string): string => pair.split("-").map((index) => JSON.stringify(bytesOf(NAMES[Number(index)]!).toString("latin1"))).join(" ");
    expect(found.sort().map(told)).toEqual(colliding.map(told));
  });
});

/** Names of many letters, none of which fold alike. */
const many = (count: number): string[] => Array.from({ length: count }, (_, index) => {
  const letters = ["\u00c9", "\u00df", "\u0130", "\u03a3", "\uac01", "\u212b", "Q", "\u1e69", "\ufb01", "x"];
  return `${letters[index % 10]}${letters[Math.floor(index / 10) % 10]}-Name-${index}-${"\u00e4".repeat(index % 20)}`;
});
/** Each folds as the name does. */
const spellings = (name: string): string[] => [
  name, name.normalize("NFD"), name.normalize("NFC"), name.replace(/[a-z]/g, (char) => char.toUpperCase()), name.replace(/[A-Z]/g, (char) => char.toLowerCase()),
  `${name.slice(0, 3)}\u00ad${name.slice(3)}`, name.replaceAll("\u00df", "SS"), name.replaceAll("\u03a3", "\u03c2"), name.replaceAll("\u00e4", "\u00c4").normalize("NFD"), name.replaceAll("\u0130", "i\u0307"),
];

describe.runIf(canMount)("a directory of thousands", () => {
  const names = many(3000);

  test("whose tree e2fsck made", () => {
    const image = casefolded(new Map([["dir", names]]), 32);
    expect(attempt("e2fsck", ["-fyD", image]).stdout).not.toContain("non-unique");
    expectClean(image);
    const volume = Ext4.openSync(image);
    expect(volume.flagsSync("/dir").names).toEqual(expect.arrayContaining(["Casefold", "Indexed_directory"]));
    expect(volume.readdirSync("/dir", { encoding: "buffer" }).map(String).sort()).toEqual([...names].sort());
    for (const [index, name] of names.entries()) {
      const ino = inoOf(volume, `/dir/${name}`);
      expect(ino).toBeTypeOf("number");
      // Three of them for each name, so that all are met with each kind of name.
      for (let turn = 0; turn < 3; turn++) expect(inoOf(volume, `/dir/${spellings(name)[(index + Math.floor(index / 100) + turn * 3) % 10]}`), name).toBe(ino);
      expect(inoOf(volume, `/dir/${name}~`)).toBe("ENOENT");
    }
    volume.closeSync();
  });

  test("that we made, and partly unmade: e2fsck finds every name under its hash, and no two alike", () => {
    const image = join(temporaryFolder(), "disk.img");
    run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "1024", "-O", "casefold", "-E", "encoding=utf8", image, "32M"]);
    const volume = Ext4.openSync(image, { readOnly: false });
    volume.mkdirSync("/dir");
    volume.setFlagsSync("/dir", volume.flagsSync("/dir").word | 0x40000000);
    for (const name of names) volume.writeFileSync(`/dir/${name}`, "", { flag: "wx" });
    for (const [index, name] of names.entries()) {
      const [, , , upper, lower] = spellings(name);
      if (index % 100 === 0) expect(() => volume.writeFileSync(`/dir/${upper}`, "", { flag: "wx" })).toThrow("EEXIST");
      if (index % 100 === 1) expect(() => volume.mkdirSync(`/dir/${lower}`)).toThrow("EEXIST");
      if (index % 3 === 0) volume.unlinkSync(`/dir/${upper!.normalize("NFD")}`);
      else if (index % 3 === 1) volume.renameSync(`/dir/${lower}`, `/dir/Renamed-${index}`);
    }
    expect(volume.readdirSync("/dir")).toHaveLength(2000);
    volume.mkdirSync("/dir/below");
    expect(volume.flagsSync("/dir/BELOW").names, "what is made in it is casefolded, too").toContain("Casefold");
    expect(() => volume.setFlagsSync("/dir", volume.flagsSync("/dir").word & ~0x40000000)).toThrow("ENOTEMPTY");
    volume.closeSync();
    expectClean(image);
    expect(attempt("e2fsck", ["-fyD", image]).stdout).not.toContain("non-unique");
    const again = Ext4.openSync(image);
    for (const [index, name] of names.entries()) expect(typeof inoOf(again, `/dir/${spellings(index % 3 === 1 ? `renamed-${index}` : name)[3]}`)).toBe(index % 3 === 0 ? "string" : "number");
    again.closeSync();
  });
});

test("a path that comes in a Buffer stays the caller's, and its name keeps its case", () => {
  const image = join(temporaryFolder(), "disk.img");
  run("mke2fs", ["-q", "-F", "-t", "ext4", "-O", "casefold", "-E", "encoding=utf8", image, "16M"]);
  const volume = Ext4.openSync(image, { readOnly: false });
  volume.mkdirSync("/dir");
  volume.setFlagsSync("/dir", volume.flagsSync("/dir").word | 0x40000000);
  const path = at("dir", "README");
  volume.writeFileSync(path, "found");
  expect(volume.readdirSync("/dir")).toEqual(["README"]);
  expect(volume.readFileSync(at("dir", "ReadMe"), "utf8")).toBe("found");
  expect(path.toString()).toBe("/dir/README");
  volume.closeSync();
  expectClean(image);
});

describe.runIf(canMount)("names that are not UTF-8", () => {
  const invalid = NAMES.filter((name) => typeof name !== "string");

  test("are themselves alone, where the filesystem is not strict", () => {
    const image = casefolded(new Map([["dir", [...invalid, "valid"]]]), 16);
    const volume = Ext4.openSync(image, { readOnly: false });
    const inos = invalid.map((name) => inoOf(volume, at("dir", name)));
    expect(new Set(inos).size).toBe(invalid.length);
    expect(inos.every((ino) => typeof ino === "number")).toBe(true);
    volume.writeFileSync(at("dir", Buffer.from("b\xff", "latin1")), "");
    volume.writeFileSync(at("dir", Buffer.from("B\xff", "latin1")), "", { flag: "wx" });
    volume.closeSync();
    expectClean(image);
  });

  test("are not looked for, nor made, where it is (generic_ci_d_hash and ext4_add_entry, as no kernel here can be asked)", () => {
    const image = casefolded(new Map([["dir", ["valid"]]]), 16, ",encoding_flags=strict");
    const volume = Ext4.openSync(image, { readOnly: false });
    for (const name of invalid) expect(inoOf(volume, at("dir", name))).toBe("EINVAL");
    expect(() => volume.writeFileSync(at("dir", Buffer.from("b\xff", "latin1")), "")).toThrow("EINVAL");
    expect(() => volume.renameSync("/dir/valid", at("dir", Buffer.from("b\xff", "latin1")))).toThrow("EINVAL");
    volume.writeFileSync(at("", Buffer.from("b\xff", "latin1")), "other directories take them");
    volume.renameSync("/dir/VALID", "/dir/\u00c9");
    expect(volume.existsSync("/dir/e\u0301")).toBe(true);
    volume.closeSync();
    expectClean(image);
  });
});

if (!canMount) notTestedHere("casefolded directories", "needs root and loop devices");
