/** The map of the house (DESIGN.md, Direction) is true: a file imports from lower rooms or its own, and nothing but the command line's lab imports sim. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { expect, test } from "vitest";

/** Lower first; rooms on one line may not import each other. */
const FLOORS = [["lib"], ["format", "sched"], ["block"], ["nvdimm", "jbd2", "mm"], ["dax"], ["vfs"], ["ext4"], ["mkfs", "fsck"], ["api"], ["platform"], ["cli", "fuse", "web"]];
/** Rooms that stand beside the floors, with all that they may import. */
const EXCEPTIONS: Record<string, readonly string[]> = {
  fsck: ["lib", "format", "sched", "block", "jbd2"], // stands on the disk format, never on ext4/
  sim: FLOORS.flat().filter((room) => !["platform", "cli", "fuse", "web"].includes(room)),
};
const CORE = ["lib", "format", "sched", "block", "nvdimm", "jbd2", "mm", "dax", "vfs", "ext4", "mkfs", "fsck", "api", "sim"];

interface Import { readonly from: string; readonly to: string; readonly specifier: string }

const sources = readdirSync("src", { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
const imports: Import[] = sources.flatMap((file) =>
  [...readFileSync(join("src", file), "utf8").matchAll(/\b(?:from\s+|import\s*\(?\s*)"([^"]+)"/g)].map(([, specifier]) => ({
    from: file, specifier: specifier!, to: specifier!.startsWith(".") ? relative("src", join("src", dirname(file), specifier!)) : "",
  })));
const room = (path: string): string => path.split(sep)[0]!;

function mayImport(from: string, to: string): boolean {
  if (from === to) return true;
  if (EXCEPTIONS[from] !== undefined) return EXCEPTIONS[from].includes(to);
  if (to === "sim") return from === "cli";
  const floorOf = (name: string): number => FLOORS.findIndex((floor) => floor.includes(name));
  return floorOf(to) >= 0 && floorOf(to) < floorOf(from);
}

test("every room is on the map", () => {
  const known = new Set([...FLOORS.flat(), ...Object.keys(EXCEPTIONS)]);
  expect([...new Set(sources.map(room))].filter((name) => !known.has(name))).toEqual([]);
});

test("no import points up the house", () => {
  const upward = imports.filter(({ from, to, specifier }) => specifier.startsWith(".") && !mayImport(room(from), room(to)));
  expect(upward).toEqual([]);
  expect(imports.length).toBeGreaterThan(50); // the search itself works
});

test("the core imports no package and nothing of Node", () => {
  expect(imports.filter(({ from, specifier }) => CORE.includes(room(from)) && !specifier.startsWith("."))).toEqual([]);
});

test("the browser's door opens onto nothing of Node", () => {
  const reached = new Set<string>();
  const visit = (file: string): void => {
    if (reached.has(file)) return;
    reached.add(file);
    for (const { from, to, specifier } of imports) {
      if (from !== file) continue;
      expect(specifier.startsWith("."), `${file} imports ${specifier}`).toBe(true);
      visit(to.replace(/\.js$/, ".ts"));
    }
  };
  visit(join("platform", "browser", "index.ts"));
  expect(reached.size).toBeGreaterThan(10);
});
