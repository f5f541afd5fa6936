/**
 * nvdimm: files that stand for a region of persistent memory. list shows what a region is used as and whether its structures are sound, create makes a namespace, nfit shows or makes the table
 * by which firmware tells of regions.
 */
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { BlockDevice } from "../../block/device.js";
import { NFIT_CAPABILITY_CACHE_FLUSH, NFIT_CAPABILITY_MEM_FLUSH, NFIT_CAPABILITY_MEM_MIRROR, NFIT_MEM_FLAGS } from "../../format/nfit.js";
import { FsError } from "../../lib/errno.js";
import { formatUuid, parseUuid, randomUuid } from "../../lib/uuid.js";
import { findSignature } from "../../mkfs/signatures.js";
import { BTT_SECTOR_SIZES } from "../../nvdimm/btt-info.js";
import { openBtt } from "../../nvdimm/btt.js";
import { byteStoreOn } from "../../nvdimm/byte-store.js";
import { ALIGNMENTS, createNamespace, NAMESPACE_MODES, readNamespace, type NamespaceInfo, type NamespaceMode, type NamespaceOptions } from "../../nvdimm/namespace.js";
import { danglingReferences, encodeNfit, nfitOfRegion, parseNfit, rangeTypeOf, type NfitStructure } from "../../nvdimm/nfit.js";
import { FileDevice } from "../../platform/node/index.js";
import type { Task } from "../../sched/task.js";
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { humanSize } from "../text.js";
import { parseSize } from "../values.js";

/** As commander gives them. */
export interface NvdimmOptions {
  readonly mode?: string;
  readonly size?: string;
  readonly sectorSize?: string;
  readonly align?: string;
  readonly map?: string;
  readonly uuid?: string;
  readonly force?: boolean;
  readonly make?: boolean;
  readonly address?: string;
  readonly eadr?: boolean;
}

const ACTIONS: Record<string, (path: string, options: NvdimmOptions, out: Output) => Task<void>> = { list, create, nfit };

export const NVDIMM_ACTIONS = Object.keys(ACTIONS);

/** @throws UsageError; CorruptionError, FsError; Error of the host. */
export function* nvdimm(action: string, path: string, options: NvdimmOptions, out: Output): Task<void> {
  const work = ACTIONS[action];
  if (work === undefined) throw new UsageError(`'${action}' is not one of ${NVDIMM_ACTIONS.join(", ")}`);
  yield* work(path, options, out);
}

function* list(path: string, _options: NvdimmOptions, out: Output): Task<void> {
  const region = FileDevice.open(path);
  try {
    const info = yield* readNamespace(region);
    const health = info.mode === "sector" ? yield* healthOf(region) : undefined;
    if (out.isJson) out.record({ file: path, ...recordOf(info), ...health });
    else showNamespace(path, info, health, out);
    for (const problem of health?.problems ?? []) out.error(`${path}: ${problem}`);
  } finally {
    yield* region.close();
  }
}

interface Health {
  /** Writes that a power cut interrupted, which the next opening for writing finishes. */
  readonly interruptedWrites: number;
  readonly problems: readonly string[];
}

function* healthOf(region: BlockDevice): Task<Health> {
  const btt = (yield* openBtt(byteStoreOn(region)))!;
  const problems = btt.damagedInfoAt.map((at) => `the info block at ${at} is damaged; its copy stands in for it`);
  if (btt.arenas.some(({ info }) => info.hasErrorFlag)) problems.push("an arena has failed and can only be read");
  problems.push(...(yield* btt.check()));
  return { interruptedWrites: btt.arenas.reduce((sum, { recoveredCount }) => sum + recoveredCount, 0), problems };
}

function recordOf(info: NamespaceInfo): Record<string, unknown> {
  const { mode, sizeBytes: regionBytes } = info;
  if (info.mode === "raw") return { mode, regionBytes, sizeBytes: regionBytes };
  if (info.mode === "sector") {
    const [first] = info.btt.arenas;
    const blocks = info.btt.arenas.reduce((sum, { externalBlocks }) => sum + externalBlocks, 0);
    const { externalBlockBytes } = first!;
    return {
      mode, regionBytes, sizeBytes: blocks * (externalBlockBytes < 4096 ? 512 : 4096), sectorBytes: externalBlockBytes, uuid: formatUuid(first!.uuid), version: `${first!.versionMajor}.${first!.versionMinor}`,
      arenas: info.btt.arenas.map(({ startBytes, sizeBytes, externalBlocks, internalBlocks, internalBlockBytes, laneCount, dataAt, mapAt, logAt, infoCopyAt }) =>
        ({ startBytes, sizeBytes, externalBlocks, internalBlocks, internalBlockBytes, laneCount, dataAt, mapAt, logAt, infoCopyAt })),
    };
  }
  const { uuid, dataAt, dataBytes, alignBytes, map, versionMinor } = info.pfn;
  return { mode, regionBytes, sizeBytes: dataBytes, map, alignBytes, dataAt, uuid: formatUuid(uuid), version: `1.${versionMinor}` };
}

