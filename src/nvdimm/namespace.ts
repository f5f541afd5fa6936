/**
 * Namespaces without a label: what a region of persistent memory is used as. raw: as it is. fsdax and devdax: an info block at 4 KiB says where the data begins, aligned for huge
 * pages, and whether the kernel keeps its array of struct page in memory or before the data. sector: a block translation table.
 *
 * Everything works on any block device that stands for the region (an image in a file); only upon a PmemDevice can what comes out be mapped.
 * Source: drivers/nvdimm/pfn_devs.c (7.1: nd_pfn_init, nd_pfn_validate), claim.c; dax-and-faults.md 12.2.
 */
import { readBytes, SECTOR_BYTES, writeBytes, type BlockDevice } from "../block/device.js";
import { PartitionDevice } from "../block/partition.js";
import { CorruptionError } from "../format/corruption.js";
import { viewOf } from "../format/layout.js";
import {
  BTT_SIGNATURE, DAX_SIGNATURE, hasGoodChecksum, INFO_BLOCK_AT, INFO_BLOCK_BYTES, nd_pfn_sb, PFN_MODE_PMEM, PFN_MODE_RAM, PFN_SIGNATURE, sealInfoBlock, signatureBytes, signatureOf,
} from "../format/nvdimm.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { createBtt, openBtt } from "./btt.js";
import { readArenas, type BttLayout } from "./btt-info.js";
import { byteStoreOn } from "./byte-store.js";
import { DeviceDax } from "./device-dax.js";
import { PAGE_BYTES, PmemDevice } from "./pmem.js";

export type NamespaceMode = "raw" | "fsdax" | "sector" | "devdax";
export const NAMESPACE_MODES: readonly NamespaceMode[] = ["raw", "fsdax", "sector", "devdax"];
export const ALIGNMENTS: readonly number[] = [4096, 2 ** 21, 2 ** 30];

/** Two pages before the data: a free one, and the info block. */
const RESERVED_BYTES = 8192;
/** The kernel maps memory in sections of this size, whatever alignment was asked for. */
const SECTION_BYTES = 2 ** 21;
/** A struct page and room for it to grow. */
const STRUCT_PAGE_BYTES = 64;

/** What an info block of fsdax or devdax says. Places are bytes of the region. */
export interface PfnInfo {
  readonly uuid: Uint8Array;
  readonly parentUuid: Uint8Array;
  readonly versionMinor: number;
  readonly dataAt: number;
  readonly dataBytes: number;
  readonly alignBytes: number;
  /** Where struct pages are: in memory, or on the device, before the data. */
  readonly map: "mem" | "dev";
}

export type NamespaceInfo =
  | { readonly mode: "raw"; readonly sizeBytes: number }
  | { readonly mode: "fsdax" | "devdax"; readonly sizeBytes: number; readonly pfn: PfnInfo }
  | { readonly mode: "sector"; readonly sizeBytes: number; readonly btt: BttLayout };

export interface NamespaceOptions {
  readonly mode: NamespaceMode;
  readonly uuid: Uint8Array;
  /** fsdax, devdax: 4 KiB, 2 MiB or 1 GiB. Default 2 MiB. */
  readonly alignBytes?: number | undefined;
  /** fsdax, devdax. Default "mem". */
  readonly map?: "mem" | "dev" | undefined;
  /** sector. Default 4096. */
  readonly sectorBytes?: number | undefined;
}

/** What a namespace is used through. */
export interface OpenNamespace {
  readonly info: NamespaceInfo;
  /** The device inside: what a filesystem stands on, a PmemDevice if the region is one (but for sector). Undefined: devdax on something that cannot be mapped. */
  readonly device: BlockDevice | undefined;
  /** devdax upon persistent memory. */
  readonly dax: DeviceDax | undefined;
}

/** What the region is used as; no info block: raw. @throws CorruptionError namespace-info, namespace-checksum, btt-info, btt-info-checksum; FsError EIO. */
export function* readNamespace(region: BlockDevice): Task<NamespaceInfo> {
  const { sizeBytes } = region;
  // The kernel asks in this order, too.
  const btt = yield* readArenas(byteStoreOn(region));
  if (btt !== undefined) return { mode: "sector", sizeBytes, btt };
  if (sizeBytes < RESERVED_BYTES) return { mode: "raw", sizeBytes };
  const block = new Uint8Array(INFO_BLOCK_BYTES);
  yield* readBytes(region, INFO_BLOCK_AT, block);
  const signature = signatureOf(block);
  if (signature !== PFN_SIGNATURE && signature !== DAX_SIGNATURE) return { mode: "raw", sizeBytes };
  return { mode: signature === PFN_SIGNATURE ? "fsdax" : "devdax", sizeBytes, pfn: decodePfn(block, region) };
}

