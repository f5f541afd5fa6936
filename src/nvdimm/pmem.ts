/**
 * Persistent memory: a block device whose bytes can be mapped. Its memory is the caller's Uint8Array (a plain or shared buffer, or a mapping of a host file), never a copy. A
 * device is a window onto the memory: `range` gives another one, which shares persistence, poison and counters with the first.
 *
 * Block writes pass the cache (memcpy_flushcache), are durable after a flush, and are torn at 8 bytes: a sector is not whole here, which is what a BTT (btt.ts) is for. Who
 * writes through a view tells of it with `stored`; `flush` is CLWB, `fence` is SFENCE. With `persistence` left out everything is durable at once and nothing of this costs
 * anything but two counters. Source: drivers/nvdimm/pmem.c (7.1); dax-and-faults.md 12.1.
 */
import { SECTOR_BYTES, type Bio, type BlockDevice } from "../block/device.js";
import { checkBio, describeBio } from "../block/leaf.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { LINE_BYTES, PersistenceModel, type Choose, type PersistenceEvent, type SurvivingLine, type VolatileLine } from "./persistence.js";
import { PoisonList, type BadBlocks } from "./poison.js";

export const PAGE_BYTES = 4096;

export interface PmemOptions {
  /** For messages. Default "pmem". */
  name?: string | undefined;
  readOnly?: boolean | undefined;
  /**
   * Keeps account of what a power cut may lose, for tests and the lab: "adr" loses the processor's caches, "eadr" only its write-combining buffers. It takes a second copy of the
   * memory. Default: every store is durable at once.
   */
  persistence?: "adr" | "eadr" | undefined;
  /** That second copy, for who has one at hand. Default: it is made. */
  durable?: Uint8Array | undefined;
  /** After each store, flush and fence, with `persistence`: the moments at which a power cut makes a difference. */
  onEvent?: ((event: PersistenceEvent) => void) | undefined;
  /** False: a fence is not enough, somebody outside has to be told (virtio-pmem, a mapped host file), so MAP_SYNC is refused. Default: true without `hostFlush`. */
  isSynchronous?: boolean | undefined;
  /** Makes the host keep what is durable here: msync of a mapped file. Called by each block flush and FUA write. @throws FsError EIO. */
  hostFlush?: (() => void) | undefined;
  /** Undoes the mapping, on close. */
  onClose?: (() => void) | undefined;
  /** Where the memory begins in the machine's address space: what 2 MiB and 1 GiB mappings must be aligned in. Default 0. */
  physicalAddress?: number | undefined;
}

/** What was done to the memory since it was made, by all devices on it. */
export interface PmemCounters {
  /** Stores of all kinds, block writes and zeroing included. */
  stores: number;
  flushes: number;
  /** Lines that flushes wrote back. */
  flushedLines: number;
  fences: number;
  /** Flush bios and FUA writes. */
  blockFlushes: number;
}

export interface AccessOptions {
  /** As DAX_RECOVERY_WRITE: poison does not stop it. Only for `recoveryWrite` or to overwrite; one page at a time from the first bad one. */
  readonly isRecovery?: boolean;
}

/** What all windows onto a memory share. */
interface Medium {
  readonly persistence: PersistenceModel | undefined;
  readonly hasEadr: boolean;
  readonly poison: PoisonList;
  readonly counters: PmemCounters;
  readonly isSynchronous: boolean;
  readonly hostFlush: (() => void) | undefined;
  readonly onClose: (() => void) | undefined;
}

interface Window {
  readonly medium: Medium;
  /** In the medium. */
  readonly startBytes: number;
}

export class PmemDevice implements BlockDevice {
  readonly name: string;
  readonly readOnly: boolean;
  readonly tearsSectors = true;
  /** Where it begins in the machine's address space. */
  readonly physicalAddress: number;
  private readonly medium: Medium;
  private readonly startBytes: number;

