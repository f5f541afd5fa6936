/** Filesystems of every kind, one feature after the other: byte for byte what mke2fs makes. */
import { describe, test } from "vitest";
import { notTestedHere } from "../support/host.js";
import { checkRow, hasMke2fs, type Row } from "./beside.js";

/** Linux waits long for whoever else may have an image with mmp, and keeps checksums of its own kind where another system is the creator. */
const row = (options: string, size = "64M"): Row => ({ options, size, isMountable: !/\bmmp\b|-o freebsd/.test(options) });

const ROWS: readonly Row[] = [
  row("-t ext2"), row("-t ext2", "2M"), row("-t ext2 -r 0"), row("-t ext2 -r 0 -b 4096"), row("-t ext2 -j"), row("-t ext2 -J size=4"),
  row("-t ext3"), row("-t ext3 -b 1024 -I 128", "200M"), row("-t ext3 -b 2048", "300M"), row("-t ext4 -r 0"),
  row("-t ext4 -I 128"), row("-t ext4 -I 512"), row("-t ext4 -I 1024"),
  row("-t ext4 -O ^64bit"), row("-t ext4 -O ^metadata_csum"), row("-t ext4 -O ^metadata_csum,uninit_bg"), row("-t ext4 -O ^metadata_csum,uninit_bg,^64bit"),
  row("-t ext4 -O metadata_csum,uninit_bg"), row("-t ext4 -O metadata_csum_seed"), row("-t ext4 -O ^extent,^64bit"), row("-t ext4 -O ^filetype"), row("-t ext4 -O ^extra_isize"),
  row("-t ext4 -O ^dir_index"), row("-t ext4 -O ^large_file", "5G"), row("-t ext4 -O none"), row("-t ext4 -O none,extent,^sparse_super"),
  row("-t ext4 -O ^flex_bg"), row("-t ext4 -O ^flex_bg -E stride=16,stripe_width=64", "3G"), row("-t ext4 -E stride=16,stripe_width=64"),
  row("-t ext4 -O ^sparse_super,^resize_inode"), row("-t ext4 -O sparse_super2"), row("-t ext4 -O sparse_super2 -E num_backup_sb=1"), row("-t ext4 -O sparse_super2 -E num_backup_sb=0"),
  row("-t ext4 -O sparse_super2 -b 1024", "12M"), row("-t ext4 -O ^resize_inode"), row("-t ext4 -E resize=1000000"), row("-t ext4 -O ^resize_inode -E resize=100G"), row("-t ext4 -E resize=10T", "3G"),
  row("-t ext4 -O meta_bg,^resize_inode"), row("-t ext4 -O meta_bg,^resize_inode -b 1024 -g 256", "96M"), row("-t ext4 -O meta_bg,^resize_inode,^64bit -b 1024 -g 256", "96M"),
  row("-t ext4 -O meta_bg,^resize_inode,^flex_bg -b 1024 -g 1024"), row("-t ext4 -O meta_bg,^resize_inode,bigalloc -b 1024", "512M"),
  row("-t ext4 -O bigalloc"), row("-t ext4 -O bigalloc -b 4096 -C 16384", "1G"), row("-t ext4 -O bigalloc -b 1024 -C 8192", "96M"), row("-t ext4 -O bigalloc -b 4096 -C 4096", "96M"),
  row("-t ext4 -O bigalloc -b 4096 -C 1048576", "4G"), row("-t ext4 -O bigalloc,^flex_bg -b 4096 -C 16384", "1G"), row("-t ext4 -O bigalloc -g 512"),
  row("-t ext4 -O quota"), row("-t ext4 -O quota,project"), row("-t ext4 -O quota -E quotatype=usrquota:prjquota"), row("-t ext4 -O quota -E root_owner=1000:2000"),
  row("-t ext4 -O quota -E root_owner=70000:4294967294 -b 4096"), row("-t ext4 -O quota,bigalloc,project"), row("-t ext4 -O quota,^extent,^64bit"),
  row("-t ext4 -O orphan_file"), row("-t ext4 -O orphan_file,bigalloc -b 4096", "3G"), row("-t ext4 -O orphan_file,^extent,^64bit"), row("-t ext4 -O orphan_file -E orphan_file_size=5"),
  row("-t ext4 -O orphan_file -E orphan_file_size=256K"), row("-t ext4 -O mmp"), row("-t ext4 -O mmp -E mmp_update_interval=20"),
  row("-t ext4 -O encrypt,verity,stable_inodes,large_dir,ea_inode"), row("-t ext4 -O casefold"), row("-t ext4 -E encoding=utf8,encoding_flags=strict"),
  row("-t ext4 -O inline_data"), row("-t ext4 -O inline_data -I 1024 -b 4096"), row("-t ext4 -O inline_data,quota"),
  row("-t ext4 -O ^has_journal"), row("-t ext4 -J size=16"), row("-t ext4 -J size=8,location=40000"), row("-t ext4 -J size=8,location=40M"), row("-t ext3 -J size=8,location=40000"),
  row("-t ext4 -O fast_commit"), row("-t ext4 -O fast_commit -J size=8"), row("-t ext4 -O fast_commit -J fast_commit_size=2560 -b 4096", "128M"),
  row("-t ext4 -o hurd"), row("-t ext4 -o freebsd"), row("-t ext4 -m 2.5 -L hello -M /mnt/foo -e panic -E test_fs,root_owner=5:6"), row("-t ext4 -m 0 -e remount-ro -U clear"),
  row("-t ext4 -O bigalloc,ea_inode,inline_data,large_dir,quota,project,metadata_csum_seed,orphan_file,mmp,^resize_inode -b 4096 -C 16384", "96M"),
];

describe.runIf(hasMke2fs)("as mke2fs", () => {
  test.each(ROWS)("$options, $size", checkRow);
});

if (!hasMke2fs) notTestedHere("mkfs beside mke2fs", "needs e2fsprogs 1.47.0");
