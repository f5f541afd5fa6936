/** What users write for sizes, times and owners. */
import { UsageError } from "./operand.js";

const UNIT_LETTERS = "KMGTPE";

/** Bytes: a number with K, M, G, T, P or E (powers of 1024, also KiB), or KB, MB ... (powers of 1000). @throws UsageError. */
export function parseSize(text: string, option: string): number {
  const [, digits, letter, unit] = /^(\d+)(?:([KMGTPE])(B|iB)?)?$/i.exec(text) ?? [];
  if (digits === undefined) throw new UsageError(`${option}: '${text}' is no size: a number, perhaps with K, M, G, T, P or E`);
  const exponent = letter === undefined ? 0 : UNIT_LETTERS.indexOf(letter.toUpperCase()) + 1;
  const bytes = Number(digits) * (unit?.toUpperCase() === "B" ? 1000 : 1024) ** exponent;
  if (!Number.isSafeInteger(bytes)) throw new UsageError(`${option}: '${text}' is too large`);
  return bytes;
}

/** Changes a size as truncate's -s says: to a number, by +N or -N, at most <N, at least >N, down /N or up %N to a multiple. @throws UsageError. */
export function sizeChange(text: string): (oldBytes: number) => number {
  const [, operator, rest] = /^([+\-<>/%]?)(.*)$/s.exec(text) as unknown as [string, string, string];
  const size = parseSize(rest, "-s");
  if (size === 0 && (operator === "/" || operator === "%")) throw new UsageError("-s: a multiple of 0");
  switch (operator) {
    case "+": return (old) => old + size;
    case "-": return (old) => Math.max(0, old - size);
    case "<": return (old) => Math.min(old, size);
    case ">": return (old) => Math.max(old, size);
    case "/": return (old) => Math.floor(old / size) * size;
    case "%": return (old) => Math.ceil(old / size) * size;
    default: return () => size;
  }
}

/** Nanoseconds since 1970, of @SECONDS or an ISO date, each perhaps with a fraction. Without a zone it is UTC, as all times here. @throws UsageError. */
export function parseTime(text: string, option: string): bigint {
  const [, wholeSec, secFraction] = /^@(-?\d+)(?:\.(\d{1,9}))?$/.exec(text) ?? [];
  if (wholeSec !== undefined) return BigInt(wholeSec) * 1_000_000_000n + fractionNs(secFraction);
  const [, date, clock, fraction, zone] = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9}))?)?\s*(Z|UTC|[+-]\d\d:?\d\d)?$/.exec(text) ?? [];
  const offset = zone === undefined || zone === "UTC" ? "Z" : zone.replace(/^(.\d\d)(\d\d)$/, "$1:$2");
  const milliseconds = date === undefined ? NaN : Date.parse(`${date}T${clock ?? "00:00"}${offset}`);
  if (Number.isNaN(milliseconds)) throw new UsageError(`${option}: '${text}' is no time: 2024-02-29, 2024-02-29T12:30:00.5Z, or @SECONDS`);
  return BigInt(milliseconds) * 1_000_000n + fractionNs(fraction);
}

function fractionNs(digits = ""): bigint {
  return BigInt(digits.padEnd(9, "0"));
}

export interface Owner {
  /** -1: it stays. */
  readonly uid: number;
  readonly gid: number;
}

/** OWNER, OWNER:GROUP or :GROUP, in numbers: an image has no names for them. @throws UsageError. */
export function parseOwner(text: string): Owner {
  const [, uid, gid] = /^(\d*)(?::(\d+))?$/.exec(text) ?? [];
  const isWhole = text !== "" && uid !== undefined;
  const owner = { uid: uid === undefined || uid === "" ? -1 : Number(uid), gid: gid === undefined ? -1 : Number(gid) };
  if (!isWhole || owner.uid >= 2 ** 32 - 1 || owner.gid >= 2 ** 32 - 1) throw new UsageError(`'${text}' is no owner: numbers, as in 1000, 1000:100 or :100`);
  return owner;
}
