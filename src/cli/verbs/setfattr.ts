/** setfattr: sets or removes an extended attribute. */
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import type { Target } from "../session.js";

export interface XattrChange {
  readonly name: string;
  /** Undefined: it is removed. */
  readonly value: Uint8Array | undefined;
  /** False: the attribute of a symbolic link itself. */
  readonly followSymlinks: boolean;
}

const TEXT_ESCAPE = /\\([0-7]{1,3}|[\s\S])/g;

/** A value as setfattr takes it: text, perhaps in quotes and with octal escapes; 0x and hexadecimal; 0s and base64. @throws UsageError. */
export function parseValue(text: string): Uint8Array {
  if (/^0x/i.test(text)) {
    const digits = text.slice(2).replace(/\s/g, "");
    if (!/^(?:[0-9a-f]{2})*$/i.test(digits)) throw new UsageError(`-v: '${text}' is not hexadecimal`);
    return Buffer.from(digits, "hex");
  }
  if (/^0s/i.test(text)) {
    if (!/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(text.slice(2))) throw new UsageError(`-v: '${text}' is not base64`);
    return Buffer.from(text.slice(2), "base64");
  }
  const inner = /^"([\s\S]*)"$/.exec(text)?.[1] ?? text;
  // Byte by byte: an escape stands for a byte, and the text around it is UTF-8.
  const bytes = Buffer.from(inner).toString("latin1").replace(TEXT_ESCAPE, (_, what: string) => (/^[0-7]/.test(what) ? String.fromCharCode(parseInt(what, 8) & 0xff) : what));
  return Buffer.from(bytes, "latin1");
}

export function setfattr({ volume, path, text }: Target, { name, value, followSymlinks }: XattrChange, out: Output): void {
  if (value === undefined) volume.removexattrSync(path, name, { followSymlinks });
  else volume.setxattrSync(path, name, value, { followSymlinks });
  out.did(() => `${value === undefined ? "removed" : "set"} ${name} of ${text}`, () => ({ path, name, value: value === undefined ? null : Buffer.from(value).toString("base64") }));
}
