/** info: the filesystem's vital statistics, in the words and order of dumpe2fs, so that the two can be held side by side. Times are UTC. */
import type { Ext4 } from "../../ext4/super.js";
import { COMPAT, INCOMPAT, RO_COMPAT } from "../../format/features.js";
import type { Field } from "../../format/layout.js";
import { ext4_super_block as S, superblockTime } from "../../format/superblock.js";
import { isAllZero } from "../../lib/bytes.js";
import type { Task } from "../../sched/task.js";
import type { Output } from "../output.js";
import { hex8 } from "../text.js";
import { groupRecords, writeGroup } from "./info-groups.js";
import { badBlocks, journalLines, writeMmp } from "./info-journal.js";
import { clockTime, intervalText, lifetimeWrites, ownerText, terminatedText, uuidText, type Line } from "./info-text.js";

const NAME_COLUMNS = 26;

export interface InfoOptions {
  readonly header?: boolean;
}

export function* info(fs: Ext4, options: InfoOptions, out: Output): Task<void> {
  const lines = [...superblockLines(fs), ...(yield* journalLines(fs))];
  const bad = yield* badBlocks(fs);
  if (out.isJson) {
    const groups = options.header === true ? {} : { groups: yield* groupRecords(fs) };
    out.record({ ...Object.fromEntries(lines), features: fs.sb.featureNames(), badBlocks: bad, ...groups });
    return;
  }
  for (const [name, value] of lines) out.line(`${`${name}:`.padEnd(NAME_COLUMNS)}${value}`);
  yield* writeMmp(fs, out);
  out.line(bad.length === 0 ? "" : `Bad blocks: ${bad.join(", ")}`);
  if (options.header === true) return;
  for (let group = 0; group < fs.sb.groupsCount; group++) {
    yield* writeGroup(fs, group, out);
    out.progress(() => `group ${group} of ${fs.sb.groupsCount}`);
  }
}

const timeOr = (seconds: number, none: string): string => (seconds === 0 ? none : clockTime(seconds));

const FLAGS: readonly (readonly [number, string])[] = [[1, "signed_directory_hash"], [2, "unsigned_directory_hash"], [4, "test_filesystem"]];
/** The journal's mode comes first. */
const MOUNT_OPTIONS: readonly (readonly [mask: number, value: number, name: string])[] = [
  [0x60, 0x20, "journal_data"], [0x60, 0x40, "journal_data_ordered"], [0x60, 0x60, "journal_data_writeback"],
  [0x1, 0x1, "debug"], [0x2, 0x2, "bsdgroups"], [0x4, 0x4, "user_xattr"], [0x8, 0x8, "acl"], [0x10, 0x10, "uid16"], [0x100, 0x100, "nobarrier"],
  [0x200, 0x200, "block_validity"], [0x400, 0x400, "discard"], [0x800, 0x800, "nodelalloc"],
];
const HASHES = ["legacy", "half_md4", "tea"];
const ERRORS = ["", "Continue", "Remount read-only", "Panic"];
/** What stands in s_first_error_errcode and s_last_error_errcode. */
const ERROR_CODES = [
  "", "UNKNOWN", "EIO", "ENOMEM", "EFSBADCRC", "EFSCORRUPTED", "ENOSPC", "ENOKEY", "EROFS", "EFBIG", "EEXIST", "ERANGE", "EOVERFLOW", "EBUSY", "ENOTDIR", "ENOTEMPTY", "ESHUTDOWN", "EFAULT",
];
const SYSTEMS = ["Linux", "GNU/Hurd", "Masix", "FreeBSD", "Lites"];

