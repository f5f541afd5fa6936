/**
 * A transaction in the form that the log has it: revoke blocks, then descriptors each followed by the blocks that it lists, and the commit block apart, as it is written last.
 * Source: fs/jbd2/commit.c, fs/jbd2/revoke.c; journal.md sections 4 to 6.
 */
import type { BufferHead } from "../block/buffer-cache.js";
import {
  commit_header, JBD2_COMMIT_BLOCK, JBD2_DESCRIPTOR_BLOCK, JBD2_FLAG_ESCAPE, JBD2_FLAG_LAST_TAG, JBD2_FLAG_SAME_UUID, JBD2_MAGIC_NUMBER, JBD2_REVOKE_BLOCK,
  jbd2_journal_revoke_header_s, journal_header_s, sealBlockTail, sealCommitBlock, tagChecksum, writeTag, type JournalShape,
} from "../format/jbd2.js";
import { TWO_32, type Pblk, type Tid } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";

const UUID_BYTES = 16;

/** Tags that fit one descriptor: the first is followed by a uuid. */
export function tagsPerDescriptor(shape: JournalShape): number {
  return Math.floor((shape.blockBytes - journal_header_s.$.size - shape.tailBytes - UUID_BYTES) / shape.tagBytes);
}

export function revokesPerBlock(shape: JournalShape): number {
  return Math.floor((shape.blockBytes - jbd2_journal_revoke_header_s.$.size - shape.tailBytes) / (shape.is64bit ? 8 : 4));
}

/** Log blocks of a transaction, its commit block included. */
export function logBlocksOf(shape: JournalShape, bufferCount: number, revokeCount: number): number {
  return Math.ceil(revokeCount / revokesPerBlock(shape)) + Math.ceil(bufferCount / tagsPerDescriptor(shape)) + bufferCount + 1;
}

/** All blocks of the transaction but the commit block, one after the other: the one copy that is made of its buffers. */
export function encodeTransaction(shape: JournalShape, tid: Tid, buffers: readonly BufferHead[], revokes: readonly Pblk[]): Uint8Array {
  const record = new Uint8Array((logBlocksOf(shape, buffers.length, revokes.length) - 1) * shape.blockBytes);
  let at = 0;
  const nextBlock = (): Uint8Array => record.subarray(at, at += shape.blockBytes);
  const revokeStep = revokesPerBlock(shape);
  for (let from = 0; from < revokes.length; from += revokeStep) writeRevokeBlock(nextBlock(), shape, tid, revokes.slice(from, from + revokeStep));
  const tagStep = tagsPerDescriptor(shape);
  for (let from = 0; from < buffers.length; from += tagStep) {
    const listed = buffers.slice(from, from + tagStep);
    const descriptor = nextBlock();
    const copies = listed.map((buffer) => copyEscaped(buffer, nextBlock()));
    writeDescriptor(descriptor, shape, tid, listed, copies);
  }
  return record;
}

interface LoggedCopy { readonly bytes: Uint8Array; readonly isEscaped: boolean }

/** A block that begins with the journal's magic number would be taken for one of the journal's own: the log has zeroes there. */
function copyEscaped(buffer: BufferHead, into: Uint8Array): LoggedCopy {
  into.set(buffer.data);
  const isEscaped = buffer.view.getUint32(0) === JBD2_MAGIC_NUMBER;
  if (isEscaped) into.fill(0, 0, 4);
  return { bytes: into, isEscaped };
}

function writeHeader(view: DataView, type: number, tid: Tid): void {
  journal_header_s.h_magic.set(view, 0, JBD2_MAGIC_NUMBER);
  journal_header_s.h_blocktype.set(view, 0, type);
  journal_header_s.h_sequence.set(view, 0, tid);
}

function writeDescriptor(block: Uint8Array, shape: JournalShape, tid: Tid, buffers: readonly BufferHead[], copies: readonly LoggedCopy[]): void {
  const view = viewOf(block);
  writeHeader(view, JBD2_DESCRIPTOR_BLOCK, tid);
  let at = journal_header_s.$.size;
  copies.forEach(({ bytes, isEscaped }, index) => {
    const flags = (isEscaped ? JBD2_FLAG_ESCAPE : 0) | (index > 0 ? JBD2_FLAG_SAME_UUID : 0) | (index === copies.length - 1 ? JBD2_FLAG_LAST_TAG : 0);
    writeTag(view, at, shape, { block: buffers[index]!.b_blocknr, flags, checksum: shape.hasCsum ? tagChecksum(bytes, tid, shape) : 0 });
    at += shape.tagBytes + (index > 0 ? 0 : UUID_BYTES); // the kernel's uuid here is all zeroes
  });
  if (shape.hasCsum) sealBlockTail(block, view, shape);
}

function writeRevokeBlock(block: Uint8Array, shape: JournalShape, tid: Tid, revokes: readonly Pblk[]): void {
  const view = viewOf(block);
  writeHeader(view, JBD2_REVOKE_BLOCK, tid);
  let at = jbd2_journal_revoke_header_s.$.size;
  for (const revoked of revokes) {
    if (shape.is64bit) {
      view.setUint32(at, Math.floor(revoked / TWO_32));
      at += 4;
    }
    view.setUint32(at, revoked % TWO_32);
    at += 4;
  }
  jbd2_journal_revoke_header_s.r_count.set(view, 0, at);
  if (shape.hasCsum) sealBlockTail(block, view, shape);
}

/** What makes the transaction count. */
export function encodeCommitBlock(shape: JournalShape, tid: Tid, time: { readonly sec: number; readonly nsec: number }): Uint8Array {
  const block = new Uint8Array(shape.blockBytes);
  const view = viewOf(block);
  writeHeader(view, JBD2_COMMIT_BLOCK, tid);
  commit_header.h_commit_sec.set(view, 0, time.sec);
  commit_header.h_commit_nsec.set(view, 0, time.nsec);
  if (shape.hasCsum) sealCommitBlock(block, view, shape);
  return block;
}
