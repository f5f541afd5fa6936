/**
 * Bytes with writes of any size: what a block translation table stands on (the kernel's nvdimm_{read,write}_bytes). Upon persistent memory a write is durable when it returns, and
 * none of its aligned words of 8 bytes is torn. Upon a block device, which stands for such memory (an image in a file), order and durability are the device's: a write may be lost
 * until `flush`, so a host that loses power in between may leave a torn table, as it would of a mapped file.
 */
import { flush, readBytes, SECTOR_BYTES, writeBytes, type BlockDevice } from "../block/device.js";
import { FsError } from "../lib/errno.js";
import { BYTE_STORE_LOCK } from "../sched/lock-classes.js";
import { Mutex } from "../sched/locks.js";
import type { Task } from "../sched/task.js";
import { PmemDevice } from "./pmem.js";

export interface ByteStore {
  readonly name: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** @throws FsError EIO. */
  read(offsetBytes: number, into: Uint8Array): Task<void>;
  /** @throws FsError EIO, EROFS. */
  write(offsetBytes: number, data: Uint8Array): Task<void>;
  /** Whether a read is known to fail. */
  isBad(offsetBytes: number, lengthBytes: number): boolean;
  flush(): Task<void>;
  close(): Task<void>;
}

export function byteStoreOn(device: BlockDevice): ByteStore {
  return device instanceof PmemDevice ? new PmemStore(device) : new BlockStore(device);
}

class PmemStore implements ByteStore {
  constructor(private readonly pmem: PmemDevice) {}

  get name(): string { return this.pmem.name; }
  get sizeBytes(): number { return this.pmem.sizeBytes; }
  get readOnly(): boolean { return this.pmem.readOnly; }

  *read(offsetBytes: number, into: Uint8Array): Task<void> {
    yield* readBytes(this.pmem, offsetBytes, into);
  }

  /** Whole sectors make poison good; less cannot, since the rest of the unit is lost. */
  *write(offsetBytes: number, data: Uint8Array): Task<void> {
    const isWhole = offsetBytes % SECTOR_BYTES === 0 && data.length % SECTOR_BYTES === 0;
    if (isWhole) yield* writeBytes(this.pmem, offsetBytes, data);
    else if (this.isBad(offsetBytes, data.length)) throw new FsError("EIO", `write ${data.length} at ${offsetBytes} of ${this.name} meets poison`);
    else this.pmem.storeNonTemporal(offsetBytes, data);
    this.pmem.fence();
  }

  isBad(offsetBytes: number, lengthBytes: number): boolean {
    return this.pmem.isPoisoned(offsetBytes, lengthBytes);
  }

  *flush(): Task<void> {
    yield* flush(this.pmem);
  }

  *close(): Task<void> {
    yield* this.pmem.close();
  }
}

class BlockStore implements ByteStore {
  /** Two writes may change different bytes of one sector. */
  private readonly lock = new Mutex(BYTE_STORE_LOCK);

  constructor(private readonly device: BlockDevice) {}

  get name(): string { return this.device.name; }
  get sizeBytes(): number { return this.device.sizeBytes; }
  get readOnly(): boolean { return this.device.readOnly; }

  *read(offsetBytes: number, into: Uint8Array): Task<void> {
    yield* readBytes(this.device, offsetBytes, into);
  }

  *write(offsetBytes: number, data: Uint8Array): Task<void> {
    const from = Math.floor(offsetBytes / SECTOR_BYTES) * SECTOR_BYTES;
    const to = Math.ceil((offsetBytes + data.length) / SECTOR_BYTES) * SECTOR_BYTES;
    if (to - from === data.length) return yield* writeBytes(this.device, offsetBytes, data);
    if (!this.lock.tryLock()) yield* this.lock.lock();
    try {
      const sectors = new Uint8Array(to - from);
      yield* readBytes(this.device, from, sectors);
      sectors.set(data, offsetBytes - from);
      yield* writeBytes(this.device, from, sectors);
    } finally {
      this.lock.unlock();
    }
  }

  isBad(): boolean {
    return false;
  }

  *flush(): Task<void> {
    yield* flush(this.device);
  }

  *close(): Task<void> {
    yield* this.device.close();
  }
}
