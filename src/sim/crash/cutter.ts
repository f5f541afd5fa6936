/**
 * The power fails: at each moment that matters all that a cut may leave is made and looked at, recovered, counted, compared with what was promised. A state that was seen before, with the same promises, is not
 * looked at again. Where a moment leaves more states than the bound, those that matter most are taken (nothing, everything, each write alone lost or alone there, each beginning of the list) and random ones.
 *
 * A cut is written down as numbers: which moment since the last choice (0 is the first), then each unit's state.
 */
import type { BaseImage } from "../image.js";
import { Prng } from "../../lib/prng.js";
import { CHANGE_BYTES, type Medium, type Unit } from "./medium.js";

export interface CrashBudget {
  /** States of one moment. */
  readonly statesMax: number;
  /** The same for a cut during recovery; 0: recovery is not cut. */
  readonly recoveryStatesMax: number;
}

export const CRASH_BUDGET: CrashBudget = { statesMax: 24, recoveryStatesMax: 4 };

/** What became of cuts so far. */
export interface CrashCounts {
  /** Moments at which the power could fail. */
  moments: number;
  /** Moments with more states than the bound, of which only some were looked at. */
  sampledMoments: number;
  /** States that were recovered and judged. */
  states: number;
  /** States that had been seen before. */
  equalStates: number;
  /** Of the states, those of a second cut during the recovery. */
  recoveryStates: number;
}

export const noCrashCounts = (): CrashCounts => ({ moments: 0, sampledMoments: 0, states: 0, equalStates: 0, recoveryStates: 0 });

/** What a search has seen. */
export class CrashMemory {
  readonly counts = noCrashCounts();
  private readonly seen = new Set<string>();

  constructor(readonly budget: CrashBudget = CRASH_BUDGET) {}

  /** Whether the image was seen with these promises. */
  isNew(image: Uint8Array, changedPages: ReadonlySet<number>, { arena }: BaseImage, promises: string): boolean {
    const key = `${hashDifference(image, arena.base, changedPages)} ${promises}`;
    if (this.seen.has(key)) {
      this.counts.equalStates++;
      return false;
    }
    this.seen.add(key);
    return true;
  }
}

/** The states of a moment, each as one number per unit; and whether there are more. */
export function statesOf(units: readonly Unit[], statesMax: number, seed = 0): { states: number[][]; isSampled: boolean } {
  const total = units.reduce((product, { count }) => Math.min(product * count, Number.MAX_SAFE_INTEGER), 1);
  if (total <= statesMax) return { states: allStates(units), isSampled: false };
  const states = new Map<string, number[]>();
  const add = (state: number[]): void => {
    if (states.size < statesMax) states.set(state.join("."), state);
  };
  const whole = units.map((unit) => unit.whole);
  const nothing = units.map(() => 0);
  add(nothing);
  add(whole);
  // The last to come are those that depend on the others.
  for (let at = units.length - 1; at >= 0 && states.size < statesMax / 2; at--) {
    add(units.map((unit, index) => (index === at ? unit.whole : 0)));
    add(units.map((unit, index) => (index === at ? 0 : unit.whole)));
  }
  for (let end = 1; end < units.length && states.size < (statesMax * 3) / 4; end++) add(units.map((unit, index) => (index < end ? unit.whole : 0)));
  const prng = new Prng(seed);
  const random = (count: number): number => prng.below(count);
  for (let tries = 0; states.size < statesMax && tries < 4 * statesMax; tries++) {
    const isTorn = random(2) === 0;
    add(units.map(({ count, whole: all }) => (isTorn ? random(count) : random(2) === 0 ? 0 : all)));
  }
  return { states: [...states.values()], isSampled: true };
}

function allStates(units: readonly Unit[]): number[][] {
  let states: number[][] = [[]];
  for (const { count } of units) states = states.flatMap((state) => Array.from({ length: count }, (_, choice) => [...state, choice]));
  return states;
}

const PAGE_WORDS = CHANGE_BYTES / 4;

/** Of what differs from the image that all runs begin with. */
export function hashDifference(image: Uint8Array, base: Uint8Array, changedPages: ReadonlySet<number>): string {
  const words = new Int32Array(image.buffer, image.byteOffset, image.length / 4);
  const baseWords = new Int32Array(base.buffer, base.byteOffset, base.length / 4);
  let a = 0x811c9dc5 | 0;
  let b = 0x2545f491 | 0;
  for (const page of [...changedPages].sort((first, second) => first - second)) {
    let at = page * PAGE_WORDS;
    const end = at + PAGE_WORDS;
    while (at < end && words[at] === baseWords[at]) at++;
    if (at === end) continue;
    a = Math.imul(a ^ page, 0x01000193);
    a = (a << 13) | (a >>> 19);
    b = Math.imul(b + page | 0, 0x5bd1e995);
    for (at = page * PAGE_WORDS; at < end; at++) {
      a = Math.imul(a ^ words[at]!, 0x01000193);
      a = (a << 13) | (a >>> 19);
      b = Math.imul((b ^ words[at]!) + (b >>> 13) | 0, 0x5bd1e995);
    }
  }
  return `${(a >>> 0).toString(36)}${(b >>> 0).toString(36)}`;
}

/** Makes each state that a cut now may leave, until `visit` says that it is enough. The image is the visitor's to give back. */
export function forEachState(medium: Medium, { counts, budget }: CrashMemory, isRecovery: boolean, visit: (states: readonly number[], image: Uint8Array) => boolean): void {
  counts.moments++;
  const { states, isSampled } = statesOf(medium.units(), isRecovery ? budget.recoveryStatesMax : budget.statesMax, counts.moments);
  if (isSampled) counts.sampledMoments++;
  for (const each of states) if (!visit(each, medium.survivor(each))) return;
}
