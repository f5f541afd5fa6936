/** A file and what processes have mapped of it, as plain bytes: no pages, no faults, no disk. What a load, store or read gives follows from these rules alone. */
const PAGE = 4096;

export interface ModelMapping {
  readonly address: number;
  /** First byte of the file. */
  readonly fileBytes: number;
  readonly length: number;
  readonly isShared: boolean;
  /** Pages of a private mapping that were stored into, by page of the file. */
  readonly copies: Map<number, Uint8Array>;
}

export class MappingModel {
  private bytes: Uint8Array;
  size = 0;

  constructor(maxBytes: number) {
    this.bytes = new Uint8Array(maxBytes);
  }

  get contents(): Uint8Array {
    return this.bytes.slice(0, this.size);
  }

  read(offset: number, length: number): Uint8Array {
    return this.bytes.slice(offset, Math.max(offset, Math.min(this.size, offset + length)));
  }

  write(offset: number, data: Uint8Array): void {
    this.bytes.set(data, offset);
    this.size = Math.max(this.size, offset + data.length);
  }

  truncate(size: number, mappings: readonly ModelMapping[]): void {
    if (size < this.size) {
      this.bytes.fill(0, size);
      for (const { copies } of mappings) for (const page of copies.keys()) if (page >= Math.ceil(size / PAGE)) copies.delete(page);
    }
    this.size = size;
  }

  /** Private copies stay: they are not the file's. */
  zero(offset: number, length: number): void {
    this.bytes.fill(0, offset, Math.min(this.size, offset + length));
  }

  /** From the offset on private copies are thrown away, as in Linux. */
  shift(offset: number, length: number, isInsert: boolean, mappings: readonly ModelMapping[]): void {
    const tail = this.bytes.slice(isInsert ? offset : offset + length, this.size);
    this.bytes.fill(0, offset);
    this.bytes.set(tail, isInsert ? offset + length : offset);
    this.size += isInsert ? length : -length;
    for (const { copies } of mappings) for (const page of copies.keys()) if (page >= Math.floor(offset / PAGE)) copies.delete(page);
  }

  /** Undefined: SIGBUS, as a page of it lies behind the end of the file and has no copy. */
  load(mapping: ModelMapping, at: number, length: number): Uint8Array | undefined {
    const into = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const position = mapping.fileBytes + at + done;
      const page = Math.floor(position / PAGE);
      const count = Math.min(PAGE - (position % PAGE), length - done);
      const copy = mapping.copies.get(page);
      if (copy === undefined && page * PAGE >= this.size) return undefined;
      into.set(copy === undefined ? this.bytes.subarray(position, position + count) : copy.subarray(position % PAGE, (position % PAGE) + count), done);
      done += count;
    }
    return into;
  }

  /** False: SIGBUS. What comes before the page that cannot be stored into is stored. */
  store(mapping: ModelMapping, at: number, data: Uint8Array): boolean {
    for (let done = 0; done < data.length;) {
      const position = mapping.fileBytes + at + done;
      const page = Math.floor(position / PAGE);
      const count = Math.min(PAGE - (position % PAGE), data.length - done);
      const piece = data.subarray(done, done + count);
      const known = mapping.copies.get(page);
      if (known === undefined && page * PAGE >= this.size) return false;
      if (mapping.isShared) this.bytes.set(piece, position);
      else {
        const copy = known ?? this.bytes.slice(page * PAGE, (page + 1) * PAGE);
        copy.set(piece, position % PAGE);
        mapping.copies.set(page, copy);
      }
      done += count;
    }
    return true;
  }
}
