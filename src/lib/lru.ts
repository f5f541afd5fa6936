import { Sweep } from "./sweep.js";

/** A map that keeps the `limit` entries used last. A Map remembers the order of insertion, so an entry that is used is put in anew. */
export class LruMap<K, V> {
  private readonly entries = new Map<K, V>();
  private readonly oldest = new Sweep(this.entries);

  constructor(private readonly limit: number) {}

  get(key: K): V | undefined {
    const value = this.entries.get(key);
    if (value !== undefined) {
      this.entries.delete(key);
      this.entries.set(key, value);
      this.oldest.changed();
    }
    return value;
  }

  set(key: K, value: V): void {
    this.entries.delete(key);
    this.entries.set(key, value);
    this.oldest.changed();
    if (this.entries.size > this.limit) this.entries.delete(this.oldest.next()![0]);
  }

  delete(key: K): void {
    this.entries.delete(key);
  }

  clear(): void {
    this.entries.clear();
  }
}
