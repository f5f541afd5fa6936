/** A map of names that knows nothing of blocks, changed together with a directory. */
import { expect } from "vitest";
import { addEntry, deleteEntry, replaceEntry } from "../../src/ext4/dir-write.js";
import { findEntry } from "../../src/ext4/namei.js";
import type { WalkEntry } from "../../src/vfs/walk.js";
import { S_IFREG } from "../../src/vfs/inode.js";
import type { DirWorld } from "./dir-world.js";
import type { Prng } from "../../src/lib/prng.js";

/** Names as map keys: one character per byte. */
const keyOf = (name: Uint8Array): string => Buffer.from(name).toString("latin1");
const nameOf = (key: string): Uint8Array => new Uint8Array(Buffer.from(key, "latin1"));

const LOOKUPS = 200;

export class DirModel {
  private readonly keys: string[];

  /** @param inoOf the names that the directory has. */
  constructor(readonly world: DirWorld, private readonly random: Prng, private readonly makeName: (random: Prng) => Uint8Array, readonly inoOf = new Map<string, number>()) {
    this.keys = [...inoOf.keys()];
  }

  add(name = this.makeName(this.random)): void {
    const key = keyOf(name);
    if (this.inoOf.has(key)) return this.replace(key);
    const { fs, dir, files } = this.world;
    const file = this.random.pick(files);
    this.world.change((handle) => addEntry(handle, fs, dir, name, file.i_ino, S_IFREG));
    this.inoOf.set(key, file.i_ino);
    this.keys.push(key);
  }

  replace(key = this.random.pick(this.keys)): void {
    const { fs, dir, files } = this.world;
    const file = this.random.pick(files);
    this.world.change((handle) => replaceEntry(handle, fs, dir, nameOf(key), file.i_ino, S_IFREG));
    this.inoOf.set(key, file.i_ino);
  }

  delete(name?: Uint8Array): void {
    const { fs, dir } = this.world;
    const index = name === undefined ? this.random.below(this.keys.length) : this.keys.indexOf(keyOf(name));
    const key = this.keys[index]!;
    this.keys[index] = this.keys[this.keys.length - 1]!;
    this.keys.pop();
    this.world.change((handle) => deleteEntry(handle, fs, dir, nameOf(key)));
    this.inoOf.delete(key);
  }

  step(addPercent: number): void {
    const choice = this.random.below(100);
    if (this.keys.length === 0 || choice < addPercent) this.add();
    else if (choice < addPercent + 10) this.replace();
    else this.delete();
  }

  list(): WalkEntry[] {
    return this.world.list();
  }

  /** What the directory lists, and what lookups find. */
  check(): void {
    const { world } = this;
    const listed = world.list().map(({ name, ino }) => [keyOf(name), ino] as const);
    expect(listed.sort()).toEqual([...this.inoOf].sort());
    for (let tries = 0; tries < LOOKUPS && this.keys.length > 0; tries++) {
      const key = this.random.pick(this.keys);
      expect(world.run(findEntry(world.fs, world.dir, nameOf(key)))).toBe(this.inoOf.get(key));
      const other = this.makeName(this.random);
      expect(world.run(findEntry(world.fs, world.dir, other))).toBe(this.inoOf.get(keyOf(other)));
    }
  }
}
