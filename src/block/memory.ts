/** A device in memory. It never waits. */
import type { Task } from "../sched/task.js";
import type { Bio, BlockDevice } from "./device.js";
import { checkBio } from "./leaf.js";

export class MemoryDevice implements BlockDevice {
  readonly name: string;
  readonly readOnly: boolean;

  /** `bytes` is the device, not a copy of it. */
  constructor(readonly bytes: Uint8Array, options: { name?: string; readOnly?: boolean } = {}) {
    this.name = options.name ?? "memory";
    this.readOnly = options.readOnly ?? false;
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  *submit(bios: readonly Bio[]): Task<void> {
    for (const bio of bios) {
      checkBio(this, bio);
      if (bio.op === "read") bio.data.set(this.bytes.subarray(bio.offsetBytes, bio.offsetBytes + bio.data.length));
      else if (bio.op === "write") this.bytes.set(bio.data, bio.offsetBytes);
    }
  }

  *close(): Task<void> {}
}
