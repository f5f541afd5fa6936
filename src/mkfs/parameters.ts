/**
 * From options to numbers: the profile's defaults, what overrides them, and the limits that each value has. What comes out is consistent as far as it can be without
 * laying the filesystem out.
 */
import { EXT4_GOOD_OLD_INODE_BYTES } from "../format/inode.js";
import { crc32c } from "../lib/crc32c.js";
import { TWO_32 } from "../lib/numbers.js";
import { encode } from "../lib/utf8.js";
import { checkFeatures, editFeatures, type FeatureSet } from "./features.js";
import { MkfsOptionError, QUOTA_TYPES, type Amount, type MkfsOptions, type QuotaType } from "./options.js";
import { PAGE_BYTES, profileFor } from "./profile.js";

const BLOCK_BYTES = { min: 1024, max: 65536 } as const;
const CLUSTER_BYTES = { min: 2048, max: 2 ** 28 } as const;
const CLUSTER_BLOCKS_DEFAULT = 16;
const RATIO_BYTES = { min: 1024, max: 2 ** 26 } as const;
const GROUP_BLOCKS_MIN = 256;
const FLEX_GROUPS_DEFAULT = 16;
const RESERVED_PERCENT = { default: 5, max: 50 } as const;
const MMP_INTERVAL_SEC = { default: 5, max: 300 } as const;
/** The year 2446: what an inode's times hold. */
const TIME_SEC_MAX = 2 ** 33 + 2 ** 32 + 2 ** 31 - 1;
const NOT_FOR_HURD = ["filetype", "huge_file", "metadata_csum", "ea_inode", "casefold"] as const;

export interface MkfsParameters {
  readonly options: MkfsOptions;
  readonly features: FeatureSet;
  readonly isJournalDevice: boolean;
  readonly revision: number;
  readonly blockBytes: number;
  /** The block size, without bigalloc. */
  readonly clusterBytes: number;
  readonly inodeBytes: number;
  /** As asked for; the layout may leave out an end that is too short for a group. */
  readonly blocksCount: number;
  readonly inodesWanted: number;
  readonly reservedBlocks: number;
  /** Groups that share a place for their tables, as a power of two; 0: each has its own. */
  readonly flexLog: number;
  readonly reservedDescBlocks: number | undefined;
  readonly backupSuperblocks: number;
  readonly quotaTypes: readonly QuotaType[];
  readonly mmpIntervalSec: number;
  /** Start value of checksums that metadata_csum_seed stores; 0 without it. */
  readonly checksumSeed: number;
  readonly label: Uint8Array;
  readonly lastMounted: Uint8Array;
  readonly notes: string[];
}

/** An amount in whole blocks. */
export function amountInBlocks(amount: Amount, blockBytes: number): number {
  return "blocks" in amount ? amount.blocks : Math.floor(amount.bytes / blockBytes);
}

/** @throws MkfsOptionError. */
export function resolveParameters(options: MkfsOptions, deviceBytes: number): MkfsParameters {
  const sizeBytes = sizeOf(options, deviceBytes);
  checkNumbers(options);
  const notes: string[] = [];
  const profile = profileFor(options, sizeBytes);
  const blockBytes = blockSize(options, profile.blockBytes);
  const blocksCount = Math.floor(sizeBytes / blockBytes);
  const features = chooseFeatures(options, profile.features, blockBytes, blocksCount);
  const isJournalDevice = features.has("journal_dev");
  const clusterBytes = clusterSize(options, features, blockBytes);
  const inodeBytes = inodeSize(options, features, profile.inodeBytes, blockBytes);
  const revision = options.revision ?? 1;
  if (inodeBytes === EXT4_GOOD_OLD_INODE_BYTES && !isJournalDevice && options.creatorOs !== "hurd") notes.push("inodes of 128 bytes cannot hold dates after 2038");
  const { reservedPercent = RESERVED_PERCENT.default } = options;
  if (!(reservedPercent >= 0 && reservedPercent <= RESERVED_PERCENT.max)) throw new MkfsOptionError("reservedPercent", `${reservedPercent} is not in 0 .. ${RESERVED_PERCENT.max}`);
  checkGroupBlocks(options, blockBytes);
  const ratioBytes = options.inodeRatioBytes === undefined
    ? Math.max(profile.inodeRatioBytes, clusterBytes)
    : checkedRange("inodeRatioBytes", options.inodeRatioBytes, RATIO_BYTES.min, RATIO_BYTES.max);
  return {
    options, features, isJournalDevice, revision, blockBytes, clusterBytes, inodeBytes, blocksCount, notes,
    inodesWanted: isJournalDevice ? 0 : wantedInodes(options, features, { blockBytes, blocksCount, inodeBytes, ratioBytes }),
    reservedBlocks: isJournalDevice ? 0 : Math.floor((reservedPercent * blocksCount) / 100),
    flexLog: flexLog(options, features),
    reservedDescBlocks: reservedDescBlocks(options, features, blockBytes, blocksCount),
    backupSuperblocks: checkedRange("backupSuperblocks", options.backupSuperblocks ?? 2, 0, 2),
    quotaTypes: QUOTA_TYPES.filter((type) => features.has("quota") && (type === "prjquota" ? features.has("project") : (options.quotaTypes ?? QUOTA_TYPES).includes(type))),
    mmpIntervalSec: checkedRange("mmpIntervalSec", options.mmpIntervalSec ?? 0, 0, MMP_INTERVAL_SEC.max) || (features.has("mmp") ? MMP_INTERVAL_SEC.default : 0),
    checksumSeed: features.has("metadata_csum_seed") ? crc32c(TWO_32 - 1, options.uuid) : 0,
    label: checkedText("label", options.label, 16),
    lastMounted: checkedText("lastMounted", options.lastMounted, 64),
  };
}