function superblockLines({ sb }: Ext4): Line[] {
  const { view } = sb;
  const get = (name: NumberField): number => S[name].get(view, 0);
  const hasLine = (condition: boolean, name: string, value: () => string | number): Line[] => (condition ? [[name, value()]] : []);
  const state = get("s_state");
  const states = [(state & 1) !== 0 ? "clean" : "not clean", ...((state & 2) !== 0 ? ["with errors"] : [])].join(" ");
  const flags = FLAGS.filter(([bit]) => (get("s_flags") & bit) !== 0).map(([, name]) => name);
  const options = MOUNT_OPTIONS.filter(([mask, value]) => (get("s_default_mount_opts") & mask) === value).map(([, , name]) => name);
  const isBigalloc = sb.has(RO_COMPAT.bigalloc, "roCompat");
  const flexLog = get("s_log_groups_per_flex");
  const interval = get("s_checkinterval");
  const backups = [0, 1].map((index) => S.s_backup_bgs.get(view, 0, index)).filter((group) => group !== 0);
  return [
    ["Filesystem volume name", terminatedText(S.s_volume_name.get(view, 0), "<none>")],
    ["Last mounted on", terminatedText(S.s_last_mounted.get(view, 0), "<not available>")],
    ["Filesystem UUID", uuidText(S.s_uuid.get(view, 0))],
    ["Filesystem magic number", `0x${get("s_magic").toString(16).toUpperCase()}`],
    ["Filesystem revision #", `${get("s_rev_level")} ${get("s_rev_level") === 0 ? "(original)" : "(dynamic)"}`],
    ["Filesystem features", sb.featureNames().join(" ") || "(none)"],
    ...hasLine(get("s_flags") !== 0, "Filesystem flags", () => flags.join(" ") || "(none)"),
    ["Default mount options", options.join(" ") || "(none)"],
    ...hasLine(!isAllZero(S.s_mount_opts.get(view, 0)), "Mount options", () => terminatedText(S.s_mount_opts.get(view, 0))),
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
    ...hasLine(get("s_first_meta_bg") !== 0, "First meta block group", () => get("s_first_meta_bg")),
    ...hasLine(flexLog !== 0, "Flex block group size", () => 2 ** flexLog),
    ...hasLine(superblockTime("s_mkfs_time", view, 0) !== 0, "Filesystem created", () => clockTime(superblockTime("s_mkfs_time", view, 0))),
    ["Last mount time", timeOr(superblockTime("s_mtime", view, 0), "n/a")],
    ["Last write time", clockTime(superblockTime("s_wtime", view, 0))],
    ["Mount count", get("s_mnt_count")],
    ["Maximum mount count", get("s_max_mnt_count")],
    ["Last checked", clockTime(superblockTime("s_lastcheck", view, 0))],
    ["Check interval", `${interval} (${intervalText(interval)})`],
    ...hasLine(interval !== 0, "Next check after", () => clockTime(superblockTime("s_lastcheck", view, 0) + interval)),
    ...hasLine(get("s_kbytes_written") !== 0, "Lifetime writes", () => lifetimeWrites(get("s_kbytes_written"))),
    ["Reserved blocks uid", ownerText("user", get("s_def_resuid_hi") * 0x1_0000 + get("s_def_resuid"))],
    ["Reserved blocks gid", ownerText("group", get("s_def_resgid_hi") * 0x1_0000 + get("s_def_resgid"))],
    ...hasLine(get("s_rev_level") >= 1, "First inode", () => sb.firstIno),
    ...hasLine(get("s_rev_level") >= 1, "Inode size", () => sb.inodeBytes),
    ...hasLine(get("s_min_extra_isize") !== 0, "Required extra isize", () => get("s_min_extra_isize")),
    ...hasLine(get("s_want_extra_isize") !== 0, "Desired extra isize", () => get("s_want_extra_isize")),
    ...hasLine(!isAllZero(S.s_journal_uuid.get(view, 0)), "Journal UUID", () => uuidText(S.s_journal_uuid.get(view, 0))),
    ...hasLine(get("s_journal_inum") !== 0, "Journal inode", () => get("s_journal_inum")),
    ...hasLine(get("s_journal_dev") !== 0, "Journal device", () => `0x${get("s_journal_dev").toString(16).padStart(4, "0")}`),
    ...hasLine(get("s_last_orphan") !== 0, "First orphan inode", () => get("s_last_orphan")),
    ...hasLine(sb.hasDirIndex || get("s_def_hash_version") !== 0, "Default directory hash", () => HASHES[get("s_def_hash_version")] ?? `HASHALG_${get("s_def_hash_version")}`),
    ...hasLine(!isAllZero(hashSeedBytes(view)), "Directory Hash Seed", () => uuidText(hashSeedBytes(view))),
    ...hasLine(get("s_jnl_backup_type") !== 0, "Journal backup", () => (get("s_jnl_backup_type") === 1 ? "inode blocks" : `type ${get("s_jnl_backup_type")}`)),
    ...hasLine(backups.length > 0, "Backup block groups", () => backups.join(" ")),
    ...hasLine(get("s_snapshot_inum") !== 0, "Snapshot inode", () => get("s_snapshot_inum")),
    ...hasLine(get("s_snapshot_inum") !== 0, "Snapshot ID", () => get("s_snapshot_id")),
    ...hasLine(get("s_snapshot_inum") !== 0, "Snapshot reserved blocks", () => get("s_snapshot_r_blocks_count")),
    ...hasLine(get("s_snapshot_list") !== 0, "Snapshot list head", () => get("s_snapshot_list")),
    ...hasLine(get("s_error_count") !== 0, "FS Error count", () => get("s_error_count")),
    ...errorLines(view, "first"),
    ...errorLines(view, "last"),
    ...hasLine(sb.has(INCOMPAT.mmp, "incompat"), "MMP block number", () => get("s_mmp_block")),
    ...hasLine(sb.has(INCOMPAT.mmp, "incompat"), "MMP update interval", () => get("s_mmp_update_interval")),
    ...hasLine(get("s_usr_quota_inum") !== 0, "User quota inode", () => get("s_usr_quota_inum")),
    ...hasLine(get("s_grp_quota_inum") !== 0, "Group quota inode", () => get("s_grp_quota_inum")),
    ...hasLine(get("s_prj_quota_inum") !== 0, "Project quota inode", () => get("s_prj_quota_inum")),
    ...hasLine(sb.hasMetadataCsum, "Checksum type", () => (get("s_checksum_type") === 1 ? "crc32c" : "unknown")),
    ...hasLine(sb.hasMetadataCsum, "Checksum", () => hex8(get("s_checksum"))),
    ...hasLine(!isAllZero(S.s_encrypt_pw_salt.get(view, 0)), "Encryption PW Salt", () => uuidText(S.s_encrypt_pw_salt.get(view, 0))),
    ...hasLine(sb.has(INCOMPAT.metadata_csum_seed, "incompat"), "Checksum seed", () => hex8(get("s_checksum_seed"))),
    ...hasLine(sb.has(INCOMPAT.casefold, "incompat"), "Character encoding", () => (get("s_encoding") === 1 ? "utf8-12.1" : `UNKNOWN_ENCODING_${get("s_encoding")}`)),
    ...hasLine(sb.has(COMPAT.orphan_file, "compat"), "Orphan file inode", () => get("s_orphan_file_inum")),
  ];
}

