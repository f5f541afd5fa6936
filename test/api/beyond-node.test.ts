/** What ext4 has and Node's fs has not: extended attributes, the map of a file's blocks, the flags of chattr. Against what Linux said of the fixtures, debugfs, lsattr and filefrag. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Ext4, MemoryDevice, type FiemapExtent } from "../../src/platform/node/index.js";
import { FIXTURES, fixtureFile, fixtureImage, fixtureTree, type Fixture } from "../support/fixtures.js";
import { attempt, hasCommand, notTestedHere, run, temporaryFolder } from "../support/host.js";
import { describeError, makeWorld } from "./world.js";

const world = makeWorld();
const isRegular = (mode: bigint): boolean => (mode & 0o170000n) === 0o100000n;

describe("extended attributes", () => {
  test.each(FIXTURES)("%s: names and values are Linux's", async (name) => {
    const volume = await Ext4.open(new MemoryDevice(fixtureImage(name), { readOnly: true }));
    let count = 0;
    for (const [path, { xattrs }] of fixtureTree(name)) {
      const where = Buffer.from(path, "latin1");
      const names = volume.listxattrSync(where, { followSymlinks: false });
      expect(names.toSorted(), path).toEqual(Object.keys(xattrs).toSorted());
      for (const [attribute, hex] of Object.entries(xattrs)) {
        count++;
        const value = volume.getxattrSync(where, attribute, { followSymlinks: false });
        expect(Buffer.isBuffer(value)).toBe(true);
        expect(value.toString("hex"), `${attribute} of ${path}`).toBe(hex);
        expect(await volume.promises.getxattr(where, Buffer.from(attribute), { followSymlinks: false })).toEqual(value);
      }
    }
    expect(count).toBeGreaterThan(0);
  });

  test("errors, links, and names as bytes", () => {
    const volume = Ext4.openSync(new MemoryDevice(fixtureImage("checksums"), { readOnly: true }));
    const errorOf = (work: () => unknown): unknown => {
      try {
        return work();
      } catch (error) {
        return describeError(error, { nodeRoot: "/nowhere" } as never);
      }
    };
    expect(errorOf(() => volume.getxattrSync("/attributes", "user.none"))).toEqual({
      code: "ENODATA", errno: -61, syscall: "getxattr", path: "/attributes", dest: undefined, message: "ENODATA: no data available, getxattr '/attributes'",
    });
    expect(errorOf(() => volume.getxattrSync("/attributes", "nonsense"))).toMatchObject({ code: "ENODATA" });
    expect(errorOf(() => volume.listxattrSync("/absent"))).toMatchObject({ code: "ENOENT", syscall: "listxattr", path: "/absent" });
    expect(volume.listxattrSync("/attributes", { encoding: "buffer" }).map(String)).toEqual(volume.listxattrSync("/attributes"));
    expect(volume.listxattrSync("/fast", { followSymlinks: false })).toEqual([]);
    expect(errorOf(() => volume.listxattrSync("/fast"))).toMatchObject({ code: "ENOENT" }); // where it leads to
  });
});

/** The map of each inode, as debugfs prints it with stat: "(0-3):100-103, (ETB0):99, (8[u]):200". */
function debugfsMaps(image: string, inodes: readonly bigint[]): FiemapExtent[][] {
  const script = join(temporaryFolder(), "commands");
  writeFileSync(script, inodes.map((ino) => `stat <${ino}>\n`).join(""));
  const outputs = run("debugfs", ["-f", script, image]).split(/^debugfs: stat <\d+>$/m).slice(1);
  return outputs.map((output) => {
    const text = /^(?:EXTENTS|BLOCKS):\n([\s\S]*?)(?:\nTOTAL|$)/m.exec(output)?.[1] ?? "";
    const pieces = [...text.matchAll(/\((\d+)(?:\[(u)\])?(?:-(\d+)(?:\[u\])?)?\):(\d+)/g)].map(([, first, unwritten, last, pblk]) => ({
      lblk: Number(first), pblk: Number(pblk), count: Number(last ?? first) - Number(first) + 1, unwritten: unwritten === "u",
    }));
    return merged(pieces);
  });
}

