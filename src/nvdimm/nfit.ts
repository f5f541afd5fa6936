/**
 * The NVDIMM firmware interface table, read and written. A structure is an object of its fields under ACPICA's names; what has no fixed size stands beside them. What is read is written back
 * byte for byte, structures of unknown types included. Source: ACPI 6.5, 5.2.25.
 */
import { CorruptionError } from "../format/corruption.js";
import type { BytesField, Field, Layout, AnyField } from "../format/layout.js";
import { viewOf } from "../format/layout.js";
import {
  acpi_nfit_capabilities, acpi_nfit_control_region, acpi_nfit_control_windows, acpi_nfit_data_region, acpi_nfit_flush_address, acpi_nfit_header, acpi_nfit_interleave, acpi_nfit_memory_map,
  acpi_nfit_smbios, acpi_nfit_system_address, acpi_table_nfit, EFI_MEMORY_NV, EFI_MEMORY_WB, NFIT_CAPABILITY_CACHE_FLUSH, NFIT_CAPABILITY_MEM_FLUSH, NFIT_LOCATION_COOKIE_VALID, NFIT_RANGE_TYPES,
  NFIT_REVISION, NFIT_SIGNATURE, NFIT_TYPE_CAPABILITIES, NFIT_TYPE_CONTROL_REGION, NFIT_TYPE_DATA_REGION, NFIT_TYPE_FLUSH_ADDRESS, NFIT_TYPE_INTERLEAVE, NFIT_TYPE_MEMORY_MAP, NFIT_TYPE_SMBIOS,
  NFIT_TYPE_SYSTEM_ADDRESS,
} from "../format/nfit.js";
import { formatGuid } from "../format/partition.js";

/** The fields of a table, decoded. type and length follow from the structure. */
type Values<Table> = {
  -readonly [Name in Exclude<keyof Table, "$" | "type" | "length"> as Table[Name] extends Field | BytesField ? Name : never]: Table[Name] extends BytesField ? Uint8Array : number;
};

export type NfitStructure =
  | { readonly kind: "range"; readonly fields: Values<typeof acpi_nfit_system_address>; /** SPALocationCookie: 8 bytes, or none. */ readonly cookie: Uint8Array }
  | { readonly kind: "map"; readonly fields: Values<typeof acpi_nfit_memory_map> }
  | { readonly kind: "interleave"; readonly fields: Values<typeof acpi_nfit_interleave>; readonly lineOffsets: readonly number[] }
  | { readonly kind: "smbios"; readonly fields: Values<typeof acpi_nfit_smbios>; readonly data: Uint8Array }
  | { readonly kind: "control"; readonly fields: Values<typeof acpi_nfit_control_region>; /** Only where the region has windows. */ readonly window: Values<typeof acpi_nfit_control_windows> | undefined }
  | { readonly kind: "data"; readonly fields: Values<typeof acpi_nfit_data_region> }
  | { readonly kind: "flush"; readonly fields: Values<typeof acpi_nfit_flush_address>; readonly addresses: readonly number[] }
  | { readonly kind: "capabilities"; readonly fields: Values<typeof acpi_nfit_capabilities> }
  | { readonly kind: "unknown"; readonly type: number; readonly data: Uint8Array };

export interface Nfit {
  readonly header: Values<typeof acpi_table_nfit>;
  readonly structures: readonly NfitStructure[];
}

type Fields = Record<string, AnyField>;

const HEADER_BYTES = acpi_nfit_header.$.size;
const GREATEST_EXACT = Number.MAX_SAFE_INTEGER;

/**
 * Reads a table. What is behind its end is not looked at.
 * @throws CorruptionError nfit, nfit-checksum: where it is damaged.
 */
