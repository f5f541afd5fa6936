/** A process's own loads and stores, its memory as the buffer of system calls, and what forks share. */
import { expect, test } from "vitest";
import { FOLL_WRITE, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { O_APPEND, O_CREAT, O_DIRECT, O_RDONLY, O_RDWR, O_WRONLY, SEEK_CUR } from "../../src/vfs/flags.js";
import type { Process } from "../../src/vfs/process.js";
import { BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, Signal, SIGBUS, SIGSEGV } from "../../src/vfs/signal.js";
import type { Task } from "../../src/sched/task.js";
import { ProcessWorld } from "./world.js";

const RW = PROT_READ | PROT_WRITE;

function signal(world: ProcessWorld, work: Task<unknown>): unknown {
  try {
    world.run(work);
  } catch (error) {
    if (error instanceof Signal) return [error.signo, error.si_code, error.si_addr];
    throw error;
  }
  return "none";
}

function mappedFile(bytes: string, flags = MAP_SHARED): { world: ProcessWorld; p: Process; fd: number; at: number } {
  const world = new ProcessWorld();
  const { process: p } = world;
  world.file("/f", bytes);
  const fd = world.run(p.open("/f", O_RDWR));
  return { world, p, fd, at: world.run(p.mmap(0, 16_384, RW, flags, fd)) };
}

test("loads and stores of all widths, and where they end in a signal", () => {
  const { world, p, at } = mappedFile("A".repeat(8192));
  world.run(p.store(at + 4090, 0x0807_0605_0403_0201n, 8)); // across a page's end
  expect([world.run(p.load(at + 4090)), world.run(p.load(at + 4090, 2)), world.run(p.load(at + 4092, 4)), world.run(p.loadU64(at + 4090))]).toEqual([1, 0x0201, 0x0605_0403, 0x0807_0605_0403_0201n]);
  world.run(p.store(at, -1, 2));
  expect(world.run(p.load(at, 4))).toBe(0x4141_ffff);
  world.run(p.mprotect(at, 4096, PROT_READ));
  expect([signal(world, p.store(at + 3, 1)), signal(world, p.load(at + 8192)), signal(world, p.store(at + 8192 + 5, 1)), signal(world, p.load(16)), signal(world, p.loadBytes(at + 8000, 500))]).toEqual([
    [SIGSEGV, SEGV_ACCERR, at + 3], [SIGBUS, BUS_ADRERR, at + 8192], [SIGBUS, BUS_ADRERR, at + 8197], [SIGSEGV, SEGV_MAPERR, 16], [SIGBUS, BUS_ADRERR, at + 8192],
  ]);
  world.run(p.mprotect(at, 4096, PROT_NONE));
  expect(signal(world, p.load(at))).toEqual([SIGSEGV, SEGV_ACCERR, at]);
  world.run(p.munmap(at, 16_384));
  expect(signal(world, p.load(at + 4096))).toEqual([SIGSEGV, SEGV_MAPERR, at + 4096]);
  world.unmount();
});

test("memory as the buffer of read and write: what cannot be reached makes them short, or EFAULT", () => {
  const { world, p, fd, at } = mappedFile("0123456789".repeat(900)); // 9000 bytes: pages 0, 1, 2
  const out = world.run(p.open("/out", O_RDWR | O_CREAT));
  expect(world.run(p.write(out, { address: at, lengthBytes: 4096 }))).toBe(4096);
  expect(world.run(p.write(out, { address: at + 8192, lengthBytes: 8192 }))).toBe(4096);
  expect(world.run(p.lseek(out, 0, SEEK_CUR))).toBe(8192);
  expect([world.outcome(p.write(out, { address: at + 12_288, lengthBytes: 10 })), world.outcome(p.write(out, { address: 16, lengthBytes: 10 })), world.outcome(p.write(out, { address: 2 ** 47, lengthBytes: 1 })), world.outcome(p.write(out, { address: at, lengthBytes: 0 }))])
    .toEqual(["EFAULT", "EFAULT", "EFAULT", 0]);
  expect(world.run(p.fstat(out)).stx_size).toBe(8192);
  expect(world.run(p.pread(fd, { address: at + 8192, lengthBytes: 8192 }, 0))).toBe(4096);
  expect(world.run(p.load(at + 8192, 4))).toBe(0x3332_3130);
  expect([world.outcome(p.pread(fd, { address: at + 12_288, lengthBytes: 5 }, 0)), world.outcome(p.pread(fd, { address: 16, lengthBytes: 5 }, 9000)), world.outcome(p.pread(fd, { address: at, lengthBytes: 5 }, -1))]).toEqual(["EFAULT", 0, "EINVAL"]);
  const anonymous = world.run(p.mmap(0, 12_288, RW, MAP_PRIVATE | MAP_ANONYMOUS));
  world.run(p.munmap(anonymous + 8192, 4096));
  expect([world.run(p.read(fd, { address: anonymous + 8190, lengthBytes: 10 })), world.run(p.lseek(fd, 0, SEEK_CUR))]).toEqual([2, 2]);
  world.run(p.mprotect(anonymous, 4096, PROT_READ));
  expect([world.outcome(p.read(fd, { address: anonymous, lengthBytes: 10 })), world.run(p.lseek(fd, 0, SEEK_CUR))]).toEqual(["EFAULT", 2]);
  const end = world.run(p.open("/out", O_WRONLY | O_APPEND));
  expect([world.run(p.write(end, { address: at, lengthBytes: 10 })), world.run(p.fstat(end)).stx_size]).toEqual([10, 8202]);
  world.unmount();
});

test("a file is written from its own mapping, and read into it", () => {
  const { world, p, fd, at } = mappedFile("abcdefgh".repeat(1024));
  expect(world.run(p.pwrite(fd, { address: at + 1, lengthBytes: 8191 }, 0))).toBe(8191);
  expect(world.run(p.load(at, 8))).toBe(Number(0x6168_6766_6564_6362n));
  expect(world.run(p.pread(fd, { address: at + 4096, lengthBytes: 4096 }, 1))).toBe(4096);
  expect(world.run(p.load(at + 4096))).toBe(0x63);
  world.unmount();
});

test("direct I/O wants aligned memory, too", () => {
  const { world, p, at } = mappedFile("x".repeat(8192), MAP_PRIVATE);
  world.file("/g", "g".repeat(8192));
  const direct = world.run(p.open("/g", O_RDWR | O_DIRECT));
  expect([world.outcome(p.pread(direct, { address: at + 512, lengthBytes: 512 }, 0)), world.outcome(p.pread(direct, { address: at + 1, lengthBytes: 512 }, 0)), world.run(p.load(at + 512))]).toEqual([512, "EINVAL", 0x67]);
});

test("mmap asks for an open file, and keeps it open", () => {
  const { world, p, fd, at } = mappedFile("x".repeat(8192));
  const reader = world.run(p.open("/f", O_RDONLY));
  expect([world.outcome(p.mmap(0, 4096, PROT_READ, MAP_SHARED, 99)), world.outcome(p.mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 100)), world.outcome(p.mmap(0, 4096, RW, MAP_SHARED, reader)), world.outcome(p.mmap(0, 0, RW, MAP_SHARED, fd)), world.outcome(p.mmap(0, 4096, RW, 0, fd))])
    .toEqual(["EBADF", "EINVAL", "EACCES", "EINVAL", "EINVAL"]);
  world.run(p.unlink("/f"));
  world.run(p.close(fd));
  world.run(p.close(reader));
  const free = world.run(p.statfs("/")).ffree;
  world.run(p.store(at, 9));
  expect([world.run(p.load(at)), world.kernel.mount!.files.size]).toEqual([9, 1]);
  world.run(p.munmap(at, 16_384));
  expect([world.run(p.statfs("/")).ffree, world.kernel.mount!.files.size]).toEqual([free + 1, 0]);
  world.unmount();
});

