/**
 * Recorded calls as the model knows them (model/history.ts): which file a descriptor or an address means is known when the call begins; what it came to, and where in the file it was where that is the
 * descriptor's business, when it ends. What makes no difference to the model (reads of attributes, calls on private mappings) leaves no record; what would make it wrong (collapsed ranges, symbolic links
 * that are followed) is a ScenarioError.
 */
import type { Ext4Inode } from "../ext4/inode.js";
import { decode } from "../lib/utf8.js";
import { FOLL_WRITE, MADV_REMOVE, MS_SYNC, VM_SHARED } from "../mm/constants.js";
import { PAGE_BYTES } from "../mm/memory.js";
import { KEEP } from "../vfs/attributes.js";
import type { File } from "../vfs/file.js";
import { O_ACCMODE, O_APPEND, O_CREAT, O_DIRECT, O_DIRECTORY, O_DSYNC, O_EXCL, O_NOFOLLOW, O_RDONLY, O_SYNC, O_TMPFILE, O_TRUNC } from "../vfs/flags.js";
import {
  FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, RENAME_EXCHANGE, RENAME_NOREPLACE, S_IFMT, S_IFREG,
} from "../vfs/inode.js";
import type { Process } from "../vfs/process.js";
import { isNameOperation, type AttributeChange, type CallRecord, type DataRead, type DataWrite, type FileId, type Span, type Sync, type Truncation } from "./model/history.js";
import { describeCall, type Call, type CallListener } from "./recorder.js";
import { ScenarioError } from "./scenario.js";

/** A number that is used again comes with another generation. */
export function fileIdOf({ i_ino, i_generation }: Ext4Inode): FileId {
  return i_ino * 2 ** 32 + i_generation;
}

/** As the judge of attributes has them: without the bits that others' changes take away. */
export const permissionsOf = (mode: number): string => `0${(mode & 0o1777).toString(8)}`;
export const xattrText = (value: Uint8Array): string => (value.every((byte) => byte >= 0x20 && byte < 0x7f) ? `"${decode(value)}"` : Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join(""));

type Draft = (call: Call, span: Span) => CallRecord | undefined;

/** A call under way. */
interface OpenCall {
  readonly record: CallRecord;
  /** Of its descriptor, which may mean another one by now. */
  readonly file: File | undefined;
  /** What it is as well: a sync of what it writes, a truncation of what it opens. */
  readonly also: Sync | Truncation | undefined;
}

export class Historian implements CallListener {
  private readonly list: CallRecord[] = [];
  private readonly open = new Map<Call, OpenCall>();
  private unknown: ScenarioError | undefined;
  /** Directories from which paths were walked that do not begin at the root. */
  private readonly standing = new Set<string>();

  /** As of now. @throws ScenarioError: something was called that the model does not know. */
  get records(): readonly CallRecord[] {
    // Who is not at work yet, but waits for another one that is, has written nothing anywhere.
    for (const [{ name }, { record, file }] of this.open) if (name === "write" && record.kind === "write" && !isAppending(file!)) record.offset = file!.f_pos;
    this.checkStanding();
    if (this.unknown !== undefined) throw this.unknown;
    return this.list;
  }

  began(call: Call): void {
    try {
      this.note(call);
    } catch (error) {
      // The scenario may catch it.
      if (error instanceof ScenarioError) this.unknown ??= error;
      throw error;
    }
  }

  private note(call: Call): void {
    const record = DRAFTS[call.name]?.(call, { task: call.task, begin: call.begin, end: Infinity, text: describeCall(call) });
    if (record === undefined) return;
    if (isNameOperation(record) && pathsOf(call).some((path) => !path.startsWith("/"))) this.standing.add(decode(call.process!.getcwd()));
    const file = call.process === undefined ? undefined : fileOf(call.process, call.args[0]);
    const also = alsoOf(record, call, file);
    this.list.push(record, ...(also === undefined ? [] : [also]));
    this.open.set(call, { record, file, also });
  }

