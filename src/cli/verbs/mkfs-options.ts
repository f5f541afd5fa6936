/** The options of `ext4 mkfs`, which are mke2fs's, and what they mean to the core. An error names the option that is to blame. */
import type { Command } from "commander";
import {
  CREATOR_SYSTEMS, ERRORS_BEHAVIOURS, QUOTA_TYPES, type Amount, type CreatorSystem, type ErrorsBehaviour, type MkfsOptions, type QuotaType,
} from "../../mkfs/options.js";
import { UsageError } from "../operand.js";

/** As commander hands them over. */
export interface RawMkfsOptions {
  readonly b?: string; readonly C?: string; readonly d?: string; readonly e?: string; readonly E?: string[]; readonly F?: number; readonly g?: string; readonly G?: string; readonly i?: string;
  readonly I?: string; readonly j?: boolean; readonly J?: string[]; readonly L?: string; readonly m?: string; readonly M?: string; readonly n?: boolean; readonly N?: string;
  readonly o?: string; readonly O?: string[]; readonly r?: string; readonly t?: string; readonly T?: string; readonly U?: string; readonly v?: boolean;
}

/** What the core is told, but for what only the host knows. */
type CoreOptions = Omit<MkfsOptions, "timeSec" | "uuid" | "hashSeed" | "externalJournal" | "deviceIsZero">;

export interface MkfsArguments extends CoreOptions {
  /** Undefined: random; "time": made of clock and chance. */
  readonly uuid?: Uint8Array | "time";
  readonly hashSeed?: Uint8Array;
  /** Where in the image the filesystem begins. */
  readonly offsetBytes?: number;
  /** False: the image keeps the blocks that it has, and their bytes. */
  readonly discard?: boolean;
  readonly isPrezeroed?: boolean;
  readonly journalDevice?: string;
}

/** How the command line calls what the core calls otherwise. */
export const FLAGS: Readonly<Record<keyof MkfsOptions, string>> = {
  timeSec: "SOURCE_DATE_EPOCH", uuid: "-U", hashSeed: "-E hash_seed", sizeBytes: "SIZE", type: "-t", usage: "-T", blockBytes: "-b", blockBytesMin: "-b", clusterBytes: "-C",
  features: "-O", revision: "-r", inodeBytes: "-I", inodeRatioBytes: "-i", inodesCount: "-N", groupBlocks: "-g", flexGroups: "-G", reservedPercent: "-m", label: "-L",
  lastMounted: "-M", errors: "-e", creatorOs: "-o", hasJournal: "-j", journalBytes: "-J size", fastCommitBytes: "-J fast_commit_size", journalAt: "-J location",
  externalJournal: "-J device", lazyJournalInit: "-E lazy_journal_init", lazyItableInit: "-E lazy_itable_init", deviceIsZero: "-E assume_storage_prezeroed",
  strideBlocks: "-E stride", stripeWidthBlocks: "-E stripe_width", resizeMax: "-E resize", packedMetaBlocks: "-E packed_meta_blocks", backupSuperblocks: "-E num_backup_sb",
  rootOwner: "-E root_owner", encoding: "-E encoding", strictEncoding: "-E encoding_flags", quotaTypes: "-E quotatype", mmpIntervalSec: "-E mmp_update_interval",
  orphanFile: "-E orphan_file_size", isTest: "-E test_fs",
};

/** mke2fs has these, too. */
const REFUSED: Readonly<Record<string, string>> = {
  "-c": "an image has no bad blocks to look for", "-l <file>": "an image has no bad blocks to leave out", "-D": "there is no direct I/O here",
  "-S": "rewriting the superblocks of a filesystem that is in use is not done here", "-z <file>": "there are no undo files here",
};

const gather = (text: string, before: string[] = []): string[] => [...before, text];

