/** What is in a file, as Node reads it from the same tree: whole, in pieces, by descriptor, by handle, as a stream. */
import { constants, type ReadStream as NodeReadStream } from "node:fs";
import * as fs from "node:fs";
import type { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { decodeAs } from "../../src/api/path.js";
import { describeError, expectAlike, makeWorld, outcome, PROMISES_ONLY, SYNC_ONLY, testAlike, type Surface } from "./world.js";

const world = makeWorld();

const ENCODINGS = ["utf8", "UTF-8", "latin1", "binary", "ascii", "hex", "base64", "base64url", "ucs2", "utf-16le", "UTF16LE"] as const;

describe("readFile", () => {
  testAlike(world, [
    ...["/small", "/empty", "/bytes", "/sparse", "/to-file", "/dir/up", "/hard", "/closed", "/dir", "/absent", "/small/", "/dangling", "/loop", "/socket", "/"].map((path) =>
      [path, (s: Surface) => s.call("readFile", s.at(path))] as const),
    ...ENCODINGS.flatMap((encoding) => [
      [`bytes in ${encoding}`, (s: Surface) => s.call("readFile", s.at("/bytes"), encoding)] as const,
      [`text in ${encoding}, as an option`, (s: Surface) => s.call("readFile", s.at("/text"), { encoding })] as const,
    ]),
    ["no encoding", (s) => s.call("readFile", s.at("/text"), { encoding: null })],
    ["an unknown encoding", (s) => s.call("readFile", s.at("/text"), "utf7")],
    ["an unknown encoding of an absent file", (s) => s.call("readFile", s.at("/absent"), "utf7")],
    ["a directory in utf8", (s) => s.call("readFile", s.at("/dir"), "utf8")],
    ["options that are none", (s) => s.call("readFile", s.at("/small"), 5)],
    ["an impossible flag", (s) => s.call("readFile", s.at("/small"), { flag: "no" })],
    ["the flag rs", (s) => s.call("readFile", s.at("/small"), { flag: "rs", encoding: "utf8" })],
    ["a flag by number", (s) => s.call("readFile", s.at("/to-file"), { flag: constants.O_NOFOLLOW })],
    // (Which call of the kernel met it is Node's own affair.)
    ["a descriptor that is not open", async (s) => await s.call("readFile", 12345).catch((error: NodeJS.ErrnoException) => [error.code, error.errno, error.path]), SYNC_ONLY],
    ["from where a descriptor stands", async (s) => {
      const fd = await s.call("open", s.at("/bytes")) as number;
      const piece = Buffer.alloc(1000);
      const parts = [await s.call("read", fd, piece, 0, 1000, null), await s.call("readFile", fd), await s.call("readFile", fd)];
      await s.call("close", fd);
      return parts;
    }, SYNC_ONLY],
  ]);
});

test.runIf(world !== undefined)("any bytes decode as Node decodes them, in every encoding", () => {
  let state = 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  // Starts, ends and middles of UTF-8 sequences, right and wrong.
  const pool = [0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff];
  const { readFileSync } = world!.volume;
  expect(readFileSync.call(world!.volume, "/text", "utf8")).toBe(fs.readFileSync(`${world!.nodeRoot}/text`, "utf8"));
  for (let round = 0; round < 2000; round++) {
    const name = Buffer.from(Array.from({ length: 1 + random(12) }, () => pool[random(pool.length)]!).filter((byte) => byte !== 0));
    for (const encoding of ENCODINGS) expect(decodeAs(name, encoding), `${name.toString("hex")} in ${encoding}`).toBe(name.toString(encoding as BufferEncoding));
  }
});

describe("open, read, close", () => {
  const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;
  /** The error of an open, or that there was none: the number itself is the process's. */
  const opens = async (s: Surface, path: string, ...flags: unknown[]): Promise<string> => {
    const file = await s.call("open", s.at(path), ...flags);
    await (typeof file === "number" ? s.call("close", file) : (file as fs.promises.FileHandle).close());
    return "opened";
  };
  const paths = ["/small", "/to-file", "/dir", "/to-dir", "/absent", "/absent/below", "/small/below", "/dangling", "/loop", "/dir/", "/socket", "/closed", "/absent/"];
  const readFlags = ["r", "rs", "sr", O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NOFOLLOW | O_DIRECTORY, O_NONBLOCK];
  const writeFlags = [
    "r+", "rs+", "sr+", "w", "wx", "xw", "w+", "wx+", "xw+", "a", "ax", "xa", "as", "sa", "a+", "ax+", "xa+", "as+", "sa+",
    O_WRONLY, O_RDWR, O_CREAT, O_CREAT | O_EXCL, O_TRUNC, O_WRONLY | O_DIRECTORY, O_RDWR | O_NOFOLLOW, O_CREAT | O_NOFOLLOW,
  ];
  test.runIf(world !== undefined).each(readFlags)("flags %s", async (flags) => {
    for (const path of paths) await expectAlike(world!, (s) => opens(s, path, flags));
  });
  test.runIf(world?.isMounted === true).each(writeFlags)("flags %s, on a read-only mount", async (flags) => {
    for (const path of paths) await expectAlike(world!, (s) => opens(s, path, flags));
  });

  testAlike(world, [
    ["no flags", (s) => opens(s, "/small")],
    ["null for flags", (s) => opens(s, "/small", null)],
    ...["", "rw", "R", "toString", "constructor", 1.5, 2 ** 40].map((flags) => [`impossible flags ${flags}`, (s: Surface) => opens(s, "/small", flags)] as const),
    ["a closed descriptor", async (s) => {
      const fd = await s.call("open", s.at("/small")) as number;
      await s.call("close", fd);
      return await s.call("read", fd, Buffer.alloc(1));
    }, SYNC_ONLY],
    ["close what is not open", (s) => s.call("close", 12345), SYNC_ONLY],
    ["close what is no descriptor", (s) => s.call("close", "3"), SYNC_ONLY],
    ["close below zero", (s) => s.call("close", -1), SYNC_ONLY],
    ["fstat of what is not open", (s) => s.call("fstat", 12345), SYNC_ONLY],
    ["fstat", async (s) => {
      const fd = await s.call("open", s.at("/to-file")) as number;
      const stats = [await s.call("fstat", fd), await s.call("fstat", fd, { bigint: true })];
      await s.call("close", fd);
      return stats;
    }, SYNC_ONLY],
  ]);

  /** Calls of read, one after the other, on one descriptor. */
  const reads = (path: string, ...calls: readonly (readonly unknown[])[]) => async (s: Surface): Promise<unknown> => {
    const fd = await s.call("open", s.at(path)) as number;
    try {
      const results: unknown[] = [];
      for (const args of calls) {
        const buffer = new Uint8Array(64).fill(0x2e);
        results.push(await outcome(async () => [await s.call("read", fd, buffer, ...args), buffer], world!));
      }
      return results;
    } finally {
      await s.call("close", fd);
    }
  };
  testAlike(world, [
    ["reads go on where the last one ended", reads("/bytes", [], [0, 10, null], [5, 20, null], [0, 64, -1], [0, 1, -1n]), SYNC_ONLY],
    ["a read with a position leaves the place alone", reads("/bytes", [0, 10, 70_000], [0, 10, null], [0, 10, 70_000n], [0, 10, null], [0, 10, 0]), SYNC_ONLY],
    ["at the end and past it", reads("/small", [0, 64, 0], [0, 64, 10], [0, 64, 11], [0, 64, 2 ** 40], [0, 64, null], [0, 64, null]), SYNC_ONLY],
    ["a hole", reads("/sparse", [0, 64, 19_990], [0, 64, 500_000], [0, 64, 1_999_990]), SYNC_ONLY],
    ["options", reads("/bytes", [{}], [{ offset: 3, length: 5 }], [{ position: 1234 }], [{ length: 2, position: 5n }]), SYNC_ONLY],
    ["offsets and lengths that do not fit", reads("/bytes", [-1, 1, 0], [65, 1, 0], [0, 65, 0], [60, 5, 0], [0, -1, 0], [1.5, 1, 0], ["0", 1, 0]), SYNC_ONLY],
    ["positions that are none", reads("/bytes", [0, 1, -2], [0, 1, 1.5], [0, 1, "0"], [0, 1, -2n], [0, 1, 2n ** 63n], [0, 1, 2n ** 63n - 2n]), SYNC_ONLY],
    ["a directory", reads("/dir", [0, 10, 0]), SYNC_ONLY],
    ["other views than bytes", async (s) => {
      const fd = await s.call("open", s.at("/bytes")) as number;
      const words = new Uint32Array(4);
      const view = new DataView(new ArrayBuffer(20), 5, 10);
      const results = [await s.call("read", fd, words), [...words], await s.call("read", fd, view, 2, 4, 0), Buffer.from(view.buffer)];
      await s.call("close", fd);
      return results;
    }, SYNC_ONLY],
    ["no buffer", async (s) => {
      const fd = await s.call("open", s.at("/bytes")) as number;
      return await s.call("read", fd, [1, 2, 3]).finally(() => s.call("close", fd));
    }, SYNC_ONLY],
  ]);
});

describe("FileHandle", () => {
  const withHandle = (path: string, work: (handle: fs.promises.FileHandle) => Promise<unknown>) => async (s: Surface): Promise<unknown> => {
    const handle = await s.call("open", s.at(path)) as fs.promises.FileHandle;
    try {
      return await work(handle);
    } finally {
      await handle.close();
    }
  };
  testAlike(world, [
    ["read in all its forms", withHandle("/bytes", async (handle) => [
      await handle.read(Buffer.alloc(10)), await handle.read(Buffer.alloc(10, "."), 2, 5), await handle.read(Buffer.alloc(10), 0, 10, 60_000),
      await handle.read(Buffer.alloc(10), { position: 5, length: 3 }), await handle.read({ buffer: Buffer.alloc(4), position: 70_000 }), await handle.read({ buffer: new Uint16Array(3) }),
      await handle.read(), await handle.read(Buffer.alloc(10), 0, 10, 80_000),
    ]), PROMISES_ONLY],
    ["read gives back the buffer it was given", withHandle("/bytes", async (handle) => {
      const buffer = new Uint8Array(3);
      return (await handle.read(buffer, 0, 3, 0)).buffer === buffer;
    }), PROMISES_ONLY],
    ["readFile goes on where read ended", withHandle("/bytes", async (handle) => {
      await handle.read(Buffer.alloc(69_000));
      return [await handle.readFile("hex"), await handle.readFile(), await handle.readFile({ encoding: "utf8" })];
    }), PROMISES_ONLY],
    ["stat", withHandle("/to-file", async (handle) => [await handle.stat(), await handle.stat({ bigint: true })]), PROMISES_ONLY],
    ["readFile of a directory", withHandle("/dir", async (handle) => await handle.readFile()), PROMISES_ONLY],
    ["two handles of one file have places of their own", async (s) => {
      const [one, other] = await Promise.all([s.call("open", s.at("/bytes")), s.call("open", s.at("/hard"))]) as [fs.promises.FileHandle, fs.promises.FileHandle];
      const third = await s.call("open", s.at("/bytes")) as fs.promises.FileHandle;
      const results = [await one.read(Buffer.alloc(10)), await third.read(Buffer.alloc(5)), await one.read(Buffer.alloc(2)), await other.read(Buffer.alloc(5))];
      await Promise.all([one.close(), other.close(), third.close()]);
      return results;
    }, PROMISES_ONLY],
    ["closing twice is closing once, and what is closed stays closed", async (s) => {
      const handle = await s.call("open", s.at("/bytes")) as fs.promises.FileHandle;
      await handle.close();
      const other = await s.call("open", s.at("/small")) as fs.promises.FileHandle; // may have the same number
      await handle.close();
      const errors: unknown[] = [handle.fd];
      for (const work of [() => handle.read(Buffer.alloc(1)), () => handle.readFile(), () => handle.stat()]) {
        errors.push(await work().catch((error: NodeJS.ErrnoException) => [error.code, error.syscall]));
      }
      const content = await other.readFile("utf8");
      await other.close();
      return [errors, content];
    }, PROMISES_ONLY],
  ]);
});

describe.runIf(world !== undefined)("createReadStream", () => {
  type Stream = NodeReadStream & Readable;
  const streams = [
    (path: string, options?: unknown): Stream => fs.createReadStream(world!.nodeRoot + path, options as never),
    (path: string, options?: unknown): Stream => world!.volume.createReadStream(path, options as never) as unknown as Stream,
  ];

  /** Everything that comes out of a stream, in order. */
  async function eventsOf(make: () => Stream): Promise<unknown[]> {
    let stream: Stream;
    try {
      stream = make();
    } catch (error) {
      return ["thrown", describeError(error, world!)];
    }
    const events: unknown[] = [["pending", stream.pending], ["path", String(stream.path).replace(world!.nodeRoot, "")]];
    const note = (name: string) => (value?: unknown): void => {
      const shown = value instanceof Error ? describeError(value, world!) : typeof value === "number" ? "a number" : value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : value;
      events.push(shown === undefined ? [name] : [name, shown]);
    };
    for (const name of ["open", "ready", "data", "end", "error"]) stream.on(name, note(name));
    await new Promise((resolve) => stream.on("close", resolve));
    return [...events, ["close", stream.bytesRead, stream.destroyed]];
  }

  test.each([
    ["a whole file", "/bytes", undefined],
    ["an empty one", "/empty", undefined],
    ["through a link", "/to-file", {}],
    ["from the middle", "/bytes", { start: 65_000 }],
    ["to the middle, its last byte included", "/bytes", { end: 100 }],
    ["one byte", "/bytes", { start: 7, end: 7 }],
    ["past the end", "/small", { start: 5, end: 1000 }],
    ["from past the end", "/small", { start: 1000 }],
    ["in small pieces", "/bytes", { highWaterMark: 1000, start: 10, end: 4500 }],
    ["as text, in pieces that cut characters", "/text", { encoding: "utf8", highWaterMark: 7, end: 3000 }],
    ["an encoding alone", "/small", "base64"],
    ["in hexadecimal", "/bytes", { encoding: "hex", highWaterMark: 333 }],
    ["a hole", "/sparse", { start: 15_000, end: 1_000_100 }],
    ["an absent file", "/absent", undefined],
    ["a directory", "/dir", undefined],
    ["start after end", "/bytes", { start: 3, end: 1 }],
    ["a negative start", "/bytes", { start: -1 }],
    ["a start that is no number", "/bytes", { start: "1" }],
    ["a broken end", "/bytes", { end: 1.5 }],
    ["a negative highWaterMark", "/bytes", { highWaterMark: -1 }],
    ["an unknown encoding", "/bytes", { encoding: "utf7" }],
    ["options that are none", "/bytes", 5],
  ])("%s", async (_name, path, options) => {
    const [theirs, ours] = await Promise.all(streams.map((make) => eventsOf(() => make(path, options))));
    expect(ours).toEqual(theirs);
  });

  test("destroyed half way, it closes its file", async () => {
    for (const make of streams) {
      const stream = make("/bytes", { highWaterMark: 100 });
      for await (const chunk of stream) {
        expect(Buffer.from(chunk as Uint8Array)).toHaveLength(100);
        break;
      }
      expect(stream.destroyed).toBe(true);
    }
    expect(world!.volume.openSync("/small")).toBe(3); // no descriptor is left open
    world!.volume.closeSync(3);
  });

  test("aborted by a signal", async () => {
    for (const make of streams) {
      const abort = new AbortController();
      const stream = make("/bytes", { signal: abort.signal });
      const error = new Promise((resolve) => stream.on("error", resolve));
      abort.abort();
      expect(await error).toMatchObject({ name: "AbortError" });
    }
  });
});
