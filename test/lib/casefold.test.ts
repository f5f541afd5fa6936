/** Case folding agrees with e2fsprogs, which carries Linux's own tables: debugfs hashes a name's folding. */
import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { casefold } from "../../src/lib/casefold.js";
import { dirHash } from "../../src/lib/dir-hash.js";
import { decode, encode } from "../../src/lib/utf8.js";

const folded = (name: string): string | undefined => {
  const bytes = casefold(encode(name));
  return bytes === undefined ? undefined : decode(bytes);
};

test("some foldings that people know", () => {
  expect(folded("HELLO")).toBe("hello");
  expect(folded("Straße")).toBe("strasse");
  expect(folded("CAFÉ")).toBe("cafe\u0301");
  expect(folded("a\u00adb")).toBe("ab"); // the soft hyphen is ignored
  expect(folded("가")).toBe("\u1100\u1161");
  expect(casefold(Uint8Array.of(0x41, 0xff))).toBeUndefined();
});

test("every code point, and chains of them, as e2fsprogs folds them", () => {
  const isUsable = (code: number): boolean => code > 0x20 && code !== 0x7f && code !== 0x22 && code !== 0x2f && code !== 0x5c && (code < 0xd800 || code > 0xdfff);
  const names: string[] = [];
  for (let code = 0x21; code < 0x30000; code++) {
    // CJK and Hangul in samples: they fold alike by rule.
    const isDull = (code > 0x3400 && code < 0xa000) || (code > 0xac00 && code < 0xd7a0) || code > 0x1fb00;
    if (isUsable(code) && (!isDull || code % 97 === 0)) names.push(`n${String.fromCodePoint(code)}Z`);
  }
  for (const code of [0xe000, 0xfdd0, 0xfffe, 0xffff, 0x1fffe, 0xe0001, 0xe0100, 0xf0000, 0x10fffd, 0x10ffff]) names.push(`n${String.fromCodePoint(code)}Z`);
  let state = 7;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const marks = [0x300, 0x301, 0x323, 0x345, 0x5b0, 0x1100, 0x1161, 0x11a8, 0x41, 0xc9, 0x1e9e, 0x130, 0x1fb3, 0x1f80, 0x212b, 0x3099, 0xad, 0x200d];
  for (let index = 0; index < 3000; index++) names.push(`n${Array.from({ length: 1 + random(6) }, () => String.fromCodePoint(marks[random(marks.length)]!)).join("")}`);

  const script = names.map((name) => `dx_hash -h half_md4 -c -e utf8 "${name}"`).join("\n");
  const output = execFileSync("debugfs", ["-f", "-"], { input: `${script}\n`, encoding: "utf8", stdio: ["pipe", "pipe", "ignore"], maxBuffer: 1 << 26 });
  const theirs = [...output.matchAll(/is 0x([0-9a-f]+) \(minor 0x([0-9a-f]+)\)/g)].map(([, hash]) => parseInt(hash!, 16));
  expect(theirs).toHaveLength(names.length);
  const differing = names.filter((name, index) => dirHash(1, casefold(encode(name)) ?? encode(name), [0, 0, 0, 0]).hash !== theirs[index]);
  expect(differing.map((name) => [...name].map((char) => char.codePointAt(0)!.toString(16)).join(" "))).toEqual([]);
});
