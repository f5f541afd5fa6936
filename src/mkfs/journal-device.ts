/** Devices that are a journal for a filesystem elsewhere: making one, and giving one to a filesystem. */
import { flush, readBytes, writeBytes, type BlockDevice } from "../block/device.js";
import { SUPERBLOCK_AT, SUPERBLOCK_BYTES } from "../ext4/superblock.js";
import { CorruptionError } from "../format/corruption.js";
import { featureNames, INCOMPAT } from "../format/features.js";
import { JBD2_MAGIC_NUMBER, JBD2_MIN_JOURNAL_BLOCKS, journal_superblock_s as JS, JOURNAL_SUPERBLOCK_BYTES } from "../format/jbd2.js";
import { EXT4_SUPER_MAGIC, ext4_super_block as S } from "../format/superblock.js";
import { FsError } from "../lib/errno.js";
import { viewOf } from "../lib/view.js";
import type { Task } from "../sched/task.js";
import { featureWords } from "./features.js";
import { journalSuperblock } from "./journal.js";
import { tooSmall, type ExternalJournal, type MkfsPlan } from "./options.js";
import type { MkfsParameters } from "./parameters.js";
import { encodeJournalDeviceSuperblock, superblockCopy } from "./superblock.js";

const UUID_BYTES = 16;
const USERS_MAX = JS.s_users.size / UUID_BYTES;

/** The block of the journal's own superblock, behind the one that says what the device is. */
const journalSuperblockAt = (blockBytes: number): number => Math.floor(SUPERBLOCK_AT / blockBytes) + 1;

/** @throws FsError ENOSPC. */
export function planJournalDevice(parameters: MkfsParameters): MkfsPlan {
  const { blockBytes, blocksCount, options: { uuid }, features, inodeBytes, notes } = parameters;
  const at = journalSuperblockAt(blockBytes);
  if (blocksCount < JBD2_MIN_JOURNAL_BLOCKS) throw tooSmall(`a journal, which has ${JBD2_MIN_JOURNAL_BLOCKS} blocks at least`);
  const identity = superblockCopy(encodeJournalDeviceSuperblock(parameters), 0, features.has("metadata_csum"));
  const head = new Uint8Array((at + 1) * blockBytes - SUPERBLOCK_AT);
  head.set(identity);
  head.set(journalSuperblock({ blockBytes, total: blocksCount, fastCommitBlocks: 0, first: at + 1, uuid, users: 0 }), at * blockBytes - SUPERBLOCK_AT);
  const { compat, incompat, roCompat } = featureWords(features);
  return {
    result: {
      features: [...featureNames("compat", compat), ...featureNames("incompat", incompat), ...featureNames("ro_compat", roCompat)], uuid, notes,
      blockBytes, clusterBytes: blockBytes, inodeBytes, blocksCount, freeBlocksCount: 0, reservedBlocksCount: 0, inodesCount: 0, groupsCount: 0,
      blocksPerGroup: blockBytes * 8, inodesPerGroup: 0, journalBlocks: blocksCount, backupSuperblocks: [],
    },
    *write(device: BlockDevice): Task<void> {
      yield* writeBytes(device, SUPERBLOCK_AT, head);
      yield* flush(device);
    },
  };
}

/** @throws FsError EINVAL the device is no journal. */
export function* readJournalDevice(device: BlockDevice, deviceNumber: number): Task<ExternalJournal> {
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  if (device.sizeBytes >= SUPERBLOCK_AT + SUPERBLOCK_BYTES) yield* readBytes(device, SUPERBLOCK_AT, bytes);
  const view = viewOf(bytes);
  if (S.s_magic.get(view, 0) !== EXT4_SUPER_MAGIC || (S.s_feature_incompat.get(view, 0) & INCOMPAT.journal_dev) === 0) {
    throw new FsError("EINVAL", `${device.name} is no journal: make it one with the feature journal_dev`);
  }
  return { uuid: S.s_uuid.get(view, 0).slice(), blockBytes: 1024 * 2 ** S.s_log_block_size.get(view, 0), deviceNumber };
}

/** Notes in the journal whose it is. @throws CorruptionError; FsError ENOSPC too many filesystems share it. */
export function* addJournalUser(device: BlockDevice, { blockBytes }: ExternalJournal, uuid: Uint8Array): Task<void> {
  const bytes = new Uint8Array(JOURNAL_SUPERBLOCK_BYTES);
  const offsetBytes = journalSuperblockAt(blockBytes) * blockBytes;
  yield* readBytes(device, offsetBytes, bytes);
  const view = viewOf(bytes);
  if (JS.h_magic.get(view, 0) !== JBD2_MAGIC_NUMBER) throw new CorruptionError("journal-superblock", { offset: offsetBytes, field: "h_magic", found: JS.h_magic.get(view, 0), expected: JBD2_MAGIC_NUMBER });
  const users = JS.s_nr_users.get(view, 0);
  if (users >= USERS_MAX) throw new FsError("ENOSPC", `${device.name} is already the journal of ${users} filesystems`);
  JS.s_users.get(view, 0).set(uuid, users * UUID_BYTES);
  JS.s_nr_users.set(view, 0, users + 1);
  yield* writeBytes(device, offsetBytes, bytes);
}
