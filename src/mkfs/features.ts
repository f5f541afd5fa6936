/**
 * Feature sets by name, as mke2fs's -O edits them: "extent,^has_journal", and "none" for an empty set. Which of them may stand together is checked here.
 */
import { COMPAT, INCOMPAT, RO_COMPAT } from "../format/features.js";
import { MkfsOptionError } from "./options.js";

export type FeatureName = keyof typeof COMPAT | keyof typeof INCOMPAT | keyof typeof RO_COMPAT;
export type FeatureSet = ReadonlySet<FeatureName>;

/** What a new filesystem may have; the others are set by a kernel at run time, or by nobody any more. */
const SETTABLE: ReadonlySet<FeatureName> = new Set<FeatureName>([
  "has_journal", "ext_attr", "resize_inode", "dir_index", "sparse_super2", "fast_commit", "stable_inodes", "orphan_file",
  "filetype", "journal_dev", "meta_bg", "extent", "64bit", "mmp", "flex_bg", "ea_inode", "metadata_csum_seed", "large_dir", "inline_data", "encrypt", "casefold",
  "sparse_super", "large_file", "huge_file", "uninit_bg", "dir_nlink", "extra_isize", "quota", "bigalloc", "metadata_csum", "project", "verity",
]);

const ALIASES: Readonly<Record<string, FeatureName>> = { extents: "extent", uninit_groups: "uninit_bg" };

/** Applies a list of names, "^" before those to be taken away. @throws MkfsOptionError a name that cannot be set. */
export function editFeatures(features: Set<FeatureName>, edits: string): void {
  for (const word of edits.split(/[\s,]+/).filter((part) => part !== "")) {
    const isRemoval = word.startsWith("^");
    const text = word.slice(isRemoval ? 1 : 0).toLowerCase();
    if (text === "none" && !isRemoval) {
      features.clear();
      continue;
    }
    const name = ALIASES[text] ?? (text as FeatureName);
    if (!SETTABLE.has(name)) throw new MkfsOptionError("features", `'${word}' is not a feature that can be set`);
    if (isRemoval) features.delete(name);
    else features.add(name);
  }
}

/** The three words of the superblock. */
export function featureWords(features: FeatureSet): { compat: number; incompat: number; roCompat: number } {
  const bits = (names: Readonly<Record<string, number>>): number =>
    Object.entries(names).reduce((word, [name, bit]) => (features.has(name as FeatureName) ? word | bit : word), 0);
  return { compat: bits(COMPAT), incompat: bits(INCOMPAT), roCompat: bits(RO_COMPAT) };
}

/** A feature, and one that it cannot do without. */
const NEEDS: readonly (readonly [FeatureName, FeatureName])[] = [
  ["64bit", "extent"], ["bigalloc", "extent"], ["metadata_csum_seed", "metadata_csum"], ["orphan_file", "has_journal"],
];

/** @throws MkfsOptionError features that cannot stand together. */
export function checkFeatures(features: FeatureSet): void {
  for (const [feature, needed] of NEEDS) {
    if (features.has(feature) && !features.has(needed)) throw new MkfsOptionError("features", `${feature} needs the feature ${needed}`);
  }
  if (features.has("resize_inode") && !features.has("sparse_super") && !features.has("sparse_super2")) {
    throw new MkfsOptionError("features", "resize_inode needs the feature sparse_super, or sparse_super2");
  }
  if (features.has("resize_inode") && features.has("meta_bg")) {
    throw new MkfsOptionError("features", "resize_inode and meta_bg exclude each other: leave one out");
  }
}
