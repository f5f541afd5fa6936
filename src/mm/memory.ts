/**
 * What page tables point into: a folio of the page cache, a device of persistent memory, a page that belongs to nobody's file, or zeroes. An entry is a piece of memory and where in it the page
 * begins; so a store through a mapping of a device is a store into the device.
 */
export const PAGE_BYTES = 4096;
export const PMD_BYTES = 2 ** 21;
export const PUD_BYTES = 2 ** 30;

export interface Memory {
  readonly data: Uint8Array;
  /** Page table entries that point into it. */
  mapCount: number;
  /** Persistent memory hears of each store that a mapping makes, after it was made. */
  stored?(offsetBytes: number, lengthBytes: number): void;
  /** Whether bytes can be loaded: a bad place of persistent memory cannot. */
  isReadable?(offsetBytes: number, lengthBytes: number): boolean;
  /** Holds a page for somebody who works on it past the page tables: truncation waits for it. */
  pin?(offsetBytes: number): void;
  unpin?(offsetBytes: number): void;
}

/** A page of a private mapping or of none: its owners share it until one of them stores into it. */
export class AnonymousPage implements Memory {
  readonly data = new Uint8Array(PAGE_BYTES);
  mapCount = 0;
  pinCount = 0;

  pin(): void { this.pinCount++; }
  unpin(): void { this.pinCount--; }
}

class ZeroMemory implements Memory {
  mapCount = 0;
  private zeroes: Uint8Array | undefined;

  constructor(private readonly lengthBytes: number) {}

  get data(): Uint8Array { return (this.zeroes ??= new Uint8Array(this.lengthBytes)); }
}

/** Nobody stores into these: their entries are never writable. */
export const ZERO_PAGE: Memory = new ZeroMemory(PAGE_BYTES);
export const HUGE_ZERO_PAGE: Memory = new ZeroMemory(PMD_BYTES);
