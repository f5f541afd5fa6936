/**
 * What all leaf devices share: bounds, alignment and permission are checked once, here, and a batch becomes one wait. A subclass only moves bytes.
 */
import { FsError } from "../lib/errno.js";
import type { Io, Task } from "../sched/task.js";
import { SECTOR_BYTES, type Bio, type BlockDevice } from "./device.js";

export abstract class LeafDevice implements BlockDevice {
  abstract readonly name: string;
  abstract readonly sizeBytes: number;
  abstract readonly readOnly: boolean;

  /** Carries out one checked request on the caller's stack. @throws FsError EIO. */
  protected abstract transferSync(bio: Bio): void;
  protected abstract transferAsync(bio: Bio): Promise<void>;
  abstract close(): Task<void>;

  *submit(bios: readonly Bio[]): Task<void> {
    for (const bio of bios) checkBio(this, bio);
    yield { op: "io", io: new Batch(this.name, bios, (bio) => this.transferSync(bio), (bio) => this.transferAsync(bio)) };
  }
}

class Batch implements Io {
  constructor(
    private readonly deviceName: string,
    private readonly bios: readonly Bio[],
    private readonly transferSync: (bio: Bio) => void,
    private readonly transferAsync: (bio: Bio) => Promise<void>,
  ) {}

  get description(): string {
    return `${this.bios.map(describeBio).join(", ")} of ${this.deviceName}`;
  }

  runSync(): void {
    for (const bio of this.bios) this.transferSync(bio);
  }

  async runAsync(): Promise<void> {
    await Promise.all(this.bios.map((bio) => this.transferAsync(bio)));
  }
}

export function describeBio({ op, offsetBytes, data, fua }: Bio): string {
  return op === "flush" ? op : `${op} ${data.length} at ${offsetBytes}${fua === true ? ", FUA" : ""}`;
}

/** @throws FsError EIO past the end, EROFS, EINVAL a write that does not cover whole sectors. */
export function checkBio(device: BlockDevice, bio: Bio): void {
  if (bio.op === "flush") return;
  if (!(bio.offsetBytes >= 0 && bio.offsetBytes + bio.data.length <= device.sizeBytes)) {
    throw new FsError("EIO", `${describeBio(bio)} passes the end of ${device.name}, which has ${device.sizeBytes} bytes`);
  }
  if (bio.op === "read") return;
  if (device.readOnly) throw new FsError("EROFS", `${device.name} is open for reading only`);
  if (bio.offsetBytes % SECTOR_BYTES !== 0 || bio.data.length % SECTOR_BYTES !== 0) {
    throw new FsError("EINVAL", `${describeBio(bio)} of ${device.name} does not cover whole sectors`);
  }
}
