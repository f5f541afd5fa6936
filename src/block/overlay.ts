/**
 * Copy on write: what is written stays in memory, in whole blocks, and the device below is never written. Journal recovery on a read-only open
 * goes here. Memory: one block and a map entry for each block written.
 */
import type { Task } from "../sched/task.js";
import type { Bio, BlockDevice } from "./device.js";
import { checkBio } from "./leaf.js";

export class OverlayDevice implements BlockDevice {
  readonly readOnly = false;
  private readonly blocks = new Map<number, Uint8Array>();

  constructor(private readonly base: BlockDevice, readonly blockBytes = 4096) {}

  get name(): string {
    return this.base.name;
  }

  get sizeBytes(): number {
    return this.base.sizeBytes;
  }

  /** What differs from the device below: block index and content. */
  get changedBlocks(): ReadonlyMap<number, Uint8Array> {
    return this.blocks;
  }

  *submit(bios: readonly Bio[]): Task<void> {
    const below: Bio[] = [];
    for (const bio of bios) {
      checkBio(this, bio);
      if (bio.op === "write") yield* this.write(bio);
      else if (bio.op === "read") below.push(...this.splitRead(bio));
    }
    if (below.length > 0) yield* this.base.submit(below);
  }

  /** Copies what is here into the reader's buffer, and returns requests for what is not. */
  private splitRead(bio: Bio): Bio[] {
    const { blockBytes } = this;
    const end = bio.offsetBytes + bio.data.length;
    const rest: Bio[] = [];
    let from = bio.offsetBytes; // where the request for the device below begins
    const ask = (to: number): void => {
      if (to > from) rest.push({ op: "read", offsetBytes: from, data: bio.data.subarray(from - bio.offsetBytes, to - bio.offsetBytes) });
    };
    for (let index = Math.floor(bio.offsetBytes / blockBytes); index * blockBytes < end; index++) {
      const block = this.blocks.get(index);
      if (block === undefined) continue;
      const start = Math.max(index * blockBytes, bio.offsetBytes);
      const stop = Math.min((index + 1) * blockBytes, end);
      ask(start);
      bio.data.set(block.subarray(start - index * blockBytes, stop - index * blockBytes), start - bio.offsetBytes);
      from = stop;
    }
    ask(end);
    return rest;
  }

  private *write(bio: Bio): Task<void> {
    const { blockBytes } = this;
    const end = bio.offsetBytes + bio.data.length;
    for (let index = Math.floor(bio.offsetBytes / blockBytes); index * blockBytes < end; index++) {
      const start = index * blockBytes;
      const isWhole = bio.offsetBytes <= start && end >= Math.min(start + blockBytes, this.sizeBytes);
      const block = this.blocks.get(index) ?? (yield* this.takeUp(index, isWhole));
      const from = Math.max(start, bio.offsetBytes);
      block.set(bio.data.subarray(from - bio.offsetBytes, Math.min(end, start + block.length) - bio.offsetBytes), from - start);
    }
  }

  /** Begins to hold a block. What it has below is read unless all of it is overwritten. */
  private *takeUp(index: number, isOverwritten: boolean): Task<Uint8Array> {
    const offsetBytes = index * this.blockBytes;
    const block = new Uint8Array(Math.min(this.blockBytes, this.sizeBytes - offsetBytes));
    if (!isOverwritten) yield* this.base.submit([{ op: "read", offsetBytes, data: block }]);
    // Meanwhile another task may have written to the block: what is here counts, not what was read.
    const known = this.blocks.get(index);
    if (known === undefined) this.blocks.set(index, block);
    return known ?? block;
  }

  *close(): Task<void> {
    yield* this.base.close();
  }
}