/** Opens what the region is used as; a sector namespace is repaired after a power cut. Closing the device inside closes the region. @throws as `readNamespace`; CorruptionError btt-log. */
export function* openNamespace(region: BlockDevice): Task<OpenNamespace> {
  const info = yield* readNamespace(region);
  if (info.mode === "raw") return { info, device: region, dax: undefined };
  if (info.mode === "sector") return { info, device: yield* openBtt(byteStoreOn(region)), dax: undefined };
  const { dataAt, dataBytes, alignBytes } = info.pfn;
  const name = `${region.name} (${info.mode})`;
  if (info.mode === "devdax") return { info, device: undefined, dax: region instanceof PmemDevice ? new DeviceDax(region.range(dataAt, dataBytes, { name }), alignBytes) : undefined };
  return { info, device: windowOf(region, dataAt, dataBytes, name), dax: undefined };
}

/**
 * What a filesystem on `device` stands on: the device inside, if it is the region of an fsdax or sector namespace, else the device itself.
 * @throws as `openNamespace`; FsError EINVAL it is a devdax namespace, which holds no filesystem.
 */
export function* deviceInside(device: BlockDevice): Task<BlockDevice> {
  if (device.sizeBytes < RESERVED_BYTES) return device;
  const head = new Uint8Array(RESERVED_BYTES);
  yield* readBytes(device, 0, head);
  const signatures = [signatureOf(head), signatureOf(head.subarray(INFO_BLOCK_AT))];
  // Nothing else is looked at twice: most devices are no region.
  if (!signatures.some((signature) => [PFN_SIGNATURE, DAX_SIGNATURE, BTT_SIGNATURE].includes(signature))) return device;
  const { info, device: inside } = yield* openNamespace(device);
  if (inside === undefined || info.mode === "devdax") throw new FsError("EINVAL", `${device.name} is a devdax namespace, which holds no filesystem`);
  return inside;
}

function windowOf(region: BlockDevice, startBytes: number, sizeBytes: number, name: string): BlockDevice {
  if (region instanceof PmemDevice) return region.range(startBytes, sizeBytes, { name });
  return new PartitionDevice(region, { number: 1, startBytes, sizeBytes, type: "fsdax", name });
}

/**
 * Makes a namespace of the whole region. What was there is no longer found; its data is not erased.
 * @throws FsError EINVAL, ENXIO the region is too small, EOPNOTSUPP it begins off 2 MiB, EROFS, EIO.
 */
export function* createNamespace(region: BlockDevice, options: NamespaceOptions): Task<void> {
  const { mode, uuid, alignBytes = SECTION_BYTES, map = "mem", sectorBytes = PAGE_BYTES } = options;
  const pfn = mode === "fsdax" || mode === "devdax" ? planPfn(region, { uuid, alignBytes, map }) : undefined;
  yield* eraseInfoBlocks(region);
  if (mode === "sector") return yield* createBtt(byteStoreOn(region), { sectorBytes, uuid });
  if (pfn !== undefined) yield* writeBytes(region, INFO_BLOCK_AT, encodePfn(pfn, region, mode === "fsdax" ? PFN_SIGNATURE : DAX_SIGNATURE), true);
}

/** Makes the region raw. Only what is an info block goes: it may be data. */
function* eraseInfoBlocks(region: BlockDevice): Task<void> {
  const block = new Uint8Array(INFO_BLOCK_BYTES);
  for (const at of [INFO_BLOCK_AT, 0]) {
    if (at + INFO_BLOCK_BYTES > region.sizeBytes) continue;
    yield* readBytes(region, at, block);
    if ([PFN_SIGNATURE, DAX_SIGNATURE, BTT_SIGNATURE].includes(signatureOf(block))) yield* writeBytes(region, at, new Uint8Array(INFO_BLOCK_BYTES), true);
  }
}

const physicalAddressOf = (region: BlockDevice): number => (region instanceof PmemDevice ? region.physicalAddress : 0);

/** The kernel's nd_pfn_init, to the byte. @throws FsError EINVAL, ENXIO, EOPNOTSUPP. */
export function planPfn(region: BlockDevice, of: { uuid: Uint8Array; alignBytes: number; map: "mem" | "dev" }): PfnInfo {
  const { sizeBytes } = region;
  const startAddress = physicalAddressOf(region);
  if (!ALIGNMENTS.includes(of.alignBytes)) throw new FsError("EINVAL", `an alignment of ${of.alignBytes} bytes: it is 4 KiB, 2 MiB or 1 GiB`);
  if (startAddress % SECTION_BYTES !== 0) throw new FsError("EOPNOTSUPP", `${region.name} begins at 0x${startAddress.toString(16)}, which is no multiple of 2 MiB`);
  const unit = Math.max(of.alignBytes, SECTION_BYTES);
  const end = Math.floor((startAddress + sizeBytes) / unit) * unit - startAddress;
  const mapBytes = of.map === "dev" ? STRUCT_PAGE_BYTES * Math.floor((sizeBytes - RESERVED_BYTES) / PAGE_BYTES) : 0;
  const dataAt = Math.ceil((startAddress + RESERVED_BYTES + mapBytes) / unit) * unit - startAddress;
  if (dataAt >= end) throw new FsError("ENXIO", `${region.name} has ${sizeBytes} bytes, too few for data aligned to ${unit}`);
  return { uuid: of.uuid, parentUuid: new Uint8Array(16), versionMinor: 4, dataAt, dataBytes: end - dataAt, alignBytes: of.alignBytes, map: of.map };
}

