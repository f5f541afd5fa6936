/**
 * What damage does to a filesystem that is being written: it is noted in the superblock for e2fsck, and then, as the mount or the superblock says, work goes on, stops being written, or stops
 * altogether. A filesystem that is only read is left as it is. Source: ext4_handle_error, save_error_info (fs/ext4/super.c); journal.md section 11.
 */
import type { CorruptionError } from "../format/corruption.js";
import { EXT4_ERROR_FS, ext4_super_block as S, setSuperblockTime } from "../format/superblock.js";
import { encode } from "../lib/utf8.js";
import type { Task } from "../sched/task.js";
import type { ErrorsPolicy, Ext4 } from "./super.js";

/** s_first_error_errcode and its like: EXT4_ERR_EFSBADCRC, EXT4_ERR_EFSCORRUPTED. */
const BAD_CHECKSUM = 4;
const CORRUPTED = 5;
const POLICIES: readonly (ErrorsPolicy | undefined)[] = [undefined, "continue", "remount-ro", "panic"];

/** Notes the damage and does what is to be done about it. Called without a handle. */
export function* handleCorruption(fs: Ext4, error: CorruptionError): Task<void> {
  if (fs.writable === undefined || fs.journal.abortError !== undefined) return;
  recordError(fs, error);
  const policy = fs.options.errors ?? POLICIES[S.s_errors.get(fs.sb.view, 0)] ?? "remount-ro";
  if (policy === "continue") {
    yield* fs.change(1, (handle) => fs.markSuperDirty(handle));
    return;
  }
  if (policy === "panic") fs.panic(error);
  yield* fs.journal.abort(error);
  yield* fs.writeSuperblock();
}

function recordError(fs: Ext4, error: CorruptionError): void {
  const { view } = fs.sb;
  const code = error.code === "EBADMSG" ? BAD_CHECKSUM : CORRUPTED;
  const name = encode(error.kind).subarray(0, S.s_last_error_func.size);
  S.s_state.set(view, 0, S.s_state.get(view, 0) | EXT4_ERROR_FS);
  const isFirst = S.s_error_count.get(view, 0) === 0;
  S.s_error_count.set(view, 0, S.s_error_count.get(view, 0) + 1);
  for (const which of isFirst ? (["first", "last"] as const) : (["last"] as const)) {
    setSuperblockTime(`s_${which}_error_time`, view, 0, fs.clock.now().sec);
    S[`s_${which}_error_ino`].set(view, 0, error.where.ino ?? 0);
    S[`s_${which}_error_block`].set(view, 0, error.where.block ?? 0);
    S[`s_${which}_error_func`].get(view, 0).fill(0);
    S[`s_${which}_error_func`].get(view, 0).set(name);
    S[`s_${which}_error_line`].set(view, 0, 0);
    S[`s_${which}_error_errcode`].set(view, 0, code);
  }
}
