/**
 * What a power cut leaves of persistent memory. The processor's view is the memory itself; here stands beside it what is durable, and for each line of 64 bytes the stores
 * that are not. Order within a line holds (it is evicted whole), between lines nothing does; a store of more than 8 bytes may be torn at any boundary of 8.
 *
 * - A store is dirty until its line is written back (CLWB) and a fence follows. A non-temporal store passes the cache and waits for the fence alone.
 * - The cache may evict at any time: a line may hold any of its states since the last durable one, whether written back or not.
 * - Non-temporal stores to different words of a line have no order among themselves until a fence.
 * - With eADR the caches survive: an ordinary store is durable at once. Non-temporal stores sit in buffers that do not, and wait for the fence as before.
 *
 * A fence counts for all processors: handing a task over orders its stores, as a locked instruction does. Source: dax-and-faults.md 12.1; Intel SDM vol. 1, 10.4.6 and vol. 2, CLWB.
 */
export const LINE_BYTES = 64;
/** What the memory never tears. */
export const WORD_BYTES = 8;
const WORDS = LINE_BYTES / WORD_BYTES;

/** Picks one of `count` possibilities: a number from 0 to count - 1. 0 is the oldest state. */
export type Choose = (count: number) => number;

/** What was done to the medium: the moments at which a power cut makes a difference. */
export type PersistenceEvent = "store" | "flush" | "fence";

/** A line that is not durable as it stands. */
export interface VolatileLine {
  readonly offsetBytes: number;
  /** All of it was written back and waits for a fence only. */
  readonly isWrittenBack: boolean;
  /** How many different contents a power cut may leave, at most. */
  readonly stateCount: number;
}

/** One line as a power cut leaves it. */
export interface SurvivingLine {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

interface Store {
  /** Bit n: word n was changed. */
  words: number;
  /** The line after it. */
  readonly after: Uint8Array;
  readonly isNonTemporal: boolean;
  isWrittenBack: boolean;
}

export class PersistenceModel {
  /** By line number, in order of the first store; each list oldest first and never empty. */
  private readonly pending = new Map<number, Store[]>();

  /** @param durable what has certainly reached the medium: the same bytes, in memory of its own. */
  constructor(
    private readonly memory: Uint8Array, private readonly durable: Uint8Array, private readonly hasEadr: boolean, private readonly onEvent: ((event: PersistenceEvent) => void) | undefined,
  ) {}

  /** The memory was changed in [offsetBytes, offsetBytes + lengthBytes). */
  stored(offsetBytes: number, lengthBytes: number, isNonTemporal: boolean): void {
    if (lengthBytes === 0) return;
    this.forEachLine(offsetBytes, lengthBytes, (line) => this.noteStore(line, isNonTemporal));
    this.onEvent?.("store");
  }

  /** CLWB of each line. What was stored through a view and never told is noticed here, as the hardware would. */
  writeBack(offsetBytes: number, lengthBytes: number): void {
    this.forEachLine(offsetBytes, lengthBytes, (line) => {
      this.noteStore(line, false);
      for (const store of this.pending.get(line) ?? []) store.isWrittenBack = true;
    });
    this.onEvent?.("flush");
  }

  fence(): void {
    for (const [line, stores] of this.pending) {
      const rest = this.settle(line, stores);
      if (rest.length === 0) this.pending.delete(line);
      else this.pending.set(line, rest);
    }
    this.onEvent?.("fence");
  }

  /** Ascending. */
  get volatileLines(): VolatileLine[] {
    return [...this.pending].sort(([a], [b]) => a - b).map(([line, stores]) => ({
      offsetBytes: line * LINE_BYTES, isWrittenBack: stores.every((store) => store.isWrittenBack), stateCount: stateCount(stores),
    }));
  }

  /** What a power cut leaves of the volatile lines, ascending: one choice for each. */
  survivingLines(choose: Choose): SurvivingLine[] {
    return [...this.pending].sort(([a], [b]) => a - b).map(([line, stores]) => ({
      offsetBytes: line * LINE_BYTES, bytes: stateOf(this.durableLine(line).slice(), stores, choose(stateCount(stores))),
    }));
  }

