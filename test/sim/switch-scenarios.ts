/**
 * What becomes of a file whose journaling mode or DAX flag changes while it is in use, under each strategy. A scenario ends in a word: a code (the change, or already the mount, was refused), "works"
 * (it took effect at once, and everybody reads what was written last), "deferred" (it took effect when the inode was next loaded), "corrupts" (somebody reads, or the device has, other bytes).
 */
import { FsError } from "../../src/lib/errno.js";
import { EXT4_DAX_FL, EXT4_JOURNAL_DATA_FL } from "../../src/format/inode.js";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";
import { Signal } from "../../src/vfs/signal.js";
import { STATX_ATTR_DAX } from "../../src/vfs/stat.js";
import { LabWorld } from "../support/lab-world.js";
import { STRATEGIES, type StrategyName } from "../../src/sim/strategies.js";

const BYTES = 16 * 4096;
const INLINE_BYTES = 20;
const [A, B, C] = [0x41, 0x42, 0x43] as const;

export interface ScenarioResult {
  readonly verdict: string;
  /** What was read, and should have been, where something was wrong. */
  readonly problems: readonly string[];
  readonly world: LabWorld;
}

/** The world with the file of a scenario. Bytes that stores and writes are to leave are kept here. */
class Stage {
  readonly world: LabWorld;
  readonly expected = new Uint8Array(BYTES).fill(A);
  readonly problems: string[] = [];
  fd = -1;
  mountError: string | undefined;

  constructor(private readonly strategy: StrategyName, private readonly mountOptions: { readonly dax: "always" | "inode"; readonly isInline?: boolean; readonly isJournaled?: boolean; readonly hasDaxFlag?: boolean }) {
    const { isInline, isJournaled, hasDaxFlag } = mountOptions;
    const world = this.world = new LabWorld(isInline === true ? { features: "inline_data", files: { file: this.expected.slice(0, INLINE_BYTES) } } : {});
    // As found: made by a mount that had no say in it.
    world.mount({ dax: "never", delalloc: false });
    const fd = world.run(world.process.open("/file", O_RDWR | O_CREAT));
    if (isInline !== true) world.run(world.process.pwrite(fd, this.expected, 0));
    const flags = (isJournaled === true ? EXT4_JOURNAL_DATA_FL : 0) | (hasDaxFlag === true ? EXT4_DAX_FL : 0);
    if (flags !== 0) world.run(world.process.setflags(fd, world.run(world.process.getflags(fd)) | flags));
    world.unmount();
    try {
      this.mount();
    } catch (error) {
      this.mountError = codeOf(error);
    }
  }

  private mount(): void {
    this.world.mount({ dax: this.mountOptions.dax, delalloc: false, strategy: STRATEGIES[this.strategy] });
    this.fd = this.world.run(this.world.process.open("/file", O_RDWR));
  }

  map(prot = PROT_READ | PROT_WRITE): number {
    return this.world.run(this.world.process.mmap(0, BYTES, prot, MAP_SHARED, this.fd));
  }

  store(map: number, offset: number, value: number): void {
    this.expected[offset] = value;
    try {
      this.world.run(this.world.process.store(map + offset, value));
    } catch (error) {
      if (!(error instanceof Signal)) throw error;
      this.problems.push(`a store at ${offset} is a signal`);
    }
  }

  write(offset: number, bytes: Uint8Array): void {
    this.expected.set(bytes, offset);
    this.world.run(this.world.process.pwrite(this.fd, bytes, offset));
  }

  /** Whether a mapping shows what was stored and written last, at the first bytes of each page. */
  look(map: number, name: string): void {
    for (let at = 0; at < BYTES; at += 4096) {
      for (const offset of [at, at + 1]) {
        try {
          this.compare(this.world.run(this.world.process.load(map + offset)), offset, name);
        } catch (error) {
          if (!(error instanceof Signal)) throw error;
          this.problems.push(`a load of ${name} at ${offset} is a signal`);
        }
      }
    }
  }

  private compare(found: number, offset: number, name: string): void {
    if (found !== this.expected[offset]) this.problems.push(`${name} has ${found} at ${offset}, not ${this.expected[offset]}`);
  }

  /** The same for read(2). */
  read(name: string): void {
    const bytes = new Uint8Array(BYTES);
    this.world.run(this.world.process.pread(this.fd, bytes, 0));
    bytes.forEach((byte, offset) => this.compare(byte, offset, name));
  }

  setFlag(flag: number, isOn: boolean): string | undefined {
    const { process } = this.world;
    const flags = this.world.run(process.getflags(this.fd));
    try {
      this.world.run(process.setflags(this.fd, isOn ? flags | flag : flags & ~flag));
      return undefined;
    } catch (error) {
      return codeOf(error);
    }
  }

  get isDax(): boolean {
    return (this.world.run(this.world.process.fstat(this.fd)).stx_attributes & STATX_ATTR_DAX) !== 0;
  }

  /** Everything is closed, caches are dropped, and it is opened again; then it is mounted anew: both times all bytes are there. @returns whether S_DAX is `isDax` after the first. */
  reopen(isDax: boolean): boolean {
    const { process } = this.world;
    this.world.run(process.fsync(this.fd));
    for (const vma of [...process.mm.vmas]) this.world.run(process.munmap(vma.vm_start, vma.vm_end - vma.vm_start));
    this.world.run(process.close(this.fd));
    this.world.run(this.world.kernel.dropCaches());
    this.fd = this.world.run(process.open("/file", O_RDWR));
    const isChanged = this.isDax === isDax;
    this.read("the file opened again");
    this.world.unmount();
    this.mount();
    this.read("the file after a new mount");
    return isChanged;
  }
}

function codeOf(error: unknown): string {
  if (error instanceof FsError) return error.code;
  throw error;
}

