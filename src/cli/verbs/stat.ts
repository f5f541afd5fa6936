/** stat: all that an inode says of a file. */
import { INODE_FLAG_LETTERS } from "../../format/inode.js";
import type { Task } from "../../sched/task.js";
import { S_IFBLK, S_IFCHR, S_IFMT } from "../../vfs/inode.js";
import { dentryPath, type Dentry } from "../../vfs/namei.js";
import type { Output } from "../output.js";
import { fullTime, jsonName, modeString, quoted, timeNumber, typeName } from "../text.js";

export const flagLetters = (flags: number): string => INODE_FLAG_LETTERS.filter(([bit]) => (flags & bit) !== 0).map(([, letter]) => letter).join("");

export function* stat(dentry: Dentry, out: Output): Task<void> {
  const inode = dentry.d_inode;
  const path = dentryPath(dentry);
  const { sizeBytes, blocks } = yield* inode.getattr();
  const target = inode.isSymlink() ? yield* inode.readlink() : undefined;
  const extents = (yield* inode.fiemap(0, Math.ceil(inode.i_size / inode.i_sb.blockBytes))).length;
  const type = inode.i_mode & S_IFMT;
  const isDevice = type === S_IFCHR || type === S_IFBLK;
  if (out.isJson) {
    out.record({
      ...jsonName(path, "path"), ...(target === undefined ? {} : jsonName(target, "target")), type: typeName(inode.i_mode), ino: inode.i_ino, mode: inode.i_mode,
      nlink: inode.i_nlink, uid: inode.i_uid, gid: inode.i_gid, size: sizeBytes, blocks, blockSize: inode.i_sb.blockBytes, ...(isDevice ? { rdev: inode.i_rdev } : {}),
      atime: timeNumber(inode.i_atime), mtime: timeNumber(inode.i_mtime), ctime: timeNumber(inode.i_ctime),
      crtime: inode.i_crtime === undefined ? null : timeNumber(inode.i_crtime), flags: inode.i_flags, flagLetters: flagLetters(inode.i_flags),
      generation: inode.i_generation, project: inode.i_projid, extents,
    });
    return;
  }
  out.line(`  File: ${quoted(path)}${target === undefined ? "" : ` -> ${quoted(target)}`}`);
  out.line(`  Size: ${String(sizeBytes).padEnd(15)} Blocks: ${String(blocks).padEnd(10)} IO Block: ${String(inode.i_sb.blockBytes).padEnd(6)} ${typeName(inode.i_mode)}`);
  out.line(` Inode: ${String(inode.i_ino).padEnd(15)} Links: ${String(inode.i_nlink).padEnd(11)} Extents: ${String(extents).padEnd(7)}${isDevice ? ` Device type: ${inode.i_rdev.major},${inode.i_rdev.minor}` : ""}`);
  out.line(`Access: (${(inode.i_mode & 0o7777).toString(8).padStart(4, "0")}/${modeString(inode.i_mode)})  Uid: ${inode.i_uid}   Gid: ${inode.i_gid}`);
  out.line(` Flags: ${flagLetters(inode.i_flags) || "-"}   Generation: ${inode.i_generation}   Project: ${inode.i_projid}`);
  out.line(`Access: ${fullTime(inode.i_atime)}`);
  out.line(`Modify: ${fullTime(inode.i_mtime)}`);
  out.line(`Change: ${fullTime(inode.i_ctime)}`);
  out.line(` Birth: ${inode.i_crtime === undefined ? "-" : fullTime(inode.i_crtime)}`);
}
