/** getfattr: names and values of extended attributes, in getfattr's words. */
import { encode, isValidUtf8, decode } from "../../lib/utf8.js";
import { FsError } from "../../lib/errno.js";
import type { Task } from "../../sched/task.js";
import { dentryPath, type Dentry } from "../../vfs/namei.js";
import { walkTree } from "../../vfs/walk.js";
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { jsonName, quoted } from "../text.js";

export interface GetfattrOptions {
  readonly dump?: boolean;
  readonly name?: string;
  readonly match?: string;
  readonly encoding?: string;
  readonly recursive?: boolean;
}

export function* getfattr(top: Dentry, options: GetfattrOptions, out: Output): Task<void> {
  if (options.recursive !== true) return yield* show(top, options, out);
  yield* walkTree(top, {
    enter: (dentry) => show(dentry, options, out),
    failed: (error, path) => out.error(`${quoted(path)}: ${error.message}`),
  });
}

function* show(dentry: Dentry, options: GetfattrOptions, out: Output): Task<void> {
  const inode = dentry.d_inode;
  const names = options.name === undefined ? yield* matching(dentry, options.match) : [encode(options.name)];
  if (names.length === 0) return;
  const attributes: { name: string; value: Uint8Array | undefined }[] = [];
  for (const name of names) {
    const withValue = options.dump === true || options.name !== undefined || out.isJson;
    const value = withValue ? yield* inode.getxattr(name) : undefined;
    if (withValue && value === undefined) throw new FsError("ENODATA", `no attribute ${quoted(name)}`);
    attributes.push({ name: quoted(name), value });
  }
  if (out.isJson) {
    out.record({ ...jsonName(dentryPath(dentry), "path"), attributes: Object.fromEntries(attributes.map(({ name, value }) => [name, Buffer.from(value!).toString("base64")])) });
    return;
  }
  out.line(`# file: ${quoted(dentryPath(dentry))}`);
  for (const { name, value } of attributes) out.line(value === undefined ? name : `${name}=${encodeValue(value, options.encoding)}`);
  out.line();
}

/** As getfattr: names of the user namespace, unless a pattern is given; "-" means all. */
function* matching(dentry: Dentry, pattern = "^user\\."): Task<Uint8Array[]> {
  const expression = new RegExp(pattern === "-" ? "" : pattern);
  return (yield* dentry.d_inode.listxattr()).filter((name) => expression.test(decode(name)));
}

function encodeValue(value: Uint8Array, encoding = "auto"): string {
  const bytes = Buffer.from(value);
  switch (encoding) {
    case "hex": return `0x${bytes.toString("hex")}`;
    case "base64": return `0s${bytes.toString("base64")}`;
    case "text": return asText(value);
    case "auto": return isMostlyText(value) ? asText(value) : `0s${bytes.toString("base64")}`;
    default: throw new UsageError(`--encoding takes text, hex or base64, not '${encoding}'`);
  }
}

const isPrintable = (byte: number): boolean => byte >= 0x20 && byte < 0x7f;

/** getfattr's own measure: of eight bytes seven can be printed, a NUL at the end aside. */
function isMostlyText(value: Uint8Array): boolean {
  const text = value[value.length - 1] === 0 ? value.subarray(0, -1) : value;
  return text.filter((byte) => !isPrintable(byte)).length * 8 <= text.length;
}

/** In quotes. Bytes that a terminal had better not see are octal, which setfattr --restore reads back; so are those of broken UTF-8. */
function asText(value: Uint8Array): string {
  const isShown = isValidUtf8(value) ? (byte: number): boolean => byte >= 0x20 && byte !== 0x7f : isPrintable;
  const parts = Array.from(value, (byte) => (byte === 0x22 || byte === 0x5c ? `\\${String.fromCharCode(byte)}` : isShown(byte) ? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, "0")}`));
  return `"${Buffer.from(parts.join(""), "latin1").toString("utf8")}"`;
}