/** Declares the options of the verb. */
export function addMkfsOptions(command: Command): Command {
  command
    .option("-t <type>", "ext2, ext3 or ext4 (default ext4)").option("-T <usage>", "usage types: small, big, huge, news, largefile, ... (default: by size)")
    .option("-b <bytes>", "block size; -2048: at least that").option("-C <bytes>", "cluster size, with bigalloc").option("-O <features>", "features on, or off with ^; several with commas", gather)
    .option("-E <options>", "extended options, as mke2fs's: stride=, resize=, root_owner=, hash_seed=, offset=, ...", gather)
    .option("-J <options>", "the journal: size=<MiB>, device=<image>, location=, fast_commit_size=<KiB>", gather).option("-j", "make a journal")
    .option("-I <bytes>", "inode size").option("-i <bytes>", "one inode for so many bytes").option("-N <n>", "number of inodes").option("-g <n>", "blocks of a group")
    .option("-G <n>", "groups of a flexible group").option("-m <percent>", "blocks kept for root (default 5)").option("-L <label>", "volume label")
    .option("-M <directory>", "last mounted on").option("-d <directory>", "fill it with what is in this folder, as cp -a would").option("-U <uuid>", "uuid, or clear, random (the default), time").option("-e <behavior>", ERRORS_BEHAVIOURS.join(", "))
    .option("-o <system>", "creator: Linux, hurd, ...").option("-r <n>", "revision: 1, or 0 for the oldest form")
    .option("-F", "over whatever is there; twice: even if it is mounted", (_: unknown, before: number) => before + 1, 0)
    .option("-n", "only show what would be made").option("-v", "say more");
  for (const [flags, why] of Object.entries(REFUSED)) {
    const flag = flags.slice(0, 2);
    command.option(flags, "not supported").on(`option:${flag.slice(1)}`, () => { throw new UsageError(`${flag} is not supported: ${why}`); });
  }
  return command;
}

/** @throws UsageError. */
export function parseMkfsOptions(raw: RawMkfsOptions, size: string | undefined): MkfsArguments {
  const block = raw.b === undefined ? undefined : integer("-b", raw.b.replace(/^-/, ""));
  const given = {
    sizeBytes: size === undefined ? undefined : sizeInBytes(size, raw.b?.startsWith("-") === false ? block! : 1024),
    type: raw.t, usage: raw.T?.split(","),
    blockBytes: raw.b?.startsWith("-") === true ? undefined : block,
    blockBytesMin: raw.b?.startsWith("-") === true ? block : undefined,
    clusterBytes: optional(raw.C, (text) => integer("-C", text)),
    features: raw.O?.join(","),
    revision: optional(raw.r, (text) => integer("-r", text)),
    inodeBytes: optional(raw.I, (text) => integer("-I", text)),
    inodeRatioBytes: optional(raw.i, (text) => integer("-i", text)),
    inodesCount: optional(raw.N, (text) => integer("-N", text)),
    groupBlocks: optional(raw.g, (text) => integer("-g", text)),
    flexGroups: optional(raw.G, (text) => integer("-G", text)),
    reservedPercent: optional(raw.m, reservedPercent),
    label: raw.L, lastMounted: raw.M,
    errors: optional(raw.e, (text) => oneOf<ErrorsBehaviour>("-e", text, ERRORS_BEHAVIOURS)),
    creatorOs: optional(raw.o, (text) => oneOf<CreatorSystem>("-o", text.toLowerCase(), CREATOR_SYSTEMS)),
    hasJournal: raw.j,
    uuid: optional(raw.U, (text) => (text === "time" ? text : text === "random" ? undefined : text === "clear" ? new Uint8Array(16) : uuidBytes("-U", text))),
  };
  const defined = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as MkfsArguments;
  return { ...defined, ...fromList("-J", raw.J, JOURNAL_OPTIONS), ...fromList("-E", raw.E, EXTENDED_OPTIONS) };
}

type Parse = (text: string | undefined, flag: string) => Partial<MkfsArguments>;

const JOURNAL_OPTIONS: Readonly<Record<string, Parse>> = {
  size: (text, flag) => ({ journalBytes: integer(flag, text) * 2 ** 20 }),
  fast_commit_size: (text, flag) => ({ fastCommitBytes: integer(flag, text) * 1024 }),
  location: (text, flag) => ({ journalAt: amount(flag, text) }),
  device: (text, flag) => ({ journalDevice: required(flag, text) }),
};

