/** What all verbs have in common: help, exit codes, errors that say where, JSON, names that cannot harm a terminal, readers that go away, partitions, images on the web. */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { fixtureFile, fixtureImage, fixtureTree } from "../support/fixtures.js";
import { temporaryFolder } from "../support/host.js";
import { serveImage } from "../support/image-server.js";
import { gptDisk, mbrDisk } from "../support/partition-tables.js";
import { makeSpecimen } from "../support/specimen.js";
import { BIN, ext4, ext4Output, ext4Records } from "./ext4.js";

const image = fixtureFile("checksums");
const READING_VERBS = ["ls", "cat", "stat", "tree", "find", "du", "df", "cp", "info", "dump", "getfattr", "lsattr", "partitions"];

function write(name: string, bytes: Uint8Array): string {
  const file = join(temporaryFolder(), name);
  fs.writeFileSync(file, bytes);
  return file;
}

describe("help", () => {
  test("names every verb, and every verb's help has examples of it that it understands", async () => {
    const help = await ext4Output("--help");
    const verbs = [...help.split("Commands:")[1]!.split("\n\n")[0]!.matchAll(/^ {2}(\w+)/gm)].map(([, verb]) => verb!).filter((verb) => verb !== "help");
    expect(verbs).toEqual(expect.arrayContaining(READING_VERBS));
    const folder = temporaryFolder();
    for (const verb of verbs) {
      const own = await ext4Output(verb, "--help");
      const examples = own.split("Examples:\n")[1]!.trimEnd().split("\n").flatMap((line) => line.trim().split(/ {2,}(?=ext4 )/)).filter((line) => line.includes("ext4 "));
      expect(examples.length, verb).toBeGreaterThan(0);
      for (const example of examples) expect(example).toMatch(new RegExp(`\\bext4 (--json |--journal \\S+ )?${verb}\\b`));
      if (!READING_VERBS.includes(verb)) continue;
      // Where there is no disk.img each fails for want of it, and for nothing else.
      const [command] = examples[0]!.split(/ {2,}| [>|] /);
      const { status, stderr } = spawnSync("sh", ["-c", command!.replaceAll("ext4 ", `'${process.execPath}' '${BIN}' `)], { cwd: folder, encoding: "utf8" });
      expect([status, stderr], command).toEqual([2, expect.stringMatching(/^ext4: disk\.img: ENOENT|^ext4: ENOENT: .*'disk\.img'/)]);
    }
  });

  test("no line is broken in the middle of a sentence by hand", async () => {
    expect(await ext4Output("--help")).not.toMatch(/^\S+\n\S/m);
  });

  test("--version", async () => {
    const { version } = JSON.parse(fs.readFileSync("package.json", "utf8")) as { version: string };
    expect(await ext4Output("--version")).toBe(`${version}\n`);
  });
});

