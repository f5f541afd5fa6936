/** info prints what dumpe2fs prints, line by line, of images of every kind. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FIXTURES, fixtureFile } from "../support/fixtures.js";
import { attempt, hasCommand, notTestedHere, run, temporaryFolder } from "../support/host.js";
import { ext4Output, ext4Records } from "./ext4.js";

const canCompare = hasCommand("dumpe2fs") && hasCommand("mke2fs");
if (!canCompare) notTestedHere("info beside dumpe2fs", "needs e2fsprogs");

interface Kind {
  readonly name: string;
  readonly args: readonly string[];
  readonly sizeMib?: number;
  /** Commands of debugfs that give the superblock something more to say. */
  readonly changes?: readonly string[];
  readonly tune?: readonly string[];
}

const KINDS: readonly Kind[] = [
  { name: "ext4 as mke2fs makes it", args: ["-t", "ext4"] },
  { name: "labelled, with raid and reserved blocks", args: ["-t", "ext4", "-L", "a label", "-E", "stride=16,stripe_width=64", "-m", "7"] },
  { name: "ext2", args: ["-t", "ext2", "-b", "1024"] },
  { name: "ext3", args: ["-t", "ext3", "-b", "1024"] },
  { name: "revision 0", args: ["-t", "ext2", "-r", "0"] },
  { name: "no checksums", args: ["-t", "ext4", "-O", "^metadata_csum,^uninit_bg"] },
  { name: "uninit_bg", args: ["-t", "ext4", "-O", "^metadata_csum,uninit_bg", "-b", "1024"] },
  { name: "several groups, 1 KiB", args: ["-t", "ext4", "-b", "1024"], sizeMib: 40 },
  { name: "bigalloc", args: ["-t", "ext4", "-O", "bigalloc", "-C", "16384"], sizeMib: 64 },
  { name: "bigalloc, 1 KiB blocks", args: ["-t", "ext4", "-O", "bigalloc", "-b", "1024", "-C", "8192"], sizeMib: 64 },
  { name: "meta_bg", args: ["-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024", "-g", "1024"], sizeMib: 40 },
  { name: "without flex_bg", args: ["-t", "ext4", "-O", "^flex_bg", "-b", "1024"], sizeMib: 40 },
  { name: "packed flex_bg", args: ["-t", "ext4", "-G", "4", "-E", "packed_meta_blocks=1", "-b", "1024"], sizeMib: 40 },
  { name: "sparse_super2", args: ["-t", "ext4", "-O", "sparse_super2", "-b", "1024"], sizeMib: 40 },
  { name: "without sparse_super", args: ["-t", "ext4", "-O", "^sparse_super,^resize_inode", "-b", "1024"], sizeMib: 40 },
  { name: "mmp, quotas, orphan file", args: ["-t", "ext4", "-O", "mmp,quota,project,orphan_file", "-E", "quotatype=usrquota:grpquota:prjquota"] },
  { name: "casefold, encrypt, verity, large_dir", args: ["-t", "ext4", "-O", "casefold,encrypt,verity,large_dir", "-E", "encoding=utf8-12.1,encoding_flags=strict"] },
  { name: "ea_inode, inline_data, csum_seed, fast_commit", args: ["-t", "ext4", "-O", "ea_inode,inline_data,metadata_csum_seed,fast_commit"], sizeMib: 32 },
  { name: "without journal, 64bit off", args: ["-t", "ext4", "-O", "^has_journal,^64bit", "-I", "512"] },
  { name: "64 KiB blocks", args: ["-t", "ext4", "-b", "65536"], sizeMib: 128 },
  { name: "mount options and hashes", args: ["-t", "ext4"], tune: ["-o", "acl,journal_data_writeback,nodelalloc,discard", "-E", "hash_alg=tea", "-e", "panic", "-i", "30d", "-c", "20", "-u", "12345", "-g", "54321"] },
  { name: "errors on record", args: ["-t", "ext4"], changes: [
    "error_count 3", "first_error_time 20240102030405", "first_error_func ext4_first", "first_error_line 11", "first_error_ino 12", "first_error_block 13",
    "last_error_time 20250102030405", "last_error_func ext4_last", "last_error_line 22", "last_error_ino 23", "last_error_block 24", "first_error_errcode 5", "last_error_errcode 2", "state 2",
  ] },
  { name: "mounted and orphans", args: ["-t", "ext4"], changes: ["last_mounted /mnt/somewhere", "mtime 20240506070809", "mnt_count 7", "last_orphan 12", "kbytes_written 5000", "mount_opts data=journal"] },
  { name: "much written", args: ["-t", "ext4", "-O", "^flex_bg"], changes: ["kbytes_written 123456789", "checkinterval 3456789", "encrypt_pw_salt 11111111-2222-3333-4444-555555555555"] },
  { name: "times after 2106", args: ["-t", "ext4"], changes: ["mkfs_time 21500102030405", "wtime 21500102030405", "lastcheck 21500102030405"] },
];

