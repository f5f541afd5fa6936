/** What the recorded calls say must be true of what they saw, of the tree in the end, and of the tree after a power cut. */
import type { FoundTree } from "./image.js";
import { crashContentProblems } from "./model/durability.js";
import type { CallRecord, FileId } from "./model/history.js";
import { crashNameProblems, nameProblems } from "./model/names.js";
import { finalContentProblems, linearizabilityProblems } from "./model/registers.js";

const NOTHING = new Uint8Array(0);

export function finalProblems(records: readonly CallRecord[], initial: FoundTree, final: FoundTree): string[] {
  const before = contentsOf(initial);
  const initialBytes = (file: FileId): Uint8Array => before.get(file) ?? NOTHING;
  return [...nameProblems(records, initial, final), ...linearizabilityProblems(records, initialBytes), ...finalContentProblems(records, initialBytes, contentsOf(final))].map(withInodeNumbers);
}

/** @param records as of the cut. */
export function crashProblems(records: readonly CallRecord[], initial: FoundTree, found: FoundTree): string[] {
  const before = contentsOf(initial);
  const initialBytes = (file: FileId): Uint8Array => before.get(file) ?? NOTHING;
  return [...crashNameProblems(records, initial, found, initialBytes), ...crashContentProblems(records, initialBytes, contentsOf(found))].map(withInodeNumbers);
}

/** Files go by number and generation there, and by number for people. */
const withInodeNumbers = (problem: string): string => problem.replace(/\b\d{10,17}\b/g, (id) => String(Math.floor(Number(id) / 2 ** 32)));

function contentsOf(tree: FoundTree): Map<FileId, Uint8Array> {
  const contents = new Map<FileId, Uint8Array>();
  for (const { kind, id, bytes } of tree.values()) if (kind === "file") contents.set(id, bytes);
  return contents;
}
