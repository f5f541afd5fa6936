/** Directories as Node lists the same ones: readdir in all its shapes, opendir and what it opens. */
import type * as fs from "node:fs";
import { describe, expect, test } from "vitest";
import { makeWorld, PROMISES_ONLY, SYNC_ONLY, testAlike, type Surface } from "./world.js";

const world = makeWorld();

type Dirent = fs.Dirent & { parentPath: string };
const keyOf = (entry: unknown): string => (typeof entry === "object" && entry !== null && "parentPath" in entry
  ? `${(entry as Dirent).parentPath}/${String((entry as Dirent).name)}` : String(entry));
/** Node's promises visit directories in another order than its sync form does. */
const sorted = (entries: unknown): unknown[] => (entries as unknown[]).toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));

describe("readdir", () => {
  testAlike(world, [
    ...["/dir", "/dir/", "/to-dir", "/names", "/void", "/times", "/", "/small", "/absent", "/small/x", "/dangling", "/loop", "/dir/sub/.."].flatMap((path) => [
      [path, (s: Surface) => s.call("readdir", s.at(path))] as const,
      [`${path} with types`, (s: Surface) => s.call("readdir", s.at(path), { withFileTypes: true })] as const,
      [`${path} as bytes`, (s: Surface) => s.call("readdir", s.at(path), "buffer")] as const,
    ]),
    ...["utf8", "latin1", "hex", "base64", "ascii", "ucs2"].map((encoding) => [`names in ${encoding}`, (s: Surface) => s.call("readdir", s.at("/names"), { encoding })] as const),
    ["bytes with types", (s) => s.call("readdir", s.at("/names"), { encoding: "buffer", withFileTypes: true })],
    ["an unknown encoding", (s) => s.call("readdir", s.at("/names"), "utf7")],
    ["options that are none", (s) => s.call("readdir", s.at("/names"), 5)],
    ["null options", (s) => s.call("readdir", s.at("/names"), null)],
    ["a directory named by bytes", (s) => s.call("readdir", s.bytesAt("/dir/sub"))],
    // Node's recursive listing goes through links to directories in some versions and forms; ours never does. There is none below these.
    ["recursive", (s) => s.call("readdir", s.at("/dir"), { recursive: true }), SYNC_ONLY],
    ["recursive, in latin1", (s) => s.call("readdir", s.at("/dir"), { recursive: true, encoding: "latin1" }), SYNC_ONLY],
    ["recursive with types", (s) => s.call("readdir", s.at("/dir/"), { recursive: true, withFileTypes: true }), SYNC_ONLY],
    ["recursive, by promise", async (s) => sorted(await s.call("readdir", s.at("/dir"), { recursive: true }))],
    ["recursive with types, by promise", async (s) => sorted(await s.call("readdir", s.at("/dir"), { recursive: true, withFileTypes: true }))],
    ["recursive, of a file", (s) => s.call("readdir", s.at("/small"), { recursive: true })],
    ["recursive, of nothing", (s) => s.call("readdir", s.at("/absent"), { recursive: true })],
  ]);
});

test.runIf(world !== undefined)("what Node refuses: a recursive listing as bytes, so that every name can be told", () => {
  const { volume } = world!;
  const paths = volume.readdirSync("/", { recursive: true, encoding: "buffer" }).map((path) => path.toString("latin1"));
  expect(paths).toContain("names/bad-\xff\xfe");
  expect(paths).toContain("dir/sub/deeper/bottom");
  for (const path of paths) volume.lstatSync(Buffer.from(`/${path}`, "latin1"));
});

test.runIf(world !== undefined)("a recursive listing does not go through links, not even into a loop", () => {
  const paths = world!.volume.readdirSync("/", { recursive: true });
  expect(paths).toContain("to-dir");
  expect(paths.filter((path) => path.startsWith("to-dir/") || path.startsWith("to-root/"))).toEqual([]);
});

