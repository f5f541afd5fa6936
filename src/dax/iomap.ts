/** What a filesystem says of a range of a file to those who work on the device's memory. Source: struct iomap (include/linux/iomap.h). */
import type { Task } from "../sched/task.js";
import type { AddressSpace } from "../mm/address-space.js";
import type { DaxDevice } from "./device.js";
import type { DaxMapping } from "./entries.js";

export interface Iomap {
  readonly type: "hole" | "unwritten" | "mapped";
  /** On the DAX device; 0 in a hole. */
  readonly addressBytes: number;
  /** From the offset that was asked for, at most as long as that. */
  readonly lengthBytes: number;
  /** Blocks were allocated or converted for this request. */
  readonly isNew: boolean;
  /** Finding the blocks after a crash needs metadata that is not durable yet. */
  readonly isDirty: boolean;
}

/** A file whose pages are those of the device. */
export interface DaxHost {
  readonly i_mapping: AddressSpace;
  readonly i_dax: DaxMapping;
  readonly daxDevice: DaxDevice;
  /** Bytes. */
  readonly i_size: number;
  /** Before an entry for pages index .. index + pages - 1 says what it maps: the page cache has none of them. @throws FsError EIO. */
  clearForDax(index: number, pages: number): void;
  /** What is there. */
  iomapRead(offsetBytes: number, lengthBytes: number): Task<Iomap>;
  /**
   * For a store fault: all of the range is written when it returns, zeroed where it was not, and the file's times are set. Undefined: that cannot be had in one aligned piece, and nothing was
   * changed, no handle started. @throws FsError ENOSPC, EIO.
   */
  iomapFault(offsetBytes: number, lengthBytes: number): Task<Iomap | undefined>;
}
