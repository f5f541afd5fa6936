/**
 * What mke2fs.conf says, as Debian ships it: a filesystem type and a usage type, which by default follows from the size, choose block size, inode size, bytes per
 * inode and features. Later entries of the list win; features add up.
 */
import { editFeatures, type FeatureName } from "./features.js";
import { MkfsOptionError, type MkfsOptions } from "./options.js";

interface FsType {
  readonly features?: string;
  /** "page": as large as a page of memory. */
  readonly blockBytes?: number | "page";
  readonly inodeBytes?: number;
  readonly inodeRatioBytes?: number;
}

const DEFAULTS = {
  features: "sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr",
  blockBytes: 4096,
  inodeBytes: 256,
  inodeRatioBytes: 16384,
} as const;

const FS_TYPES: Readonly<Record<string, FsType>> = {
  ext2: {},
  ext3: { features: "has_journal" },
  ext4: { features: "has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize" },
};

const USAGE_TYPES: Readonly<Record<string, FsType>> = {
  default: {},
  small: { blockBytes: 1024, inodeRatioBytes: 4096 },
  floppy: { blockBytes: 1024, inodeRatioBytes: 8192 },
  big: { inodeRatioBytes: 32768 },
  huge: { inodeRatioBytes: 65536 },
  news: { inodeRatioBytes: 4096 },
  largefile: { inodeRatioBytes: 1048576, blockBytes: "page" },
  largefile4: { inodeRatioBytes: 4194304, blockBytes: "page" },
  hurd: { blockBytes: 4096, inodeBytes: 128 },
};

/** The host's page may be larger, but an image is for any host, and this is what almost all of them have. */
export const PAGE_BYTES = 4096;

const MIB = 2 ** 20;
const TIB = 2 ** 40;

/** Which usage a size stands for, where none is given. */
function usageOfSize(sizeBytes: number): string {
  if (sizeBytes < 3 * MIB) return "floppy";
  if (sizeBytes < 512 * MIB) return "small";
  if (sizeBytes < 4 * TIB) return "default";
  return sizeBytes < 16 * TIB ? "big" : "huge";
}

export interface Profile {
  readonly features: Set<FeatureName>;
  readonly blockBytes: number;
  readonly inodeBytes: number;
  readonly inodeRatioBytes: number;
}

/** What the types say, before options override it. @throws MkfsOptionError an unknown type. */
export function profileFor(options: Pick<MkfsOptions, "type" | "usage" | "creatorOs">, sizeBytes: number): Profile {
  const type = options.type ?? "ext4";
  const usages = [...(options.usage ?? [usageOfSize(sizeBytes)]), ...(options.creatorOs === "hurd" ? ["hurd"] : [])];
  const types = [typeNamed("type", FS_TYPES, type), ...usages.map((usage) => typeNamed("usage", USAGE_TYPES, usage))];
  const last = <Key extends "blockBytes" | "inodeBytes" | "inodeRatioBytes">(key: Key): NonNullable<FsType[Key]> | number =>
    types.reduce<NonNullable<FsType[Key]> | number>((value, { [key]: own }) => own ?? value, DEFAULTS[key]);
  const features = new Set<FeatureName>();
  for (const edits of [DEFAULTS.features, ...types.map((entry) => entry.features ?? "")]) editFeatures(features, edits);
  const blockBytes = last("blockBytes");
  return {
    features,
    blockBytes: blockBytes === "page" ? PAGE_BYTES : blockBytes,
    inodeBytes: last("inodeBytes"),
    inodeRatioBytes: last("inodeRatioBytes"),
  };
}

function typeNamed(option: "type" | "usage", table: Readonly<Record<string, FsType>>, name: string): FsType {
  const found = Object.hasOwn(table, name) ? table[name] : undefined;
  if (found === undefined) throw new MkfsOptionError(option, `'${name}' is not one of ${Object.keys(table).join(", ")}`);
  return found;
}
