/** Processes through the package's door: what a program does that imports it. */
import { describe, expect, test } from "vitest";
import { Ext4, MemoryDevice, mman, PmemDevice, Signal, VmEvents, type Volume } from "../../src/platform/node/index.js";
import { makeImage } from "../support/allocation-world.js";
import { readImage } from "../support/host.js";

const image = (): Uint8Array => readImage(makeImage(["-b", "4096"], "32M"));
const DEVICES = { "page cache": () => new MemoryDevice(image()), "persistent memory": () => new PmemDevice(image()) };

describe.each(Object.entries(DEVICES))("%s", (name, device) => {
  const open = (events = new VmEvents()): Volume => Ext4.openSync(device(), { readOnly: false, dax: name === "page cache" ? "never" : "always", events });

  test("a file is mapped, stored into, and read by fs", async () => {
    const events = new VmEvents();
    const volume = open(events);
    volume.writeFileSync("/data", Buffer.alloc(10_000, "a"));
    const process = volume.spawn();
    const fd = volume.runSync(process.open("/data", volume.constants.O_RDWR));
    const address = await volume.runAsync(process.mmap(0, 12_288, mman.PROT_READ | mman.PROT_WRITE, mman.MAP_SHARED, fd));
    volume.runSync(process.store(address + 5000, 0x42));
    expect(volume.readFileSync("/data", "latin1")[5000]).toBe("B");
    expect(volume.runSync(process.load(address + 9999))).toBe(0x61);
    expect(events.get("pgfault")).toBeGreaterThan(0);
    await volume.runAsync(process.msync(address, 12_288, mman.MS_SYNC));
    const child = volume.runSync(process.fork());
    volume.runSync(child.store(address, 0x43));
    expect(volume.runSync(process.load(address))).toBe(0x43);
    volume.closeSync();
  });

  test("what Linux kills a program for is a Signal, and rights are the process's", () => {
    const volume = open();
    volume.writeFileSync("/data", "x");
    volume.chmodSync("/data", 0o600);
    const process = volume.spawn();
    const fd = volume.runSync(process.open("/data", volume.constants.O_RDONLY));
    const address = volume.runSync(process.mmap(0, 8192, mman.PROT_READ, mman.MAP_PRIVATE, fd));
    const signalOf = (work: () => unknown): Signal | undefined => {
      try {
        work();
      } catch (error) {
        if (error instanceof Signal) return error;
        throw error;
      }
      return undefined;
    };
    expect(signalOf(() => volume.runSync(process.load(address + 4096)))).toMatchObject({ signo: 7, si_code: 2, si_addr: address + 4096 });
    expect(signalOf(() => volume.runSync(process.store(address, 1)))).toMatchObject({ signo: 11, si_code: 2 });
    expect(signalOf(() => volume.runSync(process.load(4096)))).toMatchObject({ signo: 11, si_code: 1 });
    const user = volume.spawn({ uid: 1000, gid: 1000 });
    expect(() => volume.runSync(user.open("/data", volume.constants.O_RDONLY))).toThrow("EACCES");
    volume.closeSync();
  });
});