test("what forks share, and what becomes their own", () => {
  const { world, p, fd, at } = mappedFile("x".repeat(8192));
  const own = world.run(p.mmap(0, 8192, RW, MAP_PRIVATE, fd));
  const anonymous = world.run(p.mmap(0, 4096, RW, MAP_PRIVATE | MAP_ANONYMOUS));
  world.run(p.store(own, 1));
  world.run(p.store(anonymous, 2));
  const child = world.run(p.fork());
  world.run(child.store(own, 11));
  world.run(child.store(anonymous, 12));
  world.run(child.store(at, 13));
  const seen = (process: Process): number[] => [own, anonymous, at].map((address) => world.run(process.load(address)));
  expect([seen(p), seen(child)]).toEqual([[1, 2, 13], [11, 12, 13]]);
  const [page] = world.run(child.getUserPages(anonymous, 1, FOLL_WRITE));
  page!.data[0] = 14;
  page!.release();
  expect([seen(p)[1], seen(child)[1]]).toEqual([2, 14]);
  world.run(child.exit());
  expect(() => world.kernel.mount!.checkUnmount()).toThrow("EBUSY");
  world.run(p.mmap(at, 16_384, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED));
  expect(world.run(p.load(at))).toBe(0);
  world.unmount();
  world.mount();
  expect(world.contents("/f").slice(0, 2)).toBe(`${String.fromCharCode(13)}x`);
});

