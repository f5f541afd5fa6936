/**
 * Power cuts on persistent memory: what lies in the processors' caches is lost line by line, in any combination. The fault model is that of nvdimm/persistence.ts: a line that was stored into keeps any
 * of its states since it was last durable, words of 8 bytes are whole, lines may be written back early. What was promised (msync, fsync, or a store through a MAP_SYNC mapping that was flushed and
 * fenced) is there in every state; each other byte has its last promised value or one that was stored since; and e2fsck finds nothing.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { MAP_SHARED, MAP_SHARED_VALIDATE, MAP_SYNC, MS_SYNC, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from "../../src/vfs/inode.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";
import { attempt, temporaryFolder } from "../support/host.js";
import { Prng } from "../../src/lib/prng.js";
import { MappingWorld } from "./world.js";

const PAGE = 4096;
const FILE_BYTES = 24 * PAGE;
const STEPS = Number(process.env["EXT4_STEPS"] ?? 60);
const SEEDS = Number(process.env["EXT4_SEEDS"] ?? 1);
/** States that are looked at per step, and one in how many of them e2fsck sees. */
const STATES_PER_STEP = Number(process.env["EXT4_STATES"] ?? 6);
const E2FSCK_SHARE = 6;

/** What a byte may be after a crash. */
class Promises {
  readonly durable = new Uint8Array(FILE_BYTES);
  readonly now = new Uint8Array(FILE_BYTES);
  private stores: { offset: number; data: Uint8Array }[] = [];

  store(offset: number, data: Uint8Array): void {
    this.now.set(data, offset);
    this.stores.push({ offset, data });
  }

  /** Bytes from .. end - 1 are durable as they are. */
  keep(from: number, end: number): void {
    this.durable.set(this.now.subarray(from, end), from);
    // What was stored there before can come back no more; what lies outside still may.
    this.stores = this.stores.flatMap(({ offset, data }) => {
      const parts: { offset: number; data: Uint8Array }[] = [];
      if (offset < from) parts.push({ offset, data: data.subarray(0, from - offset) });
      if (offset + data.length > end) parts.push({ offset: Math.max(offset, end), data: data.subarray(Math.max(0, end - offset)) });
      return parts;
    });
  }

  copy(): { durable: Uint8Array; stores: readonly { offset: number; data: Uint8Array }[] } {
    return { durable: this.durable.slice(), stores: [...this.stores] };
  }
}

interface Cut { readonly image: Uint8Array; readonly promised: ReturnType<Promises["copy"]>; readonly where: string }

function problemWith(found: Uint8Array, { durable, stores }: Cut["promised"]): string | undefined {
  for (let at = 0; at < FILE_BYTES; at++) {
    if (found[at] === durable[at]) continue;
    if (!stores.some(({ offset, data }) => at >= offset && at < offset + data.length && data[at - offset] === found[at])) return `byte ${at} is ${found[at]}, was promised as ${durable[at]}`;
  }
  return undefined;
}

