/** The lab verb: the order of locks, drawn and as JSON. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../support/host.js";
import { ext4, ext4Output, ext4Records } from "./ext4.js";

test("locks draws what was seen, outer above inner", async () => {
  const drawing = await ext4Output("lab", "locks");
  expect(drawing).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
  expect(drawing).toMatch(/<title>jbd2_handle under i_writeback\n/);
  const place = (name: string): number => Number(new RegExp(`y="(\\d+)">${name}<`).exec(drawing)![1]);
  expect(place("mmap_lock")).toBeLessThan(place("invalidate_lock"));
  expect(place("invalidate_lock")).toBeLessThan(place("jbd2_handle"));
  const file = join(temporaryFolder(), "locks.svg");
  expect(await ext4Output("lab", "locks", "-o", file)).toBe("");
  expect(readFileSync(file, "utf8")).toBe(drawing);
});

test("locks as JSON: each pair with its reasons and both places", async () => {
  const [record] = await ext4Records("lab", "locks") as unknown as { classes: { name: string; rank: number }[]; edges: { from: string; to: string; why: string[]; fromStack: string[]; toStack: string[] }[] }[];
  const rank = new Map(record!.classes.map(({ name, rank }) => [name, rank]));
  for (const { from, to, why, fromStack, toStack } of record!.edges) {
    expect(rank.get(from)!).toBeLessThan(rank.get(to)!);
    expect(Math.min(why.length, fromStack.length, toStack.length), `${from} > ${to}`).toBeGreaterThan(0);
  }
  expect(record!.edges.find(({ from, to }) => from === "i_rwsem" && to === "invalidate_lock")!.toStack.join("\n")).toMatch(/setSize|fallocate|withFaultsLockedOut/);
});

test("what it cannot do", async () => {
  expect(await ext4("lab", "nothing")).toMatchObject({ status: 2, stderr: expect.stringContaining("'nothing' is not one of locks") as string });
  expect((await ext4("lab", "--help")).stdout).toContain("ext4 lab locks > locks.svg");
});
