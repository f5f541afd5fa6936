/** Several fields damaged at once, most with values that look right because they stand in another structure of the kind. A failure names the seed that repeats it. */
import { expect, test } from "vitest";
import { ext4_super_block } from "../../src/format/superblock.js";
import { Ext4, MemoryDevice } from "../../src/platform/node/index.js";
import { FIXTURES, fixtureImage } from "../support/fixtures.js";
import { Prng } from "../../src/lib/prng.js";
import { contentsOf, exercise } from "./exercise.js";
import { targetsIn } from "./fields.js";
import type { Target } from "./targets.js";

const RUNS = 80;
const DAMAGES_MAX = 5;

test.each(FIXTURES)("%s", { timeout: 300_000 }, (name) => {
  const pristine = fixtureImage(name);
  const contents = contentsOf(Ext4.openSync(new MemoryDevice(pristine, { readOnly: true })));
  // Damage to the superblock mostly ends in the mount, and the rest would not be looked at.
  const targets = targetsIn(name).filter(({ layout }) => layout !== ext4_super_block);
  for (let seed = 1; seed <= RUNS; seed++) {
    const prng = new Prng(seed);
    const image = pristine.slice();
    for (let count = 1 + prng.below(DAMAGES_MAX); count > 0; count--) damage(image, targets, prng);
    expect(() => exercise(image, contents, { checksum: false }), `seed ${seed}`).not.toThrow();
  }
});

function damage(image: Uint8Array, targets: readonly Target[], prng: Prng): void {
  const target = prng.pick(targets);
  const [, { at, size }] = prng.pick(target.layout.$.fields.filter(([, field]) => field.at + field.size <= target.sizeBytes));
  const bytes = image.subarray(target.at + at, target.at + at + size);
  const alike = targets.filter(({ layout, sizeBytes }) => layout === target.layout && sizeBytes >= at + size);
  const other = prng.pick(alike).at + at;
  switch (prng.below(6)) {
    case 0:
      bytes.fill(0);
      break;
    case 1:
      bytes.fill(0xff);
      break;
    case 2:
      for (let index = 0; index < size; index++) bytes[index] = prng.below(256);
      break;
    default:
      bytes.set(image.slice(other, other + size));
  }
  target.reseal?.(image);
}
