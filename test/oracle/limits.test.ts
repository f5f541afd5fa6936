/**
 * As far as ext4 goes, and no farther: the largest files, and the most links. The same steps are taken by Linux on one image and by us on another, and must end alike; counts that would take hours
 * to reach are set by debugfs just below the limit.
 */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Ext4, type FsError, type Volume } from "../../src/platform/node/index.js";
import { attempt, canMount, notTestedHere, run, temporaryFolder, withMount } from "../support/host.js";
import { linuxTree, ourTree, treeDifferences, type Node } from "../support/tree.js";

const TIMES: ReadonlySet<keyof Node> = new Set(["atimeNs", "mtimeNs", "ctimeNs", "birthtimeNs"]);

function makeImage(args: readonly string[], sizeMib = 48): string {
  const image = join(temporaryFolder(), "disk.img");
  run("mke2fs", ["-q", "-F", "-t", "ext4", "-U", "00112233-4455-6677-8899-aabbccddeeff", "-E", "hash_seed=00112233-4455-6677-8899-aabbccddeeff", ...args, image, `${sizeMib}M`]);
  return image;
}

function copyOf(image: string): string {
  const copy = join(temporaryFolder(), "copy.img");
  run("cp", ["--sparse=always", image, copy]);
  return copy;
}

const PRELUDE = `
import ctypes, errno, json, os, sys
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def renameat2(a, b, flags):
    if libc.renameat2(-100, a.encode(), -100, b.encode(), flags) != 0: raise OSError(ctypes.get_errno(), "")
def outcome(work):
    try:
        result = work(); return result if isinstance(result, int) else "done"
    except OSError as error: return errno.errorcode[error.errno]
`;

/** What a Python script prints as JSON, in the mounted image's root. */
function onLinux<T>(image: string, script: string): T {
  return withMount(image, "rw", (mountPoint) => JSON.parse(run("python3", ["-c", `${PRELUDE}\n${script}`, mountPoint])) as T)!;
}

function outcome(work: () => number | void): number | string {
  try {
    return work() ?? "done";
  } catch (error) {
    return (error as FsError).code;
  }
}

function onOurs<T>(image: string, work: (volume: Volume) => T): T {
  const volume = Ext4.openSync(image, { readOnly: false });
  try {
    return work(volume);
  } finally {
    volume.closeSync();
  }
}

const TIB = 2 ** 40;
/** Linux's s_maxbytes with 4 KiB blocks and extents: the last of 2^32 blocks has no number of its own. */
const MAX_BYTES = 16 * TIB - 4096;

