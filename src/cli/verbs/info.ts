/** info: the filesystem's vital statistics, in the words and order of dumpe2fs, so that the two can be held side by side. Times are UTC. */
import { blockBitmap, inodeBitmap } from "../../ext4/bitmaps.js";
import { descBlocks, descBlocksIn, hasSuper, superblockOf } from "../../ext4/groups.js";
import { journalGeometry, openJournal } from "../../ext4/journal.js";
import type { Ext4 } from "../../ext4/super.js";
import { COMPAT, INCOMPAT } from "../../format/features.js";
import { EXT4_BG_BLOCK_UNINIT, EXT4_BG_INODE_UNINIT, EXT4_BG_INODE_ZEROED } from "../../format/group-desc.js";
import { journal_superblock_s as JS, JBD2_DEFAULT_FAST_COMMIT_BLOCKS } from "../../format/jbd2.js";
import type { Field } from "../../format/layout.js";
import { ext4_super_block as S, superblockTime } from "../../format/superblock.js";
import { clearRuns } from "../../lib/bitmap.js";
import { isAllZero } from "../../lib/bytes.js";
import { decode } from "../../lib/utf8.js";
import type { GroupNo } from "../../lib/numbers.js";
import type { Task } from "../../sched/task.js";
import type { Output } from "../output.js";

export interface InfoOptions {
  readonly header?: boolean;
}

type Line = readonly [string, string | number];

export function* info(fs: Ext4, options: InfoOptions, out: Output): Task<void> {
  const lines = [...superblockLines(fs), ...(yield* journalLines(fs))];
  if (out.isJson) {
    const groups = options.header === true ? {} : { groups: yield* groupRecords(fs) };
    out.record({ ...Object.fromEntries(lines.map(([name, value]) => [name, value])), features: fs.sb.featureNames(), ...groups });
    return;
  }
  for (const [name, value] of lines) out.line(`${`${name}:`.padEnd(26)}${value}`);
  if (options.header === true) return;
  out.line();
  for (let group = 0; group < fs.sb.groupsCount; group++) {
    yield* writeGroup(fs, group, out);
    out.progress(() => `group ${group} of ${fs.sb.groupsCount}`);
  }
}

const text = (bytes: Uint8Array, empty: string): string => decode(bytes.subarray(0, bytes.includes(0) ? bytes.indexOf(0) : bytes.length)) || empty;
const hex8 = (value: number): string => `0x${value.toString(16).padStart(8, "0")}`;

export function uuidText(bytes: Uint8Array): string {
  if (isAllZero(bytes)) return "<none>";
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [digits.slice(0, 8), digits.slice(8, 12), digits.slice(12, 16), digits.slice(16, 20), digits.slice(20)].join("-");
}

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** As C's ctime, in UTC. */
function clockTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  const time = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
  return `${DAYS[date.getUTCDay()]} ${MONTHS[date.getUTCMonth()]} ${String(date.getUTCDate()).padStart(2)} ${time} ${date.getUTCFullYear()}`;
}

const timeOr = (seconds: number, none: string): string => (seconds === 0 ? none : clockTime(seconds));

const MOUNT_OPTIONS: readonly (readonly [number, number, string])[] = [
  [0x1, 0x1, "debug"], [0x2, 0x2, "bsdgroups"], [0x4, 0x4, "user_xattr"], [0x8, 0x8, "acl"], [0x10, 0x10, "uid16"], [0x60, 0x20, "journal_data"],
  [0x60, 0x40, "journal_data_ordered"], [0x60, 0x60, "journal_data_writeback"], [0x100, 0x100, "nobarrier"], [0x200, 0x200, "block_validity"],
  [0x400, 0x400, "discard"], [0x800, 0x800, "nodelalloc"],
];
const HASHES = ["legacy", "half_md4", "tea", "legacy_unsigned", "half_md4_unsigned", "tea_unsigned", "siphash"];
const ERRORS = ["", "Continue", "Remount read-only", "Panic"];
const SYSTEMS = ["Linux", "GNU/Hurd", "Masix", "FreeBSD", "Lites"];

