/** Processes on a filesystem in persistent memory or in plain memory. */
import { MemoryDevice } from "../../src/block/memory.js";
import type { BlockDevice } from "../../src/block/device.js";
import { mountExt4 } from "../../src/ext4/mount.js";
import { unmountExt4 } from "../../src/ext4/mount-writable.js";
import type { Ext4, Ext4MountOptions } from "../../src/ext4/super.js";
import { VmEvents } from "../../src/mm/events.js";
import { PmemDevice, type PmemOptions } from "../../src/nvdimm/pmem.js";
import { ManualClock } from "../../src/sched/clock.js";
import { Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import { Kernel } from "../../src/vfs/kernel.js";
import type { Process } from "../../src/vfs/process.js";
import { makeImage } from "../support/allocation-world.js";
import { readImage } from "../support/host.js";

export interface MappingWorldOptions {
  /** A device of its own with a new filesystem, or one that has one. */
  readonly device: "pmem" | "memory" | PmemDevice | MemoryDevice;
  readonly mke2fs?: readonly string[];
  readonly size?: string;
  readonly mount?: Ext4MountOptions;
  readonly pmem?: PmemOptions;
}

export class MappingWorld {
  readonly image: Uint8Array;
  readonly device: BlockDevice;
  readonly scheduler = new Scheduler();
  readonly clock = new ManualClock(1_700_000_000);
  readonly events = new VmEvents();
  readonly kernel = new Kernel({ events: this.events });
  fs!: Ext4;
  process!: Process;

  constructor(private readonly options: MappingWorldOptions) {
    const { device } = options;
    this.image = typeof device !== "string" ? device.bytes : readImage(makeImage(options.mke2fs ?? ["-b", "4096"], options.size ?? "64M"));
    this.device = typeof device !== "string" ? device : device === "pmem" ? new PmemDevice(this.image, options.pmem) : new MemoryDevice(this.image);
    this.mount();
  }

  get pmem(): PmemDevice { return this.device as PmemDevice; }

  mount(options: Ext4MountOptions = {}): void {
    this.fs = this.run(mountExt4(this.device, { readOnly: false, clock: this.clock, events: this.events, ...this.options.mount, ...options }));
    this.kernel.mountRoot(this.fs);
    this.process = this.kernel.spawn();
  }

  unmount(): void {
    for (const process of [...this.kernel.processes.values()]) this.run(process.exit());
    this.kernel.unmountRoot();
    this.run(unmountExt4(this.fs));
  }

  run<T>(task: Task<T>): T {
    return this.scheduler.runSync(task);
  }
}
