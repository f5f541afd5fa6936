/**
 * A process's page tables: four levels of 512 entries, and leaves of a page, of 2 MiB (PMD) and of 1 GiB (PUD). An entry is present or absent; bits say whether it may be stored through, and whether it
 * was. A table below stays where it is when its last entry goes, as in Linux: a place that has one is never mapped huge before it is unmapped.
 */
import { assert } from "../lib/errno.js";
import { PMD_ORDER, PTE_ORDER, PUD_ORDER, type Order } from "../lib/vm-fault.js";
import { PAGE_BYTES, PMD_BYTES, PUD_BYTES, type Memory } from "./memory.js";

export const PRESENT = 1;
export const WRITABLE = 2;
export const DIRTY = 4;
export const ACCESSED = 8;

const ENTRIES = 512;
const TOP_LEVEL = 3;
/** Bytes that one entry of a level covers. */
const LEVEL_BYTES = [PAGE_BYTES, PMD_BYTES, PUD_BYTES, PUD_BYTES * ENTRIES] as const;
export const ADDRESS_END = 2 ** 47;

export const levelOf = (order: Order): number => (order === PTE_ORDER ? 0 : order === PMD_ORDER ? 1 : 2);
export const orderBytes = (order: Order): number => LEVEL_BYTES[levelOf(order)]!;

class Table {
  readonly children: (Table | undefined)[] = [];
  readonly memory: (Memory | undefined)[] = [];
  readonly offsets = new Float64Array(ENTRIES);
  readonly bits = new Uint8Array(ENTRIES);

  constructor(readonly level: number) {}
}

const indexIn = (level: number, address: number): number => Math.floor(address / LEVEL_BYTES[level]!) & (ENTRIES - 1);

/** One entry that is present. The object is the page table's own: it holds until the next call. */
export class Leaf {
  private table!: Table;
  private index = 0;

  at(table: Table, index: number): this {
    this.table = table;
    this.index = index;
    return this;
  }

  get memory(): Memory { return this.table.memory[this.index]!; }
  /** Where in the memory the leaf begins. */
  get offsetBytes(): number { return this.table.offsets[this.index]!; }
  get lengthBytes(): number { return LEVEL_BYTES[this.table.level]!; }
  get order(): Order { return this.table.level === 0 ? PTE_ORDER : this.table.level === 1 ? PMD_ORDER : PUD_ORDER; }
  get isWritable(): boolean { return (this.table.bits[this.index]! & WRITABLE) !== 0; }
  get isDirty(): boolean { return (this.table.bits[this.index]! & DIRTY) !== 0; }
  get isAccessed(): boolean { return (this.table.bits[this.index]! & ACCESSED) !== 0; }

  mark(bits: number): void { this.table.bits[this.index]! |= bits; }
  unmark(bits: number): void { this.table.bits[this.index]! &= ~bits; }

  clear(): void {
    this.memory.mapCount--;
    this.table.memory[this.index] = undefined;
    this.table.bits[this.index] = 0;
  }
}

export class PageTables {
  private readonly root = new Table(TOP_LEVEL);
  private readonly leaf = new Leaf();

  /** The entry that maps `address`, of whatever size. */
  find(address: number): Leaf | undefined {
    let table: Table | undefined = this.root;
    while (table !== undefined) {
      const index = indexIn(table.level, address);
      if (table.bits[index] !== 0) return this.leaf.at(table, index);
      table = table.children[index];
    }
    return undefined;
  }

  /** What stands at the place of a leaf of this order: such a leaf, a table of smaller ones, or nothing. */
  stateOf(address: number, order: Order): "leaf" | "table" | "none" {
    const level = levelOf(order);
    let table: Table | undefined = this.root;
    while (table !== undefined && table.level > level) {
      const index = indexIn(table.level, address);
      if (table.bits[index] !== 0) return "leaf";
      table = table.children[index];
    }
    if (table === undefined) return "none";
    const index = indexIn(level, address);
    return table.bits[index] !== 0 ? "leaf" : table.children[index] !== undefined ? "table" : "none";
  }

  /** Makes an entry where there is none. `address` and `offsetBytes` are those of the leaf's beginning. */
  set(address: number, order: Order, memory: Memory, offsetBytes: number, bits: number): void {
    const level = levelOf(order);
    let table = this.root;
    while (table.level > level) {
      const index = indexIn(table.level, address);
      assert(table.bits[index] === 0, "a page is mapped below a larger one");
      table = table.children[index] ??= new Table(table.level - 1);
    }
    const index = indexIn(level, address);
    assert(table.bits[index] === 0 && table.children[index] === undefined, "a page is mapped where something is mapped");
    table.memory[index] = memory;
    table.offsets[index] = offsetBytes;
    table.bits[index] = PRESENT | bits;
    memory.mapCount++;
  }

  /** Makes sure that there are tables down to the one for 2 MiB entries, unless there is a larger entry. */
  makeTables(address: number): void {
    let table = this.root;
    while (table.level > 1) {
      const index = indexIn(table.level, address);
      if (table.bits[index] !== 0) return;
      table = table.children[index] ??= new Table(table.level - 1);
    }
  }

  /** Calls `visit` for all entries that have a part in start .. end - 1, ascending, with the address where each begins. It may change or clear the entry. */
  forEach(start: number, end: number, visit: (leaf: Leaf, address: number) => void): void {
    if (start < end) this.walk(this.root, 0, start, end, visit, new Leaf());
  }

  private walk(table: Table, base: number, start: number, end: number, visit: (leaf: Leaf, address: number) => void, leaf: Leaf): void {
    const size = LEVEL_BYTES[table.level]!;
    const last = Math.min(ENTRIES, Math.ceil((end - base) / size));
    for (let index = Math.max(0, Math.floor((start - base) / size)); index < last; index++) {
      if (table.bits[index] !== 0) visit(leaf.at(table, index), base + index * size);
      else {
        const child = table.children[index];
        if (child !== undefined) this.walk(child, base + index * size, start, end, visit, leaf);
      }
    }
  }

  /** Gives back the tables of start .. end - 1, in which nothing is mapped any more. */
  freeTables(start: number, end: number): void {
    this.free(this.root, 0, start, end);
  }

  private free(table: Table, base: number, start: number, end: number): void {
    const size = LEVEL_BYTES[table.level]!;
    const last = Math.min(ENTRIES, Math.ceil((end - base) / size));
    for (let index = Math.max(0, Math.floor((start - base) / size)); index < last; index++) {
      const child = table.children[index];
      if (child === undefined) continue;
      const from = base + index * size;
      if (from >= start && from + size <= end) table.children[index] = undefined;
      else if (child.level > 0) this.free(child, from, start, end);
    }
  }
}
