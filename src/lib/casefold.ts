/**
 * Case folding of names as Linux does it for casefold directories (utf8-12.1, "nfdicf"): full folding, default ignorable code points left out, canonical decomposition. A name with invalid
 * UTF-8 has no folding, and is compared by its bytes. A code point that 12.1 does not know stays as it is. Source: fs/unicode/mkutf8data.c, fs/unicode/utf8-norm.c.
 */
import { bytesEqual } from "./bytes.js";
import { ASSIGNED, FOLDS, FULL_FOLDS, IGNORABLE } from "./casefold-table.js";
import { decode, encode, isValidUtf8 } from "./utf8.js";

interface Tables {
  /** Begins and ends by turns, ascending: a code point is inside if an odd number of them is at or below it. */
  readonly assigned: readonly number[];
  readonly ignorable: readonly number[];
  readonly folds: ReadonlyMap<number, string>;
}

let tables: Tables | undefined;

const numbers = (text: string): number[] => text.split(" ").map((digits) => parseInt(digits, 36));

function unpackRanges(text: string): number[] {
  let at = 0;
  return numbers(text).map((distance) => (at += distance));
}

function loadTables(): Tables {
  const folds = new Map<number, string>();
  const runs = numbers(FOLDS);
  let first = 0;
  for (let index = 0; index < runs.length; index += 4) {
    const [gap, count, step, distance] = runs.slice(index, index + 4) as [number, number, number, number];
    first += gap;
    for (let k = 0; k < count; k++) folds.set(first + k * step, String.fromCodePoint(first + k * step + distance));
  }
  for (const [code, ...to] of FULL_FOLDS.split(",").map(numbers)) folds.set(code!, String.fromCodePoint(...to));
  return { assigned: unpackRanges(ASSIGNED), ignorable: unpackRanges(IGNORABLE), folds };
}

function contains(edges: readonly number[], code: number): boolean {
  let low = 0;
  let high = edges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (edges[middle]! <= code) low = middle + 1;
    else high = middle;
  }
  return low % 2 === 1;
}

/** The folded name; undefined: it has none. */
export function casefold(name: Uint8Array): Uint8Array | undefined {
  const ascii = foldAscii(name);
  if (ascii !== undefined) return ascii;
  if (!isValidUtf8(name)) return undefined;
  tables ??= loadTables();
  const { assigned, ignorable, folds } = tables;
  let folded = "";
  let segment = ""; // what may be decomposed and reordered together
  for (const char of decode(name)) {
    const code = char.codePointAt(0)!;
    const isIgnored = contains(ignorable, code);
    if (!isIgnored && contains(assigned, code)) {
      segment += fold(folds, char, code);
      continue;
    }
    // Marks are not reordered across either of these, and the host's Unicode, which may know more than 12.1, must not decompose the latter.
    folded += segment.normalize("NFD") + (isIgnored ? "" : char);
    segment = "";
  }
  return encode(folded + segment.normalize("NFD"));
}

/** What a code point folds to may decompose into what folds again. */
function fold(folds: ReadonlyMap<number, string>, char: string, code: number): string {
  const to = folds.get(code);
  if (to === undefined) return char;
  return [...to.normalize("NFD")].map((part) => folds.get(part.codePointAt(0)!) ?? part).join("");
}

/** Whether `name` folds to `folded`. What is ASCII at its end, most often all of it, need not be folded for that. */
export function foldsTo(name: Uint8Array, folded: Uint8Array): boolean {
  let length = name.length;
  let left = folded.length;
  while (length > 0 && name[length - 1]! < 0x80) {
    if (left === 0 || lowerCase(name[--length]!) !== folded[--left]) return false;
  }
  if (length === 0) return left === 0;
  const rest = casefold(name.subarray(0, length));
  return rest !== undefined && bytesEqual(rest, folded.subarray(0, left));
}

const lowerCase = (char: number): number => (char >= 0x41 && char <= 0x5a ? char + 0x20 : char);

/** Most names are ASCII, of which only capitals change; undefined: this one is not. */
function foldAscii(name: Uint8Array): Uint8Array | undefined {
  const folded = new Uint8Array(name); // a Buffer's slice would be the name itself
  for (let at = 0; at < folded.length; at++) {
    const char = folded[at]!;
    if (char >= 0x80) return undefined;
    folded[at] = lowerCase(char);
  }
  return folded;
}
