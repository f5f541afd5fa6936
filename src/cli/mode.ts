/** File modes as chmod takes them: octal, or clauses of who, what and which bits. Source: gnulib's modechange.c. */
import { S_ISGID, S_ISUID, S_ISVTX } from "../vfs/inode.js";
import { UsageError } from "./operand.js";

const ALL_BITS = 0o7777;
const ALL_EXECUTE = 0o111;
/** Each class with its special bit. */
const WHO_BITS: Readonly<Record<string, number>> = { u: S_ISUID | 0o700, g: S_ISGID | 0o070, o: S_ISVTX | 0o007, a: ALL_BITS };
const LETTER_BITS: Readonly<Record<string, number>> = { r: 0o444, w: 0o222, x: ALL_EXECUTE, s: S_ISUID | S_ISGID, t: S_ISVTX, X: 0 };
const CLASS_BITS: Readonly<Record<string, number>> = { u: 0o700, g: 0o070, o: 0o007 };

interface ModeChange {
  readonly operator: "=" | "+" | "-";
  /** The bits that it speaks of; 0: all, but those of the umask. */
  readonly affected: number;
  readonly bits: number;
  /** Bits that are named, so that a directory's set-id bits change, too. */
  readonly mentioned: number;
  /** X: execution for directories and for what somebody may execute already. */
  readonly isExecuteIfAny: boolean;
  /** The class whose bits are copied. */
  readonly copied: number;
}

/** @throws UsageError. */
export function parseMode(text: string): readonly ModeChange[] {
  if (/^[0-7]+$/.test(text)) return [octalChange(text)];
  return text.split(",").flatMap((clause) => parseClause(clause, text));
}

function octalChange(text: string): ModeChange {
  const bits = parseInt(text, 8);
  if (bits > ALL_BITS) throw new UsageError(`'${text}' is no mode`);
  // A directory keeps its set-id bits, unless the number has a digit for them.
  const mentioned = text.length < 5 ? (bits & (S_ISUID | S_ISGID)) | S_ISVTX | 0o777 : ALL_BITS;
  return { operator: "=", affected: ALL_BITS, bits, mentioned, isExecuteIfAny: false, copied: 0 };
}

function parseClause(clause: string, whole: string): ModeChange[] {
  const [, who, actions] = /^([ugoa]*)((?:[=+-](?:[ugo]|[rwxXst]*))+)$/.exec(clause) ?? [];
  if (actions === undefined) throw new UsageError(`'${whole}' is no mode: a number such as 644, or clauses such as u+x,go-w`);
  const affected = Array.from(who!).reduce((bits, letter) => bits | WHO_BITS[letter]!, 0);
  return Array.from(actions.matchAll(/([=+-])([ugo]|[rwxXst]*)/g), ([, operator, letters]) => {
    const copied = CLASS_BITS[letters!] ?? 0;
    const bits = copied !== 0 ? copied : Array.from(letters!).reduce((sum, letter) => sum | LETTER_BITS[letter]!, 0);
    const isExecuteIfAny = letters!.includes("X");
    return { operator: operator as ModeChange["operator"], affected, bits, mentioned: affected === 0 ? bits : affected & bits, isExecuteIfAny, copied };
  });
}

/** The mode after the changes; only permission, set-id and sticky bits. */
export function applyMode(changes: readonly ModeChange[], oldMode: number, isDirectory: boolean, umask: number): number {
  let mode = oldMode & ALL_BITS;
  for (const change of changes) {
    const left = isDirectory ? (S_ISUID | S_ISGID) & ~change.mentioned : 0;
    const reach = (change.affected === 0 ? ~umask : change.affected) & ~left;
    const bits = wantedBits(change, mode, isDirectory) & reach;
    if (change.operator === "+") mode |= bits;
    else if (change.operator === "-") mode &= ~bits;
    else mode = (mode & ((change.affected === 0 ? 0 : ~change.affected) | left)) | bits;
  }
  return mode & ALL_BITS;
}

function wantedBits({ bits, copied, isExecuteIfAny }: ModeChange, mode: number, isDirectory: boolean): number {
  if (copied !== 0) {
    const found = mode & copied;
    return [0o444, 0o222, ALL_EXECUTE].reduce((sum, everybody) => ((found & everybody) !== 0 ? sum | everybody : sum), 0);
  }
  return isExecuteIfAny && (isDirectory || (mode & ALL_EXECUTE) !== 0) ? bits | ALL_EXECUTE : bits;
}
