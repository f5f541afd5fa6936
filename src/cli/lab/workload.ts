/**
 * Something of everything that takes locks: files in a page cache and in persistent memory, mapped by several processes, written, cut off, punched, renamed, linked, switched to journaled data and
 * back; a freeze; attributes; syncs. Each part gets a filesystem of its own, in memory.
 */
import { MemoryDevice } from "../../block/memory.js";
import type { BlockDevice } from "../../block/device.js";
import { mountExt4 } from "../../ext4/mount.js";
import { unmountExt4 } from "../../ext4/mount-writable.js";
import type { Ext4MountOptions } from "../../ext4/super.js";
import { EXT4_DAX_FL, EXT4_JOURNAL_DATA_FL } from "../../format/inode.js";
import { FsError } from "../../lib/errno.js";
import { encode } from "../../lib/utf8.js";
import { mkfs } from "../../mkfs/mkfs.js";
import { MADV_REMOVE, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_SYNC, MS_SYNC, PROT_READ, PROT_WRITE } from "../../mm/constants.js";
import { byteStoreOn } from "../../nvdimm/byte-store.js";
import { openBtt } from "../../nvdimm/btt.js";
import { createNamespace } from "../../nvdimm/namespace.js";
import { PmemDevice } from "../../nvdimm/pmem.js";
import { ManualClock } from "../../sched/clock.js";
import { Scheduler } from "../../sched/scheduler.js";
import type { Task } from "../../sched/task.js";
import { O_CREAT, O_RDWR } from "../../vfs/flags.js";
import { FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, RENAME_EXCHANGE } from "../../vfs/inode.js";
import { Kernel } from "../../vfs/kernel.js";
import type { Process } from "../../vfs/process.js";

const DEVICE_BYTES = 16 * 2 ** 20;
const FILE_BYTES = 64 * 4096;
const EPOCH_SEC = 1_700_000_000;

interface Part {
  readonly makeDevice: () => Task<BlockDevice>;
  readonly mount: Ext4MountOptions;
  readonly features?: string;
  /** The two flags are changed on a live file. */
  readonly switches: boolean;
}

const pmem = function* (): Task<BlockDevice> { return new PmemDevice(new Uint8Array(DEVICE_BYTES)); };
const memory = function* (): Task<BlockDevice> { return new MemoryDevice(new Uint8Array(DEVICE_BYTES)); };

const PARTS: readonly Part[] = [
  { makeDevice: pmem, mount: { dax: "always" }, switches: false },
  { makeDevice: pmem, mount: { dax: "inode", delalloc: false }, switches: true },
  { makeDevice: memory, mount: {}, switches: true },
  { makeDevice: memory, mount: { dataMode: "journal" }, features: "ea_inode", switches: false },
  { makeDevice: sectorNamespace, mount: { delalloc: false }, switches: true },
];

/** A block translation table, which has locks of its own. */
function* sectorNamespace(): Task<BlockDevice> {
  const region = new MemoryDevice(new Uint8Array(DEVICE_BYTES + 4 * 2 ** 20));
  yield* createNamespace(region, { mode: "sector", uuid: new Uint8Array(16).fill(3) });
  return (yield* openBtt(byteStoreOn(region)))!;
}

export function runLockWorkload(): void {
  for (const part of PARTS) new Workload(part).run();
}

class Workload {
  private readonly scheduler = new Scheduler();
  private readonly kernel = new Kernel();

  constructor(private readonly part: Part) {}

  run(): void {
    const { part: { makeDevice, mount, features } } = this;
    const device = this.do(makeDevice());
    this.do(mkfs(device, { timeSec: EPOCH_SEC, uuid: new Uint8Array(16).fill(1), hashSeed: new Uint8Array(16).fill(2), blockBytes: 4096, journalBytes: 4 * 2 ** 20, features, deviceIsZero: true }));
    const fs = this.do(mountExt4(device, { readOnly: false, clock: new ManualClock(EPOCH_SEC), ...mount }));
    this.kernel.mountRoot(fs);
    const process = this.kernel.spawn();
    this.names(process);
    this.data(process);
    this.mappings(process);
    this.do(this.kernel.freeze());
    this.do(this.kernel.thaw());
    if (this.part.switches) this.switches(process);
    this.do(process.exit());
    this.kernel.unmountRoot();
    this.do(unmountExt4(fs));
  }