  /**
   * @param bytes the memory, a multiple of 512 bytes.
   * @param window given by `range` alone.
   * @throws FsError EINVAL.
   */
  constructor(readonly bytes: Uint8Array, options: PmemOptions = {}, window?: Window) {
    if (bytes.length % SECTOR_BYTES !== 0) throw new FsError("EINVAL", `persistent memory of ${bytes.length} bytes, which is no multiple of ${SECTOR_BYTES}`);
    this.name = options.name ?? "pmem";
    this.readOnly = options.readOnly ?? false;
    this.physicalAddress = options.physicalAddress ?? 0;
    this.medium = window?.medium ?? makeMedium(bytes, options);
    this.startBytes = window?.startBytes ?? 0;
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  get isSynchronous(): boolean {
    return this.medium.isSynchronous;
  }

  /** Whether stores need `flush` to be durable: not with eADR (the block layer's "write back" cache is then off). */
  get needsFlush(): boolean {
    return !this.medium.hasEadr;
  }

  get counters(): Readonly<PmemCounters> {
    return this.medium.counters;
  }

  /** A device on part of this memory, both ends on 512 bytes. @throws FsError EINVAL. */
  range(startBytes: number, sizeBytes: number, options: { name?: string; readOnly?: boolean } = {}): PmemDevice {
    this.checkRange(startBytes, sizeBytes);
    if (startBytes % SECTOR_BYTES !== 0) throw new FsError("EINVAL", `a range of ${this.name} from ${startBytes}, which is no multiple of ${SECTOR_BYTES}`);
    const { name = this.name, readOnly = this.readOnly } = options;
    return new PmemDevice(this.bytes.subarray(startBytes, startBytes + sizeBytes), { name, readOnly, physicalAddress: this.physicalAddress + startBytes },
      { medium: this.medium, startBytes: this.startBytes + startBytes });
  }

  /**
   * The live memory of a range: what it holds, and where stores go. Shortened to before the first poisoned unit of 512 bytes. It is never longer than asked for.
   * @throws FsError EHWPOISON the page in which the range begins is poisoned; EINVAL the range passes the end.
   * @source __pmem_direct_access
   */
  directAccess(offsetBytes: number, lengthBytes: number, options: AccessOptions = {}): Uint8Array {
    this.checkRange(offsetBytes, lengthBytes);
    const bad = this.medium.poison.isEmpty ? undefined : this.firstPoison(offsetBytes, lengthBytes);
    if (bad === undefined) return this.bytes.subarray(offsetBytes, offsetBytes + lengthBytes);
    const firstPageEnd = (Math.floor(offsetBytes / PAGE_BYTES) + 1) * PAGE_BYTES;
    if (bad >= firstPageEnd) return this.bytes.subarray(offsetBytes, bad);
    if (options.isRecovery !== true) throw new FsError("EHWPOISON", `${this.name} is poisoned at ${bad}`);
    return this.bytes.subarray(offsetBytes, Math.min(offsetBytes + lengthBytes, firstPageEnd));
  }

  /** An ordinary store: visible at once, durable after `flush` and `fence`. @throws FsError EROFS; EHWPOISON it does not overwrite a poisoned unit as a whole write does. */
  store(offsetBytes: number, bytes: Uint8Array): void {
    this.checkStore(offsetBytes, bytes.length);
    this.bytes.set(bytes, offsetBytes);
    this.stored(offsetBytes, bytes.length);
  }

  /** A store that passes the cache: durable after `fence`. Its words are torn from each other at a power cut, not in themselves. */
  storeNonTemporal(offsetBytes: number, bytes: Uint8Array): void {
    this.checkStore(offsetBytes, bytes.length);
    this.putNonTemporal(offsetBytes, bytes);
  }

  /** Says that an ordinary store was made through a view. */
  stored(offsetBytes: number, lengthBytes: number): void {
    this.medium.counters.stores++;
    this.medium.persistence?.stored(this.startBytes + offsetBytes, lengthBytes, false);
  }

  /** Says that a store which passes the cache was made through a view. */
  storedNonTemporal(offsetBytes: number, lengthBytes: number): void {
    this.medium.counters.stores++;
    this.medium.persistence?.stored(this.startBytes + offsetBytes, lengthBytes, true);
  }

  /** Writes the lines of a range back from the cache (CLWB); they are durable after the next fence. Nothing with eADR. @kernel dax_flush */
  flush(offsetBytes: number, lengthBytes: number): void {
    if (this.medium.hasEadr || lengthBytes === 0) return;
    const { counters, persistence } = this.medium;
    const from = this.startBytes + offsetBytes;
    counters.flushes++;
    counters.flushedLines += Math.floor((from + lengthBytes - 1) / LINE_BYTES) - Math.floor(from / LINE_BYTES) + 1;
    persistence?.writeBack(from, lengthBytes);
  }

  /** What was written back, or passed the cache, is durable when it returns. */
  fence(): void {
    this.medium.counters.fences++;
    this.medium.persistence?.fence();
  }

  /** Zeroes whole pages past the cache and clears their poison. @throws FsError EINVAL, EROFS. @kernel pmem_dax_zero_page_range */
  zeroPages(offsetBytes: number, lengthBytes: number): void {
    this.checkPages(offsetBytes, lengthBytes);
    this.clearPoison(offsetBytes, lengthBytes);
    this.bytes.fill(0, offsetBytes, offsetBytes + lengthBytes);
    this.storedNonTemporal(offsetBytes, lengthBytes);
  }

  /** Overwrites whole pages and so makes them good. @throws FsError EINVAL not whole pages, EROFS. @kernel pmem_recovery_write */
  recoveryWrite(offsetBytes: number, bytes: Uint8Array): void {
    this.checkPages(offsetBytes, bytes.length);
    this.clearPoison(offsetBytes, bytes.length);
    this.putNonTemporal(offsetBytes, bytes);
  }

  /** Makes the units of 512 bytes that a range touches unreadable, until a block write, `zeroPages` or `recoveryWrite` covers them. */
  poison(offsetBytes: number, lengthBytes: number): void {
    this.checkRange(offsetBytes, lengthBytes);
    this.medium.poison.add(this.startBytes + offsetBytes, lengthBytes);
  }

  get badBlocks(): BadBlocks[] {
    return this.medium.poison.listIn(this.startBytes, this.sizeBytes);
  }

  isPoisoned(offsetBytes: number, lengthBytes: number): boolean {
    return this.firstPoison(offsetBytes, lengthBytes) !== undefined;
  }

  *submit(bios: readonly Bio[]): Task<void> {
    this.submitNow(bios);
  }

  /** The same in plain code: persistent memory never waits. */
  submitNow(bios: readonly Bio[]): void {
    for (const bio of bios) {
      checkBio(this, bio);
      if (bio.op === "read") this.blockRead(bio);
      else if (bio.op === "write") this.blockWrite(bio);
      else this.blockFlush();
    }
  }

  *close(): Task<void> {
    this.medium.onClose?.();
  }

  /** The lines of the whole memory that a power cut now might lose; empty without `persistence`. Offsets are the memory's. */
  get volatileLines(): VolatileLine[] {
    return this.medium.persistence?.volatileLines ?? [];
  }

  /** What a power cut now leaves of each volatile line: one choice for each, ascending. All else of the memory stands as it did. Offsets are the memory's. */
  survivingLines(choose: Choose): SurvivingLine[] {
    return this.medium.persistence?.survivingLines(choose) ?? [];
  }

  /** The whole memory as a power cut now leaves it, in a copy. @throws FsError EINVAL the device keeps no account (`persistence`). */
  crashImage(choose: Choose): Uint8Array {
    return this.model().crashImage(choose);
  }

  /** The power fails and comes back: the memory itself becomes what survived. Poison stays. @throws FsError EINVAL as above. */
  powerCut(choose: Choose): void {
    this.model().powerCut(choose);
  }

  private model(): PersistenceModel {
    if (this.medium.persistence === undefined) throw new FsError("EINVAL", `${this.name} keeps no account of what is durable`);
    return this.medium.persistence;
  }

  private blockRead(bio: Bio): void {
    if (this.isPoisoned(bio.offsetBytes, bio.data.length)) throw new FsError("EIO", `${describeBio(bio)} of ${this.name} meets poison`);
    bio.data.set(this.bytes.subarray(bio.offsetBytes, bio.offsetBytes + bio.data.length));
  }

  private blockWrite({ offsetBytes, data, fua }: Bio): void {
    this.clearPoison(offsetBytes, data.length);
    this.putNonTemporal(offsetBytes, data);
    if (fua === true) this.blockFlush();
  }

  private blockFlush(): void {
    this.medium.counters.blockFlushes++;
    this.fence();
    this.medium.hostFlush?.();
  }

  private putNonTemporal(offsetBytes: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, offsetBytes);
    this.storedNonTemporal(offsetBytes, bytes.length);
  }

