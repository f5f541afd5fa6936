/**
 * The tree of names as a model: paths, what they lead to, and what each call on names makes of that, with Linux's codes. Paths are absolute and plain ("/a/b": no "." or "..", no slash at the end); the root
 * is always there, and has an entry only if its link count is of interest. Symbolic links are names like others: none is followed, and a call that would do so is a ScenarioError.
 */
import { ScenarioError } from "../scenario.js";
import type { FileId, Lookup, NameOperation, Rename } from "./history.js";

export interface NameEntry { readonly kind: "file" | "directory" | "symlink" | "other"; readonly id: FileId; readonly nlink: number }
export type NameTree = ReadonlyMap<string, NameEntry>;

/** What a call came to. `touched`: files and directories that it changed. */
export type NameOutcome = { readonly tree: NameTree; readonly touched: readonly FileId[] } | { readonly code: string };

/** After these a change may have been made all the same; after any other, as ENOSPC or EACCES, nothing was. */
export const UNCERTAIN: ReadonlySet<string> = new Set(["EIO", "EROFS", "EUCLEAN", "EBADMSG"]);

export const parentOf = (path: string): string => path.slice(0, path.lastIndexOf("/")) || "/";
export const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
export const joined = (directory: string, name: string): string => (directory === "/" ? `/${name}` : `${directory}/${name}`);
const isBelow = (path: string, above: string): boolean => path === above || above === "/" || path.startsWith(`${above}/`);
const isEmpty = (tree: NameTree, path: string): boolean => ![...tree.keys()].some((other) => other.startsWith(`${path}/`));
const isDirectory = (entry: NameEntry | undefined): boolean => entry?.kind === "directory";

const followsLink = (path: string): ScenarioError => new ScenarioError(`the lab's model does not know this call yet: it follows a symbolic link, ${path}`);

/** @returns the code with which a walk to `path`'s directory ends; undefined: it comes there. */
export function walkCode(tree: NameTree, path: string): string | undefined {
  const directory = parentOf(path);
  if (directory === "/") return undefined;
  const code = walkCode(tree, directory);
  if (code !== undefined) return code;
  const entry = tree.get(directory);
  if (entry?.kind === "symlink") throw followsLink(directory);
  return entry === undefined ? "ENOENT" : isDirectory(entry) ? undefined : "ENOTDIR";
}

/** @param newId for what is made, if the operation does not know it. */
export function applyName(tree: NameTree, operation: NameOperation, newId: FileId): NameOutcome {
  switch (operation.kind) {
    case "create": return create(tree, operation.path, "file", operation.id ?? newId, operation.isExclusive);
    case "mknod": return create(tree, operation.path, operation.node, operation.id ?? newId, true);
    case "mkdir": return create(tree, operation.path, "directory", operation.id ?? newId, true);
    case "symlink": return create(tree, operation.path, "symlink", operation.id ?? newId, true);
    case "lookup": return lookup(tree, operation);
    case "unlink": return remove(tree, operation.path, false);
    case "rmdir": return remove(tree, operation.path, true);
    case "link": return link(tree, operation.from, operation.to);
    case "rename": return rename(tree, operation);
  }
}

function create(tree: NameTree, path: string, kind: NameEntry["kind"], id: FileId, isExclusive: boolean): NameOutcome {
  const code = walkCode(tree, path);
  if (code !== undefined) return { code };
  const there = tree.get(path);
  if (path === "/" || there !== undefined) {
    if (isExclusive) return { code: "EEXIST" };
    if (path === "/" || isDirectory(there)) return { code: "EISDIR" };
    if (there!.kind === "symlink") throw followsLink(path);
    return { tree, touched: [] };
  }
  const draft = new Map(tree);
  draft.set(path, { kind, id, nlink: kind === "directory" ? 2 : 1 });
  if (kind === "directory") addLinks(draft, parentOf(path), 1);
  return { tree: draft, touched: [id, ...directoryId(tree, path)] };
}