/**
 * Lines with their words; what dumpe2fs says of itself is no part of it. Of a bigalloc filesystem's last free cluster dumpe2fs 1.47.0 names the first block where later versions,
 * and we, name the last.
 */
const lines = (output: string): string[] => output.split("\n").filter((line) => !line.startsWith("dumpe2fs ")).map((line) => line.trimEnd().replace(/(?<=\S)\s+/g, " "))
  .filter((line) => line !== "");
const withoutLastCluster = (line: string): string => (line.startsWith("  Free blocks:") ? line.replace(/-\d+/g, "") : line);

async function expectSame(image: string, prepare = (line: string): string => line): Promise<void> {
  const theirs = lines(attempt("dumpe2fs", [image]).stdout).map(prepare);
  expect(theirs.length).toBeGreaterThan(30);
  expect(lines(await ext4Output("info", image)).map(prepare)).toEqual(theirs);
}

describe.runIf(canCompare)("beside dumpe2fs", () => {
  test.each(KINDS)("$name", async ({ name, args, sizeMib = 16, changes = [], tune }) => {
    const image = join(temporaryFolder(), "disk.img");
    run("mke2fs", ["-q", "-F", "-U", "00112233-4455-6677-8899-aabbccddeeff", ...args, image, `${sizeMib}M`]);
    if (tune !== undefined) run("tune2fs", [...tune, image]);
    if (changes.length > 0) run("debugfs", ["-w", "-f", "-", image], { input: changes.map((change) => `set_super_value ${change}\n`).join("") });
    await expectSame(image, name.startsWith("bigalloc") ? withoutLastCluster : undefined);
  });

  test("bad blocks", async () => {
    const folder = temporaryFolder();
    const [image, list] = [join(folder, "disk.img"), join(folder, "bad")];
    writeFileSync(list, "3000\n3001\n3002\n5000\n");
    run("mke2fs", ["-q", "-F", "-t", "ext4", "-l", list, image, "16M"]);
    await expectSame(image);
  });

  test("a journal on a device of its own", async () => {
    const folder = temporaryFolder();
    const [image, journal] = [join(folder, "disk.img"), join(folder, "journal.img")];
    run("mke2fs", ["-q", "-F", "-O", "journal_dev", "-b", "1024", "-U", "00112233-4455-6677-8899-aabbccddeeff", journal, "8M"]);
    run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "1024", "-O", "^has_journal", image, "16M"]);
    run("debugfs", ["-w", "-f", "-", image], { input: "feature has_journal\nset_super_value journal_uuid 00112233-4455-6677-8899-aabbccddeeff\nset_super_value journal_dev 0x700\n" });
    // mke2fs makes the two acquainted only on block devices: the journal's superblock, in block 2, names its one user.
    const bytes = readFileSync(journal);
    bytes.writeUInt32BE(1, 2048 + 0x40);
    bytes.set(readFileSync(image).subarray(1024 + 0x68, 1024 + 0x78), 2048 + 0x100);
    writeFileSync(journal, bytes);
    // What dumpe2fs says of the filesystem it says without its journal; we add what it says of the journal.
    const ours = lines(await ext4Output("--journal", journal, "info", image));
    const theirs = lines(attempt("dumpe2fs", [image]).stdout);
    const theirJournal = lines(attempt("dumpe2fs", [journal]).stdout).filter((line) => line.startsWith("Journal ") && !ours.includes(line));
    expect(ours.filter((line) => !/^(Journal (features|sequence|start|users|first)|Total journal|Max transaction|Fast commit)/.test(line))).toEqual(theirs);
    expect(theirJournal).toEqual([]);
    expect(ours.some((line) => line.startsWith("Total journal blocks: 8192"))).toBe(true);
  });

  test("--header is the header, and --json has every line", async () => {
    const image = fixtureFile("checksums");
    const whole = await ext4Output("info", image);
    const header = await ext4Output("info", "--header", image);
    expect(whole.startsWith(header)).toBe(true);
    expect(lines(header)).toEqual(lines(run("dumpe2fs", ["-h", image])));
    const [record] = await ext4Records("info", image);
    for (const line of header.trimEnd().split("\n")) {
      const [, name, value] = /^([^:]+): +(.*)$/.exec(line)!;
      expect(String(record![name!]), name).toBe(value);
    }
    expect(record!.features).toEqual(/^Filesystem features: +(.*)$/m.exec(header)![1]!.split(" "));
    expect(record!.groups).toHaveLength(1);
  });

  test.each(FIXTURES.filter((name) => !["journal", "journal-unchecked", "fast-commit"].includes(name)))("fixture %s", async (name) => {
    await expectSame(fixtureFile(name));
  });
});
