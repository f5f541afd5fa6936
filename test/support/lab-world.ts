/** A filesystem of its own in persistent memory, mounted, with processes: made from nothing, the same each time. */
import type { BlockDevice } from "../../src/block/device.js";
import { mountExt4 } from "../../src/ext4/mount.js";
import { unmountExt4 } from "../../src/ext4/mount-writable.js";
import type { Ext4, Ext4MountOptions } from "../../src/ext4/super.js";
import type { FsError } from "../../src/lib/errno.js";
import { planMkfs } from "../../src/mkfs/mkfs.js";
import { VmEvents } from "../../src/mm/events.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import { ManualClock } from "../../src/sched/clock.js";
import { Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import { Kernel } from "../../src/vfs/kernel.js";
import type { Process } from "../../src/vfs/process.js";
import { inlineTree } from "./inline-tree.js";

const EPOCH_SEC = 1_700_000_000;
const DEVICE_BYTES = 16 * 2 ** 20;

export interface LabWorldOptions {
  /** Changes of mkfs's features, as in "inline_data". */
  readonly features?: string | undefined;
  /** In the root, each small enough for an inode: only mkfs puts new files there. */
  readonly files?: Readonly<Record<string, Uint8Array>>;
  /** One that has a filesystem. */
  readonly device?: BlockDevice;
}

export class LabWorld {
  readonly scheduler = new Scheduler();
  readonly events = new VmEvents();
  readonly clock = new ManualClock(EPOCH_SEC);
  readonly kernel = new Kernel({ events: this.events });
  readonly device: BlockDevice;
  /** Of all mounts that ended. */
  readonly warnings: FsError[] = [];
  fs!: Ext4;
  process!: Process;

  constructor({ features = "", files = {}, device }: LabWorldOptions = {}) {
    this.device = device ?? new PmemDevice(new Uint8Array(DEVICE_BYTES));
    if (device !== undefined) return;
    const options = { timeSec: EPOCH_SEC, uuid: new Uint8Array(16).fill(1), hashSeed: new Uint8Array(16).fill(2), blockBytes: 4096, journalBytes: features.includes("^has_journal") ? undefined : 4 * 2 ** 20, features, deviceIsZero: true };
    this.run(planMkfs(options, DEVICE_BYTES, inlineTree(files)).write(this.device));
  }

  mount(options: Ext4MountOptions): void {
    this.fs = this.run(mountExt4(this.device, { readOnly: false, clock: this.clock, events: this.events, ...options }));
    this.kernel.mountRoot(this.fs);
    this.process = this.kernel.spawn();
  }

  /** Ends all processes first. */
  unmount(): void {
    for (const process of [...this.kernel.processes.values()]) this.run(process.exit());
    this.kernel.unmountRoot();
    this.warnings.push(...this.fs.warnings);
    this.run(unmountExt4(this.fs));
  }

  run<T>(task: Task<T>): T {
    return this.scheduler.runSync(task);
  }
}
