/** Images that claim much: files of terabytes, values, tables and journals larger than the disk. Each with how its reading ends; undefined: it is right, as far as the claim can be. */
import type { CorruptionKind, CorruptionPlace } from "../../src/format/corruption.js";
import { ext4_dir_entry_2 } from "../../src/format/dir-entry.js";
import { EXT4_FC_TAG_INODE, ext4_fc_inode, ext4_fc_tl } from "../../src/format/fast-commit.js";
import { EXT4_JOURNAL_INO, ext4_inode } from "../../src/format/inode.js";
import { jbd2_journal_revoke_header_s, journal_superblock_s } from "../../src/format/jbd2.js";
import type { AnyLayout } from "../../src/format/layout.js";
import { gpt_header } from "../../src/format/partition.js";
import { ext4_super_block } from "../../src/format/superblock.js";
import { ext4_xattr_entry } from "../../src/format/xattr.js";
import { viewOf } from "../../src/lib/view.js";
import { MemoryDevice, readPartitions, runSync } from "../../src/platform/node/index.js";
import { fixtureImage } from "../support/fixtures.js";
import { Craft, type TreeEntry } from "./craft.js";
import { gptDisk } from "./disks.js";
import { targetsOf } from "./targets.js";

export interface Claim {
  readonly what: string;
  /** Reads, and returns something that can be compared with `gives`. */
  readonly read: () => unknown;
  readonly throws?: { readonly code?: string; readonly kind?: CorruptionKind; readonly where?: CorruptionPlace };
  readonly gives?: unknown;
}

const MAXIMUM = 0xffff_ffff;
const TIB = 2 ** 40;
const XATTR_BYTES_MAX = 2 ** 24;

function withSize(craft: Craft, file: string | number, sizeBytes: number): Craft {
  return craft.setInode(file, ext4_inode.i_size_lo, sizeBytes % 2 ** 32).setInode(file, ext4_inode.i_size_high, Math.floor(sizeBytes / 2 ** 32));
}

/** Four extents that lie over each other. */
const overlapping = (length: number): TreeEntry[] => Array.from({ length: 4 }, (_, index) => ({ lblk: index * length, pblk: 20, length }));

/** Where the only structure of its kind stands in an image, or the first one. */
function placeOf(craft: Craft, layout: AnyLayout): number {
  return targetsOf(craft.image).find((target) => target.layout === layout)!.at;
}

/** The attribute of /medium whose value has an inode of its own, with that claiming `sizeBytes`, nearly all of them holes. */
function withHeldValue(sizeBytes: number, holderBytes = sizeBytes): Craft {
  const craft = new Craft("checksums");
  const inodeAt = craft.inodeAt("/medium");
  let at = inodeAt + 128 + ext4_inode.i_extra_isize.get(craft.view, inodeAt) + 4;
  while (ext4_xattr_entry.e_value_inum.get(craft.view, at) === 0) at += (ext4_xattr_entry.$.size + ext4_xattr_entry.e_name_len.get(craft.view, at) + 3) & ~3;
  return withSize(craft.set(ext4_xattr_entry.e_value_size, at, sizeBytes), ext4_xattr_entry.e_value_inum.get(craft.view, at), holderBytes);
}

function withJournalField(field: keyof typeof journal_superblock_s & ("s_maxlen" | "s_first" | "s_start"), value: number): Craft {
  const craft = new Craft("journal");
  return craft.set(journal_superblock_s[field], placeOf(craft, journal_superblock_s), value);
}

function gptWith(field: "num_partition_entries" | "sizeof_partition_entry" | "partition_entry_lba", value: number): () => unknown {
  return () => {
    const { bytes, targets } = gptDisk(fixtureImage("extents-unchecked"), false);
    const header = targets.find(({ layout }) => layout === gpt_header)!;
    gpt_header[field].set(viewOf(bytes), header.at, value);
    header.reseal!(bytes);
    return runSync(readPartitions(new MemoryDevice(bytes)));
  };
}

/** A directory that takes up the whole filesystem: one block full of the shortest entries, again and again. */
function directoryOfRepeats(): number {
  const craft = new Craft("extents-unchecked");
  const at = craft.blockOf("/dir/deep") * craft.blockBytes;
  const count = Math.floor(craft.blockBytes / 12);
  for (let index = 0; index < count; index++) {
    const entry = at + index * 12;
    const recLen = index === count - 1 ? craft.blockBytes - index * 12 : 12;
    craft.set(ext4_dir_entry_2.inode, entry, craft.inodeOf("/small")).set(ext4_dir_entry_2.rec_len, entry, recLen).set(ext4_dir_entry_2.name_len, entry, 1).set(ext4_dir_entry_2.file_type, entry, 1);
    craft.image[entry + 8] = 0x61;
  }
  const block = craft.blockOf("/dir/deep");
  const leaves = Array.from({ length: 12 }, (_, leaf) => {
    const node = craft.freeBlock();
    craft.setNodeBlock(node, 0, Array.from({ length: 84 }, (_, slot) => ({ lblk: leaf * 84 + slot, pblk: block })));
    return { lblk: leaf * 84, pblk: node };
  });
  const index = craft.freeBlock();
  craft.setNodeBlock(index, 1, leaves).setRoot("/dir/deep", 2, [{ lblk: 0, pblk: index }]);
  return withSize(craft, "/dir/deep", 12 * 84 * craft.blockBytes).open().readdirSync("/dir/deep").length;
}

