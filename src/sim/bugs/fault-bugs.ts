/**
 * Bugs of faults, mappings, DAX entries and of the locks around them. Each puts a wrong way in the place of one method of an inode, of its mapping or of its entries, as it comes into core; what
 * stands around it is the engine as it ships.
 */
import type { Iomap } from "../../dax/iomap.js";
import type { Ext4Inode } from "../../ext4/inode.js";
import type { Ext4 } from "../../ext4/super.js";
import { AnonymousPage, PAGE_BYTES } from "../../mm/memory.js";
import type { MmStruct } from "../../mm/mm-struct.js";
import { orderBytes, WRITABLE } from "../../mm/page-table.js";
import { writeProtectPages } from "../../mm/rmap.js";
import { Mutex } from "../../sched/locks.js";
import { currentTask, racePoint } from "../../sched/scheduler.js";
import type { Task } from "../../sched/task.js";
import type { PlantedBug } from "./bug.js";

/** Gives an object another way of doing something, made from the right one. */
function instead<O extends object, K extends keyof O>(object: O, name: K, make: (right: O[K]) => O[K]): void {
  const right = object[name] as (...args: unknown[]) => unknown;
  object[name] = make(right.bind(object) as O[K]);
}

/** Wraps each mapping of an inode, when it has its operations. */
function onMmap(inode: Ext4Inode, spoil: (vma: Parameters<Ext4Inode["mmap"]>[1]) => void): void {
  instead(inode, "mmap", (right) => function* (file, vma) {
    yield* right(file, vma);
    spoil(vma);
  });
}

/** A lock that lets its holder go and hands it to nobody. */
class SilentLock extends Mutex {
  protected override handOver(): void {}
}

/** A bug that lies in an inode. */
function bugOf(facts: Omit<PlantedBug, "strategy" | "scenario">, inodeInCore: (inode: Ext4Inode, fs: Ext4) => void): PlantedBug {
  return { ...facts, scenario: `bugs/${facts.name}`, strategy: { inodeInCore: (fs, inode) => inodeInCore(inode, fs) } };
}