export function parseNfit(table: Uint8Array): Nfit {
  if (table.length < acpi_table_nfit.$.size) throw bad(0, "length", table.length, `at least ${acpi_table_nfit.$.size}`);
  const view = viewOf(table);
  const signature = String.fromCharCode(...acpi_table_nfit.signature.get(view, 0));
  if (signature !== NFIT_SIGNATURE) throw bad(0, "signature", JSON.stringify(signature), NFIT_SIGNATURE);
  const length = acpi_table_nfit.length.get(view, 0);
  if (length < acpi_table_nfit.$.size || length > table.length) throw bad(0, "length", length, `${acpi_table_nfit.$.size} .. ${table.length}`);
  const sum = sumOf(table.subarray(0, length));
  if (sum !== 0) throw new CorruptionError("nfit-checksum", { field: "checksum", found: acpi_table_nfit.checksum.get(view, 0), expected: (acpi_table_nfit.checksum.get(view, 0) - sum) & 0xff });
  const structures: NfitStructure[] = [];
  for (let at = acpi_table_nfit.$.size; at < length;) {
    if (at + HEADER_BYTES > length) throw bad(at, "length", length - at, `at least ${HEADER_BYTES}`);
    const structureBytes = acpi_nfit_header.length.get(view, at);
    if (structureBytes < HEADER_BYTES || at + structureBytes > length) throw bad(at, "length", structureBytes, `${HEADER_BYTES} .. ${length - at}`);
    structures.push(parseStructure(table.subarray(at, at + structureBytes), at));
    at += structureBytes;
  }
  return { header: valuesOf(acpi_table_nfit, table, 0), structures };
}

/** Writes a table, with its length and checksum. */
export function encodeNfit({ header, structures }: Nfit): Uint8Array {
  const table = concat([fromValues(acpi_table_nfit, header), ...structures.map(encodeStructure)]);
  const view = viewOf(table);
  acpi_table_nfit.length.set(view, 0, table.length);
  acpi_table_nfit.checksum.set(view, 0, 0);
  acpi_table_nfit.checksum.set(view, 0, -sumOf(table) & 0xff);
  return table;
}

/** What refers to something that the table does not have, in words. */
export function danglingReferences({ structures }: Nfit): string[] {
  const ranges = new Set<number>();
  const controls = new Set<number>();
  const interleaves = new Set<number>();
  const handles = new Set<number>();
  for (const structure of structures) {
    if (structure.kind === "range") ranges.add(structure.fields.range_index);
    else if (structure.kind === "control") controls.add(structure.fields.region_index);
    else if (structure.kind === "interleave") interleaves.add(structure.fields.interleave_index);
    else if (structure.kind === "map") handles.add(structure.fields.device_handle);
  }
  const problems: string[] = [];
  const expect = (known: ReadonlySet<number>, index: number, what: string): void => {
    if (index !== 0 && !known.has(index)) problems.push(`${what} ${index} does not exist`);
  };
  for (const structure of structures) {
    if (structure.kind === "map") {
      const { device_handle, range_index, region_index, interleave_index } = structure.fields;
      expect(ranges, range_index, `device 0x${device_handle.toString(16)}: range`);
      expect(controls, region_index, `device 0x${device_handle.toString(16)}: control region`);
      expect(interleaves, interleave_index, `device 0x${device_handle.toString(16)}: interleave`);
    } else if (structure.kind === "data") expect(controls, structure.fields.region_index, "block data window: control region");
    else if (structure.kind === "flush" && !handles.has(structure.fields.device_handle)) problems.push(`flush hints: device 0x${structure.fields.device_handle.toString(16)} does not exist`);
  }
  return problems;
}

export interface RegionOptions {
  readonly sizeBytes: number;
  /** Default 4 GiB. */
  readonly physicalAddress?: number | undefined;
  /** The caches survive a power cut. Default: the memory controllers' queues only (ADR). */
  readonly hasEadr?: boolean | undefined;
  /** Addresses that drain the module's queues when written. */
  readonly flushAddresses?: readonly number[] | undefined;
  readonly serialNumber?: number | undefined;
}

