/**
 * The NVDIMM firmware interface table of ACPI: which address ranges are persistent memory, which modules they lie on, and how what is written reaches them. Little-endian; reserved bytes are
 * fields here, so that a table comes out as it went in. Names as in ACPICA. Source: ACPI 6.5, 5.2.25; include/acpi/actbl2.h (7.1).
 */
import { bytes, layout, le16, le32, le64, u8 } from "./layout.js";

export const NFIT_SIGNATURE = "NFIT";
export const NFIT_REVISION = 1;

export const acpi_table_nfit = layout("acpi_table_nfit", 40, {
  signature:             bytes(0, 4),
  length:                le32(4), // of the whole table
  revision:              u8(8),
  checksum:              u8(9), // all bytes add up to 0
  oem_id:                bytes(10, 6),
  oem_table_id:          bytes(16, 8),
  oem_revision:          le32(24),
  asl_compiler_id:       bytes(28, 4),
  asl_compiler_revision: le32(32),
  reserved:              le32(36),
});

export const acpi_nfit_header = layout("acpi_nfit_header", 4, {
  type:   le16(0),
  length: le16(2), // with this header
});

export const NFIT_TYPE_SYSTEM_ADDRESS = 0;
export const NFIT_TYPE_MEMORY_MAP = 1;
export const NFIT_TYPE_INTERLEAVE = 2;
export const NFIT_TYPE_SMBIOS = 3;
export const NFIT_TYPE_CONTROL_REGION = 4;
export const NFIT_TYPE_DATA_REGION = 5;
export const NFIT_TYPE_FLUSH_ADDRESS = 6;
export const NFIT_TYPE_CAPABILITIES = 7;

// The fields of each structure stand behind its header, and count from the structure's start.
const header = { type: le16(0), length: le16(2) };

export const acpi_nfit_system_address = layout("acpi_nfit_system_address", 56, {
  ...header,
  range_index:       le16(4), // what memory maps refer to
  flags:             le16(6),
  reserved:          le32(8),
  proximity_domain:  le32(12),
  range_guid:        bytes(16, 16),
  address:           le64(32),
  range_length:      le64(40),
  memory_mapping_lo: le32(48), // EFI_MEMORY_*, whose top bit is in use
  memory_mapping_hi: le32(52),
});
/** flags */
export const NFIT_ADD_ONLINE_ONLY = 1;
export const NFIT_PROXIMITY_VALID = 2;
/** A cookie of 8 bytes follows the structure. */
export const NFIT_LOCATION_COOKIE_VALID = 4;

export const EFI_MEMORY_WB = 0x8;
export const EFI_MEMORY_NV = 0x8000;

export const acpi_nfit_memory_map = layout("acpi_nfit_memory_map", 48, {
  ...header,
  device_handle:    le32(4),
  physical_id:      le16(8), // SMBIOS handle
  region_id:        le16(10),
  range_index:      le16(12),
  region_index:     le16(14), // of the control region
  region_size:      le64(16),
  region_offset:    le64(24), // in the interleave set
  address:          le64(32), // in the module
  interleave_index: le16(40), // 0: none
  interleave_ways:  le16(42),
  flags:            le16(44),
  reserved:         le16(46),
});
/** flags: what went wrong, as ACPI_NFIT_MEM_*. */
export const NFIT_MEM_FLAGS: readonly string[] = ["save_fail", "restore_fail", "flush_fail", "not_armed", "smart_event", "smart_notify", "map_fail"];

/** le32 line offsets follow. */
export const acpi_nfit_interleave = layout("acpi_nfit_interleave", 16, {
  ...header,
  interleave_index: le16(4),
  reserved:         le16(6),
  line_count:       le32(8),
  line_size:        le32(12),
});

/** Bytes of SMBIOS structures follow. */
export const acpi_nfit_smbios = layout("acpi_nfit_smbios", 8, { ...header, reserved: le32(4) });

/** What is behind `windows` is missing where there are none. */
export const acpi_nfit_control_region = layout("acpi_nfit_control_region", 32, {
  ...header,
  region_index:           le16(4),
  vendor_id:              le16(6),
  device_id:              le16(8),
  revision_id:            le16(10),
  subsystem_vendor_id:    le16(12),
  subsystem_device_id:    le16(14),
  subsystem_revision_id:  le16(16),
  valid_fields:           u8(18),
  manufacturing_location: u8(19),
  manufacturing_date:     le16(20),
  reserved:               bytes(22, 2),
  serial_number:          le32(24),
  code:                   le16(28), // region format interface
  windows:                le16(30),
});

export const acpi_nfit_control_windows = layout("acpi_nfit_control_windows", 48, {
  window_size:    le64(0),
  command_offset: le64(8),
  command_size:   le64(16),
  status_offset:  le64(24),
  status_size:    le64(32),
  flags:          le16(40),
  reserved1:      bytes(42, 6),
});

export const acpi_nfit_data_region = layout("acpi_nfit_data_region", 40, {
  ...header,
  region_index:  le16(4),
  windows:       le16(6),
  offset:        le64(8),
  size:          le64(16),
  capacity:      le64(24),
  start_address: le64(32),
});

/** le64 addresses follow. */
export const acpi_nfit_flush_address = layout("acpi_nfit_flush_address", 16, {
  ...header,
  device_handle: le32(4),
  hint_count:    le16(8),
  reserved:      bytes(10, 6),
});

export const acpi_nfit_capabilities = layout("acpi_nfit_capabilities", 16, {
  ...header,
  highest_capability: u8(4), // the last bit that counts
  reserved:           bytes(5, 3),
  capabilities:       le32(8),
  reserved2:          le32(12),
});
/** capabilities: caches are flushed when the power fails (eADR); so are the memory controllers (ADR); memory is mirrored. */
export const NFIT_CAPABILITY_CACHE_FLUSH = 1;
export const NFIT_CAPABILITY_MEM_FLUSH = 2;
export const NFIT_CAPABILITY_MEM_MIRROR = 4;

/** range_guid: what an address range is. */
export const NFIT_RANGE_TYPES: Readonly<Record<string, string>> = {
  "7305944F-FDDA-44E3-B16C-3F22D252E5D0": "volatile memory",
  "66F0D379-B4F3-4074-AC43-0D3318B78CDB": "persistent memory",
  "92F701F6-13B4-405D-910B-299367E8234C": "control region",
  "91AF0530-5D86-470E-A6B0-0A2DB9408249": "block data window",
  "77AB535A-45FC-624B-5560-F7B281D1F96E": "volatile virtual disk",
  "3D5ABD30-4175-87CE-6D64-D2ADE523C4BB": "volatile virtual CD",
  "5CEA02C9-4D07-69D3-269F-4496FBE096F9": "persistent virtual disk",
  "08018188-42CD-BB48-100F-5387D53DED3D": "persistent virtual CD",
};
