/** dump shows what is on the disk: field by field against the image's bytes, and in sum against debugfs, which reads them with code of its own. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { fixtureFile, fixtureTree, type Fixture } from "../support/fixtures.js";
import { canMount, hasCommand, notTestedHere, run, temporaryFolder, withMount } from "../support/host.js";
import { ext4, ext4Output, ext4Records } from "./ext4.js";

const hasDebugfs = hasCommand("debugfs");
if (!hasDebugfs) notTestedHere("dump beside debugfs", "needs debugfs");

const image = fixtureFile("checksums");
const tree = fixtureTree("checksums");
const debugfs = (command: string, of = image): string => run("debugfs", ["-R", command, of]);

/** The fields of a structure, by name. */
async function fieldsOf(...args: readonly string[]): Promise<Map<string, number | string>> {
  const records = await ext4Records("dump", ...args);
  return new Map(records.filter((record) => "value" in record).map(({ value, ...rest }) => {
    const name = Object.entries(rest).find(([key]) => !["offset", "type", "hex"].includes(key))![1] as string;
    return [name, /^-?\d+$/.test(String(value)) ? Number(value) : String(value)];
  }));
}

test("every number of the superblock stands where the table says", async () => {
  const bytes = readFileSync(image).subarray(1024, 2048);
  const read: Record<string, (at: number) => number> = {
    u8: (at) => bytes.readUInt8(at), le16: (at) => bytes.readUInt16LE(at), le32: (at) => bytes.readUInt32LE(at), le64: (at) => Number(bytes.readBigUInt64LE(at)), le16s: (at) => bytes.readInt16LE(at),
  };
  const records = await ext4Records("dump", "superblock", image);
  const numbers = records.filter(({ type, hex }) => hex !== "" && (type as string) in read);
  expect(numbers.length).toBeGreaterThan(80);
  for (const { offset, type, value } of numbers) expect(String(read[type as string]!(parseInt(offset as string, 16))), `${String(offset)}`).toBe(value);
  expect(records.at(-1)).toMatchObject({ offset: "0x3fc", value: String(bytes.readUInt32LE(0x3fc)) });
});