test.each(Array.from({ length: SEEDS }, (_, index) => index + 1))("seed %i: what was promised is there in every state", (seed) => {
  const prng = new Prng(seed * 104729);
  const random = (limit: number): number => prng.below(limit);
  const cuts: Cut[] = [];
  let where = "";
  let chance = 0;
  const promises = new Promises();
  const world = new MappingWorld({
    device: "pmem", size: "12M", mke2fs: ["-b", "4096", "-J", "size=4", "-N", "64"], mount: { dax: "always" },
    pmem: {
      persistence: "adr",
      onEvent: (event) => {
        // The states that matter most are those where everything, nothing, or a random half survives.
        if (cuts.length >= STATES_PER_STEP || random(100) >= chance) return;
        const kind = random(3);
        const image = world.pmem.crashImage((count) => (kind === 0 ? 0 : kind === 1 ? count - 1 : random(count)));
        cuts.push({ image, promised: promises.copy(), where: `${where}, at a ${event}` });
      },
    },
  });
  const { process } = world;
  const data = world.run(process.open("/data", O_RDWR | O_CREAT));
  const scratch = world.run(process.open("/scratch", O_RDWR | O_CREAT));
  world.run(process.ftruncate(data, FILE_BYTES));
  world.run(process.fsync(data));
  const plain = world.run(process.mmap(0, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, data));
  const synchronous = world.run(process.mmap(0, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC, data));
  const scratchMap = world.run(process.mmap(0, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, scratch));
  let stateCount = 0;
  let fsckCount = 0;

  const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => random(255) + 1);
  const step = (): void => {
    const offset = random(FILE_BYTES - 300);
    const piece = bytes(random(280) + 1);
    const kind = random(8);
    where = `step of kind ${kind} at ${offset}, ${piece.length} bytes`;
    if (kind <= 1) {
      promises.store(offset, piece);
      world.run(process.storeBytes(plain + offset, piece));
    } else if (kind === 2) {
      const from = Math.floor(offset / PAGE) * PAGE;
      world.run(process.msync(plain + from, PAGE, MS_SYNC));
      promises.keep(from, from + PAGE);
    } else if (kind === 3) {
      world.run(random(2) === 0 ? process.fsync(data) : process.fdatasync(data));
      promises.keep(0, FILE_BYTES);
    } else if (kind === 4) {
      // As a program does it that was given MAP_SYNC: store, CLWB, SFENCE, and no system call.
      promises.store(offset, piece);
      world.run(process.storeBytes(synchronous + offset, piece));
      for (let at = offset; at < offset + piece.length; at = (Math.floor(at / PAGE) + 1) * PAGE) {
        const leaf = process.mm.pageTables.find(synchronous + at)!;
        world.pmem.flush(leaf.offsetBytes + ((synchronous + at) % leaf.lengthBytes), Math.min(offset + piece.length, (Math.floor(at / PAGE) + 1) * PAGE) - at);
      }
      world.pmem.fence();
      promises.keep(offset, offset + piece.length);
    } else if (kind === 5) {
      promises.store(offset, piece);
      world.run(process.pwrite(data, piece, offset));
      if (random(2) === 0) {
        world.run(process.fdatasync(data));
        promises.keep(0, FILE_BYTES);
      }
    } else if (kind === 6) {
      world.run(process.ftruncate(scratch, random(FILE_BYTES)));
      world.run(process.fallocate(scratch, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, 9000));
    } else {
      world.run(process.ftruncate(scratch, FILE_BYTES));
      world.run(process.storeBytes(scratchMap + offset, piece));
      if (random(3) === 0) world.run(process.fsync(scratch));
    }
  };

  const check = ({ image, promised, where: at }: Cut): void => {
    stateCount++;
    const after = new MappingWorld({ device: new PmemDevice(image), mount: { dax: "always" } });
    const fd = after.run(after.process.open("/data", O_RDWR));
    const found = new Uint8Array(FILE_BYTES);
    expect(after.run(after.process.pread(fd, found, 0)), at).toBe(FILE_BYTES);
    expect(problemWith(found, promised), at).toBeUndefined();
    after.unmount();
    if (stateCount % E2FSCK_SHARE !== 0) return;
    fsckCount++;
    const file = join(temporaryFolder(), "cut.img");
    writeFileSync(file, image);
    const { status, stdout } = attempt("e2fsck", ["-fn", file]);
    expect(status, `${at}\n${stdout}`).toBe(0);
  };

  for (let index = 0; index < STEPS; index++) {
    chance = [10, 40, 100][random(3)]!;
    step();
    for (const cut of cuts.splice(0)) check(cut);
  }
  console.log(`persistent memory, seed ${seed}: ${STEPS} steps, ${stateCount} states, ${fsckCount} seen by e2fsck`);
  expect(stateCount).toBeGreaterThan(STEPS / 2);
});
