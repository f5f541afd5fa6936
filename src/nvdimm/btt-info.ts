/**
 * The arenas of a block translation table: how a namespace is divided, and the info block at either end of each arena. An info block is checked whole before any of its numbers is
 * used, and its copy stands in for it where it is damaged. Source: drivers/nvdimm/btt.c (7.1: alloc_arena, create_arenas, discover_arenas), btt_devs.c; dax-and-faults.md 12.3.
 */
import { CorruptionError } from "../format/corruption.js";
import {
  BTT_ARENA_BYTES_MAX, BTT_ARENA_BYTES_MIN, BTT_SIGNATURE, btt_sb, hasGoodChecksum, IB_FLAG_ERROR, INFO_BLOCK_BYTES, LOG_GROUP_BYTES, MAP_ENTRY_BYTES, sealInfoBlock, signatureBytes, signatureOf,
} from "../format/nvdimm.js";
import { viewOf } from "../format/layout.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import type { ByteStore } from "./byte-store.js";

/** What a sector may hold; beyond 512 and 4096 the rest is for integrity metadata. */
export const BTT_SECTOR_SIZES: readonly number[] = [512, 520, 528, 4096, 4104, 4160, 4224];
/** Blocks begin on lines of the cache. */
const INTERNAL_ALIGNMENT_BYTES = 64;
/** Lanes of a new table: the kernel's ND_MAX_LANES. */
export const BTT_LANES = 256;
const PAGE_BYTES = 4096;

/** One arena, all places in bytes of the namespace. */
export interface ArenaInfo {
  readonly startBytes: number;
  readonly sizeBytes: number;
  readonly uuid: Uint8Array;
  readonly parentUuid: Uint8Array;
  readonly hasErrorFlag: boolean;
  readonly versionMajor: number;
  readonly versionMinor: number;
  /** With integrity metadata: 520 holds 512 of data. */
  readonly externalBlockBytes: number;
  readonly externalBlocks: number;
  readonly internalBlockBytes: number;
  readonly internalBlocks: number;
  readonly laneCount: number;
  readonly isLast: boolean;
  readonly dataAt: number;
  readonly mapAt: number;
  readonly logAt: number;
  readonly infoCopyAt: number;
}

export interface BttLayout {
  readonly arenas: readonly ArenaInfo[];
  /** Info blocks that are damaged while their twin is not; places in the namespace. */
  readonly damagedInfoAt: readonly number[];
}

export interface BttOptions {
  /** One of BTT_SECTOR_SIZES. */
  readonly sectorBytes: number;
  readonly uuid: Uint8Array;
  readonly parentUuid?: Uint8Array;
  /** "1.1" leaves 4 KiB free before the first arena, "2.0" (by the namespace's label) does not. Default "1.1". */
  readonly version?: "1.1" | "2.0";
  /** Default 512 GiB. Smaller ones are of use in tests. */
  readonly arenaBytesMax?: number;
  /** Blocks in reserve, and writes at a time. Default 256, as Linux makes them. */
  readonly laneCount?: number;
}

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/** Where the first arena begins. */
export const firstArenaAt = (version: "1.1" | "2.0"): number => (version === "1.1" ? PAGE_BYTES : 0);

/** How a namespace of `sizeBytes` is divided. @throws FsError EINVAL, or ENXIO it is too small. */
export function planArenas(sizeBytes: number, options: BttOptions): ArenaInfo[] {
  const { version = "1.1", arenaBytesMax = BTT_ARENA_BYTES_MAX, laneCount = BTT_LANES } = options;
  if (!BTT_SECTOR_SIZES.includes(options.sectorBytes)) throw new FsError("EINVAL", `sectors of ${options.sectorBytes} bytes: a block translation table has ${BTT_SECTOR_SIZES.join(", ")}`);
  if (laneCount < 1 || laneCount > BTT_LANES) throw new FsError("EINVAL", `${laneCount} lanes: a block translation table has 1 to ${BTT_LANES}`);
  const arenas: ArenaInfo[] = [];
  let left = sizeBytes - firstArenaAt(version);
  for (let startBytes = firstArenaAt(version); left >= BTT_ARENA_BYTES_MIN;) {
    const arenaBytes = Math.min(arenaBytesMax, left);
    left -= arenaBytes;
    arenas.push(planArena(startBytes, arenaBytes, left < BTT_ARENA_BYTES_MIN, { ...options, version, laneCount }));
    startBytes += arenaBytes;
  }
  if (arenas.length === 0) throw new FsError("ENXIO", `a namespace of ${sizeBytes} bytes is too small for a block translation table, which takes ${BTT_ARENA_BYTES_MIN + firstArenaAt(version)}`);
  return arenas;
}

