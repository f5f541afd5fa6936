/**
 * What a power cut may leave of a file's bytes (docs/durability.md). A byte has a value that it has had since the last sync of it that had ended began: all that was over before that is made durable by it,
 * and of what came later each call may have reached the device or not, in an order of its own for each byte. Two calls that met may have come in either order.
 */
import { byteOf, PAGE_BYTES, recordsOf, segmentsOf, type Action, type Segment } from "./bytes.js";
import { describe, hasEnded, type CallRecord, type DataWrite, type FileId, type Sync } from "./history.js";
import { searchOrders } from "./order.js";

const PROBLEMS_MAX = 10;
/** Where a byte comes from. From WRITTEN on: the write of that index less WRITTEN. */
const [INITIAL, ZERO, BEHIND_END, WRITTEN] = [0, 1, 2, 3] as const;

/**
 * @param records as of the cut: calls under way have `end` Infinity.
 * @param found files that recovery found; those that it did not find are for the judge of names.
 * @param when for messages.
 * @returns bytes that no surviving call explains, one line for each stretch of them; empty: all is well.
 * @throws TooManyOrdersError
 */
export function crashContentProblems(records: readonly CallRecord[], initial: (file: FileId) => Uint8Array, found: ReadonlyMap<FileId, Uint8Array>, when = "after the power cut"): string[] {
  const problems: string[] = [];
  for (const [file, bytes] of found) {
    const before = initial(file);
    const own = recordsOf(records, file, before.length);
    const all = records.filter((record): record is Sync => record.kind === "sync" && (record.file === file || record.file === undefined));
    const syncs = all.filter(hasEnded);
    const edges = syncs.flatMap(({ offset, lengthBytes }) => [offset, offset + lengthBytes]);
    const effects = own.filter(({ kind }) => kind !== "read");
    const ends = effects.flatMap((record) => (record.kind === "size" ? [blockEnd(record.sizeBytes)] : []));
    for (const segment of segmentsOf(effects, [before.length, bytes.length, ...edges, ...ends])) {
      const problem = segmentProblem(segment, all, before, bytes);
      if (problem !== undefined) problems.push(`file ${file}, ${when}: ${problem}`);
      if (problems.length >= PROBLEMS_MAX) return problems;
    }
  }
  return problems;
}

const blockEnd = (at: number): number => Math.ceil(at / PAGE_BYTES) * PAGE_BYTES;

/** @param syncs those under way as well: they promise nothing, but may have written their part. */
function segmentProblem(segment: Segment, syncs: readonly Sync[], before: Uint8Array, found: Uint8Array): string | undefined {
  const { start, actions } = segment;
  const covering = syncs.filter((sync) => hasEnded(sync) && start >= sync.offset && start < sync.offset + sync.lengthBytes);
  const sources = sourcesOf(segment, covering, before);
  if (sources.has(BEHIND_END) && mayBeHole(segment, syncs, covering)) sources.add(ZERO);
  const at = firstStranger(segment, sources, before, found);
  if (at === undefined) return undefined;
  const allowed = [...sources].map((source) => tell(source, actions, before, at));
  const sync = lastOf(covering.filter(({ code }) => code === undefined));
  const value = found[at] === undefined ? "behind the end" : `0x${found[at].toString(16).padStart(2, "0")}`;
  return `byte ${at} is ${value}; it may be ${allowed.join(", or ")}${sync === undefined ? "" : `; last synced by ${describe(sync)}`}`;
}

const lastOf = (syncs: readonly Sync[]): Sync | undefined => syncs.reduce<Sync | undefined>((last, sync) => (last === undefined || sync.begin > last.begin ? sync : last), undefined);

/** Where the bytes of a segment may come from. */
function sourcesOf({ start, actions }: Segment, covering: readonly Sync[], before: Uint8Array): Set<number> {
  const sources = new Set<number>();
  const initial = start < before.length ? INITIAL : BEHIND_END;
  if (actions.length === 0) return sources.add(initial);
  const steps = actions.map((action) => ({ ...action, isWanted: action.isWanted && isDurable(action, covering) }));
  searchOrders(steps, initial, (index, state) => sourceAfter(actions[index]!, index, state), (state) => {
    sources.add(state);
    return false;
  });
  if (actions.some((action) => action.deed === "cut" && !isDurable(action, covering))) {
    actions.forEach(({ deed, record }, index) => { if (deed === "store" && (record as DataWrite).isDax === true) sources.add(WRITTEN + index); });
  }
  return sources;
}

