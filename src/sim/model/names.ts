/**
 * The judges of names. While all goes well, calls on names must fit one order that agrees with real time, with what each came to, and with the tree at the end. After a power cut the tree must be as after
 * the first so many calls of such an order, each whole or absent, with all that a sync had made durable among them.
 */
import { describe, hasEnded, isNameOperation, type CallRecord, type DataEffect, type FileId, type NameOperation, type Sync } from "./history.js";
import { applyName, joined, linkFrom, linkSource, nameOf, parentOf, treeDifferences, UNCERTAIN, walkCode, type NameOutcome, type NameTree } from "./name-tree.js";
import { searchOrders, type Step } from "./order.js";

export { applyName, type NameEntry, type NameOutcome, type NameTree } from "./name-tree.js";

/** Codes that the model knows when to expect. */
const KNOWN = new Set(["ENOENT", "EEXIST", "ENOTEMPTY", "EISDIR", "ENOTDIR", "EINVAL", "EBUSY"]);
const LISTED_MAX = 8;

/** @param finalTree undefined: only what the calls came to is judged. @throws TooManyOrdersError */
export function nameProblems(records: readonly CallRecord[], initialTree: NameTree, finalTree?: NameTree): string[] {
  const operations = records.filter(isNameOperation);
  const judge = new NameJudge(operations, initialTree);
  const isFinal = finalTree === undefined ? () => true : (tree: NameTree) => treeDifferences(tree, finalTree).length === 0;
  if (judge.reaches(hasEnded, isFinal)) return [];
  if (judge.reaches(hasEnded, () => true)) {
    return [`no order of the calls leads to the tree at the end: ${judge.closest(hasEnded, finalTree!).join("; ")}`, ...list(operations)];
  }
  // The first call, in the order in which they ended, that does not go together with those before it.
  const ended = operations.filter(hasEnded).sort((a, b) => a.end - b.end);
  for (let count = 1; ; count++) {
    const culprit = ended[count - 1]!;
    const known = operations.map((operation) => (operation.end > culprit.end ? { ...operation, end: Infinity, code: undefined, id: undefined } : operation) as NameOperation);
    if (count === ended.length || !new NameJudge(known, initialTree).reaches(hasEnded, () => true)) {
      return [`no order of the calls explains what this one came to: ${outcomeOf(culprit)}`, ...list(operations.filter(({ begin }) => begin < culprit.end))];
    }
  }
}

/**
 * @param records as of the cut: calls under way have `end` Infinity.
 * @param initial file contents at first, if it matters which writes made files longer.
 * @throws TooManyOrdersError
 */
export function crashNameProblems(records: readonly CallRecord[], initialTree: NameTree, foundTree: NameTree, initial?: (file: FileId) => Uint8Array): string[] {
  const operations = records.filter(isNameOperation);
  const judge = new NameJudge(operations, initialTree);
  const isFound = (tree: NameTree): boolean => treeDifferences(tree, foundTree).length === 0;
  const syncs = records.filter((record): record is Sync => record.kind === "sync" && hasEnded(record) && record.code === undefined);
  const durable = durableOperations(records, operations, syncs, judge, initial);
  const isDurable = (operation: NameOperation): boolean => durable.has(operation);
  if (judge.reaches(isDurable, isFound)) return [];
  const reason = durable.size > 0 && judge.reaches(() => false, isFound) ? "something is lost that a sync had made durable" : "no order of the calls, cut off anywhere, leads to the tree that was found";
  return [`${reason}: ${judge.closest(isDurable, foundTree).join("; ")}`, ...operations.slice(-LISTED_MAX).map((operation) => `  ${isDurable(operation) ? "durable " : ""}${outcomeOf(operation)}`)];
}

const list = (operations: readonly NameOperation[]): string[] => operations.slice(-LISTED_MAX).map((operation) => `  ${outcomeOf(operation)}`);
const outcomeOf = (operation: NameOperation): string => `${describe(operation)}${"id" in operation && operation.id !== undefined ? ` (file ${operation.id})` : ""}`;

/**
 * What syncs have made durable. A file's sync commits the transactions that changed that file, and so all before these: what had ended when such a change began is among it, and what came in between by the
 * order of the calls, which is the search's business.
 */
function durableOperations(records: readonly CallRecord[], operations: readonly NameOperation[], syncs: readonly Sync[], judge: NameJudge, initial: ((file: FileId) => Uint8Array) | undefined): Set<NameOperation> {
  const durable = new Set<NameOperation>();
  const addBefore = (moment: number): void => {
    for (const operation of operations) if (operation.end < moment) durable.add(operation);
  };
  if (operations.length === 0) return durable;
  for (const { begin, file, commits = file === undefined ? "all" : "file" } of syncs) {
    if (commits === "all") addBefore(begin);
    if (file === undefined || commits === "all" || commits === "nothing") continue;
    for (const operation of operations) {
      if (operation.end >= begin || operation.code !== undefined) continue;
      const isMaking = (operation.kind === "create" || operation.kind === "mkdir" || operation.kind === "mknod" || operation.kind === "symlink") && operation.id === file;
      if ((commits === "file" || isMaking) && judge.touchedBy(operation).has(file)) durable.add(operation);
    }
    for (const change of sizeChanges(records, file, initial)) if (change.end < begin) addBefore(change.begin);
  }
  return durable;
}