function superblockLines({ sb }: Ext4): Line[] {
  const { view } = sb;
  const get = (name: NumberField): number => S[name].get(view, 0);
  const hasLine = (condition: boolean, name: string, value: () => string | number): Line[] => (condition ? [[name, value()]] : []);
  const state = get("s_state");
  const states = [(state & 1) !== 0 ? "clean" : "not clean", ...((state & 2) !== 0 ? ["with errors"] : [])].join(" ");
  const flags = [[1, "signed_directory_hash"], [2, "unsigned_directory_hash"], [4, "test_filesystem"]].filter(([bit]) => (get("s_flags") & (bit as number)) !== 0).map(([, name]) => `${name as string} `).join("");
  const options = MOUNT_OPTIONS.filter(([mask, value]) => (get("s_default_mount_opts") & mask) === value).map(([, , name]) => name);
  const isBigalloc = sb.clusterBlocks > 1;
  const flexLog = get("s_log_groups_per_flex");
  const interval = get("s_checkinterval");
  return [
    ["Filesystem volume name", text(S.s_volume_name.get(view, 0), "<none>")],
    ["Last mounted on", text(S.s_last_mounted.get(view, 0), "<not available>")],
    ["Filesystem UUID", uuidText(S.s_uuid.get(view, 0))],
    ["Filesystem magic number", `0x${get("s_magic").toString(16).toUpperCase()}`],
    ["Filesystem revision #", `${get("s_rev_level")} ${get("s_rev_level") === 0 ? "(original)" : "(dynamic)"}`],
    ["Filesystem features", sb.featureNames().join(" ") || "(none)"],
    ...hasLine(flags !== "", "Filesystem flags", () => flags),
    ["Default mount options", options.join(" ") || "(none)"],
    ["Filesystem state", states],
    ["Errors behavior", ERRORS[get("s_errors")] ?? "Unknown (continue)"],
    ["Filesystem OS type", SYSTEMS[get("s_creator_os")] ?? "unknown"],
    ["Inode count", sb.inodesCount],
    ["Block count", sb.blocksCount],
    ["Reserved block count", sb.reservedBlocks()],
    ...hasLine(get("s_overhead_clusters") !== 0, "Overhead clusters", () => get("s_overhead_clusters")),
    ["Free blocks", sb.freeBlocks()],
    ["Free inodes", get("s_free_inodes_count")],
    ["First block", sb.firstDataBlock],
    ["Block size", sb.blockBytes],
    [isBigalloc ? "Cluster size" : "Fragment size", sb.clusterBytes],
    ...hasLine(sb.has64bit, "Group descriptor size", () => sb.descBytes),
    ...hasLine(get("s_reserved_gdt_blocks") !== 0, "Reserved GDT blocks", () => get("s_reserved_gdt_blocks")),
    ["Blocks per group", sb.blocksPerGroup],
    [isBigalloc ? "Clusters per group" : "Fragments per group", sb.clustersPerGroup],
    ["Inodes per group", sb.inodesPerGroup],
    ["Inode blocks per group", Math.ceil((sb.inodesPerGroup * sb.inodeBytes) / sb.blockBytes)],
    ...hasLine(get("s_raid_stride") !== 0, "RAID stride", () => get("s_raid_stride")),
    ...hasLine(get("s_raid_stripe_width") !== 0, "RAID stripe width", () => get("s_raid_stripe_width")),
    ...hasLine(sb.has(INCOMPAT.meta_bg, "incompat") && get("s_first_meta_bg") !== 0, "First meta block group", () => get("s_first_meta_bg")),
    ...hasLine(flexLog !== 0, "Flex block group size", () => 2 ** flexLog),
    ...hasLine(superblockTime("s_mkfs_time", view, 0) !== 0, "Filesystem created", () => clockTime(superblockTime("s_mkfs_time", view, 0))),
    ["Last mount time", timeOr(superblockTime("s_mtime", view, 0), "n/a")],
    ["Last write time", clockTime(superblockTime("s_wtime", view, 0))],
    ["Mount count", get("s_mnt_count")],
    ["Maximum mount count", get("s_max_mnt_count")],
    ["Last checked", clockTime(superblockTime("s_lastcheck", view, 0))],
    ["Check interval", `${interval} ${interval === 0 ? "(<none>)" : ""}`.trimEnd()],
    ...hasLine(get("s_kbytes_written") !== 0, "Lifetime writes", () => lifetimeWrites(get("s_kbytes_written"))),
    ["Reserved blocks uid", `${get("s_def_resuid")} ${get("s_def_resuid") === 0 ? "(user root)" : ""}`.trimEnd()],
    ["Reserved blocks gid", `${get("s_def_resgid")} ${get("s_def_resgid") === 0 ? "(group root)" : ""}`.trimEnd()],
    ...hasLine(get("s_rev_level") >= 1, "First inode", () => sb.firstIno),
    ...hasLine(get("s_rev_level") >= 1, "Inode size", () => sb.inodeBytes),
    ...hasLine(get("s_min_extra_isize") !== 0, "Required extra isize", () => get("s_min_extra_isize")),
    ...hasLine(get("s_want_extra_isize") !== 0, "Desired extra isize", () => get("s_want_extra_isize")),
    ...hasLine(!isAllZero(S.s_journal_uuid.get(view, 0)), "Journal UUID", () => uuidText(S.s_journal_uuid.get(view, 0))),
    ...hasLine(get("s_journal_inum") !== 0, "Journal inode", () => get("s_journal_inum")),
    ...hasLine(get("s_journal_dev") !== 0, "Journal device", () => `0x${get("s_journal_dev").toString(16).padStart(4, "0")}`),
    ...hasLine(get("s_last_orphan") !== 0, "First orphan inode", () => get("s_last_orphan")),
    ...hasLine(sb.hasDirIndex || get("s_def_hash_version") !== 0, "Default directory hash", () => HASHES[get("s_def_hash_version")] ?? `hash alg ${get("s_def_hash_version")}`),
    ...hasLine(!isAllZero(hashSeedBytes(view)), "Directory Hash Seed", () => uuidText(hashSeedBytes(view))),
    ...hasLine(get("s_jnl_backup_type") !== 0, "Journal backup", () => (get("s_jnl_backup_type") === 1 ? "inode blocks" : `type ${get("s_jnl_backup_type")}`)),
    ...hasLine(sb.has(COMPAT.sparse_super2, "compat"), "Backup block groups", () => [0, 1].map((index) => S.s_backup_bgs.get(view, 0, index)).filter((group) => group !== 0).map((group) => `${group} `).join("")),
    ...hasLine(get("s_error_count") !== 0, "FS Error count", () => get("s_error_count")),
    ...hasLine(get("s_first_error_time") !== 0, "First error time", () => clockTime(superblockTime("s_first_error_time", view, 0))),
    ...hasLine(get("s_first_error_time") !== 0, "First error function", () => text(S.s_first_error_func.get(view, 0), "")),
    ...hasLine(get("s_first_error_time") !== 0, "First error line #", () => get("s_first_error_line")),
    ...hasLine(get("s_last_error_time") !== 0, "Last error time", () => clockTime(superblockTime("s_last_error_time", view, 0))),
    ...hasLine(get("s_last_error_time") !== 0, "Last error function", () => text(S.s_last_error_func.get(view, 0), "")),
    ...hasLine(get("s_last_error_time") !== 0, "Last error line #", () => get("s_last_error_line")),
    ...hasLine(sb.has(INCOMPAT.mmp, "incompat"), "MMP block number", () => get("s_mmp_block")),
    ...hasLine(sb.has(INCOMPAT.mmp, "incompat"), "MMP update interval", () => get("s_mmp_update_interval")),
    ...hasLine(get("s_usr_quota_inum") !== 0, "User quota inode", () => get("s_usr_quota_inum")),
    ...hasLine(get("s_grp_quota_inum") !== 0, "Group quota inode", () => get("s_grp_quota_inum")),
    ...hasLine(get("s_prj_quota_inum") !== 0, "Project quota inode", () => get("s_prj_quota_inum")),
    ...hasLine(sb.hasMetadataCsum, "Checksum type", () => "crc32c"),
    ...hasLine(sb.hasMetadataCsum, "Checksum", () => hex8(get("s_checksum"))),
    ...hasLine(sb.has(INCOMPAT.metadata_csum_seed, "incompat"), "Checksum seed", () => hex8(get("s_checksum_seed"))),
    ...hasLine(sb.has(INCOMPAT.casefold, "incompat"), "Character encoding", () => (get("s_encoding") === 1 ? "utf8-12.1" : String(get("s_encoding")))),
    ...hasLine(sb.has(COMPAT.orphan_file, "compat"), "Orphan file inode", () => get("s_orphan_file_inum")),
  ];
}