export interface Scenario {
  readonly name: string;
  readonly description: string;
  play(strategy: StrategyName): ScenarioResult;
}

interface Wanted { readonly flag: number; readonly isOn: boolean; /** Whether it is a DAX file after that. */ readonly isDax: boolean }

/** Changes the flag between `before` and `after`, and judges. */
function judge(stage: Stage, { flag, isOn, isDax }: Wanted, before: (stage: Stage) => () => void): ScenarioResult {
  const { world, problems } = stage;
  const result = (verdict: string): ScenarioResult => ({ verdict, problems, world });
  if (stage.mountError !== undefined) return result(stage.mountError);
  const after = before(stage);
  const code = stage.setFlag(flag, isOn);
  const isAtOnce = stage.isDax === isDax;
  if (code === undefined) after();
  stage.read("read(2)");
  const isChanged = stage.reopen(isDax);
  if (problems.length > 0) return result("corrupts");
  if (code !== undefined) return result(code);
  return result(isAtOnce ? "works" : isChanged ? "deferred" : "no effect");
}

const toJournaled: Wanted = { flag: EXT4_JOURNAL_DATA_FL, isOn: true, isDax: false };
const fromJournaled: Wanted = { flag: EXT4_JOURNAL_DATA_FL, isOn: false, isDax: true };

export const SCENARIOS: readonly Scenario[] = [
  {
    name: "ext4/030", description: "dax=always; mapped for reading; +j; mapped again, for writing; a store through the second is read through the first",
    play: (strategy) => judge(new Stage(strategy, { dax: "always" }), toJournaled, (stage) => {
      const first = stage.map(PROT_READ);
      stage.look(first, "the first mapping");
      return () => {
        const second = stage.map();
        stage.store(second, 0, B);
        stage.look(first, "the first mapping");
        stage.look(second, "the second mapping");
      };
    }),
  },
  {
    name: "the report", description: "dax=always, a file with +j; mapped and stored into; -j; mapped again and stored into, in the same page, twice",
    play: (strategy) => judge(new Stage(strategy, { dax: "always", isJournaled: true }), fromJournaled, (stage) => {
      const first = stage.map();
      stage.store(first, 0, B);
      return () => {
        const second = stage.map();
        stage.store(second, 1, C);
        stage.look(second, "the second mapping");
        stage.look(first, "the first mapping");
        stage.store(second, 0, C);
        stage.look(first, "the first mapping");
      };
    }),
  },
  {
    name: "-j, not mapped", description: "the same, with what was mapped unmapped before -j, and written to between",
    play: (strategy) => judge(new Stage(strategy, { dax: "always", isJournaled: true }), fromJournaled, (stage) => {
      const first = stage.map();
      stage.store(first, 0, B);
      stage.world.run(stage.world.process.munmap(first, BYTES));
      stage.write(8192, new Uint8Array(100).fill(C));
      return () => stage.look(stage.map(), "a new mapping");
    }),
  },
  {
    name: "+j, not mapped", description: "dax=always; stored into through a mapping that is gone when +j comes",
    play: (strategy) => judge(new Stage(strategy, { dax: "always" }), toJournaled, (stage) => {
      const first = stage.map();
      stage.store(first, 0, B);
      stage.world.run(stage.world.process.munmap(first, BYTES));
      return () => {
        const second = stage.map();
        stage.store(second, 4096, C);
        stage.look(second, "a new mapping");
      };
    }),
  },
  {
    name: "ext4/031", description: "dax=always, a file in its inode; mapped for reading; it outgrows the inode; mapped again, for writing; a store through the second is read through the first",
    play(strategy) {
      const stage = new Stage(strategy, { dax: "always", isInline: true });
      const { world, problems } = stage;
      if (stage.mountError !== undefined) return { verdict: stage.mountError, problems, world };
      const first = stage.map(PROT_READ);
      world.run(world.process.load(first));
      stage.write(INLINE_BYTES, new Uint8Array(BYTES - INLINE_BYTES).fill(C));
      const second = stage.map();
      stage.store(second, 0, B);
      stage.look(first, "the first mapping");
      stage.store(second, 1, C);
      stage.look(first, "the first mapping");
      stage.look(second, "the second mapping");
      stage.read("read(2)");
      stage.reopen(true);
      return { verdict: problems.length > 0 ? "corrupts" : "works", problems, world };
    },
  },
  {
    name: "+x, mapped", description: "dax=inode; mapped and stored into; +x; mapped again and stored into",
    play: (strategy) => judge(new Stage(strategy, { dax: "inode" }), { flag: EXT4_DAX_FL, isOn: true, isDax: true }, mappedTwice),
  },
  {
    name: "-x, mapped", description: "the same, from +x to -x",
    play: (strategy) => judge(new Stage(strategy, { dax: "inode", hasDaxFlag: true }), { flag: EXT4_DAX_FL, isOn: false, isDax: false }, mappedTwice),
  },
  {
    name: "+x, open", description: "dax=inode; written to; +x; written to and mapped",
    play: (strategy) => judge(new Stage(strategy, { dax: "inode" }), { flag: EXT4_DAX_FL, isOn: true, isDax: true }, (stage) => {
      stage.write(0, new Uint8Array(5000).fill(B));
      return () => {
        stage.write(4096, new Uint8Array(5000).fill(C));
        stage.look(stage.map(), "a mapping");
      };
    }),
  },
];

function mappedTwice(stage: Stage): () => void {
  const first = stage.map();
  stage.store(first, 0, B);
  return () => {
    const second = stage.map();
    stage.store(second, 1, C);
    stage.store(first, 4096, C);
    stage.look(first, "the first mapping");
    stage.look(second, "the second mapping");
  };
}