function sizeOf(options: MkfsOptions, deviceBytes: number): number {
  const sizeBytes = options.sizeBytes ?? Math.floor(deviceBytes / PAGE_BYTES) * PAGE_BYTES;
  if (!(sizeBytes > 0)) throw new MkfsOptionError("sizeBytes", "the filesystem has no size: give one, as the device is empty");
  if (sizeBytes > deviceBytes) throw new MkfsOptionError("sizeBytes", `${sizeBytes} bytes are more than the device has, which is ${deviceBytes}`);
  return sizeBytes;
}

/** Those that go into a field as they are. */
function checkNumbers({ timeSec, strideBlocks, stripeWidthBlocks, rootOwner }: MkfsOptions): void {
  checkedRange("timeSec", timeSec, 0, TIME_SEC_MAX);
  checkedRange("strideBlocks", strideBlocks ?? 0, 0, 0xffff);
  checkedRange("stripeWidthBlocks", stripeWidthBlocks ?? 0, 0, TWO_32 - 1);
  for (const id of [rootOwner?.uid ?? 0, rootOwner?.gid ?? 0]) checkedRange("rootOwner", id, 0, TWO_32 - 1);
}

function blockSize(options: MkfsOptions, profileBytes: number): number {
  const { blockBytes, blockBytesMin } = options;
  if (blockBytes !== undefined) return checkedPower("blockBytes", blockBytes, BLOCK_BYTES.min, BLOCK_BYTES.max);
  return blockBytesMin === undefined ? profileBytes : Math.max(profileBytes, checkedPower("blockBytesMin", blockBytesMin, BLOCK_BYTES.min, BLOCK_BYTES.max));
}

function chooseFeatures(options: MkfsOptions, fromProfile: FeatureSet, blockBytes: number, blocksCount: number): FeatureSet {
  const features = new Set(fromProfile);
  editFeatures(features, options.features ?? "");
  if (features.has("journal_dev")) return new Set((["journal_dev", "metadata_csum"] as const).filter((name) => features.has(name)));
  if (checkedRange("revision", options.revision ?? 1, 0, 1) === 0) features.clear();
  if (options.creatorOs === "hurd") for (const name of NOT_FOR_HURD) features.delete(name);
  if (options.hasJournal === true || options.journalBytes !== undefined || options.externalJournal !== undefined) features.add("has_journal");
  if (options.encoding !== undefined) features.add("casefold");
  if (features.has("quota") && options.quotaTypes?.includes("prjquota") === true) features.add("project");
  if (features.has("metadata_csum")) features.delete("uninit_bg");
  if (reservedDescBlocks(options, features, blockBytes, blocksCount) !== undefined) features.add("resize_inode");
  if (blocksCount >= TWO_32) {
    if (!features.has("64bit")) throw new MkfsOptionError("features", `${blocksCount} blocks need the feature 64bit, or larger blocks`);
    features.delete("resize_inode"); // it lists blocks by numbers of 32 bits
  }
  if (options.revision === 0 && features.size > 0) throw new MkfsOptionError("revision", `revision 0 has no features, such as ${[...features].join(", ")}`);
  if (options.strictEncoding !== undefined && !features.has("casefold")) throw new MkfsOptionError("strictEncoding", "flags of an encoding need the feature casefold");
  if (options.encoding !== undefined && !["utf8", "utf8-12.1"].includes(options.encoding)) throw new MkfsOptionError("encoding", `'${options.encoding}' is not utf8 or utf8-12.1`);
  checkFeatures(features);
  return features;
}

function clusterSize(options: MkfsOptions, features: FeatureSet, blockBytes: number): number {
  if (features.has("bigalloc")) return checkedPower("clusterBytes", options.clusterBytes ?? blockBytes * CLUSTER_BLOCKS_DEFAULT, Math.max(blockBytes, CLUSTER_BYTES.min), CLUSTER_BYTES.max);
  if (options.clusterBytes !== undefined) throw new MkfsOptionError("clusterBytes", "clusters need the feature bigalloc");
  return blockBytes;
}

