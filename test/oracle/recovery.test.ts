/**
 * Images that were copied while Linux had them mounted and was writing: what we read, with recovery in memory, is what Linux finds after its own recovery of
 * another copy; the image is not touched; and what recovery leaves, written out, is clean to e2fsck.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { Ext4, type OverlayDevice, type Volume } from "../../src/platform/node/index.js";
import { attempt, canMount, mountImage, notTestedHere, run, temporaryFolder, withMount } from "../support/host.js";
import { hashOf, linuxTree, ourTree, treeDifferences, type Node, type Tree } from "../support/tree.js";

function makeImage(args: readonly string[], sizeMib = 48): string {
  const image = join(temporaryFolder(), "disk.img");
  run("mke2fs", ["-q", "-F", ...args, image, `${sizeMib}M`]);
  return image;
}

function copyOf(image: string, name: string): string {
  const copy = join(temporaryFolder(), name);
  run("cp", ["--sparse=always", image, copy]);
  return copy;
}

/** What Linux finds after recovery. The device must be writable, so it is mounted so. */
function recoveredByLinux(image: string): Tree {
  const copy = copyOf(image, "linux.img");
  return withMount(copy, "noatime", linuxTree)!;
}

/** Writes what the volume sees, blocks of the overlay included, to a file of its own. */
function flatten(volume: Volume, image: string): string {
  const flat = copyOf(image, "flat.img");
  const fd = openSync(flat, "r+");
  const device = volume.fs.recovery!.device as OverlayDevice;
  for (const [index, block] of device.changedBlocks) writeSync(fd, block, 0, block.length, index * device.blockBytes);
  closeSync(fd);
  return flat;
}

/** Recovers, compares with Linux, and has e2fsck look at the result. */
function check(image: string, ignored: ReadonlySet<keyof Node> = new Set()): Volume {
  const before = hashOf(image);
  const volume = Ext4.openSync(image);
  expect(treeDifferences(recoveredByLinux(image), ourTree(volume), ignored)).toEqual([]);
  expect(hashOf(image), "the image was not touched").toBe(before);
  return volume;
}

function expectClean(image: string): void {
  // The copy still says that it needs recovery, and e2fsck would do it again, to the same end: it is told that there is nothing to do.
  run("debugfs", ["-w", "-R", "feature -needs_recovery", image]);
  const { status, stdout } = attempt("e2fsck", ["-fn", image]);
  expect(status, stdout).toBe(0);
}

/** Runs a Python script against the mounted image and copies the image while it is mounted, after its last fsync. */
function dirtyImage(args: readonly string[], options: string, script: string, sizeMib?: number): string {
  const image = makeImage(args, sizeMib);
  return withMount(image, options, (mountPoint) => {
    run("python3", ["-c", `${PRELUDE}\n${script}`, mountPoint]);
    return copyOf(image, "dirty.img");
  })!;
}

const PRELUDE = `
import os, sys
root = sys.argv[1] + "/"
def sync(name):
    fd = os.open(root + name, os.O_RDONLY); os.fsync(fd); os.close(fd)
def put(name, text="x"):
    open(root + name, "w").write(text)
`;

const CHURN = `
for i in range(300):
    os.makedirs(root + f"a{i % 7}/b{i}"); put(f"a{i % 7}/b{i}/f", f"hello {i}" * (i % 40))
os.sync()
for i in range(0, 300, 7): os.rename(root + f"a{i % 7}/b{i}/f", root + f"moved{i}")
import shutil; shutil.rmtree(root + "a3")
for i in range(200): put(f"n{i}", "y" * i * 50); os.setxattr(root + f"n{i}", "user.k", b"v" * (i * 3))
os.truncate(root + "n199", 10)
for i in range(0, 200, 2): os.unlink(root + f"n{i}")
put("last", "synced"); sync("last")
`;

