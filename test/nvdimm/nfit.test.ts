/** The NVDIMM firmware interface table: QEMU's own, one of every structure by an independent script, what is written comes back, and no input makes the reader hang or crash. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { CorruptionError } from "../../src/format/corruption.js";
import { NFIT_RANGE_TYPES } from "../../src/format/nfit.js";
import { formatGuid } from "../../src/format/partition.js";
import { danglingReferences, encodeNfit, guidBytes, nfitOfRegion, parseNfit, rangeTypeOf, type NfitStructure } from "../../src/nvdimm/nfit.js";
import { hasCommand, notTestedHere, run, temporaryFolder } from "../support/host.js";
import { Prng } from "../../src/lib/prng.js";

/** /sys/firmware/acpi/tables/NFIT of QEMU 7.2: -machine q35,nvdimm=on -m 512M,slots=2,maxmem=2G, one nvdimm of 18 MiB. */
const QEMU = Uint8Array.from(Buffer.from(`
  4e464954e000000001e2424f4348532042585043202020200100000042585043
  01000000000000000000380002000300000000000000000079d3f066f3b47440
  ac430d3318b78cdb000000000100000000002001000000000880000000000000
  0100300001000000000000000200030000002001000000000000000000000000
  0000000000000000000001000000000004005000030086800100010000000000
  00000000000000005634120001030000
  000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000`.replace(/\s/g, ""), "hex"));

const canRunPython = hasCommand("python3");
if (!canRunPython) notTestedHere("an NFIT by an independent script", "needs python3");
const python = (): Uint8Array => {
  const path = join(temporaryFolder(), "NFIT");
  run("python3", ["test/support/nfit-table.py", path]);
  return new Uint8Array(readFileSync(path));
};
const ours = encodeNfit({ ...nfitOfRegion({ sizeBytes: 2 ** 34, hasEadr: true, flushAddresses: [0xf1000000, 2 ** 40] }) });
const TABLES: readonly (readonly [string, () => Uint8Array])[] = [["QEMU's", () => QEMU], ["ours", () => ours], ...(canRunPython ? [["one of each", python] as const] : [])];
const only = <K extends NfitStructure["kind"]>(structures: readonly NfitStructure[], kind: K): Extract<NfitStructure, { kind: K }>[] => structures.filter((one) => one.kind === kind) as Extract<NfitStructure, { kind: K }>[];

test("QEMU's table", () => {
  expect(QEMU.length).toBe(224);
  const { header, structures } = parseNfit(QEMU);
  expect(Buffer.from(header.oem_table_id).toString()).toBe("BXPC    ");
  expect(structures.map(({ kind }) => kind)).toEqual(["range", "map", "control"]);
  const [range] = only(structures, "range");
  expect(range!.fields).toMatchObject({ range_index: 2, flags: 3, proximity_domain: 0, address: 0x1_0000_0000, range_length: 18 * 2 ** 20, memory_mapping_lo: 0x8008 });
  expect(rangeTypeOf(range!.fields.range_guid)).toBe("persistent memory");
  expect(only(structures, "map")[0]!.fields).toMatchObject({ device_handle: 1, range_index: 2, region_index: 3, region_size: 18 * 2 ** 20, interleave_ways: 1 });
  expect(only(structures, "control")[0]).toMatchObject({ fields: { region_index: 3, vendor_id: 0x8086, serial_number: 0x123456, code: 0x301, windows: 0 }, window: { window_size: 0 } });
  expect(danglingReferences({ header, structures })).toEqual([]);
});

test.runIf(canRunPython)("one structure of each kind", () => {
  const nfit = parseNfit(python());
  const { structures } = nfit;
  expect(structures.map(({ kind }) => kind)).toEqual(["range", "range", "map", "interleave", "smbios", "control", "control", "data", "flush", "capabilities", "unknown"]);
  const [range, control] = only(structures, "range");
  expect(range).toMatchObject({ fields: { proximity_domain: 3, address: 0x240000000, memory_mapping_lo: 0x8008, memory_mapping_hi: 0x80000000 }, cookie: Uint8Array.of(0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11) });
  expect(rangeTypeOf(control!.fields.range_guid)).toBe("control region");
  expect(only(structures, "map")[0]!.fields).toMatchObject({ device_handle: 0x20, physical_id: 0x1001, address: 0x10000, interleave_index: 5, interleave_ways: 2, flags: 0b10100 });
  expect(only(structures, "interleave")[0]).toMatchObject({ fields: { line_count: 4, line_size: 4096 }, lineOffsets: [0, 2, 4, 6] });
  expect(Buffer.from(only(structures, "smbios")[0]!.data).toString()).toBe("SMBIOS data.");
  expect(only(structures, "control")[0]).toMatchObject({ fields: { serial_number: 0xcafe, windows: 2, manufacturing_date: 0x1723 }, window: { window_size: 0x2000, command_size: 8, status_offset: 8, status_size: 4, flags: 1 } });
  expect(only(structures, "control")[1]!.window).toBe(undefined);
  expect(only(structures, "data")[0]!.fields).toMatchObject({ region_index: 7, windows: 2, offset: 0x1000, size: 0x2000, capacity: 0x80000000 });
  expect(only(structures, "flush")[0]!.addresses).toEqual([0xf1000000, 0xf1000040]);
  expect(only(structures, "capabilities")[0]!.fields).toMatchObject({ highest_capability: 2, capabilities: 3 });
  expect(only(structures, "unknown")[0]).toMatchObject({ type: 0x8001 });
  expect(danglingReferences(nfit)).toEqual([]);
  const range9 = structures.map((one) => (one.kind === "map" ? { ...one, fields: { ...one.fields, range_index: 9, interleave_index: 6 } } : one));
  expect(danglingReferences({ header: nfit.header, structures: range9 })).toEqual(["device 0x20: range 9 does not exist", "device 0x20: interleave 6 does not exist"]);
});