  ended(call: Call): void {
    const open = this.open.get(call);
    if (open === undefined) return;
    this.open.delete(call);
    const { record, file, also } = open;
    record.end = call.end;
    if (call.error !== undefined && !(record.kind === "read" && call.error === "signal")) record.code = call.error;
    if (call.error === undefined) learn(record, call, file);
    else if (call.name === "write" && record.kind === "write" && !isAppending(file!)) record.offset = file!.f_pos;
    if (also === undefined) return;
    also.end = call.end;
    if (record.code !== undefined) also.code = record.code;
    if (also.kind !== "sync" || record.kind !== "write") return;
    // One that failed may have lost whatever was to be written.
    also.offset = record.code === undefined ? record.offset! : 0;
    also.lengthBytes = record.code === undefined ? record.doneBytes! : Infinity;
  }

  private checkStanding(): void {
    for (const directory of this.standing) {
      for (const record of this.list) {
        const moved = record.kind === "rename" ? [record.from, record.to] : record.kind === "rmdir" ? [record.path] : [];
        if (moved.some((path) => `${directory}/`.startsWith(`${path}/`))) this.unknown ??= new ScenarioError(`the lab's model does not know this call yet: ${record.text} moves a directory from which paths are walked`);
      }
    }
  }
}

function alsoOf({ task, begin, end, text, ...record }: CallRecord, { args }: Call, file: File | undefined): OpenCall["also"] {
  const span = { task, begin, end, text };
  if (record.kind === "write" && record.isSynced === true) return { ...span, kind: "sync", file: record.file, offset: 0, lengthBytes: 0, commits: (file!.f_flags & O_SYNC) === O_SYNC ? "file" : "data" };
  const isTruncating = (record.kind === "create" || record.kind === "lookup") && ((args[1] as number) & O_TRUNC) !== 0;
  return isTruncating ? { ...span, kind: "truncate", path: record.path, sizeBytes: 0 } : undefined;
}

/** The lab can say nothing of a scenario with such a call. */
function unknown(call: Call, why: string): ScenarioError {
  return new ScenarioError(`the lab's model does not know this call yet: ${describeCall(call)}: ${why}`);
}

const isAppending = ({ f_flags }: File): boolean => (f_flags & O_APPEND) !== 0;
/** What ends with a wait after the inode was unlocked. */
const isSettling = ({ f_flags }: File): boolean => (f_flags & (O_SYNC | O_DSYNC | O_DIRECT)) !== 0;

/** What is known in the end. */
function learn(record: CallRecord, { name, process, result }: Call, file: File | undefined): void {
  if (record.kind === "read") {
    record.bytes = bytesOf(record, result);
    if (name === "read") record.offset = file!.f_pos - record.bytes.length;
  } else if (record.kind === "write" && !record.isStore) {
    record.doneBytes = countOf(result);
    // It was moved on by what was written.
    if (name === "write") record.offset = file!.f_pos - record.doneBytes;
    else if (isAppending(file!)) record.offset = file!.f_inode.i_size - record.doneBytes;
  } else if ((record.kind === "create" || record.kind === "lookup") && name === "open") record.id = inodeIdOf(fileOf(process!, result)!);
}

function bytesOf({ askedBytes }: DataRead, result: unknown): Uint8Array {
  if (result instanceof Uint8Array) return result;
  if (typeof result === "object" && result !== null && "buffer" in result) return (result as { buffer: Uint8Array }).buffer;
  const number = BigInt(result as number | bigint);
  return Uint8Array.from({ length: askedBytes }, (_, at) => Number((number >> BigInt(8 * at)) & 0xffn));
}

const countOf = (result: unknown): number => (typeof result === "number" ? result : (result as { count: number }).count);

function fileOf(process: Process, fd: unknown): File | undefined {
  return typeof fd === "number" && process.descriptors.has(fd) ? process.descriptors.get(fd) : undefined;
}

