/**
 * POSIX ACLs: a version, then entries. On disk (version 1) an entry has an id only where its tag needs one; in what Linux's getxattr gives and setxattr takes (version 2) each has one.
 * Source: fs/ext4/acl.h, include/uapi/linux/posix_acl_xattr.h, fs/posix_acl.c.
 */
import { FsError } from "../lib/errno.js";
import { layout, le16, le32, viewOf } from "./layout.js";

export const ext4_acl_header = layout("ext4_acl_header", 4, { a_version: le32(0) });

export const ext4_acl_entry = layout("ext4_acl_entry", 8, {
  e_tag:  le16(0),
  e_perm: le16(2), // read 4, write 2, execute 1
  e_id:   le32(4), // on disk only of a user's or a group's entry
});

const VERSION_DISK = 1;
const VERSION_XATTR = 2;
const HEADER_BYTES = ext4_acl_header.$.size;
const SHORT_BYTES = ext4_acl_entry.e_id.at;
const LONG_BYTES = ext4_acl_entry.$.size;
const ACL_UNDEFINED_ID = 0xffff_ffff;

const ACL_USER_OBJ = 0x01;
const ACL_USER = 0x02;
const ACL_GROUP_OBJ = 0x04;
const ACL_GROUP = 0x08;
const ACL_MASK = 0x10;
const ACL_OTHER = 0x20;
const TAGS = new Set([ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER]);
const PERM_BITS = 0o7;
const MODE_BITS = 0o777;

const hasId = (tag: number): boolean => tag === ACL_USER || tag === ACL_GROUP;

export interface AclEntry {
  readonly tag: number;
  /** Read 4, write 2, execute 1. */
  readonly perm: number;
  /** Of the user or group; ACL_UNDEFINED_ID where the tag says enough. */
  readonly id: number;
}

/** From disk to the form of getxattr; undefined: the stored bytes are no ACL. */
export function aclToXattr(stored: Uint8Array): Uint8Array | undefined {
  const entries = aclFromDisk(stored);
  if (entries === undefined) return undefined;
  const value = new Uint8Array(HEADER_BYTES + entries.length * LONG_BYTES);
  const out = viewOf(value);
  ext4_acl_header.a_version.set(out, 0, VERSION_XATTR);
  entries.forEach(({ tag, perm, id }, index) => {
    const at = HEADER_BYTES + index * LONG_BYTES;
    ext4_acl_entry.e_tag.set(out, at, tag);
    ext4_acl_entry.e_perm.set(out, at, perm);
    ext4_acl_entry.e_id.set(out, at, id);
  });
  return value;
}

/** Undefined: the stored bytes are no ACL. */
export function aclFromDisk(stored: Uint8Array): AclEntry[] | undefined {
  const view = viewOf(stored);
  if (stored.length < HEADER_BYTES || ext4_acl_header.a_version.get(view, 0) !== VERSION_DISK) return undefined;
  const entries: AclEntry[] = [];
  for (let at = HEADER_BYTES; at < stored.length;) {
    if (at + SHORT_BYTES > stored.length) return undefined;
    const tag = ext4_acl_entry.e_tag.get(view, at);
    const sizeBytes = hasId(tag) ? LONG_BYTES : SHORT_BYTES;
    if (!TAGS.has(tag) || at + sizeBytes > stored.length) return undefined;
    entries.push({ tag, perm: ext4_acl_entry.e_perm.get(view, at), id: hasId(tag) ? ext4_acl_entry.e_id.get(view, at) : ACL_UNDEFINED_ID });
    at += sizeBytes;
  }
  return entries;
}

export function aclToDisk(acl: readonly AclEntry[]): Uint8Array {
  const stored = new Uint8Array(acl.reduce((sum, { tag }) => sum + (hasId(tag) ? LONG_BYTES : SHORT_BYTES), HEADER_BYTES));
  const out = viewOf(stored);
  ext4_acl_header.a_version.set(out, 0, VERSION_DISK);
  let at = HEADER_BYTES;
  for (const { tag, perm, id } of acl) {
    ext4_acl_entry.e_tag.set(out, at, tag);
    ext4_acl_entry.e_perm.set(out, at, perm);
    if (hasId(tag)) ext4_acl_entry.e_id.set(out, at, id);
    at += hasId(tag) ? LONG_BYTES : SHORT_BYTES;
  }
  return stored;
}