test("a machine with one region", () => {
  const { structures } = parseNfit(ours);
  expect(structures.map(({ kind }) => kind)).toEqual(["range", "map", "control", "capabilities", "flush"]);
  expect(only(structures, "flush")[0]!.addresses).toEqual([0xf1000000, 2 ** 40]);
  expect(only(structures, "capabilities")[0]!.fields.capabilities).toBe(3);
});

test("every range type's GUID, both ways", () => {
  for (const [guid, name] of Object.entries(NFIT_RANGE_TYPES)) expect([formatGuid(guidBytes(guid)), rangeTypeOf(guidBytes(guid))]).toEqual([guid, name]);
});

describe.each(TABLES)("%s", (_name, make) => {
  const table = make();

  test("comes back byte for byte", () => {
    expect(Buffer.compare(encodeNfit(parseNfit(table)), table)).toBe(0);
    expect(parseNfit(Buffer.concat([table, Buffer.alloc(100, 0xff)])).structures).toHaveLength(parseNfit(table).structures.length);
  });

  /** An error that says where, or a table that comes back; with a checksum that is right, or not. */
  function feed(bytes: Uint8Array): string {
    try {
      const nfit = parseNfit(bytes);
      const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true);
      if (Buffer.compare(encodeNfit(nfit), bytes.subarray(0, length)) !== 0) throw new Error("the table does not come back");
      danglingReferences(nfit);
      return "parsed";
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      if (error.where.field === undefined) throw new Error("the message does not say where", { cause: error });
      return error.kind;
    }
  }
  function sealed(bytes: Uint8Array): Uint8Array {
    bytes[9] = 0;
    bytes[9] = -bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0) & 0xff;
    return bytes;
  }

  test("each byte changed: the checksum says so; with a right checksum, an error or a table", () => {
    const seen = new Set<string>();
    for (let at = 0; at < table.length; at++) {
      for (const value of [0, 0x80, 0xff, table[at]! ^ 1]) {
        if (value === table[at]) continue;
        const spoiled = table.slice();
        spoiled[at] = value;
        if (feed(spoiled) === "parsed") throw new Error(`byte ${at} may be ${value}`);
        if (at !== 9) seen.add(feed(sealed(spoiled)));
      }
    }
    // The checksum is wrong again where the length became smaller.
    expect([...seen].filter((kind) => kind !== "nfit-checksum").sort()).toEqual(["nfit", "parsed"]);
  });

  test("cut off anywhere, and with random bytes in many places", () => {
    for (let length = 0; length < table.length; length++) expect(feed(table.slice(0, length))).toBe("nfit");
    const prng = new Prng(table.length);
    for (let count = 0; count < 2000; count++) {
      const spoiled = table.slice();
      for (let spoils = 1 + prng.below(8); spoils > 0; spoils--) spoiled[40 + prng.below(table.length - 40)] = prng.below(256);
      feed(sealed(spoiled));
    }
  });
});

test("messages say what and where", () => {
  const message = (change: (table: Uint8Array) => void): string => {
    const table = QEMU.slice();
    change(table);
    table[9] = 0;
    table[9] = -table.reduce((sum, byte) => (sum + byte) & 0xff, 0) & 0xff;
    try {
      parseNfit(table);
      return "";
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect(message((table) => { table[42] = 3; })).toBe("EUCLEAN: the NVDIMM firmware interface table is damaged (offset 40, field length, found 3, expected 4 .. 184)");
  expect(message((table) => { table[42] = 0x20; })).toContain("offset 40, field length, found 32, expected at least 56");
  expect(message((table) => { table[79] = 0xff; })).toContain("offset 40, field address, found");
  expect(message((table) => { table[0] = 0x58; })).toContain('field signature, found "XFIT", expected NFIT');
});
