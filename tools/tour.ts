/**
 * The main job, end to end: an image is made out of a folder of real files, listed, read back and compared byte by byte.
 * npm start, or npm start -- FOLDER for a folder of your own.
 */
import { spawnSync } from "node:child_process";
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { Ext4, type Volume } from "ext4";

const MIB = 2 ** 20;

const source = resolve(process.argv[2] ?? "node_modules/typescript");
const work = mkdtempSync(join(tmpdir(), "ext4-tour-"));
const image = join(work, "tour.img");

/** Says what was done and how long it took. */
function step<T>(what: string, work: () => readonly [T, string]): T {
  const started = performance.now();
  const [value, result] = work();
  process.stdout.write(`${what.padEnd(34)}${result.padEnd(46)}${(performance.now() - started).toFixed(0).padStart(6)} ms\n`);
  return value;
}

interface Entry { readonly path: string; readonly sizeBytes: number }

function filesBelow(folder: string): Entry[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).map((path) => ({ path, sizeBytes: lstatSync(join(folder, path)).size }));
}

const sumOf = (entries: readonly Entry[]): number => entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
const mib = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`;

function makeImage(sizeBytes: number): string {
  const { status, stderr } = spawnSync(process.execPath, ["bin/ext4", "mkfs", "-d", source, image, `${sizeBytes / MIB}M`], { encoding: "utf8" });
  if (status !== 0) throw new Error(`ext4 mkfs failed: ${stderr}`);
  return `ext4 mkfs -d, ${mib(sizeBytes)}`;
}

/** Compares one entry in all that mkfs -d takes over. @returns bytes compared. */
function compare(volume: Volume, path: string): number {
  const theirs = lstatSync(join(source, path));
  const ours = volume.lstatSync(`/${path}`);
  const isSame = ours.mode === theirs.mode && Math.floor(ours.mtimeMs / 1000) === Math.floor(theirs.mtimeMs / 1000);
  if (!isSame) throw new Error(`${path}: mode or time differs`);
  if (theirs.isSymbolicLink()) {
    if (volume.readlinkSync(`/${path}`) !== readlinkSync(join(source, path))) throw new Error(`${path}: the link's target differs`);
  } else if (theirs.isFile()) {
    if (!readFileSync(join(source, path)).equals(volume.readFileSync(`/${path}`))) throw new Error(`${path}: the content differs`);
    return theirs.size;
  }
  return 0;
}

try {
  const shown = relative(process.cwd(), source) || source;
  const entries = step(`looked at ${shown}`, () => {
    const found = filesBelow(source);
    return [found, `${found.length} entries, ${mib(sumOf(found))}`];
  });
  step("made an image of it", () => [undefined, makeImage(Math.ceil((sumOf(entries) * 1.2 + entries.length * 8192) / MIB + 16) * MIB)]);
  const volume = step("opened it", () => {
    const opened = Ext4.openSync(image);
    return [opened, `${opened.fs.sb.featureNames().length} features, blocks of ${opened.blockSize} bytes`];
  });
  const listed = step("listed it", () => {
    const paths = volume.readdirSync("/", { recursive: true }).filter((path) => path !== "lost+found");
    return [paths, `${paths.length} entries`];
  });
  if (listed.sort().join("\n") !== entries.map(({ path }) => path).sort().join("\n")) throw new Error("the lists differ");
  step("read it back and compared", () => {
    const bytes = listed.reduce((sum, path) => sum + compare(volume, path), 0);
    return [undefined, `${mib(bytes)}: every byte, mode, time and link agrees`];
  });
  const { bsize, blocks, bfree } = volume.statfsSync("/");
  volume.closeSync();
  process.stdout.write(`\nThe image has ${mib(bsize * blocks)}, ${mib(bsize * bfree)} of them free; it took ${mib(statSync(image).blocks * 512)} on this disk.\n` +
    "It is gone now. To go on with one of yours:\n\n  bin/ext4 ls -l disk.img\n  bin/ext4 cp -a disk.img:/ out/\n  bin/ext4 --help\n");
} finally {
  rmSync(work, { recursive: true, force: true });
}
