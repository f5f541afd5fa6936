/** The lab's judges, on histories written by hand, one for each rule; and against judges that try every order without any cleverness, on small random ones. */
import { describe, expect, test } from "vitest";
import { crashContentProblems } from "../../src/sim/model/durability.js";
import { isDataRecord, type CallRecord, type DataEffect, type NameOperation } from "../../src/sim/model/history.js";
import { applyName, crashNameProblems, nameProblems, type NameEntry, type NameTree } from "../../src/sim/model/names.js";
import { treeDifferences } from "../../src/sim/model/name-tree.js";
import { searchOrders, TooManyOrdersError } from "../../src/sim/model/order.js";
import { finalContentProblems, linearizabilityProblems } from "../../src/sim/model/registers.js";
import { FsError } from "../../src/lib/errno.js";
import { LabWorld } from "../support/lab-world.js";
import { O_CREAT, O_EXCL, O_RDWR } from "../../src/vfs/flags.js";
import { RENAME_EXCHANGE, RENAME_NOREPLACE } from "../../src/vfs/inode.js";
import { Prng } from "../../src/lib/prng.js";

const FILE = 12;
const NEVER = Infinity;
const RANDOM_COUNT = Number(process.env["EXT4_HISTORIES"] ?? 1500);
const filled = (count: number, value: number): Uint8Array => new Uint8Array(count).fill(value);
const ascii = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));

type When = readonly [number, number];
const span = ([begin, end]: When, text: string): { task: string; begin: number; end: number; text: string } => ({ task: "T", begin, end, text });
const write = (when: When, offset: number | undefined, text: string | Uint8Array, more: object = {}): CallRecord =>
  ({ ...span(when, "write"), kind: "write", file: FILE, offset, bytes: typeof text === "string" ? ascii(text) : text, isStore: false, ...more });
const store = (when: When, offset: number, text: string): CallRecord => write(when, offset, text, { isStore: true });
const read = (when: When, offset: number, askedBytes: number, text: string | Uint8Array, more: object = {}): CallRecord =>
  ({ ...span(when, "read"), kind: "read", file: FILE, offset, askedBytes, bytes: typeof text === "string" ? ascii(text) : text, isLoad: false, ...more });
const load = (when: When, offset: number, askedBytes: number, text: string): CallRecord => read(when, offset, askedBytes, text, { isLoad: true });
const size = (when: When, sizeBytes: number, more: object = {}): CallRecord => ({ ...span(when, "truncate"), kind: "size", file: FILE, sizeBytes, ...more });
const zero = (when: When, offset: number, lengthBytes: number, keepsSize = true): CallRecord => ({ ...span(when, "fallocate"), kind: "zero", file: FILE, offset, lengthBytes, keepsSize });
const sync = (when: When, more: object = {}): CallRecord => ({ ...span(when, "fsync"), kind: "sync", file: FILE, offset: 0, lengthBytes: Infinity, ...more });

const linear = (initial: string | Uint8Array, ...records: CallRecord[]): string[] => linearizabilityProblems(records, () => (typeof initial === "string" ? ascii(initial) : initial));
const final = (initial: string, found: string, ...records: CallRecord[]): string[] => finalContentProblems(records, () => ascii(initial), new Map([[FILE, ascii(found)]]));
const crash = (initial: string | Uint8Array, found: string | Uint8Array, ...records: CallRecord[]): string[] => {
  const bytes = (from: string | Uint8Array): Uint8Array => (typeof from === "string" ? ascii(from) : from);
  return crashContentProblems(records, () => bytes(initial), new Map([[FILE, bytes(found)]]));
};