  private clearPoison(offsetBytes: number, lengthBytes: number): void {
    this.medium.poison.clear(this.startBytes + offsetBytes, lengthBytes);
  }

  private firstPoison(offsetBytes: number, lengthBytes: number): number | undefined {
    const first = this.medium.poison.firstIn(this.startBytes + offsetBytes, lengthBytes);
    return first === undefined ? undefined : Math.max(offsetBytes, first - this.startBytes);
  }

  private checkStore(offsetBytes: number, lengthBytes: number): void {
    if (this.readOnly) throw new FsError("EROFS", `${this.name} is open for reading only`);
    this.checkRange(offsetBytes, lengthBytes);
    if (this.isPoisoned(offsetBytes, lengthBytes)) throw new FsError("EHWPOISON", `${this.name}: a store of ${lengthBytes} at ${offsetBytes} meets poison`);
  }

  private checkPages(offsetBytes: number, lengthBytes: number): void {
    if (this.readOnly) throw new FsError("EROFS", `${this.name} is open for reading only`);
    this.checkRange(offsetBytes, lengthBytes);
    if (offsetBytes % PAGE_BYTES !== 0 || lengthBytes % PAGE_BYTES !== 0) throw new FsError("EINVAL", `${lengthBytes} bytes at ${offsetBytes} of ${this.name} are no whole pages`);
  }

  private checkRange(offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes) return;
    throw new FsError("EINVAL", `${lengthBytes} bytes at ${offsetBytes} pass the end of ${this.name}, which has ${this.sizeBytes}`);
  }
}

function makeMedium(bytes: Uint8Array, options: PmemOptions): Medium {
  const { persistence, durable, onEvent, hostFlush, onClose } = options;
  return {
    persistence: persistence === undefined ? undefined : new PersistenceModel(bytes, durable ?? bytes.slice(), persistence === "eadr", onEvent),
    hasEadr: persistence === "eadr",
    poison: new PoisonList(),
    counters: { stores: 0, flushes: 0, flushedLines: 0, fences: 0, blockFlushes: 0 },
    isSynchronous: options.isSynchronous ?? hostFlush === undefined,
    hostFlush,
    onClose,
  };
}
