/**
 * An fsx for mappings: random loads and stores through shared and private mappings of several processes, reads, writes, truncates, holes, zeroed, collapsed and inserted ranges, syncs and forks, on
 * persistent memory and through the page cache, against a model of plain bytes. At the end the file is read anew after a remount, and e2fsck finds nothing.
 */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { MAP_PRIVATE, MAP_SHARED, MADV_DONTNEED, MS_SYNC, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from "../../src/vfs/inode.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";
import type { Process } from "../../src/vfs/process.js";
import { Signal } from "../../src/vfs/signal.js";
import { attempt, temporaryFolder, writeImage } from "../support/host.js";
import { Prng } from "../../src/lib/prng.js";
import { MappingModel, type ModelMapping } from "./mapping-model.js";
import { MappingWorld, type MappingWorldOptions } from "./world.js";

const PAGE = 4096;
const FILE_BYTES_MAX = 7 * 2 ** 20;
const STEPS = Number(process.env["EXT4_STEPS"] ?? 250);
const SEEDS = Number(process.env["EXT4_SEEDS"] ?? 1);

interface Row extends MappingWorldOptions {
  readonly name: string;
  readonly fallocModes?: "none" | "punch";
}

const ROWS: readonly Row[] = [
  { name: "persistent memory", device: "pmem", mount: { dax: "always" } },
  { name: "persistent memory, blocks in groups", device: "pmem", mount: { dax: "always" }, mke2fs: ["-b", "4096", "-O", "bigalloc", "-C", "16384"] },
  { name: "persistent memory, without extents", device: "pmem", mount: { dax: "always" }, mke2fs: ["-b", "4096", "-O", "^extent,^64bit"], fallocModes: "punch" },
  { name: "persistent memory, without a journal", device: "pmem", mount: { dax: "always" }, mke2fs: ["-b", "4096", "-O", "^has_journal"] },
  { name: "page cache, 4 KiB", device: "memory" },
  { name: "page cache, 1 KiB", device: "memory", mke2fs: ["-b", "1024"] },
  { name: "page cache, 64 KiB", device: "memory", mke2fs: ["-b", "65536"], size: "128M" },
  { name: "page cache of four pages", device: "memory", mount: { pageCacheBytes: 4 * PAGE } },
  { name: "page cache, data=journal", device: "memory", mount: { dataMode: "journal" } },
  { name: "page cache, data=journal, 1 KiB", device: "memory", mount: { dataMode: "journal" }, mke2fs: ["-b", "1024"] },
  { name: "page cache, inline data", device: "memory", mke2fs: ["-b", "4096", "-O", "inline_data"] },
  { name: "page cache, without extents", device: "memory", mke2fs: ["-t", "ext3", "-b", "4096"], fallocModes: "punch" },
  { name: "page cache, blocks in groups", device: "memory", mke2fs: ["-b", "1024", "-O", "bigalloc", "-C", "8192"] },
];

interface Live { readonly process: Process; readonly mappings: (ModelMapping & { isWritable: boolean })[] }

class Fsx {
  readonly world: MappingWorld;
  readonly model = new MappingModel(FILE_BYTES_MAX + 2 ** 20);
  readonly random: (limit: number) => number;
  private readonly lives: Live[];
  private readonly unit: number;
  readonly story: string[] = [];
  private readonly fd: number;

  constructor(private readonly row: Row, seed: number) {
    const prng = new Prng(seed);
    this.random = (limit) => prng.below(limit);
    this.world = new MappingWorld(row);
    this.unit = Math.max(this.world.fs.sb.clusterBytes, PAGE);
    const { process } = this.world;
    this.fd = this.run(process.open("/file", O_RDWR | O_CREAT));
    this.lives = [{ process, mappings: [] }];
  }

  private run<T>(task: Parameters<MappingWorld["run"]>[0]): T {
    return this.world.run(task) as T;
  }

  private get all(): ModelMapping[] {
    return this.lives.flatMap(({ mappings }) => mappings);
  }

  private bytes(length: number): Uint8Array {
    const start = this.random(255) + 1;
    return Uint8Array.from({ length }, (_, index) => ((start + index * 7) & 0xff) || 1);
  }

  /** Mostly small, at places that matter. */
  private place(): { offset: number; length: number } {
    const edge = [PAGE, this.unit, 2 ** 21][this.random(3)]!;
    const offset = Math.min(FILE_BYTES_MAX - 1, Math.max(0, this.random(Math.ceil(FILE_BYTES_MAX / edge)) * edge + this.random(3) * (this.random(200) - 100)));
    const length = Math.min(FILE_BYTES_MAX - offset, this.random(4) === 0 ? this.random(300_000) + 1 : this.random(9000) + 1);
    return { offset, length };
  }

  step(): void {
    const life = this.lives[this.random(this.lives.length)]!;
    const kind = this.random(20);
    const { offset, length } = this.place();
    if (kind < 3) this.write(life, offset, length);
    else if (kind < 5) this.check(`read ${offset} ${length}`, () => this.pread(life, offset, length), this.model.read(offset, length));
    else if (kind < 7) this.map(life);
    else if (kind < 10) this.loadSome(life);
    else if (kind < 14) this.storeSome(life);
    else if (kind === 14) this.truncate(life, this.random(3) === 0 ? offset + length : offset);
    else if (kind === 15) this.fallocate(life, offset, length);
    else if (kind === 16) this.sync(life);
    else if (kind === 17) this.forkOrExit(life);
    else if (kind === 18) this.unmapOrForget(life);
    else this.move(life, offset);
  }

  private say(what: string): void {
    this.story.push(what);
  }

  private check(what: string, ours: () => Uint8Array | undefined, expected: Uint8Array | undefined): void {
    this.say(what);
    const found = ours();
    if (found === undefined || expected === undefined) {
      expect(found === undefined, `${what}: ${found === undefined ? "we end in a signal" : "we do not end in a signal"}`).toBe(expected === undefined);
      return;
    }
    if (Buffer.compare(found, expected) === 0) return;
    const at = expected.findIndex((byte, index) => found[index] !== byte);
    expect.fail(`${what}: ${found.length} bytes for ${expected.length}; byte ${at} is ${found[at]}, should be ${expected[at]}`);
  }

  private pread({ process }: Live, offset: number, length: number): Uint8Array {
    const into = new Uint8Array(length);
    return into.subarray(0, this.run<number>(process.pread(this.fd, into, offset)));
  }

  private write({ process }: Live, offset: number, length: number): void {
    const data = this.bytes(length);
    this.say(`write ${offset} ${length}`);
    expect(this.run(process.pwrite(this.fd, data, offset))).toBe(length);
    this.model.write(offset, data);
  }

  private map(life: Live): void {
    if (life.mappings.length >= 4) return;
    const isShared = this.random(3) > 0;
    const isWritable = this.random(4) > 0;
    const fileBytes = this.random(2) === 0 ? 0 : this.random(FILE_BYTES_MAX / PAGE) * PAGE;
    const length = this.random(2) === 0 ? FILE_BYTES_MAX : (this.random(600) + 1) * PAGE;
    this.say(`map ${isShared ? "shared" : "private"} ${isWritable ? "rw" : "r"} ${fileBytes} ${length} in ${life.process.pid}`);
    const address = this.run<number>(life.process.mmap(0, length, isWritable ? PROT_READ | PROT_WRITE : PROT_READ, isShared ? MAP_SHARED : MAP_PRIVATE, this.fd, fileBytes));
    life.mappings.push({ address, fileBytes, length, isShared, isWritable, copies: new Map() });
  }

  private someMapping(life: Live): { mapping: Live["mappings"][number]; at: number; length: number } | undefined {
    const mapping = life.mappings[this.random(Math.max(1, life.mappings.length))];
    if (mapping === undefined) return undefined;
    const inFile = Math.max(0, this.model.size - mapping.fileBytes);
    const at = this.random(Math.max(1, Math.min(mapping.length, this.random(8) === 0 ? mapping.length : inFile)));
    return { mapping, at, length: Math.min(mapping.length - at, this.random(5) === 0 ? this.random(200_000) + 1 : this.random(6000) + 1) };
  }

  private loadSome(life: Live): void {
    const some = this.someMapping(life);
    if (some === undefined) return;
    const { mapping, at, length } = some;
    this.check(`load ${mapping.fileBytes}+${at} ${length}`, () => this.unlessSignal(() => this.run<Uint8Array>(life.process.loadBytes(mapping.address + at, length))), this.model.load(mapping, at, length));
  }

  private storeSome(life: Live): void {
    const some = this.someMapping(life);
    if (some === undefined || !some.mapping.isWritable) return;
    const { mapping, at } = some;
    // What is stored behind the end of a shared page is nobody's: it is left alone.
    const length = mapping.isShared ? Math.min(some.length, this.model.size - mapping.fileBytes - at) : some.length;
    if (length <= 0) return;
    const data = this.bytes(length);
    this.say(`store ${mapping.isShared ? "shared" : "private"} ${mapping.fileBytes}+${at} ${length}`);
    const isDone = this.unlessSignal(() => {
      this.run(life.process.storeBytes(mapping.address + at, data));
      return data;
    }) !== undefined;
    expect(isDone, this.story.at(-1)).toBe(this.model.store(mapping, at, data));
  }

  private unlessSignal<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (error instanceof Signal) return undefined;
      throw error;
    }
  }

  private truncate({ process }: Live, size: number): void {
    this.say(`truncate ${size}`);
    this.run(process.ftruncate(this.fd, size));
    this.model.truncate(size, this.all);
  }

  private fallocate({ process }: Live, offset: number, length: number): void {
    if (this.row.fallocModes === "none") return;
    const kind = this.row.fallocModes === "punch" ? 0 : this.random(5);
    const { size } = this.model;
    if (kind <= 1) {
      this.say(`punch ${offset} ${length}`);
      this.run(process.fallocate(this.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length));
      this.model.zero(offset, length);
    } else if (kind === 2) {
      this.say(`zero ${offset} ${length}`);
      this.run(process.fallocate(this.fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length));
      this.model.zero(offset, length);
    } else if (kind === 3) {
      this.say(`reserve ${offset} ${length}`);
      this.run(process.fallocate(this.fd, FALLOC_FL_KEEP_SIZE, offset, length));
    } else {
      const isInsert = this.random(2) === 0 && size < FILE_BYTES_MAX - 2 ** 20;
      const from = Math.floor(this.random(Math.max(1, size)) / this.unit) * this.unit;
      const bytes = this.unit * (1 + this.random(4));
      if (isInsert ? from >= size : from + bytes >= size) return;
      this.say(`${isInsert ? "insert" : "collapse"} ${from} ${bytes}`);
      this.run(process.fallocate(this.fd, isInsert ? FALLOC_FL_INSERT_RANGE : FALLOC_FL_COLLAPSE_RANGE, from, bytes));
      this.model.shift(from, bytes, isInsert, this.all);
    }
  }

  private sync({ process, mappings }: Live): void {
    const kind = this.random(4);
    this.say(`sync ${kind}`);
    const [mapping] = mappings;
    if (kind === 0) this.run(process.fsync(this.fd));
    else if (kind === 1) this.run(process.fdatasync(this.fd));
    else if (kind === 2 && mapping !== undefined) this.run(process.msync(mapping.address, mapping.length, MS_SYNC));
    else this.run(process.sync());
  }

  private forkOrExit(life: Live): void {
    if (this.lives.length > 2) {
      this.say(`exit ${life.process.pid}`);
      this.run(life.process.exit());
      this.lives.splice(this.lives.indexOf(life), 1);
      return;
    }
    const child = this.run<Process>(life.process.fork());
    this.say(`fork ${life.process.pid} to ${child.pid}`);
    this.lives.push({ process: child, mappings: life.mappings.map((mapping) => ({ ...mapping, copies: new Map([...mapping.copies].map(([page, bytes]) => [page, bytes.slice()])) })) });
  }

  private unmapOrForget({ process, mappings }: Live): void {
    if (mappings.length === 0) return;
    const index = this.random(mappings.length);
    const { address, length, copies } = mappings[index]!;
    if (this.random(2) === 0) {
      this.say(`unmap ${index}`);
      this.run(process.munmap(address, length));
      mappings.splice(index, 1);
    } else {
      this.say(`forget ${index}`);
      this.run(process.madvise(address, length, MADV_DONTNEED));
      copies.clear();
    }
  }

  /** Data from one mapping is the buffer of a write, or that of a read. */
  private move(life: Live, offset: number): void {
    const some = this.someMapping(life);
    if (some === undefined) return;
    const { mapping, at, length } = some;
    const expected = this.model.load(mapping, at, length);
    if (expected === undefined || this.row.name.includes("of four pages")) return;
    this.say(`write from ${mapping.fileBytes}+${at} ${length} to ${offset}`);
    const count = Math.min(length, FILE_BYTES_MAX - offset);
    expect(this.run(life.process.pwrite(this.fd, { address: mapping.address + at, lengthBytes: count }, offset))).toBe(count);
    this.model.write(offset, expected.slice(0, count));
  }

  finish(): void {
    this.check("the whole file", () => this.pread(this.lives[0]!, 0, FILE_BYTES_MAX + 1), this.model.contents);
    const { world } = this;
    world.unmount();
    const image = join(temporaryFolder(), "disk.img");
    writeImage(image, world.image);
    const { status, stdout } = attempt("e2fsck", ["-fn", image]);
    expect(status, stdout).toBe(0);
    world.mount();
    this.run(world.process.open("/file", O_RDWR));
    this.check("the whole file after a remount", () => this.pread({ process: world.process, mappings: [] }, 0, FILE_BYTES_MAX + 1), this.model.contents);
  }
}

describe.each(ROWS)("$name", (row) => {
  test.each(Array.from({ length: SEEDS }, (_, index) => index + 1))("seed %i", (seed) => {
    const fsx = new Fsx(row, seed * 7919);
    try {
      for (let step = 0; step < STEPS; step++) fsx.step();
      fsx.finish();
    } catch (error) {
      if (error instanceof Error) error.message += `\nafter ${fsx.story.length} steps, of which the last:\n  ${fsx.story.slice(-25).join("\n  ")}`;
      throw error;
    }
  });
});
