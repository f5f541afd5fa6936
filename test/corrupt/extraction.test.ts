/**
 * Extraction never writes outside its target, whatever names the image holds: names that are paths, links that lead outside followed by what would go through them, and the same with
 * links that an earlier extraction left in the target. After each `ext4 cp` what stands beside the target is as it was, to the last link count.
 */
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { isHostName } from "../../src/cli/verbs/cp.js";
import { EXT4_EXTENTS_FL, ext4_inode } from "../../src/format/inode.js";
import { ext4, type Ended } from "../cli/ext4.js";
import { temporaryFolder } from "../support/host.js";
import { Craft, type NewEntry } from "./craft.js";

/** The directory of the image whose names are not names. It has no index. */
const SOURCE = "/dir/deep";
/** Inodes that the image does not use. */
const [FILE, LINK, OTHER] = [200, 201, 202] as const;
const WAYS = ["-a", "-r"] as const;
type Way = (typeof WAYS)[number];

/** A folder with a target in it, and beside that what must stay as it is. */
class Sandbox {
  readonly root = temporaryFolder();
  readonly target = join(this.root, "target");
  private readonly before: readonly string[];
  private imageCount = 0;

  constructor() {
    mkdirSync(this.target);
    mkdirSync(join(this.root, "outside", "dir"), { recursive: true });
    writeFileSync(join(this.root, "outside", "file"), "untouched");
    writeFileSync(join(this.root, "outside", "dir", "file"), "untouched");
    this.before = this.outside();
  }

  /** Copies what is in SOURCE into the target, or to `destination` if that is given. */
  async extract(craft: Craft, way: Way, destination?: string): Promise<Ended> {
    const image = join(temporaryFolder(), `${this.imageCount++}.img`);
    writeFileSync(image, craft.image);
    return await ext4("cp", way, destination === undefined ? `${image}:${SOURCE}/.` : `${image}:${SOURCE}`, destination ?? this.target);
  }

  expectUntouched(): void {
    expect(readdirSync(this.root).sort()).toEqual(["outside", "target"]);
    expect(this.outside()).toEqual(this.before);
  }

  names(): string[] {
    return readdirSync(this.target, "latin1").sort();
  }

  path(name: string): string {
    return join(this.target, name);
  }

  /** All that stands outside, one line each. */
  private outside(): string[] {
    const lines: string[] = [];
    const visit = (path: string): void => {
      const { mode, nlink, uid, gid, size, mtimeNs, ctimeNs } = lstatSync(path, { bigint: true });
      const isFile = (mode & 0o170000n) === 0o100000n;
      lines.push([path, mode, nlink, uid, gid, size, mtimeNs, ctimeNs, isFile ? readFileSync(path, "latin1") : ""].join(" "));
      if (!isFile) for (const name of readdirSync(path)) visit(join(path, name));
    };
    visit(join(this.root, "outside"));
    return lines;
  }
}

/** An image whose SOURCE has these entries; FILE is a file, LINK a symbolic link to `target`. */
function imageWith(entries: readonly NewEntry[], target = "../outside"): Craft {
  return new Craft("extents-unchecked").newFile(FILE, "from the image").newSymlink(LINK, target).setEntries(SOURCE, entries);
}

/** A file of 2 MiB with a hole, which is not copied in one piece. */
function largeFile(craft: Craft, ino: number): Craft {
  const block = craft.freeBlock();
  craft.image.fill(0x78, block * craft.blockBytes, (block + 1) * craft.blockBytes);
  return craft.newInode(ino, 0o100644, new Uint8Array(0), 2 ** 21, EXT4_EXTENTS_FL).setRoot(ino, 0, [{ lblk: 2047, pblk: block, length: 1 }]);
}

