/**
 * What is known of every group without a look at its bitmap: how many clusters can be claimed, and how long a chunk there is. 5 bytes per group, so that the search for a
 * group touches no disk; where the bitmap was not read yet, the order is the best that the count allows. Source of the idea: s_mb_largest_free_orders (fs/ext4/mballoc.c).
 */
import type { GroupNo } from "../lib/numbers.js";
import { floorLog2 } from "./buddy.js";

const ORDERS = 32;

export class FreeIndex {
  private readonly available: Uint32Array;
  /** Of the largest free chunk; -1: nothing is free. */
  private readonly orders: Int8Array;
  private readonly groupsByOrder = new Int32Array(ORDERS);

  constructor(groupsCount: number) {
    this.available = new Uint32Array(groupsCount);
    this.orders = new Int8Array(groupsCount).fill(-1);
  }

  /** @param order of the largest free chunk, if the bitmap is known. */
  set(group: GroupNo, available: number, order = available === 0 ? -1 : floorLog2(available)): void {
    this.available[group] = available;
    const before = this.orders[group]!;
    if (before === order) return;
    if (before >= 0) this.groupsByOrder[before]!--;
    if (order >= 0) this.groupsByOrder[order]!++;
    this.orders[group] = order;
  }

  availableIn(group: GroupNo): number {
    return this.available[group]!;
  }

  /** The largest order of any group, -1 if nothing is free at all. */
  get highestOrder(): number {
    let order = ORDERS - 1;
    while (order >= 0 && this.groupsByOrder[order] === 0) order--;
    return order;
  }

  /** The first group at or after `from`, but before `end`, that may have a chunk of the order; -1: there is none. */
  next(order: number, from: GroupNo, end: GroupNo): GroupNo {
    const { orders } = this;
    for (let group = from; group < end; group++) if (orders[group]! >= order) return group;
    return -1;
  }
}
