/**
 * The journal of a new filesystem: how long it is, where it stands, and its own superblock. Its feature words are all 0: whoever mounts the filesystem sets what it wants.
 */
import { groupOfBlock } from "../ext4/groups.js";
import { EXT4_JOURNAL_INO } from "../format/inode.js";
import { JBD2_MAGIC_NUMBER, JBD2_MIN_JOURNAL_BLOCKS, JBD2_SUPERBLOCK_V2, journal_superblock_s as JS } from "../format/jbd2.js";
import { ext4_super_block as S } from "../format/superblock.js";
import type { Pblk } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import { S_IFREG } from "../vfs/inode.js";
import type { Draft } from "./draft.js";
import { allocateFile, blockOf } from "./file-map.js";
import { newInode } from "./inode.js";
import { MkfsOptionError } from "./options.js";
import { amountInBlocks, type MkfsParameters } from "./parameters.js";
import { endOf } from "./placement.js";
import { setInternalJournal } from "./superblock.js";

const JOURNAL_BLOCKS_MAX = 10_240_000;
/** Of the length that a journal has by default, for fast commits, where nothing else was asked. */
const FAST_COMMIT_PART = 64;
/** A filesystem of fewer blocks than the first number has a journal of so many blocks. */
const JOURNAL_BLOCKS: readonly (readonly [number, number])[] = [
  [2048, 0], [2 ** 15, 1024], [2 ** 18, 4096], [2 ** 19, 8192], [2 ** 22, 16384], [2 ** 23, 32768], [2 ** 24, 65536], [2 ** 25, 131072], [Infinity, 262144],
];

export interface JournalSize {
  readonly blocks: number;
  /** At the journal's end, beyond `blocks`. */
  readonly fastCommitBlocks: number;
}

/** @returns undefined: the filesystem is too small for a journal. @throws MkfsOptionError. */
export function journalSize({ options, features, blockBytes }: MkfsParameters, blocksCount: number): JournalSize | undefined {
  const { journalBytes, fastCommitBytes } = options;
  const [, blocksByDefault] = JOURNAL_BLOCKS.find(([below]) => blocksCount < below)!;
  const blocks = journalBytes === undefined ? blocksByDefault : Math.floor(journalBytes / blockBytes);
  if (blocksByDefault === 0) return undefined;
  const asked = Math.floor((fastCommitBytes ?? 0) / blockBytes);
  const fastCommitBlocks = features.has("fast_commit") ? asked || Math.floor(blocksByDefault / FAST_COMMIT_PART) : 0;
  const total = blocks + fastCommitBlocks;
  if (blocks < JBD2_MIN_JOURNAL_BLOCKS || total > JOURNAL_BLOCKS_MAX) {
    throw new MkfsOptionError("journalBytes", `a journal has ${JBD2_MIN_JOURNAL_BLOCKS} to ${JOURNAL_BLOCKS_MAX} blocks, not ${total}`);
  }
  return { blocks, fastCommitBlocks };
}

/** A file that nobody can see. @throws MkfsOptionError; FsError ENOSPC. */
export function addJournal(draft: Draft, { blocks, fastCommitBlocks }: JournalSize): void {
  const { sb, parameters } = draft;
  const total = blocks + fastCommitBlocks;
  const freeBlocks = draft.freeBlocks();
  if (parameters.options.journalBytes !== undefined && total > freeBlocks / 2) throw new MkfsOptionError("journalBytes", `a journal of ${total} blocks is more than half of the ${freeBlocks} that are free`);
  const map = allocateFile(draft, { ino: EXT4_JOURNAL_INO, blocks: total, goal: journalGoal(draft), name: "the journal" });
  const inode = newInode(draft, { mode: S_IFREG | 0o600, links: 1, sizeBytes: total * sb.blockBytes, map });
  draft.addInode(EXT4_JOURNAL_INO, inode);
  const { uuid } = parameters.options;
  draft.addContent(blockOf(map, 0), journalSuperblock({ blockBytes: sb.blockBytes, total, fastCommitBlocks, first: 1, uuid, users: 1 }));
  if (parameters.options.lazyJournalInit !== true) for (const { pblk, count } of map.runs) draft.zeroes.push({ first: pblk, count });
  setInternalJournal(sb.view, EXT4_JOURNAL_INO, viewOf(inode));
  draft.journalBlocks = total;
}

/** Its block 0; the rest of the log needs no content. */
export function journalSuperblock(of: { blockBytes: number; total: number; fastCommitBlocks: number; first: number; uuid: Uint8Array; users: number }): Uint8Array {
  const block = new Uint8Array(of.blockBytes);
  const view = viewOf(block);
  JS.h_magic.set(view, 0, JBD2_MAGIC_NUMBER);
  JS.h_blocktype.set(view, 0, JBD2_SUPERBLOCK_V2);
  JS.s_blocksize.set(view, 0, of.blockBytes);
  JS.s_maxlen.set(view, 0, of.total);
  JS.s_first.set(view, 0, of.first);
  JS.s_sequence.set(view, 0, 1);
  JS.s_uuid.set(view, 0, of.uuid);
  JS.s_nr_users.set(view, 0, of.users);
  JS.s_num_fc_blks.set(view, 0, of.fastCommitBlocks);
  return block;
}

/** The middle of the device, where the head is never far away; there, the emptiest of two or three groups. */
function journalGoal(draft: Draft): Pblk {
  const { sb, parameters: { options } } = draft;
  if (options.packedMetaBlocks === true) return sb.firstDataBlock;
  if (options.journalAt !== undefined) return amountInBlocks(options.journalAt, sb.blockBytes);
  const flexGroups = 2 ** S.s_log_groups_per_flex.get(sb.view, 0);
  let group = groupOfBlock(sb, Math.floor((sb.blocksCount - sb.firstDataBlock) / 2));
  let first = Math.max(group - 1, 0);
  if (flexGroups > 1 && group > flexGroups) {
    group -= group % flexGroups;
    while (group < sb.groupsCount && freeIn(draft, group) === 0) group++;
    if (group === sb.groupsCount) group = 0;
    first = group;
  }
  const last = Math.min(group + 1, sb.groupsCount - 1);
  let best = first;
  for (let candidate = first + 1; candidate <= last; candidate++) if (freeIn(draft, candidate) > freeIn(draft, best)) best = candidate;
  return sb.firstBlockOf(best);
}

const freeIn = ({ sb, space }: Draft, group: number): number => space.freeClusters(sb.firstBlockOf(group), endOf(sb, group));
