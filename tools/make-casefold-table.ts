/**
 * Writes src/lib/casefold-table.ts from the Unicode 12.1 database: which code points fold to what, which are ignored, which are not assigned. Decompositions are not
 * in it: JavaScript's own normalize("NFD") has them, and what 12.1 assigned never changes there. Run: npx tsx tools/make-casefold-table.ts
 */
import { writeFileSync } from "node:fs";
import assigned from "@unicode/unicode-12.1.0/Binary_Property/Assigned/ranges.mjs";
import ignorable from "@unicode/unicode-12.1.0/Binary_Property/Default_Ignorable_Code_Point/ranges.mjs";
import noncharacter from "@unicode/unicode-12.1.0/Binary_Property/Noncharacter_Code_Point/ranges.mjs";
import common from "@unicode/unicode-12.1.0/Case_Folding/C/code-points.mjs";
import full from "@unicode/unicode-12.1.0/Case_Folding/F/code-points.mjs";

interface Range { readonly begin: number; readonly end: number }

/** Sorted, neighbours joined, `end` exclusive. */
function joined(ranges: Iterable<Range>): [number, number][] {
  const result: [number, number][] = [];
  for (const { begin, end } of [...ranges].sort((a, b) => a.begin - b.begin)) {
    const last = result.at(-1);
    if (last !== undefined && last[1] >= begin) last[1] = Math.max(last[1], end);
    else result.push([begin, end]);
  }
  return result;
}

/** Gap and length, gap and length, in base 36: what a reader adds up again. */
function packRanges(ranges: readonly (readonly [number, number])[]): string {
  let at = 0;
  return ranges.map(([begin, end]) => {
    const packed = `${(begin - at).toString(36)} ${(end - begin).toString(36)}`;
    at = end;
    return packed;
  }).join(" ");
}

/** Runs of code points with one step and one distance to what they fold to: gap, count, step, distance. */
function packFolds(folds: ReadonlyMap<number, number>): string {
  const points = [...folds.keys()].sort((a, b) => a - b);
  const runs: string[] = [];
  let previous = 0;
  for (let index = 0; index < points.length;) {
    const first = points[index]!;
    const distance = folds.get(first)! - first;
    let best = { count: 1, step: 1 };
    for (const step of [1, 2]) {
      let count = 1;
      while (points[index + count] === first + count * step && folds.get(first + count * step)! - (first + count * step) === distance) count++;
      if (count > best.count) best = { count, step };
    }
    runs.push([first - previous, best.count, best.step, distance].map((value) => value.toString(36)).join(" "));
    previous = first;
    index += best.count;
  }
  return runs.join(" ");
}

const escape = (code: number): string => code.toString(36);
const fulls = [...(full as Map<number, number[]>)].map(([code, to]) => [code, ...to].map(escape).join(" ")).join(",");
const lines = (text: string): string => text.match(/.{1,110}/g)!.map((line) => `  ${JSON.stringify(line)}`).join(" +\n");

writeFileSync("src/lib/casefold-table.ts", `/** Made by tools/make-casefold-table.ts from the Unicode 12.1 database; casefold.ts says what the strings hold. */

/** Assigned code points and noncharacters: gap, length, … */
export const ASSIGNED =
${lines(packRanges(joined([...assigned, ...noncharacter] as Range[])))};

/** Default ignorable code points: gap, length, … */
export const IGNORABLE =
${lines(packRanges(joined(ignorable as Range[])))};

/** Folds to one code point: gap, count, step, distance, … */
export const FOLDS =
${lines(packFolds(common as Map<number, number>))};

/** Folds to several: code point, then what it folds to. */
export const FULL_FOLDS =
${lines(fulls)};
`);
