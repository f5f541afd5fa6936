/**
 * The search that all judges share: is there an order of steps, one after another, that agrees with real time and with what each step has seen? After Wing and Gong, with a memory of where one has been:
 * the set of steps taken and the state. A state is a number; what it means is the judge's business.
 */
import { ScenarioError } from "../scenario.js";

export interface Step {
  readonly begin: number;
  /** Infinity: under way, so nothing has to come after it, and it may never have happened. */
  readonly end: number;
  /** Must be taken before the goal counts. */
  readonly isWanted: boolean;
  /** It has ended and may all the same have done nothing, as a call that failed. */
  readonly mayBeAbsent: boolean;
  /** It changes nothing: it fits the state or it does not. */
  readonly isSight: boolean;
}

/** The state after a step, by its index; undefined: it cannot have happened in this state. */
export type Apply = (index: number, state: number) => number | undefined;

/** Steps that are taken while one that began before them waits: what fits in a number's bits. */
const AHEAD_MAX = 30;
const MASK_SIZE = 2 ** (AHEAD_MAX + 1);
/** A dozen calls that all meet, and each change what the others find, may be; more have more orders than anybody wants to wait for. */
const PLACES_MAX = 100_000;

/** A history in which too many calls meet for all their orders to be looked at: the scenario is too large, and nothing can be said of the engine. */
export class TooManyOrdersError extends ScenarioError {
  override name = "TooManyOrdersError";
}

/**
 * Takes steps, sorted by `begin`, in every order that real time allows, until `isGoal` says true of a state in which all that is wanted has been taken.
 * @returns whether it did. With a goal that always says no, it has been shown every such state.
 * @throws TooManyOrdersError
 */
export function searchOrders(steps: readonly Step[], initial: number, apply: Apply, isGoal: (state: number) => boolean): boolean {
  return new Search(steps, apply, isGoal).run(initial);
}

class Search {
  private readonly visited = new Map<number, Set<number>>();
  private places = 0;

  constructor(private readonly steps: readonly Step[], private readonly apply: Apply, private readonly isGoal: (state: number) => boolean) {}

  run(initial: number): boolean {
    let wanted = 0;
    for (const { isWanted } of this.steps) if (isWanted) wanted++;
    return this.explore(0, 0, initial, wanted);
  }

  /** @param base all steps before it are taken. @param mask bit n says that base + n is. @param missing wanted steps that are not taken. */
  private explore(base: number, mask: number, state: number, missing: number): boolean {
    const { steps, apply } = this;
    while ((mask & 1) !== 0) {
      base++;
      mask >>>= 1;
    }
    if (missing === 0 && this.isGoal(state)) return true;
    // What began after some other step ended has to wait for that.
    let horizon = Infinity;
    let limit = base;
    let candidates = 0;
    for (; limit < steps.length && steps[limit]!.begin < horizon; limit++) {
      if (limit - base > AHEAD_MAX) throw new TooManyOrdersError(`more than ${AHEAD_MAX} calls meet one that goes on for long`);
      if ((mask & (1 << (limit - base))) !== 0) continue;
      const { end, isSight, isWanted } = steps[limit]!;
      // What only sees, and sees what it should, may as well do so at once: later it could but find less.
      if (isSight && apply(limit, state) !== undefined) return this.explore(base, (mask | (1 << (limit - base))) >>> 0, state, isWanted ? missing - 1 : missing);
      if (end < horizon) horizon = end;
      candidates++;
    }
    // Where there is but one way on, there is nothing to remember.
    if (candidates > 1 && !this.arrive(base, mask, state)) return false;
    for (let index = base; index < limit; index++) {
      const taken = 1 << (index - base);
      const { isSight, isWanted, mayBeAbsent } = steps[index]!;
      if (isSight || (mask & taken) !== 0) continue;
      const left = isWanted ? missing - 1 : missing;
      const next = apply(index, state);
      if (next !== undefined && this.explore(base, (mask | taken) >>> 0, next, left)) return true;
      if (mayBeAbsent && this.explore(base, (mask | taken) >>> 0, state, left)) return true;
    }
    return false;
  }

  /** @returns whether it is the first time. */
  private arrive(base: number, mask: number, state: number): boolean {
    let known = this.visited.get(state);
    if (known === undefined) this.visited.set(state, known = new Set());
    const key = base * MASK_SIZE + mask;
    if (known.has(key)) return false;
    known.add(key);
    if (++this.places > PLACES_MAX) throw new TooManyOrdersError(`of ${this.steps.length} calls too many meet for all their orders to be tried`);
    return true;
  }
}
