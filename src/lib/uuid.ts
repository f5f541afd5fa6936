/** UUIDs as text. The bytes stand in the order of the text; a GUID, whose first three parts are little-endian numbers, is format/partition.ts: formatGuid. */

export function formatUuid(uuid: Uint8Array): string {
  const hex = Array.from(uuid, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Undefined: the text is no UUID. */
export function parseUuid(text: string): Uint8Array | undefined {
  if (!/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text)) return undefined;
  return Uint8Array.from(text.replaceAll("-", "").match(/../g)!, (byte) => parseInt(byte, 16));
}

/** A random UUID, version 4. @param random 32 random bits. */
export function randomUuid(random: () => number): Uint8Array {
  const uuid = Uint8Array.from({ length: 16 }, () => random() & 0xff);
  uuid[6] = (uuid[6]! & 0x0f) | 0x40;
  uuid[8] = (uuid[8]! & 0x3f) | 0x80;
  return uuid;
}
