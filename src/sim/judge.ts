/** What the recorded calls say must be true of what they saw, of the tree in the end, and of the tree after a power cut. */
import type { FoundTree } from "./image.js";
import { attributeProblems } from "./model/attributes.js";
import { crashContentProblems } from "./model/durability.js";
import type { CallRecord, FileId } from "./model/history.js";
import { crashNameProblems, nameProblems } from "./model/names.js";
import { treeDifferences } from "./model/name-tree.js";
import { withFiles } from "./model/paths.js";
import { finalContentProblems, hex, linearizabilityProblems } from "./model/registers.js";

const NOTHING = new Uint8Array(0);

export function finalProblems(recorded: readonly CallRecord[], initial: FoundTree, final: FoundTree): string[] {
  const records = withFiles(recorded, initial);
  const before = contentsOf(initial);
  const initialBytes = (file: FileId): Uint8Array => before.get(file) ?? NOTHING;
  const contentProblems = [...linearizabilityProblems(records, initialBytes), ...finalContentProblems(records, initialBytes, contentsOf(final))];
  return [...nameProblems(records, initial, final), ...contentProblems, ...attributeProblems(records, initial, final, false)].map(withInodeNumbers);
}

/** @param recorded as of the cut. */
export function crashProblems(recorded: readonly CallRecord[], initial: FoundTree, found: FoundTree): string[] {
  const records = withFiles(recorded, initial);
  const before = contentsOf(initial);
  const initialBytes = (file: FileId): Uint8Array => before.get(file) ?? NOTHING;
  const contentProblems = crashContentProblems(records, initialBytes, contentsOf(found));
  return [...crashNameProblems(records, initial, found, initialBytes), ...contentProblems, ...attributeProblems(records, initial, found, true)].map(withInodeNumbers);
}

/** What is not in `found` as it was before an unmount. @param withContents and what files hold, unless that may have been lost. */
export function differences(before: FoundTree, found: FoundTree, withContents: boolean): string[] {
  const problems = treeDifferences(before, found);
  for (const [path, { attributes }] of problems.length === 0 ? before : []) {
    const now = found.get(path)!.attributes;
    for (const name of new Set([...attributes.keys(), ...now.keys()])) {
      if (attributes.get(name) !== now.get(name)) problems.push(`${path}: its ${name} was ${attributes.get(name) ?? "absent"}, and is ${now.get(name) ?? "absent"}`);
    }
  }
  for (const [path, { kind, bytes }] of withContents && problems.length === 0 ? before : []) {
    const now = found.get(path)!.bytes;
    const length = Math.max(bytes.length, now.length);
    let at = 0;
    while (at < length && bytes[at] === now[at]) at++;
    if (at < length) problems.push(`${path}: byte ${at} of the ${kind} was ${hex(bytes[at])}, and is ${hex(now[at])}`);
  }
  return problems.map(withInodeNumbers);
}

/** Files go by number and generation there, and by number for people. */
const withInodeNumbers = (problem: string): string => problem.replace(/\b\d{10,17}\b/g, (id) => String(Math.floor(Number(id) / 2 ** 32)));

function contentsOf(tree: FoundTree): Map<FileId, Uint8Array> {
  const contents = new Map<FileId, Uint8Array>();
  for (const { kind, id, bytes } of tree.values()) if (kind === "file") contents.set(id, bytes);
  return contents;
}
