/**
 * Feature bits, with the names that mke2fs's -O and dumpe2fs use. A filesystem with an unknown incompat bit cannot be read, with an
 * unknown ro_compat bit cannot be written, and an unknown compat bit means nothing to a reader.
 */

export const COMPAT = {
  dir_prealloc: 0x1, imagic_inodes: 0x2, has_journal: 0x4, ext_attr: 0x8, resize_inode: 0x10, dir_index: 0x20, lazy_bg: 0x40,
  snapshot_bitmap: 0x100, sparse_super2: 0x200, fast_commit: 0x400, stable_inodes: 0x800, orphan_file: 0x1000,
} as const;

export const INCOMPAT = {
  compression: 0x1, filetype: 0x2, needs_recovery: 0x4, journal_dev: 0x8, meta_bg: 0x10, extent: 0x40, "64bit": 0x80, mmp: 0x100, flex_bg: 0x200,
  ea_inode: 0x400, dirdata: 0x1000, metadata_csum_seed: 0x2000, large_dir: 0x4000, inline_data: 0x8000, encrypt: 0x10000, casefold: 0x20000,
} as const;

export const RO_COMPAT = {
  sparse_super: 0x1, large_file: 0x2, btree_dir: 0x4, huge_file: 0x8, uninit_bg: 0x10, dir_nlink: 0x20, extra_isize: 0x40, has_snapshot: 0x80, quota: 0x100,
  bigalloc: 0x200, metadata_csum: 0x400, replica: 0x800, "read-only": 0x1000, project: 0x2000, shared_blocks: 0x4000, verity: 0x8000, orphan_present: 0x10000,
} as const;

/** What a reader here knows: all but compression, dirdata, and devices that are a journal. */
export const INCOMPAT_READABLE = INCOMPAT.filetype | INCOMPAT.needs_recovery | INCOMPAT.meta_bg | INCOMPAT.extent | INCOMPAT["64bit"] | INCOMPAT.mmp |
  INCOMPAT.flex_bg | INCOMPAT.ea_inode | INCOMPAT.metadata_csum_seed | INCOMPAT.large_dir | INCOMPAT.inline_data | INCOMPAT.encrypt | INCOMPAT.casefold;

/** What a writer here knows: quota files would have to be kept, and an image that shares blocks between files must not be changed at all. */
export const RO_COMPAT_WRITABLE = RO_COMPAT.sparse_super | RO_COMPAT.large_file | RO_COMPAT.btree_dir | RO_COMPAT.huge_file | RO_COMPAT.uninit_bg | RO_COMPAT.dir_nlink |
  RO_COMPAT.extra_isize | RO_COMPAT.bigalloc | RO_COMPAT.metadata_csum | RO_COMPAT.project | RO_COMPAT.verity | RO_COMPAT.orphan_present;

export type FeatureWord = "compat" | "incompat" | "ro_compat";

const TABLES: Record<FeatureWord, { names: Record<string, number>; letter: string }> = {
  compat: { names: COMPAT, letter: "C" },
  incompat: { names: INCOMPAT, letter: "I" },
  ro_compat: { names: RO_COMPAT, letter: "R" },
};

/** The names of the bits that are set, lowest first; a bit without a name is FEATURE_I12 and the like, as e2fsprogs prints it. */
export function featureNames(word: FeatureWord, bits: number): string[] {
  const { names, letter } = TABLES[word];
  const byBit = new Map(Object.entries(names).map(([name, bit]) => [bit, name]));
  const found: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    const mask = (1 << bit) >>> 0;
    if ((bits & mask) !== 0) found.push(byBit.get(mask) ?? `FEATURE_${letter}${bit}`);
  }
  return found;
}