function showNamespace(path: string, info: NamespaceInfo, health: Health | undefined, out: Output): void {
  const record = recordOf(info) as { sizeBytes: number; uuid?: string; version?: string };
  out.line(`${path}: ${info.mode}, ${humanSize(record.sizeBytes)} (${record.sizeBytes} bytes) of ${humanSize(info.sizeBytes)}`);
  const line = (name: string, value: string): void => out.line(`  ${name.padEnd(12)}${value}`);
  if (record.uuid !== undefined) line("uuid", record.uuid);
  if (record.version !== undefined) line("version", record.version);
  if (info.mode === "fsdax" || info.mode === "devdax") {
    line("alignment", humanSize(info.pfn.alignBytes));
    line("page map", info.pfn.map === "dev" ? "on the device, before the data" : "in memory");
    line("data", `from ${info.pfn.dataAt}`);
  } else if (info.mode === "sector") {
    line("sectors", `of ${info.btt.arenas[0]!.externalBlockBytes}`);
    line("arenas", String(info.btt.arenas.length));
    line("lanes", String(info.btt.arenas[0]!.laneCount));
    const interrupted = health?.interruptedWrites ?? 0;
    line("state", health?.problems.length !== 0 ? "damaged" : interrupted === 0 ? "sound" : `sound; ${interrupted} interrupted ${interrupted === 1 ? "write is" : "writes are"} finished when it is opened for writing`);
  }
}

function* create(path: string, options: NvdimmOptions, out: Output): Task<void> {
  const wanted = namespaceOptions(options);
  const sizeBytes = options.size === undefined ? undefined : parseSize(options.size, "--size");
  const isNew = !existsSync(path);
  if (isNew && sizeBytes === undefined) throw new UsageError(`'${path}' does not exist, so --size is needed`);
  if (isNew) makeFile(path, sizeBytes!);
  try {
    yield* createIn(path, wanted, { sizeBytes: isNew ? undefined : sizeBytes, isForced: options.force === true });
  } catch (error) {
    if (isNew) rmSync(path, { force: true });
    throw error;
  }
  yield* list(path, options, out);
}

function* createIn(path: string, wanted: NamespaceOptions, of: { sizeBytes: number | undefined; isForced: boolean }): Task<void> {
  const region = FileDevice.open(path, { readOnly: false });
  try {
    if (of.sizeBytes !== undefined && of.sizeBytes !== region.sizeBytes) throw new UsageError(`--size: '${path}' exists and has ${region.sizeBytes} bytes`);
    if (!of.isForced) yield* checkUnused(region, path);
    yield* createNamespace(region, wanted);
  } finally {
    yield* region.close();
  }
}

/** @throws FsError EEXIST something is there. */
function* checkUnused(region: BlockDevice, path: string): Task<void> {
  const { mode } = yield* readNamespace(region);
  const found = mode === "raw" ? yield* findSignature(region) : `${mode} namespace`;
  if (found !== undefined) throw new FsError("EEXIST", `it is not empty (${found}); --force makes a namespace of it nevertheless`, { path });
}

function makeFile(path: string, sizeBytes: number): void {
  const fd = openSync(path, "wx");
  try {
    ftruncateSync(fd, sizeBytes);
  } finally {
    closeSync(fd);
  }
}

function namespaceOptions(options: NvdimmOptions): NamespaceOptions {
  const mode = (options.mode ?? "fsdax") as NamespaceMode;
  if (!NAMESPACE_MODES.includes(mode)) throw new UsageError(`--mode: '${mode}' is not one of ${NAMESPACE_MODES.join(", ")}`);
  const refuse = (option: string, value: string | undefined, modes: readonly NamespaceMode[]): void => {
    if (value !== undefined && !modes.includes(mode)) throw new UsageError(`${option} is for ${modes.join(" and ")}, not for ${mode}`);
  };
  refuse("--align", options.align, ["fsdax", "devdax"]);
  refuse("--map", options.map, ["fsdax", "devdax"]);
  refuse("--sector-size", options.sectorSize, ["sector"]);
  const alignBytes = oneOf("--align", options.align, ALIGNMENTS);
  const sectorBytes = oneOf("--sector-size", options.sectorSize, BTT_SECTOR_SIZES);
  const map = options.map ?? "mem";
  if (map !== "mem" && map !== "dev") throw new UsageError(`--map: '${map}' is not one of mem, dev`);
  const uuid = options.uuid === undefined ? randomUuid(() => randomBytes(4).readUInt32LE()) : parseUuid(options.uuid);
  if (uuid === undefined) throw new UsageError(`--uuid: '${options.uuid}' is no UUID`);
  return { mode, uuid, alignBytes, sectorBytes, map };
}

