/** Base64url without padding (RFC 4648, section 5), as fscrypt writes names. */

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const DIGITS = Uint8Array.from(ALPHABET, (digit) => digit.charCodeAt(0));

/** The encoding as ASCII bytes. */
export function base64urlBytes(bytes: Uint8Array): Uint8Array {
  const encoded = new Uint8Array(Math.ceil((bytes.length * 4) / 3));
  let bits = 0;
  let bitCount = 0;
  let at = 0;
  for (const byte of bytes) {
    bits = ((bits << 8) | byte) & 0xfff;
    for (bitCount += 8; bitCount >= 6; bitCount -= 6) encoded[at++] = DIGITS[(bits >>> (bitCount - 6)) & 63]!;
  }
  if (bitCount > 0) encoded[at] = DIGITS[(bits << (6 - bitCount)) & 63]!;
  return encoded;
}

/** What ASCII bytes encode, or undefined: a digit that is none, or bits left over that are not zero. As Linux decodes, a last digit that says nothing may stand there. */
export function base64urlDecode(encoded: Uint8Array): Uint8Array | undefined {
  const bytes = new Uint8Array(Math.floor((encoded.length * 3) / 4));
  let bits = 0;
  let bitCount = 0;
  let at = 0;
  for (const char of encoded) {
    const digit = DIGITS.indexOf(char);
    if (digit < 0) return undefined;
    bits = ((bits << 6) | digit) & 0xfff;
    bitCount += 6;
    if (bitCount < 8) continue;
    bitCount -= 8;
    bytes[at++] = bits >>> bitCount;
  }
  return (bits & ((1 << bitCount) - 1)) === 0 ? bytes : undefined;
}
