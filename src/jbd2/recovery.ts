/**
 * Recovery: the log is walked three times. The scan finds where it ends, by sequence numbers, commit blocks and checksums. The revoke pass gathers which blocks must not
 * be replayed from which transactions. The replay copies each logged block home, later copies over earlier ones. All of it may be repeated after a crash in its midst.
 * Every value from the log is checked before use, and a walk ends after one lap. Source: fs/jbd2/recovery.c (do_one_pass).
 */
import { CorruptionError } from "../format/corruption.js";
import {
  blockTailAgrees, commit_header, commitBlockAgrees, JBD2_COMMIT_BLOCK, JBD2_CRC32_CHKSUM, JBD2_DESCRIPTOR_BLOCK, JBD2_FLAG_ESCAPE, JBD2_MAGIC_NUMBER,
  JBD2_REVOKE_BLOCK, journal_header_s, readRevokes, readTags, tagChecksum, type JournalTag,
} from "../format/jbd2.js";
import { crc32Be } from "../lib/crc32.js";
import type { LogBlk, Pblk, Tid } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { LogReader, type JournalBlocks, type JournalGeometry, type LogBlock } from "./log.js";
import { nextTid, tidAtLeast } from "./tid.js";

/** Where replayed blocks go. */
export interface ReplayTarget {
  /** Whether a logged block may belong there: inside the filesystem, outside the journal. */
  isHome(block: Pblk): boolean;
  /** `data` is the callee's only until it returns. */
  write(block: Pblk, data: Uint8Array): Task<void>;
}

export interface RecoveryResult {
  /** The transaction that would have come next: the one that fast commits belong to. */
  readonly endTid: Tid;
  readonly transactionCount: number;
  readonly replayedCount: number;
  readonly revokedCount: number;
}

/** What a walk meets. Returning false ends it. */
interface LogVisitor {
  descriptor(tid: Tid, at: LogBlk, block: LogBlock, tags: JournalTag[]): Task<boolean>;
  revoke(tid: Tid, at: LogBlk, block: LogBlock): boolean;
  commit(tid: Tid, at: LogBlk, block: LogBlock): boolean;
}

/**
 * Walks the log from its start, as long as blocks carry the sequence number that is due; stops before `endTid`, if given. A descriptor's data blocks are
 * skipped, or read by its visitor.
 */
export function* walkLog(reader: LogReader, geometry: JournalGeometry, visitor: LogVisitor, endTid?: Tid): Task<void> {
  let at = geometry.start;
  let tid = geometry.sequence;
  let left = geometry.last - geometry.first; // one lap, and no block twice
  while (left > 0 && tid !== endTid) {
    const block = yield* reader.block(at);
    if (journal_header_s.h_magic.get(block.view, 0) !== JBD2_MAGIC_NUMBER || journal_header_s.h_sequence.get(block.view, 0) !== tid) return;
    let usedBlocks = 1;
    switch (journal_header_s.h_blocktype.get(block.view, 0)) {
      case JBD2_DESCRIPTOR_BLOCK: {
        const tags = readTags(block.view, geometry.shape);
        if (!(yield* visitor.descriptor(tid, at, block, tags))) return;
        usedBlocks += tags.length;
        break;
      }
      case JBD2_REVOKE_BLOCK:
        if (!visitor.revoke(tid, at, block)) return;
        break;
      case JBD2_COMMIT_BLOCK:
        if (!visitor.commit(tid, at, block)) return;
        tid = nextTid(tid);
        break;
      default:
        return;
    }
    left -= usedBlocks;
    at = advance(geometry, at, usedBlocks);
  }
}

/** The log is a ring. */
export function advance(geometry: JournalGeometry, at: LogBlk, count: number): LogBlk {
  const size = geometry.last - geometry.first;
  return geometry.first + ((at - geometry.first + count) % size);
}

/** @throws CorruptionError journal-checksum, journal-block: what could be replayed was replayed before it is thrown. */
export function* recover(blocks: JournalBlocks, geometry: JournalGeometry, target: ReplayTarget, verifyChecksums: boolean): Task<RecoveryResult> {
  const reader = new LogReader(blocks, geometry.maxlen);
  const scan = yield* scanPass(reader, geometry, verifyChecksums);
  const revoked = yield* revokePass(reader, geometry, scan.endTid, verifyChecksums);
  const replay = yield* replayPass(reader, geometry, scan.endTid, revoked, target, verifyChecksums);
  const damage = scan.damage ?? replay.damage;
  if (damage !== undefined) throw damage;
  return { endTid: scan.endTid, transactionCount: (scan.endTid - geometry.sequence) >>> 0, replayedCount: replay.replayedCount, revokedCount: replay.revokedCount };
}

/** The transaction behind the last whole one of a log that is not replayed. */
export function* findLogEnd(blocks: JournalBlocks, geometry: JournalGeometry): Task<Tid> {
  return (yield* scanPass(new LogReader(blocks, geometry.maxlen), geometry, false)).endTid;
}