describe("linearizable bytes", () => {
  test("a read sees what was written before it", () => {
    expect(linear("AA", write([1, 2], 0, "BB"), read([3, 4], 0, 2, "BB"))).toEqual([]);
    expect(linear("AA", write([1, 2], 0, "BB"), read([3, 4], 0, 2, "AA"))).toHaveLength(1);
  });

  test("a stale read names byte, file, reader and what was around it", () => {
    const [problem] = linear("AA", write([1, 2], 0, "AB"), read([3, 4], 0, 2, "AA"));
    expect(problem).toBe("file 12: no order explains that T: read [3..4] saw 0x41 at byte 1; at first it was 0x41, and then\n  T: write [1..2] set 0x42");
  });

  test("a read that meets a write sees the old bytes or the new, each for itself", () => {
    for (const seen of ["AA", "AB", "BA", "BB"]) expect(linear("AA", write([1, 4], 0, "BB"), read([2, 3], 0, 2, seen))).toEqual([]);
    expect(linear("AA", write([1, 4], 0, "BB"), read([2, 3], 0, 2, "AC"))).toHaveLength(1);
  });

  test("nobody sees the future, nor what was never written", () => {
    expect(linear("A", read([1, 2], 0, 1, "B"), write([3, 4], 0, "B"))).toHaveLength(1);
  });

  test("who has seen the new byte never sees the old one again", () => {
    const during = write([1, 10], 0, "B");
    expect(linear("A", during, read([2, 3], 0, 1, "A"), read([4, 5], 0, 1, "B"))).toEqual([]);
    expect(linear("A", during, read([2, 3], 0, 1, "B"), read([4, 5], 0, 1, "A"))).toHaveLength(1);
  });

  test("two who meet two writers agree on their order", () => {
    const writers = [write([1, 4], 0, "B"), write([2, 3], 0, "C")];
    expect(linear("A", ...writers, read([5, 6], 0, 1, "C"), read([7, 8], 0, 1, "C"))).toEqual([]);
    expect(linear("A", ...writers, read([5, 6], 0, 1, "B"), read([7, 8], 0, 1, "C"))).toHaveLength(1);
  });

  test("a call under way may have happened, or not", () => {
    for (const seen of ["A", "B"]) expect(linear("A", write([1, NEVER], 0, "B"), read([2, 3], 0, 1, seen))).toEqual([]);
    expect(linear("A", write([1, NEVER], 0, "B"), read([2, 3], 0, 1, "B"), read([4, 5], 0, 1, "A"))).toHaveLength(1);
  });

  test("a failed write may have happened in part, a short one as far as it went", () => {
    for (const seen of ["AA", "AB", "BA", "BB"]) expect(linear("AA", write([1, 2], 0, "BB", { code: "EIO" }), read([3, 4], 0, 2, seen))).toEqual([]);
    expect(linear("AA", write([1, 2], 0, "BB", { doneBytes: 1 }), read([3, 4], 0, 2, "BA"))).toEqual([]);
    expect(linear("AA", write([1, 2], 0, "BB", { doneBytes: 1 }), read([3, 4], 0, 2, "BB"))).toHaveLength(1);
    expect(linear("AA", write([1, 2], 0, "BB", { doneBytes: 1, code: "EIO" }), read([3, 4], 0, 2, "AB"))).toHaveLength(1);
  });

  test("the end of the file is a value like others", () => {
    expect(linear("AA", read([1, 2], 0, 4, "AA"))).toEqual([]);
    expect(linear("AA", read([1, 2], 0, 4, "A"))).toHaveLength(1);
    expect(linear("AA", write([1, 2], 2, "B"), read([3, 4], 0, 4, "AA"))).toHaveLength(1);
    expect(linear("AA", size([1, 2], 1), read([3, 4], 0, 4, "A"))).toEqual([]);
    expect(linear("AA", size([1, 2], 1), read([3, 4], 0, 4, "AA"))).toHaveLength(1);
    expect(linear("", read([1, 2], 100, 10, ""))).toEqual([]);
  });

  test("a gap is zero, and so is what comes back after a cut", () => {
    expect(linear("A", write([1, 2], 3, "B"), read([3, 4], 0, 5, "A\0\0B"))).toEqual([]);
    expect(linear("AA", size([1, 2], 1), size([3, 4], 3), read([5, 6], 0, 5, "A\0\0"))).toEqual([]);
    expect(linear("AA", size([1, 2], 1), size([3, 4], 3), read([5, 6], 0, 5, "AA\0"))).toHaveLength(1);
  });

  test("zeroed ranges", () => {
    expect(linear("AAA", zero([1, 2], 1, 5), read([3, 4], 0, 9, "A\0\0"))).toEqual([]);
    expect(linear("AAA", zero([1, 2], 1, 5), read([3, 4], 0, 9, "A\0A"))).toHaveLength(1);
    expect(linear("AAA", zero([1, 2], 1, 5, false), read([3, 4], 0, 9, "A\0\0\0\0\0"))).toEqual([]);
    expect(linear("AAA", zero([1, 2], 5, 0, false), read([3, 4], 0, 9, "AAA\0\0"))).toEqual([]);
  });

  test("loads see zeros behind the end within the last page, and a SIGBUS behind that", () => {
    expect(linear("A", load([1, 2], 0, 3, "A\0\0"))).toEqual([]);
    expect(linear("A", load([1, 2], 1, 2, "\0\0"))).toEqual([]);
    expect(linear("A", load([1, 2], 1, 2, ""))).toHaveLength(1);
    expect(linear("A", load([1, 2], 4096, 1, ""))).toEqual([]);
    expect(linear("A", load([1, 2], 4097, 1, "\0"))[0]).toContain("the page at 4096 is inside the file");
    expect(linear("A", size([1, 2], 0), load([3, 4], 5, 1, "\0"))).toHaveLength(1);
  });

  test("a store makes no file longer, and what it leaves behind the end is gone when the file grows", () => {
    expect(linear("A", store([1, 2], 0, "BC"), read([3, 4], 0, 3, "B"))).toEqual([]);
    expect(linear("A", store([1, 2], 1, "C"), load([3, 4], 1, 1, "C"))).toEqual([]);
    expect(linear("A", store([1, 2], 1, "C"), size([3, 4], 2), read([5, 6], 0, 2, "A\0"))).toEqual([]);
    expect(linear("A", store([1, 2], 1, "C"), size([3, 4], 2), read([5, 6], 0, 2, "AC"))).toHaveLength(1);
    expect(linear("A", size([1, 2], 0), store([3, 4], 8, "C"))[0]).toContain("the page at 0 is inside the file");
    expect(linear("", store([1, 2], 0, "C"))[0]).toContain("no order explains that T: write [1..2] found the page at 0");
    // It may have come before the cut.
    expect(linear("A", size([1, 3], 0), store([2, 4], 8, "C"))).toEqual([]);
  });

  test("stale sectors and pages inside a large write are found", () => {
    const old = filled(16384, 0x41);
    for (const [from, end] of [[512, 1024], [4096, 8192], [16383, 16384]] as const) {
      const seen = filled(16384, 0x42).fill(0x41, from, end);
      expect(linear(old, write([1, 2], 0, filled(16384, 0x42)), read([3, 4], 0, 16384, seen))[0]).toContain(`at byte ${from}`);
    }
  });

  test("an append under way is wherever the file may have ended", () => {
    const append = write([1, NEVER], undefined, "BC");
    expect(linear("A", append, read([2, 3], 0, 9, "ABC"))).toEqual([]);
    expect(linear("A", append, write([2, 3], 1, "X"), read([4, 5], 0, 9, "AXBC"))).toEqual([]);
    expect(linear("A", append, read([2, 3], 0, 9, "AC"))).toHaveLength(1);
  });

  test("other files, failed reads and reads under way prove nothing", () => {
    expect(linear("A", { ...write([1, 2], 0, "B"), file: 13 } as CallRecord, read([3, 4], 0, 1, "A"))).toEqual([]);
    expect(linear("A", read([1, 2], 0, 1, "", { code: "EIO" }), read([3, NEVER], 0, 1, ""))).toEqual([]);
  });

  test("the content at the end is one more read", () => {
    expect(final("AA", "BA", write([1, 2], 0, "B"))).toEqual([]);
    expect(final("AA", "AA", write([1, 2], 0, "B"))).toHaveLength(1); // a lost update
    expect(final("AA", "AAA")).toHaveLength(1);
    expect(final("AA", "A")).toHaveLength(1);
    const writers = [write([1, 4], 0, "B"), write([2, 3], 0, "C")];
    expect(final("A", "B", ...writers)).toEqual([]);
    expect(final("A", "C", ...writers)).toEqual([]);
    expect(final("A", "A", ...writers)).toHaveLength(1);
    // Each might be last, but that one was has been seen.
    expect(final("A", "B", ...writers, read([5, 6], 0, 1, "C"))[0]).toContain("the end: the content");
    // Of a reader that saw nonsense only linearizabilityProblems complains.
    expect(final("A", "A", read([1, 2], 0, 1, "X"))).toEqual([]);
  });

  test("twenty who meet, each with a byte of its own, are too many", () => {
    const many = Array.from({ length: 20 }, (_, index) => write([index, 100 + index], 0, filled(1, index + 1)));
    expect(() => linear("A", ...many, read([200, 201], 0, 1, "X"))).toThrow(TooManyOrdersError);
    expect(linear("A", ...many.map((record, index) => ({ ...record, begin: 2 * index, end: 2 * index + 1 }) as CallRecord), read([200, 201], 0, 1, "\x14"))).toEqual([]);
  });
});

