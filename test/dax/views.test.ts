/**
 * A DAX file's bytes through views: of a host file that is mapped, seen by Linux afterwards, and of memory, as anywhere. Nothing is copied: a view's buffer is the device's own, and what changes
 * underneath changes in the view.
 */
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Ext4, PmemDevice, type FileMapping, type OpenOptions, type Volume } from "../../src/platform/node/index.js";
import { mapFile } from "../../src/platform/node/map-file.js";
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from "../../src/vfs/inode.js";
import { attempt, canMount, notTestedHere, readImage, run, temporaryFolder, withMount, writeImage } from "../support/host.js";

const PAGE = 4096;
const MIB = 2 ** 20;
const BIG = Buffer.from(Array.from({ length: 3 * MIB + 1234 }, (_, index) => (index * 31 + (index >> 12)) & 0xff || 1));

function makeImage(size = "32M", options: readonly string[] = []): string {
  const folder = temporaryFolder();
  const source = join(folder, "source");
  mkdirSync(source);
  writeFileSync(join(source, "big"), BIG);
  writeFileSync(join(source, "small"), "a few bytes");
  const image = join(folder, "disk.img");
  run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "4096", ...options, "-d", source, image, size]);
  return image;
}

const canMap = mapFile(import.meta.filename) !== undefined;
if (!canMap) notTestedHere("views of a host file", "needs Linux and koffi");
if (!canMount) notTestedHere("views of a host file, seen by Linux", "needs root and loop devices");

const together = ({ runs }: FileMapping): Buffer => Buffer.concat(runs.map(({ bytes, length }) => bytes ?? Buffer.alloc(length)));
const expectClean = (image: string): void => {
  const { status, stdout } = attempt("e2fsck", ["-fn", image]);
  expect(status, stdout).toBe(0);
};

/** A volume in persistent memory, and the memory. */
function inMemory(options: OpenOptions = {}, size = "32M"): { volume: Volume; pmem: PmemDevice } {
  const pmem = new PmemDevice(readImage(makeImage(size)), { persistence: "adr" });
  return { volume: Ext4.openSync(pmem, { readOnly: false, dax: "always", ...options }), pmem };
}

function checkAndClose({ volume, pmem }: ReturnType<typeof inMemory>): void {
  volume.closeSync();
  const image = join(temporaryFolder(), "disk.img");
  writeImage(image, pmem.bytes);
  expectClean(image);
}

test.runIf(canMap)("a host file is read without copying a byte", async () => {
  const image = makeImage();
  const volume = await Ext4.open(image, { dax: "always" });
  const { buffer } = (volume.fs.device as PmemDevice).bytes;
  const handle = await volume.promises.open("/big");
  const mapping = await handle.map(0, BIG.length);
  await handle.close();
  expect(mapping.runs.every(({ bytes }) => bytes instanceof Buffer && bytes.buffer === buffer)).toBe(true);
  expect(mapping.runs.map(({ offset, length }) => [offset, length])).toEqual(volume.fiemapSync("/big").map(({ lblk, count }) => [lblk * PAGE, Math.min(count * PAGE, BIG.length - lblk * PAGE)]));
  expect(together(mapping).equals(BIG)).toBe(true);
  // What another descriptor writes into the image is in the view at once.
  const [extent] = volume.fiemapSync("/big");
  const fd = openSync(image, "r+");
  writeSync(fd, "underneath", extent!.pblk * PAGE + 100);
  closeSync(fd);
  expect(mapping.runs[0]!.bytes!.subarray(100, 110).toString()).toBe("underneath");
  await mapping.close();
  expect(mapping.runs).toEqual([]);
  await volume.close();
});

test.runIf(canMap)("stores through views are there for Linux after msync", () => {
  const image = makeImage();
  const volume = Ext4.openSync(image, { dax: "always", readOnly: false });
  volume.writeFileSync("/new", "");
  volume.truncateSync("/new", 5 * MIB);
  const mapping = volume.mapSync("/new", 0, Infinity, { writable: true });
  expect(mapping.length).toBe(5 * MIB);
  expect(mapping.runs.every(({ bytes }) => bytes!.every((byte) => byte === 0))).toBe(true);
  const wanted = Buffer.from(Array.from({ length: 5 * MIB }, (_, index) => (index * 7 + (index >> 9)) & 0xff));
  for (const { offset, length, bytes } of mapping.runs) bytes!.set(wanted.subarray(offset, offset + length));
  const big = volume.mapSync("/big", 2 * MIB, PAGE, { writable: true });
  big.runs[0]!.bytes!.fill(0x5a);
  // A reader sees it before anything is synced.
  expect(volume.readFileSync("/new").equals(wanted)).toBe(true);
  mapping.msyncSync();
  big.msyncSync();
  for (const each of [mapping, big]) each.closeSync();
  volume.closeSync();
  expectClean(image);
  if (!canMount) return;
  withMount(image, "ro", (mountPoint) => {
    expect(readFileSync(join(mountPoint, "new")).equals(wanted)).toBe(true);
    const changed = Buffer.from(BIG);
    changed.fill(0x5a, 2 * MIB, 2 * MIB + PAGE);
    expect(readFileSync(join(mountPoint, "big")).equals(changed)).toBe(true);
  });
});