const inodeIdOf = (file: File): FileId => fileIdOf(file.f_inode as Ext4Inode);

function onFile(call: Call, make: (file: FileId, open: File) => CallRecord | undefined): CallRecord | undefined {
  const open = fileOf(call.process!, call.args[0]);
  return open === undefined ? undefined : make(inodeIdOf(open), open);
}

/** Of a shared mapping of a file. */
function onMapping({ process, args }: Call, make: (file: FileId, offset: number, isDax: boolean) => CallRecord | undefined): CallRecord | undefined {
  const address = args[0] as number;
  const vma = process!.mm.vmas.find(address);
  if (vma?.vm_file === undefined || (vma.vm_flags & VM_SHARED) === 0) return undefined;
  const inode = vma.vm_file.f_mapping.host as Ext4Inode;
  return make(fileIdOf(inode), address - vma.vm_start + vma.vm_pgoff * PAGE_BYTES, inode.isDax);
}

const textOf = (path: unknown): string => (path instanceof Uint8Array ? decode(path) : String(path));

/** Of a call on names, as it has them. */
function pathsOf({ name, args }: Call): string[] {
  return (name === "symlink" ? args.slice(1, 2) : TWO_PATHS.has(name) ? args.slice(0, 2) : args.slice(0, 1)).map(textOf);
}

const TWO_PATHS = new Set(["link", "rename", "renameat2"]);

/** A path as the model has it, absolute and plain; and whether it has to lead to a directory. */
function plainPath(call: Call, path: unknown): { readonly path: string; readonly wantsDirectory: boolean } {
  const text = textOf(path);
  const cwd = text.startsWith("/") ? "" : decode(call.process!.getcwd());
  const parts = text.split("/");
  if (text === "" || parts.includes("..")) throw unknown(call, text === "" ? "an empty path" : 'a path with ".."');
  const plain = `${cwd}/${parts.filter((part) => part !== "" && part !== ".").join("/")}`.replace(/^\/\/|(?!^)\/$/, (slash) => slash.slice(1));
  return { path: plain, wantsDirectory: text !== "/" && (text.endsWith("/") || parts.at(-1) === ".") };
}

/** Of what is no directory, or shall not be one. */
function namePath(call: Call, path: unknown): string {
  const { path: plain, wantsDirectory } = plainPath(call, path);
  if (wantsDirectory) throw unknown(call, "a path that ends in a slash");
  return plain;
}

function directoryPath(call: Call, path: unknown): string {
  if (textOf(path).split("/").at(-1) === ".") throw unknown(call, 'a path that ends in "."');
  return plainPath(call, path).path;
}

/** What is read or written. */
function bufferOf(call: Call): Uint8Array {
  const [, buffer] = call.args;
  if (!(buffer instanceof Uint8Array)) throw unknown(call, "its buffer is in the process's memory");
  return buffer;
}

/** @param offset undefined: at its end. */
function writing(call: Call, span: Span, offset: (open: File) => number | undefined): CallRecord | undefined {
  return onFile(call, (file, open) => {
    const isSynced = (open.f_flags & (O_SYNC | O_DSYNC)) !== 0;
    return { ...write(span, file, isAppending(open) ? undefined : offset(open), bufferOf(call), false), ...(isSynced ? { isSynced } : {}) };
  });
}

const write = (span: Span, file: FileId, offset: number | undefined, bytes: Uint8Array, isStore: boolean): DataWrite => ({ ...span, kind: "write", file, offset, bytes, isStore });
const read = (span: Span, file: FileId, offset: number, askedBytes: number, isLoad: boolean): DataRead => ({ ...span, kind: "read", file, offset, bytes: new Uint8Array(0), askedBytes, isLoad });

function littleEndian(value: number | bigint, widthBytes: number): Uint8Array {
  const number = BigInt.asUintN(64, BigInt(value));
  return Uint8Array.from({ length: widthBytes }, (_, at) => Number((number >> BigInt(8 * at)) & 0xffn));
}

