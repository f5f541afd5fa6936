/** The tests that spoil fields reach every structure that format/ knows. */
import { readdirSync } from "node:fs";
import { basename } from "node:path";
import { expect, test } from "vitest";
import type { AnyLayout } from "../../src/format/layout.js";
import { FIXTURES, fixtureImage } from "../support/fixtures.js";
import { gptDisk, mbrDisk } from "./disks.js";
import { targetsIn } from "./fields.js";

/** What is not spoiled here, and the reason. */
const UNREAD = new Map<string, string>([
  ["v2_disk_dqheader", "quota files are written by mkfs only"], ["v2_disk_dqinfo", "the same"], ["qt_disk_dqdbheader", "the same"], ["v2r1_disk_dqblk", "the same"],
  ...["nd_pfn_sb", "btt_sb", "btt_map_entry", "log_entry", "acpi_table_nfit", "acpi_nfit_header", "acpi_nfit_system_address", "acpi_nfit_memory_map", "acpi_nfit_interleave", "acpi_nfit_smbios",
    "acpi_nfit_control_region", "acpi_nfit_control_windows", "acpi_nfit_data_region", "acpi_nfit_flush_address", "acpi_nfit_capabilities"].map((name) => [name, "below a filesystem: spoiled in test/nvdimm"] as const),
]);

test("every layout is spoiled somewhere", async () => {
  const declared = new Set<string>();
  for (const file of readdirSync("src/format")) {
    const module = (await import(`../../src/format/${basename(file, ".ts")}.ts`)) as Record<string, unknown>;
    for (const value of Object.values(module)) if (isLayout(value)) declared.add(value.$.name);
  }
  expect(declared.size).toBeGreaterThan(30);
  const image = fixtureImage("plain");
  const targets = [...FIXTURES.flatMap(targetsIn), ...mbrDisk(image).targets, ...gptDisk(image, true).targets];
  const spoiled = new Set(targets.map(({ layout }) => layout.$.name));
  expect([...declared].filter((name) => !spoiled.has(name) && !UNREAD.has(name))).toEqual([]);
  // Old filesystems end group descriptors and inodes early.
  for (const [name, sizeBytes] of [["ext4_group_desc", 32], ["ext4_inode", 128]] as const) {
    expect(targets.some((target) => target.layout.$.name === name && target.sizeBytes === sizeBytes), `a ${name} of ${sizeBytes} bytes`).toBe(true);
  }
});

function isLayout(value: unknown): value is AnyLayout {
  return typeof value === "object" && value !== null && "$" in value;
}