/** The kernel's alloc_arena, to the byte. */
function planArena(startBytes: number, sizeBytes: number, isLast: boolean, options: Required<Pick<BttOptions, "version" | "laneCount">> & BttOptions): ArenaInfo {
  const { laneCount, version } = options;
  const internalBlockBytes = roundUp(options.sectorBytes, INTERNAL_ALIGNMENT_BYTES);
  const logBytes = roundUp(laneCount * LOG_GROUP_BYTES, PAGE_BYTES);
  const available = Math.floor(sizeBytes / PAGE_BYTES) * PAGE_BYTES - 2 * INFO_BLOCK_BYTES - logBytes;
  const internalBlocks = Math.floor((available - PAGE_BYTES) / (internalBlockBytes + MAP_ENTRY_BYTES));
  const externalBlocks = internalBlocks - laneCount;
  const mapBytes = roundUp(externalBlocks * MAP_ENTRY_BYTES, PAGE_BYTES);
  const dataAt = startBytes + INFO_BLOCK_BYTES;
  const mapAt = dataAt + available - mapBytes;
  const logAt = mapAt + mapBytes;
  return {
    startBytes, sizeBytes, uuid: options.uuid, parentUuid: options.parentUuid ?? new Uint8Array(16), hasErrorFlag: false,
    versionMajor: version === "1.1" ? 1 : 2, versionMinor: version === "1.1" ? 1 : 0,
    externalBlockBytes: options.sectorBytes, externalBlocks, internalBlockBytes, internalBlocks, laneCount, isLast, dataAt, mapAt, logAt, infoCopyAt: logAt + logBytes,
  };
}

export function encodeInfoBlock(arena: ArenaInfo): Uint8Array {
  const block = new Uint8Array(INFO_BLOCK_BYTES);
  const view = viewOf(block);
  const { startBytes } = arena;
  btt_sb.signature.set(view, 0, signatureBytes(BTT_SIGNATURE));
  btt_sb.uuid.set(view, 0, arena.uuid);
  btt_sb.parent_uuid.set(view, 0, arena.parentUuid);
  btt_sb.flags.set(view, 0, arena.hasErrorFlag ? IB_FLAG_ERROR : 0);
  btt_sb.version_major.set(view, 0, arena.versionMajor);
  btt_sb.version_minor.set(view, 0, arena.versionMinor);
  btt_sb.external_lbasize.set(view, 0, arena.externalBlockBytes);
  btt_sb.external_nlba.set(view, 0, arena.externalBlocks);
  btt_sb.internal_lbasize.set(view, 0, arena.internalBlockBytes);
  btt_sb.internal_nlba.set(view, 0, arena.internalBlocks);
  btt_sb.nfree.set(view, 0, arena.laneCount);
  btt_sb.infosize.set(view, 0, INFO_BLOCK_BYTES);
  btt_sb.nextoff.set(view, 0, arena.isLast ? 0 : arena.sizeBytes);
  btt_sb.dataoff.set(view, 0, arena.dataAt - startBytes);
  btt_sb.mapoff.set(view, 0, arena.mapAt - startBytes);
  btt_sb.logoff.set(view, 0, arena.logAt - startBytes);
  btt_sb.info2off.set(view, 0, arena.infoCopyAt - startBytes);
  sealInfoBlock(btt_sb, block);
  return block;
}

/** Writes both info blocks of an arena, the copy first: as long as the other is not there, neither is the arena. */
export function* writeInfoBlocks(store: ByteStore, arena: ArenaInfo): Task<void> {
  const block = encodeInfoBlock(arena);
  yield* store.write(arena.infoCopyAt, block);
  yield* store.write(arena.startBytes, block);
}

