/** chmod. */
import type { Volume } from "../../platform/node/index.js";
import type { Inode } from "../../vfs/inode.js";
import { applyMode, type parseMode } from "../mode.js";
import type { Output } from "../output.js";
import { lookup, type Target } from "../session.js";
import { jsonName, modeString, quoted } from "../text.js";
import { visitTree } from "../visit.js";

export function chmod({ volume, path, text }: Target, mode: ReturnType<typeof parseMode>, isRecursive: boolean, out: Output): void {
  const top = volume.runSync(lookup(volume, path, true));
  if (!isRecursive) return change(volume, top.d_inode, Buffer.from(path), mode, out);
  const image = text.slice(0, -path.length);
  visitTree(volume, top, {
    enter: (dentry, at) => {
      // A link in the tree is left alone: it has no mode, and what it leads to was not named.
      if (!dentry.d_inode.isSymlink()) change(volume, dentry.d_inode, at, mode, out);
    },
    failed: (error, at) => out.error(`${image}${quoted(at)}: ${error.message}`),
  });
}

function change(volume: Volume, inode: Inode, path: Uint8Array, mode: ReturnType<typeof parseMode>, out: Output): void {
  const before = inode.i_mode;
  volume.chmodSync(path, applyMode(mode, before, inode.isDirectory(), process.umask()));
  const show = (bits: number): string => `${(bits & 0o7777).toString(8).padStart(4, "0")} (${modeString(bits).slice(1)})`;
  out.did(
    () => `mode of ${quoted(path)} ${before === inode.i_mode ? `is ${show(before)} already` : `changed from ${show(before)} to ${show(inode.i_mode)}`}`,
    () => ({ ...jsonName(path, "path"), mode: inode.i_mode & 0o7777, was: before & 0o7777 }),
  );
}