function lookup(tree: NameTree, { path, wantsDirectory, isNoFollow, isWriting }: Lookup): NameOutcome {
  const code = walkCode(tree, path);
  if (code !== undefined) return { code };
  const entry = tree.get(path);
  if (entry === undefined && path !== "/") return { code: "ENOENT" };
  if (entry?.kind === "symlink") {
    if (isNoFollow !== true || wantsDirectory === true) throw followsLink(path);
    return { code: "ELOOP" };
  }
  const isThere = path === "/" || isDirectory(entry);
  if (isThere && isWriting === true) return { code: "EISDIR" };
  return wantsDirectory === true && !isThere ? { code: "ENOTDIR" } : { tree, touched: [] };
}

function remove(tree: NameTree, path: string, wantsDirectory: boolean): NameOutcome {
  const code = walkCode(tree, path);
  if (code !== undefined) return { code };
  if (path === "/") return { code: wantsDirectory ? "EBUSY" : "EISDIR" };
  const entry = tree.get(path);
  if (entry === undefined) return { code: "ENOENT" };
  if (isDirectory(entry) !== wantsDirectory) return { code: wantsDirectory ? "ENOTDIR" : "EISDIR" };
  if (wantsDirectory && !isEmpty(tree, path)) return { code: "ENOTEMPTY" };
  const draft = new Map(tree);
  take(draft, path);
  return { tree: draft, touched: [entry.id, ...directoryId(tree, path)] };
}

function link(tree: NameTree, from: string, to: string): NameOutcome {
  const source = linkSource(tree, from);
  return typeof source === "string" && source !== DIRECTORY ? { code: source } : linkFrom(tree, source, to);
}

/** Stands for whichever directory a link was to be made of. */
const DIRECTORY = "directory";

/** The first step of link: the file that it finds, DIRECTORY, or a code. */
export function linkSource(tree: NameTree, from: string): FileId | string {
  const code = walkCode(tree, from);
  if (code !== undefined) return code;
  const entry = tree.get(from);
  if (from === "/" || isDirectory(entry)) return DIRECTORY;
  return entry === undefined ? "ENOENT" : entry.id;
}

/** The second: the file gets another name, whatever became of the one by which it was found. */
export function linkFrom(tree: NameTree, source: FileId | string, to: string): NameOutcome {
  const code = walkCode(tree, to);
  if (code !== undefined) return { code };
  if (to === "/" || tree.has(to)) return { code: "EEXIST" };
  if (typeof source === "string") return { code: source === DIRECTORY ? "EPERM" : source };
  const entry = [...tree.values()].find(({ id }) => id === source);
  if (entry === undefined) return { code: "ENOENT" };
  const draft = new Map(tree);
  addFileLinks(draft, entry.id, 1);
  draft.set(to, { ...entry, nlink: entry.nlink + 1 });
  return { tree: draft, touched: [entry.id, ...directoryId(tree, to)] };
}