describe.runIf(canMount)("a file of 16 TiB", () => {
  const offsets = [0, 4 * TIB - 3, 8 * TIB, MAX_BYTES - 10];

  test("written, read, searched for holes, and cut, as Linux does", () => {
    const [mine, theirs] = [makeImage(["-b", "4096"]), makeImage(["-b", "4096"])];
    const linux = onLinux<{ results: (number | string)[]; size: number; blocks: number; holes: (number | string)[] }>(theirs, `
fd = os.open("huge", os.O_CREAT | os.O_RDWR, 0o644)
results = [outcome(lambda: os.pwrite(fd, b"0123456789", at)) for at in ${JSON.stringify(offsets)}]
results.append(outcome(lambda: os.pwrite(fd, b"x", ${MAX_BYTES})))
results.append(outcome(lambda: os.truncate("huge", ${MAX_BYTES + 1})))
results.append(outcome(lambda: os.posix_fallocate(fd, ${MAX_BYTES - 4096}, 4097)))
holes = [outcome(lambda: os.lseek(fd, at, whence)) for whence in (os.SEEK_DATA, os.SEEK_HOLE) for at in (0, 5000, ${4 * TIB}, ${4 * TIB + 4096}, ${8 * TIB + 1}, ${MAX_BYTES - 1}, ${MAX_BYTES})]
os.fsync(fd); stat = os.fstat(fd)
print(json.dumps({"results": results, "size": stat.st_size, "blocks": stat.st_blocks, "holes": holes}))
`);
    const ours = onOurs(mine, (volume) => {
      const fd = volume.openSync("/huge", "w+");
      const results = offsets.map((at) => outcome(() => volume.writeSync(fd, Buffer.from("0123456789"), 0, 10, at)));
      results.push(outcome(() => volume.writeSync(fd, Buffer.from("x"), 0, 1, MAX_BYTES)));
      results.push(outcome(() => volume.truncateSync("/huge", MAX_BYTES + 1)));
      results.push(outcome(() => volume.fallocateSync("/huge", 0, MAX_BYTES - 4096, 4097)));
      volume.fsyncSync(fd);
      const places = [0, 5000, 4 * TIB, 4 * TIB + 4096, 8 * TIB + 1, MAX_BYTES - 1, MAX_BYTES];
      const holes = (["data", "hole"] as const).flatMap((whence) => places.map((at) => outcome(() => volume.seekSync("/huge", at, whence))));
      const { size, blocks } = volume.fstatSync(fd);
      for (const at of offsets) {
        const piece = Buffer.alloc(30, 1);
        const count = volume.readSync(fd, piece, 0, 30, at - (at === 0 ? 0 : 10));
        expect(piece.subarray(0, count).toString("latin1").replaceAll("\0", "")).toBe("0123456789");
      }
      volume.closeSync(fd);
      return { results, size, blocks, holes };
    });
    expect(ours).toEqual(linux);
    expect(ours.size).toBe(MAX_BYTES);

    // Each reads what the other wrote, and both cut it down.
    for (const image of [mine, theirs]) {
      expect(attempt("e2fsck", ["-fn", image])).toMatchObject({ status: 0 });
      const read = onLinux<string[]>(image, `
fd = os.open("huge", os.O_RDONLY)
print(json.dumps([os.pread(fd, 20, max(at - 5, 0)).replace(b"\\0", b"").decode() for at in ${JSON.stringify(offsets)}]))`);
      expect(read).toEqual(offsets.map(() => "0123456789"));
    }
    const volume = Ext4.openSync(theirs);
    expect(treeDifferences(withMount(theirs, "ro,noatime", linuxTree)!, ourTree(volume))).toEqual([]);
    volume.closeSync();

    for (const size of [10 * TIB, 4 * TIB, 4097, 1]) {
      onLinux(theirs, `os.truncate("huge", ${size}); print("0")`);
      onOurs(mine, (changed) => changed.truncateSync("/huge", size));
      expect(attempt("e2fsck", ["-fn", mine])).toMatchObject({ status: 0 });
      const [left, right] = [theirs, mine].map((image) => withMount(image, "ro,noatime", linuxTree)!);
      expect(treeDifferences(left!, right!, TIMES), `cut to ${size}`).toEqual([]);
    }
  });

  test.each<[string, string[]]>([
    ["extents, 4 KiB", ["-b", "4096"]], ["extents, 2 KiB, without huge_file", ["-b", "2048", "-O", "^huge_file"]],
    ["indirect maps, 1 KiB", ["-b", "1024", "-O", "^extent,^64bit"]], ["indirect maps, 4 KiB", ["-b", "4096", "-O", "^extent,^64bit"]],
    ["indirect maps, 4 KiB, without huge_file", ["-b", "4096", "-O", "^extent,^64bit,^huge_file"]],
  ])("the largest size with %s", (_name, args) => {
    const image = makeImage(args);
    const theirs = onLinux<number>(copyOf(image), `
open("f", "w").close(); low, high = 0, 1 << 50
while low < high:
    middle = (low + high + 1) // 2
    if outcome(lambda: os.truncate("f", middle)) == "done": low = middle
    else: high = middle - 1
print(low)`);
    onOurs(image, (volume) => {
      volume.writeFileSync("/f", "");
      expect([outcome(() => volume.truncateSync("/f", theirs)), outcome(() => volume.truncateSync("/f", theirs + 1))], `Linux allows ${theirs}`).toEqual(["done", "EFBIG"]);
    });
    expect(attempt("e2fsck", ["-fn", image])).toMatchObject({ status: 0 });
  });
});

/** A step: what is done, and of which paths. */
type Step = readonly ["mkdir" | "rmdir" | "unlink", string] | readonly ["link" | "rename" | "exchange", string, string];

/** The steps' outcomes, and after each the link counts of the root, of /dir, and of /file. */
function stepsOnLinux(image: string, steps: readonly Step[]): (number | string)[][] {
  return onLinux(image, `
calls = {"mkdir": os.mkdir, "rmdir": os.rmdir, "unlink": os.unlink, "link": os.link, "rename": os.rename, "exchange": lambda a, b: renameat2(a, b, 2)}
def step(name, *paths): return [outcome(lambda: calls[name](*paths))] + [os.stat(path).st_nlink for path in (".", "dir", "file")]
print(json.dumps([step(*each) for each in json.loads('${JSON.stringify(steps)}')]))`);
}