/**
 * What a program gives to setxattr; no entries: the ACL is to go. Whether the entries make sense together is aclIsValid's question.
 * @throws FsError EINVAL, EOPNOTSUPP another version.
 */
export function aclFromXattr(value: Uint8Array): AclEntry[] {
  if (value.length === 0) return [];
  const view = viewOf(value);
  if (value.length < HEADER_BYTES) throw new FsError("EINVAL", "the ACL is cut short");
  if (ext4_acl_header.a_version.get(view, 0) !== VERSION_XATTR) throw new FsError("EOPNOTSUPP", "the ACL is of an unknown version");
  if ((value.length - HEADER_BYTES) % LONG_BYTES !== 0) throw new FsError("EINVAL", "the ACL is cut short");
  const entries: AclEntry[] = [];
  for (let at = HEADER_BYTES; at < value.length; at += LONG_BYTES) {
    const tag = ext4_acl_entry.e_tag.get(view, at);
    const id = ext4_acl_entry.e_id.get(view, at);
    if (!TAGS.has(tag) || (hasId(tag) && id === ACL_UNDEFINED_ID)) throw new FsError("EINVAL", `the ACL has an entry with tag ${tag} and id ${id}`);
    entries.push({ tag, perm: ext4_acl_entry.e_perm.get(view, at), id: hasId(tag) ? id : ACL_UNDEFINED_ID });
  }
  return entries;
}

/** Owner, users, owning group, groups, mask, others, in this order: the three of the mode once each, and a mask if there is a user or group, with or without one otherwise. */
export function aclIsValid(acl: readonly AclEntry[]): boolean {
  if (acl.some(({ perm }) => (perm & ~PERM_BITS) !== 0)) return false;
  const count = (wanted: number): number => acl.filter(({ tag }) => tag === wanted).length;
  const isOrdered = acl.every(({ tag }, index) => index === 0 || acl[index - 1]!.tag <= tag);
  const needsMask = count(ACL_USER) + count(ACL_GROUP) > 0;
  return isOrdered && count(ACL_USER_OBJ) === 1 && count(ACL_GROUP_OBJ) === 1 && count(ACL_OTHER) === 1 && count(ACL_MASK) <= 1 && (!needsMask || count(ACL_MASK) === 1);
}

/** The permission bits that show the ACL: with a mask, that stands for the group. Exact: they say all that the ACL says. */
export function aclMode(acl: readonly AclEntry[]): { readonly bits: number; readonly isExact: boolean } {
  const perm = (wanted: number): number | undefined => acl.find(({ tag }) => tag === wanted)?.perm;
  const group = perm(ACL_MASK) ?? perm(ACL_GROUP_OBJ) ?? 0;
  return {
    bits: ((perm(ACL_USER_OBJ) ?? 0) << 6) | (group << 3) | (perm(ACL_OTHER) ?? 0),
    isExact: acl.every(({ tag }) => tag === ACL_USER_OBJ || tag === ACL_GROUP_OBJ || tag === ACL_OTHER),
  };
}

/** The ACL with the mode's permissions: its group bits go to the mask, if there is one. */
export function aclWithMode(acl: readonly AclEntry[], mode: number): AclEntry[] {
  const groupTag = acl.some(({ tag }) => tag === ACL_MASK) ? ACL_MASK : ACL_GROUP_OBJ;
  const shifts = new Map([[ACL_USER_OBJ, 6], [groupTag, 3], [ACL_OTHER, 0]]);
  return acl.map((entry) => {
    const shift = shifts.get(entry.tag);
    return shift === undefined ? entry : { ...entry, perm: (mode >>> shift) & PERM_BITS };
  });
}

/** What a new file gets that is made with `mode` in a directory with this default ACL: only what both allow. */
export function aclForNewFile(inherited: readonly AclEntry[], mode: number): { readonly acl: AclEntry[]; readonly mode: number } {
  const bits = mode & aclMode(inherited).bits;
  return { acl: aclWithMode(inherited, bits), mode: (mode & ~MODE_BITS) | bits };
}