function rename(tree: NameTree, { from, to, isNoReplace, isExchange, wantsDirectory }: Rename): NameOutcome {
  if (isNoReplace === true && isExchange === true) return { code: "EINVAL" };
  const code = walkCode(tree, from) ?? walkCode(tree, to);
  if (code !== undefined) return { code };
  if (from === "/") return { code: "EBUSY" };
  if (to === "/") return { code: isNoReplace === true ? "EEXIST" : "EBUSY" };
  const [entry, target] = [tree.get(from), tree.get(to)];
  if (entry === undefined) return { code: "ENOENT" };
  if (target !== undefined && isNoReplace === true) return { code: "EEXIST" };
  if (target === undefined && isExchange === true) return { code: "ENOENT" };
  if (wantsDirectory === true && !isDirectory(entry)) return { code: "ENOTDIR" };
  if (isDirectory(entry) && isBelow(parentOf(to), from)) return { code: "EINVAL" };
  if (isDirectory(target) && isBelow(parentOf(from), to)) return { code: isExchange === true ? "EINVAL" : "ENOTEMPTY" };
  if (entry.id === target?.id) return { tree, touched: [] };
  if (isExchange !== true && target !== undefined) {
    if (isDirectory(entry) !== isDirectory(target)) return { code: isDirectory(entry) ? "ENOTDIR" : "EISDIR" };
    if (isDirectory(target) && !isEmpty(tree, to)) return { code: "ENOTEMPTY" };
  }
  const touched = [entry.id, ...(target === undefined ? [] : [target.id]), ...directoryId(tree, from), ...directoryId(tree, to)];
  const draft = new Map(tree);
  const moved = cut(draft, from);
  const replaced = isExchange === true ? cut(draft, to) : undefined;
  if (replaced === undefined && target !== undefined) take(draft, to);
  paste(draft, to, moved);
  if (replaced !== undefined) paste(draft, from, replaced);
  return { tree: draft, touched };
}

const directoryId = (tree: NameTree, path: string): FileId[] => {
  const entry = tree.get(parentOf(path));
  return entry === undefined ? [] : [entry.id];
};

type Draft = Map<string, NameEntry>;

/** Takes a name away, and with it a link. */
function take(draft: Draft, path: string): void {
  const entry = draft.get(path)!;
  draft.delete(path);
  if (isDirectory(entry)) addLinks(draft, parentOf(path), -1);
  else addFileLinks(draft, entry.id, -1);
}

/** A name and what is below it, by the rest of the path. */
function cut(draft: Draft, path: string): Map<string, NameEntry> {
  const part = new Map<string, NameEntry>();
  for (const [other, entry] of draft) if (isBelow(other, path)) part.set(other.slice(path.length), entry);
  for (const rest of part.keys()) draft.delete(path + rest);
  if (isDirectory(part.get(""))) addLinks(draft, parentOf(path), -1);
  return part;
}

function paste(draft: Draft, path: string, part: ReadonlyMap<string, NameEntry>): void {
  for (const [rest, entry] of part) draft.set(path + rest, entry);
  if (isDirectory(part.get(""))) addLinks(draft, parentOf(path), 1);
}

/** A directory's link count: for the ".." of those in it. */
function addLinks(draft: Draft, path: string, count: number): void {
  const entry = draft.get(path);
  if (entry !== undefined) draft.set(path, { ...entry, nlink: entry.nlink + count });
}

function addFileLinks(draft: Draft, id: FileId, count: number): void {
  for (const [path, entry] of draft) if (entry.id === id) draft.set(path, { ...entry, nlink: entry.nlink + count });
}

/** What makes two trees differ, one line each; empty: they are the same. Ids below 0 stand for any, the same wherever they come up. */
export function treeDifferences(expected: NameTree, found: NameTree): string[] {
  const differences: string[] = [];
  const meanings = new Map<FileId, FileId>();
  for (const path of new Set([...expected.keys(), ...found.keys()])) {
    const [wanted, is] = [expected.get(path), found.get(path)];
    if (wanted === undefined || is === undefined) {
      // Who has no entry of the root does not ask for its link count.
      if (path !== "/") differences.push(`${path} ${is === undefined ? "is missing" : "is there"}`);
      continue;
    }
    if (wanted.id < 0 && !meanings.has(wanted.id)) meanings.set(wanted.id, is.id);
    const id = meanings.get(wanted.id) ?? wanted.id;
    if (wanted.kind !== is.kind || wanted.nlink !== is.nlink || id !== is.id) differences.push(`${path} is a ${tell(is)}, not a ${tell({ ...wanted, id })}`);
  }
  return differences;
}

const tell = ({ kind, id, nlink }: NameEntry): string => `${kind} (${id}) with ${nlink} link${nlink === 1 ? "" : "s"}`;