/** The table of a machine with one module of persistent memory. */
export function nfitOfRegion(options: RegionOptions): Nfit {
  const { sizeBytes, physicalAddress = 2 ** 32, hasEadr = false, flushAddresses = [], serialNumber = 1 } = options;
  const deviceHandle = 1;
  const structures: NfitStructure[] = [
    { kind: "range", cookie: NOTHING, fields: {
      range_index: 1, flags: 0, reserved: 0, proximity_domain: 0, range_guid: guidBytes(PERSISTENT_MEMORY), address: physicalAddress, range_length: sizeBytes,
      memory_mapping_lo: EFI_MEMORY_WB | EFI_MEMORY_NV, memory_mapping_hi: 0,
    } },
    { kind: "map", fields: {
      device_handle: deviceHandle, physical_id: 0, region_id: 0, range_index: 1, region_index: 1, region_size: sizeBytes, region_offset: 0, address: 0, interleave_index: 0, interleave_ways: 1, flags: 0, reserved: 0,
    } },
    { kind: "control", window: undefined, fields: {
      region_index: 1, vendor_id: 0, device_id: 0, revision_id: 1, subsystem_vendor_id: 0, subsystem_device_id: 0, subsystem_revision_id: 0, valid_fields: 0, manufacturing_location: 0, manufacturing_date: 0,
      reserved: new Uint8Array(2), serial_number: serialNumber, code: FORMAT_BYTE_ADDRESSABLE, windows: 0,
    } },
    { kind: "capabilities", fields: {
      highest_capability: 1, reserved: new Uint8Array(3), capabilities: NFIT_CAPABILITY_MEM_FLUSH | (hasEadr ? NFIT_CAPABILITY_CACHE_FLUSH : 0), reserved2: 0,
    } },
  ];
  if (flushAddresses.length > 0) structures.push({ kind: "flush", addresses: flushAddresses, fields: { device_handle: deviceHandle, hint_count: flushAddresses.length, reserved: new Uint8Array(6) } });
  const text = (value: string, length: number): Uint8Array => Uint8Array.from({ length }, (_, index) => (index < value.length ? value.charCodeAt(index) : 0x20));
  return {
    header: {
      signature: text(NFIT_SIGNATURE, 4), revision: NFIT_REVISION, checksum: 0, oem_id: text("EXT4", 6), oem_table_id: text("NVDIMM", 8), oem_revision: 1, asl_compiler_id: text("EXT4", 4), asl_compiler_revision: 1, reserved: 0,
    },
    structures,
  };
}

const NOTHING = new Uint8Array(0);
const PERSISTENT_MEMORY = Object.entries(NFIT_RANGE_TYPES).find(([, name]) => name === "persistent memory")![0];
/** Region format interface code: byte addressable, energy backed. */
const FORMAT_BYTE_ADDRESSABLE = 0x0301;

/** What an address range is; a GUID that is not in the specification as text. */
export function rangeTypeOf(guid: Uint8Array): string {
  const text = formatGuid(guid);
  return NFIT_RANGE_TYPES[text] ?? text;
}

/** The reverse of formatGuid. */
export function guidBytes(text: string): Uint8Array {
  const [first, second, third, ...rest] = text.split("-") as [string, string, string, string, string];
  const pairs = (digits: string): number[] => (digits.match(/../g) ?? []).map((pair) => parseInt(pair, 16));
  return Uint8Array.from([...pairs(first).reverse(), ...pairs(second).reverse(), ...pairs(third).reverse(), ...pairs(rest.join(""))]);
}

