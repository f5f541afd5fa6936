/** ln: hard links within one image, symbolic links to whatever text is given. What stands in the way goes, with -f, in the moment in which the link comes. */
import { FsError } from "../../lib/errno.js";
import type { Volume } from "../../platform/node/index.js";
import { joined, lastName, parseOperand, UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { attempt, type Session, type Target } from "../session.js";

export interface LnOptions {
  readonly symbolic?: boolean;
  readonly force?: boolean;
  /** A destination that is a link to a directory is taken as the link that it is. */
  readonly dereference?: boolean;
}

const TEMPORARY = ".ext4-ln-partial";

export async function ln(session: Session, operands: readonly string[], options: LnOptions, out: Output): Promise<void> {
  const sources = operands.slice(0, -1);
  if (sources.length === 0) throw new UsageError("ln needs what to link to, and where the link is to be");
  const destination = await session.targetOf(operands.at(-1)!);
  const isInto = isDirectory(destination, options.dereference !== false);
  if (!isInto && sources.length > 1) throw new FsError("ENOTDIR", "several links need a directory to go to", { path: destination.path });
  for (const source of sources) {
    const target = options.symbolic === true ? source : await pathInSame(session, source, destination);
    const path = isInto ? joined(destination.path, lastName(target)) : destination.path;
    attempt(out, source, () => {
      link(destination.volume, target, path, options);
      out.did(() => `${path} -> ${target}`, () => ({ link: path, target, isSymbolic: options.symbolic === true }));
    });
  }
}

export function isDirectory({ volume, path }: Target, follow: boolean): boolean {
  const stats = follow ? volume.statSync(path, { throwIfNoEntry: false }) : volume.lstatSync(path, { throwIfNoEntry: false });
  return stats?.isDirectory() === true;
}

async function pathInSame(session: Session, text: string, destination: Target): Promise<string> {
  const { path } = parseOperand(text);
  if (path === undefined) throw new UsageError(`'${text}' names no path in an image; a symbolic link is made with -s`);
  if ((await session.targetOf(text)).volume !== destination.volume) throw new FsError("EXDEV", "a hard link stays in its image", { path: text });
  return path;
}

function link(volume: Volume, target: string, path: string, { symbolic = false, force = false }: LnOptions): void {
  const there = force ? volume.lstatSync(path, { throwIfNoEntry: false }) : undefined;
  if (there === undefined) return make(volume, target, path, symbolic);
  if (!symbolic && volume.lstatSync(target).ino === there.ino) throw new FsError("EEXIST", "both are one file already", { path: target, dest: path });
  const temporary = `${path}${TEMPORARY}`;
  make(volume, target, temporary, symbolic);
  try {
    volume.renameSync(temporary, path);
  } catch (error) {
    volume.unlinkSync(temporary);
    throw error;
  }
}

function make(volume: Volume, target: string, path: string, isSymbolic: boolean): void {
  if (isSymbolic) volume.symlinkSync(target, path);
  else volume.linkSync(target, path);
}