describe("bytes after a power cut", () => {
  test("what was not synced is old or new, each byte for itself", () => {
    for (const found of ["AA", "AB", "BA", "BB"]) expect(crash("AA", found, write([1, 2], 0, "BB"))).toEqual([]);
    expect(crash("AA", "AX", write([1, 2], 0, "BB"))).toHaveLength(1);
  });

  test("what was synced is there", () => {
    expect(crash("A", "B", write([1, 2], 0, "B"), sync([3, 4]))).toEqual([]);
    expect(crash("A", "A", write([1, 2], 0, "B"), sync([3, 4]))[0]).toBe("file 12, after the power cut: byte 0 is 0x41; it may be 0x42 (T: write [1..2]); last synced by T: fsync [3..4]");
    expect(crash("A", "A", write([1, 2], 0, "B"), sync([3, 4], { file: undefined }))).toHaveLength(1);
  });

  test("a sync that met the write, is under way, failed, or was of another range or file proves nothing", () => {
    for (const found of ["A", "B"]) {
      expect(crash("A", found, write([1, 4], 0, "B"), sync([3, 5]))).toEqual([]);
      expect(crash("A", found, write([1, 2], 0, "B"), sync([3, NEVER]))).toEqual([]);
      expect(crash("A", found, write([1, 2], 0, "B"), sync([3, 4], { code: "EIO" }))).toEqual([]);
      expect(crash("A", found, write([1, 2], 0, "B"), sync([3, 4], { code: "EIO" }), sync([5, 6]))).toEqual([]);
      expect(crash("A", found, write([1, 2], 0, "B"), sync([3, 4], { offset: 1 }))).toEqual([]);
      expect(crash("A", found, write([1, 2], 0, "B"), sync([3, 4], { file: 13 }))).toEqual([]);
    }
    expect(crash("A", "A", write([1, 2], 0, "B"), sync([3, 4], { code: "EIO" }), write([5, 6], 0, "C"), sync([7, 8]))).toHaveLength(1);
  });

  test("what was overwritten before a sync never comes back; what came later may be there", () => {
    const history = [write([1, 2], 0, "B"), write([3, 4], 0, "C"), sync([5, 6]), write([7, NEVER], 0, "D")];
    for (const found of ["C", "D"]) expect(crash("A", found, ...history)).toEqual([]);
    for (const found of ["A", "B"]) expect(crash("A", found, ...history)).toHaveLength(1);
    // Of two that met nobody knows which came last.
    for (const found of ["B", "C"]) expect(crash("A", found, write([1, 4], 0, "B"), write([2, 3], 0, "C"), sync([5, 6]))).toEqual([]);
  });

  test("sizes follow data", () => {
    expect(crash("", "", write([1, 2], 0, "BB"))).toEqual([]);
    expect(crash("", "B", write([1, 2], 0, "BB"))).toEqual([]);
    expect(crash("", "\0\0", write([1, 2], 0, "BB"))).toHaveLength(1);
    expect(crash("", "", write([1, 2], 0, "BB"), sync([3, 4]))).toHaveLength(1);
    expect(crash("", "B", write([1, 2], 0, "BB"), sync([3, 4]))).toHaveLength(1);
    // The size came from a later part.
    expect(crash("", "\0\0C", write([1, 2], 0, "BB"), write([3, 4], 2, "C"))).toEqual([]);
    expect(crash("", "\0\0C", write([1, 2], 0, "BB"), sync([3, 4]), write([5, 6], 2, "C"))).toHaveLength(1);
  });

  test("cut, zeroed, made longer", () => {
    for (const found of ["AA", "A"]) expect(crash("AA", found, size([1, 2], 1))).toEqual([]);
    expect(crash("AA", "A\0", size([1, 2], 1))).toEqual([]); // the rest of the block is zeroed first
    expect(crash("AA", "AA", size([1, 2], 1), sync([3, 4]))).toHaveLength(1);
    expect(crash("AA", "A", size([1, 2], 1), size([3, 4], 3), sync([5, 6]))).not.toEqual([]);
    expect(crash("AA", "A\0\0", size([1, 2], 1), size([3, 4], 3), sync([5, 6]))).toEqual([]);
    for (const found of ["AA", "A\0"]) expect(crash("AA", found, zero([1, 2], 1, 1))).toEqual([]);
    expect(crash("AA", "AA", zero([1, 2], 1, 1), sync([3, 4]))).toHaveLength(1);
  });

  test("no other file's bytes, wherever the size is", () => {
    expect(crash("", "BX", write([1, 2], 0, "BB"), write([3, NEVER], 2, "CC"))).toHaveLength(1);
    expect(crash("A", "AX")).toHaveLength(1);
    expect(crash("A", "")).toHaveLength(1);
  });

  test("a fence after stores through MAP_SYNC covers its range", () => {
    const history = [store([1, 2], 0, "BB"), sync([3, 4], { offset: 0, lengthBytes: 1, commits: "nothing" })];
    expect(crash("AA", "BA", ...history)).toEqual([]);
    expect(crash("AA", "AB", ...history)).toHaveLength(1);
  });

  test("each byte of what is found is looked at", () => {
    const found = filled(8192, 0x42);
    found[5001] = 0x41;
    expect(crash(filled(8192, 0x41), found, write([1, 2], 0, filled(8192, 0x42)), sync([3, 4]))[0]).toContain("byte 5001");
  });
});