describe.runIf(canMount)("a journal that Linux left", () => {
  test.each([
    ["metadata_csum, ordered", ["-t", "ext4"], "rw"],
    ["4 KiB blocks", ["-t", "ext4", "-b", "4096"], "rw"],
    ["without 64bit", ["-t", "ext4", "-O", "^64bit"], "rw"],
    ["without checksums", ["-t", "ext4", "-O", "^metadata_csum"], "rw"],
    ["checksums of the first version", ["-t", "ext4", "-O", "^metadata_csum"], "journal_checksum"],
    ["asynchronous commits", ["-t", "ext4"], "journal_async_commit,data=writeback"],
    ["data=journal", ["-t", "ext4"], "data=journal"],
    ["data=writeback", ["-t", "ext4"], "data=writeback"],
    ["ext3", ["-t", "ext3"], "rw"],
    ["a journal of 1024 blocks, which wraps", ["-t", "ext4", "-J", "size=1"], "rw"],
    ["orphan_file", ["-t", "ext4", "-O", "orphan_file"], "rw"],
    ["bigalloc", ["-t", "ext4", "-O", "bigalloc", "-b", "4096", "-C", "16384"], "rw"],
    ["inline_data", ["-t", "ext4", "-O", "inline_data"], "rw"],
  ])("%s", (_name, args, options) => {
    const volume = check(dirtyImage(args, options, CHURN, 96));
    expect(volume.fs.recovery!.log.replayedCount).toBeGreaterThan(0);
    volume.closeSync();
  });

  test("revoked blocks, escaped blocks, and a file journaled by its flag", () => {
    const volume = check(dirtyImage(["-t", "ext4", "-b", "1024"], "data=journal", `
import struct
put("magic", ""); f = open(root + "magic", "wb"); f.write((struct.pack(">I", 0xc03b3998) + b"q" * 1020) * 40); f.flush(); os.fsync(f.fileno())
os.mkdir(root + "d")
for i in range(500): put(f"d/file-{i}", "z")
sync("d")
for i in range(500): os.unlink(root + f"d/file-{i}")
os.rmdir(root + "d"); put("reuse", "w" * 300000); sync("reuse")
`));
    volume.closeSync();
  });

  test("orphans: unlinked while open", () => {
    const image = makeImage(["-t", "ext4", "-O", "orphan_file"]);
    const dirty = withMount(image, "rw", (mountPoint) => {
      const script = `${PRELUDE}
put("keep", "k"); held = []
for i in range(20):
    put(f"gone{i}", "g" * 100000); held.append(open(root + f"gone{i}")); os.unlink(root + f"gone{i}")
sync("keep"); print("ready", flush=True); sys.stdin.read()`;
      run("bash", ["-c", `python3 -c "$1" "$2" < <(sleep 2) & sleep 1; cp --sparse=always "$3" "$3.dirty"; wait`, "bash", script, mountPoint, image]);
      return `${image}.dirty`;
    })!;
    check(dirty).closeSync();
  });

  test("copied in the midst of writing, again and again", async () => {
    const image = makeImage(["-t", "ext4"], 64);
    const copies: string[] = [];
    const mount = mountImage(image, "commit=1")!;
    const writer = spawn("python3", ["-c", `${PRELUDE}
import random, time
random.seed(3); i = 0
while True:
    i += 1; d = f"d{random.randrange(9)}"; os.makedirs(root + d, exist_ok=True); put(f"{d}/f{random.randrange(300)}", "c" * random.randrange(9000))
    if i % 5 == 0:
        try: os.unlink(root + f"d{random.randrange(9)}/f{random.randrange(300)}")
        except FileNotFoundError: pass
    if i % 40 == 0: sync(d)`, mount.mountPoint], { stdio: "ignore" });
    for (let round = 0; round < 6; round++) {
      await sleep(400);
      copies.push(await momentOf(image, writer));
    }
    writer.kill("SIGKILL");
    await once(writer, "exit");
    mount.unmount();
    for (const copy of copies) check(copy).closeSync();
  });
});

/**
 * Copies the file behind a loop device as it was at one moment: a state that a power cut leaves. The writer is stopped, but the filesystem is not asked to sync, and its
 * journal goes on by itself; so the file is read until two passes see the same, which is what it held between them.
 */