describe.runIf(hasDebugfs)("beside debugfs", () => {
  test("the superblock's names mean what dumpe2fs means", async () => {
    const fields = await fieldsOf("superblock", image);
    const stats = debugfs("show_super_stats -h");
    const theirs = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\S+)`, "m").exec(stats)![1]);
    for (const [field, name] of [
      ["s_inodes_count", "Inode count"], ["s_blocks_count_lo", "Block count"], ["s_r_blocks_count_lo", "Reserved block count"], ["s_free_blocks_count_lo", "Free blocks"], ["s_free_inodes_count", "Free inodes"],
      ["s_first_data_block", "First block"], ["s_blocks_per_group", "Blocks per group"], ["s_inodes_per_group", "Inodes per group"], ["s_inode_size", "Inode size"], ["s_first_ino", "First inode"],
      ["s_journal_inum", "Journal inode"], ["s_orphan_file_inum", "Orphan file inode"], ["s_desc_size", "Group descriptor size"], ["s_mnt_count", "Mount count"],
    ] as const) expect(fields.get(field), field).toBe(theirs(name));
  });

  test.each(["/small", "/dir", "/extents", "/sparse", "/fast", "/slow", "/fifo", "/device", "/attributes", "/medium"])("inode %s", async (path) => {
    const { ino } = tree.get(path)!;
    const [byPath, byNumber] = [await fieldsOf("inode", `${image}:${path}`), await fieldsOf("inode", image, `<${ino}>`)];
    expect(byNumber).toEqual(byPath);
    const stat = debugfs(`stat <${ino}>`);
    const theirs = (pattern: RegExp): string => pattern.exec(stat)![1]!;
    const number = (name: string): number => byPath.get(name) as number;
    expect((number("i_mode") & 0o7777).toString(8).padStart(4, "0")).toBe(theirs(/Mode: +(\d+)/));
    expect(`0x${number("i_flags").toString(16)}`).toBe(theirs(/Flags: (0x[0-9a-f]+)/));
    expect(String(number("i_generation"))).toBe(theirs(/Generation: (\d+)/));
    expect(String(number("i_size_lo"))).toBe(theirs(/Size: (\d+)$/m));
    expect(String(number("i_links_count"))).toBe(theirs(/Links: (\d+)/));
    expect(String(number("i_blocks_lo"))).toBe(theirs(/Blockcount: (\d+)/));
    expect(String(number("i_file_acl_lo"))).toBe(theirs(/File ACL: (\d+)/));
    expect(String(number("i_extra_isize"))).toBe(theirs(/extra inode fields: (\d+)/));
    expect(`0x${(number("i_checksum_hi") * 0x1_0000 + number("i_checksum_lo")).toString(16).padStart(8, "0")}`).toBe(theirs(/Inode checksum: (0x[0-9a-f]+)/));
    for (const time of ["ctime", "atime", "mtime", "crtime"]) {
      const hex = (name: string): string => (number(name) >>> 0).toString(16).padStart(8, "0");
      expect(`0x${hex(`i_${time}`)}:${hex(`i_${time}_extra`)}`, time).toBe(theirs(new RegExp(`^ ?${time}: (\\S+)`, "m")));
    }
  });

  test("an inode that no path leads to", async () => {
    const fields = await fieldsOf("inode", image, "<8>");
    expect(String(fields.get("i_size_lo"))).toBe(/Size: (\d+)$/m.exec(debugfs("stat <8>"))![1]);
  });

  test("extended attributes of an inode", async () => {
    const records = (await ext4Records("dump", "inode", `${image}:/attributes`)).filter((record) => "bytes" in record);
    const theirs = [...debugfs("ea_list /attributes").matchAll(/^ +(\S+) \((\d+)\)/gm)].map(([, name, size]) => [name!.replace(/^user\./, ""), Number(size)]);
    expect(records.map(({ name, bytes }) => [name, bytes]).toSorted()).toEqual(theirs.toSorted());
    expect(records.every(({ index }) => index === 1)).toBe(true);
  });

  test.each(["/extents", "/dir", "/small", "/sparse", "/medium"])("the extents of %s", async (path) => {
    const ours = (await ext4Records("dump", "extents", `${image}:${path}`)).map(({ entry, of, lblk, count, pblk, state }) => [entry, of, lblk, pblk, state === "index" ? "" : count]);
    const theirs = [...debugfs(`ex ${path}`).matchAll(/^ *(\d+)\/ *(\d+) +(\d+)\/ *(\d+) +(\d+) - +\d+ +(\d+)(?: - +\d+)? +(\d+)/gm)]
      .map(([, level, depth, entry, of, lblk, pblk, count]) => [Number(entry), Number(of), Number(lblk), Number(pblk), level === depth ? Number(count) : ""]);
    expect(theirs.length).toBeGreaterThan(0);
    expect(ours).toEqual(theirs);
  });

  test("a map without extents", async () => {
    const plain = fixtureFile("plain");
    const records = await ext4Records("dump", "extents", `${plain}:/medium`);
    const theirs = [...debugfs("stat /medium", plain).matchAll(/\((\d+)(?:-(\d+))?\):(\d+)/g)].map(([, first, last, pblk]) => ({ lblk: Number(first), count: Number(last ?? first) - Number(first) + 1, pblk: Number(pblk) }));
    expect(records).toEqual(theirs);
  });

  test("a group", async () => {
    const fields = await fieldsOf("group", image, "0");
    const [, blockBitmap, inodeBitmap, inodeTable, freeBlocks, freeInodes, directories, unused, checksum] =
      /Group +0: block bitmap at (\d+), inode bitmap at (\d+), inode table at (\d+)\s+(\d+) free blocks, (\d+) free inodes, (\d+) used directories, (\d+) unused inodes\s+\[Checksum (0x[0-9a-f]+)\]/.exec(debugfs("show_super_stats"))!;
    expect(["bg_block_bitmap_lo", "bg_inode_bitmap_lo", "bg_inode_table_lo", "bg_free_blocks_count_lo", "bg_free_inodes_count_lo", "bg_used_dirs_count_lo", "bg_itable_unused_lo", "bg_checksum"].map((name) => fields.get(name)))
      .toEqual([blockBitmap, inodeBitmap, inodeTable, freeBlocks, freeInodes, directories, unused, checksum].map(Number));
  });

  /** Hash and block of each entry, node by node, from the root down. */
  function debugfsHtree(path: string, of: string): [string, number][] {
    const output = debugfs(`htree_dump ${path}`, of);
    // Each node lists all its entries, and then goes into each of them, naming it again.
    return [...output.matchAll(/^Entry #\d+: Hash (0x[0-9a-f]+)(?: \(\d+\))?, block (\d+)$/gm)].map(([, hash, block]) => [hash!, Number(block)]);
  }

  test("a hash tree", async () => {
    const ours = (await ext4Records("dump", "htree", `${image}:/dir`)).map((record) => [record.hash, record["points to"]]);
    expect(ours.length).toBeGreaterThan(5);
    expect(ours).toEqual(debugfsHtree("/dir", image).slice(0, ours.length));
  });

  test.runIf(canMount)("a hash tree of two levels", async () => {
    const large = join(temporaryFolder(), "disk.img");
    run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "1024", "-N", "4096", large, "32M"]);
    withMount(large, "noatime", (mountPoint) => run("python3", ["-c", `
import os, sys
os.mkdir(sys.argv[1] + "/d")
for i in range(2500): open(sys.argv[1] + f"/d/{i:0200}", "w").close()`, mountPoint]));
    const records = await ext4Records("dump", "htree", `${large}:/d`);
    expect(new Set(records.map(({ level }) => level))).toEqual(new Set([0, 1]));
    const pairs = (entries: readonly (readonly unknown[])[]): Set<string> => new Set(entries.map(([hash, block]) => `${String(hash)} ${String(block)}`));
    expect(pairs(records.map((record) => [record.hash, record["points to"]]))).toEqual(pairs(debugfsHtree("/d", large)));
    expect((await ext4Output("dump", "htree", `${large}:/d`)).split("\n")[0]).toBe("hash version 1, 2 levels of index");
  });

  test.each<Fixture>(["journal", "journal-unchecked", "fast-commit"])("the log of %s", async (name) => {
    const dirty = fixtureFile(name);
    const records = (await ext4Records("dump", "journal", dirty)).filter((record) => "kind" in record);
    const shown = "blocks (with tag flags), revoked blocks, time";
    const ours = records.flatMap(({ kind, transaction, [shown]: blocks, ["log block"]: at }) => {
      const words = String(blocks).split(" ");
      if (kind === "descriptor") return words.map((word) => `${String(transaction)} logs ${word.includes("/") ? word : `${word}/0`}`);
      if (kind === "revoke") return words.map((word) => `${String(transaction)} revokes ${word}`);
      return kind === "commit" ? [`${String(transaction)} commits at ${String(at)}`] : [];
    });
    const theirs = [...debugfs("logdump -a", dirty).matchAll(/FS block (\d+) logged at sequence|FS block (\d+) logged at journal block \d+ \(flags 0x([0-9a-f]+)\)|Revoke FS block (\d+)|expected sequence (\d+), type (\d) \([^)]*\) at block (\d+)/g)];
    let sequence = "";
    const expected: string[] = [];
    for (const [, , logged, flags, revoked, found, type, at] of theirs) {
      if (found !== undefined) sequence = found;
      if (type === "2") expected.push(`${sequence} commits at ${at}`);
      if (logged !== undefined) expected.push(`${sequence} logs ${logged}/${parseInt(flags!, 16)}`);
      if (revoked !== undefined) expected.push(`${sequence} revokes ${revoked}`);
    }
    expect(expected.length).toBeGreaterThan(5);
    expect(ours).toEqual(expected);
    const hasFastCommits = records.some(({ kind }) => String(kind).startsWith("fast "));
    expect(hasFastCommits).toBe(name === "fast-commit");
  });

  test("the orphan list", async () => {
    const orphaned = fixtureFile("plain");
    const [first, second] = ["/small", "/medium"].map((path) => fixtureTree("plain").get(path)!.ino);
    run("debugfs", ["-w", "-f", "-", orphaned], { input: [
      `set_super_value last_orphan ${first}`, ...[first, second].map((ino) => `set_inode_field <${ino}> links_count 0`), `set_inode_field <${first}> dtime @${second}`, `set_inode_field <${second}> dtime 0`, "",
    ].join("\n") });
    expect(await ext4Records("dump", "orphans", orphaned)).toEqual([{ orphan: Number(first) }, { orphan: Number(second) }]);
    expect(await ext4Records("dump", "orphans", image)).toEqual([]);
  });
});

test("a block is the image's bytes", async () => {
  const bytes = readFileSync(image);
  const [record] = await ext4Records("dump", "block", image, "35");
  expect(record).toEqual({ block: 35, hex: bytes.subarray(35 * 1024, 36 * 1024).toString("hex") });
  const text = await ext4Output("dump", "block", image, "1");
  const shown = text.trimEnd().split("\n").map((line) => /^[0-9a-f]+ {2}((?:[0-9a-f]{2} )+) \|/.exec(line)![1]!.replaceAll(" ", ""));
  expect(shown.join("")).toBe(bytes.subarray(1024, 2048).toString("hex"));
  expect(text.split("\n")[0]).toMatch(/^00000 {2}([0-9a-f]{2} ){16} \|.{16}\|$/);
});

test("what is not there", async () => {
  for (const [args, status] of [
    [["group", image, "9"], 2], [["block", image, "999999"], 2], [["block", image], 2], [["nonsense", image], 2], [["inode", image, "<999999>"], 1], [["inode", `${image}:/absent`], 1], [["journal", fixtureFile("plain")], 1],
    [["htree", `${image}:/small`], 1], [["group", image, "x"], 2],
  ] as const) {
    const ended = await ext4("dump", ...args);
    expect([args[0], ended.status, ended.stdout], ended.stderr).toEqual([args[0], status, ""]);
    expect(ended.stderr).toMatch(/^ext4[ :]/);
    expect(ended.stderr).not.toMatch(/^ +at /m);
  }
});