/** Runs that touch, in the file and on disk, are one to us. */
function merged(pieces: readonly FiemapExtent[]): FiemapExtent[] {
  const runs: FiemapExtent[] = [];
  for (const piece of pieces) {
    const last = runs.at(-1);
    const touches = last !== undefined && last.lblk + last.count === piece.lblk && last.pblk + last.count === piece.pblk && last.unwritten === piece.unwritten;
    if (touches) runs[runs.length - 1] = { ...last, count: last.count + piece.count };
    else runs.push(piece);
  }
  return runs;
}

const hasDebugfs = hasCommand("debugfs");
if (!hasDebugfs) notTestedHere("maps and flags as debugfs shows them", "needs debugfs");

describe.runIf(hasDebugfs)("against debugfs", () => {
  const CLEAN: readonly Fixture[] = ["checksums", "plain", "extents-unchecked", "inline"];
  test.each(CLEAN)("%s: fiemap and flags", async (name) => {
    const image = fixtureFile(name);
    const volume = Ext4.openSync(image);
    const files = [...fixtureTree(name)].filter(([, { mode }]) => isRegular(mode) || (mode & 0o170000n) === 0o040000n);
    const maps = debugfsMaps(image, files.map(([, { ino }]) => ino));
    expect(maps.flat().length).toBeGreaterThan(100);
    const flags = [...run("debugfs", ["-f", "-", image], { input: files.map(([, { ino }]) => `stat <${ino}>\n`).join("") }).matchAll(/Flags: 0x([0-9a-f]+)/g)].map(([, word]) => parseInt(word!, 16));
    for (const [index, [path]] of files.entries()) {
      expect(volume.fiemapSync(path), path).toEqual(maps[index]);
      expect(volume.flagsSync(path).word, path).toBe(flags[index]);
    }
    const sparse = files.findIndex(([path]) => path === "/extents");
    const whole = maps[sparse]!;
    // Byte ranges: 2048 bytes between the blocks, which are of 1024.
    expect(await volume.promises.fiemap("/extents", 4096, 1)).toEqual(whole.filter(({ lblk }) => lblk === 4));
    expect(await volume.promises.fiemap("/extents", 4095, 2050)).toEqual(whole.filter(({ lblk }) => lblk >= 3 && lblk <= 6));
    expect(await volume.promises.fiemap("/extents", 1024, 1024)).toEqual([]);
    for (const [offset, length] of [[-1, 1], [0, 0], [0, -5], [NaN, 1]] as const) {
      expect(() => volume.fiemapSync("/extents", offset, length)).toThrow(expect.objectContaining({ code: "EINVAL", syscall: "fiemap", path: "/extents" }));
    }
    volume.closeSync();
  });
});

describe.runIf(world?.isMounted === true)("on a mount", () => {
  test("flags have lsattr's letters and names", () => {
    const paths = ["/small", "/sparse", "/dir", "/lost+found", ...world!.volume.readdirSync("/flags").map((name) => `/flags/${name}`)].map((path) => world!.nodeRoot + path);
    const letters = run("lsattr", ["-d", ...paths]).trim().split("\n");
    const names = run("lsattr", ["-d", "-l", ...paths]).trim().split("\n");
    for (const [index, path] of paths.entries()) {
      const ours = world!.volume.flagsSync(path.slice(world!.nodeRoot.length));
      expect(`${ours.letters} ${path}`).toBe(letters[index]!.replace(/^\S+/, (dashed) => dashed.replaceAll("-", "")));
      expect(`${path} ${ours.names.join(", ") || "---"}`).toBe(names[index]!.replace(/ +/, " "));
    }
    expect(world!.volume.flagsSync("/flags/Ads").letters).toBe("sdAe");
  });

  test.each(["/sparse", "/bytes", "/text", "/empty", "/dir"])("the map of %s is filefrag's", (path) => {
    const output = attempt("filefrag", ["-v", world!.nodeRoot + path]).stdout;
    const pieces = [...output.matchAll(/^ +\d+: +(\d+)\.\. +(\d+): +(\d+)\.\. +\d+: +(\d+):(.*)$/gm)].map(([, first, , pblk, count, flags]) =>
      ({ lblk: Number(first), pblk: Number(pblk), count: Number(count), unwritten: /unwritten/.test(flags!) }));
    expect(world!.volume.fiemapSync(path)).toEqual(merged(pieces));
    expect(pieces.length > 0).toBe(path !== "/empty");
  });
});