  /** The whole medium after a power cut. */
  crashImage(choose: Choose): Uint8Array {
    const image = this.durable.slice();
    for (const { offsetBytes, bytes } of this.survivingLines(choose)) image.set(bytes, offsetBytes);
    return image;
  }

  /** The power fails and comes back: the memory is what survived, and nothing is pending. */
  powerCut(choose: Choose): void {
    this.memory.set(this.crashImage(choose));
    this.durable.set(this.memory);
    this.pending.clear();
  }

  private forEachLine(offsetBytes: number, lengthBytes: number, visit: (line: number) => void): void {
    const last = Math.floor((offsetBytes + lengthBytes - 1) / LINE_BYTES);
    for (let line = Math.floor(offsetBytes / LINE_BYTES); line <= last; line++) visit(line);
  }

  private noteStore(line: number, isNonTemporal: boolean): void {
    const stores = this.pending.get(line);
    const before = stores?.at(-1)?.after ?? this.durableLine(line);
    const now = this.memory.subarray(line * LINE_BYTES, (line + 1) * LINE_BYTES);
    const words = changedWords(before, now);
    if (words === 0) return;
    if (this.hasEadr && !isNonTemporal && stores === undefined) return this.durableLine(line).set(now);
    const store: Store = { words, after: now.slice(), isNonTemporal, isWrittenBack: isNonTemporal || this.hasEadr };
    if (stores === undefined) this.pending.set(line, [store]);
    else if (canJoin(stores.at(-1)!, store)) stores[stores.length - 1] = { ...store, words: words | stores.at(-1)!.words };
    else stores.push(store);
  }

  /** Makes durable what was written back, and returns what was not. What a durable store has overwritten can no longer appear. */
  private settle(line: number, stores: readonly Store[]): Store[] {
    const durable = this.durableLine(line);
    const rest: Store[] = [];
    for (const store of stores) {
      if (!store.isWrittenBack) {
        rest.push(store);
        continue;
      }
      copyWords(store.after, durable, store.words);
      for (const older of rest) older.words &= ~store.words;
    }
    return rest.filter(({ words }) => words !== 0);
  }

  private durableLine(line: number): Uint8Array {
    return this.durable.subarray(line * LINE_BYTES, (line + 1) * LINE_BYTES);
  }
}

function changedWords(before: Uint8Array, now: Uint8Array): number {
  let words = 0;
  for (let index = 0; index < now.length; index++) if (before[index] !== now[index]) words |= 1 << (index >> 3);
  return words;
}

function copyWords(from: Uint8Array, to: Uint8Array, words: number): void {
  for (let word = 0; word < WORDS; word++) {
    if ((words & (1 << word)) !== 0) to.set(from.subarray(word * WORD_BYTES, (word + 1) * WORD_BYTES), word * WORD_BYTES);
  }
}

/** Non-temporal stores side by side count as one torn store: any of their words may be there without the others. */
function canJoin(older: Store, newer: Store): boolean {
  return older.isNonTemporal && newer.isNonTemporal && (older.words & newer.words) === 0;
}

/** A store of w words has 2^w - 1 outcomes beyond "not there", the last of which is "all of it". */
function outcomeCount({ words }: Store): number {
  let count = 0;
  for (let rest = words; rest !== 0; rest &= rest - 1) count++;
  return 2 ** count - 1;
}

function stateCount(stores: readonly Store[]): number {
  return stores.reduce((sum, store) => sum + outcomeCount(store), 1);
}

/** State 0 is `line` as it is durable; then come the outcomes of each store, in order, upon those before it. */
function stateOf(line: Uint8Array, stores: readonly Store[], state: number): Uint8Array {
  let left = state;
  for (const store of stores) {
    if (left === 0) break;
    const count = outcomeCount(store);
    copyWords(store.after, line, left >= count ? store.words : spread(left, store.words));
    left = Math.max(0, left - count);
  }
  return line;
}

/** Bit n of `pick` moves to where the n-th set bit of `words` stands. */
function spread(pick: number, words: number): number {
  let result = 0;
  let rest = words;
  for (let bit = 0; rest !== 0; bit++) {
    const lowest = rest & -rest;
    if ((pick & (1 << bit)) !== 0) result |= lowest;
    rest ^= lowest;
  }
  return result;
}
