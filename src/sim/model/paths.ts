/**
 * Which file a path led to. That is known where no call took the name, or one above it, from what it meant; of a truncated file it has to be known, as else nothing could be said of any file's bytes.
 */
import { ScenarioError } from "../scenario.js";
import { describe, isNameOperation, type CallRecord, type FileId, type NameOperation, type SizeChange, type Truncation } from "./history.js";
import { UNCERTAIN, type NameTree } from "./name-tree.js";

/** The records with files in the place of paths, where those are known. @throws ScenarioError a file was truncated by its path, and nobody knows which. */
export function withFiles(records: readonly CallRecord[], initial: NameTree): readonly CallRecord[] {
  if (!records.some((record) => record.kind === "truncate" || (record.kind === "attribute" && record.path !== undefined))) return records;
  const changes = records.filter(isNameOperation).filter(({ kind, code }) => kind !== "lookup" && (code === undefined || UNCERTAIN.has(code)));
  return records.flatMap((record): CallRecord[] => {
    if (record.kind === "truncate") return sizeChange(record, changes, initial);
    if (record.kind !== "attribute" || record.path === undefined) return [record];
    return [{ ...record, file: fileAt(record.path, changes, initial) || undefined }];
  });
}

function sizeChange(record: Truncation, changes: readonly NameOperation[], initial: NameTree): SizeChange[] {
  const { path, sizeBytes, task, begin, end, text, code } = record;
  const file = fileAt(path, changes, initial);
  if (file === NOBODY || (code !== undefined && !UNCERTAIN.has(code) && file === undefined)) return [];
  if (file === undefined) throw new ScenarioError(`the lab's model does not know this call yet: ${describe(record)}: which file that was, others may have changed; ftruncate does the same`);
  return [{ kind: "size", file, sizeBytes, task, begin, end, text, ...(code === undefined ? {} : { code }) }];
}

/** In the place of a file's id: there is none, or one that nobody has come to yet. */
const NOBODY = 0;

/** undefined: who knows, or a symbolic link. */
function fileAt(path: string, changes: readonly NameOperation[], initial: NameTree): FileId | undefined {
  let made: FileId = NOBODY;
  for (const change of changes) {
    const isBehind = pathsOf(change).every((other) => path !== other && !path.startsWith(`${other}/`));
    if (isBehind || (change.kind === "mkdir" && path !== change.path)) continue;
    if (change.kind !== "create" || path !== change.path) return undefined;
    // Whoever comes first makes the file, and all others find it.
    made = change.id ?? made;
  }
  const entry = initial.get(path);
  return entry?.kind === "symlink" ? undefined : entry?.id ?? made;
}

const pathsOf = (operation: NameOperation): string[] => ("path" in operation ? [operation.path] : [operation.from, operation.to]);
