/** Spoiling one field of one structure, in each of the ways that damage or malice might. */
import type { AnyField } from "../../src/format/layout.js";

export interface Spoil {
  /** What was done, for a message. */
  readonly way: string;
  readonly bytes: Uint8Array;
  /** One bit of a word of flags: to a checksum it is like any other damage. */
  readonly isFlag: boolean;
}

/**
 * What a field's bytes may be spoiled to: zero, its maximum, one more, one less (which flip the lowest bit, too), the highest bit flipped; of what is no number, bits flipped at
 * both ends. Of a word of flags also each bit alone, as each is a field of its own. Ways that come to the same bytes count once.
 */
export function spoilsOf(field: AnyField, before: Uint8Array, isFlagWord: boolean): Spoil[] {
  const spoils = new Map<string, Spoil>();
  const add = (way: string, change: (bytes: Uint8Array) => void, isFlag = false): void => {
    const bytes = before.slice();
    change(bytes);
    const key = Buffer.from(bytes).toString("latin1");
    if (bytes.some((byte, index) => byte !== before[index]) && !spoils.has(key)) spoils.set(key, { way, bytes, isFlag });
  };
  add("zero", (bytes) => bytes.fill(0));
  add("maximum", (bytes) => bytes.fill(0xff));
  if (isNumber(field)) {
    const isBigEndian = field.type.startsWith("be");
    add("one more", (bytes) => carry(bytes, isBigEndian, 1));
    add("one less", (bytes) => carry(bytes, isBigEndian, -1));
  } else {
    add("first bit flipped", (bytes) => { bytes[0]! ^= 1; });
    add("last bit flipped", (bytes) => { bytes[bytes.length - 1]! ^= 0x80; });
  }
  for (let bit = 0; isFlagWord && bit < before.length * 8; bit++) add(`bit ${bit} of the bytes flipped`, (bytes) => { bytes[bit >> 3]! ^= 1 << (bit & 7); }, true);
  return [...spoils.values()];
}

function isNumber(field: AnyField): boolean {
  return "get" in field && field.type !== "bytes" && !("count" in field);
}

/** Adds 1 or -1 to a number of any width, which wraps. */
function carry(bytes: Uint8Array, isBigEndian: boolean, step: 1 | -1): void {
  const overflow = step === 1 ? 0 : 0xff;
  for (let digit = 0; digit < bytes.length; digit++) {
    const at = isBigEndian ? bytes.length - 1 - digit : digit;
    bytes[at] = bytes[at]! + step;
    if (bytes[at] !== overflow) return;
  }
}