/** Calls that changed a file's size for certain, and so its inode. */
function sizeChanges(records: readonly CallRecord[], file: FileId, initial: ((file: FileId) => Uint8Array) | undefined): CallRecord[] {
  const initialBytes = records.some((record) => (record.kind === "create" || record.kind === "mknod") && record.id === file) ? 0 : initial?.(file).length ?? Infinity;
  const effects = records.filter((record): record is DataEffect => (record.kind === "size" || record.kind === "write" || record.kind === "zero") && record.file === file);
  return effects.filter((effect) => {
    if (effect.code !== undefined || !hasEnded(effect)) return false;
    if (effect.kind === "size") return true;
    const isLonger = (other: DataEffect): boolean => other !== effect && other.begin < effect.end && reachOf(other) >= reachOf(effect);
    return effect.kind === "write" && !effect.isStore && effect.bytes.length > 0 && effect.doneBytes === undefined && reachOf(effect) > initialBytes && !effects.some(isLonger);
  });
}

/** How long a file may be by an effect. */
function reachOf(effect: DataEffect): number {
  if (effect.kind === "size") return effect.sizeBytes;
  return effect.offset === undefined ? Infinity : effect.offset + (effect.kind === "write" ? effect.bytes.length : effect.lengthBytes);
}

/** What a walk has found: the id of a path's directory, for a link's source that of the file; or the code with which it ended. */
type Found = FileId | string;
/** A tree, and of calls that have not yet done their work, what they have found for each of their paths so far. */
interface NameState { readonly tree: NameTree; readonly walked: ReadonlyMap<number, readonly Found[]> }
/** A step of the search: operation `index` walks its path of that position, or, undefined, does its work. */
interface Meaning { readonly index: number; readonly position: number | undefined }

const ROOT = "/";

class NameJudge {
  private readonly operations: readonly NameOperation[];
  private readonly states: NameState[] = [];
  private readonly numbers = new Map<string, number>();
  private readonly results = new Map<number, number | undefined>();
  private readonly touched = new Map<NameOperation, Set<FileId>>();
  /**
   * A call finds its directories first, one after another by their paths, and does its work in them later, whatever they are called then; a link so finds the file as well. Only where directories move or go,
   * or what is linked, can that make a difference, and only where one step for each call does not do it is each walk taken as a step of its own.
   */
  private isWalkApart = false;

  constructor(operations: readonly NameOperation[], initialTree: NameTree) {
    this.operations = operations.filter(({ code, kind }) => code === undefined || isUnderstood(code, kind) || UNCERTAIN.has(code)).sort((a, b) => a.begin - b.begin);
    this.stateNumber({ tree: initialTree, walked: new Map() });
  }

  /** Whether some order, with all that is wanted and ended in it, comes to a tree that the goal accepts. */
  reaches(isWanted: (operation: NameOperation) => boolean, isGoal: (tree: NameTree) => boolean): boolean {
    if (this.search(isWanted, isGoal)) return true;
    if (!this.mayWalkMatter()) return false;
    this.isWalkApart = true;
    try {
      return this.search(isWanted, isGoal);
    } finally {
      this.isWalkApart = false;
    }
  }

  private mayWalkMatter(): boolean {
    const { operations } = this;
    if (operations.length > 1 && operations.some(({ kind }) => kind === "link")) return true;
    return operations.some(({ kind }) => kind === "rename" || kind === "rmdir") && operations.some((operation) => pathsOf(operation).some((path) => parentOf(path) !== ROOT));
  }

  /** In what the trees that can be reached differ from `tree`, at the least. */
  closest(isWanted: (operation: NameOperation) => boolean, tree: NameTree): string[] {
    let best: string[] | undefined;
    this.search(isWanted, (reached) => {
      const differences = treeDifferences(reached, tree);
      if (best === undefined || differences.length < best.length) best = differences;
      return false;
    });
    return best ?? ["nothing fits"];
  }

  /** Files and directories that an operation changes in whatever order. */
  touchedBy(operation: NameOperation): ReadonlySet<FileId> {
    if (this.touched.size === 0) this.search(() => false, () => false);
    return this.touched.get(operation) ?? new Set();
  }