const file = (id: number, nlink = 1): NameEntry => ({ kind: "file", id, nlink });
const directory = (id: number, nlink = 2): NameEntry => ({ kind: "directory", id, nlink });
const tree = (entries: Record<string, NameEntry>): NameTree => new Map(Object.entries(entries));
type Operation = NameOperation extends infer Each ? Each extends NameOperation ? Omit<Each, "task" | "begin" | "end" | "text"> : never : never;
const call = (when: When, operation: Operation): CallRecord => ({ ...span(when, operation.kind), ...operation }) as CallRecord;
const rename = (from: string, to: string, more: object = {}): Operation => ({ kind: "rename", from, to, ...more });
const create = (path: string, id?: number, more: object = {}): Operation => ({ kind: "create", path, isExclusive: false, ...(id === undefined ? {} : { id }), ...more });

describe("names", () => {
  const before = tree({ "/a": file(1), "/d": directory(2), "/d/x": file(3) });
  const judge = (records: CallRecord[], after?: NameTree): string[] => nameProblems(records, before, after);

  test("calls one after another", () => {
    expect(judge([call([1, 2], rename("/a", "/b")), call([3, 4], { kind: "unlink", path: "/a", code: "ENOENT" })], tree({ "/b": file(1), "/d": directory(2), "/d/x": file(3) }))).toEqual([]);
    expect(judge([call([1, 2], rename("/a", "/b")), call([3, 4], { kind: "unlink", path: "/a" })])[0]).toContain("no order of the calls explains what this one came to: T: unlink [3..4]");
  });

  test("two who meet come in either order, but in one", () => {
    const both = (codeOfUnlink: object, codeOfRename: object): CallRecord[] => [call([1, 4], { kind: "unlink", path: "/a", ...codeOfUnlink }), call([2, 3], rename("/a", "/b", codeOfRename))];
    expect(judge(both({}, { code: "ENOENT" }))).toEqual([]);
    expect(judge(both({ code: "ENOENT" }, {}))).toEqual([]);
    expect(judge(both({}, {}))).not.toEqual([]);
    expect(judge(both({ code: "ENOENT" }, { code: "ENOENT" }))).not.toEqual([]);
  });

  test("a half rename, an unlinked name that is back, a wrong link count", () => {
    const moved = [call([1, 2], rename("/a", "/b"))];
    const rest = { "/d": directory(2), "/d/x": file(3) };
    expect(judge(moved, tree({ ...rest, "/a": file(1), "/b": file(1) }))[0]).toContain("/a is there");
    expect(judge(moved, tree(rest))[0]).toContain("/b is missing");
    expect(judge([call([1, 2], { kind: "unlink", path: "/a" })], before)[0]).toContain("/a is there");
    expect(judge([call([1, 2], { kind: "link", from: "/a", to: "/b" })], tree({ ...rest, "/a": file(1, 2), "/b": file(1, 2) }))).toEqual([]);
    expect(judge([call([1, 2], { kind: "link", from: "/a", to: "/b" })], tree({ ...rest, "/a": file(1), "/b": file(1) }))[0]).toContain("with 1 link, not a");
  });

  test("who creates one name twice opens the same file, unless it is gone in between", () => {
    expect(judge([call([1, 4], create("/n", 7)), call([2, 3], create("/n", 7))])).toEqual([]);
    expect(judge([call([1, 4], create("/n", 7)), call([2, 3], create("/n", 8))])).not.toEqual([]);
    expect(judge([call([1, 6], create("/n", 7)), call([2, 3], create("/n", 8)), call([4, 5], { kind: "unlink", path: "/n" })])).toEqual([]);
    expect(judge([call([1, 4], create("/n", 7, { isExclusive: true })), call([2, 3], create("/n", 7, { isExclusive: true }))])).not.toEqual([]);
  });

  test("a call under way may have happened; one that failed for other reasons has not, or with EIO perhaps", () => {
    const rest = { "/d": directory(2), "/d/x": file(3) };
    for (const name of ["/a", "/b"]) {
      expect(judge([call([1, NEVER], rename("/a", "/b"))], tree({ ...rest, [name]: file(1) }))).toEqual([]);
      expect(judge([call([1, 2], rename("/a", "/b", { code: "EIO" }))], tree({ ...rest, [name]: file(1) }))).toEqual([]);
    }
    expect(judge([call([1, 2], rename("/a", "/b", { code: "ENOSPC" }))], before)).toEqual([]);
    expect(judge([call([1, 2], rename("/a", "/b", { code: "ENOSPC" }))], tree({ ...rest, "/b": file(1) }))).not.toEqual([]);
    // Its number is not known yet.
    expect(judge([call([1, NEVER], create("/n")), call([2, 3], { kind: "lookup", path: "/n", id: 9 })], tree({ ...rest, "/a": file(1), "/n": file(9) }))).toEqual([]);
  });

  test("a lookup finds what is there at some moment", () => {
    expect(judge([call([1, 4], { kind: "unlink", path: "/a" }), call([2, 3], { kind: "lookup", path: "/a", id: 1 })])).toEqual([]);
    expect(judge([call([1, 2], { kind: "unlink", path: "/a" }), call([3, 4], { kind: "lookup", path: "/a", id: 1 })])).not.toEqual([]);
  });

  test("a call works in the directory that it found, whatever that is called by then", () => {
    // Found /d, which then was moved, and only there was the name free for a moment.
    const records = [
      call([1, 20], create("/d/n", 9, { isExclusive: true })), call([2, 3], rename("/d", "/e")), call([4, 5], create("/e/n", 8, { isExclusive: true })), call([6, 7], { kind: "unlink", path: "/e/n" }),
    ];
    expect(judge(records, tree({ "/a": file(1), "/e": directory(2), "/e/x": file(3), "/e/n": file(9) }))).toEqual([]);
    expect(judge(records, tree({ "/a": file(1), "/e": directory(2), "/e/x": file(3), "/d": directory(5), "/d/n": file(9) }))).not.toEqual([]);
  });
});