function oneOf(option: string, text: string | undefined, sizes: readonly number[]): number | undefined {
  if (text === undefined) return undefined;
  const bytes = parseSize(text, option);
  if (!sizes.includes(bytes)) throw new UsageError(`${option}: '${text}' is not one of ${sizes.join(", ")}`);
  return bytes;
}

function* nfit(path: string, options: NvdimmOptions, out: Output): Task<void> {
  if (options.make === true) makeNfit(path, options);
  else if (options.address !== undefined || options.eadr === true || options.size !== undefined) throw new UsageError("--size, --address and --eadr go with --make");
  const table = parseNfit(readFileSync(path));
  const { header, structures } = table;
  const problems = danglingReferences(table);
  if (out.isJson) {
    out.record({ file: path, revision: header.revision, oemId: textOf(header.oem_id), oemTableId: textOf(header.oem_table_id), oemRevision: header.oem_revision, structures: structures.map(jsonOf), problems });
  } else {
    out.line(`${path}: NFIT revision ${header.revision}, of ${textOf(header.oem_id)} ${textOf(header.oem_table_id)}, ${structures.length} structures`);
    for (const structure of structures) out.line(`  ${structure.kind.padEnd(13)}${WORDS[structure.kind](structure as never)}`);
  }
  for (const problem of problems) out.error(`${path}: ${problem}`);
}

function makeNfit(path: string, { size, address, eadr, force }: NvdimmOptions): void {
  if (size === undefined) throw new UsageError("nfit --make needs --size, of the region");
  if (existsSync(path) && force !== true) throw new FsError("EEXIST", "it exists; --force overwrites it", { path });
  const physicalAddress = address === undefined ? undefined : parseSize(address, "--address");
  writeFileSync(path, encodeNfit(nfitOfRegion({ sizeBytes: parseSize(size, "--size"), physicalAddress, hasEadr: eadr === true })));
}

const hex = (value: number): string => `0x${value.toString(16)}`;
const textOf = (bytes: Uint8Array): string => String.fromCharCode(...bytes).replace(/[\0 ]+$/, "").replace(/[^\x20-\x7e]/g, "?");

type Kind = NfitStructure["kind"];
const WORDS: { readonly [K in Kind]: (structure: Extract<NfitStructure, { kind: K }>) => string } = {
  range: ({ fields }) => `${fields.range_index}: ${rangeTypeOf(fields.range_guid)}, ${humanSize(fields.range_length)} at ${hex(fields.address)}, proximity domain ${(fields.flags & 2) === 0 ? "not given" : fields.proximity_domain}`,
  map: ({ fields }) => `device ${hex(fields.device_handle)}: ${humanSize(fields.region_size)} from ${hex(fields.address)} in range ${fields.range_index}, control region ${fields.region_index}, ` +
    `${fields.interleave_ways} ${fields.interleave_ways === 1 ? "way" : "ways"}, ${NFIT_MEM_FLAGS.filter((_, bit) => (fields.flags & (1 << bit)) !== 0).join(" ") || "healthy"}`,
  interleave: ({ fields, lineOffsets }) => `${fields.interleave_index}: ${lineOffsets.length} lines of ${fields.line_size} bytes`,
  smbios: ({ data }) => `${data.length} bytes`,
  control: ({ fields, window }) => `${fields.region_index}: vendor ${hex(fields.vendor_id)}, device ${hex(fields.device_id)}, serial ${hex(fields.serial_number)}, format ${hex(fields.code)}` +
    (window === undefined ? "" : `, ${fields.windows} windows of ${window.window_size} bytes`),
  data: ({ fields }) => `control region ${fields.region_index}: ${fields.windows} windows of ${fields.size} bytes for ${humanSize(fields.capacity)}`,
  flush: ({ fields, addresses }) => `device ${hex(fields.device_handle)}: ${addresses.map(hex).join(" ")}`,
  capabilities: ({ fields }) => capabilityWords(fields.capabilities, fields.highest_capability),
  unknown: ({ type, data }) => `type ${type}, ${data.length} bytes`,
};

function capabilityWords(bits: number, highest: number): string {
  const names: readonly [number, string][] = [
    [NFIT_CAPABILITY_CACHE_FLUSH, "caches are flushed when the power fails (eADR)"], [NFIT_CAPABILITY_MEM_FLUSH, "memory controllers are flushed (ADR)"], [NFIT_CAPABILITY_MEM_MIRROR, "mirrored"],
  ];
  return names.filter(([bit], index) => index <= highest && (bits & bit) !== 0).map(([, name]) => name).join(", ") || "none";
}

/** Bytes as hexadecimal text. */
function jsonOf(structure: NfitStructure): Record<string, unknown> {
  const plain = (value: unknown): unknown => (value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value);
  const flat = (fields: object): Record<string, unknown> => Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, plain(value)]));
  const { fields, ...rest } = structure as { fields?: object };
  const extra = structure.kind === "range" ? { range_type: rangeTypeOf(structure.fields.range_guid) } : {};
  return { ...flat(rest), ...flat(fields ?? {}), ...extra };
}
