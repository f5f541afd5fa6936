/** rm: names go one by one, the deepest first; what cannot be removed is told, and the rest goes nevertheless. */
import { FsError } from "../../lib/errno.js";
import { decode } from "../../lib/utf8.js";
import type { Volume } from "../../platform/node/index.js";
import { jsonName, quoted } from "../text.js";
import { lastName } from "../operand.js";
import type { Output } from "../output.js";
import { lookup, type Target } from "../session.js";
import { visitTree } from "../visit.js";

export interface RmOptions {
  readonly recursive?: boolean;
  /** What is not there is no failure. */
  readonly force?: boolean;
}

export function rm({ volume, path, text }: Target, { recursive = false, force = false }: RmOptions, out: Output): void {
  const stats = volume.lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined && force) return;
  if (lastName(path) === "") throw new FsError("EBUSY", "the root, '.' and '..' are not removed", { path });
  if (recursive) return removeTree(volume, path, text, out);
  if (stats?.isDirectory() === true) throw new FsError("EISDIR", "a directory is removed with -r", { path });
  volume.unlinkSync(path);
  told(out, text, Buffer.from(path));
}

function removeTree(volume: Volume, path: string, text: string, out: Output): void {
  const image = text.slice(0, -path.length);
  const top = volume.runSync(lookup(volume, path, false));
  visitTree(volume, top, {
    enter(dentry, at) {
      if (dentry.d_inode.isDirectory()) return;
      volume.unlinkSync(at);
      told(out, image + decode(at), at);
    },
    leave(_dentry, at) {
      volume.rmdirSync(at);
      told(out, image + decode(at), at);
    },
    failed: (error, at) => out.error(`${image}${quoted(at)}: ${error.message}`),
  });
}

function told(out: Output, text: string, path: Uint8Array): void {
  out.did(() => `removed ${quoted(Buffer.from(text))}`, () => jsonName(path, "removed"));
}
