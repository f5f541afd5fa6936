/** mv: within one image, where moving is renaming. */
import { FsError } from "../../lib/errno.js";
import type { Volume } from "../../platform/node/index.js";
import { joined, lastName, UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { attempt, type Session, type Target } from "../session.js";
import { isDirectory } from "./ln.js";

export interface MvOptions {
  /** What is there stays. */
  readonly clobber?: boolean;
  /** The destination is the new name, whatever it is. */
  readonly noTargetDirectory?: boolean;
}

export async function mv(session: Session, operands: readonly string[], options: MvOptions, out: Output): Promise<void> {
  const targets: Target[] = [];
  for (const text of operands) targets.push(await session.targetOf(text));
  const destination = targets.pop();
  if (destination === undefined || targets.length === 0) throw new UsageError("mv needs what to move and where to");
  const isInto = options.noTargetDirectory !== true && isDirectory(destination, true);
  if (!isInto && targets.length > 1) throw new FsError("ENOTDIR", "several sources need a directory to go to", { path: destination.path });
  for (const source of targets) {
    const to = isInto ? joined(destination.path, lastName(source.path)) : destination.path;
    attempt(out, source.text, () => {
      if (source.volume !== destination.volume) throw new FsError("EXDEV", "between images use cp -a and rm", { path: source.path, dest: to });
      if (!move(source.volume, source.path, to, options.clobber !== false)) return;
      out.did(() => `${source.path} -> ${to}`, () => ({ from: source.path, to }));
    });
  }
}

/** @returns whether it was moved. */
function move(volume: Volume, from: string, to: string, mayReplace: boolean): boolean {
  const source = volume.lstatSync(from);
  const there = volume.lstatSync(to.replace(/(?<=.)\/+$/, ""), { throwIfNoEntry: false });
  if (there !== undefined && !mayReplace) return false;
  // Two names of one file: a rename would do nothing.
  if (there !== undefined && there.ino === source.ino) throw new FsError("EINVAL", "both are one file", { path: from, dest: to });
  volume.renameSync(from, to);
  return true;
}
