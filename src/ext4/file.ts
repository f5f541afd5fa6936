/**
 * Reading a regular file's data: straight from the device into the reader's buffer, one request per run of blocks, all of them
 * submitted at once. Holes and unwritten extents are zeroes. Source: fs/ext4/file.c, fs/ext4/readpage.c.
 */
import type { Bio } from "../block/device.js";
import { EXT4_ENCRYPT_FL, EXT4_INLINE_DATA_FL } from "../format/inode.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { readInlineData } from "./inline.js";
import type { Ext4Inode } from "./inode.js";
import { mapBlocks } from "./map.js";
import type { Ext4 } from "./super.js";

/** @throws FsError ENOKEY the file is encrypted; EIO; CorruptionError the map is damaged. */
export function* readData(fs: Ext4, inode: Ext4Inode, offsetBytes: number, into: Uint8Array): Task<number> {
  if ((inode.i_flags & EXT4_ENCRYPT_FL) !== 0) throw new FsError("ENOKEY", "the file is encrypted, and its key is not here");
  return yield* readBlocks(fs, inode, offsetBytes, into);
}

/** The same without a look at the encryption flag: directories, EA inodes and the journal are read so, too. */
export function* readBlocks(fs: Ext4, inode: Ext4Inode, offsetBytes: number, into: Uint8Array): Task<number> {
  const wanted = Math.max(0, Math.min(into.length, inode.i_size - offsetBytes));
  if (wanted === 0) return 0;
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0) {
    const data = yield* readInlineData(fs, inode);
    into.fill(0, 0, wanted);
    into.set(data.subarray(Math.min(offsetBytes, data.length), Math.min(offsetBytes + wanted, data.length)));
    return wanted;
  }
  const { blockBytes } = fs;
  const bios: Bio[] = [];
  for (let done = 0; done < wanted;) {
    const lblk = Math.floor((offsetBytes + done) / blockBytes);
    const skippedBytes = offsetBytes + done - lblk * blockBytes;
    const mapping = yield* mapBlocks(fs, inode, lblk, Math.ceil((skippedBytes + wanted - done) / blockBytes));
    const length = Math.min(mapping.count * blockBytes - skippedBytes, wanted - done);
    const data = into.subarray(done, done + length);
    if (mapping.state === "written") bios.push({ op: "read", offsetBytes: mapping.pblk * blockBytes + skippedBytes, data });
    else data.fill(0);
    done += length;
  }
  if (bios.length > 0) yield* fs.device.submit(bios);
  return wanted;
}
