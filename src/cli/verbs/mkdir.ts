/** mkdir and rmdir. */
import { applyMode, type parseMode } from "../mode.js";
import type { Output } from "../output.js";
import type { Target } from "../session.js";

export interface MkdirOptions {
  readonly parents?: boolean;
  readonly mode?: ReturnType<typeof parseMode>;
}

export function mkdir({ volume, path, text }: Target, { parents = false, mode }: MkdirOptions, out: Output): void {
  const first = parents ? volume.mkdirSync(path, { recursive: true }) : volume.mkdirSync(path);
  if (parents && first === undefined) return; // all of it was there
  // A mode that is asked for is exact: the umask has no say.
  if (mode !== undefined) volume.chmodSync(path, applyMode(mode, 0o777, true, process.umask()));
  for (const made of parents ? fromFirst(path, first!) : [path]) out.did(() => `made directory ${text.slice(0, -path.length)}${made}`, () => ({ made }));
}

/** The directories on the way to `path` from `first` on. */
function fromFirst(path: string, first: string): string[] {
  const names = path.slice(first.length).split("/").filter((name) => name !== "" && name !== ".");
  return names.reduce((paths, name) => [...paths, `${paths.at(-1)!}/${name}`], [first]);
}

export function rmdir({ volume, path, text }: Target, out: Output): void {
  volume.rmdirSync(path);
  out.did(() => `removed directory ${text}`, () => ({ removed: path }));
}
