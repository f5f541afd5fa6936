/** Linux's numbers, whatever the host, as a volume is a Linux filesystem everywhere. */
import {
  O_ACCMODE, O_APPEND, O_CREAT, O_DIRECT, O_DIRECTORY, O_DSYNC, O_EXCL, O_NOATIME, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, O_SYNC, O_TMPFILE, O_TRUNC, O_WRONLY, SEEK_DATA, SEEK_HOLE,
} from "../vfs/flags.js";
import { argumentError, checkInteger } from "./path.js";

export const constants = {
  F_OK: 0, X_OK: 1, W_OK: 2, R_OK: 4,
  O_RDONLY, O_WRONLY, O_RDWR, O_ACCMODE, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NONBLOCK, O_DSYNC, O_DIRECT, O_DIRECTORY, O_NOFOLLOW, O_NOATIME, O_SYNC, O_TMPFILE,
  COPYFILE_EXCL: 1, COPYFILE_FICLONE: 2, COPYFILE_FICLONE_FORCE: 4, SEEK_DATA, SEEK_HOLE,
  S_IFMT: 0o170000, S_IFREG: 0o100000, S_IFDIR: 0o040000, S_IFCHR: 0o020000, S_IFBLK: 0o060000, S_IFIFO: 0o010000, S_IFLNK: 0o120000, S_IFSOCK: 0o140000,
  S_IRWXU: 0o700, S_IRUSR: 0o400, S_IWUSR: 0o200, S_IXUSR: 0o100, S_IRWXG: 0o070, S_IRGRP: 0o040, S_IWGRP: 0o020, S_IXGRP: 0o010,
  S_IRWXO: 0o007, S_IROTH: 0o004, S_IWOTH: 0o002, S_IXOTH: 0o001,
} as const;

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
