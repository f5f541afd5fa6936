/** What a path leads to, as Node says it of the same tree: stat, links, access, and every way in which a path can be wrong. */
import { describe, expect, test } from "vitest";
import { constants } from "node:fs";
import { expectAlike, makeWorld, SYNC_ONLY, testAlike } from "./world.js";

const world = makeWorld();

const ENTRIES = [
  "/", "/small", "/empty", "/sparse", "/dir", "/dir/", "/dir/sub/deeper/bottom", "/to-file", "/to-dir", "/to-dir/", "/to-dir/up", "/dir/up", "/hard", "/executable", "/closed", "/fifo", "/socket",
  "/long-link", "/chain-20", "/names/漢字-😀", "/names/new\nline", `/names/${"n".repeat(255)}`, "//small", "/./small", "/dir/../small", "/dir/sub/../../small", "/dir//sub/",
  ...[-1.5, 0, 1.25, 2 ** 31 + 0.5, 2 ** 33 + 0.75].map((seconds) => `/times/${seconds}`),
  ...(world?.isMounted === true ? ["/terminal", "/disk", "/lost+found"] : []),
];
/** Paths that lead nowhere, each in its own way. */
const DEAD_ENDS = [
  "/absent", "/absent/below", "/small/below", "/small/", "/small/.", "/small/..", "/to-file/", "/to-file-as-dir", "/dangling", "/dangling/", "/loop", "/loop/x", "/dir/absent/..", "/to-dir/absent",
  `/${"n".repeat(256)}`, `/absent/${"n".repeat(256)}`, `/small/${"n".repeat(256)}`, "/too-long-link", "/chain-39", "/chain-40", "/chain-41", "/fifo/x",
];

describe.runIf(world !== undefined).each([
  ["stat", [[], [{ bigint: true }]]],
  ["lstat", [[], [{ bigint: true }]]],
  ["readlink", [[], ["buffer"], [{ encoding: "hex" }]]],
  ["realpath", [[], ["buffer"], [{ encoding: "utf8" }]]],
  ["access", [[], [constants.R_OK]]],
] as const)("%s", (operation, argumentLists) => {
  test.each([...ENTRIES, ...DEAD_ENDS].map((path) => [path.length > 60 ? `${path.slice(0, 60)}…` : path, path]))("%s", async (_shown, path) => {
    for (const args of argumentLists) await expectAlike(world!, (surface) => surface.call(operation, surface.at(path!), ...args));
  });
});

describe("paths as programs pass them", () => {
  testAlike(world, [
    ["bytes that are no UTF-8", (s) => s.call("stat", s.bytesAt("/names/bad-\xff\xfe"))],
    ["an absent path in bytes", (s) => s.call("stat", s.bytesAt("/names/absent-\xff"))],
    ["a file URL", (s) => s.call("readFile", new URL(`file://${s.at("/names/%E6%BC%A2%E5%AD%97-%F0%9F%98%80")}`), "utf8")],
    ["a URL of another scheme", (s) => s.call("stat", new URL("http://example.org/small"))],
    ["a file URL with a host", (s) => s.call("stat", new URL("file://example.org/small"))],
    ["a file URL with an encoded slash", (s) => s.call("stat", new URL(`file://${s.at("/dir%2Fup")}`))],
    ["the empty path", (s) => s.call("stat", "")],
    ["a path with a NUL", (s) => s.call("stat", "/small\0")],
    ["bytes with a NUL", (s) => s.call("stat", Buffer.from("/small\0"))],
    // (realpath is C's, which walks piece by piece and has no limit of its own.)
    ["a path of more than 4096 bytes", async (s) => await s.call("stat", s.at("/d".repeat(2100))).catch((error: NodeJS.ErrnoException) => [error.code, error.syscall])],
    ["no path", (s) => s.call("stat", undefined)],
    ["null", (s) => s.call("readdir", null)],
    ["a number where a path belongs", (s) => s.call("lstat", 3)],
    ["an object", (s) => s.call("readlink", {})],
    ["an unknown encoding of a link", (s) => s.call("readlink", s.at("/to-file"), "no-such")],
    ["stat without throwing", (s) => s.call("stat", s.at("/absent"), { throwIfNoEntry: false }), SYNC_ONLY],
    ["lstat without throwing", (s) => s.call("lstat", s.at("/absent"), { throwIfNoEntry: false, bigint: true }), SYNC_ONLY],
    ["stat without throwing, in a loop", (s) => s.call("stat", s.at("/loop"), { throwIfNoEntry: false }), SYNC_ONLY],
    ["exists", async (s) => await Promise.all(["/small", "/absent", "/dangling", "/to-dir", "/small/x", "/loop", ""].map((path) => s.call("exists", path === "" ? "" : s.at(path)))), SYNC_ONLY],
    ["exists, with what is no path", async (s) => [await s.call("exists", "/a\0b")], SYNC_ONLY],
    ["access with an impossible mode", (s) => s.call("access", s.at("/small"), 8)],
  ]);
});

describe.runIf(world?.isMounted === true)("as root on a read-only mount", () => {
  const { W_OK, X_OK, R_OK } = constants;
  test.each(["/small", "/closed", "/executable", "/dir", "/to-file", "/to-dir", "/fifo", "/socket", "/terminal", "/disk", "/dangling"])("access to %s", async (path) => {
    for (const mode of [R_OK, W_OK, X_OK, W_OK | X_OK, R_OK | W_OK | X_OK]) await expectAlike(world!, (surface) => surface.call("access", surface.at(path), mode));
  });

  test("statfs", async () => {
    for (const path of ["/", "/dir/sub", "/to-file", "/absent"]) {
      await expectAlike(world!, (surface) => surface.call("statfs", surface.at(path)));
      await expectAlike(world!, (surface) => surface.call("statfs", surface.at(path), { bigint: true }));
    }
  });
});

test.runIf(world !== undefined)("what is below a file is absent, too, as statSync has it since Node 22", () => {
  expect(world!.volume.statSync("/small/x", { throwIfNoEntry: false })).toBeUndefined();
  expect(world!.volume.lstatSync("/small/x", { throwIfNoEntry: false })).toBeUndefined();
});

test.runIf(world !== undefined)("statfs has Node's fields", () => {
  expect(Object.keys(world!.volume.statfsSync("/")).sort()).toEqual(["bavail", "bfree", "blocks", "bsize", "ffree", "files", "type"]);
});

test.runIf(world !== undefined)("a relative path begins at the root, and neither .. nor an absolute link leads out of the image", () => {
  const { volume } = world!;
  expect(volume.readFileSync("small", "utf8")).toBe("small file");
  expect(volume.realpathSync("../../../dir/../small")).toBe("/small");
  expect(volume.realpathSync("/to-root/small")).toBe("/small");
  expect(volume.realpathSync("/out")).toBe("/dir/sub");
});