/** The arenas of a namespace; undefined: it holds no block translation table. @throws CorruptionError btt-info, btt-info-checksum; FsError EIO. */
export function* readArenas(store: ByteStore): Task<BttLayout | undefined> {
  for (const version of ["1.1", "2.0"] as const) {
    const first = yield* readEitherInfo(store, firstArenaAt(version), BTT_ARENA_BYTES_MAX, true);
    if (first === undefined || first.arena.versionMajor !== Number(version[0])) continue;
    return yield* readChain(store, first);
  }
  return undefined;
}

function* readChain(store: ByteStore, first: FoundInfo): Task<BttLayout> {
  const arenas = [first.arena];
  const damagedInfoAt = [...first.damagedAt];
  // Each arena is 16 MiB at least, so the chain ends.
  for (let arena = first.arena; !arena.isLast;) {
    const next = yield* readEitherInfo(store, arena.startBytes + arena.sizeBytes, arena.sizeBytes, false);
    if (next === undefined) throw new CorruptionError("btt-info", { offset: arena.startBytes + arena.sizeBytes, field: "signature", found: "none", expected: BTT_SIGNATURE });
    const isOther = next.arena.externalBlockBytes !== arena.externalBlockBytes || next.arena.versionMajor !== arena.versionMajor;
    if (isOther) throw new CorruptionError("btt-info", { offset: next.arena.startBytes, field: "external_lbasize", found: next.arena.externalBlockBytes, expected: arena.externalBlockBytes });
    arenas.push(arena = next.arena);
    damagedInfoAt.push(...next.damagedAt);
  }
  return { arenas, damagedInfoAt };
}

interface FoundInfo {
  readonly arena: ArenaInfo;
  readonly damagedAt: readonly number[];
}

/**
 * An arena by its info block, or by the copy where that is damaged. Undefined: there is neither.
 * @param usualBytes what arenas before it have.
 * @param mayBeAbsent no signature in the first block is no damage: what looks like a copy may be left from an older table.
 */
function* readEitherInfo(store: ByteStore, startBytes: number, usualBytes: number, mayBeAbsent: boolean): Task<FoundInfo | undefined> {
  const primary = yield* readInfo(store, startBytes, startBytes);
  if (primary !== undefined && !(primary instanceof CorruptionError)) {
    const copy = yield* readInfo(store, primary.infoCopyAt, startBytes);
    return { arena: primary, damagedAt: copy === undefined || copy instanceof CorruptionError ? [primary.infoCopyAt] : [] };
  }
  if (primary === undefined && mayBeAbsent && !store.isBad(startBytes, INFO_BLOCK_BYTES)) return undefined;
  // Without the block, the arena's end is a guess: it is as large as the others, or goes to the end.
  for (const limitBytes of [usualBytes, BTT_ARENA_BYTES_MAX]) {
    const sizeBytes = Math.min(store.sizeBytes - startBytes, limitBytes);
    const copyAt = startBytes + Math.floor(sizeBytes / PAGE_BYTES) * PAGE_BYTES - INFO_BLOCK_BYTES;
    const copy = copyAt > startBytes ? yield* readInfo(store, copyAt, startBytes) : undefined;
    if (copy !== undefined && !(copy instanceof CorruptionError)) return { arena: copy, damagedAt: [startBytes] };
  }
  if (primary instanceof CorruptionError) throw primary;
  return undefined;
}

/** An info block: the arena, or what is wrong with it; undefined: it is none, or cannot be read. */
function* readInfo(store: ByteStore, at: number, startBytes: number): Task<ArenaInfo | CorruptionError | undefined> {
  if (at + INFO_BLOCK_BYTES > store.sizeBytes || store.isBad(at, INFO_BLOCK_BYTES)) return undefined;
  const block = new Uint8Array(INFO_BLOCK_BYTES);
  yield* store.read(at, block);
  if (signatureOf(block) !== BTT_SIGNATURE) return undefined;
  if (!hasGoodChecksum(btt_sb, block)) return new CorruptionError("btt-info-checksum", { offset: at });
  const arena = decodeInfoBlock(block, startBytes);
  const wrong = wrongField(arena, block, store.sizeBytes);
  if (wrong !== undefined) return new CorruptionError("btt-info", { offset: at, ...wrong });
  return at === startBytes || at === arena.infoCopyAt ? arena : new CorruptionError("btt-info", { offset: at, field: "info2off", found: arena.infoCopyAt, expected: at });
}

