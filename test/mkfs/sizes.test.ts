/** Filesystems of all sizes and shapes: byte for byte what mke2fs makes. */
import { describe, test } from "vitest";
import { checkRow, hasMke2fs, type Row } from "./beside.js";

/** That Linux uses what we make is shown with each feature (features.test.ts). */
const row = (size: string, options = "-t ext4"): Row => ({ options, size, isMountable: false });

const ROWS: readonly Row[] = [
  row("200k"), row("1M"), row("2M"), row("3M"), row("4M"), row("64M"), row("100M"), row("511M"), row("512M"), row("1G"), row("3G"), row("10G"), row("20G"), row("100G"), row("123457k"),
  row("10G", "-t ext3"), row("1G", "-t ext2"),
  row("1G", "-t ext4 -b 1024"), row("1G", "-t ext4 -b 2048"), row("64M", "-t ext4 -b 4096"), row("1G", "-t ext4 -b 8192"), row("1G", "-t ext4 -b 16384"), row("1G", "-t ext4 -b 32768"),
  row("1G", "-t ext4 -b 65536"), row("16G", "-t ext4 -b 65536"), row("64M", "-t ext4 -b -2048"),
  // An end that is too short for a group is left out, and then the groups may have to shrink.
  row("8200k", "-t ext4 -b 1024"), row("8250k", "-t ext4 -b 1024"), row("8700k", "-t ext4 -b 1024"), row("8900k", "-t ext4 -b 1024"), row("16600k", "-t ext4 -b 1024"), row("77777k", "-t ext4 -b 1024"),
  row("130M"), row("129M", "-t ext4 -b 4096"), row("131M", "-t ext4 -b 4096"), row("129M", "-t ext4 -m 7 -b 4096"),
  row("64M", "-t ext4 -i 1024 -b 4096"), row("1G", "-t ext4 -i 65536"), row("64M", "-t ext4 -N 12"), row("64M", "-t ext4 -N 100"), row("64M", "-t ext4 -N 60000"), row("3G", "-t ext4 -N 1000000"),
  row("64M", "-t ext4 -i 1024 -I 128"), row("321M", "-t ext4 -b 8192 -N 866"),
  row("64M", "-t ext4 -T news"), row("1G", "-t ext4 -T largefile"), row("64M", "-t ext4 -T largefile4"), row("1G", "-t ext4 -T small"), row("64M", "-t ext4 -T floppy,news"), row("1G", "-t ext4 -T big"),
  row("1G", "-t ext4 -T huge"), row("64M", "-t ext4 -T hurd"),
  row("64M", "-t ext4 -g 1024"), row("64M", "-t ext4 -b 1024 -g 256"), row("64M", "-t ext4 -b 1024 -g 512"),
  row("64M", "-t ext4 -G 1"), row("3G", "-t ext4 -G 4"), row("3G", "-t ext4 -G 1024"), row("1G", "-t ext4 -G 64 -b 1024"),
  row("64M", "-t ext4 -E packed_meta_blocks=1"), row("10G", "-t ext4 -E packed_meta_blocks=1"), row("64M", "-t ext4 -E packed_meta_blocks=1 -O ^flex_bg"),
  // Journals in pieces: one level of an extent tree, two, three.
  row("1G", "-t ext4 -b 1024 -J size=200"), row("256M", "-t ext4 -b 1024 -g 256 -O ^flex_bg,^resize_inode -J size=64"),
  row("300M", "-t ext4 -b 1024 -g 256 -O ^flex_bg,^resize_inode,^metadata_csum -J size=85"),
];

describe.runIf(hasMke2fs)("as mke2fs", () => {
  test.each(ROWS)("$size, $options", checkRow);
});