function parseStructure(structure: Uint8Array, at: number): NfitStructure {
  const type = acpi_nfit_header.type.get(viewOf(structure), 0);
  switch (type) {
    case NFIT_TYPE_SYSTEM_ADDRESS: {
      const fields = valuesOf(acpi_nfit_system_address, structure, at);
      const hasCookie = (fields.flags & NFIT_LOCATION_COOKIE_VALID) !== 0;
      const cookie = tailOf(acpi_nfit_system_address, structure);
      // Firmware of ACPI 6.4 and later may have the cookie's room without a cookie.
      if (cookie.length !== 8 && (hasCookie || cookie.length !== 0)) throw bad(at, "length", structure.length, hasCookie ? "64" : "56 or 64");
      return { kind: "range", fields, cookie };
    }
    case NFIT_TYPE_MEMORY_MAP: return { kind: "map", fields: wholeValuesOf(acpi_nfit_memory_map, structure, at) };
    case NFIT_TYPE_INTERLEAVE: {
      const fields = valuesOf(acpi_nfit_interleave, structure, at);
      return { kind: "interleave", fields, lineOffsets: numbersBehind(acpi_nfit_interleave, structure, at, { count: fields.line_count, sizeBytes: 4 }) };
    }
    case NFIT_TYPE_SMBIOS: return { kind: "smbios", fields: valuesOf(acpi_nfit_smbios, structure, at), data: tailOf(acpi_nfit_smbios, structure) };
    case NFIT_TYPE_CONTROL_REGION: {
      const fields = valuesOf(acpi_nfit_control_region, structure, at);
      const rest = tailOf(acpi_nfit_control_region, structure);
      if (rest.length === 0 && fields.windows === 0) return { kind: "control", fields, window: undefined };
      if (rest.length !== acpi_nfit_control_windows.$.size) throw bad(at, "length", structure.length, fields.windows === 0 ? "32 or 80" : "80");
      return { kind: "control", fields, window: wholeValuesOf(acpi_nfit_control_windows, rest, at + acpi_nfit_control_region.$.size) };
    }
    case NFIT_TYPE_DATA_REGION: return { kind: "data", fields: wholeValuesOf(acpi_nfit_data_region, structure, at) };
    case NFIT_TYPE_FLUSH_ADDRESS: {
      const fields = valuesOf(acpi_nfit_flush_address, structure, at);
      return { kind: "flush", fields, addresses: numbersBehind(acpi_nfit_flush_address, structure, at, { count: fields.hint_count, sizeBytes: 8 }) };
    }
    case NFIT_TYPE_CAPABILITIES: return { kind: "capabilities", fields: wholeValuesOf(acpi_nfit_capabilities, structure, at) };
    default: return { kind: "unknown", type, data: structure.slice(HEADER_BYTES) };
  }
}

function encodeStructure(structure: NfitStructure): Uint8Array {
  switch (structure.kind) {
    case "range": return sealed(NFIT_TYPE_SYSTEM_ADDRESS, fromValues(acpi_nfit_system_address, structure.fields), structure.cookie);
    case "map": return sealed(NFIT_TYPE_MEMORY_MAP, fromValues(acpi_nfit_memory_map, structure.fields));
    case "interleave": return sealed(NFIT_TYPE_INTERLEAVE, fromValues(acpi_nfit_interleave, structure.fields), numberBytes(structure.lineOffsets, 4));
    case "smbios": return sealed(NFIT_TYPE_SMBIOS, fromValues(acpi_nfit_smbios, structure.fields), structure.data);
    case "control": return sealed(NFIT_TYPE_CONTROL_REGION, fromValues(acpi_nfit_control_region, structure.fields), structure.window === undefined ? NOTHING : fromValues(acpi_nfit_control_windows, structure.window));
    case "data": return sealed(NFIT_TYPE_DATA_REGION, fromValues(acpi_nfit_data_region, structure.fields));
    case "flush": return sealed(NFIT_TYPE_FLUSH_ADDRESS, fromValues(acpi_nfit_flush_address, structure.fields), numberBytes(structure.addresses, 8));
    case "capabilities": return sealed(NFIT_TYPE_CAPABILITIES, fromValues(acpi_nfit_capabilities, structure.fields));
    case "unknown": return sealed(structure.type, new Uint8Array(HEADER_BYTES), structure.data);
  }
}

