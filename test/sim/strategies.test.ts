/** Each way of switching a live file against each scenario: the table of docs/strategies.md is what comes out. The unsafe one warns as Linux did. */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { LabWorld } from "../support/lab-world.js";
import { KernelWarning } from "../../src/sim/warning.js";
import { STRATEGIES, type StrategyName } from "../../src/sim/strategies.js";
import { SCENARIOS, type ScenarioResult } from "./switch-scenarios.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";
import { Signal } from "../../src/vfs/signal.js";

const DOCS = "docs/strategies.md";
const NAMES = Object.keys(STRATEGIES) as StrategyName[];
const results = new Map(SCENARIOS.map((scenario) => [scenario.name, new Map(NAMES.map((name) => [name, scenario.play(name)]))]));
const resultOf = (scenario: string, strategy: StrategyName): ScenarioResult => results.get(scenario)!.get(strategy)!;

function section(text: string, name: string): string {
  return new RegExp(`<!-- ${name} -->\n([\\s\\S]*?)<!-- end -->`).exec(text)![1]!;
}

function table(): string {
  const rows = SCENARIOS.map(({ name, description }) => `| **${name}** ${description} | ${NAMES.map((strategy) => resultOf(name, strategy).verdict).join(" | ")} |`);
  return [`| scenario | ${NAMES.join(" | ")} |`, `|${"---|".repeat(NAMES.length + 1)}`, ...rows, ""].join("\n");
}

const warnings = (): KernelWarning[] => resultOf("the report", "linux-4.13").world.warnings.filter((warning) => warning instanceof KernelWarning);
const trace = (): string => ["```", warnings()[0]!.message.replace(/^EIO: /, ""), "```", ""].join("\n");

test("the document has what comes out", () => {
  let text = readFileSync(DOCS, "utf8");
  if (process.env["EXT4_UPDATE_DOCS"] !== undefined) {
    for (const [name, content] of [["table", table()], ["trace", trace()]] as const) text = text.replace(section(text, name) === "" ? `<!-- ${name} -->\n` : `<!-- ${name} -->\n${section(text, name)}`, `<!-- ${name} -->\n${content}`);
    writeFileSync(DOCS, text);
  }
  expect(section(text, "table")).toBe(table());
  expect(section(text, "trace")).toBe(trace());
});

test("the unsafe switch ends in the warning of the report: a dirty page under a DAX entry, on the way up to the page fault", () => {
  expect(warnings()).toHaveLength(1);
  const [warning] = warnings();
  expect(warning).toMatchObject({ functionName: "__delete_from_page_cache", place: "mm/filemap.c:262" });
  expect(warning!.trace).toEqual([
    "dax_insert_mapping_entry", "dax_insert_mapping", "dax_iomap_pte_fault", "dax_iomap_fault", "ext4_dax_huge_fault", "ext4_dax_fault", "do_shared_fault", "do_fault", "handle_pte_fault",
    "__handle_mm_fault", "handle_mm_fault", "__do_page_fault", "do_page_fault", "page_fault",
  ]);
});

test("ext4/030: one mapping reads bytes that another has overwritten", () => {
  expect(resultOf("ext4/030", "linux-4.13").problems).toContain("the first mapping has 65 at 0, not 66");
});

test("ext4/031: a file that leaves its inode while it is mapped", () => {
  expect(resultOf("ext4/031", "linux-4.13").problems).toContain("the first mapping has 65 at 1, not 67");
});

test("those that change S_DAX and let mappings keep their operations warn, no others", () => {
  const warned = SCENARIOS.flatMap(({ name }) => NAMES.filter((strategy) => resultOf(name, strategy).world.warnings.length > 0));
  expect([...new Set(warned)].sort()).toEqual(["linux-4.13", "ross-2017", "xfs-4.13"]);
});

test("the default meets a page under a DAX entry with SIGBUS, and overwrites nothing", () => {
  const world = new LabWorld();
  world.mount({ dax: "always" });
  const { process } = world;
  const fd = world.run(process.open("/file", O_RDWR | O_CREAT));
  world.run(process.ftruncate(fd, 8192));
  const map = world.run(process.mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd));
  const { i_mapping: mapping } = process.descriptors.get(fd).f_inode;
  const [page] = mapping.create(0, 1); // which nobody may
  mapping.markDirty(page!, 1);
  expect(() => world.run(process.store(map, 1))).toThrow(expect.objectContaining({ signo: 7 }));
  expect(() => world.run(process.load(map))).toThrow(Signal);
  world.run(process.store(map + 4096, 1)); // the others are as ever
  expect([mapping.find(0), world.fs.warnings]).toEqual([page, []]);
});