/** Finds the first transaction that is not whole. */
function* scanPass(reader: LogReader, geometry: JournalGeometry, verify: boolean): Task<{ endTid: Tid; damage: CorruptionError | undefined }> {
  const { shape } = geometry;
  let endTid = geometry.sequence;
  let failedTid: Tid | undefined; // the first whose commit block's checksum is wrong: the log ends before it
  let damage: CorruptionError | undefined;
  let lastCommitTime = 0;
  // A block with a wrong checksum may be left over from an older lap; the time of the commit block behind it tells.
  let suspect: CorruptionError | undefined;
  let crcV1 = 0xffff_ffff;
  yield* walkLog(reader, geometry, {
    *descriptor(_tid, at, block, tags) {
      if (verify && shape.hasCsum && !blockTailAgrees(block.bytes, block.view, shape)) suspect ??= new CorruptionError("journal-checksum", { logBlock: at });
      if (geometry.hasCsumV1 && failedTid === undefined) {
        crcV1 = crc32Be(crcV1, block.bytes);
        for (let index = 1; index <= tags.length; index++) crcV1 = crc32Be(crcV1, (yield* reader.block(advance(geometry, at, index))).bytes);
      }
      return true;
    },
    revoke(_tid, at, block) {
      if (verify && shape.hasCsum && !blockTailAgrees(block.bytes, block.view, shape)) suspect ??= new CorruptionError("journal-checksum", { logBlock: at });
      return true;
    },
    commit(tid, at, { bytes, view }) {
      const time = commit_header.h_commit_sec.get(view, 0);
      if (suspect !== undefined) {
        if (time >= lastCommitTime) damage = suspect;
        return false;
      }
      if (failedTid !== undefined && geometry.hasCsumV1) {
        damage = new CorruptionError("journal-checksum", { logBlock: at, found: `transaction ${failedTid}, though a later one follows` });
        return false;
      }
      const agrees = !verify || (geometry.hasCsumV1 ? commitAgreesV1(view, crcV1) : !shape.hasCsum || commitBlockAgrees(bytes, view, shape));
      if (!agrees) {
        if (time < lastCommitTime) return false;
        failedTid ??= tid;
        // Without asynchronous commits a commit block is written last, so a damaged one is damage and not a torn write.
        if (!geometry.hasAsyncCommit) {
          damage = new CorruptionError("journal-checksum", { logBlock: at, found: `transaction ${tid}` });
          return false;
        }
        return true;
      }
      crcV1 = 0xffff_ffff;
      lastCommitTime = time;
      if (failedTid === undefined) endTid = nextTid(tid);
      return true;
    },
  });
  return { endTid, damage };
}

function commitAgreesV1(view: DataView, crc: number): boolean {
  const C = commit_header;
  const [type, size, stored] = [C.h_chksum_type.get(view, 0), C.h_chksum_size.get(view, 0), C.h_chksum.get(view, 0, 0)];
  return (type === JBD2_CRC32_CHKSUM && size === 4 && stored === crc) || (type === 0 && size === 0 && stored === 0);
}

/** Blocks that one log may revoke: each costs some tens of bytes of memory until recovery ends. Linux deletes terabytes before it comes near. */
const REVOKED_MAX = 2 ** 22;

/** For each revoked block the last transaction that revoked it: copies up to and including that one are void. */
function* revokePass(reader: LogReader, geometry: JournalGeometry, endTid: Tid, verify: boolean): Task<Map<Pblk, Tid>> {
  const { shape } = geometry;
  const revoked = new Map<Pblk, Tid>();
  yield* walkLog(reader, geometry, {
    *descriptor() { return true; },
    commit: () => true,
    revoke(tid, at, { bytes, view }) {
      if (verify && shape.hasCsum && !blockTailAgrees(bytes, view, shape)) throw new CorruptionError("journal-checksum", { logBlock: at });
      const blocks = readRevokes(view, shape);
      if (blocks === undefined) throw new CorruptionError("journal-block", { logBlock: at, field: "r_count" });
      for (const block of blocks) {
        const known = revoked.get(block);
        if (known === undefined || tidAtLeast(tid, known)) revoked.set(block, tid);
      }
      if (revoked.size > REVOKED_MAX) throw new CorruptionError("journal-block", { logBlock: at, field: "r_count", found: `${revoked.size} revoked blocks`, expected: REVOKED_MAX });
      return true;
    },
  }, endTid);
  return revoked;
}

interface ReplayOutcome {
  replayedCount: number;
  revokedCount: number;
  /** The first block that could not be replayed; the others were. */
  damage: CorruptionError | undefined;
}

function* replayPass(
  reader: LogReader, geometry: JournalGeometry, endTid: Tid, revoked: ReadonlyMap<Pblk, Tid>, target: ReplayTarget, verify: boolean,
): Task<ReplayOutcome> {
  const outcome: ReplayOutcome = { replayedCount: 0, revokedCount: 0, damage: undefined };
  const { shape } = geometry;
  yield* walkLog(reader, geometry, {
    *descriptor(tid, at, _block, tags) {
      for (const [index, tag] of tags.entries()) {
        // Revoked comes before the checksum: what nobody wants back may be garbage.
        const revokedBy = revoked.get(tag.block);
        if (revokedBy !== undefined && tidAtLeast(revokedBy, tid)) {
          outcome.revokedCount++;
          continue;
        }
        const logBlock = advance(geometry, at, index + 1);
        const { bytes, view } = yield* reader.block(logBlock);
        const agrees = !verify || !shape.hasCsum || tag.checksum === tagChecksum(bytes, tid, shape);
        if (!agrees) outcome.damage ??= new CorruptionError("journal-checksum", { logBlock, block: tag.block, found: `transaction ${tid}` });
        else if (!target.isHome(tag.block)) outcome.damage ??= new CorruptionError("journal-block", { logBlock, field: "t_blocknr", found: tag.block });
        else {
          if ((tag.flags & JBD2_FLAG_ESCAPE) !== 0) view.setUint32(0, JBD2_MAGIC_NUMBER);
          yield* target.write(tag.block, bytes);
          outcome.replayedCount++;
          if ((tag.flags & JBD2_FLAG_ESCAPE) !== 0) view.setUint32(0, 0); // the window still is the log
        }
      }
      return true;
    },
    revoke: () => true,
    commit: () => true,
  }, endTid);
  return outcome;
}
