/**
 * What a mount for writing does with orphans: an inode without a link is deleted, one with links is cut to its size. Source: ext4_orphan_cleanup (fs/ext4/orphan.c).
 */
import { EXT4_ERROR_FS, ext4_super_block as S } from "../format/superblock.js";
import { INODE_CREDITS } from "./file-write.js";
import type { Task } from "../sched/task.js";
import { listOrphans, orphanDel, rememberOrphans } from "./orphan.js";
import type { Ext4 } from "./super.js";
import { deleteInode, ORPHAN_CREDITS, setSize } from "./truncate.js";

/** @throws CorruptionError the list is damaged. */
export function* processOrphans(fs: Ext4): Task<void> {
  const orphans = yield* listOrphans(fs);
  if (orphans.length === 0) return;
  if ((S.s_state.get(fs.sb.view, 0) & EXT4_ERROR_FS) !== 0) return; // e2fsck's work
  yield* rememberOrphans(fs);
  for (const ino of orphans) {
    const inode = yield* fs.igetSpecial(ino);
    if (inode.i_nlink === 0) yield* deleteInode(fs, inode);
    else {
      if (!inode.i_rwsem.tryWrite()) yield* inode.i_rwsem.write();
      try {
        if (inode.isRegular()) yield* setSize(fs, inode, inode.i_size);
      } finally {
        inode.i_rwsem.unlockWrite();
      }
      yield* fs.change(INODE_CREDITS + ORPHAN_CREDITS, function* (handle) {
        yield* orphanDel(handle, inode);
      });
    }
  }
}
