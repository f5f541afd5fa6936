/** Quota files of a new filesystem: files that nobody can see, with what every user, group and project takes. */
import {
  EXT4_EA_INODE_FL, EXT4_GOOD_OLD_INODE_BYTES, EXT4_GRP_QUOTA_INO, EXT4_IMMUTABLE_FL, EXT4_ROOT_INO, EXT4_USR_QUOTA_INO, ext4_inode, inodeBlocks, inodeGid, inodeUid,
} from "../format/inode.js";
import {
  QUOTA_BLOCK_BYTES, QUOTA_MAGICS, QUOTA_TREE_AT, QUOTA_TREE_DEPTH, QUOTA_VERSION, qt_disk_dqdbheader, v2_disk_dqheader, v2_disk_dqinfo, v2r1_disk_dqblk,
} from "../format/quota.js";
import { ext4_super_block as S } from "../format/superblock.js";
import type { Ino } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import { S_IFREG } from "../vfs/inode.js";
import type { Draft } from "./draft.js";
import { allocateFile, blockOf } from "./file-map.js";
import { FIRST_INO } from "./geometry.js";
import { newInode } from "./inode.js";
import type { QuotaType } from "./options.js";

const GRACE_SEC = 7 * 24 * 3600;
const SECTOR_BYTES = 512;
const ENTRIES_PER_BLOCK = Math.floor((QUOTA_BLOCK_BYTES - qt_disk_dqdbheader.$.size) / v2r1_disk_dqblk.$.size);

interface Usage {
  inodes: number;
  bytes: number;
}

/** Those of the types that were asked for. The files of users and groups have inodes kept for them. */
export function addQuotaFiles(draft: Draft): void {
  const { view } = draft.sb;
  for (const type of draft.parameters.quotaTypes) {
    const ino = type === "usrquota" ? EXT4_USR_QUOTA_INO : type === "grpquota" ? EXT4_GRP_QUOTA_INO : draft.nextIno();
    const field = type === "usrquota" ? S.s_usr_quota_inum : type === "grpquota" ? S.s_grp_quota_inum : S.s_prj_quota_inum;
    field.set(view, 0, ino);
    addFile(draft, ino, quotaFile(type, usageBy(draft, type)));
  }
}

function addFile(draft: Draft, ino: Ino, content: Uint8Array): void {
  const { blockBytes } = draft.sb;
  const blocks = Math.ceil(content.length / blockBytes);
  const map = allocateFile(draft, { ino, blocks, order: writingOrder(blocks, blockBytes), name: "quota files" });
  const padded = new Uint8Array(blocks * blockBytes);
  padded.set(content);
  for (let lblk = 0; lblk < blocks; lblk++) draft.addContent(blockOf(map, lblk), padded.subarray(lblk * blockBytes, (lblk + 1) * blockBytes));
  draft.addInode(ino, newInode(draft, { mode: S_IFREG | 0o600, links: 1, sizeBytes: content.length, flags: EXT4_IMMUTABLE_FL, map }));
}

/** The root of the tree is written when the first entry below it is. */
function writingOrder(blocks: number, blockBytes: number): number[] {
  const ascending = Array.from({ length: blocks }, (_, lblk) => lblk);
  if (blockBytes > QUOTA_BLOCK_BYTES) return ascending;
  const firstEntryAt = QUOTA_TREE_AT + QUOTA_TREE_DEPTH;
  return [...ascending.slice(0, QUOTA_TREE_AT), ...ascending.slice(QUOTA_TREE_AT + 1, firstEntryAt + 1), QUOTA_TREE_AT, ...ascending.slice(firstEntryAt + 1)];
}