describe("names after a power cut", () => {
  const before = tree({ "/a": file(1), "/b": file(2) });
  const judge = (found: NameTree, ...records: CallRecord[]): string[] => crashNameProblems(records, before, found);
  const renamed = tree({ "/b": file(1) });

  test("a call is whole or absent", () => {
    const replace = call([1, 2], rename("/a", "/b"));
    expect(judge(before, replace)).toEqual([]);
    expect(judge(renamed, replace)).toEqual([]);
    for (const half of [tree({ "/a": file(1) }), tree({ "/b": file(2) }), tree({ "/a": file(1), "/b": file(1, 2) }), tree({})]) expect(judge(half, replace)).toHaveLength(2);
  });

  test("calls come back in their order", () => {
    const records = [call([1, 2], rename("/a", "/c")), call([3, 4], rename("/b", "/a"))];
    for (const found of [before, tree({ "/c": file(1), "/b": file(2) }), tree({ "/c": file(1), "/a": file(2) })]) expect(judge(found, ...records)).toEqual([]);
    const independent = [call([1, 2], { kind: "unlink", path: "/a" }), call([3, 4], { kind: "unlink", path: "/b" })];
    expect(judge(tree({ "/a": file(1) }), ...independent)).not.toEqual([]);
    // Those that met have no order.
    expect(judge(tree({ "/a": file(1) }), call([1, 4], { kind: "unlink", path: "/a" }), call([2, 3], { kind: "unlink", path: "/b" }))).toEqual([]);
  });

  test("what a sync made durable is there", () => {
    const replace = call([1, 2], rename("/a", "/b"));
    expect(judge(before, replace, sync([3, 4], { file: 1 }))[0]).toMatch(/^something is lost that a sync had made durable: .*\/a is there/);
    expect(judge(before, replace, sync([3, 4], { file: undefined }))).not.toEqual([]);
    expect(judge(renamed, replace, sync([3, 4], { file: 1 }))).toEqual([]);
    // Nothing was to be committed for these, or not for certain.
    for (const more of [{ file: 5 }, { file: 1, commits: "nothing" }, { file: 1, commits: "data" }, { file: 1, code: "EIO" }]) expect(judge(before, replace, sync([3, 4], more))).toEqual([]);
    expect(judge(before, replace, sync([1.5, 4], { file: 1 }))).toEqual([]);
    expect(judge(before, replace, sync([3, NEVER], { file: 1 }))).toEqual([]);
  });

  test("a sync of one file takes along what came before its own change", () => {
    const records = [call([1, 2], { kind: "unlink", path: "/a" }), call([3, 4], create("/n", 9)), sync([5, 6], { file: 9 })];
    expect(judge(tree({ "/b": file(2), "/n": file(9) }), ...records)).toEqual([]);
    expect(judge(tree({ "/a": file(1), "/b": file(2), "/n": file(9) }), ...records)).not.toEqual([]);
    const cut = [call([1, 2], { kind: "unlink", path: "/a" }), { ...size([3, 4], 0), file: 2 } as CallRecord, sync([5, 6], { file: 2, commits: "data" })];
    expect(judge(before, ...cut)).not.toEqual([]);
    const longer = [call([1, 2], { kind: "unlink", path: "/a" }), { ...write([3, 4], 0, "BB"), file: 2 } as CallRecord, sync([5, 6], { file: 2, commits: "data" })];
    expect(crashNameProblems(longer, before, before, () => ascii("A"))).not.toEqual([]);
    expect(crashNameProblems(longer, before, before, () => ascii("AA"))).toEqual([]);
  });

  test("what is under way may be there", () => {
    expect(judge(tree({ "/a": file(1), "/b": file(2), "/n": file(77) }), call([1, NEVER], create("/n")))).toEqual([]);
    expect(judge(before, call([1, NEVER], create("/n")))).toEqual([]);
  });
});

