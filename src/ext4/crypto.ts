/**
 * Encrypted names while the key is away. Linux shows such a name as base64url of { hash, minor hash, up to 149 bytes of ciphertext, and the SHA-256 of what follows },
 * so that each stays unique, has no slash and fits in 255 bytes. Source: struct fscrypt_nokey_name (fs/crypto/fname.c).
 */
import { viewOf } from "../format/layout.js";
import { base64urlBytes } from "../lib/base64.js";
import { sha256 } from "../lib/sha256.js";

const HASHES_BYTES = 8;
const CIPHERTEXT_BYTES = 149;
const SHA256_BYTES = 32;

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
