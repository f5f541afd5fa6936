/** CRC-32 with the polynomial 0x04C11DB7, both ways round. Start values are given, nothing is inverted at the end. */

const BIG = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let bit = 0; bit < 8; bit++) crc = crc < 0 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  return crc;
});

const LITTLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** Highest bit first: the checksum of jbd2's first version (the kernel's crc32_be). */
export function crc32Be(crc: number, bytes: Uint8Array, from = 0, to = bytes.length): number {
  for (let at = from; at < to; at++) crc = (crc << 8) ^ BIG[((crc >>> 24) ^ bytes[at]!) & 0xff]!;
  return crc >>> 0;
}

/** Lowest bit first, as zlib and GPT have it; they start with all ones and invert the result. */
export function crc32(crc: number, bytes: Uint8Array, from = 0, to = bytes.length): number {
  for (let at = from; at < to; at++) crc = (crc >>> 8) ^ LITTLE[(crc ^ bytes[at]!) & 0xff]!;
  return crc >>> 0;
}