function decodeInfoBlock(block: Uint8Array, startBytes: number): ArenaInfo {
  const view = viewOf(block);
  const nextoff = btt_sb.nextoff.get(view, 0);
  const infoCopyAt = startBytes + btt_sb.info2off.get(view, 0);
  return {
    startBytes, infoCopyAt,
    sizeBytes: nextoff > 0 ? nextoff : infoCopyAt - startBytes + INFO_BLOCK_BYTES,
    uuid: btt_sb.uuid.get(view, 0).slice(),
    parentUuid: btt_sb.parent_uuid.get(view, 0).slice(),
    hasErrorFlag: (btt_sb.flags.get(view, 0) & IB_FLAG_ERROR) !== 0,
    versionMajor: btt_sb.version_major.get(view, 0),
    versionMinor: btt_sb.version_minor.get(view, 0),
    externalBlockBytes: btt_sb.external_lbasize.get(view, 0),
    externalBlocks: btt_sb.external_nlba.get(view, 0),
    internalBlockBytes: btt_sb.internal_lbasize.get(view, 0),
    internalBlocks: btt_sb.internal_nlba.get(view, 0),
    laneCount: btt_sb.nfree.get(view, 0),
    isLast: nextoff === 0,
    dataAt: startBytes + btt_sb.dataoff.get(view, 0),
    mapAt: startBytes + btt_sb.mapoff.get(view, 0),
    logAt: startBytes + btt_sb.logoff.get(view, 0),
  };
}

interface WrongField { readonly field: string; readonly found: number; readonly expected: number | string }

/** The first field that cannot be right: all parts lie in the arena one behind the other, each with room for what it holds. */
function wrongField(arena: ArenaInfo, block: Uint8Array, storeBytes: number): WrongField | undefined {
  const view = viewOf(block);
  const infoBytes = btt_sb.infosize.get(view, 0);
  const fits = (field: string, found: number, min: number, max: number): WrongField | undefined => (found >= min && found <= max ? undefined : { field, found, expected: `${min} .. ${max}` });
  return fits("version_major", arena.versionMajor, 1, 2) ??
    fits("external_lbasize", arena.externalBlockBytes, 512, 65536) ??
    fits("internal_lbasize", arena.internalBlockBytes, arena.externalBlockBytes, 65536 + INTERNAL_ALIGNMENT_BYTES) ??
    fits("nfree", arena.laneCount, 1, BTT_LANES) ??
    fits("external_nlba", arena.externalBlocks, 1, arena.internalBlocks - arena.laneCount) ??
    fits("infosize", infoBytes, INFO_BLOCK_BYTES, INFO_BLOCK_BYTES) ??
    fits("dataoff", arena.dataAt - arena.startBytes, infoBytes, arena.sizeBytes) ??
    fits("mapoff", arena.mapAt - arena.dataAt, arena.internalBlocks * arena.internalBlockBytes, arena.sizeBytes) ??
    fits("logoff", arena.logAt - arena.mapAt, arena.externalBlocks * MAP_ENTRY_BYTES, arena.sizeBytes) ??
    fits("info2off", arena.infoCopyAt - arena.logAt, arena.laneCount * LOG_GROUP_BYTES, arena.sizeBytes) ??
    fits("nextoff", arena.sizeBytes, arena.infoCopyAt - arena.startBytes + INFO_BLOCK_BYTES, storeBytes - arena.startBytes) ??
    alignedTo("logoff", arena.logAt - arena.startBytes, LOG_GROUP_BYTES) ?? alignedTo("mapoff", arena.mapAt - arena.startBytes, MAP_ENTRY_BYTES);
}

/** A log entry that straddles a line, or a map entry that straddles a word, could be torn. */
function alignedTo(field: string, found: number, unit: number): WrongField | undefined {
  return found % unit === 0 ? undefined : { field, found, expected: `a multiple of ${unit}` };
}
