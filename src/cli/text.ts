/** How things are shown to people: names, modes, sizes, times. */
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, type Timespec } from "../vfs/inode.js";
import { decode, isValidUtf8 } from "../lib/utf8.js";

const ESCAPES: Record<number, string> = { 7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 27: "\\e", 39: "\\'", 92: "\\\\" };

/** A name for the terminal: as it is, or quoted as a shell reads it ($'…') where it has control bytes or is not UTF-8. */
export function quoted(name: Uint8Array): string {
  if (isValidUtf8(name)) {
    const text = decode(name);
    if (!/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/.test(text)) return text;
  }
  const parts = Array.from(name, (byte) => ESCAPES[byte] ?? (byte < 0x20 || byte >= 0x7f ? `\\${byte.toString(8).padStart(3, "0")}` : String.fromCharCode(byte)));
  return `$'${parts.join("")}'`;
}

/** A name for JSON: its text, and its bytes in hexadecimal where the text does not tell them. */
export function jsonName(name: Uint8Array, key = "name"): Record<string, string> {
  return isValidUtf8(name) ? { [key]: decode(name) } : { [key]: decode(name), [`${key}Hex`]: Buffer.from(name).toString("hex") };
}

const TYPE_LETTERS: Record<number, string> = { [S_IFSOCK]: "s", [S_IFLNK]: "l", [S_IFREG]: "-", [S_IFBLK]: "b", [S_IFDIR]: "d", [S_IFCHR]: "c", [S_IFIFO]: "p" };
const TYPE_NAMES: Record<number, string> = {
  [S_IFSOCK]: "socket", [S_IFLNK]: "symbolic link", [S_IFREG]: "regular file", [S_IFBLK]: "block special file", [S_IFDIR]: "directory",
  [S_IFCHR]: "character special file", [S_IFIFO]: "fifo",
};

export const typeLetter = (mode: number): string => TYPE_LETTERS[mode & S_IFMT] ?? "?";
export const typeName = (mode: number): string => TYPE_NAMES[mode & S_IFMT] ?? "unknown";

/** As in "drwxr-xr-t". */
export function modeString(mode: number): string {
  const triple = (bits: number, special: boolean, letter: string): string =>
    ((bits & 4) !== 0 ? "r" : "-") + ((bits & 2) !== 0 ? "w" : "-") + (special ? ((bits & 1) !== 0 ? letter : letter.toUpperCase()) : (bits & 1) !== 0 ? "x" : "-");
  return typeLetter(mode) + triple(mode >> 6, (mode & 0o4000) !== 0, "s") + triple(mode >> 3, (mode & 0o2000) !== 0, "s") + triple(mode, (mode & 0o1000) !== 0, "t");
}

/** As ls -h: powers of 1024, rounded up. */
export function humanSize(bytes: number): string {
  if (bytes < 1024) return String(bytes);
  let value = bytes;
  let unit = -1;
  while (value >= 1024 && unit < 5) {
    value /= 1024;
    unit++;
  }
  const rounded = value < 10 ? Math.ceil(value * 10) / 10 : Math.ceil(value);
  return (rounded < 10 && value < 10 ? rounded.toFixed(1) : String(Math.ceil(rounded))) + "KMGTPE"[unit];
}

const pad2 = (value: number): string => String(value).padStart(2, "0");

/** Year to minute, in UTC, as all times here. */
export function shortTime({ sec }: Timespec): string {
  const date = new Date(sec * 1000);
  return `${date.getUTCFullYear()}-${pad2(date.getUTCMonth() + 1)}-${pad2(date.getUTCDate())} ${pad2(date.getUTCHours())}:${pad2(date.getUTCMinutes())}`;
}

/** To the nanosecond, as stat prints it, in UTC. */
export function fullTime(time: Timespec): string {
  return `${shortTime(time)}:${pad2(new Date(time.sec * 1000).getUTCSeconds())}.${String(time.nsec).padStart(9, "0")} +0000`;
}

/** Seconds and nanoseconds as one decimal number, exactly. */
export function timeNumber({ sec, nsec }: Timespec): string {
  const ns = BigInt(sec) * 1_000_000_000n + BigInt(nsec);
  const size = ns < 0n ? -ns : ns;
  return `${ns < 0n ? "-" : ""}${size / 1_000_000_000n}.${String(size % 1_000_000_000n).padStart(9, "0")}`;
}

export const hex8 = (value: number): string => `0x${value.toString(16).padStart(8, "0")}`;

/** Rows of cells, padded to columns; numbers to the right. */
export function table(rows: readonly (readonly (string | number)[])[], indent = ""): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, column) => { widths[column] = Math.max(widths[column] ?? 0, String(cell).length); });
  return rows.map((row) => indent + row.map((cell, column) =>
    typeof cell === "number" ? String(cell).padStart(widths[column]!) : column === row.length - 1 ? cell : cell.padEnd(widths[column]!)).join("  ").trimEnd() + "\n").join("");
}