/** A structure with its type and length. */
function sealed(type: number, head: Uint8Array, tail: Uint8Array = NOTHING): Uint8Array {
  const structure = concat([head, tail]);
  const view = viewOf(structure);
  acpi_nfit_header.type.set(view, 0, type);
  acpi_nfit_header.length.set(view, 0, structure.length);
  return structure;
}

/** @throws CorruptionError nfit: too short, or a number of 64 bits that no machine has. */
function valuesOf<Table extends Fields>(table: Layout<Table>, structure: Uint8Array, at: number): Values<Table> {
  if (structure.length < table.$.size) throw bad(at, "length", structure.length, `at least ${table.$.size}`);
  const view = viewOf(structure);
  const values: Record<string, number | Uint8Array> = {};
  for (const [name, field] of table.$.fields) {
    if (name === "type" || name === "length") continue;
    const value = (field as Field | BytesField).get(view, 0);
    if (typeof value === "number" && value > GREATEST_EXACT) throw bad(at, name, value, `at most ${GREATEST_EXACT}`);
    values[name] = typeof value === "number" ? value : value.slice();
  }
  return values as Values<Table>;
}

/** The same of a structure that has nothing else. */
function wholeValuesOf<Table extends Fields>(table: Layout<Table>, structure: Uint8Array, at: number): Values<Table> {
  if (structure.length > table.$.size) throw bad(at, "length", structure.length, `${table.$.size}`);
  return valuesOf(table, structure, at);
}

function fromValues<Table extends Fields>(table: Layout<Table>, values: Values<Table>): Uint8Array {
  const structure = new Uint8Array(table.$.size);
  const view = viewOf(structure);
  for (const [name, field] of table.$.fields) {
    const value = (values as Record<string, number | Uint8Array>)[name];
    if (typeof value === "number") (field as Field).set(view, 0, value);
    else if (value !== undefined) (field as BytesField).set(view, 0, value);
  }
  return structure;
}

function tailOf(table: { readonly $: { readonly size: number } }, structure: Uint8Array): Uint8Array {
  return structure.slice(table.$.size);
}

/** The numbers that follow a structure's fields: exactly as many as it says. */
function numbersBehind(table: { readonly $: { readonly size: number } }, structure: Uint8Array, at: number, of: { count: number; sizeBytes: 4 | 8 }): number[] {
  const tail = tailOf(table, structure);
  if (tail.length !== of.count * of.sizeBytes) throw bad(at, "length", structure.length, `${table.$.size + of.count * of.sizeBytes}`);
  const view = viewOf(tail);
  return Array.from({ length: of.count }, (_, index) => {
    const value = of.sizeBytes === 4 ? view.getUint32(index * 4, true) : view.getUint32(index * 8, true) + view.getUint32(index * 8 + 4, true) * 2 ** 32;
    if (value > GREATEST_EXACT) throw bad(at, `number ${index}`, value, `at most ${GREATEST_EXACT}`);
    return value;
  });
}

function numberBytes(numbers: readonly number[], sizeBytes: 4 | 8): Uint8Array {
  const bytes = new Uint8Array(numbers.length * sizeBytes);
  const view = viewOf(bytes);
  numbers.forEach((value, index) => {
    view.setUint32(index * sizeBytes, value % 2 ** 32, true);
    if (sizeBytes === 8) view.setUint32(index * 8 + 4, Math.floor(value / 2 ** 32), true);
  });
  return bytes;
}

function sumOf(bytes: Uint8Array): number {
  let sum = 0;
  for (const byte of bytes) sum = (sum + byte) & 0xff;
  return sum;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function bad(offset: number, field: string, found: number | string, expected: string): CorruptionError {
  return new CorruptionError("nfit", { offset, field, found, expected });
}
