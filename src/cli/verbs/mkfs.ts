/**
 * mkfs: makes a filesystem in an image. An image that is not there yet grows under a temporary name and gets its own when it is whole; one that is there is overwritten
 * in place, once it is sure that what was asked for can be made.
 */
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, realpathSync, renameSync, rmSync, statSync, truncateSync, type Stats } from "node:fs";
import { openPartition, PartitionDevice, readPartitions } from "../../block/partition.js";
import type { BlockDevice } from "../../block/device.js";
import { addJournalUser, readJournalDevice } from "../../mkfs/journal-device.js";
import { planMkfs } from "../../mkfs/mkfs.js";
import { MkfsOptionError, type MkfsOptions, type MkfsPlan, type MkfsResult } from "../../mkfs/options.js";
import { findSignature } from "../../mkfs/signatures.js";
import { FileDevice } from "../../platform/node/index.js";
import { FsError } from "../../lib/errno.js";
import type { Task } from "../../sched/task.js";
import { fixedTimeSec } from "../clock.js";
import { parseOperand, UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { humanSize } from "../text.js";
import { uuidText } from "./info-text.js";
import { Filling, treeToPlan } from "./mkfs-fill.js";
import { FLAGS, parseMkfsOptions, type MkfsArguments, type RawMkfsOptions } from "./mkfs-options.js";

const TEMPORARY = ".ext4-mkfs-partial";

/** @throws UsageError; Error of the host or the core with a code. */
export function* mkfs(operand: string, size: string | undefined, raw: RawMkfsOptions, isQuiet: boolean, out: Output): Task<void> {
  const given = parseMkfsOptions(raw, size);
  const { image, partition } = parseOperand(operand);
  try {
    const journal = given.journalDevice === undefined ? undefined : FileDevice.open(given.journalDevice, { readOnly: raw.n === true });
    const options = { ...hostOptions(given), externalJournal: journal === undefined ? undefined : yield* readJournalDevice(journal, deviceNumberOf(given.journalDevice!)) };
    const target: Target = { image, partition, given, options, force: raw.F ?? 0, directory: raw.d, journal, out };
    const result = raw.n === true ? yield* dryRun(target) : existsSync(image) ? yield* overwrite(target) : yield* create(target);
    if (journal !== undefined && raw.n !== true) yield* addJournalUser(journal, options.externalJournal!, options.uuid);
    if (journal !== undefined) yield* journal.close();
    if (!isQuiet || out.isJson) show(operand, result, raw, out);
  } catch (error) {
    throw error instanceof MkfsOptionError ? new UsageError(`${FLAGS[error.option]}: ${error.detail}`) : error;
  }
}

interface Target {
  readonly image: string;
  readonly partition: number | undefined;
  readonly given: MkfsArguments;
  readonly options: MkfsOptions;
  readonly force: number;
  /** A folder of the host, with which the filesystem is filled. */
  readonly directory: string | undefined;
  readonly journal: BlockDevice | undefined;
  readonly out: Output;
}

/** Clock and chance, unless the user fixed what they would give. */
function hostOptions(given: MkfsArguments): MkfsOptions {
  const { uuid, hashSeed, isPrezeroed } = given;
  return { ...given, deviceIsZero: isPrezeroed, timeSec: fixedTimeSec() ?? Math.floor(Date.now() / 1000), uuid: uuid === "time" ? timeUuid() : uuid ?? randomUuid(), hashSeed: hashSeed ?? randomUuid() };
}

function randomUuid(): Uint8Array {
  return markedUuid(randomBytes(16), 4);
}

/** As RFC 4122 has it, with chance in place of a network card's number. */
function timeUuid(): Uint8Array {
  const uuid = randomBytes(16);
  const ticks = BigInt(Date.now()) * 10_000n + 0x01b2_1dd2_1381_4000n; // of 100 ns, since the Gregorian calendar began
  uuid.writeUInt32BE(Number(ticks & 0xffff_ffffn), 0);
  uuid.writeUInt16BE(Number((ticks >> 32n) & 0xffffn), 4);
  uuid.writeUInt16BE(Number((ticks >> 48n) & 0xfffn), 6);
  uuid[10] = uuid[10]! | 1;
  return markedUuid(uuid, 1);
}

function markedUuid(uuid: Uint8Array, version: number): Uint8Array {
  uuid[6] = (uuid[6]! & 0xf) | (version << 4);
  uuid[8] = (uuid[8]! & 0x3f) | 0x80;
  return uuid;
}

function deviceNumberOf(path: string): number {
  const stats = statSync(path);
  return stats.isBlockDevice() ? stats.rdev : 0;
}

function* dryRun(target: Target): Task<MkfsResult> {
  const { image, given, options, directory, out } = target;
  const tree = directory === undefined ? undefined : treeToPlan(directory, image, out);
  if (!existsSync(image)) return planMkfs({ ...options, deviceIsZero: true }, sizeOfNew(target), tree).result;
  const device = FileDevice.open(image);
  try {
    const room = yield* roomIn(target, device);
    return planMkfs(options, Math.max(room.device.sizeBytes, given.sizeBytes ?? 0), tree).result;
  } finally {
    yield* device.close();
  }
}

function sizeOfNew({ image, partition, given }: Target): number {
  if (partition !== undefined) throw new FsError("ENOENT", undefined, { syscall: "open", path: image });
  if (given.sizeBytes === undefined) throw new UsageError(`SIZE: '${image}' does not exist, so a size is needed`);
  return given.sizeBytes;
}

function* create(target: Target): Task<MkfsResult> {
  const { image, given: { offsetBytes = 0 }, options, directory, out } = target;
  const sizeBytes = sizeOfNew(target);
  const sure = { ...options, deviceIsZero: true };
  let plan = planMkfs(sure, sizeBytes);
  const temporary = `${image}${TEMPORARY}`;
  // What is copied too early goes away with the file.
  const filling = directory === undefined ? undefined : new Filling({ directory, image, path: temporary, startBytes: offsetBytes, isHeld: false }, out);
  rmSync(temporary, { force: true });
  const fd = openSync(temporary, "wx");
  try {
    ftruncateSync(fd, offsetBytes + sizeBytes);
    if (filling !== undefined) plan = planMkfs(sure, sizeBytes, filling.tree);
    yield* writeTo(plan, target, temporary, filling);
    renameSync(temporary, image);
  } catch (error) {
    filling?.abandon();
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
  return plan.result;
}

/** @throws FsError EEXIST something is there. */
function* overwrite(target: Target): Task<MkfsResult> {
  const { image, given, options, force, directory, out } = target;
  const stats = statSync(image);
  if (force < 2 && isMounted(image, stats)) throw new FsError("EBUSY", "it is mounted; -F -F overwrites it nevertheless", { path: image });
  const device = FileDevice.open(image);
  let sizeBytes: number;
  let startBytes: number;
  try {
    const room = yield* roomIn(target, device);
    const found = force > 0 ? undefined : yield* findSignature(room.device);
    if (found !== undefined) throw new FsError("EEXIST", `it is not empty (${found}); -F overwrites it`, { path: image });
    sizeBytes = stats.isFile() && target.partition === undefined ? Math.max(room.device.sizeBytes, given.sizeBytes ?? 0) : room.device.sizeBytes;
    ({ startBytes } = room);
  } finally {
    yield* device.close();
  }
  const isZero = options.deviceIsZero === true || (stats.isFile() && target.partition === undefined && canBeZero(target, stats, sizeBytes));
  const filling = directory === undefined ? undefined : new Filling({ directory, image, path: image, startBytes, isHeld: true }, out);
  const plan = planMkfs({ ...options, deviceIsZero: isZero }, sizeBytes, filling?.tree);
  if (stats.isFile() && target.partition === undefined) {
    // From here on, what was in the image is gone.
    if (isZero && stats.blocks > 0 && given.discard !== false && options.deviceIsZero !== true) truncateSync(image, 0);
    truncateSync(image, Math.max(stats.size, (given.offsetBytes ?? 0) + sizeBytes));
  }
  try {
    yield* writeTo(plan, target, image, filling);
  } catch (error) {
    filling?.abandon();
    throw error;
  }
  return plan.result;
}

/** Whether a file reads as zeroes, or may be made to: it is one hole, or has nothing but the filesystem to be. */
function canBeZero({ given: { offsetBytes = 0, discard = true, sizeBytes: asked } }: Target, stats: Stats, sizeBytes: number): boolean {
  return stats.blocks === 0 || (discard && offsetBytes === 0 && stats.size <= (asked ?? sizeBytes));
}

interface Room {
  readonly device: BlockDevice;
  /** Where in the image it begins. */
  readonly startBytes: number;
}

/** The part of the image that the filesystem is for. */
function* roomIn({ partition, given: { offsetBytes = 0 } }: Target, device: BlockDevice): Task<Room> {
  if (partition !== undefined) {
    const room = yield* openPartition(device, partition);
    return { device: room, startBytes: (yield* readPartitions(device)).find(({ number }) => number === partition)!.startBytes };
  }
  if (offsetBytes === 0) return { device, startBytes: 0 };
  const room = new PartitionDevice(device, { number: 0, name: "", type: "", startBytes: offsetBytes, sizeBytes: Math.max(0, device.sizeBytes - offsetBytes) });
  return { device: room, startBytes: offsetBytes };
}

function* writeTo(plan: MkfsPlan, target: Target, path: string, filling: Filling | undefined): Task<void> {
  const device = FileDevice.open(path, { readOnly: false });
  try {
    const room = yield* roomIn(target, device);
    yield* plan.write(room.device, filling === undefined ? undefined : function* () { filling.finish(); });
  } finally {
    yield* device.close();
  }
}

/** Linux lists what is mounted; a loop device hides the file behind it, and then nobody knows. */
function isMounted(image: string, stats: Stats): boolean {
  if (!stats.isBlockDevice()) return false;
  try {
    const path = realpathSync(image);
    return readFileSync("/proc/self/mounts", "utf8").split("\n").some((line) => line.startsWith(`${path} `));
  } catch {
    return false;
  }
}

function show(operand: string, result: MkfsResult, raw: RawMkfsOptions, out: Output): void {
  for (const note of result.notes) out.note(note);
  const isDry = raw.n === true;
  if (out.isJson) return out.record({ image: operand, isDryRun: isDry, ...result, uuid: uuidText(result.uuid) });
  const { blockBytes, blocksCount, clusterBytes } = result;
  out.line(`${isDry ? "would make" : "made"} ${operand}: ${humanSize(blocksCount * blockBytes)}, ${blocksCount} blocks of ${humanSize(blockBytes)}, ${result.inodesCount} inodes of ${result.inodeBytes} bytes`);
  const line = (name: string, value: string): void => out.line(`  ${name.padEnd(12)}${value}`);
  line("uuid", uuidText(result.uuid));
  line("features", result.features.join(" ") || "none");
  if (result.journalBlocks > 0) line("journal", `${result.journalBlocks} blocks, ${humanSize(result.journalBlocks * blockBytes)}`);
  if (raw.v === true) {
    line("groups", `${result.groupsCount} of ${result.blocksPerGroup} blocks and ${result.inodesPerGroup} inodes`);
    if (clusterBytes !== blockBytes) line("clusters", `of ${humanSize(clusterBytes)}`);
    line("free", `${result.freeBlocksCount} blocks`);
    line("for root", `${result.reservedBlocksCount} blocks`);
  }
  if (result.backupSuperblocks.length > 0) line("backups", `of the superblock at blocks ${result.backupSuperblocks.join(", ")}`);
}
