/** ext4's own mount options as text. Of those that appear twice the last one counts. Source: ext4_param_specs, ext4_parse_param (fs/ext4/super.c). */
import { FsError } from "../lib/errno.js";
import type { DaxMode } from "./dax.js";
import type { DataMode, ErrorsPolicy, Ext4MountOptions } from "./super.js";

export type TextOptions = Pick<Ext4MountOptions, "dax" | "dataMode" | "delalloc" | "errors" | "noload"> & {
  /** Of a remount: the journal is aborted. */
  readonly isAbort?: boolean;
};

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Options that change nothing that is seen here. */
const ACCEPTED = new Set(["acl", "user_xattr", "barrier", "nobarrier", "barrier=0", "barrier=1", "discard", "nodiscard", "dioread_nolock", "dioread_lock", "nodioread_nolock", "auto_da_alloc", "noauto_da_alloc",
  "journal_checksum", "block_validity", "noblock_validity", "init_itable", "noinit_itable", "grpid", "nogrpid"]);
const ACCEPTED_WITH_NUMBER = new Set(["commit", "stripe", "journal_ioprio", "inode_readahead_blks", "max_batch_time", "min_batch_time"]);

const DAX_MODES: readonly DaxMode[] = ["always", "inode", "never"];
const DATA_MODES: readonly DataMode[] = ["ordered", "writeback", "journal"];
const ERRORS: readonly ErrorsPolicy[] = ["continue", "remount-ro", "panic"];

/** @throws FsError EINVAL. */
export function parseExt4Options(words: readonly string[]): TextOptions {
  const parsed: Mutable<TextOptions> = {};
  for (const word of words) parseWord(parsed, word);
  return parsed;
}

function parseWord(parsed: Mutable<TextOptions>, word: string): void {
  const equals = word.indexOf("=");
  const name = equals < 0 ? word : word.slice(0, equals);
  const value = equals < 0 ? undefined : word.slice(equals + 1);
  if (word === "dax") parsed.dax = "always";
  else if (word === "delalloc" || word === "nodelalloc") parsed.delalloc = word === "delalloc";
  else if (word === "noload" || word === "norecovery") parsed.noload = true;
  else if (word === "abort") parsed.isAbort = true;
  else if (name === "dax") parsed.dax = oneOf(DAX_MODES, name, value);
  else if (name === "data") parsed.dataMode = oneOf(DATA_MODES, name, value);
  else if (name === "errors") parsed.errors = oneOf(ERRORS, name, value);
  else if (!ACCEPTED.has(word) && !(ACCEPTED_WITH_NUMBER.has(name) && /^\d+$/.test(value ?? ""))) throw new FsError("EINVAL", `Unknown parameter '${word}'`);
}

function oneOf<T extends string>(known: readonly T[], name: string, value: string | undefined): T {
  const found = known.find((candidate) => candidate === value);
  if (found === undefined) throw new FsError("EINVAL", `Bad value for '${name}'`);
  return found;
}