describe("opendir", () => {
  const entriesOf = async (dir: AsyncIterable<unknown>): Promise<unknown[]> => {
    const entries: unknown[] = [];
    for await (const entry of dir) entries.push(entry);
    return sorted(entries);
  };
  const opened = async (s: Surface, path: string, ...options: unknown[]): Promise<fs.Dir> => await s.call("opendir", s.at(path), ...options) as fs.Dir;
  const codeOf = async (work: () => unknown): Promise<unknown> => {
    try {
      return await work();
    } catch (error) {
      return (error as NodeJS.ErrnoException).code;
    }
  };
  testAlike(world, [
    ...["/dir", "/names", "/void", "/to-dir", "/dir/"].map((path) =>
      [`iterated: ${path}`, async (s: Surface) => {
        const dir = await opened(s, path);
        return [dir.path, await entriesOf(dir)];
      }] as const),
    ["read to the end, and once more", async (s) => {
      const dir = await opened(s, "/dir");
      const entries: unknown[] = [];
      for (let entry = await dir.read(); entry !== null; entry = await dir.read()) entries.push(entry);
      entries.push(...[await dir.read(), await dir.read()].filter((entry) => entry !== null));
      await dir.close();
      return sorted(entries);
    }],
    ["read on the spot", async (s) => {
      const dir = await opened(s, "/dir");
      const entries: unknown[] = [];
      for (let entry = dir.readSync(); entry !== null; entry = dir.readSync()) entries.push(entry);
      dir.closeSync();
      return sorted(entries);
    }],
    ["many reads at once give each entry once", async (s) => {
      const dir = await opened(s, "/dir");
      const entries = await Promise.all(Array.from({ length: 200 }, () => dir.read()));
      await dir.close();
      return sorted(entries.filter((entry) => entry !== null));
    }],
    ["sync calls while others are under way", async (s) => {
      const dir = await opened(s, "/dir");
      const reading = dir.read();
      const codes = [await codeOf(() => dir.readSync()), await codeOf(() => dir.closeSync())];
      await reading;
      dir.closeSync();
      return codes;
    }],
    ["after close", async (s) => {
      const dir = await opened(s, "/dir");
      await dir.close();
      return [await codeOf(() => dir.read()), await codeOf(() => dir.readSync()), await codeOf(() => dir.close()), await codeOf(() => dir.closeSync())];
    }],
    ["an iteration closes, also when it is left early", async (s) => {
      const dir = await opened(s, "/dir");
      for await (const entry of dir) {
        expect(entry.name).toBeTruthy();
        break;
      }
      return await codeOf(() => dir.close());
    }],
    ["an encoding", async (s) => await entriesOf(await opened(s, "/names", { encoding: "latin1" }))],
    ["an encoding alone", async (s) => await entriesOf(await opened(s, "/names", "hex"))],
    ["bytes", async (s) => await entriesOf(await opened(s, "/names", { encoding: "buffer" }))],
    ["in batches of one", async (s) => await entriesOf(await opened(s, "/dir", { bufferSize: 1 }))],
    // (Node 20 leaves the path out of the sync form's errors.)
    ...["/absent", "/small", "/loop", "/small/x", "/dangling"].flatMap((path) => [
      [path, (s: Surface) => opened(s, path), PROMISES_ONLY] as const,
      [path, async (s: Surface) => await opened(s, path).catch(({ code, errno, syscall }: NodeJS.ErrnoException) => [code, errno, syscall]), SYNC_ONLY] as const,
    ]),
    ["an unknown encoding", (s) => opened(s, "/dir", { encoding: "utf7" })],
    ["recursive", async (s) => await entriesOf(await opened(s, "/dir", { recursive: true, bufferSize: 7 }))],
  ]);
});

test.runIf(world !== undefined)("a batch of none is refused (Node forgets to close the directory then, or throws past its caller, and is left alone here)", async () => {
  const refused = expect.objectContaining({ code: "ERR_OUT_OF_RANGE", name: "RangeError" });
  expect(() => world!.volume.opendirSync("/dir", { bufferSize: 0 })).toThrow(refused);
  await expect(world!.volume.promises.opendir("/dir", { bufferSize: 1.5 })).rejects.toEqual(refused);
});