test.runIf(canMap)("a host that cannot map files says what is missing", () => {
  const hide = join(temporaryFolder(), "hide.cjs");
  writeFileSync(hide, 'const { _resolveFilename } = require("node:module"); require("node:module")._resolveFilename = function (name, ...rest) { if (name === "koffi") throw new Error("no"); return _resolveFilename.call(this, name, ...rest); };');
  const script = `import { Ext4 } from ${JSON.stringify(new URL("../../src/platform/node/index.ts", import.meta.url).pathname)};
    const image = ${JSON.stringify(makeImage())};
    for (const dax of ["always", "inode"]) try { console.log(Ext4.openSync(image, { dax }).readdirSync("/").length); } catch (error) { console.log(error.code, error.message); }`;
  const words = run(process.execPath, ["--require", hide, "--import", "tsx", "--input-type=module", "-e", script], { cwd: new URL("../..", import.meta.url).pathname }).trim().split("\n");
  expect(words[0]).toMatch(/^EOPNOTSUPP.*"always" maps the image into memory, which needs Linux on a 64-bit machine and the optional package koffi/);
  expect(words[1]).toBe("3");
});

test("runs, holes and the end of the file", () => {
  const world = inMemory();
  const { volume, pmem } = world;
  const fd = volume.openSync("/holes", "w+");
  volume.writeSync(fd, Buffer.alloc(PAGE, 1), 0, PAGE, PAGE);
  volume.fallocateSync(fd, 0, 3 * PAGE, PAGE);
  volume.writeSync(fd, Buffer.alloc(10, 2), 0, 10, 6 * PAGE);
  const mapping = volume.mapSync(fd, 0, 100 * PAGE);
  expect(mapping.runs.map(({ offset, length, bytes }) => [offset, length, bytes?.[0]])).toEqual([[0, PAGE, undefined], [PAGE, PAGE, 1], [2 * PAGE, 4 * PAGE, undefined], [6 * PAGE, 10, 2]]);
  expect(mapping.length).toBe(6 * PAGE + 10);
  mapping.closeSync();
  // With the right to store there are bytes everywhere, and no others than were there.
  const before = volume.readFileSync("/holes");
  const writable = volume.mapSync(fd, 0, 100 * PAGE, { writable: true });
  expect(writable.runs.reduce((sum, { bytes }) => sum + bytes!.length, 0)).toBe(6 * PAGE + 10);
  expect(writable.runs.every(({ bytes }) => bytes!.buffer === pmem.bytes.buffer)).toBe(true);
  expect(together(writable).equals(before)).toBe(true);
  expect(volume.fiemapSync("/holes").some(({ unwritten }) => unwritten)).toBe(false);
  writable.closeSync();
  checkAndClose(world);
});

test("what cannot be mapped", async () => {
  const { volume, pmem } = inMemory();
  const code = (work: () => unknown): unknown => {
    try {
      work();
      return 0;
    } catch (error) {
      return (error as { code?: string }).code;
    }
  };
  const fd = volume.openSync("/big", "r");
  const writer = volume.openSync("/big", "a");
  expect(code(() => volume.mapSync(fd, 100, PAGE))).toBe("EINVAL");
  expect(code(() => volume.mapSync(fd, 0, 0))).toBe("EINVAL");
  expect(code(() => volume.mapSync(fd, 4 * MIB, PAGE))).toBe("EINVAL");
  expect(code(() => volume.mapSync(fd, -PAGE, PAGE))).toBe("ERR_OUT_OF_RANGE");
  expect(code(() => volume.mapSync(99, 0, PAGE))).toBe("EBADF");
  expect(code(() => volume.mapSync(fd, 0, PAGE, { writable: true }))).toBe("EACCES");
  expect(code(() => volume.mapSync(writer, 0, PAGE))).toBe("EACCES");
  expect(code(() => volume.mapSync("/absent", 0, PAGE))).toBe("ENOENT");
  expect(code(() => volume.mapSync("/", 0, PAGE))).toBe("ENODEV");
  await expect(volume.promises.map("/absent", 0, PAGE)).rejects.toMatchObject({ code: "ENOENT", syscall: "open", path: "/absent" });
  const [extent] = volume.fiemapSync("/big");
  pmem.poison((extent!.pblk + 2) * PAGE, 1);
  expect(code(() => volume.mapSync(fd, 0, BIG.length))).toBe("EHWPOISON");
  const good = volume.mapSync(fd, 0, 2 * PAGE);
  good.closeSync();
  expect(code(() => good.msyncSync())).toBe("EBADF");
  volume.closeSync();
  const readOnly = Ext4.openSync(new PmemDevice(pmem.bytes), { dax: "always" });
  expect(code(() => readOnly.mapSync("/big", 0, PAGE, { writable: true }))).toBe("EROFS");
  expect(readOnly.mapSync("/big", 0, PAGE).runs[0]!.bytes![0]).toBe(BIG[0]);
  readOnly.closeSync(); // which closes the mapping, too
  const cached = Ext4.openSync(new PmemDevice(pmem.bytes), { dax: "never" });
  expect(code(() => cached.mapSync("/big", 0, PAGE))).toBe("EOPNOTSUPP");
  cached.closeSync();
});

