/** What every device promises (block/device.ts), held by each kind, under the sync and the async driver; and what each kind has of its own. */
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readBytes, writeBytes, type Bio, type BlockDevice } from "../../src/block/device.js";
import { MemoryDevice } from "../../src/block/memory.js";
import { OverlayDevice } from "../../src/block/overlay.js";
import { PartitionDevice } from "../../src/block/partition.js";
import { BlobDevice } from "../../src/platform/browser/blob-device.js";
import { FileDevice } from "../../src/platform/node/file-device.js";
import { Ext4 } from "../../src/platform/node/index.js";
import { runAsync, runSync, Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import { fixtureImage, fixtureTree } from "../support/fixtures.js";
import { attempt, canMount, notTestedHere, run, temporaryFolder } from "../support/host.js";
import { Prng } from "../../src/lib/prng.js";
import { ourTree, treeDifferences } from "../support/tree.js";

const SIZE_BYTES = 64 * 1024 + 512;
const pattern = (): Uint8Array => Uint8Array.from({ length: SIZE_BYTES }, (_, index) => (index * 31 + (index >> 8)) & 0xff);

function file(bytes: Uint8Array): string {
  const path = join(temporaryFolder(), "device");
  writeFileSync(path, bytes);
  return path;
}

interface Kind {
  readonly name: string;
  make(bytes: Uint8Array, readOnly: boolean): BlockDevice;
}

const WRITABLE: readonly Kind[] = [
  { name: "memory", make: (bytes, readOnly) => new MemoryDevice(bytes, { readOnly }) },
  { name: "file", make: (bytes, readOnly) => FileDevice.open(file(bytes), { readOnly }) },
  { name: "partition", make: (bytes, readOnly) => new PartitionDevice(new MemoryDevice(Buffer.concat([Buffer.alloc(1024, 0xee), bytes, Buffer.alloc(512, 0xee)]), { readOnly }), { number: 1, startBytes: 1024, sizeBytes: bytes.length, type: "83", name: "" }) },
  { name: "overlay on a file", make: (bytes) => new OverlayDevice(FileDevice.open(file(bytes)), 4096) },
  { name: "overlay of large blocks", make: (bytes) => new OverlayDevice(new MemoryDevice(bytes, { readOnly: true }), 65536) },
];
const READ_ONLY: readonly Kind[] = [...WRITABLE.slice(0, 3), { name: "Blob", make: (bytes) => new BlobDevice(new Blob([bytes as Uint8Array<ArrayBuffer>])) }];

const DRIVERS = [
  ["sync", async <T>(task: Task<T>): Promise<T> => runSync(task)],
  ["async", <T>(task: Task<T>): Promise<T> => runAsync(task)],
] as const;

const read = (offsetBytes: number, length: number): Bio & { data: Uint8Array } => ({ op: "read", offsetBytes, data: new Uint8Array(length) });
const write = (offsetBytes: number, data: Uint8Array): Bio => ({ op: "write", offsetBytes, data });
const codeOf = async (work: Promise<unknown>): Promise<string | undefined> => await work.then(() => undefined, (error: NodeJS.ErrnoException) => error.code);

describe.each(DRIVERS)("under the %s driver", (driver, drive) => {
  const readers = READ_ONLY.filter(({ name }) => name !== "Blob" || driver === "async");

  test.each(readers)("$name: any bytes can be read, in any batch", async ({ make }) => {
    const bytes = pattern();
    const device = make(bytes, true);
    expect(device.sizeBytes).toBe(SIZE_BYTES);
    expect(device.readOnly).toBe(true);
    const bios = [read(0, 1), read(SIZE_BYTES - 1, 1), read(4095, 2), read(0, SIZE_BYTES), read(100, 0), read(SIZE_BYTES, 0), read(513, 40_000)];
    await drive(device.submit(bios));
    for (const { offsetBytes, data } of bios) expect(Buffer.from(data).equals(bytes.subarray(offsetBytes, offsetBytes + data.length)), `${data.length} at ${offsetBytes}`).toBe(true);
    await drive(device.submit([]));
    await drive(device.close());
  });

  test.each(readers)("$name: what passes an end is EIO, and a write EROFS", async ({ make }) => {
    const device = make(pattern(), true);
    for (const bio of [read(SIZE_BYTES, 1), read(-1, 1), read(SIZE_BYTES - 3, 4), read(NaN, 1), read(2 ** 53, 1)]) expect(await codeOf(drive(device.submit([bio])))).toBe("EIO");
    expect(await codeOf(drive(device.submit([write(0, new Uint8Array(512))])))).toBe("EROFS");
    await drive(device.close());
  });

  test.each(WRITABLE)("$name: writes are read back, by sectors, and what is wrong changes nothing", async ({ make }) => {
    const model = pattern();
    const device = make(pattern(), false);
    const prng = new Prng(7);
    for (let round = 0; round < 60; round++) {
      const bios = Array.from({ length: 1 + prng.below(4) }, () => {
        const sectors = 1 + prng.below(20);
        return write(512 * prng.below(SIZE_BYTES / 512 - sectors + 1), new Uint8Array(sectors * 512).fill(prng.below(256)));
      });
      // One by one: a batch may be done in any order, and these may overlap.
      for (const bio of bios) {
        await drive(device.submit([bio]));
        model.set(bio.data, bio.offsetBytes);
      }
      const length = prng.below(9000);
      const at = prng.below(SIZE_BYTES - length);
      const seen = new Uint8Array(length);
      await drive(readBytes(device, at, seen));
      expect(Buffer.from(seen).equals(model.subarray(at, at + length))).toBe(true);
    }
    await drive(writeBytes(device, 512, new Uint8Array(512).fill(1), true));
    model.fill(1, 512, 1024);
    await drive(device.submit([{ op: "flush", offsetBytes: 0, data: new Uint8Array(0) }]));
    for (const [bio, code] of [[write(1, new Uint8Array(512)), "EINVAL"], [write(0, new Uint8Array(511)), "EINVAL"], [write(SIZE_BYTES - 512, new Uint8Array(1024)), "EIO"], [write(-512, new Uint8Array(512)), "EIO"]] as const) {
      expect(await codeOf(drive(device.submit([bio])))).toBe(code);
    }
    const all = new Uint8Array(SIZE_BYTES);
    await drive(readBytes(device, 0, all));
    expect(Buffer.from(all).equals(model)).toBe(true);
    await drive(device.close());
  });
});

describe("overlay", () => {
  test("the device below stays as it was, and the difference is told by whole blocks", () => {
    const below = pattern();
    const overlay = new OverlayDevice(new MemoryDevice(below, { name: "below.img", readOnly: true }), 4096);
    expect([overlay.name, overlay.readOnly, overlay.blockBytes]).toEqual(["below.img", false, 4096]);
    runSync(overlay.submit([write(4096, new Uint8Array(4096).fill(1)), write(8192 + 512, new Uint8Array(512).fill(2)), write(65536, new Uint8Array(512).fill(3))]));
    expect(below).toEqual(pattern());
    expect([...overlay.changedBlocks.keys()].sort((a, b) => a - b)).toEqual([1, 2, 16]);
    expect(overlay.changedBlocks.get(2)).toEqual(Uint8Array.from([...pattern().subarray(8192, 8704), ...new Uint8Array(512).fill(2), ...pattern().subarray(9216, 12288)]));
    expect(overlay.changedBlocks.get(16)).toHaveLength(512); // the device ends here
  });

  test("an old block that cannot be read is needed only where it is not written whole", () => {
    const unreadable: BlockDevice = { name: "broken", sizeBytes: 8192, readOnly: true, *submit() { throw Object.assign(new Error("unreadable"), { code: "EIO" }); }, *close() {} };
    const overlay = new OverlayDevice(unreadable, 4096);
    runSync(overlay.submit([write(0, new Uint8Array(4096).fill(9))]));
    runSync(readBytes(overlay, 0, new Uint8Array(4096)));
    expect(() => runSync(overlay.submit([write(4096, new Uint8Array(512))]))).toThrow("unreadable");
    expect(overlay.changedBlocks.size).toBe(1);
  });

  test("tasks that write parts of one block at once lose nothing", async () => {
    const slow: BlockDevice = new BlobDevice(new Blob([pattern() as Uint8Array<ArrayBuffer>]));
    const overlay = new OverlayDevice(slow, 4096);
    const scheduler = new Scheduler();
    await Promise.all([0, 1, 2, 3].map((index) => scheduler.runAsync(overlay.submit([write(index * 512, new Uint8Array(512).fill(100 + index))]))));
    const block = new Uint8Array(4096);
    await scheduler.runAsync(readBytes(overlay, 0, block));
    expect([0, 512, 1024, 1536, 2048].map((at) => block[at])).toEqual([100, 101, 102, 103, pattern()[2048]]);
  });
});

describe("file", () => {
  test("offsets above 4 GiB", async () => {
    const path = join(temporaryFolder(), "large");
    const fd = openSync(path, "w");
    ftruncateSync(fd, 6 * 2 ** 30);
    writeSync(fd, "far away", 5 * 2 ** 30 + 7);
    closeSync(fd);
    const device = FileDevice.open(path);
    for (const drive of [async (task: Task<void>): Promise<void> => runSync(task), runAsync<void>]) {
      const bytes = new Uint8Array(8);
      await drive(readBytes(device, 5 * 2 ** 30 + 7, bytes));
      expect(Buffer.from(bytes).toString()).toBe("far away");
    }
    runSync(device.close());
  });

  test("written bytes are in the file", async () => {
    const path = file(pattern());
    const device = FileDevice.open(path, { readOnly: false });
    runSync(writeBytes(device, 1024, new Uint8Array(512).fill(1), true));
    await runAsync(writeBytes(device, 2048, new Uint8Array(1024).fill(2), true));
    runSync(device.close());
    const expected = pattern();
    expected.fill(1, 1024, 1536);
    expected.fill(2, 2048, 3072);
    expect(readFileSync(path).equals(expected)).toBe(true);
  });

  test("a file that shrinks is an I/O error that says so", async () => {
    const path = file(pattern());
    const device = FileDevice.open(path);
    truncateSync(path, 1000);
    for (const work of [async (): Promise<void> => runSync(readBytes(device, 900, new Uint8Array(200))), (): Promise<void> => runAsync(readBytes(device, 2000, new Uint8Array(1)))]) {
      await expect(work()).rejects.toMatchObject({ code: "EIO", message: expect.stringContaining("has shrunk") });
    }
    runSync(device.close());
  });

  test("what cannot be opened, and what is closed", async () => {
    const folder = temporaryFolder();
    expect(() => FileDevice.open(join(folder, "absent"))).toThrow(expect.objectContaining({ code: "ENOENT", syscall: "open", path: join(folder, "absent") }));
    mkdirSync(join(folder, "directory"));
    expect(() => FileDevice.open(join(folder, "directory"))).toThrow(expect.objectContaining({ code: "EISDIR", path: join(folder, "directory") }));
    const device = FileDevice.open(file(pattern()));
    runSync(device.close());
    runSync(device.close());
    expect(() => runSync(readBytes(device, 0, new Uint8Array(1)))).toThrow(expect.objectContaining({ code: "EBADF" }));
    await expect(runAsync(readBytes(device, 0, new Uint8Array(1)))).rejects.toMatchObject({ code: "EBADF" });
  });

  test.runIf(canMount)("a block device has its own size", () => {
    const path = file(Buffer.concat([pattern(), Buffer.alloc(512 * 7)]));
    const loop = run("losetup", ["--find", "--show", "--read-only", path]).trim();
    try {
      const device = FileDevice.open(loop);
      expect(device.sizeBytes).toBe(SIZE_BYTES + 512 * 7);
      const bytes = new Uint8Array(5000);
      runSync(readBytes(device, 1234, bytes));
      expect(Buffer.from(bytes).equals(pattern().subarray(1234, 6234))).toBe(true);
      runSync(device.close());
    } finally {
      attempt("losetup", ["--detach", loop]);
    }
  });
  if (!canMount) notTestedHere("block devices", "needs root and loop devices");
});

describe("Blob", () => {
  test("a whole volume, by promises only", async () => {
    const blob = new Blob([fixtureImage("checksums")]);
    const volume = await Ext4.open(new BlobDevice(blob));
    expect(await volume.promises.readFile("/small", "utf8")).toBe("small file");
    expect(() => volume.readFileSync("/medium")).toThrow(expect.objectContaining({ code: "EOPNOTSUPP", message: expect.stringContaining("only promise-based calls") }));
    const paths = await volume.promises.readdir("/", { recursive: true });
    expect(paths.map((path) => `/${path}`).sort()).toEqual([...fixtureTree("checksums").keys()].filter((path) => path !== "/").sort());
  });

  test("its name is that of a File", () => {
    expect(new BlobDevice(new Blob([])).name).toBe("blob");
    expect(new BlobDevice(new File([], "disk.img")).name).toBe("disk.img");
  });

  test("one that gives less than it has is an I/O error", async () => {
    const device = new BlobDevice({ size: 1000, slice: () => ({ arrayBuffer: async () => new ArrayBuffer(3) }) });
    await expect(runAsync(readBytes(device, 0, new Uint8Array(10)))).rejects.toMatchObject({ code: "EIO", message: expect.stringContaining("gave 3 of 10 bytes at 0") });
  });
});

test("a volume on each kind of device says the same", () => {
  const bytes = fixtureImage("journal");
  for (const device of [new MemoryDevice(bytes, { readOnly: true }), FileDevice.open(file(bytes)), new OverlayDevice(new MemoryDevice(bytes, { readOnly: true }))]) {
    const volume = Ext4.openSync(device);
    expect(treeDifferences(fixtureTree("journal"), ourTree(volume))).toEqual([]);
    volume.closeSync();
  }
});
