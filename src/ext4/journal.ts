import type { BlockDevice } from "../block/device.js";
import type { Task } from "../sched/task.js";
import type { Ext4, Ext4MountOptions } from "./super.js";
export interface JournalRecovery { readonly device: BlockDevice }
export function* recoverJournal(_fs: Ext4, _options: Ext4MountOptions): Task<JournalRecovery | undefined> { return undefined; }
