/** What dumpe2fs says below the superblock: the journal, multi-mount protection, bad blocks. */
import { journalGeometry, openJournal } from "../../ext4/journal.js";
import { listExtents } from "../../ext4/map.js";
import type { Ext4 } from "../../ext4/super.js";
import { COMPAT, INCOMPAT } from "../../format/features.js";
import { EXT4_BAD_INO } from "../../format/inode.js";
import {
  JBD2_CRC32C_CHKSUM, JBD2_DEFAULT_FAST_COMMIT_BLOCKS, JBD2_FEATURE_COMPAT_CHECKSUM, JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT, JBD2_FEATURE_INCOMPAT_CSUM_V2, JBD2_FEATURE_INCOMPAT_CSUM_V3,
  JBD2_FEATURE_INCOMPAT_FAST_COMMIT, JBD2_FEATURE_INCOMPAT_64BIT, JBD2_FEATURE_INCOMPAT_REVOKE, journal_superblock_s as JS,
} from "../../format/jbd2.js";
import { mmp_struct } from "../../format/mmp.js";
import { ext4_super_block as S } from "../../format/superblock.js";
import { isAllZero } from "../../lib/bytes.js";
import type { Task } from "../../sched/task.js";
import type { Output } from "../output.js";
import { hex8 } from "../text.js";
import { clockTime, terminatedText, uuidText, type Line } from "./info-text.js";

const JOURNAL_FEATURES: readonly (readonly [number, string])[] = [
  [JBD2_FEATURE_INCOMPAT_REVOKE, "journal_incompat_revoke"], [JBD2_FEATURE_INCOMPAT_64BIT, "journal_64bit"], [JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT, "journal_async_commit"],
  [JBD2_FEATURE_INCOMPAT_CSUM_V2, "journal_checksum_v2"], [JBD2_FEATURE_INCOMPAT_CSUM_V3, "journal_checksum_v3"], [JBD2_FEATURE_INCOMPAT_FAST_COMMIT, "FEATURE_I5"],
];

export function* journalLines(fs: Ext4): Task<Line[]> {
  if (fs.options.journalDevice === undefined && S.s_journal_inum.get(fs.sb.view, 0) === 0) return [];
  const journal = yield* openJournal(fs);
  if (journal === undefined) return [];
  const { superblock: view, maxlen } = yield* journalGeometry(fs, journal);
  const get = (field: { get(view: DataView, base: number): number }): number => field.get(view, 0);
  const incompat = get(JS.s_feature_incompat);
  const hasOldChecksum = (get(JS.s_feature_compat) & JBD2_FEATURE_COMPAT_CHECKSUM) !== 0;
  const hasChecksum = (incompat & (JBD2_FEATURE_INCOMPAT_CSUM_V2 | JBD2_FEATURE_INCOMPAT_CSUM_V3)) !== 0;
  const features = [...(hasOldChecksum ? ["journal_checksum"] : []), ...JOURNAL_FEATURES.filter(([bit]) => (incompat & bit) !== 0).map(([, name]) => name)];
  // The filesystem's feature says that there are fast commits; the journal has its own bit only while it holds some.
  const fastCommitBlocks = fs.sb.has(COMPAT.fast_commit, "compat") ? get(JS.s_num_fc_blks) || JBD2_DEFAULT_FAST_COMMIT_BLOCKS : 0;
  const kib = (get(JS.s_blocksize) / 1024) * maxlen;
  const users = get(JS.s_nr_users);
  return [
    ["Journal features", features.join(" ") || "(none)"],
    ["Total journal size", kib < 8192 ? `${kib}k` : `${Math.floor(kib / 1024)}M`],
    ["Total journal blocks", maxlen],
    ["Max transaction length", maxlen - fastCommitBlocks],
    ["Fast commit length", fastCommitBlocks],
    ...(get(JS.s_first) === 1 ? [] : [["Journal first block", get(JS.s_first)]] as Line[]),
    ["Journal sequence", hex8(get(JS.s_sequence))],
    ["Journal start", get(JS.s_start)],
    ...(users === 1 ? [] : [["Journal number of users", users]] as Line[]),
    ...(hasOldChecksum ? [["Journal checksum type", "crc32"]] as Line[] : []),
    ...(hasChecksum ? [["Journal checksum type", get(JS.s_checksum_type) === JBD2_CRC32C_CHKSUM ? "crc32c" : "unknown"], ["Journal checksum", hex8(get(JS.s_checksum))]] as Line[] : []),
    ...journalUsers(view, users),
    ...(get(JS.s_errno) === 0 ? [] : [["Journal errno", get(JS.s_errno) | 0]] as Line[]),
  ];
}

const UUID_BYTES = 16;
const USERS_MAX = 48;

/** The filesystems of a journal that has a device of its own, one a line. */
function journalUsers(view: DataView, count: number): Line[] {
  const users = JS.s_users.get(view, 0);
  const uuids = Array.from({ length: Math.min(count, USERS_MAX) }, (_, index) => uuidText(users.subarray(index * UUID_BYTES, (index + 1) * UUID_BYTES)));
  return count > 1 || !isAllZero(users.subarray(0, UUID_BYTES)) ? [["Journal users", uuids.join(`\n${" ".repeat(26)}`)]] : [];
}

export function* writeMmp(fs: Ext4, out: Output): Task<void> {
  const block = S.s_mmp_block.get(fs.sb.view, 0);
  if (!fs.sb.has(INCOMPAT.mmp, "incompat") || block === 0) return;
  const { view } = yield* fs.cache.read(block);
  const M = mmp_struct;
  out.line("MMP_block:");
  const fields: readonly Line[] = [
    ["mmp_magic", `0x${M.mmp_magic.get(view, 0).toString(16)}`],
    ["mmp_check_interval", M.mmp_check_interval.get(view, 0)],
    ["mmp_sequence", `0x${M.mmp_seq.get(view, 0).toString(16).padStart(6, "0")}`],
    ["mmp_update_date", clockTime(M.mmp_time.get(view, 0))],
    ["mmp_update_time", M.mmp_time.get(view, 0)],
    ["mmp_node_name", terminatedText(M.mmp_nodename.get(view, 0))],
    ["mmp_device_name", terminatedText(M.mmp_bdevname.get(view, 0))],
  ];
  for (const [name, value] of fields) out.line(`    ${name}: ${value}`);
}

/** The blocks of the inode that owns what the disk cannot store in. It is no file, so its map is asked for directly. */
export function* badBlocks(fs: Ext4): Task<number[]> {
  const inode = yield* fs.igetSpecial(EXT4_BAD_INO);
  const runs = yield* listExtents(fs, inode, 0, fs.mapEnd(inode));
  return runs.flatMap(({ pblk, count }) => Array.from({ length: count }, (_, index) => pblk + index));
}