  private do<T>(task: Task<T>): T {
    return this.scheduler.runSync(task);
  }

  private names(process: Process): void {
    for (const name of ["/a", "/b", "/a/below"]) this.do(process.mkdir(name));
    for (const name of ["/a/one", "/a/two", "/b/three"]) this.write(process, name, 100);
    this.do(process.rename("/a/one", "/a/1"));
    this.do(process.rename("/a/1", "/b/three")); // which is replaced
    this.do(process.rename("/a/below", "/b/below"));
    this.do(process.renameat2("/a/two", "/b/three", RENAME_EXCHANGE));
    this.do(process.link("/a/two", "/b/link"));
    this.do(process.symlink("two", "/a/symlink"));
    this.do(process.setxattr("/a/two", "user.name", encode("x".repeat(this.part.features === undefined ? 100 : 6000))));
    this.do(process.unlink("/b/link"));
    this.do(process.rmdir("/b/below"));
    this.do(process.chmod("/a/two", 0o600));
  }

  private write(process: Process, path: string, bytes: number): void {
    const fd = this.do(process.open(path, O_RDWR | O_CREAT));
    this.do(process.write(fd, new Uint8Array(bytes).fill(1)));
    this.do(process.close(fd));
  }

  private data(process: Process): void {
    const fd = this.do(process.open("/data", O_RDWR | O_CREAT));
    this.do(process.pwrite(fd, new Uint8Array(FILE_BYTES).fill(2), 0));
    this.do(process.pread(fd, new Uint8Array(5000), 100));
    this.do(process.fsync(fd));
    for (const mode of [FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, FALLOC_FL_COLLAPSE_RANGE]) this.do(process.fallocate(fd, mode, 8192, 8192));
    this.do(process.ftruncate(fd, 10_000));
    this.do(process.ftruncate(fd, FILE_BYTES));
    this.do(process.close(fd));
    this.do(process.sync());
  }

  private mappings(process: Process): void {
    const fd = this.do(process.open("/data", O_RDWR));
    const shared = this.do(process.mmap(0, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd));
    const copy = this.do(process.mmap(0, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd));
    for (const at of [0, 12_288, 40_960]) {
      this.do(process.store(shared + at, 3));
      this.do(process.store(copy + at, 4));
    }
    if (this.part.mount.dax === "always") {
      const synchronous = this.do(process.mmap(0, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC, fd));
      this.do(process.store(synchronous + 20_480, 5));
    }
    const child = this.do(process.fork());
    this.do(child.store(shared + 4096, 6));
    this.do(process.read(fd, { address: copy, lengthBytes: 8192 }));
    this.do(process.pwrite(fd, { address: shared, lengthBytes: 8192 }, 16_384));
    this.do(process.msync(shared, FILE_BYTES, MS_SYNC));
    this.do(process.madvise(shared, 8192, MADV_REMOVE));
    this.do(process.ftruncate(fd, 20_000));
    this.do(process.unlink("/data"));
    this.do(process.close(fd));
    this.do(child.exit());
    this.do(process.munmap(copy, FILE_BYTES));
    this.do(process.munmap(shared, FILE_BYTES)); // and so deletes the file
  }

  private switches(process: Process): void {
    for (const flag of [EXT4_JOURNAL_DATA_FL, EXT4_DAX_FL]) {
      const fd = this.do(process.open("/live", O_RDWR | O_CREAT));
      this.do(process.ftruncate(fd, 40_960));
      const map = this.do(process.mmap(0, 40_960, PROT_READ | PROT_WRITE, MAP_SHARED, fd));
      for (let round = 0; round < 4; round++) {
        this.do(process.store(map + round * 4096, round));
        this.do(process.pwrite(fd, new Uint8Array(100), 20_000));
        try {
          this.do(process.setflags(fd, this.do(process.getflags(fd)) ^ flag));
        } catch (error) {
          if (!(error instanceof FsError)) throw error; // EBUSY, where a flag is not for this file
        }
      }
      this.do(process.munmap(map, 40_960));
      this.do(process.close(fd));
    }
    this.do(process.sync());
  }
}
