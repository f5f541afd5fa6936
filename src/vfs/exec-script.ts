/** Scripts: a first line "#! interpreter [argument]". Source: fs/binfmt_script.c. */

/** As much of a file as is looked at to tell what it is. */
export const BINPRM_BUF_SIZE = 256;

const NUL = 0;
const TAB = 0x09;
const NEWLINE = 0x0a;
const SPACE = 0x20;

export interface Script {
  readonly interpreter: Uint8Array;
  /** All that follows it on the line is one argument. */
  readonly argument: Uint8Array | undefined;
}

const isBlank = (byte: number): boolean => byte === SPACE || byte === TAB;
const isEnd = (byte: number): boolean => isBlank(byte) || byte === NUL;

/** @param head the first BINPRM_BUF_SIZE bytes, zeroes behind the file's end. */
export function isScript(head: Uint8Array): boolean {
  return head[0] === 0x23 && head[1] === 0x21;
}

/** @returns undefined: no interpreter is named, or its name may be cut off. */
export function decodeScript(head: Uint8Array): Script | undefined {
  const newline = head.indexOf(NEWLINE);
  let end = newline < 0 ? head.length - 1 : newline;
  const first = find(head, 2, end, (byte) => !isBlank(byte));
  // Without the end of the line, a name that runs into the end of what was read may go on behind it.
  if (newline < 0 && (first === undefined || find(head, first, end, isEnd) === undefined)) return undefined;
  while (end > 2 && isBlank(head[end - 1]!)) end--;
  if (first === undefined || first >= end) return undefined;
  const nameEnd = find(head, first, end, isEnd) ?? end;
  const name = head.slice(first, nameEnd);
  if (name.length === 0) return undefined;
  const argumentAt = nameEnd < end && head[nameEnd] !== NUL ? find(head, nameEnd, end, (byte) => !isBlank(byte)) : undefined;
  return { interpreter: name, argument: argumentAt === undefined ? undefined : untilNul(head.slice(argumentAt, end)) };
}

function find(head: Uint8Array, from: number, end: number, matches: (byte: number) => boolean): number | undefined {
  for (let at = from; at < end; at++) if (matches(head[at]!)) return at;
  return undefined;
}

function untilNul(bytes: Uint8Array): Uint8Array {
  const nul = bytes.indexOf(NUL);
  return nul < 0 ? bytes : bytes.subarray(0, nul);
}
