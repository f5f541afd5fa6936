/**
 * All that is left open in a run is decided here, one number after the other: who runs next, what a power cut leaves, what a scenario asks to be chosen. So a run is the list of its numbers, and giving the
 * list again gives the run again. 0 is always the plain way (the task that runs goes on), so that lists are mostly zeroes, and a shorter list is a simpler story.
 */
import { FsError } from "../lib/errno.js";

/** A list of choices, a cut or a fault that this run has no place for. */
export class MisfitError extends Error {
  override name = "MisfitError";
}

/** Picks one of `count`: 0 .. count - 1. */
export type Choose = (count: number) => number;

export const alwaysFirst: Choose = () => 0;

/** The numbers that are given, then those that `beyond` picks; all are remembered. */
export class Choices {
  readonly made: number[] = [];

  /** @param isLenient a number that does not fit counts as 0: for lists that were cut and changed. */
  constructor(private readonly given: readonly number[], private readonly beyond: Choose = alwaysFirst, private readonly isLenient = false) {}

  /** What is given and was not asked for. */
  get leftOver(): number { return this.isLenient ? 0 : Math.max(0, this.given.length - this.made.length); }

  /** The next choice is one that was given. */
  get isGiven(): boolean { return this.made.length < this.given.length; }

  /** @param pick decides instead of `beyond`. @throws MisfitError the list was made for another run. */
  choose(count: number, pick: Choose = this.beyond): number {
    if (count === 1) return 0; // nothing is open
    const at = this.made.length;
    let choice = at < this.given.length ? this.given[at]! : pick(count);
    if (this.isLenient && choice >= count) choice = 0;
    if (!(choice >= 0 && choice < count)) throw new MisfitError(`choice ${at + 1} is ${choice}, of ${count}`);
    this.made.push(choice);
    return choice;
  }
}

/** z is no digit. */
const RADIX = 35;

/** "z12.1.z3.2": numbers in base 35, and runs of zeroes as z and their count. Zeroes at the end are left out: they are what happens anyway. */
export function encodeChoices(choices: readonly number[], keepsTail = false): string {
  let end = choices.length;
  while (!keepsTail && end > 0 && choices[end - 1] === 0) end--;
  const words: string[] = [];
  for (let at = 0; at < end;) {
    let zeroes = 0;
    while (at + zeroes < end && choices[at + zeroes] === 0) zeroes++;
    if (zeroes > 0) words.push(`z${zeroes.toString(RADIX)}`);
    else words.push(choices[at]!.toString(RADIX));
    at += Math.max(1, zeroes);
  }
  return words.join(".");
}

const CHOICES_MAX = 1_000_000;

/** @throws FsError EINVAL. */
export function decodeChoices(text: string): number[] {
  const choices: number[] = [];
  for (const word of text === "" ? [] : text.split(".")) {
    const match = /^(z?)([0-9a-y]{1,5})$/.exec(word);
    const number = match === null ? NaN : parseInt(match[2]!, RADIX);
    if (match === null || (match[1] === "z" && choices.length + number > CHOICES_MAX)) throw new FsError("EINVAL", `'${word}' is no choice`);
    if (match[1] === "z") for (let count = 0; count < number; count++) choices.push(0);
    else choices.push(number);
  }
  return choices;
}
