/** How info's values are written, as dumpe2fs writes them. */
import { isAllZero } from "../../lib/bytes.js";
import { quoted } from "../text.js";

/** A line of the superblock's or the journal's table. */
export type Line = readonly [name: string, value: string | number];

/** A text that ends at its first NUL or fills its field, fit for a terminal. */
export function terminatedText(bytes: Uint8Array, empty = ""): string {
  const text = bytes.subarray(0, bytes.includes(0) ? bytes.indexOf(0) : bytes.length);
  return text.length === 0 ? empty : quoted(text);
}

export function uuidText(bytes: Uint8Array): string {
  if (isAllZero(bytes)) return "<none>";
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [digits.slice(0, 8), digits.slice(8, 12), digits.slice(12, 16), digits.slice(16, 20), digits.slice(20)].join("-");
}

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const pad2 = (value: number): string => String(value).padStart(2, "0");

/** As C's ctime, in UTC. */
export function clockTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  const time = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map(pad2).join(":");
  return `${DAYS[date.getUTCDay()]} ${MONTHS[date.getUTCMonth()]} ${String(date.getUTCDate()).padStart(2)} ${time} ${date.getUTCFullYear()}`;
}

const DAY_SEC = 86_400;
const LONG_UNITS: readonly (readonly [string, number])[] = [["month", 30 * DAY_SEC], ["week", 7 * DAY_SEC], ["day", DAY_SEC]];

/** "1 month, 2 days, 3:04:05". */
export function intervalText(seconds: number): string {
  if (seconds === 0) return "<none>";
  const parts: string[] = [];
  let rest = seconds;
  for (const [unit, unitSec] of LONG_UNITS) {
    const count = Math.floor(rest / unitSec);
    rest %= unitSec;
    if (count > 0) parts.push(`${count} ${unit}${count > 1 ? "s" : ""}`);
  }
  if (rest > 0) parts.push(`${Math.floor(rest / 3600)}:${pad2(Math.floor(rest / 60) % 60)}:${pad2(rest % 60)}`);
  return parts.join(", ");
}

/** A unit is left when it would have eight thousand of the next. */
export function lifetimeWrites(kilobytes: number): string {
  const units = ["kB", "MB", "GB", "TB", "PB"];
  let power = 0;
  while (power < units.length - 1 && kilobytes >= 2 ** (13 + 10 * power)) power++;
  const unit = 2 ** (10 * power);
  return `${Math.floor((kilobytes + Math.floor(unit / 2)) / unit)} ${units[power]}`;
}

/** Who may use reserved blocks. Other names than root's are the host's business, not the image's. */
export const ownerText = (kind: "user" | "group", id: number): string => `${id} (${kind} ${id === 0 ? "root" : "unknown"})`;