/** All orders of a history that real time allows, calls under way and failed ones with and without. */
function everyOrder(records: readonly CallRecord[], visit: (order: readonly CallRecord[]) => void): void {
  const go = (left: readonly CallRecord[], order: readonly CallRecord[]): void => {
    if (left.every(({ end }) => end === NEVER)) visit(order);
    for (const record of left) {
      if (left.some(({ end }) => end < record.begin)) continue;
      const rest = left.filter((other) => other !== record);
      go(rest, [...order, record]);
      if (record.code === "EIO") go(rest, order);
    }
  };
  go(records, []);
}

const LENGTH = 7;
/** The byte `at` of a file after an effect, below 0 behind the end: from a whole file's point of view. */
function byteAfter(state: number, at: number, effect: DataEffect): number | undefined {
  if (effect.kind === "size") return at >= effect.sizeBytes ? (state < 0 ? state : -1) : Math.max(0, state);
  if (effect.kind === "zero") {
    const isWithin = at >= effect.offset && at < effect.offset + effect.lengthBytes;
    if (state < 0) return effect.keepsSize || at >= effect.offset + effect.lengthBytes ? state : 0;
    return isWithin ? 0 : state;
  }
  const value = at < effect.offset! ? undefined : effect.bytes[at - effect.offset!];
  if (!effect.isStore) return value ?? (at < effect.offset! ? Math.max(0, state) : state);
  if (at === 0 && state < 0) return undefined;
  return value === undefined ? state : state < 0 ? -1 - value : value;
}

function fitsByte(state: number, at: number, record: CallRecord): boolean {
  if (record.kind !== "read") return true;
  const seen = record.bytes[at - record.offset];
  if (record.isLoad && at === 0 && record.askedBytes > 0 && (record.bytes.length > 0) !== (state >= 0)) return false;
  if (at < record.offset || at >= record.offset + record.askedBytes) return true;
  if (state >= 0) return seen === state;
  return seen === undefined || (record.isLoad && (seen === 0 || seen === -1 - state));
}

class RandomHistory {
  readonly initial: Uint8Array;
  readonly records: CallRecord[] = [];
  private readonly state: { bytes: number[] };

  constructor(private readonly prng: Prng, count: number) {
    this.initial = filled(prng.below(LENGTH), 0x41);
    this.state = { bytes: [...this.initial] };
    const spans: When[] = [];
    let moment = 0;
    const open: number[] = [];
    const begins: number[] = [];
    const ends: number[] = [];
    // Up to three at a time.
    while (ends.filter((end) => end !== undefined).length < count) {
      if (begins.length < count && open.length < 3 && (open.length === 0 || prng.below(2) === 0)) {
        open.push(begins.length);
        begins.push(++moment);
      } else ends[open.splice(prng.below(open.length), 1)[0]!] = ++moment;
    }
    for (let index = 0; index < count; index++) spans.push([begins[index]!, prng.below(12) === 0 ? NEVER : ends[index]!]);
    for (const [index, when] of spans.entries()) this.records.push(this.pick(when, index));
  }

  /** Reads see what a run in the order of beginning gives, sometimes with a byte changed. */
  private pick(when: When, index: number): CallRecord {
    const { prng, state } = this;
    const offset = prng.below(LENGTH - 1);
    const count = prng.below(3) + 1;
    const kind = prng.below(8);
    const failure = when[1] !== NEVER && prng.below(10) === 0 ? { code: "EIO" } : {};
    if (kind >= 4) {
      const isLoad = kind === 7;
      let bytes = state.bytes.slice(offset, offset + count);
      if (isLoad && state.bytes.length > 0) while (bytes.length < count) bytes.push(0);
      if (isLoad && state.bytes.length === 0) bytes = [];
      if (prng.below(4) === 0 && bytes.length > 0) bytes[prng.below(bytes.length)] = prng.below(2) === 0 ? 0 : 0x41 + prng.below(index + 1);
      // One value per read, so that the judge's sample is all there is.
      return read(when, offset, count, Uint8Array.from(bytes), { isLoad });
    }
    const record = kind <= 1 ? write(when, offset, filled(count, 0x42 + index), { ...failure, isStore: prng.below(3) === 0 }) : kind === 2 ? size(when, offset, failure) : zero(when, offset, count, prng.below(2) === 0);
    for (let at = 0, next: number[] = []; at <= LENGTH + 3; at++) {
      const value = byteAfter(at < state.bytes.length ? state.bytes[at]! : -1, at, record as DataEffect) ?? -1;
      if (value >= 0) next[at] = value;
      if (at === LENGTH + 3) {
        next = Array.from(next, (one) => one ?? 0);
        state.bytes = next;
      }
    }
    return record;
  }
}

