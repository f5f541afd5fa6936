/** touch: new times, and a new file where none is. */
import { FsError } from "../../lib/errno.js";
import type { Output } from "../output.js";
import type { Target } from "../session.js";

export interface TouchOptions {
  /** Nanoseconds since 1970; undefined: the volume's clock. */
  readonly timeNs?: bigint | undefined;
  /** Nothing is made. */
  readonly noCreate?: boolean;
  readonly accessOnly?: boolean;
  readonly modifyOnly?: boolean;
  /** False: a symbolic link's own times. */
  readonly dereference?: boolean;
}

export function touch({ volume, path, text }: Target, options: TouchOptions, out: Output): void {
  const isLinkItself = options.dereference === false;
  const find = () => (isLinkItself ? volume.lstatSync(path, { bigint: true, throwIfNoEntry: false }) : volume.statSync(path, { bigint: true, throwIfNoEntry: false }));
  let stats = find();
  if (stats === undefined) {
    if (options.noCreate === true) return;
    if (isLinkItself) throw new FsError("ENOENT", "", { syscall: "lutime", path });
    volume.writeFileSync(path, "");
    stats = find()!;
  }
  const { sec, nsec } = volume.fs.clock.now();
  const timeNs = options.timeNs ?? BigInt(sec) * 1_000_000_000n + BigInt(nsec);
  // With both options, both times are set, as without.
  const isBoth = options.accessOnly === options.modifyOnly;
  const atimeNs = isBoth || options.accessOnly === true ? timeNs : stats.atimeNs;
  const mtimeNs = isBoth || options.modifyOnly === true ? timeNs : stats.mtimeNs;
  if (isLinkItself) volume.lutimesSync(path, atimeNs, mtimeNs);
  else volume.utimesSync(path, atimeNs, mtimeNs);
  out.did(() => `touched ${text}`, () => ({ touched: path }));
}
