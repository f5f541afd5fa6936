import type { FastCommitRecord } from "../jbd2/fast-commit.js";
import type { Task } from "../sched/task.js";
import type { Ext4 } from "./super.js";
export function* replayFastCommits(_fs: Ext4, _records: readonly FastCommitRecord[]): Task<void> {}
