/**
 * Goes round a Map whose entries stand in the order of their use: who uses one deletes it and puts it in anew. A new iterator has to pass over every place that was deleted since the map
 * last grew, which makes the look for the oldest entry slow; one that goes on where it stopped does not. But an iterator that stands still keeps every table that the map outgrew, with all that
 * was in it: so it is told of changes, and lets an idle one go.
 */
export class Sweep<K, V> {
  private entries: MapIterator<[K, V]> | undefined;
  private changes = 0;

  constructor(private readonly map: Map<K, V>) {}

  /** To be called with each entry that is put in. */
  changed(): void {
    if (++this.changes <= this.map.size) return;
    this.entries = undefined;
    this.changes = 0;
  }

  /** The entry used longest ago, of those not yet seen in this round. The caller deletes it or puts it in anew. */
  next(): [K, V] | undefined {
    this.changes = 0;
    const next = (this.entries ??= this.map.entries()).next();
    if (next.done !== true) return next.value;
    this.entries = this.map.entries();
    return this.entries.next().value;
  }
}
