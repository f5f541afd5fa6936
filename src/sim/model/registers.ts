/**
 * Linearizable bytes: each byte of a file is a register that holds 0 .. 255 or END_OF_FILE, and all that readers, writers, loads and stores saw and did must fit one order of their calls that agrees with
 * real time. Bytes are judged one by one, so a read that meets a larger write may see a part of it.
 */
import { byteOf, PAGE_BYTES, recordsOf, sampleOf, segmentsOf, type Action, type Segment } from "./bytes.js";
import { crashContentProblems } from "./durability.js";
import { describe, END_OF_FILE, isDataRecord, type CallRecord, type DataRead, type DataWrite, type FileId } from "./history.js";
import { searchOrders } from "./order.js";

const PROBLEMS_MAX = 10;
const NEIGHBOURS_MAX = 8;

/** What cannot be explained by any order of the calls; empty: nothing. @throws TooManyOrdersError */
export function linearizabilityProblems(records: readonly CallRecord[], initial: (file: FileId) => Uint8Array): string[] {
  return filesOf(records).flatMap((file) => fileProblems(records, file, initial(file)).map(({ text }) => text)).slice(0, PROBLEMS_MAX);
}

/**
 * As if each file's content were read once more when everything has ended. Complains only of that last reading, and looks at each byte.
 * @throws TooManyOrdersError
 */
export function finalContentProblems(records: readonly CallRecord[], initial: (file: FileId) => Uint8Array, final: ReadonlyMap<FileId, Uint8Array>): string[] {
  const last = records.reduce((moment, { begin, end }) => Math.max(moment, begin, end === Infinity ? 0 : end), 0);
  const synced: CallRecord = { kind: "sync", task: "the end", text: "all calls have ended", begin: last + 1, end: last + 2, file: undefined, offset: 0, lengthBytes: Infinity };
  const problems: string[] = [];
  for (const [file, bytes] of final) {
    // Which call wrote what is there, and whether it may be the last that did: of all bytes, and cheap. Whether that agrees with what was read before: of some.
    const misplaced = crashContentProblems([...records, synced], initial, new Map([[file, bytes]]), "at the end");
    if (misplaced.length > 0) problems.push(...misplaced);
    else {
      const reading: DataRead = { kind: "read", task: "the end", text: "the content", begin: last + 1, end: last + 2, file, offset: 0, bytes, askedBytes: Infinity, isLoad: false };
      problems.push(...fileProblems([...records, reading], file, initial(file)).filter(({ sight }) => sight === reading).map(({ text }) => text));
    }
  }
  return problems.slice(0, PROBLEMS_MAX);
}

function filesOf(records: readonly CallRecord[]): FileId[] {
  return [...new Set(records.flatMap((record) => (isDataRecord(record) ? [record.file] : [])))];
}

interface Problem { readonly text: string; readonly sight: CallRecord }

/** No more than one problem per reader: the first byte that it cannot have seen. */
function fileProblems(records: readonly CallRecord[], file: FileId, initial: Uint8Array): Problem[] {
  const problems: Problem[] = [];
  for (const segment of segmentsOf(recordsOf(records, file, initial.length), [initial.length])) {
    if (!segment.actions.some((action) => action.isSight || (action.deed === "store" && segment.start % PAGE_BYTES === 0))) continue;
    let before: (number | undefined)[] = [];
    for (const at of sampleOf(segment)) {
      const values = [initial[at], ...segment.actions.map(({ deed, record }) => (deed === "set" || deed === "store" || deed === "see" ? byteOf(record as DataWrite | DataRead, at) : undefined))];
      if (values.length === before.length && values.every((value, index) => value === before[index])) continue;
      before = values;
      const problem = byteProblem(segment, at, values, file);
      if (problem !== undefined && !problems.some(({ sight }) => sight === problem.sight)) problems.push(problem);
    }
  }
  return problems;
}