/** By id, ascending; what belongs to the filesystem itself is nobody's. */
function usageBy(draft: Draft, type: QuotaType): [number, Usage][] {
  const usages = new Map<number, Usage>();
  const { inodes } = draft;
  for (let ino = EXT4_ROOT_INO; ino <= draft.lastIno; ino++) {
    if (!isOfUser(draft, ino)) continue;
    const view = inodes.viewOf(ino);
    const at = inodes.offsetOf(ino);
    const projid = draft.sb.inodeBytes > EXT4_GOOD_OLD_INODE_BYTES ? ext4_inode.i_projid.get(view, at) : 0;
    const id = type === "usrquota" ? inodeUid(view, at) : type === "grpquota" ? inodeGid(view, at) : projid;
    let usage = usages.get(id);
    if (usage === undefined) usages.set(id, (usage = { inodes: 0, bytes: 0 }));
    // An attribute's value in an inode of its own counts as its owner's.
    usage.inodes += 1 + (draft.heldInodes.get(ino) ?? 0);
    usage.bytes += inodeBlocks(view, at, true) * SECTOR_BYTES;
  }
  return [...usages].sort(([a], [b]) => a - b);
}

/** Not the filesystem's own, and none that holds a value of another's. */
function isOfUser({ sb, inodes }: Draft, ino: Ino): boolean {
  const isSystem = ino === S.s_prj_quota_inum.get(sb.view, 0) || ino === S.s_orphan_file_inum.get(sb.view, 0) || (ino < FIRST_INO && ino !== EXT4_ROOT_INO);
  return !isSystem && (ext4_inode.i_flags.get(inodes.viewOf(ino), inodes.offsetOf(ino)) & EXT4_EA_INODE_FL) === 0;
}

/** Entries in the order of their ids, behind the blocks of the tree that lead to the first of them. */
function quotaFile(type: QuotaType, usages: readonly (readonly [number, Usage])[]): Uint8Array {
  const blocks = [new Uint8Array(QUOTA_BLOCK_BYTES), new Uint8Array(QUOTA_BLOCK_BYTES)];
  const addBlock = (): number => blocks.push(new Uint8Array(QUOTA_BLOCK_BYTES)) - 1;
  let entriesAt = 0;
  usages.forEach(([id, usage], index) => {
    const inBlock = index % ENTRIES_PER_BLOCK;
    let tree = blocks[QUOTA_TREE_AT]!;
    for (let level = 0; level < QUOTA_TREE_DEPTH; level++) {
      const reference = ((id >>> (8 * (QUOTA_TREE_DEPTH - 1 - level))) & 0xff) * 4;
      const isLeaf = level === QUOTA_TREE_DEPTH - 1;
      let below = viewOf(tree).getUint32(reference, true);
      if (below === 0) below = isLeaf && inBlock > 0 ? entriesAt : addBlock();
      viewOf(tree).setUint32(reference, below, true);
      if (isLeaf) entriesAt = below;
      tree = blocks[below]!;
    }
    writeUsage(viewOf(tree), inBlock, id, usage);
  });
  const header = viewOf(blocks[0]!);
  v2_disk_dqheader.dqh_magic.set(header, 0, QUOTA_MAGICS[type]);
  v2_disk_dqheader.dqh_version.set(header, 0, QUOTA_VERSION);
  const infoAt = v2_disk_dqheader.$.size;
  v2_disk_dqinfo.dqi_bgrace.set(header, infoAt, GRACE_SEC);
  v2_disk_dqinfo.dqi_igrace.set(header, infoAt, GRACE_SEC);
  v2_disk_dqinfo.dqi_blocks.set(header, infoAt, blocks.length);
  const hasRoom = usages.length % ENTRIES_PER_BLOCK !== 0;
  v2_disk_dqinfo.dqi_free_entry.set(header, infoAt, hasRoom ? entriesAt : 0);
  const file = new Uint8Array(blocks.length * QUOTA_BLOCK_BYTES);
  blocks.forEach((block, index) => file.set(block, index * QUOTA_BLOCK_BYTES));
  return file;
}

function writeUsage(block: DataView, index: number, id: number, usage: Usage): void {
  qt_disk_dqdbheader.dqdh_entries.set(block, 0, index + 1);
  const at = qt_disk_dqdbheader.$.size + index * v2r1_disk_dqblk.$.size;
  v2r1_disk_dqblk.dqb_id.set(block, at, id);
  v2r1_disk_dqblk.dqb_curinodes.set(block, at, usage.inodes);
  v2r1_disk_dqblk.dqb_curspace.set(block, at, usage.bytes);
}
