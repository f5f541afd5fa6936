/** find: the paths below a directory that meet all conditions. */
import type { Task } from "../../sched/task.js";
import { decode } from "../../lib/utf8.js";
import type { Inode } from "../../vfs/inode.js";
import { dentryPath, type Dentry } from "../../vfs/namei.js";
import { walkTree } from "../../vfs/walk.js";
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { jsonName, quoted, typeLetter, typeName } from "../text.js";

export interface FindOptions {
  readonly name?: string;
  readonly iname?: string;
  readonly path?: string;
  readonly type?: string;
  readonly size?: string;
  readonly links?: string;
  readonly inum?: string;
  readonly uid?: string;
  readonly gid?: string;
  readonly maxdepth?: number;
  readonly mindepth?: number;
  readonly print0?: boolean;
}

type Condition = (inode: Inode, name: string, path: string) => boolean;

export function* find(top: Dentry, options: FindOptions, out: Output): Task<void> {
  const conditions = conditionsOf(options);
  const topName = dentryPath(top);
  let seen = 0;
  yield* walkTree(top, {
    *enter(dentry, depth) {
      const path = dentryPath(dentry);
      const inode = dentry.d_inode;
      const meets = depth >= (options.mindepth ?? 0) && conditions.every((condition) => condition(inode, decode(dentry.d_name), decode(path)));
      if (meets && out.isJson) out.record({ ...jsonName(path, "path"), type: typeName(inode.i_mode), ino: inode.i_ino, size: inode.i_size });
      else if (meets && options.print0 === true) out.bytes(Buffer.concat([path, Buffer.of(0)]));
      else if (meets) out.line(quoted(path));
      out.progress(() => `${++seen} entries`);
      return depth < (options.maxdepth ?? Infinity);
    },
    failed: (error, path) => out.error(`${quoted(path.length === 0 ? topName : path)}: ${error.message}`),
  });
}

function conditionsOf(options: FindOptions): Condition[] {
  const conditions: Condition[] = [];
  const add = (condition: Condition | undefined): void => { if (condition !== undefined) conditions.push(condition); };
  const glob = (pattern: string, flags: string): RegExp => globToRegExp(pattern, flags);
  if (options.name !== undefined) { const pattern = glob(options.name, "s"); add((_inode, name) => pattern.test(name)); }
  if (options.iname !== undefined) { const pattern = glob(options.iname, "si"); add((_inode, name) => pattern.test(name)); }
  if (options.path !== undefined) { const pattern = glob(options.path, "s"); add((_inode, _name, path) => pattern.test(path)); }
  if (options.type !== undefined) {
    const letters = options.type.split(",").map((letter) => (letter === "f" ? "-" : letter));
    if (letters.some((letter) => !"-dlbcps".includes(letter))) throw new UsageError(`--type takes f, d, l, b, c, p, s, not '${options.type}'`);
    add((inode) => letters.includes(typeLetter(inode.i_mode)));
  }
  if (options.size !== undefined) { const compare = sizeCondition(options.size); add((inode) => compare(inode.i_size)); }
  if (options.links !== undefined) { const compare = numberCondition("--links", options.links); add((inode) => compare(inode.i_nlink)); }
  if (options.inum !== undefined) { const compare = numberCondition("--inum", options.inum); add((inode) => compare(inode.i_ino)); }
  if (options.uid !== undefined) { const compare = numberCondition("--uid", options.uid); add((inode) => compare(inode.i_uid)); }
  if (options.gid !== undefined) { const compare = numberCondition("--gid", options.gid); add((inode) => compare(inode.i_gid)); }
  return conditions;
}

/** *, ? and [...] of the shell. */
export function globToRegExp(pattern: string, flags: string): RegExp {
  const source = pattern.replace(/\[[!^]?\]?[^\]]*\]|[*?]|[\\^$.|+(){}[\]]/g, (part) =>
    part === "*" ? ".*" : part === "?" ? "." : part.length > 1 ? part.replace(/^\[!/, "[^").replaceAll("\\", "\\\\") : `\\${part}`);
  return new RegExp(`^${source}$`, flags);
}

/** N, +N (more) or -N (less). */
function numberCondition(option: string, text: string, unit = 1): (value: number) => boolean {
  const [, sign, digits] = /^([+-]?)(\d+)$/.exec(text) ?? [];
  if (digits === undefined) throw new UsageError(`${option} takes N, +N or -N, not '${text}'`);
  const wanted = Number(digits);
  return (value) => {
    const units = Math.ceil(value / unit);
    return sign === "+" ? units > wanted : sign === "-" ? units < wanted : units === wanted;
  };
}

const SIZE_UNITS: Record<string, number> = { c: 1, w: 2, b: 512, "": 512, k: 1024, M: 1024 ** 2, G: 1024 ** 3 };

function sizeCondition(text: string): (value: number) => boolean {
  const [, number, unit] = /^([+-]?\d+)([cwbkMG]?)$/.exec(text) ?? [];
  if (number === undefined) throw new UsageError(`--size takes a number and c, w, b, k, M or G, not '${text}'`);
  return numberCondition("--size", number, SIZE_UNITS[unit!]!);
}
