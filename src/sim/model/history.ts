/**
 * What tasks did, as the lab writes it down: every system call, load and store, with when it began and ended and what came of it. Plain data, which the judges of this folder read.
 *
 * Moments are numbers of one counter: each beginning and each end takes the next, so `a.end < b.begin` says that a was over before b began, and anything else that the two met.
 */

/** A byte behind the file's end. */
export const END_OF_FILE = -1;

/** An inode number; a number that is given to a new file after the old one is gone counts as another file, which is the recorder's business. */
export type FileId = number;

export interface Span {
  readonly task: string;
  readonly begin: number;
  /** Infinity: under way. */
  end: number;
  /** For messages: "pwrite(3, 4096 x 0x42, 0)". */
  readonly text: string;
  /** How it failed: "EIO". What a failed call was to change may be changed in part. */
  code?: string;
}

/** write(2), pwrite, or a store. */
export interface DataWrite extends Span {
  readonly kind: "write";
  readonly file: FileId;
  /** undefined: an append that has not ended, or failed, so that nobody knows where. */
  offset: number | undefined;
  readonly bytes: Uint8Array;
  /** A store never makes a file longer. Behind the end it is seen by loads alone, for a while. */
  readonly isStore: boolean;
  /** A store into a file without a page cache: it is on the device at once, also behind the end that a cut which no commit has seen yet has given the file. */
  readonly isDax?: boolean;
  /** Bytes at the front that are written for certain. Default: all if it ended well, else none. After success the others are not written; after a failure, perhaps. */
  doneBytes?: number;
  /** By O_SYNC or O_DSYNC: what was written is durable when the call ends well. */
  readonly isSynced?: boolean;
}

/** ftruncate, and truncate and O_TRUNC once it is known of which file. */
export interface SizeChange extends Span { readonly kind: "size"; readonly file: FileId; readonly sizeBytes: number }

/** truncate, or open with O_TRUNC: of the file that `path` leads to. */
export interface Truncation extends Span { readonly kind: "truncate"; readonly path: string; readonly sizeBytes: number }

/** A punched hole, a zeroed range. What only makes a file longer is a range of nothing at the new end, with `keepsSize` false. */
export interface ZeroRange extends Span { readonly kind: "zero"; readonly file: FileId; readonly offset: number; readonly lengthBytes: number; readonly keepsSize: boolean }

/** read(2), pread, or a load. */
export interface DataRead extends Span {
  readonly kind: "read";
  readonly file: FileId;
  offset: number;
  /** What was seen; what is missing of what was asked for was END_OF_FILE, for a load a SIGBUS. */
  bytes: Uint8Array;
  readonly askedBytes: number;
  /** Loads see the whole of a file's last page, with zeros behind the end. */
  readonly isLoad: boolean;
}

/** fsync, fdatasync, msync(MS_SYNC), sync, the end of a write with O_SYNC or O_DSYNC, or a flush and fence after a store through a MAP_SYNC mapping. */
export interface Sync extends Span {
  readonly kind: "sync";
  /** undefined: all. */
  readonly file: FileId | undefined;
  offset: number;
  /** Infinity: to the end. */
  lengthBytes: number;
  /**
   * Which names it makes durable. "all": all that were changed before, as sync does. "file": what was done to the file's own names (for a directory, to those in it), and all that came before, as fsync does.
   * "data": what was done before the file was made, or last had its size changed, as fdatasync and msync do. "nothing": a fence. Default "all" without a file, else "file".
   */
  readonly commits?: "all" | "file" | "data" | "nothing";
}

/** chmod, chown, setxattr and the like. */
export interface AttributeChange extends Span {
  readonly kind: "attribute";
  /** undefined: what `path` leads to; without a path whatever file. */
  readonly file: FileId | undefined;
  readonly path: string | undefined;
  /** What each attribute is set to. undefined: it is removed; null: to what nobody knows, or it stays. */
  readonly values: ReadonlyMap<string, string | undefined | null>;
}

/** open with O_CREAT. Without `isExclusive` a file that is there is opened, and nothing changes. `id`, here and below: the file it is; undefined as long as nobody knows. `wantsDirectory`: a path ends in a slash. */
export interface CreateName extends Span { readonly kind: "create"; readonly path: string; readonly isExclusive: boolean; id?: FileId }
export interface MakeDirectory extends Span { readonly kind: "mkdir"; readonly path: string; id?: FileId }
/** mknod: a file, or "other" as a FIFO. */
export interface MakeNode extends Span { readonly kind: "mknod"; readonly path: string; readonly node: "file" | "other"; id?: FileId }
export interface MakeSymlink extends Span { readonly kind: "symlink"; readonly path: string; id?: FileId }
export interface Unlink extends Span { readonly kind: "unlink"; readonly path: string }
export interface RemoveDirectory extends Span { readonly kind: "rmdir"; readonly path: string }
export interface Rename extends Span { readonly kind: "rename"; readonly from: string; readonly to: string; readonly isNoReplace?: boolean; readonly isExchange?: boolean; readonly wantsDirectory?: boolean }
export interface Link extends Span { readonly kind: "link"; readonly from: string; readonly to: string }
/** stat, open without O_CREAT: changes nothing, and finds `id` or a code. `isWriting`: it is to be written, which no directory is. */
export interface Lookup extends Span { readonly kind: "lookup"; readonly path: string; readonly wantsDirectory?: boolean; readonly isNoFollow?: boolean; readonly isWriting?: boolean; id?: FileId }

export type DataEffect = DataWrite | SizeChange | ZeroRange;
export type DataRecord = DataEffect | DataRead;
export type NameOperation = CreateName | MakeDirectory | MakeNode | MakeSymlink | Unlink | RemoveDirectory | Rename | Link | Lookup;
export type CallRecord = DataRecord | Sync | Truncation | AttributeChange | NameOperation;

export const hasEnded = ({ end }: Span): boolean => end !== Infinity;

/** For messages: who did what, and how it ended. */
export function describe(record: Span): string {
  const outcome = record.code ?? (hasEnded(record) ? undefined : "under way");
  return `${record.task}: ${record.text}${outcome === undefined ? "" : ` = ${outcome}`} [${record.begin}..${hasEnded(record) ? record.end : ""}]`;
}

export function isDataRecord(record: CallRecord): record is DataRecord {
  return record.kind === "write" || record.kind === "size" || record.kind === "zero" || record.kind === "read";
}

export function isNameOperation(record: CallRecord): record is NameOperation {
  return !isDataRecord(record) && record.kind !== "sync" && record.kind !== "truncate" && record.kind !== "attribute";
}
