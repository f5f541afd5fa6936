/**
 * Where an equal one may be found: blocks of attributes, or inodes that hold values, by their hash. What stands here is a hint that whoever uses it must check; but what must
 * not be shared any more, since its owner changes it or it is gone, is taken out at once. Source of the idea: fs/mbcache.c.
 */
import { Sweep } from "../lib/sweep.js";

const ENTRIES_MAX = 8192;

export class XattrCache {
  private readonly numbers = new Map<number, Set<number>>();
  /** By number; a Map remembers the order of insertion, and the oldest goes first. */
  private readonly hashes = new Map<number, number>();
  private readonly oldest = new Sweep(this.hashes);

  /** Puts it in, or makes it the newest again. */
  insert(hash: number, number: number): void {
    this.remove(number);
    this.hashes.set(number, hash);
    this.oldest.changed();
    const known = this.numbers.get(hash);
    if (known === undefined) this.numbers.set(hash, new Set([number]));
    else known.add(number);
    if (this.hashes.size > ENTRIES_MAX) this.remove(this.oldest.next()![0]);
  }

  remove(number: number): void {
    const hash = this.hashes.get(number);
    if (hash === undefined) return;
    this.hashes.delete(number);
    const known = this.numbers.get(hash)!;
    known.delete(number);
    if (known.size === 0) this.numbers.delete(hash);
  }

  has(hash: number, number: number): boolean {
    return this.hashes.get(number) === hash;
  }

  /** As of now: what the caller waits for may change it. */
  find(hash: number): number[] {
    return [...(this.numbers.get(hash) ?? [])];
  }
}
