/** Operands: an image, perhaps a partition of it, perhaps a path in it: disk.img, disk.img:/path, disk.img#2:/path. */
export interface Operand {
  readonly image: string;
  readonly partition: number | undefined;
  /** Absolute, in the image; undefined: the operand names the image alone. */
  readonly path: string | undefined;
}

/** Mistakes of whoever typed the command: exit code 2. */
export class UsageError extends Error {}

export function parseOperand(text: string): Operand {
  const { whole, path } = splitAtPath(text);
  const [, image, partition] = /^(.+?)(?:#(\d+))?$/s.exec(whole) ?? [];
  if (image === undefined) throw new UsageError(`'${text}' names no image`);
  return { image, partition: partition === undefined ? undefined : Number(partition), path };
}

/** Splits at the first ":/" that is not a drive's or a URL's. */
function splitAtPath(text: string): { whole: string; path: string | undefined } {
  const start = /^(?:[A-Za-z]:[\\/]|https?:\/\/)/.exec(text)?.[0].length ?? 0;
  const at = text.indexOf(":/", start);
  return at < 0 ? { whole: text, path: undefined } : { whole: text.slice(0, at), path: text.slice(at + 1) };
}

export interface GlobalOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  /** commander's name for --no-checksum. */
  readonly checksum?: boolean;
  readonly noload?: boolean;
  readonly journal?: string;
}

/** The operand's last name, by which it is called in a directory that it is moved to. Empty: it is the root, or what is in a directory. */
export function lastName(path: string): string {
  const name = path.replace(/\/+$/, "").split("/").at(-1)!;
  return name === "." || name === ".." ? "" : name;
}

export const joined = (directory: string, name: string): string => (directory.endsWith("/") ? directory + name : `${directory}/${name}`);
