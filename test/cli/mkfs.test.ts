/** ext4 mkfs as a command: what it says, what it refuses, and what it leaves when it does. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { Ext4 } from "../../src/platform/node/index.js";
import { BIN, ext4, ext4Output, ext4Records } from "./ext4.js";
import { attempt, hasCommand, temporaryFolder } from "../support/host.js";

const MIB = 2 ** 20;
const UUID = "00112233-4455-6677-8899-aabbccddeeff";

let folder = "";
let image = "";
beforeEach(() => {
  folder = temporaryFolder();
  image = join(folder, "disk.img");
});

function checkImage(path: string, ...options: string[]): void {
  if (hasCommand("e2fsck")) expect(attempt("e2fsck", ["-fn", ...options, path])).toMatchObject({ status: 0 });
}

describe("a new image", () => {
  test("is made, and described", async () => {
    const output = await ext4Output("mkfs", "-L", "data", image, "16M");
    expect(output).toMatch(/16384 blocks of 1\.0K, 4096 inodes/);
    expect(output).toMatch(/features .*has_journal.*metadata_csum/);
    expect(output).toMatch(/backups .* 8193\b/);
    expect(statSync(image).size).toBe(16 * MIB);
    expect(readdirSync(folder)).toEqual(["disk.img"]);
    checkImage(image);
    const volume = Ext4.openSync(image);
    expect(volume.readdirSync("/")).toEqual(["lost+found"]);
    volume.closeSync();
  });

  test("in JSON, and quietly", async () => {
    const [record] = await ext4Records("mkfs", "-U", UUID, "-t", "ext2", image, "4M");
    expect(record).toMatchObject({ uuid: UUID, blocksCount: 4096, blockBytes: 1024, journalBlocks: 0, isDryRun: false });
    expect(await ext4Output("mkfs", "-q", "-F", image)).toBe("");
  });

  test("a dry run says the same and leaves nothing", async () => {
    const [dry] = await ext4Records("mkfs", "-n", "-U", UUID, image, "300M");
    expect(existsSync(image)).toBe(false);
    const [made] = await ext4Records("mkfs", "-U", UUID, image, "300M");
    expect(made).toEqual({ ...dry, isDryRun: false });
  });

  test.each([["65536", 64 * MIB], ["65536 -b 4096", 256 * MIB], ["8193s", 4096 * 1024 + 512], ["5m", 5 * MIB], ["1G", 1024 * MIB]])("SIZE %s", async (words, sizeBytes) => {
    const [size, ...options] = words.split(" ") as [string, ...string[]];
    await ext4Output("mkfs", ...options, image, size);
    expect(statSync(image).size).toBe(sizeBytes);
  });

  test("uuids: random, of the time, cleared", async () => {
    const uuids: unknown[] = [];
    for (const how of [[], ["-U", "random"], ["-U", "time"], ["-U", "clear"]]) uuids.push((await ext4Records("mkfs", "-F", ...how, image, "4M"))[0]!["uuid"]);
    const form = (version: number): RegExp => new RegExp(`^[0-9a-f]{8}-[0-9a-f]{4}-${version}[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`);
    expect(uuids).toEqual([expect.stringMatching(form(4)), expect.stringMatching(form(4)), expect.stringMatching(form(1)), "<none>"]);
    expect(uuids[0]).not.toBe(uuids[1]);
  });

  test("with SOURCE_DATE_EPOCH, -U and hash_seed, the same bytes every time", () => {
    const made = ["a", "b"].map((name) => {
      const path = join(folder, name);
      execFileSync(process.execPath, [BIN, "mkfs", "-U", UUID, "-E", `hash_seed=${UUID}`, "-O", "quota,orphan_file", path, "16M"], { env: { ...process.env, SOURCE_DATE_EPOCH: "1000000000" } });
      return readFileSync(path);
    });
    expect(Buffer.compare(made[0]!, made[1]!)).toBe(0);
  });
});

describe("usage", () => {
  const WRONG: readonly (readonly [string, string])[] = [
    ["-b", "-b 3000"], ["-b", "-b big"], ["-C", "-C 16384"], ["-O", "-O foo"], ["-O", "-O meta_bg"], ["-t", "-t ext5"], ["-T", "-T tiny"], ["-I", "-I 100"], ["-i", "-i 1"], ["-N", "-N x"],
    ["-g", "-g 1001"], ["-G", "-G 3"], ["-m", "-m 51"], ["-m", "-m -1"], ["-m", "-m x"], ["-L", "-L seventeen-letters"], ["-U", "-U foo"], ["-e", "-e foo"], ["-o", "-o foo"], ["-r", "-r 2"],
    ["-J", "-J foo=1"], ["-J size", "-J size=x"], ["-J size", "-J size=100"], ["-E", "-E foo=1"], ["-E stride", "-E stride=x"], ["-E resize", "-E resize=1000"], ["-E num_backup_sb", "-E num_backup_sb=3"],
    ["-E hash_seed", "-E hash_seed=x"], ["-E root_owner", "-E root_owner=1"], ["-E encoding", "-E encoding=x"], ["-E encoding_flags", "-O casefold -E encoding_flags=x"], ["-E quotatype", "-O quota -E quotatype=x"],
    ["-E mmp_update_interval", "-E mmp_update_interval=400"], ["-E offset", "-E offset=x"], ["-E lazy_itable_init", "-E lazy_itable_init=2"], ["-c", "-c"], ["-l", "-l file"], ["-D", "-D"], ["-S", "-S"], ["-z", "-z file"],
  ];
  test.each(WRONG)("%s is to blame: %s", async (flag, options) => {
    const { status, stderr, stdout } = await ext4("mkfs", ...options.split(" "), image, "16M");
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toContain(flag);
    expect(readdirSync(folder)).toEqual([]);
  });

  test.each([["0"], ["x"], ["10Q"], ["9999999P"]])("SIZE %s", async (size) => {
    const { status, stderr } = await ext4("mkfs", image, size);
    expect(status).toBe(2);
    expect(stderr).toContain("SIZE");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("an image that is not there needs a size; a folder that is not there gets none", async () => {
    expect(await ext4("mkfs", image)).toMatchObject({ status: 2, stderr: expect.stringContaining("SIZE") });
    expect(await ext4("mkfs", join(folder, "absent", "disk.img"), "16M")).toMatchObject({ status: 1, stderr: expect.stringContaining("ENOENT") });
    expect(await ext4("mkfs", image, "40K")).toMatchObject({ status: 1, stderr: expect.stringContaining("too small") });
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("an image that is there", () => {
  test("is not overwritten without -F if it holds something", async () => {
    await ext4Output("mkfs", image, "8M");
    const before = readFileSync(image);
    const { status, stderr } = await ext4("mkfs", "-t", "ext2", image);
    expect(status).toBe(1);
    expect(stderr).toContain("-F");
    expect(Buffer.compare(readFileSync(image), before)).toBe(0);
    await ext4Output("mkfs", "-F", "-t", "ext2", image);
    checkImage(image);
    expect(await ext4Output("info", "--header", image)).not.toContain("has_journal");
  });

  test("keeps its size, or grows to what is asked for", async () => {
    writeFileSync(image, Buffer.alloc(10 * MIB, 1));
    await ext4Output("mkfs", image);
    expect(statSync(image).size).toBe(10 * MIB);
    checkImage(image);
    await ext4Output("mkfs", "-F", image, "20M");
    expect(statSync(image).size).toBe(20 * MIB);
    checkImage(image);
    await ext4Output("mkfs", "-F", image, "8M");
    expect(statSync(image).size).toBe(20 * MIB);
    checkImage(image);
  });

  test("what lies before an offset and behind the filesystem stays", async () => {
    writeFileSync(image, Buffer.alloc(24 * MIB, 0x55));
    await ext4Output("mkfs", "-E", `offset=${4 * MIB}`, image, "16M");
    const bytes = readFileSync(image);
    expect(bytes.subarray(0, 4 * MIB).every((byte) => byte === 0x55)).toBe(true);
    expect(bytes.subarray(20 * MIB).every((byte) => byte === 0x55)).toBe(true);
    const inner = join(folder, "inner.img");
    writeFileSync(inner, bytes.subarray(4 * MIB, 20 * MIB));
    checkImage(inner);
  });

  test("a partition of it", async () => {
    const disk = Buffer.alloc(32 * MIB);
    const [firstSector, sectors] = [2048, (16 * MIB) / 512];
    disk.set([0, 0, 0, 0, 0x83, 0, 0, 0], 446);
    disk.writeUInt32LE(firstSector, 454);
    disk.writeUInt32LE(sectors, 458);
    disk.writeUInt16LE(0xaa55, 510);
    writeFileSync(image, disk);
    expect(await ext4("mkfs", image)).toMatchObject({ status: 1, stderr: expect.stringContaining("partition table") });
    await ext4Output("mkfs", `${image}#1`);
    expect(await ext4Output("ls", `${image}#1:/`)).toBe("lost+found\n");
    expect(await ext4("mkfs", `${image}#2`)).toMatchObject({ status: 1, stderr: expect.stringContaining("no partition 2") });
  });
});

describe("an external journal", () => {
  test("is made, and used", async () => {
    const journal = join(folder, "journal.img");
    await ext4Output("mkfs", "-O", "journal_dev", "-b", "1024", journal, "4M");
    await ext4Output("mkfs", "-b", "1024", "-J", `device=${journal}`, image, "16M");
    const volume = Ext4.openSync(image, { journalDevice: journal });
    expect(volume.readdirSync("/")).toEqual(["lost+found"]);
    volume.closeSync();
    checkImage(image, "-j", journal);
    expect(await ext4("mkfs", "-F", "-b", "4096", "-J", `device=${journal}`, image)).toMatchObject({ status: 2, stderr: expect.stringContaining("-J device") });
    expect(await ext4("mkfs", "-F", "-J", `device=${image}`, image)).toMatchObject({ status: 1, stderr: expect.stringContaining("no journal") });
  });
});

describe("-d", () => {
  /** More than one batch, so that threads share the work; a large file, of which they copy a part each. */
  function sourceFolder(): string {
    const source = temporaryFolder();
    for (let index = 0; index < 60; index++) {
      mkdirSync(join(source, `d${index}`));
      for (let file = 0; file < 20; file++) writeFileSync(join(source, `d${index}`, `f${file}`), Buffer.alloc((index * 20 + file) * 7, index + 1));
    }
    writeFileSync(join(source, "large"), Buffer.from(Uint32Array.from({ length: 5 * MIB }, (_, index) => index).buffer));
    return source;
  }

  function expectCopied(volume: ReturnType<typeof Ext4.openSync>, source: string): void {
    for (const name of readdirSync(source, { recursive: true, encoding: "utf8" })) {
      if (!statSync(join(source, name)).isFile()) continue;
      expect(volume.readFileSync(`/${name}`).equals(readFileSync(join(source, name))), name).toBe(true);
    }
    volume.closeSync();
  }

  const FIXED_WORDS = ["-q", "mkfs", "-U", UUID, "-E", `hash_seed=${UUID}`];

  test("threads share the work, and the bytes are the same every time", () => {
    const source = sourceFolder();
    const made = ["a", "b", "c"].map((name) => {
      const path = join(folder, name);
      // Over an image that is there everything is planned first; then the old bytes make no difference, either.
      if (name === "c") writeFileSync(path, Buffer.alloc(64 * MIB, 0x55));
      execFileSync(process.execPath, [BIN, ...FIXED_WORDS, "-d", source, path, "64M"], { env: { ...process.env, SOURCE_DATE_EPOCH: "1000000000" } });
      return readFileSync(path);
    });
    for (const other of made.slice(1)) expect(Buffer.compare(made[0]!, other)).toBe(0);
    checkImage(join(folder, "a"));
    expectCopied(Ext4.openSync(join(folder, "a")), source);
  });

  test("what does not fit is refused before an image that is there is touched", async () => {
    await ext4Output("mkfs", image, "16M");
    const before = readFileSync(image);
    const { status, stderr } = await ext4("mkfs", "-F", "-d", sourceFolder(), image);
    expect(status).toBe(1);
    expect(stderr).toMatch(/ENOSPC.*large/);
    expect(Buffer.compare(readFileSync(image), before)).toBe(0);
  });

  test("a folder that is not there, or none, leaves no image", async () => {
    const path = join(folder, "file");
    writeFileSync(path, "no folder");
    expect(await ext4("mkfs", "-d", join(folder, "absent"), image, "16M")).toMatchObject({ status: 1, stderr: expect.stringContaining("ENOENT") });
    expect(await ext4("mkfs", "-d", path, image, "16M")).toMatchObject({ status: 1, stderr: expect.stringContaining("ENOTDIR") });
    expect(readdirSync(folder)).toEqual(["file"]);
  });

  test("into a partition, behind an offset, with a journal elsewhere", async () => {
    const source = sourceFolder();
    const disk = Buffer.alloc(66 * MIB, 0x55);
    disk.fill(0, 0, 512);
    disk.set([0, 0, 0, 0, 0x83, 0, 0, 0], 446);
    disk.writeUInt32LE(2048, 454);
    disk.writeUInt32LE((64 * MIB) / 512, 458);
    disk.writeUInt16LE(0xaa55, 510);
    writeFileSync(image, disk);
    await ext4Output("mkfs", "-d", source, `${image}#1`);
    const after = readFileSync(image);
    expect(after.subarray(0, MIB).equals(disk.subarray(0, MIB))).toBe(true);
    expect(after.subarray(65 * MIB).equals(disk.subarray(65 * MIB))).toBe(true);
    const inner = join(folder, "inner.img");
    writeFileSync(inner, after.subarray(MIB, 65 * MIB));
    checkImage(inner);
    expectCopied(Ext4.openSync(inner), source);

    const journal = join(folder, "journal.img");
    const behind = join(folder, "behind.img");
    await ext4Output("mkfs", "-O", "journal_dev", "-b", "1024", journal, "4M");
    await ext4Output("mkfs", "-b", "1024", "-J", `device=${journal}`, "-E", `offset=${MIB}`, "-d", source, behind, "64M");
    writeFileSync(inner, readFileSync(behind).subarray(MIB));
    checkImage(inner, "-j", journal);
    expectCopied(Ext4.openSync(inner, { journalDevice: journal }), source);
  });

  test("a dry run says what would be free", async () => {
    const source = sourceFolder();
    const [dry, ...rest] = await ext4Records("mkfs", "-n", "-U", UUID, "-d", source, image, "64M");
    expect(rest).toEqual([]);
    expect(existsSync(image)).toBe(false);
    const records = await ext4Records("mkfs", "-U", UUID, "-d", source, image, "64M");
    expect(records.at(-1)).toEqual({ ...dry, isDryRun: false });
    expect(records[0]).toEqual({ from: join(source, "d0"), to: `${image}:/d0` });
    expect(records).toHaveLength(60 * 21 + 1 + 1);
    expect(await ext4("mkfs", "-n", "-d", source, join(folder, "small.img"), "16M")).toMatchObject({ status: 1, stderr: expect.stringContaining("ENOSPC") });
  });
});
