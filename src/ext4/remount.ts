/**
 * Changing the options of a mounted filesystem: from reading to writing and back, and the abort of its journal. How data is journaled and which files are mapped without a page cache stays as it is.
 * Whether anybody writes, the caller has asked. Source: ext4_remount, ext4_check_opt_consistency (fs/ext4/super.c).
 */
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { openForWriting, unmountExt4 } from "./mount-writable.js";
import { parseExt4Options, type TextOptions } from "./mount-options.js";
import type { Ext4 } from "./super.js";

/** @throws FsError EINVAL; EROFS it cannot be written; EIO. */
export function* remountExt4(fs: Ext4, isReadOnly: boolean, words: readonly string[]): Task<void> {
  const wanted = parseExt4Options(words);
  checkSame(fs, wanted);
  if (wanted.isAbort === true && fs.writable !== undefined) return yield* fs.journal.abort(new FsError("EIO", "Abort forced by user"));
  if (isReadOnly && fs.writable !== undefined) yield* unmountExt4(fs);
  else if (!isReadOnly && fs.writable === undefined) yield* openForWriting(fs);
}

/** An option that was not given at the mount differs even from the mode that it had by default. */
function checkSame(fs: Ext4, { dax, dataMode }: TextOptions): void {
  if (dax !== undefined && dax !== fs.options.dax) throw new FsError("EINVAL", "can't change dax mount option while remounting");
  if (dataMode !== undefined && dataMode !== fs.dataMode) throw new FsError("EINVAL", "Cannot change data mode on remount");
}