/** Fields of the superblock that are one number. */
type NumberField = { [Name in keyof typeof S]: (typeof S)[Name] extends Field ? Name : never }[keyof typeof S];

function hashSeedBytes(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + S.s_hash_seed.at, S.s_hash_seed.size);
}

function lifetimeWrites(kilobytes: number): string {
  const units = ["kB", "MB", "GB", "TB"];
  let value = kilobytes;
  let unit = 0;
  while (value >= 1024 * 4 && unit < units.length - 1) {
    value = Math.floor((value + 512) / 1024);
    unit++;
  }
  return `${value} ${units[unit]}`;
}

const JOURNAL_FEATURES: readonly (readonly [number, string])[] = [
  [0x1, "journal_incompat_revoke"], [0x2, "journal_64bit"], [0x4, "journal_async_commit"], [0x8, "journal_checksum_v2"], [0x10, "journal_checksum_v3"], [0x20, "fast_commit"],
];

function* journalLines(fs: Ext4): Task<Line[]> {
  if (fs.options.journalDevice === undefined && S.s_journal_inum.get(fs.sb.view, 0) === 0) return [];
  const journal = yield* openJournal(fs);
  if (journal === undefined) return [];
  const { superblock: view, maxlen, last } = yield* journalGeometry(fs, journal);
  const incompat = JS.s_feature_incompat.get(view, 0);
  const features = [...((JS.s_feature_compat.get(view, 0) & 1) !== 0 ? ["journal_checksum"] : []), ...JOURNAL_FEATURES.filter(([bit]) => (incompat & bit) !== 0).map(([, name]) => name)];
  const fastCommit = (incompat & 0x20) !== 0 ? JS.s_num_fc_blks.get(view, 0) || JBD2_DEFAULT_FAST_COMMIT_BLOCKS : 0;
  const kib = (journal.extents.reduce((sum, { count }) => sum + count, 0) * fs.blockBytes) / 1024;
  return [
    ["Journal features", features.join(" ") || "(none)"],
    ["Total journal size", kib >= 8192 ? `${Math.floor(kib / 1024)}M` : `${kib}k`],
    ["Total journal blocks", maxlen],
    ["Max transaction length", last],
    ["Fast commit length", fastCommit],
    ["Journal sequence", hex8(JS.s_sequence.get(view, 0))],
    ["Journal start", JS.s_start.get(view, 0)],
    ...((incompat & 0x18) !== 0 ? [["Journal checksum type", "crc32c"], ["Journal checksum", hex8(JS.s_checksum.get(view, 0))]] as Line[] : []),
    ...(JS.s_errno.get(view, 0) !== 0 ? [["Journal errno", JS.s_errno.get(view, 0) | 0]] as Line[] : []),
  ];
}

