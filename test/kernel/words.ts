/** Flags by the names that scenarios and traces use. Source: the tables of tools/kernel-recorder/guest/odx.c. */
import * as MM from "../../src/mm/constants.js";
import * as O from "../../src/vfs/flags.js";

type Table = Readonly<Record<string, number>>;

export const OPEN: Table = {
  O_RDONLY: O.O_RDONLY, O_WRONLY: O.O_WRONLY, O_RDWR: O.O_RDWR, O_CREAT: O.O_CREAT, O_EXCL: O.O_EXCL, O_TRUNC: O.O_TRUNC, O_APPEND: O.O_APPEND, O_SYNC: O.O_SYNC, O_DSYNC: O.O_DSYNC,
  O_DIRECT: O.O_DIRECT, O_TMPFILE: O.O_TMPFILE, O_DIRECTORY: O.O_DIRECTORY, O_NOFOLLOW: O.O_NOFOLLOW, O_NOATIME: O.O_NOATIME,
};
/** PROT_, MAP_, MS_, MREMAP_, MADV_. */
export const MEMORY: Table = { MADV_COLLAPSE: 25, ...Object.fromEntries(Object.entries(MM).filter((entry): entry is [string, number] => typeof entry[1] === "number")) };
export const FALLOC: Table = { KEEP_SIZE: 0x01, PUNCH_HOLE: 0x02, COLLAPSE_RANGE: 0x08, ZERO_RANGE: 0x10, INSERT_RANGE: 0x20, UNSHARE_RANGE: 0x40 };
export const FS_FLAGS: Table = {
  FS_SECRM_FL: 0x1, FS_UNRM_FL: 0x2, FS_COMPR_FL: 0x4, FS_SYNC_FL: 0x8, FS_IMMUTABLE_FL: 0x10, FS_APPEND_FL: 0x20, FS_NODUMP_FL: 0x40, FS_NOATIME_FL: 0x80, FS_ENCRYPT_FL: 0x800, FS_INDEX_FL: 0x1000,
  FS_JOURNAL_DATA_FL: 0x4000, FS_NOTAIL_FL: 0x8000, FS_DIRSYNC_FL: 0x1_0000, FS_TOPDIR_FL: 0x2_0000, FS_HUGE_FILE_FL: 0x4_0000, FS_EXTENT_FL: 0x8_0000, FS_VERITY_FL: 0x10_0000, FS_DAX_FL: 0x200_0000,
  FS_INLINE_DATA_FL: 0x1000_0000, FS_PROJINHERIT_FL: 0x2000_0000, FS_CASEFOLD_FL: 0x4000_0000,
};
export const XFLAGS: Table = {
  FS_XFLAG_REALTIME: 0x1, FS_XFLAG_PREALLOC: 0x2, FS_XFLAG_IMMUTABLE: 0x8, FS_XFLAG_APPEND: 0x10, FS_XFLAG_SYNC: 0x20, FS_XFLAG_NOATIME: 0x40, FS_XFLAG_NODUMP: 0x80, FS_XFLAG_PROJINHERIT: 0x200,
  FS_XFLAG_DAX: 0x8000, FS_XFLAG_HASATTR: 0x8000_0000,
};
export const STATX: Table = {
  COMPRESSED: 0x4, IMMUTABLE: 0x10, APPEND: 0x20, NODUMP: 0x40, ENCRYPTED: 0x800, AUTOMOUNT: 0x1000, MOUNT_ROOT: 0x2000, VERITY: 0x10_0000, DAX: 0x20_0000,
};

/** A number, or names of flags. */
export function flagsOf(value: unknown, table: Table, fallback: readonly string[] = []): number {
  if (typeof value === "number") return value;
  const names = value === undefined ? fallback : Array.isArray(value) ? (value as unknown[]).map(String) : String(value).split(/[|,]/);
  return names.reduce((bits, name) => {
    const bit = table[name] ?? (/^\d/.test(name) ? Number(name) : undefined);
    if (bit === undefined) throw new Error(`no flag ${name}`);
    return (bits | bit) >>> 0;
  }, 0);
}

export function namesOf(bits: number, table: Table): string[] {
  return Object.entries(table).filter(([, bit]) => ((bits & bit) >>> 0) === bit).map(([name]) => name);
}
