/** A disk image in a Blob or File: read-only, and only for promise-based calls, as browsers read blobs no other way. */
import type { Bio } from "../../block/device.js";
import { LeafDevice } from "../../block/leaf.js";
import { FsError } from "../../lib/errno.js";
import type { Task } from "../../sched/task.js";

/** What is used of a Blob, so that Node's and the browser's both fit. */
export interface BlobLike {
  readonly size: number;
  readonly name?: string;
  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> };
}

export class BlobDevice extends LeafDevice {
  readonly name: string;
  readonly readOnly = true;

  constructor(private readonly blob: BlobLike) {
    super();
    this.name = blob.name ?? "blob";
  }

  get sizeBytes(): number {
    return this.blob.size;
  }

  protected transferSync(): void {
    throw new FsError("EOPNOTSUPP", `${this.name} is a Blob, which only promise-based calls can read`);
  }

  protected async transferAsync(bio: Bio): Promise<void> {
    if (bio.op === "flush") return;
    const bytes = await this.blob.slice(bio.offsetBytes, bio.offsetBytes + bio.data.length).arrayBuffer();
    if (bytes.byteLength !== bio.data.length) throw new FsError("EIO", `${this.name} gave ${bytes.byteLength} of ${bio.data.length} bytes at ${bio.offsetBytes}`);
    bio.data.set(new Uint8Array(bytes));
  }

  *close(): Task<void> {}
}