async function momentOf(image: string, writer: ChildProcess): Promise<string> {
  writer.kill("SIGSTOP");
  try {
    for (;;) {
      const copy = copyOf(image, "moment.img");
      if (hashOf(copy) === hashOf(image)) return copy;
      await sleep(20);
    }
  } finally {
    writer.kill("SIGCONT");
  }
}

/** Linux stamps directories anew as it replays names into them, and miscounts what mkdir made; e2fsck is the judge of these. */
const UNTOLD: ReadonlySet<keyof Node> = new Set(["nlink", "mtimeNs", "ctimeNs", "blocks", "size"]);

describe.runIf(canMount)("fast commits", () => {
  const base = `
os.mkdir(root + "old")
for i in range(5): put(f"old/f{i}", f"old {i}")
put("grow", "g" * 5000); put("shrink", "s" * 500000); put("many", ""); os.sync()
`;
  test.each([
    ["create and write", `put("a", "hello" * 1000); sync("a"); put("b", "again"); sync("b")`],
    ["append and truncate", `open(root + "grow", "a").write("h" * 100000); sync("grow"); os.truncate(root + "shrink", 70000); sync("shrink")`],
    ["names: link, rename, unlink", `os.link(root + "old/f0", root + "linked"); os.rename(root + "old/f1", root + "renamed"); os.unlink(root + "old/f2"); sync("old/f0"); sync("renamed")`],
    ["rename over another", `put("new", "newer"); os.rename(root + "new", root + "old/f3"); sync("old/f3")`],
    ["mkdir with files", `os.mkdir(root + "dir"); put("dir/x", "in dir"); os.mkdir(root + "dir/sub"); put("dir/sub/y", "deeper"); sync("dir/x"); sync("dir/sub/y")`],
    ["rmdir", `os.mkdir(root + "gone"); put("stay", "s"); sync("stay"); os.rmdir(root + "gone"); put("stay2", "t"); sync("stay2")`],
    ["symlinks, which Linux commits in full", `os.symlink("short", root + "s1"); os.symlink("l" * 100, root + "s2"); put("f", "f"); sync("f")`, "full"],
    ["many extents", `
fd = os.open(root + "many", os.O_WRONLY)
for i in range(400): os.pwrite(fd, b"block", i * 8192)
os.fsync(fd)`],
    ["a directory that grows", `
for i in range(150): put(f"old/a-longer-name-for-number-{i}", "n")
sync("old/a-longer-name-for-number-149")`],
    ["modes, owners, times", `os.chmod(root + "grow", 0o4751); os.chown(root + "grow", 70000, 5); os.utime(root + "grow", ns=(10**18, 2 * 10**18)); sync("grow")`],
  ])("%s", (_name, script, kind = "fast") => {
    const image = makeImage(["-t", "ext4", "-O", "fast_commit", "-b", "1024"]);
    withMount(image, "rw", (mountPoint) => run("python3", ["-c", `${PRELUDE}\n${base}`, mountPoint]));
    // Nor does the timer make a full commit, after which fast ones count no more, before the copy is taken.
    const dirty = withMount(image, "rw,commit=600", (mountPoint) => {
      // The first fsync of a mount is a full commit; those after it are fast.
      run("python3", ["-c", `${PRELUDE}\nput("first"); sync("first")\n${script}`, mountPoint]);
      return copyOf(image, "dirty.img");
    })!;
    const before = hashOf(dirty);
    const volume = Ext4.openSync(dirty);
    const [theirs, ours] = [recoveredByLinux(dirty), ourTree(volume)];
    for (const tree of [theirs, ours]) for (const node of tree.values()) if ((node.mode & 0o170000n) === 0o040000n) for (const key of UNTOLD) (node as unknown as Record<string, unknown>)[key] = 0n;
    expect(treeDifferences(theirs, ours)).toEqual([]);
    expect(hashOf(dirty)).toBe(before);
    expect((volume.fs.recovery?.fastCommitRecords ?? 0) > 0, "fast commits were there to be replayed").toBe(kind === "fast");
    if (volume.fs.recovery !== undefined) expectClean(flatten(volume, dirty));
    volume.closeSync();
  });
});

if (!canMount) notTestedHere("recovery of what Linux left", "needs root and loop devices");
