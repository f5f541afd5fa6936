/**
 * The superblock in core: checked in the order in which Linux checks it, then cooked into the numbers that everything is computed from.
 * Nothing below may do arithmetic on a raw field. Source: ext4_fill_super, ext4_check_geometry, ext4_init_metadata_csum (fs/ext4/super.c).
 */
import { fsSeed, superblockChecksum } from "../format/checksum.js";
import { CorruptionError, UnsupportedFeatureError } from "../format/corruption.js";
import { COMPAT, featureNames, INCOMPAT, INCOMPAT_READABLE, RO_COMPAT } from "../format/features.js";
import { viewOf } from "../lib/view.js";
import type { GroupNo, Ino, Pblk } from "../lib/numbers.js";
import { blocksCount, EXT2_FLAGS_UNSIGNED_HASH, EXT4_DEFM_JMODE, EXT4_DEFM_JMODE_DATA, EXT4_DEFM_JMODE_WBACK, EXT4_SUPER_MAGIC, ext4_super_block as S, freeBlocksCount, reservedBlocksCount } from "../format/superblock.js";

export const SUPERBLOCK_AT = 1024;
export const SUPERBLOCK_BYTES = 1024;
const INODE_BYTES_OLD = 128;
const FIRST_INO_OLD = 11;
const BLOCK_LOG_MAX = 6; // 64 KiB
const DESC_BYTES_OLD = 32;
const CRC32C_CHKSUM = 1;
const ENCODING_UTF8_12_1 = 1;

export class Superblock {
  readonly view: DataView;
  compat: number;
  incompat: number;
  roCompat: number;
  readonly blockBytes: number;
  /** Blocks in the filesystem, the boot block included. */
  readonly blocksCount: number;
  readonly firstDataBlock: Pblk;
  readonly blocksPerGroup: number;
  readonly clusterBytes: number;
  readonly clusterBlocks: number;
  readonly clustersPerGroup: number;
  readonly groupsCount: number;
  readonly inodesCount: number;
  readonly inodesPerGroup: number;
  readonly inodeBytes: number;
  readonly firstIno: Ino;
  /** Bytes of a group descriptor. */
  readonly descBytes: number;
  /** Start value of all checksums but the superblock's. */
  readonly csumSeed: number;
  readonly hashVersion: number;
  /** What turns an on-disk hash version into its unsigned variant, or 0. */
  readonly hashUnsignedOffset: number;
  readonly hashSeed: Uint32Array;

  readonly hasJournal: boolean;
  readonly hasFiletype: boolean;
  readonly hasDirIndex: boolean;
  readonly hasLargeDir: boolean;
  readonly hasMetadataCsum: boolean;
  readonly has64bit: boolean;
  readonly hasHugeFile: boolean;
  readonly hasInlineData: boolean;
  readonly hasEaInode: boolean;
  readonly hasProject: boolean;
  /** What a mount takes that says nothing of it: tune2fs -o. */
  readonly defaultDataMode: "ordered" | "writeback" | "journal";
  readonly hasGroupChecksums: boolean;
  private readonly systemInodes: ReadonlySet<Ino>;

