/** Linux's numbers, whatever the host, as a volume is a Linux filesystem everywhere. */
import { argumentError, checkInteger } from "./path.js";

export const constants = {
  F_OK: 0, X_OK: 1, W_OK: 2, R_OK: 4,
  O_RDONLY: 0, O_WRONLY: 1, O_RDWR: 2, O_ACCMODE: 3, O_CREAT: 0o100, O_EXCL: 0o200, O_TRUNC: 0o1000, O_APPEND: 0o2000, O_NONBLOCK: 0o4000, O_DSYNC: 0o10000,
  O_DIRECT: 0o40000, O_DIRECTORY: 0o200000, O_NOFOLLOW: 0o400000, O_NOATIME: 0o1000000, O_SYNC: 0o4010000, O_TMPFILE: 0o20200000,
  COPYFILE_EXCL: 1, COPYFILE_FICLONE: 2, COPYFILE_FICLONE_FORCE: 4, SEEK_DATA: 3, SEEK_HOLE: 4,
  S_IFMT: 0o170000, S_IFREG: 0o100000, S_IFDIR: 0o040000, S_IFCHR: 0o020000, S_IFBLK: 0o060000, S_IFIFO: 0o010000, S_IFLNK: 0o120000, S_IFSOCK: 0o140000,
  S_IRWXU: 0o700, S_IRUSR: 0o400, S_IWUSR: 0o200, S_IXUSR: 0o100, S_IRWXG: 0o070, S_IRGRP: 0o040, S_IWGRP: 0o020, S_IXGRP: 0o010,
  S_IRWXO: 0o007, S_IROTH: 0o004, S_IWOTH: 0o002, S_IXOTH: 0o001,
} as const;

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_SYNC } = constants;

const WRITE = O_TRUNC | O_CREAT | O_WRONLY;
const READ_WRITE = O_TRUNC | O_CREAT | O_RDWR;
const APPEND = O_APPEND | O_CREAT | O_WRONLY;
const READ_APPEND = O_APPEND | O_CREAT | O_RDWR;

const FLAGS = new Map<string, number>([
  ["r", O_RDONLY], ["rs", O_RDONLY | O_SYNC], ["sr", O_RDONLY | O_SYNC], ["r+", O_RDWR], ["rs+", O_RDWR | O_SYNC], ["sr+", O_RDWR | O_SYNC],
  ["w", WRITE], ["wx", WRITE | O_EXCL], ["xw", WRITE | O_EXCL], ["w+", READ_WRITE], ["wx+", READ_WRITE | O_EXCL], ["xw+", READ_WRITE | O_EXCL],
  ["a", APPEND], ["ax", APPEND | O_EXCL], ["xa", APPEND | O_EXCL], ["as", APPEND | O_SYNC], ["sa", APPEND | O_SYNC],
  ["a+", READ_APPEND], ["ax+", READ_APPEND | O_EXCL], ["xa+", READ_APPEND | O_EXCL], ["as+", READ_APPEND | O_SYNC], ["sa+", READ_APPEND | O_SYNC],
]);

/** @throws TypeError ERR_INVALID_ARG_VALUE, RangeError ERR_OUT_OF_RANGE. */
export function parseFlags(flags: string | number | null | undefined): number {
  if (flags === null || flags === undefined) return O_RDONLY;
  if (typeof flags === "number") {
    checkInteger(flags, "flags", -(2 ** 31), 2 ** 31 - 1);
    return flags;
  }
  const value = FLAGS.get(flags);
  if (value === undefined) throw argumentError("ERR_INVALID_ARG_VALUE", `The argument 'flags' is invalid. Received '${flags}'`);
  return value;
}
