/** Reads everything that an image holds, in every way there is, and says how it ended. */
import { readDirBlock } from "../../src/ext4/dir.js";
import { blockBitmap, inodeBitmap } from "../../src/ext4/bitmaps.js";
import { isIndexed, readRoot } from "../../src/ext4/htree.js";
import { listOrphans } from "../../src/ext4/orphan.js";
import { CorruptionError, UnsupportedFeatureError } from "../../src/format/corruption.js";
import { FsError } from "../../src/lib/errno.js";
import { Ext4, MemoryDevice } from "../../src/platform/node/index.js";
import { ourTree, treeDifferences, type Tree } from "../support/tree.js";

export type Ending = "right" | "different" | "corruption" | "unsupported";

/** What one run may take: an image of some MiB is read in a fraction of it. */
export const TIME_MS_MAX = 10_000;

/**
 * Mounts and reads it all. @throws whatever is neither corruption nor an unknown feature: an assertion, a RangeError, a hang's end.
 */
export function exercise(image: Uint8Array, pristine: Tree, checksum: boolean): Ending {
  const started = performance.now();
  try {
    const volume = Ext4.openSync(new MemoryDevice(image, { readOnly: true }), { checksum });
    const { fs } = volume;
    const tree = ourTree(volume);
    volume.statfsSync("/");
    volume.runSync(listOrphans(fs));
    for (let group = 0; group < fs.sb.groupsCount; group++) {
      volume.runSync(blockBitmap(fs, group));
      volume.runSync(inodeBitmap(fs, group));
    }
    for (const [path, node] of tree) {
      const bytes = Buffer.from(path, "latin1");
      volume.runSync((function* () {
        const inode = yield* fs.iget(Number(node.ino));
        yield* inode.fiemap(0, 2 ** 32);
        if (inode.isDirectory() && isIndexed(fs, inode)) readRoot(fs, inode, (yield* readDirBlock(fs, inode, 0)).buffer);
      })());
      if (!bytes.includes(0)) volume.lstatSync(bytes, { throwIfNoEntry: false }); // finds the name by the hash tree
    }
    return treeDifferences(pristine, tree, new Set(), 1).length === 0 && fs.warnings.length === 0 ? "right" : "different";
  } catch (error) {
    if (error instanceof CorruptionError) {
      if (Object.values(error.where).every((value) => value === undefined)) throw new Error(`${error.message}: this says not where`, { cause: error });
      return "corruption";
    }
    if (error instanceof UnsupportedFeatureError) return "unsupported";
    if (error instanceof FsError && ["ENOKEY", "ENAMETOOLONG"].includes(error.code)) return "different";
    throw error;
  } finally {
    const tookMs = performance.now() - started;
    if (tookMs > TIME_MS_MAX) throw new Error(`it took ${tookMs} ms`);
  }
}
