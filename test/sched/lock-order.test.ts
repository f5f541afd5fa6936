/** The declared order of locks, what runs held against it, and lockdep's finer points: subclasses, reading twice, trylock, handles. */
import { beforeEach, describe, expect, test } from "vitest";
import { runLockWorkload } from "../../src/cli/lab/workload.js";
import { withFaultsLockedOut } from "../../src/ext4/journal-mode.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import { writebackInode } from "../../src/ext4/writeback.js";
import { LabWorld } from "../support/lab-world.js";
import { declaredPath, I_DATA_SEM, I_RWSEM, INVALIDATE_LOCK, JBD2_HANDLE, LOCK_ORDER, LockClass, lockRanks, MMAP_LOCK, MMAP_LOCK_ALL, S_WRITEPAGES_RWSEM } from "../../src/sched/lock-classes.js";
import { LockOrderError, observedOrder, PseudoLock, resetLockdep } from "../../src/sched/lockdep.js";
import { RwSem } from "../../src/sched/locks.js";
import { runSync, Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";

beforeEach(() => resetLockdep());

function errorOf(work: () => void): Error {
  try {
    work();
  } catch (error) {
    return error as Error;
  }
  throw new Error("nothing was thrown");
}

describe("the declared order", () => {
  test("has no circle, gives each rule its reason, and stands above what it is used for", () => {
    const ranks = lockRanks();
    for (const { outer, inner, why } of LOCK_ORDER) {
      expect(ranks.get(outer)!, `${outer.name} before ${inner.name}`).toBeLessThan(ranks.get(inner)!);
      expect(declaredPath(inner, outer), `${inner.name} before ${outer.name}`).toBeUndefined();
      expect(why).not.toBe("");
    }
    expect(declaredPath(INVALIDATE_LOCK, JBD2_HANDLE)).toBeDefined();
    expect(declaredPath(JBD2_HANDLE, S_WRITEPAGES_RWSEM)).toBeUndefined();
  });

  test("holds for all that a workload of everything was seen to do", () => {
    runLockWorkload();
    const edges = observedOrder();
    expect(edges.filter(({ from, to }) => declaredPath(from, to) === undefined).map(({ from, to }) => `${to.name} under ${from.name}`)).toEqual([]);
    expect(edges.length).toBeGreaterThan(100);
    const seen = new Set(edges.flatMap(({ from, to }) => [from.name, to.name]));
    const unseen = [...lockRanks().keys()].map(({ name }) => name).filter((name) => !seen.has(name));
    expect(unseen).toEqual(["mmap_lock/all"]); // the lab's alone
    for (const { toStack, fromStack } of edges) expect([toStack, fromStack]).not.toContain("");
  });
});

describe("planted inversions are told the first time that they run, though nobody waits", () => {
  function dirtyFile(): { world: LabWorld; inode: Ext4Inode } {
    const world = new LabWorld();
    world.mount({ dax: "never" });
    const fd = world.run(world.process.open("/file", O_RDWR | O_CREAT));
    world.run(world.process.pwrite(fd, new Uint8Array(5000), 0));
    return { world, inode: world.process.descriptors.get(fd).f_inode as Ext4Inode };
  }

  test("writing back inside a handle", () => {
    const { world, inode } = dirtyFile();
    const error = errorOf(() => world.run(world.fs.change(20, function* plantedWriteback(): Task<void> { yield* writebackInode(world.fs, inode); })));
    expect(error).toBeInstanceOf(LockOrderError);
    expect(error.message).toMatch(/^s_writepages_rwsem is taken while jbd2_handle is held, at\n[\s\S]*writebackInode[\s\S]*plantedWriteback[\s\S]*had been taken at\n[\s\S]*Ext4\.change[\s\S]*but the order is s_writepages_rwsem before i_writeback/);
  });

  test("taking invalidate_lock inside a handle", () => {
    const { world, inode } = dirtyFile();
    const error = errorOf(() => world.run(world.fs.change(20, function* plantedLock(): Task<void> { yield* withFaultsLockedOut(inode, function* () {}); })));
    expect(error).toBeInstanceOf(LockOrderError);
    expect(error.message).toMatch(/^invalidate_lock is taken while jbd2_handle is held, at\n[\s\S]*withFaultsLockedOut[\s\S]*plantedLock[\s\S]*had been taken at\n[\s\S]*Ext4\.change[\s\S]*but the order is invalidate_lock before/);
  });

  test("the other order, where it was seen, is told with both its places", () => {
    const { world, inode } = dirtyFile();
    world.run(writebackInode(world.fs, inode)); // the right way round
    world.run(world.process.pwrite(3, new Uint8Array(5000), 0));
    const error = errorOf(() => world.run(world.fs.change(20, function* plantedWriteback(): Task<void> { yield* writebackInode(world.fs, inode); })));
    expect(error.message).toMatch(/plantedWriteback[\s\S]*but s_writepages_rwsem before jbd2_handle was seen, jbd2_handle at\n[\s\S]*writeBatch[\s\S]*with s_writepages_rwsem taken at\n[\s\S]*writebackInode/);
  });

  test("waiting for a commit inside a handle", () => {
    const { world } = dirtyFile();
    const error = errorOf(() => world.run(world.fs.change(20, function* (handle): Task<void> { yield* world.fs.journal.commit(handle.transaction.t_tid); })));
    expect(error).toBeInstanceOf(LockOrderError);
    expect(error.message).toMatch(/j_trans_commit_map is taken while jbd2_handle is held/);
  });
});

test("what is declared nowhere is refused under a declared lock, and a class of one's own is held against circles alone", () => {
  const [data, inode] = [new RwSem(I_DATA_SEM), new RwSem(I_RWSEM)];
  expect(() => runSync((function* (): Task<void> {
    yield* data.read();
    yield* inode.read();
  })())).toThrow(/i_rwsem is taken while i_data_sem is held[\s\S]*but the order is i_rwsem before/);
  const [mine, other] = [new RwSem(new LockClass("mine")), new RwSem(new LockClass("other"))];
  const take = function* (outer: RwSem, inner: RwSem): Task<void> {
    yield* outer.read();
    yield* inner.read();
    inner.unlockRead();
    outer.unlockRead();
  };
  runSync(take(mine, inode));
  runSync(take(mine, other));
  expect(() => runSync(take(other, mine))).toThrow(/mine before other was seen/);
});

test("reading twice is an error, unless the class lets readers past writers", async () => {
  const plain = new RwSem(new LockClass("plain"));
  expect(() => runSync((function* (): Task<void> {
    yield* plain.read();
    yield* plain.read();
  })())).toThrow(/plain is taken twice[\s\S]*a writer that comes in between/);
  const recursive = new RwSem(new LockClass("recursive", { isReadRecursive: true }));
  const scheduler = new Scheduler();
  const log: string[] = [];
  await Promise.all([
    scheduler.runAsync((function* (): Task<void> {
      yield* recursive.read();
      yield { op: "io", io: { description: "", runSync: () => {}, runAsync: async () => {} } }; // the writer comes, and waits
      yield* recursive.read();
      log.push("read twice");
      recursive.unlockRead();
      recursive.unlockRead();
    })()),
    scheduler.runAsync((function* (): Task<void> {
      yield* recursive.write();
      log.push("written");
      recursive.unlockWrite();
    })()),
  ]);
  expect(log).toEqual(["read twice", "written"]);
  expect(() => runSync((function* (): Task<void> {
    yield* recursive.read();
    yield* recursive.write();
  })())).toThrow(/recursive is taken twice/);
});

test("who goes another way if a lock is taken waits for nobody: no edge to it, but from it", () => {
  const [outer, tried, inner] = ["outer", "tried", "inner"].map((name) => new RwSem(new LockClass(name)));
  const under = function* (first: RwSem, second: RwSem): Task<void> {
    yield* first.write();
    yield* second.write();
    second.unlockWrite();
    first.unlockWrite();
  };
  runSync(under(tried!, outer!));
  runSync((function* (): Task<void> {
    yield* outer!.write();
    expect(tried!.writeIfFree()).toBe(true); // the wrong way round, but without a wait
    expect(tried!.readIfFree()).toBe(false);
    yield* inner!.write();
    inner!.unlockWrite();
    tried!.unlockWrite();
    outer!.unlockWrite();
  })());
  const edges = observedOrder().map(({ from, to }) => `${from.name} > ${to.name}`);
  expect(edges).toContain("tried > inner");
  expect(edges).not.toContain("outer > tried");
  expect(() => runSync(under(outer!, tried!))).toThrow(LockOrderError);
});

test("a lock let go before those taken under it leaves them a chain of their own", () => {
  const [first, second, third] = ["first", "second", "third"].map((name) => new RwSem(new LockClass(name)));
  runSync((function* (): Task<void> {
    yield* first!.write();
    yield* second!.write();
    first!.unlockWrite();
    yield* third!.write();
    second!.unlockWrite();
    third!.unlockWrite();
  })());
  expect(observedOrder().map(({ from, to }) => `${from.name} > ${to.name}`)).toEqual(["first > second", "second > third"]);
});

test("subclasses: a second lock of a class, a set in one direction, and a handle that is there already", () => {
  const locks = [1, 2, 3].map((ordinal) => new RwSem(MMAP_LOCK, `mm ${ordinal}`, ordinal));
  const takeAll = function* (order: readonly number[]): Task<void> {
    for (const index of order) yield* locks[index]!.write(MMAP_LOCK_ALL);
    for (const index of order) locks[index]!.unlockWrite();
  };
  runSync(takeAll([0, 1, 2]));
  expect(() => runSync(takeAll([0, 2, 1]))).toThrow(/mm 2 is taken while mm 3 is held: locks of the class mmap_lock\/all are taken by ascending ordinal/);
  const handle = new PseudoLock(JBD2_HANDLE);
  expect(() => runSync((function* (): Task<void> {
    handle.acquire();
    new PseudoLock(JBD2_HANDLE, "another").acquire();
  })())).toThrow(/another is taken while jbd2_handle is held: two locks of the class/);
});
