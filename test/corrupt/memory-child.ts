/** Run by memory.test.ts in a process of its own, with little memory: reads whatever claims much, and prints as JSON what it took. */
import { FsError } from "../../src/lib/errno.js";
import { Ext4, MemoryDevice } from "../../src/platform/node/index.js";
import { fixtureImage } from "../support/fixtures.js";
import { CLAIMS } from "./claims.js";
import { contentsOf, exercise } from "./exercise.js";
import { targetsOf } from "./targets.js";

/** One more or less of a kind takes no more memory. */
const PER_LAYOUT = 3;

const peakBytes = (): number => process.resourceUsage().maxRSS * 1024;

let runs = 0;
let beforeBytes: number | undefined;
for (const name of ["extents-unchecked", "plain", "journal-unchecked"] as const) {
  const pristine = fixtureImage(name);
  const contents = contentsOf(Ext4.openSync(new MemoryDevice(pristine, { readOnly: true })));
  const image = pristine.slice();
  const all = targetsOf(pristine);
  const targets = all.filter((target) => all.filter(({ layout }) => layout === target.layout).indexOf(target) < PER_LAYOUT);
  for (let warm = 0; warm < 20; warm++) exercise(image, contents, {});
  beforeBytes ??= peakBytes();
  for (const { layout, at, sizeBytes } of targets) {
    for (const [, field] of layout.$.fields) {
      if (field.at + field.size > sizeBytes) continue;
      const [from, to] = [at + field.at, at + field.at + field.size];
      image.fill(0xff, from, to);
      exercise(image, contents, {});
      image.set(pristine.subarray(from, to), from);
      runs++;
    }
  }
}
for (const { read } of CLAIMS) {
  try {
    read();
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
  }
  runs++;
}
process.stdout.write(JSON.stringify({ runs, beforeBytes, peakBytes: peakBytes() }));
