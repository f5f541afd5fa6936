/**
 * The language in which every on-disk structure is declared: a structure is a table of named fields with offsets, spelled as in the
 * kernel's headers. A record is (DataView, offset); reading a field allocates nothing. The table is checked for overlaps, gaps and size
 * when the module loads, and serves the engine, fsck, the dump commands, the corruption fuzzer and the hex view alike.
 */
import { assert } from "../lib/errno.js";
import { TWO_32 } from "../lib/numbers.js";

export type FieldType = "u8" | "i8" | "le16" | "le16s" | "le32" | "le32s" | "le64" | "be16" | "be32" | "be64" | "bytes" | "hole";

export interface Span {
  /** Byte offset in the structure. */
  readonly at: number;
  /** Bytes in all. */
  readonly size: number;
  readonly type: FieldType;
}

/** One number. */
export interface Field extends Span {
  get(view: DataView, base: number): number;
  set(view: DataView, base: number, value: number): void;
}

/** `count` numbers of one kind, side by side. */
export interface ArrayField extends Span {
  readonly count: number;
  get(view: DataView, base: number, index: number): number;
  set(view: DataView, base: number, index: number, value: number): void;
}

/** Raw bytes: a uuid, a label, a name. `get` is a window, not a copy. */
export interface BytesField extends Span {
  readonly type: "bytes";
  get(view: DataView, base: number): Uint8Array;
  set(view: DataView, base: number, value: Uint8Array): void;
}

export type AnyField = Field | ArrayField | BytesField | Span;

export const u8 = (at: number): Field => ({ at, size: 1, type: "u8",
  get: (v, b) => v.getUint8(b + at), set: (v, b, x) => v.setUint8(b + at, x) });
export const i8 = (at: number): Field => ({ at, size: 1, type: "i8",
  get: (v, b) => v.getInt8(b + at), set: (v, b, x) => v.setInt8(b + at, x) });
export const le16 = (at: number): Field => ({ at, size: 2, type: "le16",
  get: (v, b) => v.getUint16(b + at, true), set: (v, b, x) => v.setUint16(b + at, x, true) });
export const le16s = (at: number): Field => ({ at, size: 2, type: "le16s",
  get: (v, b) => v.getInt16(b + at, true), set: (v, b, x) => v.setInt16(b + at, x, true) });
export const le32 = (at: number): Field => ({ at, size: 4, type: "le32",
  get: (v, b) => v.getUint32(b + at, true), set: (v, b, x) => v.setUint32(b + at, x, true) });
export const le32s = (at: number): Field => ({ at, size: 4, type: "le32s",
  get: (v, b) => v.getInt32(b + at, true), set: (v, b, x) => v.setInt32(b + at, x, true) });
/** Exact up to 2^53; a larger value comes out rounded, and every range check still refuses it. */
export const le64 = (at: number): Field => ({ at, size: 8, type: "le64",
  get: (v, b) => v.getUint32(b + at + 4, true) * TWO_32 + v.getUint32(b + at, true),
  set: (v, b, x) => { v.setUint32(b + at, x % TWO_32, true); v.setUint32(b + at + 4, Math.floor(x / TWO_32), true); } });
export const be16 = (at: number): Field => ({ at, size: 2, type: "be16",
  get: (v, b) => v.getUint16(b + at), set: (v, b, x) => v.setUint16(b + at, x) });
export const be32 = (at: number): Field => ({ at, size: 4, type: "be32",
  get: (v, b) => v.getUint32(b + at), set: (v, b, x) => v.setUint32(b + at, x) });
export const be64 = (at: number): Field => ({ at, size: 8, type: "be64",
  get: (v, b) => v.getUint32(b + at) * TWO_32 + v.getUint32(b + at + 4),
  set: (v, b, x) => { v.setUint32(b + at, Math.floor(x / TWO_32)); v.setUint32(b + at + 4, x % TWO_32); } });

export function array(kind: (at: number) => Field, at: number, count: number): ArrayField {
  const first = kind(at);
  const step = first.size;
  return { at, size: step * count, type: first.type, count,
    get: (v, b, i) => first.get(v, b + i * step), set: (v, b, i, x) => first.set(v, b + i * step, x) };
}

export const bytes = (at: number, size: number): BytesField => ({ at, size, type: "bytes",
  get: (v, b) => new Uint8Array(v.buffer, v.byteOffset + b + at, size),
  set: (v, b, x) => new Uint8Array(v.buffer, v.byteOffset + b + at, size).set(x) });

/** Bytes that the structure has but nobody reads: reserved or padding. */
export const hole = (at: number, size: number): Span => ({ at, size, type: "hole" });

export type Layout<Fields extends Record<string, AnyField>> = Fields & {
  /** The table itself: what the fuzzer, the hex view and the dump walk over. */
  readonly $: { readonly name: string; readonly size: number; readonly fields: readonly (readonly [string, AnyField])[] };
};
/** Any structure, as far as its table goes. */
export type AnyLayout = Pick<Layout<Record<never, AnyField>>, "$">;

/** Declares a structure of `size` bytes. Every byte belongs to exactly one field; a hole is declared, not left. */
export function layout<Fields extends Record<string, AnyField>>(name: string, size: number, fields: Fields): Layout<Fields> {
  const table = Object.entries(fields).sort(([, a], [, b]) => a.at - b.at);
  let end = 0;
  for (const [field, { at, size: fieldSize }] of table) {
    assert(at >= end, `${name}.${field} at ${at} overlaps the field before it, which ends at ${end}`);
    assert(at === end, `${name}: bytes ${end}..${at - 1} before ${field} belong to no field`);
    end = at + fieldSize;
  }
  assert(end === size, `${name} is declared with ${size} bytes, its fields have ${end}`);
  return { ...fields, $: { name, size, fields: table } };
}

export { viewOf } from "../lib/view.js";
