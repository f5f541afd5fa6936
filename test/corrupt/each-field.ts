/** Spoils every field of a structure in turn, reads everything, and judges how it ended. */
import { afterAll, expect } from "vitest";
import type { OpenOptions } from "../../src/platform/node/index.js";
import { exercise, type Contents, type Ending } from "./exercise.js";
import { spoilsOf } from "./spoil.js";
import type { Target } from "./targets.js";

/** Words whose bits are each a field of their own. */
const FLAG_WORDS = /flags|feature|^i_mode$/;

/** An image, and what a reader finds in it. */
export interface Subject {
  readonly pristine: Uint8Array;
  readonly contents: Contents;
  /** How the image is opened, and what that is for, in a few words; last the way that looks at no checksums. */
  readonly ways: readonly (readonly [what: string, options: OpenOptions])[];
  /** Whether damage to the field may go unnoticed when the image is opened in the first way, as no checksum is there to tell. */
  mayDiffer(target: Target, field: string): boolean;
}

/** How many runs came to each ending. */
export class Tally {
  private readonly counts = new Map<Ending, number>();

  add(ending: Ending): void {
    this.counts.set(ending, (this.counts.get(ending) ?? 0) + 1);
  }

  /** Prints the counts when the file's tests are done. */
  printAtEnd(what: string): void {
    afterAll(() => {
      process.stdout.write(`${what}: ${[...this.counts].map(([ending, count]) => `${count} ${ending}`).join(", ")}\n`);
    });
  }
}

export function spoilEachField(subject: Subject, targets: readonly Target[], tally: Tally): void {
  const image = subject.pristine.slice();
  for (const target of targets) {
    for (const [field, { at, size }] of target.layout.$.fields) if (at + size <= target.sizeBytes) spoilField(subject, target, field, image, tally);
  }
}

function spoilField({ pristine, contents, ways, mayDiffer }: Subject, target: Target, field: string, image: Uint8Array, tally: Tally): void {
  const span = target.layout.$.fields.find(([name]) => name === field)![1];
  const from = target.at + span.at;
  const before = pristine.subarray(from, from + span.size);
  for (const { way, bytes, isFlag } of spoilsOf(span, before, FLAG_WORDS.test(field))) {
    const place = `${target.layout.$.name}.${field} at ${target.at}, ${way}`;
    const run = (what: string, options: OpenOptions): Ending => {
      try {
        const ending = exercise(image, contents, options);
        tally.add(ending);
        return ending;
      } catch (error) {
        throw new Error(`${place}, ${what}: ${(error as Error).message}`, { cause: error });
      }
    };
    image.set(bytes, from);
    const endings = (isFlag ? ways.slice(-1) : ways).map(([what, options]) => run(what, options));
    if (!isFlag && !mayDiffer(target, field)) expect(endings[0], place).not.toBe("different");
    image.set(before, from);
    if (target.reseal === undefined) continue;
    image.set(bytes, from);
    target.reseal(image);
    run("sealed anew", ways[0]![1]);
    image.set(pristine);
  }
}
