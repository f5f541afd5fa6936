/**
 * Inodes that were unlinked while open, or caught in a truncate: a list through the inodes' i_dtime from the superblock on, and slots in the orphan file.
 * A reader leaves them alone; this says which they are. Source: fs/ext4/orphan.c.
 */
import { orphanBlockChecksum } from "../format/checksum.js";
import { CorruptionError } from "../format/corruption.js";
import { COMPAT } from "../format/features.js";
import { EXT4_ORPHAN_BLOCK_MAGIC, ext4_orphan_block_tail } from "../format/orphan.js";
import { ext4_super_block as S } from "../format/superblock.js";
import type { Ino } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { listExtents } from "./map.js";
import type { Ext4 } from "./super.js";

const TAIL_BYTES = ext4_orphan_block_tail.$.size;

/** All orphans, those of the list first. @throws CorruptionError orphan-list (out of range, or a loop), orphan-file, orphan-checksum. */
export function* listOrphans(fs: Ext4): Task<Ino[]> {
  const orphans = new Set<Ino>();
  for (let ino = S.s_last_orphan.get(fs.sb.view, 0); ino !== 0;) {
    if (ino < fs.sb.firstIno || ino > fs.sb.inodesCount) throw new CorruptionError("orphan-list", { ino, expected: `${fs.sb.firstIno}..${fs.sb.inodesCount}` });
    if (orphans.has(ino)) throw new CorruptionError("orphan-list", { ino, found: "a loop" });
    orphans.add(ino);
    ino = (yield* fs.igetSpecial(ino)).i_dtime;
  }
  for (const ino of yield* orphanFileEntries(fs)) orphans.add(ino);
  return [...orphans];
}

function* orphanFileEntries(fs: Ext4): Task<Ino[]> {
  const fileIno = S.s_orphan_file_inum.get(fs.sb.view, 0);
  if (!fs.sb.has(COMPAT.orphan_file, "compat") || fileIno === 0) return [];
  const file = yield* fs.igetSpecial(fileIno);
  const orphans: Ino[] = [];
  for (const extent of yield* listExtents(fs, file, 0, Math.ceil(file.i_size / fs.blockBytes))) {
    for (let block = extent.pblk; block < extent.pblk + extent.count; block++) {
      const { view, data } = fs.cache.peek(block) ?? (yield* fs.cache.read(block));
      const place = { ino: fileIno, block };
      const tail = fs.blockBytes - TAIL_BYTES;
      const magic = ext4_orphan_block_tail.ob_magic.get(view, tail);
      if (magic !== EXT4_ORPHAN_BLOCK_MAGIC) throw new CorruptionError("orphan-file", { ...place, found: magic, expected: EXT4_ORPHAN_BLOCK_MAGIC });
      if (fs.sb.hasMetadataCsum && fs.verifyChecksums) {
        const found = ext4_orphan_block_tail.ob_checksum.get(view, tail);
        const expected = orphanBlockChecksum(data, block, file.csumSeed);
        if (found !== expected) throw new CorruptionError("orphan-checksum", { ...place, found, expected });
      }
      for (let at = 0; at < tail; at += 4) {
        const ino = view.getUint32(at, true);
        if (ino > fs.sb.inodesCount) throw new CorruptionError("orphan-file", { ...place, offset: at, found: ino });
        if (ino !== 0) orphans.push(ino);
      }
    }
  }
  return orphans;
}
