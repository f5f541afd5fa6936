/** The options of a mount as text, "ro,noexec,dax=always": those that every filesystem has are told from those that are its own. Source: path_mount (fs/namespace.c), mount(8). */
import type { MountFlags } from "./mount.js";

export interface MountRequest {
  readonly isReadOnly: boolean;
  readonly flags: MountFlags;
  /** For the filesystem, in the order given. */
  readonly options: readonly string[];
}

/** Known everywhere, and without meaning here. */
const IGNORED = new Set(["", "defaults", "remount", "dev", "nodev", "exec", "suid", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "lazytime", "nolazytime", "sync",
  "async", "dirsync", "auto", "noauto", "user", "nouser"]);

export function parseMountOptions(text: string): MountRequest {
  const options: string[] = [];
  let isReadOnly = false;
  let flags: MountFlags = {};
  for (const word of text.split(",")) {
    if (word === "ro") isReadOnly = true;
    else if (word === "rw") isReadOnly = false;
    else if (word === "noexec") flags = { ...flags, isNoExec: true };
    else if (word === "nosuid") flags = { ...flags, isNoSuid: true };
    else if (!IGNORED.has(word)) options.push(word);
  }
  return { isReadOnly, flags, options };
}
