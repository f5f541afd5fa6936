/** The types that a program sees, held to Node's: `npm run typecheck` is what fails here. */
import type * as fs from "node:fs";
import { expect, expectTypeOf, test } from "vitest";
import { Ext4, MemoryDevice, type BigIntStats, type Dir, type Dirent, type FileHandle, type ReadStream, type StatFs, type Stats, type Volume } from "../../src/platform/node/index.js";
import { fixtureImage } from "../support/fixtures.js";

test("results have Node's types", () => {
  const volume = Ext4.openSync(new MemoryDevice(fixtureImage("plain"), { readOnly: true }));
  const { promises } = volume;
  expectTypeOf(Ext4.open("disk.img").catch(() => volume)).resolves.toEqualTypeOf<Volume>();

  expectTypeOf(volume.readFileSync("/small")).toEqualTypeOf<Buffer>();
  expectTypeOf(volume.readFileSync("/small", "utf8")).toEqualTypeOf<string>();
  expectTypeOf(volume.readFileSync("/small", { encoding: "hex" })).toEqualTypeOf<string>();
  expectTypeOf(volume.readFileSync("/small", { encoding: null })).toEqualTypeOf<Buffer>();
  expectTypeOf(promises.readFile("/small")).resolves.toEqualTypeOf<Buffer>();
  expectTypeOf(promises.readFile("/small", "latin1")).resolves.toEqualTypeOf<string>();

  expectTypeOf(volume.readdirSync("/")).toEqualTypeOf<string[]>();
  expectTypeOf(volume.readdirSync("/", { recursive: true })).toEqualTypeOf<string[]>();
  expectTypeOf(volume.readdirSync("/", "buffer")).toEqualTypeOf<Buffer[]>();
  expectTypeOf(volume.readdirSync("/", { withFileTypes: true })).toEqualTypeOf<Dirent[]>();
  expectTypeOf(volume.readdirSync("/", { encoding: "buffer", withFileTypes: true })).toEqualTypeOf<Dirent<Buffer>[]>();

  expectTypeOf(volume.statSync("/")).toEqualTypeOf<Stats>();
  expectTypeOf(volume.lstatSync("/", { bigint: true })).toEqualTypeOf<BigIntStats>();
  expectTypeOf(volume.statSync("/", { throwIfNoEntry: false })).toEqualTypeOf<Stats | undefined>();
  expectTypeOf(volume.readlinkSync("/fast")).toEqualTypeOf<string>();
  expectTypeOf(volume.readlinkSync("/fast", "buffer")).toEqualTypeOf<Buffer>();
  expectTypeOf(promises.realpath("/")).resolves.toEqualTypeOf<string>();
  expectTypeOf(volume.statfsSync("/", { bigint: true })).toEqualTypeOf<StatFs<bigint>>();
  expectTypeOf(volume.getxattrSync).returns.toEqualTypeOf<Buffer>();
  expectTypeOf(volume.opendirSync("/")).toEqualTypeOf<Dir>();
  expectTypeOf(volume.opendirSync("/", { encoding: "buffer" })).toEqualTypeOf<Dir<Buffer>>();
  expectTypeOf(promises.open("/small")).resolves.toEqualTypeOf<FileHandle<Buffer>>();
  expectTypeOf(volume.createReadStream("/small").destroy()).toEqualTypeOf<ReadStream>();

  // What Node gives fits where ours is wanted, and the other way round, as far as both have it.
  expectTypeOf<Pick<Stats, "size" | "mtimeMs" | "isFile" | "mtime">>().toExtend<Pick<fs.Stats, "size" | "mtimeMs" | "isFile" | "mtime">>();
  expectTypeOf<Pick<fs.BigIntStats, "size" | "mtimeNs" | "isFile">>().toExtend<Pick<BigIntStats, "size" | "mtimeNs" | "isFile">>();
  expectTypeOf<typeof volume.readFileSync>().toBeCallableWith(new URL("file:///small"));
  expectTypeOf<typeof volume.readFileSync>().toBeCallableWith(Buffer.from("/small"));

  // @ts-expect-error a path is no number
  expect(() => volume.statSync(3)).toThrow(TypeError);
  // @ts-expect-error an unknown encoding
  expect(() => volume.readFileSync("/small", "utf7")).toThrow(TypeError);
});
