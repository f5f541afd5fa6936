/** Freezing: who changes something waits until the thaw, who only reads does not; and what stands on the device meanwhile is whole. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { MS_SYNC } from "../../src/mm/constants.js";
import type { Task } from "../../src/sched/task.js";
import { O_CREAT, O_RDONLY, O_RDWR } from "../../src/vfs/flags.js";
import type { Process } from "../../src/vfs/process.js";
import { attempt, temporaryFolder, writeImage } from "../support/host.js";
import { ProcessWorld, text } from "./world.js";

/** Drives calls side by side: `settled` names those that have ended. */
class Calls {
  readonly settled: string[] = [];
  private readonly pending: Promise<unknown>[] = [];

  constructor(private readonly world: ProcessWorld) {}

  start(name: string, task: Task<unknown>): void {
    this.pending.push(this.world.scheduler.runAsync(task, name).then(() => this.settled.push(name), (error: Error) => this.settled.push(`${name}: ${error.message}`)));
  }

  /** Lets all go on that can. A timer keeps the scheduler from taking the wait for a deadlock: somebody is still there who may thaw. */
  async rest(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }

  async all(): Promise<void> {
    await Promise.all(this.pending);
  }
}

/** Work that keeps the scheduler from seeing a deadlock: an I/O that ends when it is told. */
function* waiting(until: Promise<void>): Task<void> {
  yield { op: "io", io: { description: "somebody who will thaw", runSync: () => undefined, runAsync: () => until } };
}

function frozenWorld(): { world: ProcessWorld; fd: number; p: Process } {
  const world = new ProcessWorld();
  const { process: p } = world;
  world.file("/f", "a".repeat(16_384));
  world.file("/doomed", "x");
  const fd = world.run(p.open("/f", O_RDWR));
  return { world, fd, p };
}

test("changes wait for the thaw, and reads do not", async () => {
  const { world, fd, p } = frozenWorld();
  const reader = world.run(p.open("/f", O_RDONLY));
  const calls = new Calls(world);
  let thaw = (): void => undefined;
  const told = new Promise<void>((resolve) => (thaw = resolve));
  await world.scheduler.runAsync(world.kernel.freeze());
  calls.start("watch", waiting(told));
  const changes: [string, Task<unknown>][] = [
    ["write", p.write(fd, text("b"))], ["create", p.open("/new", O_RDWR | O_CREAT)], ["mkdir", p.mkdir("/d")], ["unlink", p.unlink("/doomed")], ["rename", p.rename("/f", "/g")],
    ["chmod", p.chmod("/f", 0o600)], ["ftruncate", p.ftruncate(fd, 10)], ["fallocate", p.fallocate(fd, 0, 0, 65_536)], ["setxattr", p.setxattr("/f", "user.a", text("1"))], ["setflags", p.setflags(fd, 0x80040)],
  ];
  for (const [name, task] of changes) calls.start(name, task);
  calls.start("read", p.read(reader, new Uint8Array(10)));
  calls.start("stat", p.stat("/f"));
  calls.start("fsync", p.fsync(fd));
  calls.start("freeze", world.kernel.freeze());
  await calls.rest();
  expect(calls.settled.sort()).toEqual(["freeze: EBUSY: resource busy or locked", "fsync", "read", "stat"]);
  const image = join(temporaryFolder(), "frozen.img");
  writeImage(image, world.device.bytes);
  expect(attempt("e2fsck", ["-fn", image]).status).toBe(0);
  calls.start("thaw", world.kernel.thaw());
  thaw();
  await calls.all();
  for (const [name] of changes) expect(calls.settled).toContain(name);
  expect([world.outcome(world.kernel.thaw()), world.run(p.stat("/g")).stx_mode]).toEqual(["EINVAL", 0o100600]);
});

test("the last close of a file without a name waits, too: it frees blocks", async () => {
  const { world, fd, p } = frozenWorld();
  world.run(p.unlink("/f"));
  const calls = new Calls(world);
  let thaw = (): void => undefined;
  const told = new Promise<void>((resolve) => (thaw = resolve));
  await world.scheduler.runAsync(world.kernel.freeze());
  calls.start("watch", waiting(told));
  calls.start("close", p.close(fd));
  await calls.rest();
  expect(calls.settled).toEqual([]);
  calls.start("thaw", world.kernel.thaw());
  thaw();
  await calls.all();
  expect(calls.settled).toContain("close");
});

test("a store into a shared mapping waits, loads and private stores do not", async () => {
  const { world, fd, p } = frozenWorld();
  const shared = world.run(p.mmap(0, 16_384, PROT_READ | PROT_WRITE, MAP_SHARED, fd));
  const priv = world.run(p.mmap(0, 16_384, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd));
  const calls = new Calls(world);
  let thaw = (): void => undefined;
  const told = new Promise<void>((resolve) => (thaw = resolve));
  await world.scheduler.runAsync(world.kernel.freeze());
  calls.start("watch", waiting(told));
  const child = await world.scheduler.runAsync(p.fork());
  calls.start("shared store", child.store(shared + 4096, 90));
  calls.start("load", p.load(shared));
  calls.start("private store", p.store(priv, 90));
  await calls.rest();
  expect(calls.settled.sort()).toEqual(["load", "private store"]);
  calls.start("thaw", world.kernel.thaw());
  thaw();
  await calls.all();
  expect([await world.scheduler.runAsync(p.load(shared + 4096)), await world.scheduler.runAsync(p.load(shared))]).toEqual([90, 97]);
  await world.scheduler.runAsync(p.msync(shared, 16_384, MS_SYNC));
});

test("a freeze waits for the call in progress, and a filesystem that is only read freezes at once", async () => {
  const world = new ProcessWorld();
  world.file("/f", "f");
  world.unmount();
  world.mount(true);
  const { process: p } = world;
  world.run(world.kernel.freeze());
  expect([world.contents("/f"), world.outcome(p.unlink("/f")), world.outcome(world.kernel.freeze()), world.outcome(world.kernel.thaw()), world.outcome(world.kernel.thaw())]).toEqual(["f", "EROFS", "EBUSY", undefined, "EINVAL"]);
});