const EXTENDED_OPTIONS: Readonly<Record<string, Parse>> = {
  stride: (text, flag) => ({ strideBlocks: integer(flag, text) }),
  stripe_width: (text, flag) => ({ stripeWidthBlocks: integer(flag, text) }),
  "stripe-width": (text, flag) => ({ stripeWidthBlocks: integer(flag, text) }),
  resize: (text, flag) => ({ resizeMax: amount(flag, text) }),
  lazy_itable_init: (text, flag) => ({ lazyItableInit: onOrOff(flag, text) }),
  lazy_journal_init: (text, flag) => ({ lazyJournalInit: onOrOff(flag, text) }),
  packed_meta_blocks: (text, flag) => ({ packedMetaBlocks: onOrOff(flag, text) }),
  assume_storage_prezeroed: (text, flag) => ({ isPrezeroed: onOrOff(flag, text) }),
  num_backup_sb: (text, flag) => ({ backupSuperblocks: integer(flag, text) }),
  root_owner: (text, flag) => ({ rootOwner: owner(flag, text) }),
  hash_seed: (text, flag) => ({ hashSeed: uuidBytes(flag, required(flag, text)) }),
  offset: (text, flag) => ({ offsetBytes: integer(flag, text) }),
  discard: () => ({ discard: true }),
  nodiscard: () => ({ discard: false }),
  no_discard: () => ({ discard: false }),
  test_fs: () => ({ isTest: true }),
  encoding: (text, flag) => ({ encoding: required(flag, text) }),
  encoding_flags: (text, flag) => ({ strictEncoding: oneOf(flag, required(flag, text), ["strict", "nostrict"]) === "strict" }),
  quotatype: (text, flag) => ({ quotaTypes: required(flag, text).split(":").map((type) => oneOf<QuotaType>(flag, type, QUOTA_TYPES)) }),
  mmp_update_interval: (text, flag) => ({ mmpIntervalSec: integer(flag, text) }),
  orphan_file_size: (text, flag) => ({ orphanFile: amount(flag, text) }),
};

function fromList(flag: string, lists: readonly string[] | undefined, table: Readonly<Record<string, Parse>>): Partial<MkfsArguments> {
  let parsed: Partial<MkfsArguments> = {};
  for (const word of (lists ?? []).join(",").split(",").filter((part) => part !== "")) {
    const [, name, text] = /^([^=]*)=?(.*)$/s.exec(word) as unknown as [string, string, string];
    if (!Object.hasOwn(table, name)) throw new UsageError(`${flag}: '${name}' is not one of ${Object.keys(table).join(", ")}`);
    parsed = { ...parsed, ...table[name]!(word.includes("=") ? text : undefined, `${flag} ${name}`) };
  }
  return parsed;
}

const UNIT_BYTES: Readonly<Record<string, number>> = { s: 512, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40, p: 2 ** 50 };

/** A number and perhaps a unit; `blockBytes`: the unit of a bare number. */
function sizeInBytes(text: string, blockBytes: number): number {
  const size = amount("SIZE", text);
  const bytes = "bytes" in size ? size.bytes : size.blocks * blockBytes;
  if (bytes === 0 || !Number.isSafeInteger(bytes)) throw new UsageError(`SIZE: '${text}' is ${bytes === 0 ? "nothing" : "too large"}`);
  return bytes;
}

function amount(flag: string, text: string | undefined): Amount {
  const [, digits, unit] = /^(\d+)([skmgtp]?)$/i.exec(text ?? "") ?? [];
  if (digits === undefined) throw new UsageError(`${flag}: '${text ?? ""}' is not a number, alone or with s, K, M, G, T or P`);
  return unit === "" ? { blocks: Number(digits) } : { bytes: Number(digits) * UNIT_BYTES[unit!.toLowerCase()]! };
}

function integer(flag: string, text: string | undefined): number {
  if (text === undefined || !/^\d+$/.test(text)) throw new UsageError(`${flag}: '${text ?? ""}' is not a number`);
  return Number(text);
}

function reservedPercent(text: string): number {
  if (!/^\d+(\.\d*)?$/.test(text)) throw new UsageError(`-m: '${text}' is not a percentage`);
  return Number(text);
}

function onOrOff(flag: string, text: string | undefined): boolean {
  return text === undefined || oneOf(flag, text, ["0", "1"]) === "1";
}

function owner(flag: string, text: string | undefined): { uid: number; gid: number } {
  if (text === undefined) return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const [, uid, gid] = /^(\d+):(\d+)$/.exec(text) ?? [];
  if (uid === undefined || Number(uid) >= 2 ** 32 || Number(gid) >= 2 ** 32) throw new UsageError(`${flag}: '${text}' is not two numbers with a colon`);
  return { uid: Number(uid), gid: Number(gid) };
}

function uuidBytes(flag: string, text: string): Uint8Array {
  if (!/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text)) throw new UsageError(`${flag}: '${text}' is not a uuid`);
  return Uint8Array.from(text.replaceAll("-", "").match(/../g)!, (byte) => parseInt(byte, 16));
}

function oneOf<Word extends string>(flag: string, text: string, words: readonly Word[]): Word {
  const found = words.find((word) => word === text);
  if (found === undefined) throw new UsageError(`${flag}: '${text}' is not one of ${words.join(", ")}`);
  return found;
}

function required(flag: string, text: string | undefined): string {
  if (text === undefined || text === "") throw new UsageError(`${flag} needs a value`);
  return text;
}

const optional = <T>(text: string | undefined, parse: (text: string) => T): T | undefined => (text === undefined ? undefined : parse(text));
