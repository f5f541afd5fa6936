/**
 * npm run bench: what we are fast at, and what not, as ratios to a peer in the same run. `-- --quick` is a small run, `-- NAME …` takes some of them, `-- --json` prints one object per line. It
 * measures what is built: dist/ and bin/ext4.
 */
import { existsSync } from "node:fs";
import { copyingOut } from "./copy.js";
import { faults } from "./faults.js";
import type { Figure, Figures } from "./figure.js";
import { lab, labFigures } from "./lab.js";
import { measure, type Comparison, type Result } from "./measure.js";
import { memory } from "./memory.js";
import { making } from "./mkfs.js";
import { read } from "./read.js";
import { FULL, QUICK, type Scale } from "./scale.js";
import { walking } from "./walk.js";
import { creating } from "./write.js";

const BENCHMARKS: Record<string, (scale: Scale) => Comparison[] | Promise<Comparison[]>> = { read, walk: walking, copy: copyingOut, create: creating, mkfs: making, faults, lab };
/** Figures that stand alone. */
const FIGURES: Record<string, (scale: Scale) => Figures | Promise<Figures>> = { memory, lab: labFigures };

function show({ title, amount, unit }: Comparison, results: readonly Result[]): void {
  process.stdout.write(`\n${title}\n`);
  for (const { name, target, medianMs, ratio, ratioMin, ratioMax } of results) {
    const speed = `${((amount / medianMs) * 1000).toFixed(0)} ${unit}/s`;
    const aim = target === undefined ? "" : `  aim ${target}: ${ratio >= target ? "met" : "missed"}`;
    process.stdout.write(`  ${name.padEnd(42)}${medianMs.toFixed(0).padStart(8)} ms${speed.padStart(20)}${ratio.toFixed(2).padStart(9)} (${ratioMin.toFixed(2)} to ${ratioMax.toFixed(2)})${aim}\n`);
  }
}

function showFigure({ name, value, unit, max }: Figure): void {
  const aim = max === undefined ? "" : `  aim ${max}: ${value <= max ? "met" : "missed"}`;
  process.stdout.write(`  ${name.padEnd(58)}${value.toFixed(0).padStart(8)} ${unit}${aim}\n`);
}

// What was made is cleaned up when the process exits, which a signal alone does not bring about.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

const words = process.argv.slice(2);
const names = words.filter((word) => !word.startsWith("--"));
const all = [...new Set([...Object.keys(BENCHMARKS), ...Object.keys(FIGURES)])];
const unknown = names.filter((name) => !all.includes(name));
if (unknown.length > 0) {
  process.stderr.write(`there is no benchmark ${unknown.join(", ")}; there are ${all.join(", ")}\n`);
  process.exit(2);
}
if (!existsSync(new URL("../dist/node.js", import.meta.url))) {
  process.stderr.write("dist/ is not built: npm run build\n");
  process.exit(2);
}
const isJson = words.includes("--json");
if (!isJson) process.stdout.write("median time, speed, and speed in units of the first line's (lowest to highest of the rounds)\n");
const scale = words.includes("--quick") ? QUICK : FULL;
for (const name of names.length > 0 ? names : all) {
  const { title, figures } = (await FIGURES[name]?.(scale)) ?? { title: "", figures: [] };
  if (!isJson && figures.length > 0) process.stdout.write(`\n${title}\n`);
  for (const figure of figures) if (isJson) process.stdout.write(`${JSON.stringify({ benchmark: name, ...figure })}\n`); else showFigure(figure);
  for (const comparison of (await BENCHMARKS[name]?.(scale)) ?? []) {
    const results = await measure(comparison);
    if (isJson) for (const result of results) process.stdout.write(`${JSON.stringify({ benchmark: name, title: comparison.title, ...result })}\n`);
    else show(comparison, results);
  }
}
