/**
 * Encrypted names while the key is away. Linux shows such a name as base64url of { hash, minor hash, up to 149 bytes of ciphertext, and the SHA-256 of what follows },
 * so that each stays unique, has no slash and fits in 255 bytes. Source: struct fscrypt_nokey_name (fs/crypto/fname.c).
 */
import { viewOf } from "../format/layout.js";
import { base64urlBytes, base64urlDecode } from "../lib/base64.js";
import { bytesEqual } from "../lib/bytes.js";
import { sha256 } from "../lib/sha256.js";

const HASHES_BYTES = 8;
const CIPHERTEXT_BYTES = 149;
const SHA256_BYTES = 32;
const LONG_BYTES = HASHES_BYTES + CIPHERTEXT_BYTES + SHA256_BYTES;
const SHOWN_BYTES_MAX = (LONG_BYTES * 4) / 3;
/** A block of the cipher: no name is stored in less (FSCRYPT_FNAME_MIN_MSG_LEN). */
export const CIPHERTEXT_BYTES_MIN = 16;

/** The name that stands for `ciphertext`, as ASCII bytes. */
export function noKeyName(ciphertext: Uint8Array, hash: number, minor: number): Uint8Array {
  const isLong = ciphertext.length > CIPHERTEXT_BYTES;
  const shown = Math.min(ciphertext.length, CIPHERTEXT_BYTES);
  const record = new Uint8Array(HASHES_BYTES + shown + (isLong ? SHA256_BYTES : 0));
  const view = viewOf(record);
  view.setUint32(0, hash, true);
  view.setUint32(4, minor, true);
  record.set(ciphertext.subarray(0, shown), HASHES_BYTES);
  if (isLong) record.set(sha256(ciphertext.subarray(CIPHERTEXT_BYTES)), HASHES_BYTES + CIPHERTEXT_BYTES);
  return base64urlBytes(record);
}

/** What a shown name says of the stored one. */
export interface NoKeyName {
  /** By which it was shown. The stored name has it by itself, unless there is a digest. */
  readonly hash: number;
  /** All of the stored name, or its beginning. */
  readonly ciphertext: Uint8Array;
  /** SHA-256 of the rest. */
  readonly digest: Uint8Array | undefined;
}

/** Undefined: nothing is shown so. */
export function parseNoKeyName(name: Uint8Array): NoKeyName | undefined {
  const record = name.length > SHOWN_BYTES_MAX ? undefined : base64urlDecode(name);
  if (record === undefined || record.length <= HASHES_BYTES) return undefined;
  const isLong = record.length > HASHES_BYTES + CIPHERTEXT_BYTES;
  if (isLong && record.length !== LONG_BYTES) return undefined;
  const ciphertextEnd = isLong ? HASHES_BYTES + CIPHERTEXT_BYTES : record.length;
  return { hash: viewOf(record).getUint32(0, true), ciphertext: record.subarray(HASHES_BYTES, ciphertextEnd), digest: isLong ? record.subarray(ciphertextEnd) : undefined };
}

/** Whether `stored` is what the shown name stands for. Its hash does not count, as in Linux. */
export function standsFor({ ciphertext, digest }: NoKeyName, stored: Uint8Array): boolean {
  if (digest === undefined) return bytesEqual(stored, ciphertext);
  return stored.length > CIPHERTEXT_BYTES && bytesEqual(stored.subarray(0, CIPHERTEXT_BYTES), ciphertext) && bytesEqual(sha256(stored.subarray(CIPHERTEXT_BYTES)), digest);
}
