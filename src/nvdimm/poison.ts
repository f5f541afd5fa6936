/** Which units of 512 bytes of a memory cannot be read: what an address range scrub found, or a test put there. */
import { SECTOR_BYTES } from "../block/device.js";

/** A run of bad units, as the kernel lists them in badblocks: in sectors of 512 bytes. */
export interface BadBlocks {
  readonly sector: number;
  readonly count: number;
}

export class PoisonList {
  private readonly sectors = new Set<number>();

  get isEmpty(): boolean {
    return this.sectors.size === 0;
  }

  add(offsetBytes: number, lengthBytes: number): void {
    for (let sector = Math.floor(offsetBytes / SECTOR_BYTES); sector * SECTOR_BYTES < offsetBytes + lengthBytes; sector++) this.sectors.add(sector);
  }

  /** Only units that the range covers whole become good. */
  clear(offsetBytes: number, lengthBytes: number): void {
    if (this.isEmpty) return;
    for (let sector = Math.ceil(offsetBytes / SECTOR_BYTES); (sector + 1) * SECTOR_BYTES <= offsetBytes + lengthBytes; sector++) this.sectors.delete(sector);
  }

  /** The first byte of the first bad unit that the range touches; undefined: it touches none. May lie before the range. */
  firstIn(offsetBytes: number, lengthBytes: number): number | undefined {
    if (this.isEmpty) return undefined;
    let first = Infinity;
    for (const sector of this.sectors) {
      if ((sector + 1) * SECTOR_BYTES > offsetBytes && sector * SECTOR_BYTES < offsetBytes + lengthBytes) first = Math.min(first, sector);
    }
    return first === Infinity ? undefined : first * SECTOR_BYTES;
  }

  /** Within a range, counted from its start; ascending. */
  listIn(offsetBytes: number, lengthBytes: number): BadBlocks[] {
    const from = offsetBytes / SECTOR_BYTES;
    const inside = [...this.sectors].map((sector) => sector - from).filter((sector) => sector >= 0 && sector * SECTOR_BYTES < lengthBytes).sort((a, b) => a - b);
    const runs: { sector: number; count: number }[] = [];
    for (const sector of inside) {
      const last = runs.at(-1);
      if (last !== undefined && last.sector + last.count === sector) last.count++;
      else runs.push({ sector, count: 1 });
    }
    return runs;
  }
}