export const FAULT_BUGS: readonly PlantedBug[] = [
  bugOf({
    name: "pmd-no-split",
    description: "A fault of 2 MiB that is declined leaves the huge entry that is there: a private mapping that was read through it and is then stored into faults for ever.",
    source: "59bf4fb9d386, dax: Split pmd map when fallback on COW (Linux 4.5)",
    budgetRuns: 60,
  }, (inode) => onMmap(inode, (vma) => {
    vma.splitHuge = () => {};
  })),
  bugOf({
    name: "fault-without-invalidate-lock",
    description: "Faults do not take invalidate_lock: one that comes while blocks are taken away brings back a page of what is going, or maps a block that is free.",
    source: "ea3d7209ca01, ext4: fix races between page faults and hole punching: there was no i_mmap_sem, which became invalidate_lock",
    budgetRuns: 60,
  }, ({ i_mapping: { invalidate_lock: lock } }) => {
    lock.tryRead = () => true;
    lock.unlockRead = () => {};
  }),
  bugOf({
    name: "handle-before-invalidate-lock",
    description: "Space is punched, zeroed and allocated inside one handle, and so invalidate_lock is taken inside it: a fault that has the lock and waits for room in the journal waits for that handle.",
    source: "the order of ea3d7209ca01: i_mmap_sem ranks above the start of a transaction",
    budgetRuns: 60,
  }, (inode, fs) => instead(inode, "fallocate", (right) => function* (...args) {
    yield* fs.change(1, () => right(...args));
  })),
  bugOf({
    name: "mmap-lock-under-invalidate-lock",
    description: "Who takes pages of a file away first looks after those who map it, with their mmap_lock, which a fault has before it asks for invalidate_lock.",
    source: "Jan Kara's answer to the switch of September 2017: mappings cannot be changed from under i_mmap_sem",
    budgetRuns: 60,
  }, (inode) => lockMappersToo(inode)),
  bugOf({
    name: "commit-under-i_data_sem",
    description: "fsync waits for the commit with i_data_sem held: a handle that is to change the map waits for it, and the commit for the handle.",
    budgetRuns: 60,
  }, (inode) => instead(inode, "fsync", (right) => function* (dataOnly) {
    yield* inode.i_data_sem.read();
    try {
      yield* right(dataOnly);
    } finally {
      inode.i_data_sem.unlockRead();
    }
  })),
  bugOf({
    name: "lost-wakeup",
    description: "Who removes a DAX entry does not wake those who wait for its lock: they sleep for ever.",
    source: "23c84eb78375, dax: Fix missed wakeup with PMD faults: they slept at the wrong queue, with the same end",
    budgetRuns: 60,
  }, ({ i_dax: entries }) => instead(entries, "remove", (right) => (entry) => {
    right(entry);
    Object.setPrototypeOf(entry.lock, SilentLock.prototype);
  })),
  bugOf({
    name: "map-sync-without-commit",
    description: "A store through a MAP_SYNC mapping is let in before the way to its block is durable: what the program flushed is lost with the power.",
    source: "b8a6176c214c, ext4: Support for synchronous DAX faults, without its IOMAP_F_DIRTY",
    budgetRuns: 60,
  }, (inode) => instead(inode, "iomapFault", (right) => function* (...args) {
    const iomap = yield* right(...args);
    return iomap === undefined ? undefined : { ...iomap, isDirty: false };
  })),
  bugOf({
    name: "zero-page-stays",
    description: "Blocks come to a hole, and the zeroes stay in the page tables of those who had read it: they never see what is stored there.",
    source: "cd656375f946, mm: fix data corruption due to stale mmap reads",
    budgetRuns: 60,
  }, ({ i_dax: entries }) => {
    entries.unmapZeroes = () => {};
  }),
  bugOf({
    name: "dax-look-before-lock",
    description: "A fault of a DAX file looks at the map before it locks the entry: a write(2) that comes between allocates, finds nothing to unmap, and the fault maps the zeroes that it had seen.",
    source: "13e451fdc1af, dax: fix data corruption when fault races with write",
    budgetRuns: 60,
  }, (inode) => lookBeforeLocking(inode)),
  bugOf({
    name: "dax-fsync-without-flush",
    description: "fsync and msync of a DAX file leave what was stored in the processors' caches.",
    source: "9973c98ecfda, dax: add support for fsync/sync",
    budgetRuns: 60,
  }, ({ i_dax: entries, i_mapping: mapping }) => {
    entries.clean = (entry) => {
      writeProtectPages(mapping, entry.index, entry.index + entry.pages);
      entry.isDirty = false;
    };
  }),
  bugOf({
    name: "dax-fsync-keeps-writable",
    description: "fsync of a DAX file flushes, and does not take the right to store away: what is stored afterwards no fault sees and no later fsync flushes.",
    source: "f729c8c9b24f, dax: wrprotect pmd_t in dax_mapping_entry_mkclean",
    budgetRuns: 60,
  }, ({ i_dax: entries }) => {
    entries.clean = (entry, { pmem }) => {
      pmem.flush(entry.addressBytes, entry.pages * PAGE_BYTES);
      entry.isDirty = false;
    };
  }),
  bugOf({
    name: "truncate-keeps-mapped",
    description: "Pages that are taken from a file stay in page tables: what is stored there afterwards is nobody's.",
    budgetRuns: 60,
  }, ({ i_mapping: mapping }) => {
    mapping.unmapPages = () => {};
  }),
  bugOf({
    name: "writeback-without-write-protect",
    description: "Writeback leaves the right to store in page tables: a page that is clean by then is stored into, and nobody writes it.",
    source: "d08b3851da41, mm: tracking shared dirty pages",
    budgetRuns: 60,
  }, ({ i_mapping: mapping }) => {
    mapping.writeProtect = () => {};
  }),
  bugOf({
    name: "fork-shares-private",
    description: "A fork leaves the parent the right to store into private pages, which are the child's as well: the child sees the parent's later stores.",
    budgetRuns: 60,
  }, (inode) => onMmap(inode, ({ vm_mm: parent }) => instead(parent, "fork", (right) => function* () {
    const child = yield* right();
    letStoreIntoCopies(parent);
    return child;
  }))),
  bugOf({
    name: "layout-not-broken",
    description: "Blocks are taken from a file while somebody works on their pages past the page tables (get_user_pages, views): he reads and writes what is another's.",
    source: "5fac7408d828, mm, fs, dax: handle layout changes to pinned dax mappings; xfstests generic/503 for ext4",
    budgetRuns: 60,
  }, ({ i_dax: entries }, { daxDevice: device }) => {
    entries.isHeld = () => false;
    if (device !== undefined) device.isPinned = () => false;
  }),
];

/** Whoever has got invalidate_lock for writing asks for the mmap_lock of all that map the file. */
function lockMappersToo({ i_mapping: { invalidate_lock: lock, i_mmap: vmas } }: Ext4Inode): void {
  lock.tryWrite = () => false;
  instead(lock, "write", (right) => function* (): Task<void> {
    yield* right();
    for (const { vm_mm: { mmap_lock: mappers } } of vmas) {
      yield* mappers.read();
      mappers.unlockRead();
    }
  });
}

/** What a task saw before it had the entry is what it goes by when it has it. */
function lookBeforeLocking(inode: Ext4Inode): void {
  const seen = new Map<unknown, Iomap>();
  const look = inode.iomapRead.bind(inode);
  instead(inode.i_dax, "grab", (right) => function* (index, order) {
    seen.set(currentTask(), yield* look(index * PAGE_BYTES, orderBytes(order)));
    yield* racePoint("a look at the map before the entry is locked");
    return yield* right(index, order);
  });
  inode.iomapRead = function* (...args) {
    return seen.get(currentTask()) ?? (yield* look(...args));
  };
}

function letStoreIntoCopies({ vmas, pageTables }: MmStruct): void {
  for (const vma of vmas) {
    if (!vma.isCowMapping || !vma.isWritable) continue;
    pageTables.forEach(vma.vm_start, vma.vm_end, (leaf) => {
      if (leaf.memory instanceof AnonymousPage) leaf.mark(WRITABLE);
    });
  }
}
