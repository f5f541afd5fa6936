/** The language of on-disk structures: what it refuses when a table is wrong, what its fields read and write; and the size of every table in use. */
import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { array, be16, be32, be64, bytes, hole, i8, layout, le16, le16s, le32, le32s, le64, u8, viewOf, type AnyLayout, type Field } from "../../src/format/layout.js";

describe("a wrong table is refused when it is made", () => {
  test.each<[string, () => unknown, string]>([
    ["fields that overlap", () => layout("thing", 8, { a: le32(0), b: le16(2), c: le32(4) }), "thing.b at 2 overlaps the field before it, which ends at 4"],
    ["two fields in one place", () => layout("thing", 4, { a: le32(0), b: le32(0) }), "thing.b at 0 overlaps"],
    ["a gap", () => layout("thing", 8, { a: le16(0), b: le32(4) }), "thing: bytes 2..3 before b belong to no field"],
    ["a gap at the beginning", () => layout("thing", 8, { a: le32(4) }), "thing: bytes 0..3 before a belong to no field"],
    ["a size too large", () => layout("thing", 8, { a: le32(0) }), "thing is declared with 8 bytes, its fields have 4"],
    ["a size too small", () => layout("thing", 2, { a: le32(0) }), "thing is declared with 2 bytes, its fields have 4"],
    ["an array that overlaps", () => layout("thing", 8, { a: array(le16, 0, 4), b: u8(7) }), "thing.b at 7 overlaps"],
    ["no field", () => layout("thing", 1, {}), "its fields have 0"],
  ])("%s", (_name, make, message) => {
    expect(make).toThrow(message);
  });

  test("fields may stand in any order, and holes are declared", () => {
    const thing = layout("thing", 12, { c: be32(8), gap: hole(2, 2), a: le16(0), b: bytes(4, 4) });
    expect(thing.$.fields.map(([name]) => name)).toEqual(["a", "gap", "b", "c"]);
    expect([thing.$.name, thing.$.size]).toEqual(["thing", 12]);
  });
});

describe("fields", () => {
  const view = viewOf(new Uint8Array(24));
  const BASE = 3; // a structure may stand anywhere
  test.each<[string, (at: number) => Field, number, readonly number[], number[]]>([
    ["u8", u8, 1, [0, 1, 255], [0xff]],
    ["i8", i8, 1, [-128, -1, 127], [0x7f]],
    ["le16", le16, 2, [0, 0x1234, 0xffff], [0xff, 0xff]],
    ["le16s", le16s, 2, [-32768, -1, 32767], [0xff, 0x7f]],
    ["le32", le32, 4, [0, 0x12345678, 0xffff_ffff], [0xff, 0xff, 0xff, 0xff]],
    ["le32s", le32s, 4, [-(2 ** 31), -1, 2 ** 31 - 1], [0xff, 0xff, 0xff, 0x7f]],
    ["le64", le64, 8, [0, 2 ** 32 - 1, 2 ** 32, 2 ** 48 + 5, 0x10203_0405_0607], [0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, 0]],
    ["be16", be16, 2, [0, 0xffff, 0x1234], [0x12, 0x34]],
    ["be32", be32, 4, [0, 0xffff_ffff, 0x12345678], [0x12, 0x34, 0x56, 0x78]],
    ["be64", be64, 8, [0, 2 ** 48 + 5, 0x10203_0405_0607], [0, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07]],
  ])("%s", (type, kind, size, values, lastAsBytes) => {
    const field = kind(5);
    expect([field.type, field.at, field.size]).toEqual([type, 5, size]);
    for (const value of values) {
      new Uint8Array(view.buffer).fill(0xaa);
      field.set(view, BASE, value);
      expect(field.get(view, BASE)).toBe(value);
      expect([view.getUint8(BASE + 4), view.getUint8(BASE + 5 + size)]).toEqual([0xaa, 0xaa]);
    }
    expect([...new Uint8Array(view.buffer, BASE + 5, size)]).toEqual(lastAsBytes);
  });

  test("arrays and raw bytes are windows", () => {
    const numbers = array(be16, 2, 3);
    expect([numbers.size, numbers.count, numbers.type]).toEqual([6, 3, "be16"]);
    numbers.set(view, BASE, 2, 0x0102);
    expect([view.getUint8(BASE + 6), view.getUint8(BASE + 7), numbers.get(view, BASE, 2)]).toEqual([1, 2, 0x0102]);
    const raw = bytes(8, 4);
    raw.set(view, BASE, Uint8Array.of(9, 8, 7, 6));
    const window = raw.get(view, BASE);
    view.setUint8(BASE + 8, 1);
    expect([...window]).toEqual([1, 8, 7, 6]);
  });

  test("a number above 2^53 is rounded, and not mistaken for a small one", () => {
    le32(0).set(view, 4, 0xffff_ffff);
    le32(0).set(view, 0, 1);
    expect(le64(0).get(view, 0)).toBeGreaterThan(2 ** 63);
  });
});

test("every table of src/format has a name of its own, and the size of the kernel's structure", async () => {
  const files = readdirSync("src/format").filter((file) => file.endsWith(".ts")).map((file) => file.slice(0, -3));
  const modules = await Promise.all(files.map(async (name) => await import(`../../src/format/${name}.ts`) as Record<string, unknown>));
  const tables = modules.flatMap((module) => Object.values(module)).filter((value): value is AnyLayout => typeof value === "object" && value !== null && "$" in value);
  const sizes = Object.fromEntries([...new Set(tables)].map(({ $ }) => [$.name, $.size]));
  expect(sizes).toMatchObject({
    ext4_super_block: 1024, ext4_group_desc: 64, ext4_inode: 160, ext4_extent_header: 12, ext4_extent: 12, ext4_extent_idx: 12, ext4_dir_entry_2: 8, ext4_dir_entry_tail: 12,
    ext4_xattr_header: 32, ext4_xattr_ibody_header: 4, ext4_xattr_entry: 16, journal_header_s: 12, journal_superblock_s: 1024, journal_block_tag3_s: 16, commit_header: 60,
    jbd2_journal_revoke_header_s: 16, ext4_fc_tl: 4, ext4_fc_head: 8, gpt_header: 92, gpt_entry: 128, mbr_partition: 16,
  });
  expect(new Set(tables.map(({ $ }) => $.name)).size).toBe(new Set(tables).size);
});
