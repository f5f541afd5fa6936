/** What Linux counts in /proc/vmstat and tells at its tracepoints, under its names. Whoever wants to see sets `listener`; else nothing is made. */
export type Tracepoint = (event: string, fields: Readonly<Record<string, unknown>>) => void;

export class VmEvents {
  readonly counts = new Map<string, number>();
  listener: Tracepoint | undefined;

  count(name: string, by = 1): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + by);
  }

  get(name: string): number {
    return this.counts.get(name) ?? 0;
  }
}
