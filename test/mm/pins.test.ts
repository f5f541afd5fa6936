/** Pages that are held for somebody who works on them past the page tables (get_user_pages): what he stores reaches the file, whatever writeback and the cache's limit do meanwhile. */
import { expect, test } from "vitest";
import { getUserPages } from "../../src/mm/access.js";
import { FOLL_WRITE, MAP_SHARED, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";
import { MappingWorld } from "../dax/world.js";

test.each(["memory", "pmem"] as const)("a page of a file in %s is written back and crowded out while it is held", (device) => {
  const world = new MappingWorld({ device, size: "32M", mount: { dax: device === "pmem" ? "always" : "never", pageCacheBytes: 65536 } });
  const { process } = world;
  const fd = world.run(process.open("/file", O_RDWR | O_CREAT));
  world.run(process.pwrite(fd, new Uint8Array(1_000_000).fill(1), 0));
  const address = world.run(process.mmap(0, 1_000_000, PROT_READ | PROT_WRITE, MAP_SHARED, fd));
  const [page] = world.run(getUserPages(process.mm, address + 8192, 1, FOLL_WRITE));
  world.run(process.fsync(fd));
  world.run(process.loadBytes(address, 1_000_000));
  page!.data.fill(7);
  page!.release();
  const seen = new Uint8Array(4096);
  world.run(process.pread(fd, seen, 8192));
  expect(new Set(seen)).toEqual(new Set([7]));
  world.unmount();
  world.mount();
  const again = world.run(world.process.open("/file", O_RDWR));
  world.run(world.process.pread(again, seen, 8192));
  expect(new Set(seen)).toEqual(new Set([7]));
});