  /** @throws CorruptionError, UnsupportedFeatureError. */
  constructor(bytes: Uint8Array, options: { verifyChecksums: boolean; deviceBytes: number }) {
    const view = viewOf(bytes);
    this.view = view;
    const magic = S.s_magic.get(view, 0);
    if (magic !== EXT4_SUPER_MAGIC) throw bad("superblock-magic", "s_magic", `0x${magic.toString(16)}`, `0x${EXT4_SUPER_MAGIC.toString(16)}`);
    this.compat = S.s_feature_compat.get(view, 0);
    this.incompat = S.s_feature_incompat.get(view, 0);
    this.roCompat = S.s_feature_ro_compat.get(view, 0);
    this.hasMetadataCsum = this.has(RO_COMPAT.metadata_csum, "roCompat");
    if (this.hasMetadataCsum && options.verifyChecksums) verifyChecksum(view, bytes);
    this.checkFeatures();

    this.hasJournal = this.has(COMPAT.has_journal, "compat");
    this.hasFiletype = this.has(INCOMPAT.filetype, "incompat");
    this.hasDirIndex = this.has(COMPAT.dir_index, "compat");
    this.hasLargeDir = this.has(INCOMPAT.large_dir, "incompat");
    this.has64bit = this.has(INCOMPAT["64bit"], "incompat");
    this.hasHugeFile = this.has(RO_COMPAT.huge_file, "roCompat");
    this.hasInlineData = this.has(INCOMPAT.inline_data, "incompat");
    this.hasEaInode = this.has(INCOMPAT.ea_inode, "incompat");
    this.hasProject = this.has(RO_COMPAT.project, "roCompat");
    const dataMode = S.s_default_mount_opts.get(view, 0) & EXT4_DEFM_JMODE;
    this.defaultDataMode = dataMode === EXT4_DEFM_JMODE_DATA ? "journal" : dataMode === EXT4_DEFM_JMODE_WBACK ? "writeback" : "ordered";
    this.hasGroupChecksums = this.hasMetadataCsum || this.has(RO_COMPAT.uninit_bg, "roCompat");

    const blockLog = S.s_log_block_size.get(view, 0);
    if (blockLog > BLOCK_LOG_MAX) throw bad("superblock-geometry", "s_log_block_size", blockLog, `0..${BLOCK_LOG_MAX}`);
    this.blockBytes = 1024 << blockLog;
    const clusterLog = S.s_log_cluster_size.get(view, 0);
    const hasBigalloc = this.has(RO_COMPAT.bigalloc, "roCompat");
    if (hasBigalloc && (clusterLog < blockLog || clusterLog > 20)) throw bad("superblock-geometry", "s_log_cluster_size", clusterLog);
    this.clusterBytes = hasBigalloc ? 1024 * 2 ** clusterLog : this.blockBytes;
    this.clusterBlocks = this.clusterBytes / this.blockBytes;

    const isOldRevision = S.s_rev_level.get(view, 0) === 0;
    this.inodeBytes = isOldRevision ? INODE_BYTES_OLD : S.s_inode_size.get(view, 0);
    const isPowerOfTwo = (this.inodeBytes & (this.inodeBytes - 1)) === 0;
    if (this.inodeBytes < INODE_BYTES_OLD || this.inodeBytes > this.blockBytes || !isPowerOfTwo) {
      throw bad("superblock-geometry", "s_inode_size", this.inodeBytes, `128..${this.blockBytes}`);
    }
    this.firstIno = isOldRevision ? FIRST_INO_OLD : S.s_first_ino.get(view, 0);
    if (this.firstIno < FIRST_INO_OLD) throw bad("superblock-field", "s_first_ino", this.firstIno, FIRST_INO_OLD);
    this.descBytes = this.has64bit ? S.s_desc_size.get(view, 0) : DESC_BYTES_OLD;
    if (this.has64bit && (this.descBytes < 64 || this.descBytes > this.blockBytes || (this.descBytes & (this.descBytes - 1)) !== 0)) {
      throw bad("superblock-geometry", "s_desc_size", this.descBytes, `64..${this.blockBytes}`);
    }

    this.blocksPerGroup = S.s_blocks_per_group.get(view, 0);
    this.clustersPerGroup = hasBigalloc ? S.s_clusters_per_group.get(view, 0) : this.blocksPerGroup;
    const bitsPerBlock = this.blockBytes * 8;
    if (this.clustersPerGroup === 0 || this.clustersPerGroup > bitsPerBlock) {
      throw bad("superblock-geometry", "s_clusters_per_group", this.clustersPerGroup, `1..${bitsPerBlock}`);
    }
    if (this.blocksPerGroup !== this.clustersPerGroup * this.clusterBlocks) {
      throw bad("superblock-geometry", "s_blocks_per_group", this.blocksPerGroup, this.clustersPerGroup * this.clusterBlocks);
    }
    this.inodesPerGroup = S.s_inodes_per_group.get(view, 0);
    if (this.inodesPerGroup < this.blockBytes / this.inodeBytes || this.inodesPerGroup > bitsPerBlock) {
      throw bad("superblock-geometry", "s_inodes_per_group", this.inodesPerGroup, `${this.blockBytes / this.inodeBytes}..${bitsPerBlock}`);
    }
    const reservedDescBlocks = S.s_reserved_gdt_blocks.get(view, 0);
    if (reservedDescBlocks > this.blockBytes / 4) {
      throw bad("superblock-geometry", "s_reserved_gdt_blocks", reservedDescBlocks, `0..${this.blockBytes / 4}`);
    }

    this.blocksCount = blocksCount(view, 0, this.has64bit);
    this.firstDataBlock = S.s_first_data_block.get(view, 0);
    const firstExpected = this.blockBytes === 1024 && this.clusterBlocks === 1 ? 1 : 0;
    if (this.firstDataBlock !== firstExpected) throw bad("superblock-geometry", "s_first_data_block", this.firstDataBlock, firstExpected);
    if (this.blocksCount <= this.firstDataBlock) throw bad("superblock-geometry", "s_blocks_count", this.blocksCount);
    if (this.blocksCount * this.blockBytes > options.deviceBytes) {
      throw new CorruptionError("device-truncated", { field: "bytes", found: options.deviceBytes, expected: this.blocksCount * this.blockBytes });
    }
    this.groupsCount = Math.ceil((this.blocksCount - this.firstDataBlock) / this.blocksPerGroup);
    this.inodesCount = S.s_inodes_count.get(view, 0);
    if (this.inodesCount !== this.groupsCount * this.inodesPerGroup) {
      throw bad("superblock-geometry", "s_inodes_count", this.inodesCount, this.groupsCount * this.inodesPerGroup);
    }

    const uuid = S.s_uuid.get(view, 0);
    const storedSeed = this.has(INCOMPAT.metadata_csum_seed, "incompat");
    this.csumSeed = storedSeed ? S.s_checksum_seed.get(view, 0) : fsSeed(uuid);
    this.hashVersion = S.s_def_hash_version.get(view, 0);
    this.hashUnsignedOffset = (S.s_flags.get(view, 0) & EXT2_FLAGS_UNSIGNED_HASH) !== 0 ? 3 : 0;
    if (this.hashVersion <= 2) this.hashVersion += this.hashUnsignedOffset;
    this.hashSeed = Uint32Array.from({ length: 4 }, (_, index) => S.s_hash_seed.get(view, 0, index));
    this.systemInodes = new Set([
      S.s_usr_quota_inum, S.s_grp_quota_inum, S.s_prj_quota_inum, S.s_orphan_file_inum, S.s_journal_inum,
    ].map((field) => field.get(view, 0)).filter((ino) => ino !== 0));
  }

