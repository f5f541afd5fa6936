/**
 * Which steps came before which because they had something in common, as one number. Two runs whose steps differ only in the order of neighbours that touch nothing in common have the same number, and stand in
 * the same state: so it is enough to go on from one of them. This is the partial-order reduction of the search.
 *
 * Each step's hash is made of its task, its place in the task, what was chosen in it, and the hashes of the steps right before it: its task's last one, and the last ones that touched what it touches (two that
 * only read do not count). The state is the sum of all steps' hashes. Source of the idea: Musuvathi and Qadeer, Partial-order reduction for context-bounded state exploration (MSR-TR-2007-12).
 */
/** Two halves of 26 bits fit a number's 53. */
const HALF = 2 ** 26;

/** 52 bits out of two mixers of 32. */
class Hash {
  private a = 0x9e3779b9;
  private b = 0x85ebca6b;

  add(value: number): void {
    this.mix(value >>> 0);
    this.mix(value / 0x1_0000_0000 >>> 0);
  }

  private mix(word: number): void {
    this.a = Math.imul(this.a ^ word, 0xcc9e2d51);
    this.a = ((this.a << 13) | (this.a >>> 19)) + 0x7f4a7c15 | 0;
    this.b = Math.imul(this.b + word | 0, 0x1b873593);
    this.b ^= this.b >>> 15;
  }

  get value(): number {
    let a = Math.imul(this.a ^ (this.a >>> 16), 0x7feb352d);
    a ^= a >>> 15;
    let b = Math.imul(this.b ^ (this.b >>> 13), 0x846ca68b);
    b ^= b >>> 16;
    return (a >>> 6) * HALF + (b >>> 6);
  }
}

const MODULUS = 2 ** 52;

/** Hashes are random enough to be added up, so that their order does not matter. */
function sum(a: number, b: number): number {
  const total = a + b;
  return total < MODULUS ? total : total - MODULUS;
}

/** Hashes of the last step that may have changed something, and of all together that have only read it since. */
interface Touched { write: number; reads: number }

export class HappensBefore {
  /** The state after all steps so far. */
  state = 0;
  private readonly shared = new Map<object, Touched>();
  private readonly lastOfTask: number[] = [];
  private readonly stepsOfTask: number[] = [];

  /** @param footprints what the step touched, and whether it may have changed it. @param chosen what else was decided in it. */
  step(task: number, footprints: readonly ReadonlyMap<object, boolean>[], chosen: readonly number[] = []): void {
    let before = this.lastOfTask[task] ?? 0;
    const { shared } = this;
    const addBefore = (isWrite: boolean, object: object): void => {
      const touched = shared.get(object);
      if (touched !== undefined) before = sum(before, isWrite ? sum(touched.write, touched.reads) : touched.write);
    };
    for (const footprint of footprints) footprint.forEach(addBefore);
    const hash = new Hash();
    hash.add(task);
    hash.add(this.stepsOfTask[task] = (this.stepsOfTask[task] ?? 0) + 1);
    for (const choice of chosen) hash.add(choice);
    hash.add(before);
    const { value } = hash;
    this.lastOfTask[task] = value;
    const note = (isWrite: boolean, object: object): void => {
      const touched = shared.get(object);
      if (touched === undefined) shared.set(object, isWrite ? { write: value, reads: 0 } : { write: 0, reads: value });
      else if (isWrite) {
        touched.write = value;
        touched.reads = 0;
      } else touched.reads = sum(touched.reads, value);
    };
    for (const footprint of footprints) footprint.forEach(note);
    this.state = sum(this.state, value);
  }
}
