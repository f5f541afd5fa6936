/** UTF-8 without the platform's TextDecoder, which the core must not name. Invalid bytes decode to U+FFFD as WHATWG's decoder does it. */

const REPLACEMENT = 0xfffd;
/** Code units that String.fromCharCode takes at once. */
const CHUNK = 4096;

export function encode(text: string): Uint8Array {
  let lengthBytes = 0;
  for (const char of text) lengthBytes += sizeOf(char.codePointAt(0)!);
  const bytes = new Uint8Array(lengthBytes);
  let at = 0;
  for (const char of text) {
    const code = char.codePointAt(0)!;
    at = put(bytes, at, code >= 0xd800 && code <= 0xdfff ? REPLACEMENT : code); // half of a pair
  }
  return bytes;
}

function sizeOf(code: number): number {
  return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

function put(bytes: Uint8Array, at: number, code: number): number {
  const size = sizeOf(code);
  if (size === 1) {
    bytes[at] = code;
    return at + 1;
  }
  bytes[at] = (0xf00 >>> size) & 0xff | (code >>> (6 * (size - 1)));
  for (let index = 1; index < size; index++) bytes[at + index] = 0x80 | ((code >>> (6 * (size - 1 - index))) & 0x3f);
  return at + size;
}

export function decode(bytes: Uint8Array): string {
  return decodeWith(bytes, () => true)!;
}

export function isValidUtf8(bytes: Uint8Array): boolean {
  return decodeWith(bytes, () => false) !== undefined;
}

/** Decodes; at an invalid sequence `goOn` says whether it becomes U+FFFD or ends the decoding with undefined. */
function decodeWith(bytes: Uint8Array, goOn: () => boolean): string | undefined {
  let text = "";
  let units: number[] = [];
  for (let at = 0; at < bytes.length;) {
    const code = codePointAt(bytes, at);
    if (code >= 0) {
      at += sizeOf(code);
      if (code < 0x10000) units.push(code);
      else units.push(0xd800 + ((code - 0x10000) >>> 10), 0xdc00 + (code & 0x3ff));
    } else {
      if (!goOn()) return undefined;
      units.push(REPLACEMENT);
      at += -code;
    }
    if (units.length >= CHUNK) {
      text += String.fromCharCode(...units);
      units = [];
    }
  }
  return text + String.fromCharCode(...units);
}

/** The code point at `at`, or minus the length of the longest start of one that stands there (1 to 3 bytes). */
function codePointAt(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return first;
  if (first < 0xc2 || first > 0xf4) return -1;
  const size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  let code = first & (0x7f >>> size);
  for (let index = 1; index < size; index++) {
    const next = at + index < bytes.length ? bytes[at + index]! : 0;
    // The second byte's range leaves out long forms, surrogates, and what is above U+10FFFF.
    const low = index === 1 ? (first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80) : 0x80;
    const high = index === 1 ? (first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf) : 0xbf;
    if (next < low || next > high) return -index;
    code = (code << 6) | (next & 0x3f);
  }
  return code;
}
