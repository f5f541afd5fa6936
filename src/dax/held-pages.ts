/**
 * Pages of the device that somebody outside works on by views, past all page tables. They are held by their place in the file: whoever takes blocks away or moves them waits until they are let go
 * (breakLayouts), as for pages that get_user_pages pinned, and what is held costs the same whether it is a page or a gigabyte.
 */
import type { Task } from "../sched/task.js";
import type { DaxDevice } from "./device.js";

/** One run of the file that lies in one piece on the device, or is a hole. */
export interface HeldRun {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** On the device; undefined: a hole, or blocks that were never written, which read as zeroes. */
  readonly addressBytes: number | undefined;
}

export interface HeldPages {
  readonly device: DaxDevice;
  /** Ascending, without gaps. The last one ends with the file at the latest. */
  readonly runs: readonly HeldRun[];
  /** Makes durable what was stored by views into bytes fromBytes .. endBytes - 1. @throws FsError EIO. */
  sync(fromBytes: number, endBytes: number): Task<void>;
  /** The pages may go from now on. Once. */
  release(): void;
}