describe.each(WAYS)("names, cp %s", (way) => {
  test.each([
    ["a path to the parent", "../outside/file"], ["an absolute path", "/tmp/ext4-escaped"], ["a path below", "a/b"], ["no name", ""], ["a NUL", "\0"], ["a NUL inside", "a\0b"], ["a slash", "/"],
  ])("%s is damage", async (_what, name) => {
    for (const ino of [FILE, 13]) {
      const sandbox = new Sandbox();
      const { status, stderr } = await sandbox.extract(imageWith([{ name: "good", ino: FILE }, { name, ino }]), way);
      expect(status).toBe(1);
      expect(stderr).toMatch(/EUCLEAN: a directory entry is damaged \(.*inode \d+, block \d+, offset \d+, field name/);
      expect(sandbox.names()).toEqual([]);
      sandbox.expectUntouched();
    }
  });

  test.each([".", ".."])("%s, once more among the other names, is what it always is", async (name) => {
    const craft = imageWith([{ name: "good", ino: FILE }, { name, ino: FILE }, { name, ino: LINK }]);
    const sandbox = new Sandbox();
    expect(await sandbox.extract(craft, way)).toMatchObject({ status: 0, stderr: "" });
    expect(sandbox.names()).toEqual(["good"]);
    sandbox.expectUntouched();
  });

  test("255 bytes of any kind, of a small and of a large file", async () => {
    const odd = Array.from({ length: 255 }, (_, index) => String.fromCharCode(index + 1)).filter((char) => char !== "/").join("");
    const names = [`${odd.slice(1)}ab`, "x".repeat(255)];
    const craft = largeFile(imageWith([{ name: names[0]!, ino: FILE }, { name: names[1]!, ino: OTHER }]), OTHER);
    const sandbox = new Sandbox();
    expect(await sandbox.extract(craft, way)).toMatchObject({ status: 0, stderr: "" });
    expect(sandbox.names()).toEqual([...names].sort());
    expect(readFileSync(Buffer.concat([Buffer.from(`${sandbox.target}/`), Buffer.from(names[0]!, "latin1")]), "utf8")).toBe("from the image");
    const large = readFileSync(sandbox.path(names[1]!));
    expect(large.length).toBe(2 ** 21);
    expect(large.subarray(-1024).every((byte) => byte === 0x78)).toBe(true);
    sandbox.expectUntouched();
  });

  test("what a large file is called while it is not whole is in nobody's way", async () => {
    const entries = [{ name: "large.ext4-cp-partial", ino: FILE }, { name: "large", ino: OTHER }];
    const sandbox = new Sandbox();
    expect(await sandbox.extract(largeFile(imageWith(entries), OTHER), way)).toMatchObject({ status: 0, stderr: "" });
    expect(sandbox.names()).toEqual(["large", "large.ext4-cp-partial"]);
    expect(readFileSync(sandbox.path("large.ext4-cp-partial"), "utf8")).toBe("from the image");
  });
});

describe.each(WAYS)("a link that leads outside, and then something of the same name, cp %s", (way) => {
  const name = "same";
  const twice = (ino: number, target?: string): Craft => imageWith([{ name, ino: LINK }, { name, ino }], target);

  test("a directory with files in it", async () => {
    const craft = twice(0);
    const sandbox = new Sandbox();
    const { status, stderr } = await sandbox.extract(craft.setEntries(SOURCE, [{ name, ino: LINK }, { name, ino: craft.inodeOf("/dir/deep/deeper") }]), way);
    expect(status).toBe(1);
    expect(stderr).toContain("EEXIST");
    expect(readlinkSync(sandbox.path(name))).toBe("../outside");
    sandbox.expectUntouched();
  });

  test("a file, small or large", async () => {
    for (const craft of [twice(FILE, "../outside/file"), largeFile(twice(OTHER, "../outside/file"), OTHER)]) {
      const sandbox = new Sandbox();
      expect(await sandbox.extract(craft, way)).toMatchObject({ status: 0, stderr: "" });
      expect(lstatSync(sandbox.path(name)).isFile()).toBe(true);
      expect(sandbox.names()).toEqual([name]);
      sandbox.expectUntouched();
    }
  });

  test("another link, a FIFO, a device", async () => {
    const link = twice(OTHER, "../outside/file").newSymlink(OTHER, "../outside/dir");
    const fifo = twice(OTHER, "../outside/file").newInode(OTHER, 0o010666);
    const device = twice(OTHER, "../outside/file").newInode(OTHER, 0o020666, Uint8Array.of(3, 1)); // 1:3, where all goes that nobody wants
    for (const craft of [link, fifo, device]) {
      const sandbox = new Sandbox();
      expect((await sandbox.extract(craft, way)).status).toBe(0);
      expect(sandbox.names()).toEqual([name]);
      sandbox.expectUntouched();
    }
  });

  test("a device, and then a file of its name: nothing is written to the device", async () => {
    const craft = imageWith([{ name, ino: OTHER }, { name, ino: FILE }]).newInode(OTHER, 0o020666, Uint8Array.of(3, 1));
    const sandbox = new Sandbox();
    await sandbox.extract(craft, way);
    expect(readFileSync(sandbox.path(name), "utf8")).toBe("from the image");
    sandbox.expectUntouched();
  });

  test("the other way round: a directory, and then a link, a file, a FIFO of its name", async () => {
    const pristine = new Craft("extents-unchecked");
    for (const ino of [LINK, FILE, OTHER]) {
      const craft = imageWith([{ name, ino: pristine.inodeOf("/dir/deep/deeper") }, { name, ino }]).newInode(OTHER, 0o010666);
      const sandbox = new Sandbox();
      const { status } = await sandbox.extract(craft, way);
      if (ino !== OTHER || way === "-a") expect(status).toBe(1);
      expect(readFileSync(join(sandbox.path(name), "bottom"), "utf8")).toBe("b".repeat(5000));
      expect(sandbox.names()).toEqual([name]);
      sandbox.expectUntouched();
    }
  });
});

describe("links between files", () => {
  test("two names of one symbolic link stay links, and what they lead to gets no name", async () => {
    const craft = imageWith([{ name: "a", ino: LINK }, { name: "b", ino: LINK }], "../outside/file").setInode(LINK, ext4_inode.i_links_count, 2);
    const sandbox = new Sandbox();
    expect(await sandbox.extract(craft, "-a")).toMatchObject({ status: 0, stderr: "" });
    for (const name of ["a", "b"]) expect(readlinkSync(sandbox.path(name))).toBe("../outside/file");
    sandbox.expectUntouched();
  });

  test("a file, a link put over it, and a second name of the file", async () => {
    const entries = [{ name: "a", ino: FILE }, { name: "a", ino: LINK }, { name: "b", ino: FILE }];
    const sandbox = new Sandbox();
    expect(await sandbox.extract(imageWith(entries, "../outside/file").setInode(FILE, ext4_inode.i_links_count, 2), "-a")).toMatchObject({ status: 0, stderr: "" });
    expect(readlinkSync(sandbox.path("a"))).toBe("../outside/file");
    expect(lstatSync(sandbox.path("b")).isFile()).toBe(true);
    expect(readFileSync(sandbox.path("b"), "utf8")).toBe("from the image");
    sandbox.expectUntouched();
  });

  test("one name twice", async () => {
    const craft = imageWith([{ name: "a", ino: FILE }, { name: "a", ino: FILE }]).setInode(FILE, ext4_inode.i_links_count, 2);
    const sandbox = new Sandbox();
    expect(await sandbox.extract(craft, "-a")).toMatchObject({ status: 0, stderr: "" });
    expect(readFileSync(sandbox.path("a"), "utf8")).toBe("from the image");
    sandbox.expectUntouched();
  });
});

describe.each(WAYS)("links that an earlier extraction left in the target, cp %s", (way) => {
  async function afterLink(target: string): Promise<Sandbox> {
    const sandbox = new Sandbox();
    expect(await sandbox.extract(imageWith([{ name: "same", ino: LINK }], target), way)).toMatchObject({ status: 0, stderr: "" });
    return sandbox;
  }

  test("a directory of the same name", async () => {
    const sandbox = await afterLink("../outside/dir");
    const pristine = new Craft("extents-unchecked");
    expect((await sandbox.extract(imageWith([{ name: "same", ino: pristine.inodeOf("/dir/deep/deeper") }]), way)).status).toBe(1);
    expect(readlinkSync(sandbox.path("same"))).toBe("../outside/dir");
    sandbox.expectUntouched();
  });

  test("a file of the same name, where the link leads to a file or to nothing", async () => {
    for (const target of ["../outside/file", "../outside/absent"]) {
      const sandbox = await afterLink(target);
      expect(await sandbox.extract(imageWith([{ name: "same", ino: FILE }]), way)).toMatchObject({ status: 0, stderr: "" });
      expect(lstatSync(sandbox.path("same")).isFile()).toBe(true);
      sandbox.expectUntouched();
    }
  });

  test("the very directory that is copied", async () => {
    const sandbox = new Sandbox();
    symlinkSync("../outside/dir", sandbox.path("deep"));
    expect((await sandbox.extract(imageWith([{ name: "file", ino: FILE }]), way, sandbox.target)).status).toBe(1);
    expect(readlinkSync(sandbox.path("deep"))).toBe("../outside/dir");
    sandbox.expectUntouched();
  });

  test("the target itself, where the user made it one: it is what was named", async () => {
    const sandbox = new Sandbox();
    mkdirSync(join(sandbox.target, "real"));
    symlinkSync("real", sandbox.path("named"));
    expect(await sandbox.extract(imageWith([{ name: "file", ino: FILE }]), way, sandbox.path("named"))).toMatchObject({ status: 0, stderr: "" });
    expect(readFileSync(join(sandbox.target, "real", "deep", "file"), "utf8")).toBe("from the image");
    sandbox.expectUntouched();
  });
});

test("names that Windows would take for more", () => {
  for (const name of ["..\\outside", "C:x", "stream:x", "a/b", ".. ", "...", "x.", "NUL", "con.txt", "LPT1", "a\nb", "*"]) {
    expect(isHostName(Buffer.from(name), "win32"), name).toBe(false);
  }
  for (const name of ["a", "null", "console", ".hidden", "a.b", "ä ö"]) expect(isHostName(Buffer.from(name), "win32"), name).toBe(true);
  expect(isHostName(Buffer.from("..\\outside"), "linux")).toBe(true);
});