const DRAFTS: Readonly<Record<string, Draft>> = {
  write: (call, span) => writing(call, span, ({ f_pos }) => f_pos),
  pwrite(call, span) {
    const open = fileOf(call.process!, call.args[0]);
    if (open !== undefined && isAppending(open) && isSettling(open)) throw unknown(call, "where it was appended is not known when it ends");
    return writing(call, span, () => call.args[2] as number);
  },
  store: (call, span) => onMapping(call, (file, offset, isDax) => ({ ...write(span, file, offset, littleEndian(call.args[1] as number | bigint, (call.args[2] as number | undefined) ?? 1), true), isDax })),
  storeBytes: (call, span) => onMapping(call, (file, offset, isDax) => ({ ...write(span, file, offset, call.args[1] as Uint8Array, true), isDax })),
  read: (call, span) => onFile(call, (file, { f_pos }) => read(span, file, f_pos, bufferOf(call).length, false)),
  pread: (call, span) => onFile(call, (file) => read(span, file, call.args[2] as number, bufferOf(call).length, false)),
  load: (call, span) => onMapping(call, (file, offset) => read(span, file, offset, (call.args[1] as number | undefined) ?? 1, true)),
  loadU64: (call, span) => onMapping(call, (file, offset) => read(span, file, offset, 8, true)),
  loadBytes: (call, span) => onMapping(call, (file, offset) => read(span, file, offset, call.args[1] as number, true)),
  ftruncate: (call, span) => onFile(call, (file) => ({ ...span, kind: "size", file, sizeBytes: call.args[1] as number })),
  truncate: (call, span) => ({ ...span, kind: "truncate", path: namePath(call, call.args[0]), sizeBytes: call.args[1] as number }),
  getUserPages: (call) => {
    if (((call.args[2] as number) & FOLL_WRITE) !== 0) throw unknown(call, "what is written there is not recorded");
    return undefined;
  },
  madvise: (call) => {
    if (call.args[2] === MADV_REMOVE) throw unknown(call, "fallocate does the same");
    return undefined;
  },
  fallocate: (call, span) => onFile(call, (file) => allocation(call, span, file, call.args[1] as number, call.args[2] as number, call.args[3] as number)),
  fsync: (call, span) => onFile(call, (file) => ({ ...span, kind: "sync", file, offset: 0, lengthBytes: Infinity })),
  fdatasync: (call, span) => onFile(call, (file) => ({ ...span, kind: "sync", file, offset: 0, lengthBytes: Infinity, commits: "data" })),
  msync: (call, span) => (((call.args[2] as number) & MS_SYNC) === 0 ? undefined : onMapping(call, (file, offset) => ({ ...span, kind: "sync", file, offset, lengthBytes: call.args[1] as number, commits: "data" }))),
  sync: (_call, span) => ({ ...span, kind: "sync", file: undefined, offset: 0, lengthBytes: Infinity }),
  syncfs: (_call, span) => ({ ...span, kind: "sync", file: undefined, offset: 0, lengthBytes: Infinity }),
  chmod: (call, span) => attributing(call, span, new Map([["mode", permissionsOf(call.args[1] as number)], ["system.posix_acl_access", null]])),
  chown: (call, span) => attributing(call, span, owning(call.args[1] as number, call.args[2] as number)),
  lchown: (call, span) => attributing(call, span, owning(call.args[1] as number, call.args[2] as number)),
  setxattr: (call, span) => attributing(call, span, xattr(call.args[1], xattrText(call.args[2] as Uint8Array))),
  removexattr: (call, span) => attributing(call, span, xattr(call.args[1], undefined)),
  open(call, span) {
    const [name, bits] = call.args;
    const flags = bits as number;
    // A file without a name is no business of the judge of names.
    if ((flags & O_TMPFILE) === O_TMPFILE) return undefined;
    if ((flags & O_CREAT) !== 0) return { ...span, kind: "create", path: namePath(call, name), isExclusive: (flags & O_EXCL) !== 0 };
    const { path, wantsDirectory } = plainPath(call, name);
    return { ...span, kind: "lookup", path, wantsDirectory: wantsDirectory || (flags & O_DIRECTORY) !== 0, isNoFollow: (flags & O_NOFOLLOW) !== 0, isWriting: (flags & O_ACCMODE) !== O_RDONLY };
  },
  mkdir: (call, span) => ({ ...span, kind: "mkdir", path: directoryPath(call, call.args[0]) }),
  mknod(call, span) {
    const type = (call.args[1] as number) & S_IFMT;
    return { ...span, kind: "mknod", path: namePath(call, call.args[0]), node: type === 0 || type === S_IFREG ? "file" : "other" };
  },
  symlink: (call, span) => ({ ...span, kind: "symlink", path: namePath(call, call.args[1]) }),
  unlink: (call, span) => ({ ...span, kind: "unlink", path: namePath(call, call.args[0]) }),
  rmdir: (call, span) => ({ ...span, kind: "rmdir", path: directoryPath(call, call.args[0]) }),
  link: (call, span) => ({ ...span, kind: "link", from: namePath(call, call.args[0]), to: namePath(call, call.args[1]) }),
  linkat: (call) => { throw unknown(call, "a file that is known by its descriptor gets a name"); },
  rename: (call, span) => renaming(call, span, 0),
  renameat2: (call, span) => renaming(call, span, call.args[2] as number),
};