  has(bit: number, word: "compat" | "incompat" | "roCompat"): boolean {
    return (this[word] & bit) !== 0;
  }

  /** Turns a feature on or off, in core and in the superblock's bytes. */
  setFeature(word: "compat" | "incompat" | "roCompat", bit: number, isOn: boolean): void {
    this[word] = (isOn ? this[word] | bit : this[word] & ~bit) >>> 0;
    const field = { compat: S.s_feature_compat, incompat: S.s_feature_incompat, roCompat: S.s_feature_ro_compat }[word];
    field.set(this.view, 0, this[word]);
  }

  /** Names of all features that are on, as dumpe2fs prints them. */
  featureNames(): string[] {
    return [...featureNames("compat", this.compat), ...featureNames("incompat", this.incompat), ...featureNames("ro_compat", this.roCompat)];
  }

  /** Whether count blocks from `block` on may belong to a file: inside the filesystem, behind the superblock. */
  containsBlocks(block: Pblk, count: number): boolean {
    return block > this.firstDataBlock && block + count <= this.blocksCount;
  }

  isSystemInode(ino: Ino): boolean {
    return this.systemInodes.has(ino);
  }

  firstBlockOf(group: GroupNo): Pblk {
    return this.firstDataBlock + group * this.blocksPerGroup;
  }

  /** Blocks in the group; the last one may be short. */
  blocksIn(group: GroupNo): number {
    return Math.min(this.blocksPerGroup, this.blocksCount - this.firstBlockOf(group));
  }

  /** Free blocks as last written: advisory, the group descriptors know better. */
  freeBlocks(): number {
    return freeBlocksCount(this.view, 0, this.has64bit);
  }

  reservedBlocks(): number {
    return reservedBlocksCount(this.view, 0, this.has64bit);
  }

  private checkFeatures(): void {
    const unknown = featureNames("incompat", (this.incompat & ~INCOMPAT_READABLE) >>> 0);
    if (unknown.length > 0) {
      const isJournal = this.has(INCOMPAT.journal_dev, "incompat");
      throw new UnsupportedFeatureError(unknown, isJournal
        ? "this device is an external journal, not a filesystem"
        : `the filesystem uses features that are not known here: ${unknown.join(", ")}`);
    }
    const encoding = S.s_encoding.get(this.view, 0);
    if (this.has(INCOMPAT.casefold, "incompat") && encoding !== ENCODING_UTF8_12_1) {
      throw new UnsupportedFeatureError(["casefold"], `file names have the unknown encoding ${encoding}`);
    }
    const checksumType = S.s_checksum_type.get(this.view, 0);
    if (this.hasMetadataCsum && checksumType !== CRC32C_CHKSUM) {
      throw new UnsupportedFeatureError(["metadata_csum"], `metadata has checksums of the unknown type ${checksumType}`);
    }
  }
}

function verifyChecksum(view: DataView, bytes: Uint8Array): void {
  const found = S.s_checksum.get(view, 0);
  const expected = superblockChecksum(bytes);
  if (found !== expected) throw bad("superblock-checksum", "s_checksum", found, expected);
}

function bad(kind: "superblock-magic" | "superblock-checksum" | "superblock-geometry" | "superblock-field", field: string, found: number | string, expected?: number | string): CorruptionError {
  return new CorruptionError(kind, { offset: SUPERBLOCK_AT, field, found, expected });
}