  private search(isWanted: (operation: NameOperation) => boolean, isGoal: (tree: NameTree) => boolean): boolean {
    const steps: Step[] = [];
    const meanings: Meaning[] = [];
    this.operations.forEach((operation, index) => {
      const { begin, end, code, kind } = operation;
      const isUncertain = code !== undefined && UNCERTAIN.has(code);
      const isSight = (code !== undefined && !isUncertain) || kind === "lookup";
      const step = { begin, end, isWanted: hasEnded(operation) && !isUncertain && isWanted(operation), mayBeAbsent: isUncertain };
      for (const position of this.isWalkApart ? pathsOf(operation).keys() : []) {
        steps.push({ ...step, isSight: false });
        meanings.push({ index, position });
      }
      // With the walk apart even one that only sees changes what is known of its walk.
      steps.push({ ...step, isSight: isSight && !this.isWalkApart });
      meanings.push({ index, position: undefined });
    });
    return searchOrders(steps, 0, (step, state) => this.after(meanings[step]!, state), (state) => isGoal(this.states[state]!.tree));
  }

  private after({ index, position }: Meaning, state: number): number | undefined {
    const key = (state * this.operations.length + index) * 4 + (position ?? (this.isWalkApart ? 2 : 3));
    if (this.results.has(key)) return this.results.get(key);
    const { tree, walked } = this.states[state]!;
    let result: number | undefined;
    if (position !== undefined) {
      const found = walked.get(index) ?? [];
      if (found.length === position) result = this.stateNumber({ tree, walked: new Map([...walked, [index, [...found, this.walk(tree, index, position)]]]) });
    } else {
      const next = this.perform(tree, index, this.isWalkApart ? walked.get(index) : undefined);
      if (next === tree && !this.isWalkApart) result = state;
      else if (next !== undefined) result = this.stateNumber({ tree: next, walked: new Map([...walked].filter(([other]) => other !== index)) });
    }
    this.results.set(key, result);
    return result;
  }

  private walk(tree: NameTree, index: number, position: number): Found {
    const operation = this.operations[index]!;
    const path = pathsOf(operation)[position]!;
    if (operation.kind === "link" && position === 0) return linkSource(tree, path);
    return walkCode(tree, path) ?? (parentOf(path) === ROOT ? ROOT : tree.get(parentOf(path))!.id);
  }

  /** The tree after an operation; undefined: here it would have come to something else. */
  private perform(tree: NameTree, index: number, walked: readonly Found[] | undefined): NameTree | undefined {
    const operation = this.operations[index]!;
    if (this.isWalkApart && walked?.length !== pathsOf(operation).length) return undefined;
    const isUncertain = operation.code !== undefined && UNCERTAIN.has(operation.code);
    const placed = walked === undefined ? operation : inDirectories(tree, operation, walked);
    const newId = -1 - index;
    const outcome: NameOutcome = typeof placed === "string" ? { code: placed } : walked !== undefined && placed.kind === "link" ? linkFrom(tree, walked[0]!, placed.to) : applyName(tree, placed, newId);
    if ("code" in outcome) return isUncertain || outcome.code === operation.code || !hasEnded(operation) ? tree : undefined;
    if (operation.code !== undefined && !isUncertain) return undefined;
    if (typeof placed !== "string" && "path" in placed && "id" in operation && operation.id !== undefined && placed.path !== ROOT) {
      // What a call under way has made may have any number.
      const { id } = outcome.tree.get(placed.path)!;
      const isKnown = outcome.tree !== tree && [...tree.values()].some((entry) => entry.id === id);
      if ((id >= 0 && id !== operation.id) || isKnown) return undefined;
    }
    const before = this.touched.get(operation);
    this.touched.set(operation, new Set(before === undefined ? outcome.touched : outcome.touched.filter((id) => before.has(id))));
    return outcome.tree;
  }

  private stateNumber(state: NameState): number {
    const key = `${[...state.tree].map(([path, { kind, id, nlink }]) => `${path}\0${kind}\0${id}\0${nlink}`).sort().join("\n")}\n\n${[...state.walked].map(([index, ids]) => `${index}:${ids.join()}`).sort().join()}`;
    let number = this.numbers.get(key);
    if (number === undefined) this.numbers.set(key, number = this.states.push(state) - 1);
    return number;
  }
}

function isUnderstood(code: string, kind: NameOperation["kind"]): boolean {
  return KNOWN.has(code) || (code === "EPERM" && kind === "link");
}

function pathsOf(operation: NameOperation): string[] {
  return "path" in operation ? [operation.path] : [operation.from, operation.to];
}

/** The operation with the paths that the directories it found have now; a code: that its walk ended so, or that such a directory is gone. */
function inDirectories(tree: NameTree, operation: NameOperation, walked: readonly Found[]): NameOperation | string {
  const places: string[] = [];
  for (const [position, directory] of walked.entries()) {
    if (operation.kind === "link" && position === 0) {
      if (directory === "ENOENT" || directory === "ENOTDIR") return directory;
      places.push(operation.from);
      continue;
    }
    const name = nameOf(pathsOf(operation)[position]!);
    if (directory === ROOT) places.push(joined(ROOT, name));
    else if (typeof directory === "string") return directory;
    else {
      const path = [...tree].find(([, { id }]) => id === directory)?.[0];
      if (path === undefined) return "ENOENT";
      places.push(joined(path, name));
    }
  }
  return ("path" in operation ? { ...operation, path: places[0] } : { ...operation, from: places[0], to: places[1] }) as NameOperation;
}