describe("exit codes, and errors that say where", () => {
  const damaged = (): string => {
    const bytes = fixtureImage("checksums");
    bytes[1024 + 0x78] = 0x58; // the label, which the checksum covers
    return write("damaged.img", bytes);
  };
  const unknownFeature = (): string => {
    const bytes = fixtureImage("plain");
    bytes[1024 + 0x62] = 0x80; // incompat
    return write("unknown.img", bytes);
  };
  test.each<[string, number, () => string[], RegExp]>([
    ["no verb", 2, () => [], /^Usage: ext4/],
    ["an unknown verb", 2, () => ["nonsense"], /^ext4: unknown command 'nonsense'/],
    ["an unknown option", 2, () => ["ls", "--nonsense", image], /^ext4: unknown option '--nonsense'/],
    ["no operand", 2, () => ["ls"], /^ext4: missing required argument/],
    ["a number that is none", 2, () => ["tree", "-L", "x", image], /^ext4: option '-L, --level <n>' argument 'x' is invalid. a number is expected/],
    ["an operand without an image", 2, () => ["ls", ":/path"], /^ext4: ':\/path' names no image/],
    ["an image that is absent", 2, () => ["ls", "/absent/disk.img:/x"], /^ext4: \/absent\/disk\.img: ENOENT/],
    ["an image that is a directory", 2, () => ["ls", "/"], /^ext4: \/: EISDIR/],
    ["what is no filesystem", 2, () => ["ls", write("zero.img", Buffer.alloc(100_000))], /zero\.img: EUCLEAN: this is not an ext2, ext3 or ext4 filesystem/],
    ["an empty file", 2, () => ["ls", write("empty.img", Buffer.alloc(0))], /empty\.img: E\w+: /],
    ["a filesystem that was cut off", 2, () => ["ls", write("cut.img", fixtureImage("plain").subarray(0, 500_000))], /cut\.img: EUCLEAN: the device is smaller/],
    ["an unknown feature", 2, () => ["ls", unknownFeature()], /unknown\.img: EOPNOTSUPP: .*FEATURE_I23/],
    ["a wrong checksum", 2, () => ["ls", damaged()], /damaged\.img: EBADMSG: the superblock's checksum is wrong/],
    ["a partition that is absent", 2, () => ["ls", `${image}#3:/`], /ENXIO: .* has no partition 3; it has none/],
    ["find, with conditions that are none", 2, () => ["find", image, "-type", "z"], /^ext4: --type takes f, d, l, b, c, p, s, not 'z'/],
    ["find, with an impossible size", 2, () => ["find", image, "-size", "1x"], /^ext4: --size takes a number and c, w, b, k, M or G, not '1x'/],
    ["a path that is absent", 1, () => ["ls", `${image}:/absent`], /^ext4 ls: .*checksums\.img:\/absent: ENOENT: no such file or directory$/m],
    ["a path through a file", 1, () => ["stat", `${image}:/small/x`], /^ext4 stat: .*:\/small\/x: ENOTDIR: not a directory$/m],
    ["a directory for cat", 1, () => ["cat", `${image}:/dir`], /^ext4 cat: .*:\/dir: EISDIR/m],
    ["cp without an image", 2, () => ["cp", image, "/tmp"], /names no path in an image/],
    ["cp without a destination", 2, () => ["cp", `${image}:/small`], /cp needs something to copy and a destination/],
    ["cp to where nothing can be", 1, () => ["cp", `${image}:/small`, "/absent/folder/x"], /^ext4 cp: \/absent\/folder\/x: ENOENT/m],
  ])("%s is %d", async (_name, status, args, message) => {
    const ended = await ext4(...args());
    expect(ended.stderr).toMatch(message);
    expect(ended.status).toBe(status);
    expect(ended.stdout).toBe("");
    expect(ended.stderr).not.toMatch(/^\s+at /m);
  });

  test("one operand that fails does not stop the others", async () => {
    const { status, stdout, stderr } = await ext4("ls", "-d", `${image}:/small`, `${image}:/absent`, `${image}:/medium`);
    expect([status, stdout]).toEqual([1, "small\nmedium\n"]);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });

  test("--no-checksum reads on where a checksum is wrong", async () => {
    expect(await ext4Output("--no-checksum", "cat", `${damaged()}:/small`)).toBe("small file");
  });

  test("--noload shows the state before the crash", async () => {
    const dirty = fixtureFile("journal");
    const names = (output: string): string[] => output.trim().split("\n");
    expect(names(await ext4Output("ls", dirty))).toContain("last");
    const { stdout } = await ext4("--noload", "ls", dirty);
    expect(names(stdout)).not.toContain("last");
  });

  test("operands may name one image in several ways, and an image's name may be odd", async () => {
    const odd = write("a#b: c.img", fixtureImage("plain"));
    expect(await ext4Output("cat", `${odd}:/small`, `${odd}:small`.replace(":small", ":/./small"))).toBe("small filesmall file");
  });
});

describe("--json", () => {
  const specimen = makeSpecimen();
  test.each<[string, string[]]>([
    ["ls", ["ls", "-laR"]], ["stat", ["stat"]], ["tree", ["tree", "-a"]], ["find", ["find"]], ["du", ["du", "-a"]], ["df", ["df"]], ["info", ["info"]], ["getfattr", ["getfattr", "-R", "-m", "-"]], ["lsattr", ["lsattr", "-Ra"]],
    ["dump superblock", ["dump", "superblock"]], ["dump inode", ["dump", "inode"]], ["dump extents", ["dump", "extents"]], ["dump group", ["dump", "group"]], ["dump journal", ["dump", "journal"]], ["dump orphans", ["dump", "orphans"]],
    ["partitions", ["partitions"]],
  ])("%s writes objects, one a line, and nothing else", async (name, args) => {
    const file = specimen?.image ?? image;
    const records = await ext4Records(...args, file);
    expect(records.every((record) => typeof record === "object" && !Array.isArray(record))).toBe(true);
    if (!["dump orphans", "partitions", "getfattr"].includes(name)) expect(records.length).toBeGreaterThan(0);
  });

  test.runIf(specimen !== undefined)("a name that is no UTF-8 is told in hexadecimal, too", async () => {
    const records = await ext4Records("ls", `${specimen!.image}:/names`);
    const bytes = records.map(({ name, nameHex }) => (nameHex === undefined ? Buffer.from(name as string) : Buffer.from(nameHex as string, "hex")).toString("latin1"));
    expect(bytes.toSorted()).toEqual(fs.readdirSync(`${specimen!.root}/names`, "buffer").map((name) => name.toString("latin1")).toSorted());
  });
});

describe("names that a terminal had better not see", () => {
  const specimen = makeSpecimen();
  test.runIf(specimen !== undefined)("are quoted as a shell reads them", async () => {
    const lines = (await ext4Output("ls", `${specimen!.image}:/names`)).trimEnd().split("\n");
    const names = lines.map((line) => (line.startsWith("$'") ? spawnSync("bash", ["-c", `printf %s ${line}`]).stdout : Buffer.from(line)).toString("latin1"));
    expect(names.toSorted()).toEqual(fs.readdirSync(`${specimen!.root}/names`, "buffer").map((name) => name.toString("latin1")).toSorted());
    expect(lines.filter((line) => line.startsWith("$'"))).toHaveLength(2);
  });

  test.runIf(specimen !== undefined)("nowhere", async () => {
    const odd = Buffer.from(fixtureImage("plain"));
    for (let at = odd.indexOf("small"); at >= 0; at = odd.indexOf("small", at + 1)) odd.write("\x1b[2Jm", at, "latin1");
    const file = write("odd.img", odd);
    for (const args of [["ls", "-la"], ["ls", "-R"], ["tree"], ["find"], ["du", "-a"], ["lsattr"], ["stat"], ["getfattr", "-R", "-m", "-"]]) {
      const { stdout, stderr } = await ext4(...args, file);
      expect(stdout + stderr, args.join(" ")).not.toMatch(/[\0-\x08\x0b-\x1f\x7f]/);
    }
    expect(await ext4Output("ls", file)).toContain("$'\\e[2Jm'");
    const { stderr } = await ext4("cat", `${file}:/dir`, `${file}:/\x1b[2J`);
    expect(stderr).toContain("EISDIR");
  });
});

describe("a reader that goes away", () => {
  test.each([
    ["ls -laR", (): string => `ls -laR ${Array.from({ length: 30 }, () => `'${image}'`).join(" ")}`], ["cat", (): string => `cat '${image}:/sparse'`], ["dump block", (): string => `dump block '${image}' 35`],
    ["--json find", (): string => `--json find ${Array.from({ length: 30 }, () => `'${image}'`).join(" ")}`],
  ])("%s ends without a word", (_name, args) => {
    const { stdout, stderr } = spawnSync("bash", ["-c", `'${process.execPath}' '${BIN}' ${args()} | head -c 20 | wc -c; echo "status \${PIPESTATUS[0]}"`], { encoding: "utf8" });
    expect(stdout.trim().split(/\s*\n\s*/)).toEqual(["20", "status 0"]);
    expect(stderr).toBe("");
  });
});

describe("partitions", () => {
  const plain = fixtureImage("plain");
  const sectors = plain.length / 512;
  const disks = (): readonly (readonly [string, string, number])[] => [
    ["GPT", write("gpt.img", gptDisk([{ first: 64, count: 10, name: "boot" }, { first: 128, count: sectors, content: plain, name: "root" }], 8192)), 2],
    ["MBR", write("mbr.img", mbrDisk([{ first: 64, count: 10 }, { first: 128, count: sectors, content: plain }], 8192)), 2],
    ["a logical one", write("logical.img", mbrDisk([{ first: 64, count: 10 }], 8192, [{ first: 201, count: 20 }, { first: 301, count: sectors, content: plain }])), 6],
  ];

  test("are listed", async () => {
    const gpt = disks()[0]![1];
    expect(await ext4Records("partitions", gpt)).toEqual([
      { number: 1, startBytes: 64 * 512, sizeBytes: 5120, type: "0FC63DAF-8483-4772-8E79-3D69D8477DE4", name: "boot" },
      { number: 2, startBytes: 128 * 512, sizeBytes: plain.length, type: "0FC63DAF-8483-4772-8E79-3D69D8477DE4", name: "root" },
    ]);
    const text = await ext4Output("partitions", gpt);
    expect(text.split("\n")[0]!.trim().split(/\s+/)).toEqual(["#", "start", "bytes", "size", "type", "name"]);
    expect(text).toMatch(/^ *2 +65536 +1048576 +1\.0M +0FC63DAF\S+ +root$/m);
    expect(await ext4Output("partitions", image)).toBe("no partition table\n");
  });

  test("hold filesystems: disk.img#2:/path", async () => {
    for (const [name, disk, number] of disks()) {
      expect(await ext4Output("cat", `${disk}#${number}:/small`), name).toBe("small file");
      expect((await ext4Output("find", `${disk}#${number}`)).trim().split("\n"), name).toHaveLength(fixtureTree("plain").size);
      const { status, stderr } = await ext4("ls", `${disk}#1`);
      expect([status, stderr], name).toEqual([2, expect.stringContaining("EUCLEAN")]);
    }
  });

  test("a damaged table is an error", async () => {
    const disk = gptDisk([{ first: 64, count: 10 }], 8192);
    disk[512] = disk[8191 * 512] = 0;
    const { status, stderr } = await ext4("partitions", write("bad.img", disk));
    expect([status, stderr]).toEqual([2, expect.stringMatching(/^ext4: .*bad\.img: EUCLEAN: the partition table is damaged/)]);
  });
});

describe("an image on the web", () => {
  test("is read as one in a file", async () => {
    const server = await serveImage({ bytes: fixtureImage("checksums"), etag: '"one"' });
    try {
      for (const args of [["ls", "-laR"], ["find"], ["du", "-s"], ["info"]]) {
        expect((await ext4Output(...args, server.url)).replaceAll(server.url, image), args.join(" ")).toBe(await ext4Output(...args, image));
      }
      expect(await ext4Output("cat", `${server.url}:/small`)).toBe("small file");
      expect(await ext4Output("partitions", server.url)).toBe("no partition table\n");
      const out = temporaryFolder();
      expect((await ext4("cp", "-a", `${server.url}:/dir`, out)).status).toBe(0);
      expect(fs.readFileSync(join(out, "dir/deep/deeper/bottom"), "utf8")).toBe("b".repeat(5000));
    } finally {
      await server.close();
    }
  });

  test("a server without ranges, and none at all", async () => {
    const server = await serveImage({ bytes: fixtureImage("checksums"), hasRanges: false });
    const refused = await ext4("ls", server.url);
    await server.close();
    expect([refused.status, refused.stderr]).toEqual([2, expect.stringContaining(`ext4: ${server.url}: EOPNOTSUPP: the server does not answer range requests`)]);
    const absent = await ext4("ls", server.url);
    expect([absent.status, absent.stderr]).toEqual([2, expect.stringContaining("cannot be reached")]);
  });
});
