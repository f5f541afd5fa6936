/** The committed images read as Linux read them, on any host, by the sync and by the async driver. */
import { expect, test } from "vitest";
import { Ext4, MemoryDevice } from "../../src/platform/node/index.js";
import { FIXTURES, fixtureImage, fixtureTree } from "../support/fixtures.js";
import { ourTree, treeDifferences, type Node } from "../support/tree.js";

/** Linux stamps directories anew when it replays names of a fast commit into them. */
const UNTOLD = new Set<keyof Node>(["mtimeNs", "ctimeNs"]);

test.each(FIXTURES)("%s", async (name) => {
  const image = fixtureImage(name);
  const device = new MemoryDevice(image, { readOnly: true });
  const volume = Ext4.openSync(device);
  expect(treeDifferences(fixtureTree(name), ourTree(volume), name === "fast-commit" ? UNTOLD : undefined)).toEqual([]);
  const again = await Ext4.open(device);
  expect(await again.promises.readdir("/", { recursive: true })).toEqual(volume.readdirSync("/", { recursive: true }));
  expect(await again.promises.readFile("/dir/deep/deeper/bottom", "utf8")).toBe("b".repeat(5000));
});
