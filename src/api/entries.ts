/** Directory entries as a program gets them: names in the encoding that it asked for, kinds, and the path of what they are in. */
import { compareBytes } from "../lib/bytes.js";
import { decode } from "../lib/utf8.js";
import type { Task } from "../sched/task.js";
import { DT_UNKNOWN, S_IFMT, type Inode } from "../vfs/inode.js";
import { lookUp } from "../vfs/namei.js";
import type { WalkEntry } from "../vfs/walk.js";
import type { Host } from "./context.js";
import { decodeAs } from "./path.js";

export type EntryName = string | Uint8Array;

const SLASH = 0x2f;

/** What an entry stands for; undefined: since the directory was listed it was taken away. Where nothing changes its number will do. */
export function* childOf(dir: Inode, { name, ino }: WalkEntry): Task<Inode | undefined> {
  return dir.i_sb.isWritable ? yield* lookUp(dir, name) : yield* dir.i_sb.iget(ino);
}

/** S_IFMT bits, which a directory entry may not tell; 0: it was taken away meanwhile. */
export function* entryType(dir: Inode, entry: WalkEntry): Task<number> {
  return entry.type !== DT_UNKNOWN ? entry.type << 12 : ((yield* childOf(dir, entry))?.i_mode ?? 0) & S_IFMT;
}

/** @param encoding "buffer" for the bytes themselves. */
export function entryName(host: Host, name: Uint8Array, encoding = "utf8"): EntryName {
  return encoding === "buffer" ? host.wrapBytes(name) : decodeAs(name, encoding);
}

/** By bytes: libuv sorts what readdir gives, and programs count on it. */
export function sortEntries(entries: WalkEntry[]): WalkEntry[] {
  return entries.sort((a, b) => compareBytes(a.name, b.name));
}

/** The path of an entry from where a recursive listing began; both parts in the listing's encoding. */
export function relativePath(host: Host, directory: EntryName, name: EntryName): EntryName {
  if (directory.length === 0) return name;
  if (typeof name === "string") return `${directory as string}/${name}`;
  const path = new Uint8Array(directory.length + 1 + name.length);
  path.set(directory as Uint8Array);
  path[directory.length] = SLASH;
  path.set(name, directory.length + 1);
  return host.wrapBytes(path);
}

/** The path of an entry, as Dirent.parentPath of what is below it. */
export function childPath(parentPath: string, name: Uint8Array): string {
  return parentPath.endsWith("/") ? parentPath + decode(name) : `${parentPath}/${decode(name)}`;
}