test("bytes: the same verdicts as by trying every order", () => {
  const prng = new Prng(6);
  const counts = { good: 0, bad: 0 };
  for (let round = 0; round < RANDOM_COUNT; round++) {
    const { records, initial } = new RandomHistory(prng, 3 + prng.below(4));
    const judged = records.filter((record) => !(record.kind === "read" && record.end === NEVER));
    let isGood = true;
    for (let at = 0; at < LENGTH + 4 && isGood; at++) {
      let isExplained = false;
      everyOrder(judged, (order) => {
        let state: number | undefined = initial[at] ?? -1;
        for (const record of order) {
          if (state === undefined || !fitsByte(state, at, record)) return;
          // A store that failed or is under way proves nothing of its page; where it cannot be, it was not.
          if (record.kind !== "read") state = byteAfter(state, at, record as DataEffect) ?? (record.code !== undefined || record.end === NEVER ? state : undefined);
        }
        if (state !== undefined) isExplained = true;
      });
      isGood = isExplained;
    }
    const problems = linearizabilityProblems(records, () => initial);
    expect(problems.length === 0, JSON.stringify({ round, initial: [...initial], records, problems })).toBe(isGood);
    counts[isGood ? "good" : "bad"]++;
  }
  expect(Math.min(counts.good, counts.bad)).toBeGreaterThan(RANDOM_COUNT / 10);
});

test("bytes after a power cut: the same verdicts as by trying every order, cut off everywhere", () => {
  const prng = new Prng(7);
  const counts = { good: 0, bad: 0 };
  for (let round = 0; round < RANDOM_COUNT; round++) {
    const history = new RandomHistory(prng, 3 + prng.below(3));
    const effects = history.records.filter((record) => isDataRecord(record) && record.kind !== "read");
    const synced = prng.below(16) - 2;
    const allowed: Set<number>[] = Array.from({ length: LENGTH + 4 }, () => new Set());
    everyOrder(effects, (order) => {
      for (let count = 0; count <= order.length; count++) {
        if (effects.some((effect) => effect.end < synced && effect.code === undefined && !order.slice(0, count).includes(effect))) continue;
        for (let at = 0; at < LENGTH + 4; at++) {
          let state = history.initial[at] ?? -1;
          for (const effect of order.slice(0, count)) state = Math.max(-1, byteAfter(state, at, effect as DataEffect) ?? state);
          allowed[at]!.add(state);
        }
      }
    });
    // Something of each byte's, up to some length, sometimes spoiled. Holes are left to the tests above.
    const found: number[] = [];
    for (let at = 0; at < LENGTH + 4; at++) {
      const choices = [...allowed[at]!].filter((value) => value >= 0);
      if (choices.length === 0 || (allowed[at]!.has(-1) && prng.below(3) === 0)) break;
      found.push(prng.below(12) === 0 ? 0x42 + prng.below(6) : prng.pick(choices));
    }
    if (prng.below(6) === 0) found.pop();
    const isGood = allowed.every((values, at) => values.has(found[at] ?? -1));
    const syncRecord = sync([synced, synced + 0.5]);
    const problems = crashContentProblems([...history.records, ...(synced > 0 ? [syncRecord] : [])], () => history.initial, new Map([[FILE, Uint8Array.from(found)]]));
    if (synced <= 0 && effects.some(({ end }) => end < synced)) continue;
    expect(problems.length === 0, JSON.stringify({ round, initial: [...history.initial], found, synced, records: history.records, problems })).toBe(isGood);
    counts[isGood ? "good" : "bad"]++;
  }
  expect(Math.min(counts.good, counts.bad)).toBeGreaterThan(RANDOM_COUNT / 10);
});

const PATHS = ["/a", "/b", "/d", "/d/a", "/e", "/e/a", "/d/d"];

function randomOperation(prng: Prng): Operation {
  const [path, other] = [prng.pick(PATHS), prng.pick(PATHS)];
  switch (prng.below(9)) {
    case 0: return create(path, undefined, { isExclusive: prng.below(2) === 0 });
    case 1: return { kind: "mkdir", path };
    case 2: return { kind: "unlink", path };
    case 3: return { kind: "rmdir", path };
    case 4: return { kind: "link", from: path, to: other };
    case 5: return { kind: "lookup", path };
    default: return rename(path, other, { isExchange: prng.below(5) === 0, isNoReplace: prng.below(5) === 0 });
  }
}

test("names: the same verdicts as by trying every order", () => {
  const prng = new Prng(8);
  const initial = tree({ "/a": file(1), "/d": directory(2), "/d/a": file(3) });
  const counts = { good: 0, bad: 0 };
  for (let round = 0; round < RANDOM_COUNT / 3; round++) {
    const count = 3 + prng.below(3);
    const spans = new RandomHistory(prng, count).records.map(({ begin, end }): When => [begin, end]);
    let now: NameTree = initial;
    const records = spans.map((when, index) => {
      const record = call(when, randomOperation(prng)) as NameOperation;
      if ("id" in record) delete record.id;
      const outcome = applyName(now, record, 100 + index);
      if ("code" in outcome) record.code = outcome.code;
      else {
        now = outcome.tree;
        if (record.kind === "create" || record.kind === "mkdir") record.id = now.get(record.path)!.id;
      }
      if (prng.below(6) === 0) {
        if (record.code === undefined) record.code = "ENOENT";
        else delete record.code;
      }
      if (record.end === NEVER) delete record.code;
      return record;
    });
    let canFinish = false;
    let canBeFound = false;
    everyOrder(records, (order) => {
      let at: NameTree | undefined = initial;
      if (treeDifferences(at, now).length === 0) canBeFound = true;
      for (const record of order as NameOperation[]) {
        const outcome = applyName(at, record, -1 - records.indexOf(record));
        if ("code" in outcome ? outcome.code !== record.code && record.end !== NEVER : record.code !== undefined) return;
        if (!("code" in outcome)) {
          const id = record.kind === "create" || record.kind === "mkdir" ? record.id : undefined;
          const isDouble = id !== undefined && (outcome.tree.get((record as { path: string }).path)!.id !== id || (outcome.tree !== at && [...at.values()].some((entry) => entry.id === id)));
          if (isDouble) return;
          at = outcome.tree;
          if (treeDifferences(at, now).length === 0) canBeFound = true;
        }
      }
      if (treeDifferences(at, now).length === 0) canFinish = true;
    });
    const problems = nameProblems(records, initial, now);
    // With walks taken apart more is allowed than the simple judge knows; nothing less.
    if (canFinish) expect(problems, JSON.stringify({ round, records })).toEqual([]);
    if (canBeFound) expect(crashNameProblems(records, initial, now), JSON.stringify({ round, records })).toEqual([]);
    else if (problems.length === 0) expect(canFinish).toBe(true);
    counts[problems.length === 0 ? "good" : "bad"]++;
  }
  expect(Math.min(counts.good, counts.bad)).toBeGreaterThan(RANDOM_COUNT / 60);
});