const BG_FLAGS: readonly (readonly [number, string])[] = [[EXT4_BG_INODE_UNINIT, "INODE_UNINIT"], [EXT4_BG_BLOCK_UNINIT, "BLOCK_UNINIT"], [EXT4_BG_INODE_ZEROED, "ITABLE_ZEROED"]];

export function* writeGroup(fs: Ext4, group: GroupNo, out: Output): Task<void> {
  const { sb } = fs;
  const desc = yield* fs.groupDesc(group);
  const first = sb.firstBlockOf(group);
  const last = first + sb.blocksIn(group) - 1;
  const flags = BG_FLAGS.filter(([bit]) => (desc.flags & bit) !== 0).map(([, name]) => name).join(", ");
  const csum = sb.hasGroupChecksums ? ` csum 0x${desc.checksum.toString(16).padStart(4, "0")}` : "";
  out.line(`Group ${group}: (Blocks ${first}-${last})${csum}${flags === "" ? "" : ` [${flags}]`}`);
  const { count, reserved } = descBlocksIn(sb, group);
  if (hasSuper(sb, group)) {
    const at = superblockOf(sb, group);
    out.line(`  ${group === 0 ? "Primary" : "Backup"} superblock at ${at}${count === 0 ? "" : `, Group descriptor${count === 1 && sb.has(INCOMPAT.meta_bg, "incompat") ? ` at ${at + 1}` : `s at ${at + 1}-${at + count}`}`}`);
    if (reserved > 0) out.line(`  Reserved GDT blocks at ${at + 1 + descBlocks(sb)}-${at + descBlocks(sb) + reserved}`);
  } else if (count > 0) out.line(`  Group descriptor at ${first}`);
  const place = (block: number): string => {
    const owner = Math.floor((block - sb.firstDataBlock) / sb.blocksPerGroup);
    return owner === group ? `(+${block - first})` : `(bg #${owner} + ${block - sb.firstBlockOf(owner)})`;
  };
  const sum = (value: number): string => (sb.hasMetadataCsum ? `, csum ${hex8(value)}` : "");
  const tableBlocks = Math.ceil((sb.inodesPerGroup * sb.inodeBytes) / sb.blockBytes);
  out.line(`  Block bitmap at ${desc.blockBitmap} ${place(desc.blockBitmap)}${sum(desc.blockBitmapChecksum)}`);
  out.line(`  Inode bitmap at ${desc.inodeBitmap} ${place(desc.inodeBitmap)}${sum(desc.inodeBitmapChecksum)}`);
  out.line(`  Inode table at ${desc.inodeTable}-${desc.inodeTable + tableBlocks - 1} ${place(desc.inodeTable)}`);
  const unused = sb.hasGroupChecksums && desc.itableUnused !== 0 ? `, ${desc.itableUnused} unused inodes` : "";
  out.line(`  ${desc.freeClusters} free ${sb.clusterBlocks > 1 ? "clusters" : "blocks"}, ${desc.freeInodes} free inodes, ${desc.usedDirs} directories${unused}`);
  const blocks = [...clearRuns(yield* blockBitmap(fs, group), Math.ceil(sb.blocksIn(group) / sb.clusterBlocks))]
    .map(([bit, length]) => [first + bit * sb.clusterBlocks, length * sb.clusterBlocks] as const);
  out.line(`  Free blocks: ${ranges(blocks)}`);
  const inodes = [...clearRuns(yield* inodeBitmap(fs, group), sb.inodesPerGroup)].map(([bit, length]) => [group * sb.inodesPerGroup + bit + 1, length] as const);
  out.line(`  Free inodes: ${ranges(inodes)}`);
}

const ranges = (runs: readonly (readonly [number, number])[]): string => runs.map(([first, length]) => (length === 1 ? `${first}` : `${first}-${first + length - 1}`)).join(", ");

function* groupRecords(fs: Ext4): Task<object[]> {
  const records: object[] = [];
  for (let group = 0; group < fs.sb.groupsCount; group++) {
    records.push({ ...(yield* fs.groupDesc(group)), firstBlock: fs.sb.firstBlockOf(group), blocks: fs.sb.blocksIn(group), hasSuperblock: hasSuper(fs.sb, group) });
  }
  return records;
}