function stepsOnOurs(image: string, steps: readonly Step[]): (number | string)[][] {
  return onOurs(image, (volume) => steps.map(([name, path, other]) => {
    const [a, b] = [`/${path}`, `/${other ?? ""}`];
    const calls = {
      mkdir: () => volume.mkdirSync(a), rmdir: () => volume.rmdirSync(a), unlink: () => volume.unlinkSync(a), link: () => volume.linkSync(a, b), rename: () => volume.renameSync(a, b), exchange: () => volume.renameSync(a, b, 2),
    };
    return [outcome(() => void calls[name]()), ...["/", "/dir", "/file"].map((place) => volume.statSync(place).nlink)];
  }));
}

describe.runIf(canMount)("the most links", () => {
  const LINKS: readonly Step[] = [
    ["link", "file", "one"], ["link", "file", "two"], ["link", "file", "three"], ["unlink", "one"], ["link", "file", "dir/four"], ["link", "two", "five"], ["rename", "two", "dir/moved"], ["unlink", "dir/moved"],
  ];
  const DIRECTORIES: readonly Step[] = [
    ["mkdir", "dir/a"], ["mkdir", "dir/b"], ["mkdir", "dir/c"], ["mkdir", "other"], ["rename", "other", "dir/other"], ["mkdir", "dir/d"], ["exchange", "outside", "dir/in"], ["exchange", "outside", "dir/a"],
    ["rename", "dir/c", "dir/renamed"], ["rename", "dir/renamed", "out"], ["rmdir", "dir/a"], ["mkdir", "dir/e"], ["mkdir", "dir/f"], ["mkdir", "dir/g"], ["rename", "out", "dir/b"], ["rmdir", "dir/b"], ["rmdir", "dir/d"], ["mkdir", "dir/h"],
  ];

  test.each<[string, string[], number, string, number, readonly Step[]]>([
    ["a file's", [], 0, "file", 64_998, LINKS],
    ["a directory's, without a tree", [], 0, "dir", 64_998, DIRECTORIES],
    ["a directory's, with a tree: then they are not counted", [], 100, "dir", 64_998, DIRECTORIES],
    ["a directory's that are not counted any more", [], 100, "dir", 1, DIRECTORIES],
    ["a directory's, with a tree, but without dir_nlink", ["-O", "^dir_nlink"], 100, "dir", 64_998, DIRECTORIES],
    ["a directory's, without dir_index", ["-O", "^dir_index"], 100, "dir", 64_999, DIRECTORIES],
    ["an inline directory's", ["-O", "inline_data"], 0, "dir", 64_998, DIRECTORIES],
  ])("%s", (_name, args, entries, path, count, steps) => {
    const image = makeImage(["-b", "1024", ...args], 16);
    withMount(image, "rw", (mountPoint) => run("python3", ["-c", `${PRELUDE}
os.mkdir("dir"); os.mkdir("outside"); open("file", "w").close(); open("dir/in", "w").close()
for i in range(${entries}): open(f"dir/an-entry-among-others-{i}", "w").close()`, mountPoint]));
    run("debugfs", ["-w", "-R", `sif ${path} links_count ${count}`, image]);
    const [mine, theirs] = [copyOf(image), copyOf(image)];
    const told = (rows: (number | string)[][]): string[] => rows.map((row, index) => `${steps[index]!.join(" ")}: ${row.join(", ")}`);
    const expected = told(stepsOnLinux(theirs, steps));
    expect(told(stepsOnOurs(mine, steps))).toEqual(expected);
    if (count === 64_998 && !(entries > 0 && args.length === 0)) expect(expected.join("\n")).toContain("EMLINK");
    const [left, right] = [theirs, mine].map((changed) => withMount(changed, "ro,noatime", linuxTree)!);
    for (const tree of [left!, right!]) for (const node of tree.values()) node.ino = 0n;
    expect(treeDifferences(left!, right!, TIMES)).toEqual([]);
    // The count that was set is false, and so e2fsck finds that, but nothing else.
    const faults = attempt("e2fsck", ["-fn", mine]).stdout.split("\n").filter((line) => /\? no$|should be/.test(line) && !/ref count|^Fix\? no$/.test(line));
    expect(faults).toEqual([]);
  });
});

if (!canMount) notTestedHere("limits of files and links", "needs root and loop devices");
