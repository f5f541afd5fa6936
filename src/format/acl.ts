/**
 * POSIX ACLs. On disk (version 1) an entry has an id only where its tag needs one; in what Linux's getxattr gives (version 2) each has 8 bytes.
 * Source: fs/ext4/acl.h, include/uapi/linux/posix_acl_xattr.h.
 */
import { viewOf } from "./layout.js";

const VERSION_DISK = 1;
const VERSION_XATTR = 2;
const HEADER_BYTES = 4;
const SHORT_BYTES = 4;
const LONG_BYTES = 8;
const ACL_UNDEFINED_ID = 0xffff_ffff;

const ACL_USER_OBJ = 0x01;
const ACL_USER = 0x02;
const ACL_GROUP_OBJ = 0x04;
const ACL_GROUP = 0x08;
const ACL_MASK = 0x10;
const ACL_OTHER = 0x20;
const TAGS = new Set([ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER]);

const hasId = (tag: number): boolean => tag === ACL_USER || tag === ACL_GROUP;

interface AclEntry { readonly tag: number; readonly perm: number; readonly id: number }

/** From disk to the form of getxattr; undefined: the stored bytes are no ACL. */
export function aclToXattr(stored: Uint8Array): Uint8Array | undefined {
  const entries = readEntries(stored);
  if (entries === undefined) return undefined;
  const value = new Uint8Array(HEADER_BYTES + entries.length * LONG_BYTES);
  const out = viewOf(value);
  out.setUint32(0, VERSION_XATTR, true);
  entries.forEach(({ tag, perm, id }, index) => {
    const at = HEADER_BYTES + index * LONG_BYTES;
    out.setUint16(at, tag, true);
    out.setUint16(at + 2, perm, true);
    out.setUint32(at + 4, id, true);
  });
  return value;
}

function readEntries(stored: Uint8Array): AclEntry[] | undefined {
  const view = viewOf(stored);
  if (stored.length < HEADER_BYTES || view.getUint32(0, true) !== VERSION_DISK) return undefined;
  const entries: AclEntry[] = [];
  for (let at = HEADER_BYTES; at < stored.length;) {
    if (at + SHORT_BYTES > stored.length) return undefined;
    const tag = view.getUint16(at, true);
    const sizeBytes = hasId(tag) ? LONG_BYTES : SHORT_BYTES;
    if (!TAGS.has(tag) || at + sizeBytes > stored.length) return undefined;
    entries.push({ tag, perm: view.getUint16(at + 2, true), id: hasId(tag) ? view.getUint32(at + 4, true) : ACL_UNDEFINED_ID });
    at += sizeBytes;
  }
  return entries;
}
