/** mkfs -d: a folder of the host, planned into a filesystem, and its data on the way there. */
import type { Piece } from "../../mkfs/tree-source.js";
import { fixedTimeSec } from "../clock.js";
import { HostTree } from "../fill/host-tree.js";
import { PieceThreads } from "../fill/piece-threads.js";
import type { Output } from "../output.js";

export interface FillOptions {
  /** A folder of the host. */
  readonly directory: string;
  /** How the user calls the image, and the file that it is as long as it is made. */
  readonly image: string;
  readonly path: string;
  /** Where in the file the filesystem begins. */
  readonly startBytes: number;
  /** Nothing is written before the whole tree is known to fit. Otherwise data is copied while the rest is still being planned. */
  readonly isHeld: boolean;
}

export class Filling {
  readonly tree: HostTree;
  private readonly threads: PieceThreads;

  /** @throws Node's own error; FsError ENOTDIR. */
  constructor({ directory, image, path, startBytes, isHeld }: FillOptions, out: Output) {
    this.threads = new PieceThreads(path, startBytes, isHeld);
    const copy = (from: Uint8Array, piece: Piece): void => this.threads.copy(from, piece);
    this.tree = new HostTree(directory, { copy, image, latestSec: fixedTimeSec() }, out);
  }

  /** Returns when all data is in the image. @throws Node's own errors. */
  finish(): void {
    this.threads.finish();
    this.tree.finish();
  }

  /** Ends a filling that has failed. */
  abandon(): void {
    this.threads.abandon();
  }
}

/** What a plan is made with that nobody carries out. */
export function treeToPlan(directory: string, image: string, out: Output): HostTree {
  return new HostTree(directory, { copy: undefined, image, latestSec: fixedTimeSec() }, out);
}