/** What the filesystem remembers of the first or the last damage that was met. */
function errorLines(view: DataView, which: "first" | "last"): Line[] {
  const seconds = superblockTime(`s_${which}_error_time`, view, 0);
  if (seconds === 0) return [];
  const title = which === "first" ? "First error" : "Last error";
  const get = (field: "line" | "ino" | "block" | "errcode"): number => S[`s_${which}_error_${field}`].get(view, 0);
  return [
    [`${title} time`, clockTime(seconds)],
    [`${title} function`, terminatedText(S[`s_${which}_error_func`].get(view, 0))],
    [`${title} line #`, get("line")],
    ...(get("ino") === 0 ? [] : [[`${title} inode #`, get("ino")]] as Line[]),
    ...(get("block") === 0 ? [] : [[`${title} block #`, get("block")]] as Line[]),
    ...(get("errcode") === 0 ? [] : [[`${title} err`, ERROR_CODES[get("errcode")] ?? `UNKNOWN_ERRCODE_${get("errcode")}`]] as Line[]),
  ];
}

/** Fields of the superblock that are one number. */
type NumberField = { [Name in keyof typeof S]: (typeof S)[Name] extends Field ? Name : never }[keyof typeof S];

function hashSeedBytes(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + S.s_hash_seed.at, S.s_hash_seed.size);
}
