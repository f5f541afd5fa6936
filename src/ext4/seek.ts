/** SEEK_DATA and SEEK_HOLE: data is what is written on disk or dirty in memory; an unwritten extent counts as a hole. Source: ext4_seek_data, ext4_seek_hole (fs/ext4/file.c). */
import { EXT4_INLINE_DATA_FL } from "../format/inode.js";
import { FsError } from "../lib/errno.js";
import type { Lblk } from "../lib/numbers.js";
import type { AddressSpace } from "../mm/address-space.js";
import type { Task } from "../sched/task.js";
import type { Ext4Inode } from "./inode.js";
import { mapBlocks } from "./map.js";
import type { Ext4 } from "./super.js";

/** The first byte at or behind `offsetBytes` that is data, or in a hole; behind the last data is a hole. @throws FsError ENXIO there is none. */
export function* seek(fs: Ext4, inode: Ext4Inode, offsetBytes: number, wanted: "data" | "hole"): Task<number> {
  const sizeBytes = inode.i_size;
  if (!(offsetBytes >= 0 && offsetBytes < sizeBytes)) throw new FsError("ENXIO");
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0) return wanted === "data" ? offsetBytes : sizeBytes;
  const end = Math.ceil(sizeBytes / fs.blockBytes);
  for (let lblk = Math.floor(offsetBytes / fs.blockBytes); lblk < end;) {
    const { state, count } = yield* mapBlocks(fs, inode, lblk, end - lblk);
    const found = state === "written" ? (wanted === "data" ? lblk : undefined) : findInHole(inode.i_mapping, lblk, lblk + count, wanted);
    if (found !== undefined) return Math.max(offsetBytes, found * fs.blockBytes);
    lblk += count;
  }
  if (wanted === "hole") return sizeBytes;
  throw new FsError("ENXIO");
}

/** In what is a hole on disk, dirty blocks are data. */
function findInHole(mapping: AddressSpace, first: Lblk, stop: Lblk, wanted: "data" | "hole"): Lblk | undefined {
  const perFolio = mapping.blocksPerFolio;
  for (let at = first; at < stop;) {
    const folio = mapping.nextDirty(Math.floor(at / perFolio), Math.ceil(stop / perFolio));
    const dirtyFrom = folio === undefined ? stop : Math.max(at, folio.index * perFolio);
    if (wanted === "hole" && at < dirtyFrom) return at;
    for (at = dirtyFrom; folio !== undefined && at < Math.min(stop, (folio.index + 1) * perFolio); at++) {
      if (((folio.dirtyBlocks >>> (at % perFolio)) & 1) === (wanted === "data" ? 1 : 0)) return at;
    }
  }
  return undefined;
}
