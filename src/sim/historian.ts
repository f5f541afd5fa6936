/**
 * Recorded calls as the model knows them (model/history.ts): which file a descriptor or an address means is known when the call begins, and what it came to when it ends. What the model does not know (reads
 * of attributes, calls on private mappings, symbolic links that are followed) leaves no record; what would make the model wrong (collapsed ranges, O_TRUNC) throws.
 */
import type { Ext4Inode } from "../ext4/inode.js";
import { decode } from "../lib/utf8.js";
import { MS_SYNC, VM_SHARED } from "../mm/constants.js";
import { PAGE_BYTES } from "../mm/memory.js";
import type { File } from "../vfs/file.js";
import { O_APPEND, O_CREAT, O_EXCL, O_TRUNC } from "../vfs/flags.js";
import { FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from "../vfs/inode.js";
import type { Process } from "../vfs/process.js";
import type { CallRecord, DataRead, DataWrite, FileId, Span } from "./model/history.js";
import { describeCall, type Call, type CallListener } from "./recorder.js";

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;

/** A number that is used again comes with another generation. */
export function fileIdOf({ i_ino, i_generation }: Ext4Inode): FileId {
  return i_ino * 2 ** 32 + i_generation;
}

type Draft = (call: Call, span: Span) => CallRecord | undefined;

export class Historian implements CallListener {
  readonly records: CallRecord[] = [];
  private readonly open = new Map<Call, CallRecord>();

  began(call: Call): void {
    const draft = DRAFTS[call.name];
    const record = draft?.(call, { task: call.task, begin: call.begin, end: Infinity, text: describeCall(call) });
    if (record === undefined) return;
    this.records.push(record);
    this.open.set(call, record);
  }

  ended(call: Call): void {
    const record = this.open.get(call);
    if (record === undefined) return;
    this.open.delete(call);
    record.end = call.end;
    if (call.error !== undefined && !(record.kind === "read" && call.error === "signal")) record.code = call.error;
    if (call.error === undefined) learn(record, call);
  }
}

/** What is known in the end. */
function learn(record: CallRecord, { name, args, process, result }: Call): void {
  if (record.kind === "read") record.bytes = bytesOf(record, result);
  else if (record.kind === "write" && !record.isStore) {
    record.doneBytes = countOf(result);
    // It was moved on by what was written.
    if (name === "write") record.offset = fileOf(process!, args[0])!.f_pos - record.doneBytes;
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

const pathOf = (path: unknown): string => (path instanceof Uint8Array ? decode(path) : path as string);

const write = (span: Span, file: FileId, offset: number | undefined, bytes: Uint8Array, isStore: boolean): DataWrite => ({ ...span, kind: "write", file, offset, bytes, isStore });
const read = (span: Span, file: FileId, offset: number, askedBytes: number, isLoad: boolean): DataRead => ({ ...span, kind: "read", file, offset, bytes: new Uint8Array(0), askedBytes, isLoad });

function littleEndian(value: number | bigint, widthBytes: number): Uint8Array {
  const number = BigInt.asUintN(64, BigInt(value));
  return Uint8Array.from({ length: widthBytes }, (_, at) => Number((number >> BigInt(8 * at)) & 0xffn));
}

const DRAFTS: Readonly<Record<string, Draft>> = {
  write: (call, span) => onFile(call, (file, { f_pos, f_flags }) => write(span, file, (f_flags & O_APPEND) === 0 ? f_pos : undefined, call.args[1] as Uint8Array, false)),
  pwrite: (call, span) => onFile(call, (file) => write(span, file, call.args[2] as number, call.args[1] as Uint8Array, false)),
  store: (call, span) => onMapping(call, (file, offset, isDax) => ({ ...write(span, file, offset, littleEndian(call.args[1] as number | bigint, (call.args[2] as number | undefined) ?? 1), true), isDax })),
  storeBytes: (call, span) => onMapping(call, (file, offset, isDax) => ({ ...write(span, file, offset, call.args[1] as Uint8Array, true), isDax })),
  read: (call, span) => onFile(call, (file, { f_pos }) => read(span, file, f_pos, (call.args[1] as Uint8Array).length, false)),
  pread: (call, span) => onFile(call, (file) => read(span, file, call.args[2] as number, (call.args[1] as Uint8Array).length, false)),
  load: (call, span) => onMapping(call, (file, offset) => read(span, file, offset, (call.args[1] as number | undefined) ?? 1, true)),
  loadU64: (call, span) => onMapping(call, (file, offset) => read(span, file, offset, 8, true)),
  loadBytes: (call, span) => onMapping(call, (file, offset) => read(span, file, offset, call.args[1] as number, true)),
  ftruncate: (call, span) => onFile(call, (file) => ({ ...span, kind: "size", file, sizeBytes: call.args[1] as number })),
  fallocate: (call, span) => onFile(call, (file) => allocation(span, file, call.args[1] as number, call.args[2] as number, call.args[3] as number)),
  fsync: (call, span) => onFile(call, (file) => ({ ...span, kind: "sync", file, offset: 0, lengthBytes: Infinity })),
  fdatasync: (call, span) => onFile(call, (file) => ({ ...span, kind: "sync", file, offset: 0, lengthBytes: Infinity, commits: "data" })),
  msync: (call, span) => (((call.args[2] as number) & MS_SYNC) === 0 ? undefined : onMapping(call, (file, offset) => ({ ...span, kind: "sync", file, offset, lengthBytes: call.args[1] as number, commits: "data" }))),
  sync: (_call, span) => ({ ...span, kind: "sync", file: undefined, offset: 0, lengthBytes: Infinity }),
  syncfs: (_call, span) => ({ ...span, kind: "sync", file: undefined, offset: 0, lengthBytes: Infinity }),
  open({ args: [path, flags] }, span) {
    if (((flags as number) & O_TRUNC) !== 0) throw new RangeError("the model does not know O_TRUNC: ftruncate says the same");
    if (((flags as number) & O_CREAT) === 0) return { ...span, kind: "lookup", path: pathOf(path) };
    return { ...span, kind: "create", path: pathOf(path), isExclusive: ((flags as number) & O_EXCL) !== 0 };
  },
  mkdir: ({ args: [path] }, span) => ({ ...span, kind: "mkdir", path: pathOf(path) }),
  symlink: ({ args: [, path] }, span) => ({ ...span, kind: "symlink", path: pathOf(path) }),
  unlink: ({ args: [path] }, span) => ({ ...span, kind: "unlink", path: pathOf(path) }),
  rmdir: ({ args: [path] }, span) => ({ ...span, kind: "rmdir", path: pathOf(path) }),
  link: ({ args: [from, to] }, span) => ({ ...span, kind: "link", from: pathOf(from), to: pathOf(to) }),
  rename: ({ args: [from, to] }, span) => ({ ...span, kind: "rename", from: pathOf(from), to: pathOf(to) }),
  renameat2: ({ args: [from, to, flags] }, span) => ({
    ...span, kind: "rename", from: pathOf(from), to: pathOf(to), isNoReplace: ((flags as number) & RENAME_NOREPLACE) !== 0, isExchange: ((flags as number) & RENAME_EXCHANGE) !== 0,
  }),
};

function allocation(span: Span, file: FileId, mode: number, offset: number, lengthBytes: number): CallRecord | undefined {
  if ((mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) !== 0) throw new RangeError("the model does not know collapsed and inserted ranges");
  const keepsSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0;
  if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) !== 0) return { ...span, kind: "zero", file, offset, lengthBytes, keepsSize };
  return keepsSize ? undefined : { ...span, kind: "zero", file, offset: offset + lengthBytes, lengthBytes: 0, keepsSize };
}
