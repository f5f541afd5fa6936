/**
 * Every interleaving with at most so many preemptions, depth first. Each run is given the choices of the one before up to the last place where another could be made. Where it comes to a state that another run has
 * gone on from, with no more preemptions than this one, it is dropped: what comes after has been seen (happens-before.ts). So with the bound nothing is lost but what the bound leaves out.
 */
import { Choices } from "../choices.js";
import type { Turn } from "../driver.js";
import { Runner, type SearchResult, type SearchTask } from "./searcher.js";

interface Place {
  choice: number;
  readonly count: number;
  /** Preemptions before it. */
  readonly preemptions: number;
  /** Any choice but 0 is one more. */
  readonly canStay: boolean;
}

export function searchDepthFirst(task: SearchTask, preemptionsMax: number, reduces = true): SearchResult {
  const runner = new Runner(task);
  const { result } = runner;
  /** By state, and who may stay: the fewest preemptions with which it was gone on from. */
  const visited = new Map<string, number>();
  const path: Place[] = [];
  while (runner.mayGoOn) {
    const preemptionsAt = (): number => {
      const last = path.at(-1);
      return last === undefined ? 0 : last.preemptions + (last.canStay && last.choice > 0 ? 1 : 0);
    };
    const chooseTurn = ({ enabled, canStay, state }: Turn): number | undefined => {
      const preemptions = preemptionsAt();
      const key = `${state} ${canStay ? enabled[0]!.index : -1}`;
      const before = visited.get(key);
      if (reduces && before !== undefined && before <= preemptions) return undefined;
      visited.set(key, preemptions);
      path.push({ choice: 0, count: enabled.length, preemptions, canStay });
      return 0;
    };
    const chooseValue = (count: number): number => {
      path.push({ choice: 0, count, preemptions: preemptionsAt(), canStay: false });
      return 0;
    };
    runner.run(new Choices(path.map(({ choice }) => choice), chooseValue), chooseTurn);
    if (!advance(path, preemptionsMax, result)) {
      result.isExhaustive = result.found === undefined;
      break;
    }
  }
  return result;
}

/** To the next choices; false: there are none. */
function advance(path: Place[], preemptionsMax: number, result: SearchResult): boolean {
  for (let last = path.at(-1); last !== undefined; last = path.at(-1)) {
    if (last.choice < last.count - 1) {
      if (!last.canStay || last.preemptions < preemptionsMax) {
        last.choice++;
        return true;
      }
      result.boundedTurns += last.count - 1;
    }
    path.pop();
  }
  return false;
}