function encodePfn(pfn: PfnInfo, region: BlockDevice, signature: string): Uint8Array {
  const block = new Uint8Array(INFO_BLOCK_BYTES);
  const view = viewOf(block);
  nd_pfn_sb.signature.set(view, 0, signatureBytes(signature));
  nd_pfn_sb.uuid.set(view, 0, pfn.uuid);
  nd_pfn_sb.parent_uuid.set(view, 0, pfn.parentUuid);
  nd_pfn_sb.version_major.set(view, 0, 1);
  nd_pfn_sb.version_minor.set(view, 0, pfn.versionMinor);
  nd_pfn_sb.dataoff.set(view, 0, pfn.dataAt);
  nd_pfn_sb.npfns.set(view, 0, pfn.dataBytes / PAGE_BYTES);
  nd_pfn_sb.mode.set(view, 0, pfn.map === "dev" ? PFN_MODE_PMEM : PFN_MODE_RAM);
  nd_pfn_sb.end_trunc.set(view, 0, region.sizeBytes - pfn.dataAt - pfn.dataBytes);
  nd_pfn_sb.align.set(view, 0, pfn.alignBytes);
  nd_pfn_sb.page_size.set(view, 0, PAGE_BYTES);
  nd_pfn_sb.page_struct_size.set(view, 0, STRUCT_PAGE_BYTES);
  sealInfoBlock(nd_pfn_sb, block);
  return block;
}

/** @throws CorruptionError namespace-checksum, namespace-info; FsError EOPNOTSUPP it was made for pages of another size. */
function decodePfn(block: Uint8Array, region: BlockDevice): PfnInfo {
  const view = viewOf(block);
  if (!hasGoodChecksum(nd_pfn_sb, block)) throw new CorruptionError("namespace-checksum", { offset: INFO_BLOCK_AT });
  const bad = (field: string, found: number, expected: number | string): CorruptionError => new CorruptionError("namespace-info", { offset: INFO_BLOCK_AT, field, found, expected });
  const versionMajor = nd_pfn_sb.version_major.get(view, 0);
  const versionMinor = nd_pfn_sb.version_minor.get(view, 0);
  if (versionMajor !== 1) throw bad("version_major", versionMajor, 1);
  const mode = nd_pfn_sb.mode.get(view, 0);
  if (mode !== PFN_MODE_RAM && mode !== PFN_MODE_PMEM) throw bad("mode", mode, "1 or 2");
  // Fields that a version does not know hold anything.
  const startPad = versionMinor >= 1 ? nd_pfn_sb.start_pad.get(view, 0) : 0;
  const endTrunc = versionMinor >= 1 ? nd_pfn_sb.end_trunc.get(view, 0) : 0;
  const dataoff = nd_pfn_sb.dataoff.get(view, 0);
  const alignBytes = (versionMinor >= 2 ? nd_pfn_sb.align.get(view, 0) : 0) || lowestBit(dataoff);
  const pageBytes = versionMinor >= 4 ? nd_pfn_sb.page_size.get(view, 0) : PAGE_BYTES;
  if (mode === PFN_MODE_PMEM && pageBytes > PAGE_BYTES) throw new FsError("EOPNOTSUPP", `${region.name} was made for pages of ${pageBytes} bytes`);
  const dataAt = startPad + dataoff;
  const dataBytes = region.sizeBytes - endTrunc - dataAt;
  if (!(dataoff >= RESERVED_BYTES) || dataoff % PAGE_BYTES !== 0) throw bad("dataoff", dataoff, `a multiple of ${PAGE_BYTES} from ${RESERVED_BYTES}`);
  if (!(dataBytes >= PAGE_BYTES) || dataBytes % SECTOR_BYTES !== 0) throw bad("end_trunc", endTrunc, `room for data between ${dataAt} and ${region.sizeBytes}`);
  if ((physicalAddressOf(region) + dataAt) % alignBytes !== 0) throw bad("align", alignBytes, `what ${dataAt} is aligned to`);
  const pages = nd_pfn_sb.npfns.get(view, 0);
  if (mode === PFN_MODE_PMEM && pages * STRUCT_PAGE_BYTES > dataoff - RESERVED_BYTES) throw bad("npfns", pages, `at most ${(dataoff - RESERVED_BYTES) / STRUCT_PAGE_BYTES}`);
  return {
    uuid: nd_pfn_sb.uuid.get(view, 0).slice(), parentUuid: nd_pfn_sb.parent_uuid.get(view, 0).slice(), versionMinor, dataAt, dataBytes, alignBytes, map: mode === PFN_MODE_PMEM ? "dev" : "mem",
  };
}

/** The greatest power of two that divides a number below 2^53. */
function lowestBit(value: number): number {
  let bit = 1;
  while (bit <= value && value % (bit * 2) === 0) bit *= 2;
  return bit;
}
