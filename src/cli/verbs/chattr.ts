/** chattr: the flags that lsattr shows, and the project. Only files and directories have them. */
import { INODE_FLAG_LETTERS } from "../../format/inode.js";
import { FsError } from "../../lib/errno.js";
import type { Volume } from "../../platform/node/index.js";
import { withDirectory } from "../../vfs/change.js";
import type { Inode } from "../../vfs/inode.js";
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { lookup, type Target } from "../session.js";
import { jsonName, quoted } from "../text.js";
import { visitTree } from "../visit.js";

export interface FlagChanges {
  readonly added: number;
  readonly removed: number;
  /** Undefined: all that is not added or removed stays. */
  readonly exact: number | undefined;
  readonly project: number | undefined;
}

/** Flags that the filesystem keeps for itself: to set exactly means all others. */
const OWN_LETTERS = "eEINVFx";

/** @throws UsageError. */
export function flagBits(letters: string): number {
  return Array.from(letters).reduce((bits, letter) => {
    const found = INODE_FLAG_LETTERS.find(([, known]) => known === letter);
    if (found === undefined) throw new UsageError(`'${letter}' is no flag`);
    return bits | found[0];
  }, 0);
}

export function chattr({ volume, path, text }: Target, changes: FlagChanges, isRecursive: boolean, out: Output): void {
  const top = volume.runSync(lookup(volume, path, false));
  if (!isRecursive) return change(volume, top.d_inode, Buffer.from(path), changes, out);
  const image = text.slice(0, -path.length);
  visitTree(volume, top, {
    enter: (dentry, at) => {
      if (hasFlags(dentry.d_inode)) change(volume, dentry.d_inode, at, changes, out);
    },
    failed: (error, at) => out.error(`${image}${quoted(at)}: ${error.message}`),
  });
}

const hasFlags = (inode: Inode): boolean => inode.isRegular() || inode.isDirectory();

function change(volume: Volume, inode: Inode, path: Uint8Array, { added, removed, exact, project }: FlagChanges, out: Output): void {
  if (!hasFlags(inode)) throw new FsError("EOPNOTSUPP", "only files and directories have flags");
  const kept = flagBits(OWN_LETTERS) & inode.i_flags;
  const wanted = ((exact === undefined ? inode.i_flags : exact | kept | (inode.i_flags & ~ALL_FLAGS)) | added) & ~removed;
  if (project !== undefined) volume.runSync(withDirectory(inode, () => inode.setattr({ projid: project })));
  // Directories alone have some of them; a file in a tree is given the others.
  const bits = inode.isDirectory() ? wanted : wanted & ~(DIRECTORY_FLAGS & added);
  if (bits !== inode.i_flags) volume.setFlagsSync(path, bits >>> 0);
  out.did(() => `flags of ${quoted(path)} are ${shownFlags(inode)}`, () => ({ ...jsonName(path, "path"), flags: inode.i_flags, project: inode.i_projid }));
}

const ALL_FLAGS = INODE_FLAG_LETTERS.reduce((bits, [bit]) => bits | bit, 0);
const DIRECTORY_FLAGS = flagBits("DTPF");

function shownFlags(inode: Inode): string {
  return INODE_FLAG_LETTERS.map(([bit, letter]) => ((inode.i_flags & bit) !== 0 ? letter : "-")).join("");
}
