/**
 * How we measure: the contenders of a comparison take turns (A B C, A B C, …), so that whatever else the machine does falls on all of them alike. The first one is the
 * yardstick, and every figure that is compared is a ratio to it, taken round by round; a time in milliseconds says little on another machine, a ratio much.
 */

/** Runs what counts, and takes its time. */
export type Timed = <T>(work: () => T) => T;

/** One way to do a comparison's work. */
export interface Contender {
  readonly name: string;
  /** How fast it should be, in units of the yardstick's speed. */
  readonly target?: number;
  /** Does the work once, inside `timed`; what stands around that (mounting, cleaning up) is not counted. */
  round(timed: Timed): void | Promise<void>;
}

export interface Comparison {
  readonly title: string;
  /** How much work a round is: 1024 MiB, 60000 entries. */
  readonly amount: number;
  readonly unit: string;
  readonly rounds: number;
  /** The yardstick first. */
  readonly contenders: readonly Contender[];
}

export interface Result {
  readonly name: string;
  readonly target: number | undefined;
  readonly medianMs: number;
  /** Speed in units of the yardstick's: above 1 is faster. */
  readonly ratio: number;
  readonly ratioMin: number;
  readonly ratioMax: number;
}

/** Runs a comparison: one round that is not counted, to warm caches and compilers, then the others. */
export async function measure({ contenders, rounds }: Comparison): Promise<Result[]> {
  const times = contenders.map((): number[] => []); // by contender, then round
  for (let round = -1; round < rounds; round++) {
    for (const [index, contender] of contenders.entries()) {
      const elapsedMs = await timeOf(contender);
      if (round >= 0) times[index]!.push(elapsedMs);
    }
  }
  return contenders.map(({ name, target }, index) => {
    const ratios = times[index]!.map((ms, round) => times[0]![round]! / ms);
    return { name, target, medianMs: median(times[index]!), ratio: median(ratios), ratioMin: Math.min(...ratios), ratioMax: Math.max(...ratios) };
  });
}

async function timeOf(contender: Contender): Promise<number> {
  let elapsedMs = NaN;
  await contender.round((work) => {
    const started = performance.now();
    const stop = (): void => { elapsedMs = performance.now() - started; };
    const result = work();
    if (result instanceof Promise) return result.finally(stop) as typeof result;
    stop();
    return result;
  });
  if (Number.isNaN(elapsedMs)) throw new Error(`${contender.name} has timed nothing`);
  return elapsedMs;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
