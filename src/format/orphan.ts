/** A block of the orphan file: inode numbers (0: a free slot), and this tail in its last 8 bytes. Source: fs/ext4/orphan.c. */
import { layout, le32 } from "./layout.js";

export const EXT4_ORPHAN_BLOCK_MAGIC = 0x0b10ca04;

export const ext4_orphan_block_tail = layout("ext4_orphan_block_tail", 8, { ob_magic: le32(0), ob_checksum: le32(4) });
