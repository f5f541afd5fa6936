/** Images that runs begin with: made once for each scenario, by mkfs and the scenario's setup, with the engine as it ships. */
import type { Ext4Inode } from "../ext4/inode.js";
import type { Ext4 } from "../ext4/super.js";
import { planMkfs } from "../mkfs/mkfs.js";
import { runSync } from "../sched/scheduler.js";
import type { Task } from "../sched/task.js";
import { decode, encode } from "../lib/utf8.js";
import type { Process } from "../vfs/process.js";
import { O_CREAT, O_EXCL, O_RDWR } from "../vfs/flags.js";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "../vfs/inode.js";
import { Arena, LabDisk, LabPmem, type Medium, type MediumOptions } from "./crash/medium.js";
import { EPOCH_SEC, Lab } from "./lab.js";
import { taskOf, type Scenario, type WorldRecipe } from "./scenario.js";
import { alwaysFirst } from "./choices.js";
import { fileIdOf, permissionsOf, xattrText } from "./historian.js";
import type { Attributes } from "./model/attributes.js";
import type { FileId } from "./model/history.js";

const MIB = 2 ** 20;
const DISK_BYTES = 4 * MIB;
const PMEM_BYTES = 12 * MIB;

/** One name of a tree that was looked at. */
export interface FoundEntry {
  readonly kind: "file" | "directory" | "symlink" | "other";
  readonly id: FileId;
  readonly nlink: number;
  /** Of files, and of links their target. */
  readonly bytes: Uint8Array;
  readonly attributes: Attributes;
}

/** By path. */
export type FoundTree = ReadonlyMap<string, FoundEntry>;

export interface BaseImage {
  readonly arena: Arena;
  readonly tree: FoundTree;
}

/** Of the random numbers of a scenario's setup. */
const SETUP_SEED = 1;

/** Those that were used last: with its copies each takes some 50 MiB. */
const IMAGES_MAX = 2;
const images = new Map<Scenario, BaseImage>();

export function baseImage(scenario: Scenario): BaseImage {
  const image = images.get(scenario) ?? makeImage(scenario);
  images.delete(scenario);
  images.set(scenario, image);
  for (const oldest of images.keys()) if (images.size > IMAGES_MAX) images.delete(oldest);
  return image;
}

function makeImage(scenario: Scenario): BaseImage {
  const recipe = scenario.world ?? {};
  const device = makeMedium(recipe, new Arena(new Uint8Array(recipe.sizeBytes ?? (recipe.device === "pmem" ? PMEM_BYTES : DISK_BYTES))), { isMortal: false });
  runSync(planMkfs(mkfsOptions(recipe), device.sizeBytes).write(device));
  const lab = new Lab(device, { ...recipe, mount: { ...recipe.mount, readOnly: false, dax: "never" } }, {}, alwaysFirst, SETUP_SEED);
  runSync(lab.mount());
  if (mkfsOptions(recipe).journalBytes !== undefined && !lab.fs.journal.hasLog) throw new RangeError(`${scenario.name}: ${device.sizeBytes} bytes are too few for a journal`);
  for (const [path, content] of Object.entries(recipe.files ?? {})) runSync(makeFile(lab.process, path, typeof content === "string" ? encode(content) : content));
  if (scenario.setup !== undefined) runSync(taskOf(scenario, "setup", scenario.setup(lab)));
  const tree = runSync(lookAt(lab));
  runSync(lab.unmount());
  return { arena: new Arena(device.bytes), tree };
}

function mkfsOptions({ device, mkfs }: WorldRecipe): Parameters<typeof planMkfs>[0] {
  const blockBytes = mkfs?.blockBytes ?? (device === "pmem" ? 4096 : 1024);
  return {
    timeSec: EPOCH_SEC, uuid: new Uint8Array(16).fill(1), hashSeed: new Uint8Array(16).fill(2), blockBytes, inodesCount: 64, deviceIsZero: true, reservedPercent: 0,
    features: "^resize_inode", ...((mkfs?.features ?? "").includes("^has_journal") ? {} : { journalBytes: 1024 * blockBytes }), ...mkfs,
  };
}

export function makeMedium({ device }: WorldRecipe, arena: Arena, options: MediumOptions): Medium {
  return device === "pmem" ? new LabPmem(arena, options) : new LabDisk(arena, options);
}

function* makeFile(process: Process, path: string, content: Uint8Array): Task<void> {
  const fd = yield* process.open(path, O_RDWR | O_CREAT | O_EXCL);
  yield* process.pwrite(fd, content, 0);
  yield* process.close(fd);
}

/** The whole tree, but for lost+found. */
export function* lookAt({ fs, kernel }: Lab): Task<FoundTree> {
  const tree = new Map<string, FoundEntry>();
  const process = kernel.spawn();
  tree.set("/", { kind: "directory", id: fileIdOf(fs.root), nlink: fs.root.i_nlink, bytes: new Uint8Array(0), attributes: yield* attributesOf(fs.root) });
  yield* visit(fs, process, "", tree);
  yield* process.exit();
  return tree;
}

function* visit(fs: Ext4, process: Process, directory: string, tree: Map<string, FoundEntry>): Task<void> {
  for (const { d_name: name } of yield* process.readdir(directory === "" ? "/" : directory)) {
    const text = decode(name);
    if (text === "." || text === ".." || (directory === "" && text === "lost+found")) continue;
    const path = `${directory}/${text}`;
    const stat = yield* process.lstat(path);
    const type = stat.stx_mode & S_IFMT;
    const kind = type === S_IFDIR ? "directory" : type === S_IFLNK ? "symlink" : type === S_IFREG ? "file" : "other";
    const inode = yield* fs.iget(stat.stx_ino);
    tree.set(path, { kind, id: fileIdOf(inode), nlink: stat.stx_nlink, bytes: yield* bytesOf(process, path, kind, stat.stx_size), attributes: yield* attributesOf(inode) });
    if (kind === "directory") yield* visit(fs, process, path, tree);
  }
}

function* attributesOf(inode: Ext4Inode): Task<Attributes> {
  const attributes = new Map([["mode", permissionsOf(inode.i_mode)], ["uid", String(inode.i_uid)], ["gid", String(inode.i_gid)]]);
  for (const name of yield* inode.listxattr()) {
    const value = yield* inode.getxattr(name);
    if (value !== undefined) attributes.set(decode(name), xattrText(value));
  }
  return attributes;
}

function* bytesOf(process: Process, path: string, kind: FoundEntry["kind"], sizeBytes: number): Task<Uint8Array> {
  if (kind === "symlink") return yield* process.readlink(path);
  const bytes = new Uint8Array(kind === "file" ? sizeBytes : 0);
  if (kind !== "file" || sizeBytes === 0) return bytes;
  const fd = yield* process.open(path, 0);
  yield* process.pread(fd, bytes, 0);
  yield* process.close(fd);
  return bytes;
}

