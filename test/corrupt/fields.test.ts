/**
 * Bad input: each field of each structure of small images is flipped, zeroed and maximised, with and without checksums. Each time everything is read. It ends in
 * a CorruptionError that says what and where, or in a correct read; without checksums a wrong value may also be read as if it were right, but never hangs, crashes, or trips an assertion.
 */
import { afterAll, describe, expect, test } from "vitest";
import { indexEntries, isIndexed, readRoot } from "../../src/ext4/htree.js";
import { entryAt, nodeDepth, nodeEntries, readChild, rootNode } from "../../src/ext4/extents.js";
import { readDirBlock, walkEntries } from "../../src/ext4/dir.js";
import { findGroupDesc } from "../../src/ext4/groups.js";
import { findInode } from "../../src/ext4/inode.js";
import { openJournal } from "../../src/ext4/journal.js";
import { ext4_dir_entry_2, ext4_dir_entry_tail } from "../../src/format/dir-entry.js";
import { ext4_extent, ext4_extent_header, ext4_extent_idx } from "../../src/format/extent.js";
import { ext4_fc_head, ext4_fc_tl } from "../../src/format/fast-commit.js";
import { ext4_group_desc } from "../../src/format/group-desc.js";
import { DX_ROOT_INFO_AT, dx_countlimit, dx_entry, dx_root_info } from "../../src/format/htree.js";
import { EXT4_EXTENTS_FL, EXT4_INLINE_DATA_FL, ext4_inode, I_BLOCK_AT } from "../../src/format/inode.js";
import {
  commit_header, jbd2_journal_revoke_header_s, JBD2_COMMIT_BLOCK, JBD2_DESCRIPTOR_BLOCK, JBD2_MAGIC_NUMBER, JBD2_REVOKE_BLOCK, journal_block_tag3_s, journal_header_s, journal_superblock_s,
} from "../../src/format/jbd2.js";
import type { AnyField, AnyLayout } from "../../src/format/layout.js";
import { ext4_orphan_block_tail } from "../../src/format/orphan.js";
import { ext4_super_block } from "../../src/format/superblock.js";
import { ext4_xattr_entry, ext4_xattr_header, ext4_xattr_ibody_header } from "../../src/format/xattr.js";
import { Ext4, MemoryDevice, type Volume } from "../../src/platform/node/index.js";
import { rootDentry } from "../../src/vfs/namei.js";
import { walkTree } from "../../src/vfs/walk.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import { FIXTURES, fixtureImage, type Fixture } from "../support/fixtures.js";
import { ourTree } from "../support/tree.js";
import { exercise, type Ending } from "./exercise.js";

/** A structure at its place in the image. */
interface Target {
  readonly layout: AnyLayout;
  /** Byte on the device. */
  readonly at: number;
}

/** Where structures stand. Of those that come by the hundred some are taken. */
function targetsOf(volume: Volume): Target[] {
  const { fs } = volume;
  const targets: Target[] = [{ layout: ext4_super_block, at: 1024 }];
  const counts = new Map<AnyLayout, number>();
  const add = (layout: AnyLayout, at: number): void => {
    const count = (counts.get(layout) ?? 0) + 1;
    counts.set(layout, count);
    if (count <= 12) targets.push({ layout, at });
  };
  volume.runSync((function* () {
    for (let group = 0; group < fs.sb.groupsCount; group++) {
      const { buffer, at } = yield* findGroupDesc(fs, group);
      if (fs.sb.descBytes >= ext4_group_desc.$.size) add(ext4_group_desc, buffer.b_blocknr * fs.blockBytes + at);
    }
    const seen = new Set<string>();
    const inodes: Ext4Inode[] = [yield* fs.igetSpecial(8)];
    yield* walkTree(rootDentry(fs.root), {
      *enter({ d_inode: inode }) {
        // One of each kind and size is enough.
        const kind = `${inode.i_mode & 0o170000} ${inode.i_flags} ${Math.sign(inode.i_size)} ${(inode as Ext4Inode).i_file_acl !== 0}`;
        if (!seen.has(kind)) inodes.push(inode as Ext4Inode);
        seen.add(kind);
      },
    });
    for (const inode of inodes) {
      const { buffer, at } = yield* findInode(fs, inode.i_ino);
      const inodeAt = buffer.b_blocknr * fs.blockBytes + at;
      targets.push({ layout: ext4_inode, at: inodeAt });
      add(ext4_xattr_ibody_header, inodeAt + 128 + inode.i_extra_isize);
      add(ext4_xattr_entry, inodeAt + 128 + inode.i_extra_isize + 4);
      if (inode.i_file_acl !== 0) {
        add(ext4_xattr_header, inode.i_file_acl * fs.blockBytes);
        add(ext4_xattr_entry, inode.i_file_acl * fs.blockBytes + 32);
      }
      if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0) {
        if (inode.isDirectory()) add(ext4_dir_entry_2, inodeAt + I_BLOCK_AT + 4);
        continue;
      }
      const visit = function* (node: ReturnType<typeof rootNode>): ReturnType<typeof walkTree> {
        const base = node.block === undefined ? inodeAt : node.block * fs.blockBytes;
        add(ext4_extent_header, base + node.at);
        for (let slot = 0; slot < nodeEntries(node); slot++) {
          add(nodeDepth(node) === 0 ? ext4_extent : ext4_extent_idx, base + entryAt(node, slot));
          if (nodeDepth(node) > 0) yield* visit(yield* readChild(fs, inode, node, slot, nodeDepth(node) - 1));
        }
      };
      if ((inode.i_flags & EXT4_EXTENTS_FL) !== 0 && (inode.isRegular() || inode.isDirectory())) yield* visit(rootNode(inode));
      if (!inode.isDirectory()) continue;
      const { buffer: first, view, end } = yield* readDirBlock(fs, inode, 0);
      const blockAt = first.b_blocknr * fs.blockBytes;
      walkEntries(fs, view, 0, end, (entry) => { add(ext4_dir_entry_2, blockAt + entry); return true; });
      if (end < fs.blockBytes) add(ext4_dir_entry_tail, blockAt + end);
      if (!isIndexed(fs, inode)) continue;
      readRoot(fs, inode, first);
      const { entriesAt, count } = indexEntries(fs, inode, first, true);
      targets.push({ layout: dx_root_info, at: blockAt + DX_ROOT_INFO_AT }, { layout: dx_countlimit, at: blockAt + entriesAt });
      for (let slot = 1; slot < count; slot++) add(dx_entry, blockAt + entriesAt + slot * 8);
    }
    const orphanFile = ext4_super_block.s_orphan_file_inum.get(fs.sb.view, 0);
    if (orphanFile !== 0) {
      for (const { pblk } of yield* (yield* fs.igetSpecial(orphanFile)).fiemap(0, 1)) add(ext4_orphan_block_tail, (pblk + 1) * fs.blockBytes - 8);
    }
    const journal = yield* openJournal(fs);
    if (journal === undefined) return;
    const bytes = new Uint8Array(fs.blockBytes);
    const journalView = new DataView(bytes.buffer);
    for (let block = 0; block < journal.lengthBlocks; block++) {
      yield* journal.read(block, bytes);
      const at = (journal.extents.find(({ lblk, count }) => block >= lblk && block < lblk + count)!.pblk + block - journal.extents.find(({ lblk, count }) => block >= lblk && block < lblk + count)!.lblk) * fs.blockBytes;
      if (block === 0) targets.push({ layout: journal_superblock_s, at });
      else if (journal_header_s.h_magic.get(journalView, 0) === JBD2_MAGIC_NUMBER) {
        add(journal_header_s, at);
        const type = journal_header_s.h_blocktype.get(journalView, 0);
        if (type === JBD2_DESCRIPTOR_BLOCK) [12, 44, 60].forEach((tag) => add(journal_block_tag3_s, at + tag));
        if (type === JBD2_COMMIT_BLOCK) add(commit_header, at);
        if (type === JBD2_REVOKE_BLOCK) add(jbd2_journal_revoke_header_s, at);
      } else if (ext4_fc_tl.fc_tag.get(journalView, 0) === 9) {
        let from = 0;
        add(ext4_fc_head, at + 4);
        for (let count = 0; count < 12 && from + 4 <= bytes.length; count++) {
          add(ext4_fc_tl, at + from);
          from += 4 + ext4_fc_tl.fc_len.get(journalView, from);
        }
      }
    }
  })());
  return targets;
}

