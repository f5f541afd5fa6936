/** Writing a whole extent tree at once: leaves from left to right, then as many levels of index as bring it down to what the inode's root holds. */
import { writeBytes } from "../block/device.js";
import { extentBlockChecksum } from "../format/checksum.js";
import { EXT_ENTRY_BYTES, ext4_extent_header, ext4_extent_tail, extentLengthMax, indexPblock, initNode, nodeCapacity, setExtent, setIndex, type Extent } from "../format/extent.js";
import { EXT4_EXTENTS_FL } from "../format/inode.js";
import type { Lblk, Pblk } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import type { Task } from "../sched/task.js";
import type { FileExtent } from "../vfs/inode.js";
import { entryAt, nodeDepth, walkExtentTree } from "./extents.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

/** An entry of a node to be: a leaf's extent, or an index entry for a block below. */
type Entry = Extent | { readonly lblk: Lblk; readonly pblk: Pblk };

/** Blocks of the tree itself, each as a run of one. */
export function* extentTreeBlocks(fs: Ext4, inode: Ext4Inode): Task<FileExtent[]> {
  const blocks: FileExtent[] = [];
  if ((inode.i_flags & EXT4_EXTENTS_FL) === 0) return blocks;
  yield* walkExtentTree(fs, inode, (node, slot) => {
    if (nodeDepth(node) > 0) blocks.push({ lblk: 0, pblk: indexPblock(node.view, entryAt(node, slot)), count: 1, unwritten: false });
  });
  return blocks;
}

/** Writes the tree of `extents` with its root into `root` (an inode's i_block). Returns how many blocks it took from `takeBlock`. */
export function* buildExtentTree(fs: Ext4, root: Uint8Array, extents: readonly FileExtent[], seed: number, takeBlock: () => Task<Pblk>): Task<number> {
  const rootMax = nodeCapacity(root.length);
  const blockMax = nodeCapacity(fs.blockBytes);
  let entries: Entry[] = extents.flatMap(splitLong);
  let depth = 0;
  let taken = 0;
  while (entries.length > rootMax) {
    const above: Entry[] = [];
    for (let from = 0; from < entries.length; from += blockMax) {
      const part = entries.slice(from, from + blockMax);
      const block = new Uint8Array(fs.blockBytes);
      writeNode(block, part, depth, blockMax);
      if (fs.sb.hasMetadataCsum) ext4_extent_tail.et_checksum.set(viewOf(block), EXT_ENTRY_BYTES * (1 + blockMax), extentBlockChecksum(block, seed));
      const pblk = yield* takeBlock();
      yield* writeBytes(fs.device, pblk * fs.blockBytes, block);
      fs.cache.invalidate(pblk);
      above.push({ lblk: part[0]!.lblk, pblk });
      taken++;
    }
    entries = above;
    depth++;
  }
  root.fill(0);
  writeNode(root, entries, depth, rootMax);
  return taken;
}

/** What is longer than an extent on disk may be becomes several. */
function splitLong({ lblk, pblk, count, unwritten }: FileExtent): Entry[] {
  const max = extentLengthMax(unwritten);
  const parts: Entry[] = [];
  for (let done = 0; done < count; done += max) parts.push({ lblk: lblk + done, pblk: pblk + done, count: Math.min(max, count - done), unwritten });
  return parts;
}

function writeNode(node: Uint8Array, entries: readonly Entry[], depth: number, max: number): void {
  const view = viewOf(node);
  initNode(view, 0, max, depth);
  ext4_extent_header.eh_entries.set(view, 0, entries.length);
  entries.forEach((entry, index) => {
    const at = EXT_ENTRY_BYTES * (index + 1);
    if ("count" in entry) setExtent(view, at, entry);
    else setIndex(view, at, entry.lblk, entry.pblk);
  });
}