/**
 * A sync that failed may have lost what was to be written, so that a later one, which succeeds, proves nothing of that. What a write has left behind the file's old end, before its own first byte, is in the
 * file once that byte is: the size follows the data, so a sync of another part promises nothing.
 */
function isDurable({ begin, end, deed, record }: Action, covering: readonly Sync[]): boolean {
  if (record.kind === "write" && record.isSynced === true && record.code === undefined && hasEnded(record)) return true;
  const reaches = (sync: Sync): boolean => deed !== "fill" || record.kind !== "write" || (sync.offset < record.offset! + record.bytes.length && sync.offset + sync.lengthBytes > record.offset!);
  return covering.some((sync) => sync.code === undefined && sync.begin > end && reaches(sync) && !covering.some((failed) => failed.code !== undefined && failed.end > begin && failed.begin < sync.end));
}

function sourceAfter({ deed }: Action, index: number, state: number): number {
  const isBehind = state === BEHIND_END;
  switch (deed) {
    case "set": return WRITTEN + index;
    case "store": return isBehind ? state : WRITTEN + index;
    case "fill": return isBehind ? ZERO : state;
    case "cut": return BEHIND_END;
    case "zero": return isBehind ? state : ZERO;
    case "clear": return ZERO;
    default: return state;
  }
}

/**
 * Whether a byte that may still be behind the end may also be zero. Sizes follow data, but not each byte's own: a later part of the file may have been written first, by another call or for a sync of that
 * part alone. And where a file is cut within a block, the rest of that is zeroed before the size counts.
 */
function mayBeHole({ start, actions }: Segment, syncs: readonly Sync[], covering: readonly Sync[]): boolean {
  const isOpen = ({ end }: { readonly end: number }): boolean => !covering.some((sync) => sync.code === undefined && sync.begin > end);
  if (syncs.some((sync) => (sync.offset > 0 || sync.lengthBytes !== Infinity) && isOpen(sync))) return true;
  return actions.some(({ deed, record }) => isOpen(record) && (deed === "fill" || (deed === "cut" && record.kind === "size" && start < blockEnd(record.sizeBytes))));
}

/** The first byte of a segment that comes from none of the sources. */
function firstStranger({ start, end, actions }: Segment, sources: ReadonlySet<number>, before: Uint8Array, found: Uint8Array): number | undefined {
  if (start >= found.length) return sources.has(BEHIND_END) ? undefined : start;
  const mayBeZero = sources.has(ZERO);
  const origins: { readonly bytes: Uint8Array; readonly shift: number }[] = [];
  for (const source of sources) {
    if (source === INITIAL) origins.push({ bytes: before, shift: 0 });
    else if (source >= WRITTEN) {
      const { bytes, offset } = actions[source - WRITTEN]!.record as DataWrite;
      origins.push({ bytes, shift: offset! });
    }
  }
  for (let at = start; at < end; at++) {
    const value = found[at];
    if (value === 0 && mayBeZero) continue;
    let isKnown = false;
    for (let index = 0; index < origins.length && !isKnown; index++) isKnown = origins[index]!.bytes[at - origins[index]!.shift] === value;
    if (!isKnown) return at;
  }
  return undefined;
}

function tell(source: number, actions: readonly Action[], before: Uint8Array, at: number): string {
  if (source === INITIAL) return `0x${before[at]!.toString(16).padStart(2, "0")} (at first)`;
  if (source === ZERO) return "0x00";
  if (source === BEHIND_END) return "behind the end";
  const { record } = actions[source - WRITTEN]!;
  return `0x${byteOf(record as DataWrite, at)!.toString(16).padStart(2, "0")} (${describe(record)})`;
}