test("no space: an error, and what is missing is not there", () => {
  const world = inMemory({}, "8M");
  const { volume } = world;
  volume.writeFileSync("/sparse", "");
  volume.truncateSync("/sparse", 16 * MIB);
  expect(() => volume.mapSync("/sparse", 0, Infinity, { writable: true })).toThrow(/ENOSPC/);
  expect(volume.statSync("/sparse").size).toBe(16 * MIB);
  const mapping = volume.mapSync("/small", 0, 5, { writable: true });
  expect(mapping.runs[0]!.bytes!.toString()).toBe("a few");
  mapping.closeSync();
  checkAndClose(world);
});

test("who takes pages away waits until they are let go", async () => {
  const world = inMemory();
  const { volume } = world;
  const mapping = volume.mapSync("/big", MIB, MIB);
  // A synchronous call cannot wait for the program that makes it.
  expect(() => volume.truncateSync("/big", 0)).toThrow(/EBUSY.*the end of all views and pins of the file's pages must come first/);
  expect(volume.statSync("/big").size).toBe(BIG.length);
  const story: string[] = [];
  const told = async (name: string, work: Promise<void>): Promise<void> => { await work; story.push(name); };
  const punch = (offset: number): Promise<void> => volume.promises.fallocate("/big", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, PAGE);
  await told("punch elsewhere", punch(3 * MIB - PAGE));
  const waiting = [told("punch", punch(MIB)), told("truncate", volume.promises.truncate("/big", MIB))];
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  await volume.promises.stat("/small");
  expect(story).toEqual(["punch elsewhere"]);
  expect(() => volume.truncateSync("/big", 0)).toThrow(/EBUSY/);
  expect(mapping.runs[0]!.bytes!.equals(BIG.subarray(MIB, 2 * MIB))).toBe(true);
  mapping.closeSync();
  await Promise.all(waiting);
  expect(story).toEqual(["punch elsewhere", "punch", "truncate"]);
  expect(volume.readFileSync("/big").equals(BIG.subarray(0, MIB))).toBe(true);
  checkAndClose(world);
});

test("a mapping keeps a file that has no name any more", () => {
  const world = inMemory();
  const { volume } = world;
  const free = volume.statfsSync("/").bfree;
  const mapping = volume.mapSync("/big", 0, BIG.length);
  volume.unlinkSync("/big");
  volume.writeFileSync("/other", Buffer.alloc(20 * MIB, 3));
  expect(together(mapping).equals(BIG)).toBe(true);
  volume.unlinkSync("/other");
  expect(volume.statfsSync("/").bfree).toBe(free);
  mapping.closeSync();
  volume.syncSync();
  expect(volume.statfsSync("/").bfree).toBeGreaterThan(free);
  checkAndClose(world);
});

test("what was stored is durable after msync, and not before", () => {
  const { volume, pmem } = inMemory();
  volume.writeFileSync("/new", "");
  volume.truncateSync("/new", 2 * PAGE);
  const mapping = volume.mapSync("/new", 0, 2 * PAGE, { writable: true });
  const store = (text: string): void => { mapping.runs[0]!.bytes!.write(text, 10); };
  const afterCrash = (): string => {
    const image = new PmemDevice(pmem.crashImage(() => 0));
    // A journal that is to be recovered stands between a reader and the device.
    expect(() => Ext4.openSync(image, { dax: "always" })).toThrow(/EINVAL.*DAX needs the journal recovered/);
    const crashed = Ext4.openSync(image, { dax: "always", readOnly: false });
    const found = crashed.readFileSync("/new").subarray(10, 16).toString();
    crashed.closeSync();
    return found;
  };
  volume.syncSync();
  store("first ");
  mapping.msyncSync();
  expect(afterCrash()).toBe("first ");
  store("second");
  volume.syncSync();
  expect(afterCrash()).toBe("first ");
  mapping.msyncSync(0, PAGE);
  expect(afterCrash()).toBe("second");
  volume.closeSync();
});
