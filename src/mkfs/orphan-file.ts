/** The orphan file: every slot free. */
import { inodeSeed, orphanBlockChecksum } from "../format/checksum.js";
import { EXT4_ORPHAN_BLOCK_MAGIC, ext4_orphan_block_tail } from "../format/orphan.js";
import { ext4_super_block as S } from "../format/superblock.js";
import { viewOf } from "../lib/view.js";
import { S_IFREG } from "../vfs/inode.js";
import type { Draft } from "./draft.js";
import { allocateFile, blockOf } from "./file-map.js";
import { newInode } from "./inode.js";
import { MkfsOptionError } from "./options.js";
import { amountInBlocks } from "./parameters.js";

/** Linux takes no longer one. */
const ORPHAN_BLOCKS = { min: 32, max: 512 } as const;
/** One block for so many of the filesystem. */
const FILESYSTEM_BLOCKS = 4096;

export function addOrphanFile(draft: Draft): void {
  const { sb } = draft;
  const blocks = Math.ceil(orphanBlocks(draft) / sb.clusterBlocks) * sb.clusterBlocks;
  const ino = draft.nextIno();
  const map = allocateFile(draft, { ino, blocks, name: "the orphan file" });
  const seed = inodeSeed(sb.csumSeed, ino, 0);
  for (let lblk = 0; lblk < blocks; lblk++) {
    const data = new Uint8Array(sb.blockBytes);
    const tailAt = data.length - ext4_orphan_block_tail.$.size;
    ext4_orphan_block_tail.ob_magic.set(viewOf(data), tailAt, EXT4_ORPHAN_BLOCK_MAGIC);
    if (sb.hasMetadataCsum) ext4_orphan_block_tail.ob_checksum.set(viewOf(data), tailAt, orphanBlockChecksum(data, blockOf(map, lblk), seed));
    draft.addContent(blockOf(map, lblk), data);
  }
  draft.addInode(ino, newInode(draft, { mode: S_IFREG | 0o600, links: 1, sizeBytes: blocks * sb.blockBytes, map }));
  S.s_orphan_file_inum.set(sb.view, 0, ino);
}

function orphanBlocks({ sb, parameters: { options } }: Draft): number {
  if (options.orphanFile === undefined) return Math.min(Math.max(Math.floor(sb.blocksCount / FILESYSTEM_BLOCKS), ORPHAN_BLOCKS.min), ORPHAN_BLOCKS.max);
  const blocks = amountInBlocks(options.orphanFile, sb.blockBytes);
  if (blocks < 1 || blocks > ORPHAN_BLOCKS.max) throw new MkfsOptionError("orphanFile", `an orphan file has 1 to ${ORPHAN_BLOCKS.max} blocks, not ${blocks}`);
  return blocks;
}
