/** The nvdimm verb: namespaces made and listed, what is refused, NFIT tables; and other verbs on images that are namespaces. */
import { copyFileSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryFolder } from "../support/host.js";
import { ext4, ext4Output, ext4Records } from "./ext4.js";

const UUID = "42e1d574-76ac-402c-9132-5436e31528c0";
const folder = temporaryFolder();
let count = 0;
const newPath = (): string => join(folder, `region${count++}`);

describe("create and list", () => {
  test.each([
    [["--mode", "raw"], { mode: "raw", sizeBytes: 33554432 }],
    [[], { mode: "fsdax", sizeBytes: 31457280, map: "mem", alignBytes: 2097152, dataAt: 2097152, uuid: UUID, version: "1.4" }],
    [["--mode", "devdax", "--map", "dev", "--align", "4K"], { mode: "devdax", sizeBytes: 31457280, map: "dev", alignBytes: 4096, uuid: UUID }],
    [["--mode", "sector"], { mode: "sector", sectorBytes: 4096, sizeBytes: 32440320, uuid: UUID, version: "1.1", interruptedWrites: 0, problems: [] }],
    [["--mode", "sector", "--sector-size", "520"], { mode: "sector", sectorBytes: 520, uuid: UUID }],
  ])("%j", async (options, expected) => {
    const path = newPath();
    const [made] = await ext4Records("nvdimm", "create", "--size", "32M", "--uuid", UUID, ...options, path);
    expect(made).toMatchObject({ file: path, regionBytes: 33554432, ...expected });
    expect(statSync(path).size).toBe(33554432);
    expect(await ext4Records("nvdimm", "list", path)).toEqual([made]);
    expect(await ext4Output("nvdimm", "list", path)).toContain(`${path}: ${expected.mode}, `);
  });

  test("what is there is kept without --force", async () => {
    const path = newPath();
    await ext4Output("nvdimm", "create", "--size", "20M", "--mode", "sector", path);
    const refused = await ext4("nvdimm", "create", path);
    expect([refused.status, refused.stderr]).toEqual([2, expect.stringContaining("it is not empty (sector namespace); --force")]);
    await ext4Output("nvdimm", "create", "--force", path);
    expect((await ext4Records("nvdimm", "list", path))[0]).toMatchObject({ mode: "fsdax" });
  });

  const REFUSED: readonly (readonly [what: string, args: readonly string[], message: string])[] = [
    ["an unknown action", ["nvdimm", "destroy", "x"], "'destroy' is not one of list, create, nfit"],
    ["an unknown mode", ["nvdimm", "create", "--mode", "memory", "x"], "--mode: 'memory' is not one of raw, fsdax, sector, devdax"],
    ["no size", ["nvdimm", "create", "NEW"], "does not exist, so --size is needed"],
    ["an alignment that no processor has", ["nvdimm", "create", "--size", "32M", "--align", "8K", "NEW"], "--align: '8K' is not one of 4096, 2097152, 1073741824"],
    ["an alignment for sectors", ["nvdimm", "create", "--mode", "sector", "--align", "4K", "NEW"], "--align is for fsdax and devdax, not for sector"],
    ["a sector size for fsdax", ["nvdimm", "create", "--sector-size", "512", "NEW"], "--sector-size is for sector, not for fsdax"],
    ["a uuid that is none", ["nvdimm", "create", "--size", "32M", "--uuid", "1234", "NEW"], "--uuid: '1234' is no UUID"],
    ["a region too small", ["nvdimm", "create", "--size", "1M", "--mode", "sector", "NEW"], "is too small for a block translation table"],
    ["no file", ["nvdimm", "list", "NEW"], "ENOENT"],
    ["a size for a table that is read", ["nvdimm", "nfit", "--size", "1G", "NEW"], "go with --make"],
  ];
  test("what is refused, with 2", async () => {
    await Promise.all(REFUSED.map(async ([what, args, message]) => {
      const path = newPath();
      const { status, stdout, stderr } = await ext4(...args.map((arg) => (arg === "NEW" ? path : arg)));
      expect([what, status, stdout, stderr]).toEqual([what, 2, "", expect.stringContaining(message)]);
      expect(existsSync(path)).toBe(false);
    }));
  });

  test("a damaged table is told of, with 1", async () => {
    const path = newPath();
    await ext4Output("nvdimm", "create", "--size", "20M", "--mode", "sector", path);
    const bytes = readFileSync(path);
    bytes[4096 + 60]! ^= 1;
    writeFileSync(path, bytes);
    const { status, stdout, stderr } = await ext4("nvdimm", "list", path);
    expect([status, stderr]).toEqual([1, `ext4 nvdimm: ${path}: the info block at 4096 is damaged; its copy stands in for it\n`]);
    expect(stdout).toContain("state       damaged");
    bytes.fill(0xff, bytes.length - 4096 + 16, bytes.length - 4000);
    writeFileSync(path, bytes);
    expect((await ext4("nvdimm", "list", path)).status).toBe(2);
  });
});

describe("a filesystem in a namespace", () => {
  test("is found by every verb", async () => {
    const path = newPath();
    await ext4Output("mkfs", "-q", "-E", "offset=2097152", path, "30M");
    // The namespace's info block stands before the filesystem.
    await ext4Output("nvdimm", "create", "--force", path);
    writeFileSync(join(folder, "hello"), "hello\n");
    await ext4Output("cp", join(folder, "hello"), `${path}:/`);
    expect(await ext4Output("ls", path)).toBe("hello\nlost+found\n");
    expect(await ext4Output("cat", `${path}:/hello`)).toBe("hello\n");
    const other = newPath();
    copyFileSync(path, other);
    await ext4Output("nvdimm", "create", "--mode", "devdax", "--force", other);
    expect(await ext4("ls", other)).toMatchObject({ status: 2, stderr: expect.stringContaining("is a devdax namespace, which holds no filesystem") as string });
  });
});

describe("nfit", () => {
  test("is made and shown", async () => {
    const path = newPath();
    const text = await ext4Output("nvdimm", "nfit", "--make", "--size", "16G", "--address", "8G", "--eadr", path);
    expect(text).toContain("persistent memory, 16G at 0x200000000");
    expect(await ext4Output("nvdimm", "nfit", path)).toBe(text);
    const [record] = await ext4Records("nvdimm", "nfit", path);
    expect(record).toMatchObject({ revision: 1, problems: [], structures: [{ kind: "range", range_type: "persistent memory", range_length: 2 ** 34 }, { kind: "map" }, { kind: "control" }, { kind: "capabilities", capabilities: 3 }] });
    expect((await ext4("nvdimm", "nfit", "--make", "--size", "1G", path)).stderr).toContain("--force");
  });

  test("damage is told with its place", async () => {
    const path = newPath();
    writeFileSync(path, "NFIT and more, which is no table at all by any means");
    expect(await ext4("nvdimm", "nfit", path)).toMatchObject({ status: 2, stderr: expect.stringContaining("the NVDIMM firmware interface table is damaged (offset 0, field length") as string });
  });
});
