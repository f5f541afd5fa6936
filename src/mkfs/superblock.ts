/** The superblock of a new filesystem. It is written into bytes early, as everything that follows is laid out by what it says; counts and inode numbers come later. */
import { SUPERBLOCK_BYTES } from "../ext4/superblock.js";
import { superblockChecksum } from "../format/checksum.js";
import { EXT2_FLAGS_SIGNED_HASH, EXT2_FLAGS_TEST_FILESYS, EXT4_SUPER_MAGIC, EXT4_VALID_FS, ext4_super_block as S, setSuperblockTime } from "../format/superblock.js";
import { EXT4_GOOD_OLD_INODE_BYTES, ext4_inode } from "../format/inode.js";
import { TWO_32 } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import { featureWords, type FeatureSet } from "./features.js";
import { FIRST_INO, type Geometry } from "./geometry.js";
import { CREATOR_SYSTEMS, ERRORS_BEHAVIOURS, MkfsOptionError } from "./options.js";
import type { MkfsParameters } from "./parameters.js";

/** user_xattr and acl. */
const DEFAULT_MOUNT_OPTIONS = 0xc;
const HASH_HALF_MD4 = 1;
const CHECKSUM_CRC32C = 1;
const ENCODING_UTF8_12_1 = 1;
const ENCODING_STRICT = 1;
const ENCRYPTION_AES_256_XTS = 1;
const ENCRYPTION_AES_256_CTS = 4;
const JOURNAL_BACKUP_IN_INODE_FORM = 1;
const CHECK_OFF = -1;

/** What a filesystem and a device that is a journal have in common. */
function encodeIdentity(parameters: MkfsParameters, features: FeatureSet): DataView {
  const { options } = parameters;
  const view = viewOf(new Uint8Array(SUPERBLOCK_BYTES));
  const words = featureWords(features);
  if (options.uuid.length !== 16) throw new MkfsOptionError("uuid", `a uuid has 16 bytes, not ${options.uuid.length}`);
  if (options.hashSeed.length !== 16) throw new MkfsOptionError("hashSeed", `a hash seed has 16 bytes, not ${options.hashSeed.length}`);
  S.s_magic.set(view, 0, EXT4_SUPER_MAGIC);
  S.s_state.set(view, 0, EXT4_VALID_FS);
  S.s_errors.set(view, 0, 1 + ERRORS_BEHAVIOURS.indexOf(options.errors ?? "continue"));
  S.s_max_mnt_count.set(view, 0, CHECK_OFF);
  S.s_creator_os.set(view, 0, CREATOR_SYSTEMS.indexOf(options.creatorOs ?? "linux"));
  S.s_rev_level.set(view, 0, parameters.revision);
  S.s_log_block_size.set(view, 0, Math.log2(parameters.blockBytes / 1024));
  S.s_log_cluster_size.set(view, 0, Math.log2(parameters.clusterBytes / 1024));
  S.s_first_ino.set(view, 0, FIRST_INO);
  S.s_inode_size.set(view, 0, parameters.inodeBytes);
  S.s_feature_compat.set(view, 0, words.compat);
  S.s_feature_incompat.set(view, 0, words.incompat);
  S.s_feature_ro_compat.set(view, 0, words.roCompat);
  S.s_uuid.set(view, 0, options.uuid);
  S.s_volume_name.set(view, 0, parameters.label);
  S.s_last_mounted.set(view, 0, parameters.lastMounted);
  new Uint8Array(view.buffer, S.s_hash_seed.at, S.s_hash_seed.size).set(options.hashSeed);
  S.s_def_hash_version.set(view, 0, HASH_HALF_MD4);
  if (parameters.revision > 0) S.s_default_mount_opts.set(view, 0, DEFAULT_MOUNT_OPTIONS);
  if (parameters.inodeBytes >= ext4_inode.$.size && parameters.revision > 0) {
    S.s_min_extra_isize.set(view, 0, ext4_inode.$.size - EXT4_GOOD_OLD_INODE_BYTES);
    S.s_want_extra_isize.set(view, 0, ext4_inode.$.size - EXT4_GOOD_OLD_INODE_BYTES);
  }
  if (features.has("metadata_csum")) S.s_checksum_type.set(view, 0, CHECKSUM_CRC32C);
  for (const name of ["s_mkfs_time", "s_lastcheck", "s_wtime"] as const) setSuperblockTime(name, view, 0, options.timeSec);
  return view;
}

