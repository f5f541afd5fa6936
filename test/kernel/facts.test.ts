/** Cases of which only what was found is at hand, and no trace: the same operations, and the results that Linux 6.1 gave. */
import { expect, test } from "vitest";
import { checkImage, makeImage } from "./image.js";
import { Interpreter } from "./interpreter.js";
import type { Operation, ScenarioHeader } from "./traces.js";

const MIB = 2 ** 20;

type Step = readonly [operation: Operation, expected?: Readonly<Record<string, unknown>>];

/** Each operation with fields of its record; `faults` are steps, one text for each fault. What nothing is said of must succeed. */
function expectSteps(steps: readonly Step[], header: Partial<ScenarioHeader> = {}): void {
  const image = makeImage(header);
  const interpreter = new Interpreter(image);
  steps.forEach(([operation, { faults, ...expected } = {}], index) => {
    const record = interpreter.run(operation, index);
    expect({ ...record.fields, ...("ret" in expected ? {} : { ret: Math.min(Number(record.fields.ret), 0) }) }, `${index} ${JSON.stringify(operation)}`).toMatchObject({ ret: 0, ...expected });
    if (faults !== undefined) expect(record.faults.map((fault) => fault.steps.join(", ")), `${index} ${JSON.stringify(operation)}`).toEqual(faults);
  });
  const { status, stdout } = checkImage(image);
  expect(status, stdout).toBe(0);
}

const mount = (opts: string): Step => [{ op: "mount", opts }];
const open = (fd = "a", path = "/f"): Step => [{ op: "open", fd, path, flags: ["O_RDWR", "O_CREAT"] }];
const written = (length: number): Step[] => [[{ op: "fallocate", fd: "a", off: 0, len: length }], [{ op: "pwrite", fd: "a", off: 0, len: length, fill: "A" }], [{ op: "fsync", fd: "a" }]];
const mmap = (map: string, len: number, ...flags: string[]): Operation => ({ op: "mmap", map, fd: "a", len, flags });
const load = (map: string, off: number, expected: Readonly<Record<string, unknown>>): Step => [{ op: "load", map, off }, expected];
const store = (map: string, off: number, expected: Readonly<Record<string, unknown>> = {}): Step => [{ op: "store", map, off, val: 90 }, expected];
const refused = (errno: string): Readonly<Record<string, unknown>> => ({ ret: -1, errno });
const SIGBUS = { ret: -1, sig: "SIGBUS", si_code: "BUS_ADRERR" };
/** The first bytes of a file, as runs of the same byte. */
const begins = (fd: string, ...runs: readonly (readonly [count: number, byte: number])[]): Step => [{ op: "pread", fd, off: 0, len: runs.reduce((sum, [count]) => sum + count, 0) }, { runs }];
const end: readonly Step[] = [[{ op: "cleanup" }], [{ op: "umount" }]];

test("after a shutdown mapped pages and new read faults work, all else fails with EIO", () => {
  expectSteps([
    mount("dax"), open(), ...written(4 * MIB), [mmap("s", 4 * MIB, "MAP_SHARED")], [mmap("p", 4 * MIB, "MAP_PRIVATE")], store("s", 0), [{ op: "shutdown", how: 2 }],
    load("s", 0, { val: 90, faults: [] }), store("s", 1, { faults: [] }), load("s", 2 * MIB, { val: 65, faults: ["PMD 0 NOPAGE"] }), store("s", 2 * MIB, SIGBUS), store("p", 0), store("p", 2 * MIB),
    [{ op: "pread", fd: "a", off: 0, len: 10 }, refused("EIO")], [{ op: "pwrite", fd: "a", off: 0, len: 10 }, refused("EIO")], [{ op: "fsync", fd: "a" }, refused("EIO")], [{ op: "msync", map: "s" }, refused("EIO")],
    [{ op: "ftruncate", fd: "a", size: 0 }, refused("EIO")], [mmap("x", 4096, "MAP_SHARED"), refused("EIO")], [{ op: "open", fd: "z", path: "/f" }, refused("EIO")], [{ op: "statx", fd: "a" }, { size: 4 * MIB }],
    ...end, mount("dax"), open(), begins("a", [2, 90]), ...end,
  ]);
});

test("an immutable file is stored into through mappings that are there; an append-only one is not mapped so", () => {
  expectSteps([
    mount("dax"), open(), ...written(4 * MIB), [mmap("s", 4 * MIB, "MAP_SHARED")], store("s", 0), [{ op: "setflags", fd: "a", add: ["FS_IMMUTABLE_FL"] }],
    store("s", 1, { faults: ["PMD WRITE NOPAGE"] }), store("s", 2 * MIB, { faults: ["PMD WRITE NOPAGE"] }), [{ op: "ftruncate", fd: "a", size: 0 }, refused("EPERM")], [mmap("s2", 4096, "MAP_SHARED")],
    [{ op: "setflags", fd: "a", del: ["FS_IMMUTABLE_FL"], add: ["FS_APPEND_FL"] }], [mmap("s3", 4096, "MAP_SHARED"), refused("EACCES")], [mmap("p3", 4096, "MAP_PRIVATE")], store("p3", 0), ...end,
  ]);
});