function inodeSize(options: MkfsOptions, features: FeatureSet, profileBytes: number, blockBytes: number): number {
  if (options.revision === 0) {
    if ((options.inodeBytes ?? EXT4_GOOD_OLD_INODE_BYTES) !== EXT4_GOOD_OLD_INODE_BYTES) throw new MkfsOptionError("inodeBytes", "inodes of revision 0 have 128 bytes");
    return EXT4_GOOD_OLD_INODE_BYTES;
  }
  const inodeBytes = checkedPower("inodeBytes", options.inodeBytes ?? profileBytes, EXT4_GOOD_OLD_INODE_BYTES, blockBytes);
  const greedy = inodeBytes === EXT4_GOOD_OLD_INODE_BYTES ? (["inline_data", "project"] as const).find((name) => features.has(name)) : undefined;
  if (greedy !== undefined) throw new MkfsOptionError("inodeBytes", `the feature ${greedy} needs inodes of more than ${EXT4_GOOD_OLD_INODE_BYTES} bytes`);
  return inodeBytes;
}

function checkGroupBlocks({ groupBlocks }: MkfsOptions, blockBytes: number): void {
  if (groupBlocks === undefined) return;
  checkedRange("groupBlocks", groupBlocks, GROUP_BLOCKS_MIN, blockBytes * 8);
  if (groupBlocks % 8 !== 0) throw new MkfsOptionError("groupBlocks", `${groupBlocks} is not a multiple of 8`);
}

function wantedInodes(options: MkfsOptions, features: FeatureSet, of: { blockBytes: number; blocksCount: number; inodeBytes: number; ratioBytes: number }): number {
  const { blockBytes, blocksCount, inodeBytes, ratioBytes } = of;
  const byRatio = Math.floor((blocksCount * blockBytes) / ratioBytes);
  const option = options.inodesCount === undefined ? "inodeRatioBytes" : "inodesCount";
  let wanted = options.inodesCount === undefined ? byRatio : checkedRange("inodesCount", options.inodesCount, 1, TWO_32 - 1);
  if (wanted >= TWO_32 && features.has("64bit")) wanted = TWO_32 - 1;
  if (wanted >= TWO_32) throw new MkfsOptionError(option, `${wanted} inodes are more than there can be; take more bytes per inode`);
  if (wanted * inodeBytes >= blocksCount * blockBytes) throw new MkfsOptionError(option, `${wanted} inodes of ${inodeBytes} bytes do not fit into ${blocksCount} blocks`);
  return wanted;
}

function flexLog(options: MkfsOptions, features: FeatureSet): number {
  const { flexGroups } = options;
  if (!features.has("flex_bg")) {
    if (flexGroups !== undefined) throw new MkfsOptionError("flexGroups", "packing groups needs the feature flex_bg");
    return 0;
  }
  return Math.log2(checkedPower("flexGroups", flexGroups ?? FLEX_GROUPS_DEFAULT, 1, 2 ** 31));
}

/** How many blocks the descriptor table needs at its largest, beyond those that it has now; undefined: as many as there are by default. */
function reservedDescBlocks({ resizeMax, groupBlocks }: MkfsOptions, features: FeatureSet, blockBytes: number, blocksCount: number): number | undefined {
  if (resizeMax === undefined) return undefined;
  const blocksMax = amountInBlocks(resizeMax, blockBytes);
  if (blocksMax <= blocksCount) throw new MkfsOptionError("resizeMax", `${blocksMax} blocks are not more than the filesystem has, which is ${blocksCount}`);
  const descsPerBlock = blockBytes / (features.has("64bit") ? 64 : 32);
  const descBlocksFor = (blocks: number): number => Math.ceil(Math.ceil(blocks / (groupBlocks ?? blockBytes * 8)) / descsPerBlock);
  return Math.min(descBlocksFor(blocksMax) - descBlocksFor(blocksCount), blockBytes / 4) || undefined;
}

function checkedText(option: "label" | "lastMounted", text: string | undefined, bytesMax: number): Uint8Array {
  const bytes = encode(text ?? "");
  if (bytes.length > bytesMax) throw new MkfsOptionError(option, `'${text}' has ${bytes.length} bytes, and ${bytesMax} is the limit`);
  return bytes;
}

function checkedRange(option: keyof MkfsOptions, value: number, min: number, max: number): number {
  if (!(value >= min && value <= max && Number.isInteger(value))) throw new MkfsOptionError(option, `${value} is not a whole number in ${min} .. ${max}`);
  return value;
}

function checkedPower(option: keyof MkfsOptions, value: number, min: number, max: number): number {
  if (!(value >= min && value <= max && Number.isInteger(Math.log2(value)))) throw new MkfsOptionError(option, `${value} is not a power of two in ${min} .. ${max}`);
  return value;
}