test("names: the engine's codes and trees, one call after another", () => {
  const world = new LabWorld();
  world.mount({});
  const { process: caller } = world;
  const prng = new Prng(9);
  const inoOf = (path: string): { id: number; nlink: number } | undefined => {
    try {
      const { stx_ino: id, stx_nlink: nlink } = world.run(caller.lstat(path));
      return { id, nlink };
    } catch (error) {
      if (error instanceof FsError) return undefined;
      throw error;
    }
  };
  const perform = (operation: NameOperation): void => {
    switch (operation.kind) {
      case "create": return world.run(caller.close(world.run(caller.open(operation.path, O_RDWR | O_CREAT | (operation.isExclusive ? O_EXCL : 0)))));
      case "mkdir": return world.run(caller.mkdir(operation.path));
      case "symlink": return world.run(caller.symlink("target", operation.path));
      case "unlink": return world.run(caller.unlink(operation.path));
      case "rmdir": return world.run(caller.rmdir(operation.path));
      case "link": return world.run(caller.link(operation.from, operation.to));
      case "lookup": return void world.run(caller.lstat(operation.path));
      case "rename": return world.run(caller.renameat2(operation.from, operation.to, (operation.isExchange === true ? RENAME_EXCHANGE : 0) | (operation.isNoReplace === true ? RENAME_NOREPLACE : 0)));
    }
  };
  let model: NameTree = tree({ "/": { kind: "directory", id: 2, nlink: inoOf("/")!.nlink } });
  const codes = new Set<string>();
  for (let step = 0; step < 800; step++) {
    const operation = call([step, step], randomOperation(prng)) as NameOperation;
    if ("id" in operation) delete operation.id;
    let code: string | undefined;
    try {
      perform(operation);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      code = error.code;
    }
    const made = "path" in operation && code === undefined ? inoOf(operation.path)?.id : undefined;
    const outcome = applyName(model, operation, made ?? -1);
    expect("code" in outcome ? outcome.code : undefined, `step ${step}: ${JSON.stringify(operation)}`).toBe(code);
    if (code !== undefined) codes.add(code);
    if ("tree" in outcome) model = outcome.tree;
    for (const path of [...PATHS, "/"]) {
      const entry = model.get(path);
      expect(inoOf(path), `step ${step}: ${path} after ${JSON.stringify(operation)}`).toEqual(entry === undefined ? undefined : { id: entry.id, nlink: entry.nlink });
    }
  }
  world.unmount();
  expect([...codes].sort()).toEqual(["EEXIST", "EINVAL", "EISDIR", "ENOENT", "ENOTDIR", "ENOTEMPTY", "EPERM"]);
});

test("the search looks ahead no further than it can", () => {
  const step = (begin: number, end: number): { begin: number; end: number; isWanted: boolean; mayBeAbsent: boolean; isSight: boolean } => ({ begin, end, isWanted: true, mayBeAbsent: false, isSight: false });
  const long = [step(0, 1000), ...Array.from({ length: 40 }, (_, index) => step(index * 2 + 1, index * 2 + 2))];
  expect(() => searchOrders(long, 0, (index, state) => (index === 0 ? undefined : state + 1), () => true)).toThrow(TooManyOrdersError);
  expect(searchOrders(long, 0, (_, state) => state + 1, (state) => state === 41)).toBe(true);
});

test("a typical history is fine with all judges, and what each takes is printed", () => {
  const records: CallRecord[] = [];
  const content = filled(16384, 0x41);
  for (let index = 0, moment = 0; index < 10; index++) {
    const offset = (index % 3) * 4096;
    const [begin] = [moment];
    records.push(write([begin, begin + 2], offset, filled(4096, 0x42 + index)), read([begin + 1, begin + 3], offset, 4096, filled(4096, 0x42 + index)), call([begin + 4, begin + 6], rename(index % 2 === 0 ? "/a" : "/b", index % 2 === 0 ? "/b" : "/a")));
    content.fill(0x42 + index, offset, offset + 4096);
    moment += 7;
  }
  records.push(sync([80, 81]));
  const initial = (): Uint8Array => filled(16384, 0x41);
  const names = tree({ "/a": file(1), "/d": directory(2), "/d/x": file(3) });
  const judges = {
    linearizability: () => linearizabilityProblems(records, initial), final: () => finalContentProblems(records, initial, new Map([[FILE, content]])),
    crash: () => crashContentProblems(records, initial, new Map([[FILE, content]])), names: () => nameProblems(records, names, names), "crash names": () => crashNameProblems(records, names, names, initial),
  };
  const times = Object.entries(judges).map(([name, judge]) => {
    for (let index = 0; index < 100; index++) expect(judge()).toEqual([]);
    const start = performance.now();
    for (let index = 0; index < 200; index++) judge();
    return `${name} ${Math.round(((performance.now() - start) / 200) * 1000)} µs`;
  });
  console.log(`judges, ${records.length} records: ${times.join(", ")}`);
});
