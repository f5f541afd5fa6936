/** chown. */
import type { Output } from "../output.js";
import { lookup, type Target } from "../session.js";
import { jsonName, quoted } from "../text.js";
import type { Owner } from "../values.js";
import { visitTree } from "../visit.js";

export interface ChownOptions {
  /** Everything below, too; links are then changed themselves. */
  readonly recursive?: boolean;
  /** False: a symbolic link itself, and not what it leads to. */
  readonly dereference?: boolean;
}

export function chown({ volume, path, text }: Target, owner: Owner, { recursive = false, dereference = true }: ChownOptions, out: Output): void {
  const { uid, gid } = owner;
  const change = (at: Uint8Array | string, follow: boolean): void => {
    if (follow) volume.chownSync(at, uid, gid);
    else volume.lchownSync(at, uid, gid);
    const bytes = Buffer.from(at);
    out.did(() => `owner of ${quoted(bytes)} is ${uid < 0 ? "" : uid}${gid < 0 ? "" : `:${gid}`}`, () => ({ ...jsonName(bytes, "path"), ...(uid < 0 ? {} : { uid }), ...(gid < 0 ? {} : { gid }) }));
  };
  if (!recursive) return change(path, dereference);
  const image = text.slice(0, -path.length);
  visitTree(volume, volume.runSync(lookup(volume, path, false)), {
    enter: (_dentry, at) => change(at, false),
    failed: (error, at) => out.error(`${image}${quoted(at)}: ${error.message}`),
  });
}
