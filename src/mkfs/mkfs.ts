/**
 * Making a filesystem. First all of it is laid out in memory, so that what cannot be is refused before a byte is written. Then it is written, the superblock last, so
 * that the device does not pass for a filesystem while it is none.
 */
import type { BlockDevice } from "../block/device.js";
import { hasSuper, superblockOf } from "../ext4/groups.js";
import { Superblock } from "../ext4/superblock.js";
import { EXT4_BAD_INO } from "../format/inode.js";
import { ext4_super_block as S } from "../format/superblock.js";
import type { Task } from "../sched/task.js";
import { addLostAndFound, addRoot } from "./directories.js";
import { Draft } from "./draft.js";
import type { FeatureName, FeatureSet } from "./features.js";
import { computeGeometry, FIRST_INO, type Geometry } from "./geometry.js";
import { emptyInode } from "./inode.js";
import { addJournal, journalSize } from "./journal.js";
import { planJournalDevice } from "./journal-device.js";
import { addMmpBlock } from "./mmp.js";
import { MkfsOptionError, type MkfsOptions, type MkfsPlan, type MkfsResult } from "./options.js";
import { addOrphanFile } from "./orphan-file.js";
import { resolveParameters, type MkfsParameters } from "./parameters.js";
import { backupGroups, placeGroups } from "./placement.js";
import { addQuotaFiles } from "./quota.js";
import { addResizeInode } from "./resize-inode.js";
import { encodeSuperblock, setExternalJournal } from "./superblock.js";
import { loadTree } from "./tree-loader.js";
import type { TreeSource } from "./tree-source.js";
import { writeDraft } from "./write.js";

/**
 * Makes a filesystem on a device, or with the feature journal_dev makes the device a journal.
 *
 * @throws MkfsOptionError EINVAL a value or a combination of options cannot be; FsError ENOSPC the device is too small, EIO and EROFS the device's.
 */
export function* mkfs(device: BlockDevice, options: MkfsOptions): Task<MkfsResult> {
  const plan = planMkfs(options, device.sizeBytes);
  yield* plan.write(device);
  return plan.result;
}

/** Lays it out, filled with a tree if there is one, and touches nothing. @throws as mkfs does, but for what the device throws; FsError ENOSPC and whatever the tree throws. */
export function planMkfs(options: MkfsOptions, deviceBytes: number, tree?: TreeSource): MkfsPlan {
  const parameters = resolveParameters(options, deviceBytes);
  if (parameters.isJournalDevice && tree !== undefined) throw new MkfsOptionError("features", "a device that is a journal holds no files");
  if (parameters.isJournalDevice) return planJournalDevice(parameters);
  const draft = layOut(parameters, tree);
  return { result: resultOf(draft), write: (device, bringData) => writeDraft(draft, device, bringData) };
}

/** So many groups as there can be: their tables all stand in the first. */
const FLEX_LOG_ALL = 31;

function layOut(parameters: MkfsParameters, tree: TreeSource | undefined): Draft {
  const { options } = parameters;
  let geometry = computeGeometry(parameters, (tried, group) => hasSuper(superblockFor(parameters, tried), group));
  const journal = geometry.features.has("has_journal") && options.externalJournal === undefined ? journalSize(parameters, geometry.blocksCount) : undefined;
  if (journal === undefined && options.externalJournal === undefined && geometry.features.has("has_journal")) {
    parameters.notes.push("too small for a journal: made without one");
    geometry = { ...geometry, features: without(geometry.features, "has_journal", "orphan_file") };
  }
  const sb = superblockFor(parameters, geometry);
  const isPacked = options.packedMetaBlocks === true && parameters.flexLog > 0;
  const { groups, space } = placeGroups(sb, { flexLog: isPacked ? FLEX_LOG_ALL : parameters.flexLog, strideBlocks: options.strideBlocks ?? 0 });
  const draft = new Draft(parameters, geometry, sb, groups, space);
  const overheadBlocks = geometry.firstDataBlock + space.usedBlocks();

  addReservedInodes(draft);
  const lostAndFound = draft.nextIno();
  if (tree === undefined) {
    addRoot(draft, lostAndFound);
    addLostAndFound(draft, lostAndFound);
  }
  if (geometry.features.has("resize_inode")) addResizeInode(draft);
  if (journal !== undefined) addJournal(draft, journal);
  if (options.externalJournal !== undefined) useExternalJournal(draft);
  if (geometry.features.has("mmp")) addMmpBlock(draft);
  if (tree !== undefined) loadTree(draft, tree, lostAndFound);
  addQuotaFiles(draft); // they tell what all others take
  if (geometry.features.has("orphan_file")) addOrphanFile(draft);
  S.s_overhead_clusters.set(sb.view, 0, Math.ceil((overheadBlocks + draft.journalBlocks) / sb.clusterBlocks));
  return draft;
}

/** Inodes that the format keeps for itself: some get a file later, and all read as inodes. */
function addReservedInodes(draft: Draft): void {
  for (let ino = 1; ino < FIRST_INO; ino++) draft.addInode(ino, new Uint8Array(draft.sb.inodeBytes));
  draft.addInode(EXT4_BAD_INO, emptyInode(draft));
}

const without = (features: FeatureSet, ...names: FeatureName[]): FeatureSet => new Set([...features].filter((name) => !names.includes(name)));

function superblockFor(parameters: MkfsParameters, geometry: Geometry): Superblock {
  const { buffer } = encodeSuperblock(parameters, geometry);
  return new Superblock(new Uint8Array(buffer), { verifyChecksums: false, deviceBytes: Infinity });
}

function useExternalJournal({ sb, parameters: { options } }: Draft): void {
  const { uuid, blockBytes, deviceNumber } = options.externalJournal!;
  if (blockBytes !== sb.blockBytes) throw new MkfsOptionError("externalJournal", `the journal has blocks of ${blockBytes} bytes, the filesystem of ${sb.blockBytes}`);
  setExternalJournal(sb.view, uuid, deviceNumber);
}

function resultOf(draft: Draft): MkfsResult {
  const { sb, parameters } = draft;
  return {
    features: sb.featureNames(), blockBytes: sb.blockBytes, clusterBytes: sb.clusterBytes, inodeBytes: sb.inodeBytes, blocksCount: sb.blocksCount,
    freeBlocksCount: draft.freeBlocks(), reservedBlocksCount: sb.reservedBlocks(), inodesCount: sb.inodesCount,
    groupsCount: sb.groupsCount, blocksPerGroup: sb.blocksPerGroup, inodesPerGroup: sb.inodesPerGroup, journalBlocks: draft.journalBlocks,
    uuid: parameters.options.uuid, backupSuperblocks: backupGroups(sb).map((group) => superblockOf(sb, group)), notes: parameters.notes,
  };
}