test("the DAX flag takes effect when the last descriptor and mapping are gone", () => {
  const dax = (value: number): Step => [{ op: "statx", path: "/f" }, { dax: value }];
  expectSteps([
    mount("dax=inode"), open(), [{ op: "pwrite", fd: "a", off: 0, len: 8192 }], [mmap("m", 8192, "MAP_SHARED")], store("m", 0), [{ op: "fssetxattr", fd: "a", add: ["FS_XFLAG_DAX"] }], dax(0),
    store("m", 4096), [{ op: "close", fd: "a" }], dax(0), [{ op: "munmap", map: "m" }], dax(1), open(), begins("a", [1, 90], [1, 65]), [mmap("m", 8192, "MAP_SHARED")], store("m", 1),
    [{ op: "fssetxattr", fd: "a", del: ["FS_XFLAG_DAX"] }], dax(1), store("m", 4097), [{ op: "drop_caches" }], dax(1), [{ op: "cleanup" }], dax(0), open(), begins("a", [2, 90]), ...end,
  ]);
});

test("MAP_SYNC is refused on a file without DAX, whatever the mapping's type", () => {
  expectSteps([
    mount("dax=never"), open(), [{ op: "ftruncate", fd: "a", size: 8192 }], [mmap("1", 4096, "MAP_SHARED_VALIDATE", "MAP_SYNC"), refused("EOPNOTSUPP")],
    [mmap("2", 4096, "MAP_SHARED", "MAP_SYNC"), refused("EOPNOTSUPP")], [mmap("3", 4096, "MAP_PRIVATE", "MAP_SYNC"), refused("EOPNOTSUPP")], ...end,
  ]);
});

test("journaled data and DAX exclude each other at the mount, and neither changes at a remount", () => {
  const unmount: Step = [{ op: "umount" }];
  const exclusive = { ret: -1, errno: "EINVAL", detail: "can't mount with both data=journal and dax" };
  expectSteps([
    [{ op: "mount", opts: "data=journal,dax" }, exclusive], [{ op: "mount", opts: "dax=always,data=journal" }, exclusive],
    mount("data=journal,dax=inode"), unmount, mount("data=journal,dax=never"), unmount, mount("data=writeback,dax"), unmount,
    mount("dax=inode"), [{ op: "remount", opts: "remount,data=journal" }, { ret: -1, errno: "EINVAL", detail: "Cannot change data mode on remount" }], unmount,
  ]);
});

test("write(2) into a hole takes the zeroes away that are mapped there, 2 MiB of them too", () => {
  expectSteps([
    mount("dax"), open(), [{ op: "ftruncate", fd: "a", size: 4 * MIB }], [mmap("s", 4 * MIB, "MAP_SHARED")], [mmap("p", 4 * MIB, "MAP_PRIVATE")], load("s", 0, { val: 0 }), load("p", 0, { val: 0 }),
    [{ op: "pwrite", fd: "a", off: 0, len: 4096 }], load("s", 0, { val: 65 }), load("p", 0, { val: 65 }), load("s", 4096, { val: 0 }), store("s", 8192), load("p", 8192, { val: 90 }), ...end,
  ]);
});

test.each(["dax", "dax=never"])("%s: private copies go with a cut, stay over a punch, and are thrown away by a collapse", (opts) => {
  const mode = (name: string, off: number): Step => [{ op: "fallocate", fd: "a", off, len: 4096, mode: name === "PUNCH_HOLE" ? [name, "KEEP_SIZE"] : [name] }];
  expectSteps([
    mount(opts), open(), ...written(65536), [mmap("p", 65536, "MAP_PRIVATE")], store("p", 0), store("p", 32768), store("p", 8192), [{ op: "ftruncate", fd: "a", size: 16384 }], load("p", 0, { val: 90 }), load("p", 32768, SIGBUS),
    [{ op: "ftruncate", fd: "a", size: 65536 }], load("p", 32768, { val: 0 }), mode("PUNCH_HOLE", 8192), load("p", 8192, { val: 90 }), mode("COLLAPSE_RANGE", 4096), load("p", 0, { val: 90 }), load("p", 8192, { val: 65 }),
    load("p", 61440, SIGBUS), ...end,
  ]);
});

test("a private store on huge zeroes gets a copy, and the file stays all hole", () => {
  expectSteps([
    mount("dax"), open(), [{ op: "ftruncate", fd: "a", size: 4 * MIB }], [mmap("p", 4 * MIB, "MAP_PRIVATE")], load("p", 0, { val: 0, faults: ["PUD 0 FALLBACK, PMD 0 NOPAGE"] }),
    store("p", 4096, { faults: ["split, PTE WRITE DONE_COW"] }), load("p", 0, { val: 0, faults: ["PTE 0 NOPAGE"] }), load("p", 4096, { val: 90, faults: [] }), [{ op: "fiemap", fd: "a" }, { extents: [] }], ...end,
  ]);
});

test("a remount for reading waits for nobody who writes, and leaves a clean filesystem that is written again later", () => {
  expectSteps([
    mount("dax=never"), open(), [{ op: "pwrite", fd: "a", off: 0, len: 8192 }], [{ op: "remount", opts: "remount,ro" }, refused("EBUSY")], [{ op: "close", fd: "a" }], [{ op: "remount", opts: "remount,ro" }],
    [{ op: "open", fd: "b", path: "/f" }], begins("b", [2, 65]), [{ op: "open", fd: "c", path: "/g", flags: ["O_CREAT", "O_RDWR"] }, refused("EROFS")], [{ op: "remount", opts: "remount,rw" }],
    open("c", "/g"), [{ op: "pwrite", fd: "c", off: 0, len: 5000 }], [{ op: "fsync", fd: "c" }], ...end, mount("dax=never"), [{ op: "readdir", path: "/" }, { names: [".", "..", "lost+found", "f", "g"] }], ...end,
  ]);
});
