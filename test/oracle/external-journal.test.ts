/**
 * A journal on a device of its own: image and journal are copied while Linux has them mounted. With its journal the image reads as Linux recovers it, and neither file is touched; opened for
 * writing both are recovered for good; and what we leave in the journal at a power cut Linux recovers. Without its journal, or with another, the image is refused.
 */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { Ext4, FileDevice, MemoryDevice, UnsupportedFeatureError, type OpenOptions } from "../../src/platform/node/index.js";
import { attempt, canMount, notTestedHere, run, temporaryFolder, withLoop, withMount } from "../support/host.js";
import { hashOf, linuxTree, ourTree, treeDifferences, type Tree } from "../support/tree.js";

/** Files of a filesystem and of its journal. */
interface Pair { readonly image: string; readonly journal: string }

const hashes = ({ image, journal }: Pair): string[] => [hashOf(image), hashOf(journal)];

function makeJournal(blockBytes: number): string {
  const journal = join(temporaryFolder(), "journal.img");
  run("mke2fs", ["-q", "-F", "-O", "journal_dev", "-b", String(blockBytes), journal, `${blockBytes * 2}K`]);
  return journal;
}

function makePair(blockBytes: number, args: readonly string[]): Pair {
  const journal = makeJournal(blockBytes);
  const image = join(temporaryFolder(), "disk.img");
  withLoop(journal, (device) => run("mke2fs", ["-q", "-F", "-b", String(blockBytes), "-J", `device=${device}`, ...args, image, "24M"]));
  return { image, journal };
}

function copyOf({ image, journal }: Pair): Pair {
  const folder = temporaryFolder();
  const pair = { image: join(folder, "disk.img"), journal: join(folder, "journal.img") };
  run("cp", ["--sparse=always", image, pair.image]);
  run("cp", ["--sparse=always", journal, pair.journal]);
  return pair;
}

function withPair<T>({ image, journal }: Pair, options: string, work: (mountPoint: string) => T): T {
  return withLoop(journal, (device) => withMount(image, `${options},journal_path=${device}`, work)!);
}

const recoveredByLinux = (pair: Pair): Tree => withPair(copyOf(pair), "noatime", linuxTree);

/** What was on disk when the writer had synced its last file, with more behind it that nobody waited for. */
function dirtyPair(blockBytes: number, args: readonly string[], options = "rw"): Pair {
  const pair = makePair(blockBytes, args);
  return withPair(pair, options, (mountPoint) => {
    run("python3", ["-c", `
import os, shutil, sys
root = sys.argv[1] + "/"
def put(name, text): open(root + name, "w").write(text)
for i in range(200):
    os.makedirs(root + f"a{i % 5}/b{i}"); put(f"a{i % 5}/b{i}/f", f"hello {i}" * (i % 40))
os.sync()
shutil.rmtree(root + "a3")
for i in range(150): put(f"n{i}", "y" * i * 50); os.setxattr(root + f"n{i}", "user.k", b"v" * (i * 3))
for i in range(0, 150, 2): os.rename(root + f"n{i}", root + f"a1/moved{i}")
put("last", "synced"); fd = os.open(root + "last", os.O_RDONLY); os.fsync(fd); os.close(fd)
put("later", "nobody waited")`, mountPoint]);
    return copyOf(pair);
  });
}

