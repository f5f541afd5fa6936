/**
 * Goes round a Map whose entries stand in the order of their use: who uses one deletes it and puts it in anew. A new iterator has to pass over every place that was deleted since the map
 * last grew, which makes the look for the oldest entry slow; one that goes on where it stopped does not.
 */
export class Sweep<K, V> {
  private entries: MapIterator<[K, V]>;

  constructor(private readonly map: Map<K, V>) {
    this.entries = map.entries();
  }

  /** The entry used longest ago, of those not yet seen in this round. The caller deletes it or puts it in anew. */
  next(): [K, V] | undefined {
    const next = this.entries.next();
    if (next.done !== true) return next.value;
    this.entries = this.map.entries();
    return this.entries.next().value;
  }
}
