/** fallocate: space for a range of a file, or away from it. */
import { FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from "../../vfs/inode.js";
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import type { Target } from "../session.js";

export interface FallocateOptions {
  readonly punchHole?: boolean;
  readonly zeroRange?: boolean;
  readonly collapseRange?: boolean;
  readonly insertRange?: boolean;
  readonly keepSize?: boolean;
}

const MODES: readonly (readonly [keyof FallocateOptions, number])[] = [
  ["punchHole", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE], ["zeroRange", FALLOC_FL_ZERO_RANGE], ["collapseRange", FALLOC_FL_COLLAPSE_RANGE], ["insertRange", FALLOC_FL_INSERT_RANGE],
];

/** Linux's FALLOC_FL_ bits. @throws UsageError options that exclude each other. */
export function fallocateMode(options: FallocateOptions): number {
  const chosen = MODES.filter(([name]) => options[name] === true);
  if (chosen.length > 1) throw new UsageError("of -p, -z, -c and -i only one can be done at a time");
  const mode = chosen[0]?.[1] ?? 0;
  if (options.keepSize !== true) return mode;
  if ((mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) !== 0) throw new UsageError("-n does not go with -c and -i, which change the size");
  return mode | FALLOC_FL_KEEP_SIZE;
}

export function fallocate({ volume, path, text }: Target, mode: number, range: { offsetBytes: number; lengthBytes: number }, out: Output): void {
  const isMade = (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE)) === 0 && !volume.existsSync(path);
  if (isMade) volume.writeFileSync(path, "");
  try {
    volume.fallocateSync(path, mode, range.offsetBytes, range.lengthBytes);
  } catch (error) {
    if (isMade) volume.unlinkSync(path);
    throw error;
  }
  out.did(() => `changed ${range.lengthBytes} bytes at ${range.offsetBytes} of ${text}`, () => ({ path, ...range }));
}