describe.runIf(canMount)("a filesystem with its journal elsewhere", () => {
  test.each<[string, number, string[], string?]>([
    ["ext4, 4 KiB", 4096, ["-t", "ext4"]],
    ["ext4, 1 KiB", 1024, ["-t", "ext4"]],
    ["data=journal", 1024, ["-t", "ext4"], "data=journal"],
    ["ext3", 1024, ["-t", "ext3"]],
    ["orphan_file and bigalloc", 4096, ["-t", "ext4", "-O", "orphan_file,bigalloc", "-C", "16384"]],
  ])("%s", async (_name, blockBytes, args, options) => {
    const dirty = dirtyPair(blockBytes, args, options);
    const before = hashes(dirty);
    const theirs = recoveredByLinux(dirty);

    const volume = Ext4.openSync(dirty.image, { journalDevice: dirty.journal });
    expect(volume.fs.recovery!.log.replayedCount).toBeGreaterThan(0);
    expect(treeDifferences(theirs, ourTree(volume))).toEqual([]);
    expect(volume.readFileSync("/last", "utf8")).toBe("synced");
    volume.closeSync();
    const again = await Ext4.open(dirty.image, { journalDevice: FileDevice.open(dirty.journal, { readOnly: true }) });
    expect(await again.promises.readFile("/last", "utf8")).toBe("synced");
    await again.close();
    expect(hashes(dirty), "neither file was touched").toEqual(before);

    // For good: then both are clean, and the filesystem needs its journal's blocks no more.
    const recovered = copyOf(dirty);
    Ext4.openSync(recovered.image, { journalDevice: recovered.journal, readOnly: false }).closeSync();
    expect(attempt("e2fsck", ["-fn", "-j", recovered.journal, recovered.image])).toMatchObject({ status: 0 });
    expect(treeDifferences(theirs, withPair(recovered, "ro,noatime", linuxTree))).toEqual([]);
    const clean = Ext4.openSync(recovered.image, { journalDevice: recovered.journal });
    expect(clean.fs.recovery).toBeUndefined();
    clean.closeSync();
  });

  test("a power cut after our fsync: Linux and e2fsck recover our journal", () => {
    const pair = makePair(1024, ["-t", "ext4"]);
    const volume = Ext4.openSync(pair.image, { journalDevice: pair.journal, readOnly: false });
    volume.mkdirSync("/dir");
    for (let index = 0; index < 100; index++) volume.writeFileSync(`/dir/file-${index}`, `file ${index}`.repeat(index));
    volume.writeFileSync("/dir/last", "synced", { flush: true });
    const cut = copyOf(pair);
    volume.closeSync();

    const byOurs = Ext4.openSync(cut.image, { journalDevice: cut.journal });
    expect(byOurs.fs.recovery!.log.replayedCount).toBeGreaterThan(0);
    const ours = ourTree(byOurs);
    byOurs.closeSync();
    expect(ours.size).toBe(104);
    expect(treeDifferences(recoveredByLinux(cut), ours)).toEqual([]);
    const checked = copyOf(cut);
    expect(attempt("e2fsck", ["-fy", "-j", checked.journal, checked.image]).status! & ~1).toBe(0);
    expect(treeDifferences(withPair(checked, "ro,noatime", linuxTree), ours)).toEqual([]);
  });
});

describe.runIf(canMount)("is refused", () => {
  let dirty: Pair;
  let before: string[];
  beforeAll(() => {
    dirty = dirtyPair(1024, ["-t", "ext4"]);
    before = hashes(dirty);
  });

  const error = (options: OpenOptions): Error & { code?: string } => {
    try {
      Ext4.openSync(dirty.image, options).closeSync();
    } catch (thrown) {
      expect(hashes(dirty), "neither file was touched").toEqual(before);
      return thrown as Error;
    }
    throw new Error("it was opened");
  };

  test.each([true, false])("without its journal, readOnly %s", (readOnly) => {
    expect(error({ readOnly })).toBeInstanceOf(UnsupportedFeatureError);
    expect(error({ readOnly }).message).toContain("journal is on another device");
  });

  test.each([true, false])("with the journal of another, readOnly %s", (readOnly) => {
    const { journal } = makePair(1024, ["-t", "ext4"]);
    const other = hashOf(journal);
    expect(error({ readOnly, journalDevice: journal }).message).toContain(`${journal} is not this filesystem's journal`);
    expect(hashOf(journal)).toBe(other);
  });

  test.each([true, false])("with what is no journal, readOnly %s", (readOnly) => {
    const { image } = makePair(1024, ["-t", "ext4"]);
    const other = hashOf(image);
    expect(error({ readOnly, journalDevice: image }).message).toContain(`${image} is no journal`);
    expect(error({ readOnly, journalDevice: new MemoryDevice(new Uint8Array(512)) }).message).toContain("is no journal");
    expect(hashOf(image)).toBe(other);
  });

  test("with a journal that more filesystems use", () => {
    const { image, journal } = copyOf(dirty);
    run("bash", ["-c", `printf '\\x02' | dd of="$1" bs=1 seek=$((2 * 1024 + 0x43)) conv=notrunc status=none`, "bash", journal]);
    run("debugfs", ["-w", "-R", "feature -metadata_csum", image]);
    expect(() => Ext4.openSync(image, { journalDevice: journal, checksum: false })).toThrow("shared by 2 filesystems");
  });

  test("with a journal that cannot be written, if the filesystem is to be", () => {
    expect(error({ readOnly: false, journalDevice: FileDevice.open(dirty.journal, { readOnly: true }) }).code).toBe("EROFS");
  });

  test("and nobody is said to have the filesystem, where multi-mount protection says who has it", () => {
    const pair = makePair(1024, ["-t", "ext4", "-O", "mmp"]);
    const untouched = hashes(pair);
    expect(() => Ext4.openSync(pair.image, { readOnly: false })).toThrow("journal is on another device");
    expect(hashes(pair)).toEqual(untouched);
    Ext4.openSync(pair.image, { readOnly: false, journalDevice: pair.journal }).closeSync();
  });

  test("but noload reads on without", () => {
    const volume = Ext4.openSync(dirty.image, { noload: true });
    expect(volume.readdirSync("/")).toContain("lost+found");
    volume.closeSync();
    expect(hashes(dirty)).toEqual(before);
  });
});

if (!canMount) notTestedHere("journals on devices of their own", "needs root and loop devices");
