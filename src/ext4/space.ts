/**
 * When space runs out there may still be some: blocks freed by transactions that have not committed yet. Whoever meets ENOSPC outside a handle commits them and tries again.
 * Source: ext4_should_retry_alloc (fs/ext4/balloc.c).
 */
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import type { Ext4 } from "./super.js";

const TRIES_MAX = 3;

/** Runs `attempt`, which leaves nothing half done when it throws ENOSPC, again as long as a commit brings space. Called without a handle. */
export function* withSpaceRetry<T>(fs: Ext4, attempt: () => Task<T>): Task<T> {
  for (let tries = 1; ; tries++) {
    try {
      return yield* attempt();
    } catch (error) {
      const mayRetry = error instanceof FsError && error.code === "ENOSPC" && tries < TRIES_MAX && fs.allocator.pendingFreeClusters > 0;
      if (!mayRetry) throw error;
      yield* fs.journal.commitAll();
    }
  }
}