/** @param values of the byte: at first, and in each action. */
function byteProblem({ actions }: Segment, at: number, values: readonly (number | undefined)[], file: FileId): Problem | undefined {
  const initial = values[0] ?? END_OF_FILE;
  const isPageStart = at % PAGE_BYTES === 0;
  const fits = (chosen: readonly number[]): boolean => {
    const steps = chosen.map((index) => actions[index]!);
    return searchOrders(steps, initial, (index, state) => valueAfter(steps[index]!, values[chosen[index]! + 1], state, isPageStart), () => true);
  };
  const all = actions.map((_, index) => index);
  if (fits(all)) return undefined;
  // The first of those who saw something, in the order in which they were done, that does not go together with those before it; or, if it is not for them, of stores into a page that was there.
  const inOrder = (indexes: number[]): number[] => indexes.sort((a, b) => actions[a]!.end - actions[b]!.end);
  const sights = inOrder(all.filter((index) => actions[index]!.isSight));
  const effects = all.filter((index) => !actions[index]!.isSight);
  const claims = fits(effects) ? sights : inOrder(effects.filter((index) => actions[index]!.deed === "store"));
  const others = claims === sights ? effects : effects.filter((index) => actions[index]!.deed !== "store");
  let count = 1;
  while (count < claims.length && fits([...others, ...claims.slice(0, count)].sort((a, b) => a - b))) count++;
  return { sight: actions[claims[count - 1]!]!.record, text: textOf(actions, claims.slice(0, count), at, values, file) };
}

/**
 * The value of a byte after an action; undefined: it cannot have been done. Behind the end, END_OF_FILE - n says that a store left n there in the last page's memory, where loads may see it until the file
 * grows and it becomes zero.
 */
function valueAfter({ deed, record }: Action, value: number | undefined, state: number, isPageStart: boolean): number | undefined {
  const isBehind = state < 0;
  switch (deed) {
    case "set": return value;
    case "store": return !isBehind ? value : isPageStart ? undefined : END_OF_FILE - value!;
    case "fill": return isBehind ? 0 : state;
    case "cut": return isBehind ? state : END_OF_FILE;
    case "zero": return isBehind ? state : 0;
    case "clear": return 0;
    case "inside": return isBehind ? undefined : state;
    case "outside": return isBehind ? state : undefined;
    case "see": {
      if (!isBehind) return value === state ? state : undefined;
      const isSeenBehind = value === undefined || ((record as DataRead).isLoad && !isPageStart && (value === 0 || value === END_OF_FILE - state));
      return isSeenBehind ? state : undefined;
    }
  }
}

export const hex = (value: number | undefined): string => (value === undefined ? "END_OF_FILE" : `0x${value.toString(16).padStart(2, "0")}`);

function textOf(actions: readonly Action[], claims: readonly number[], at: number, values: readonly (number | undefined)[], file: FileId): string {
  const culprit = claims.at(-1)!;
  const { record, deed } = actions[culprit]!;
  const saw = deed === "store" ? `found the page at ${at}` : deed === "see" ? `saw ${hex(values[culprit + 1])} at byte ${at}` : `found that the page at ${at} is ${deed === "inside" ? "inside" : "behind the end of"} the file`;
  const told = actions.map((action, index) => {
    const value = action.deed === "set" || action.deed === "store" || action.deed === "see" ? ` ${action.deed} ${hex(values[index + 1])}` : ` ${action.deed}`;
    return { index, text: `${describe(action.record)}${value}` };
  });
  const near = told.filter(({ index }) => index !== culprit && (!actions[index]!.isSight || claims.includes(index)) && actions[index]!.begin < record.end).slice(-NEIGHBOURS_MAX);
  return [`file ${file}: no order explains that ${describe(record)} ${saw}; at first it was ${hex(values[0])}, and then`, ...near.map(({ text }) => `  ${text}`)].join("\n");
}
