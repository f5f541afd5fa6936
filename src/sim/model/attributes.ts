/**
 * The judge of attributes: permissions, owner, group and extended attributes are registers of a file's own, each of which has the value of one call that set it. After a power cut that is one of those that no
 * sync of the file has made stale; in the end it is one that may have been the last. Times and flags are not judged, and of permissions not the bits that a change of the owner or a write takes away.
 * A call of which nobody knows the file may have been one on whatever file.
 */
import { describe, hasEnded, type AttributeChange, type CallRecord, type FileId, type Sync } from "./history.js";
import { UNCERTAIN } from "./name-tree.js";
import { searchOrders, type Step } from "./order.js";

/** By name: "mode", "uid", "gid", and of extended attributes their own. */
export type Attributes = ReadonlyMap<string, string>;
export type AttributeTree = ReadonlyMap<string, { readonly kind: string; readonly id: FileId; readonly attributes: Attributes }>;

/** States of a search: the value at first; from 1 on, that of a change. */
const INITIAL = 0;

/** @param records as of the cut. @param isCut false: all is over, so everything that ended well must be there. @throws TooManyOrdersError */
export function attributeProblems(records: readonly CallRecord[], initial: AttributeTree, found: AttributeTree, isCut: boolean): string[] {
  const changes = records.filter((record): record is AttributeChange => record.kind === "attribute" && (record.code === undefined || UNCERTAIN.has(record.code))).sort((a, b) => a.begin - b.begin);
  if (changes.length === 0) return [];
  const before = new Map([...initial.values()].map(({ id, attributes }) => [id, attributes]));
  const problems: string[] = [];
  const seen = new Set<FileId>();
  for (const [path, { id, attributes }] of found) {
    if (seen.has(id)) continue;
    seen.add(id);
    const own = changes.filter((change) => (change.file ?? id) === id);
    const isCertain = (change: AttributeChange): boolean => change.file === id && hasEnded(change) && change.code === undefined && (!isCut || isDurable(change, id, records));
    for (const name of new Set(own.flatMap(({ values }) => [...values.keys()]))) {
      const meant = own.filter(({ values }) => values.has(name));
      const problem = valueProblem(meant, isCertain, name, before.get(id), attributes.get(name));
      if (problem !== undefined) problems.push(`${path}: ${problem}`);
    }
  }
  return problems;
}

/** @param before undefined: the file was made meanwhile, and nobody knows with what. */
function valueProblem(changes: readonly AttributeChange[], isCertain: (change: AttributeChange) => boolean, name: string, before: Attributes | undefined, found: string | undefined): string | undefined {
  const steps = changes.map((change): Step => ({ begin: change.begin, end: change.end, isWanted: isCertain(change), mayBeAbsent: hasEnded(change) && !isCertain(change), isSight: false }));
  const sources = new Set<number>();
  searchOrders(steps, INITIAL, (index) => index + 1, (state) => {
    sources.add(state);
    return false;
  });
  const isRight = [...sources].some((source) => {
    if (source === INITIAL) return before === undefined || before.get(name) === found;
    const value = changes[source - 1]!.values.get(name);
    return value === null || value === found;
  });
  if (isRight) return undefined;
  const allowed = [...sources].map((source) => (source === INITIAL ? `${before?.get(name) ?? "absent"} (at first)` : `${changes[source - 1]!.values.get(name) ?? "absent"} (${describe(changes[source - 1]!)})`));
  return `its ${name} is ${found ?? "absent"}; it may be ${allowed.join(", or ")}`;
}

/** By a sync of the file, or of all, that began when the change was over. */
function isDurable({ end }: AttributeChange, file: FileId, records: readonly CallRecord[]): boolean {
  return records.some((record) => record.kind === "sync" && makesDurable(record, file) && record.begin > end);
}

function makesDurable(sync: Sync, file: FileId): boolean {
  const { commits = sync.file === undefined ? "all" : "file" } = sync;
  return hasEnded(sync) && sync.code === undefined && (commits === "all" || (commits === "file" && sync.file === file));
}