/** The field's bytes flipped in one bit, all zero, all ones, and off by one. */
function spoil(image: Uint8Array, at: number, field: AnyField, how: number): boolean {
  const bytes = image.subarray(at + field.at, at + field.at + field.size);
  const before = bytes.slice();
  if (how === 0) bytes[0]! ^= 1;
  else if (how === 1) bytes.fill(0);
  else if (how === 2) bytes.fill(0xff);
  else bytes[field.type.startsWith("be") ? bytes.length - 1 : 0] = bytes[field.type.startsWith("be") ? bytes.length - 1 : 0]! + 1;
  return bytes.some((byte, index) => byte !== before[index]);
}

const HOWS = 4;
const tally = new Map<Ending, number>();

describe.each(FIXTURES)("%s", (name: Fixture) => {
  test("each field of each structure", { timeout: 600_000 }, () => {
    const pristine = fixtureImage(name);
    const volume = Ext4.openSync(new MemoryDevice(pristine, { readOnly: true }));
    const tree = ourTree(volume);
    const hasChecksums = volume.fs.sb.hasMetadataCsum;
    const targets = targetsOf(volume);
    expect(targets.length).toBeGreaterThan(30);
    const image = pristine.slice();
    for (const { layout, at } of targets) {
      for (const [fieldName, field] of layout.$.fields) {
        for (let how = 0; how < HOWS; how++) {
          const isChanged = spoil(image, at, field, how);
          try {
            if (!isChanged) continue;
            const place = `${layout.$.name}.${fieldName} at ${at}, way ${how}`;
            for (const checksum of hasChecksums ? [true, false] : [true]) {
              let ending: Ending;
              try {
                ending = exercise(image, tree, checksum);
              } catch (error) {
                throw new Error(`${place}, checksums ${checksum}: ${(error as Error).message}`, { cause: error });
              }
              tally.set(ending, (tally.get(ending) ?? 0) + 1);
              // What a checksum covers is found or does not matter. The journal's blocks are older states of others, so losing one may show an older tree.
              const isJournal = /journal|commit_header|_fc_/.test(layout.$.name) || name === "journal" || name === "fast-commit";
              if (checksum && hasChecksums && !isJournal) expect(ending, place).not.toBe("different");
            }
          } finally {
            image.set(pristine.subarray(at + field.at, at + field.at + field.size), at + field.at);
          }
        }
      }
    }
  });

  test("the image cut short at every block", () => {
    const pristine = fixtureImage(name);
    for (let bytes = 0; bytes < pristine.length; bytes += 1024) {
      expect(() => Ext4.openSync(new MemoryDevice(pristine.subarray(0, bytes), { readOnly: true })), `${bytes} bytes`)
        .toThrow(expect.objectContaining({ kind: "device-truncated" }));
    }
  });
});

afterAll(() => {
  process.stdout.write(`spoiled fields: ${[...tally].map(([ending, count]) => `${count} ${ending}`).join(", ")}\n`);
});