function renaming(call: Call, span: Span, flags: number): CallRecord {
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) !== 0) throw unknown(call, "other flags than RENAME_NOREPLACE and RENAME_EXCHANGE");
  const [from, to] = call.args.slice(0, 2).map((path) => ({ text: textOf(path), path: directoryPath(call, path) })) as [{ text: string; path: string }, { text: string; path: string }];
  const wantsDirectory = from.text.endsWith("/") || to.text.endsWith("/");
  const isExchange = (flags & RENAME_EXCHANGE) !== 0;
  if (wantsDirectory && isExchange) throw unknown(call, "a path that ends in a slash");
  return { ...span, kind: "rename", from: from.path, to: to.path, isNoReplace: (flags & RENAME_NOREPLACE) !== 0, isExchange, wantsDirectory };
}

/** Of a descriptor's file, or of what a path leads to. */
function attributing(call: Call, span: Span, values: AttributeChange["values"]): CallRecord | undefined {
  const [target] = call.args;
  if (typeof target === "number") return onFile(call, (file) => ({ ...span, kind: "attribute", file, path: undefined, values }));
  const isPlain = !textOf(target).split("/").includes("..") && textOf(target) !== "";
  return { ...span, kind: "attribute", file: undefined, path: isPlain ? plainPath(call, target).path : undefined, values };
}

/** Lists of who may do what are seen in the permissions as well. */
function xattr(name: unknown, value: string | undefined): AttributeChange["values"] {
  const text = textOf(name);
  return text.startsWith("system.") ? new Map([["mode", null], [text, null]]) : new Map([[text, value]]);
}

const owning = (uid: number, gid: number): AttributeChange["values"] => new Map([...(uid === KEEP ? [] : [["uid", String(uid)] as const]), ...(gid === KEEP ? [] : [["gid", String(gid)] as const])]);

function allocation(call: Call, span: Span, file: FileId, mode: number, offset: number, lengthBytes: number): CallRecord | undefined {
  if ((mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) !== 0) throw unknown(call, "a collapsed or inserted range");
  const keepsSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0;
  if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) !== 0) return { ...span, kind: "zero", file, offset, lengthBytes, keepsSize };
  return keepsSize ? undefined : { ...span, kind: "zero", file, offset: offset + lengthBytes, lengthBytes: 0, keepsSize };
}
