/** The block of multi-mount protection of a filesystem that nobody has mounted yet. */
import { EXT4_MMP_MAGIC, EXT4_MMP_SEQ_CLEAN, mmp_struct, sealMmp } from "../format/mmp.js";
import { ext4_super_block as S } from "../format/superblock.js";
import { viewOf } from "../lib/view.js";
import type { Draft } from "./draft.js";

export function addMmpBlock(draft: Draft): void {
  const { sb, parameters } = draft;
  const { first: block } = draft.take(sb.firstDataBlock, 1, "the block of multi-mount protection");
  const data = new Uint8Array(sb.blockBytes);
  const view = viewOf(data);
  mmp_struct.mmp_magic.set(view, 0, EXT4_MMP_MAGIC);
  mmp_struct.mmp_seq.set(view, 0, EXT4_MMP_SEQ_CLEAN);
  mmp_struct.mmp_time.set(view, 0, parameters.options.timeSec);
  mmp_struct.mmp_check_interval.set(view, 0, parameters.mmpIntervalSec);
  if (sb.hasMetadataCsum) sealMmp(data, sb.csumSeed);
  draft.addContent(block, data);
  S.s_mmp_block.set(sb.view, 0, block);
}