/** Of a filesystem, without what is known only when its files stand. */
export function encodeSuperblock(parameters: MkfsParameters, geometry: Geometry): DataView {
  const { options } = parameters;
  const { features } = geometry;
  const view = encodeIdentity(parameters, features);
  setCount(view, "s_blocks_count", geometry.blocksCount);
  setCount(view, "s_r_blocks_count", geometry.reservedBlocks);
  S.s_inodes_count.set(view, 0, geometry.inodesPerGroup * geometry.groupsCount);
  S.s_first_data_block.set(view, 0, geometry.firstDataBlock);
  S.s_blocks_per_group.set(view, 0, geometry.blocksPerGroup);
  S.s_clusters_per_group.set(view, 0, geometry.clustersPerGroup);
  S.s_inodes_per_group.set(view, 0, geometry.inodesPerGroup);
  S.s_reserved_gdt_blocks.set(view, 0, geometry.reservedDescBlocks);
  if (features.has("64bit")) S.s_desc_size.set(view, 0, geometry.descBytes);
  geometry.backupGroups.forEach((group, index) => S.s_backup_bgs.set(view, 0, index, group));
  S.s_flags.set(view, 0, EXT2_FLAGS_SIGNED_HASH | (options.isTest === true ? EXT2_FLAGS_TEST_FILESYS : 0));
  S.s_raid_stride.set(view, 0, options.strideBlocks ?? 0);
  S.s_raid_stripe_width.set(view, 0, options.stripeWidthBlocks ?? 0);
  S.s_log_groups_per_flex.set(view, 0, parameters.flexLog);
  S.s_mmp_update_interval.set(view, 0, parameters.mmpIntervalSec);
  S.s_checksum_seed.set(view, 0, parameters.checksumSeed);
  if (features.has("casefold")) {
    S.s_encoding.set(view, 0, ENCODING_UTF8_12_1);
    S.s_encoding_flags.set(view, 0, options.strictEncoding === true ? ENCODING_STRICT : 0);
  }
  if (features.has("encrypt")) S.s_encrypt_algos.set(view, 0, Uint8Array.of(ENCRYPTION_AES_256_XTS, ENCRYPTION_AES_256_CTS, 0, 0));
  return view;
}

/** Of a device that is a journal and no filesystem. */
export function encodeJournalDeviceSuperblock(parameters: MkfsParameters): DataView {
  const view = encodeIdentity(parameters, parameters.features);
  setCount(view, "s_blocks_count", parameters.blocksCount);
  S.s_first_data_block.set(view, 0, parameters.blockBytes === 1024 ? 1 : 0);
  S.s_blocks_per_group.set(view, 0, parameters.blockBytes * 8);
  S.s_clusters_per_group.set(view, 0, parameters.blockBytes * 8);
  return view;
}

/** Notes where the journal is: its inode, whose map is copied so that it is found if the inode is lost. */
export function setInternalJournal(view: DataView, ino: number, inode: DataView): void {
  S.s_journal_inum.set(view, 0, ino);
  S.s_jnl_backup_type.set(view, 0, JOURNAL_BACKUP_IN_INODE_FORM);
  for (let word = 0; word < 15; word++) S.s_jnl_blocks.set(view, 0, word, inode.getUint32(ext4_inode.i_block.at + word * 4, true));
  S.s_jnl_blocks.set(view, 0, 15, ext4_inode.i_size_high.get(inode, 0));
  S.s_jnl_blocks.set(view, 0, 16, ext4_inode.i_size_lo.get(inode, 0));
}

export function setExternalJournal(view: DataView, uuid: Uint8Array, deviceNumber: number): void {
  S.s_journal_uuid.set(view, 0, uuid);
  S.s_journal_dev.set(view, 0, deviceNumber);
}

function setCount(view: DataView, name: "s_blocks_count" | "s_r_blocks_count", value: number): void {
  S[`${name}_lo`].set(view, 0, value % TWO_32);
  S[`${name}_hi`].set(view, 0, Math.floor(value / TWO_32));
}

/** The bytes of the copy in a group. A backup does not say that the filesystem is clean: it is not kept up to date. */
export function superblockCopy(view: DataView, group: number, hasChecksum: boolean): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(SUPERBLOCK_BYTES);
  copy.set(new Uint8Array(view.buffer, view.byteOffset, SUPERBLOCK_BYTES));
  S.s_block_group_nr.set(viewOf(copy), 0, group);
  if (group > 0) S.s_state.set(viewOf(copy), 0, 0);
  if (hasChecksum) S.s_checksum.set(viewOf(copy), 0, superblockChecksum(copy));
  return copy;
}