/** Fast commits make directories of what were files, with 4 GiB each. */
function fastCommittedDirectories(): unknown {
  const craft = new Craft("fast-commit");
  const { at: first, reseal } = targetsOf(craft.image).find(({ layout }) => layout === ext4_fc_tl)!;
  for (let at = first; ext4_fc_tl.fc_tag.get(craft.view, at) !== 0; at += ext4_fc_tl.$.size + ext4_fc_tl.fc_len.get(craft.view, at)) {
    if (ext4_fc_tl.fc_tag.get(craft.view, at) !== EXT4_FC_TAG_INODE) continue;
    const inodeAt = at + ext4_fc_tl.$.size + ext4_fc_inode.$.size;
    craft.set(ext4_inode.i_mode, inodeAt, 0o040755).set(ext4_inode.i_size_lo, inodeAt, MAXIMUM - 1023);
  }
  reseal!(craft.image);
  return craft.open();
}

export const CLAIMS: readonly Claim[] = [
  {
    what: "a file of 2 TiB, nearly all of it a hole, in one piece", throws: { code: "EFBIG" },
    read: () => withSize(new Craft("extents-unchecked"), "/small", 2 * TIB).open().readFileSync("/small"),
  },
  {
    what: "the same file's end", gives: 1000,
    read: () => {
      const volume = withSize(new Craft("extents-unchecked"), "/small", 2 * TIB).open();
      return volume.readSync(volume.openSync("/small"), new Uint8Array(5000), 0, 5000, 2 * TIB - 1000);
    },
  },
  { what: "the same file's map", gives: 1, read: () => withSize(new Craft("extents-unchecked"), "/small", 2 * TIB).open().fiemapSync("/small").length },
  {
    what: "a file longer than an extent tree can be", throws: { kind: "inode-field", where: { field: "i_size", found: 16 * TIB } },
    read: () => withSize(new Craft("extents-unchecked"), "/small", 16 * TIB).open().statSync("/small"),
  },
  {
    what: "a file longer than an indirect map can be", throws: { kind: "inode-field", where: { field: "i_size", found: TIB } },
    read: () => withSize(new Craft("plain"), "/small", TIB).open().statSync("/small"),
  },
  {
    what: "a file of 1 GiB inside its inode", throws: { kind: "inode-field", where: { field: "i_size", found: 2 ** 30 } },
    read: () => withSize(new Craft("inline"), "/small", 2 ** 30).open().readFileSync("/small"),
  },
  {
    what: "a link of 2 GiB", throws: { kind: "symlink", where: { field: "i_size", found: 2 ** 31 } },
    read: () => withSize(new Craft("extents-unchecked"), "/slow", 2 ** 31).open().readlinkSync("/slow"),
  },
  { what: "a directory as large as the filesystem, of one block", gives: 12 * 84 * 85, read: directoryOfRepeats },
  { what: "an attribute of 16 MiB, nearly all of them holes", gives: XATTR_BYTES_MAX, read: () => withHeldValue(XATTR_BYTES_MAX).open().getxattrSync("/medium", "user.in-inode").length },
  {
    what: "an attribute of more", throws: { kind: "xattr-entry", where: { field: "e_value_size", found: XATTR_BYTES_MAX + 1 } },
    read: () => withHeldValue(XATTR_BYTES_MAX + 1).open().getxattrSync("/medium", "user.in-inode"),
  },
  {
    what: "an attribute whose inode has more than it says", throws: { kind: "xattr-entry", where: { field: "i_size", found: TIB, expected: 3000 } },
    read: () => withHeldValue(3000, TIB).open().getxattrSync("/medium", "user.in-inode"),
  },
  { what: "a journal of 1 TiB by its inode", throws: { kind: "journal-hole", where: { logBlock: 1024 } }, read: () => withSize(new Craft("journal"), EXT4_JOURNAL_INO, TIB).open() },
  {
    what: "a journal whose extents lie over each other", throws: { kind: "map-overrun", where: { ino: EXT4_JOURNAL_INO } },
    read: () => withSize(new Craft("journal").setRoot(EXT4_JOURNAL_INO, 0, overlapping(1000)), EXT4_JOURNAL_INO, 4000 * 1024).open(),
  },
  {
    what: "a journal of 4 Gi blocks by its superblock", throws: { kind: "journal-superblock", where: { field: "s_maxlen", found: MAXIMUM } },
    read: () => withJournalField("s_maxlen", MAXIMUM).open(),
  },
  { what: "a log that begins past its end", throws: { kind: "journal-superblock", where: { field: "s_start", found: MAXIMUM } }, read: () => withJournalField("s_start", MAXIMUM).open() },
  {
    what: "a billion revoked blocks", throws: { kind: "journal-block", where: { field: "r_count" } },
    read: () => {
      const craft = new Craft("journal");
      return craft.set(jbd2_journal_revoke_header_s.r_count, placeOf(craft, jbd2_journal_revoke_header_s), MAXIMUM).open();
    },
  },
  { what: "directories of 4 GiB in fast commits", throws: { kind: "fast-commit", where: { field: "i_size" } }, read: fastCommittedDirectories },
  {
    what: "4 Gi partitions", throws: { kind: "partition-table", where: { field: "num_partition_entries", found: MAXIMUM } }, read: gptWith("num_partition_entries", MAXIMUM),
  },
  { what: "partition entries of 4 GiB", throws: { kind: "partition-table", where: { field: "sizeof_partition_entry" } }, read: gptWith("sizeof_partition_entry", MAXIMUM) },
  { what: "partition entries past the disk's end", throws: { kind: "partition-table", where: { field: "partition_entry_lba" } }, read: gptWith("partition_entry_lba", 2 ** 40) },
  {
    what: "groups of 8 blocks, so that there are a hundred times as many", throws: { kind: "group-desc-location", where: { group: 1 } },
    read: () => new Craft("extents-unchecked").setSuperblock(ext4_super_block.s_blocks_per_group, 8).setSuperblock(ext4_super_block.s_inodes_count, 296 * 128).open().statfsSync("/"),
  },
];
