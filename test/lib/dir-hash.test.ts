/** The directory hashes agree with the vectors of the format notes and, name by name, with debugfs. */
import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { dirHash } from "../../src/lib/dir-hash.js";
import { encode } from "../../src/lib/utf8.js";

const hex = (value: number): string => value.toString(16).padStart(8, "0");
const SEED_UUID = "01234567-89ab-cdef-0123-456789abcdef";
const seedOf = (uuid: string): Uint32Array => new Uint32Array(Uint8Array.from(Buffer.from(uuid.replaceAll("-", ""), "hex")).buffer);
const hashOf = (version: number, name: string, seed: ArrayLike<number> = seedOf(SEED_UUID)): string => {
  const { hash, minor } = dirHash(version, encode(name), seed);
  return `${hex(hash)}/${hex(minor)}`;
};

test("known vectors", () => {
  expect(hashOf(1, "file-name-number-1")).toBe("cd1daa22/f7c509d5");
  expect(hashOf(1, "a".repeat(40))).toBe("4e35ffd0/d5ca152e");
  expect(hashOf(1, "café")).toBe("d6b4ad14/921a5761");
  expect(hashOf(4, "café")).toBe("3349cea2/596aa618");
  expect(hashOf(2, "file-name-number-1")).toBe("197309d0/7125c04a");
  expect(hashOf(0, "file-name-number-1").slice(0, 8)).toBe("bbb429dc");
  expect(hashOf(1, "file-name-number-1", [0, 0, 0, 0])).toBe("469a7b78/c20045a8");
});

test("random names, as debugfs hashes them", () => {
  let state = 12345;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  // A name that begins with a dash would be an option to debugfs.
  const names = Array.from({ length: 300 }, () => "n" +
    Array.from({ length: 1 + random(120) }, () => "abcdefghijklmnopqrstuvwxyzABC0123456789_-.éößλ漢"[random(47)]!).join(""));
  for (const [version, option] of [[0, "legacy"], [1, "half_md4"], [2, "tea"]] as const) {
    const script = names.map((name) => `dx_hash -h ${option} -s ${SEED_UUID} ${name}`).join("\n");
    const lines = execFileSync("debugfs", ["-f", "-"], { input: `${script}\n`, encoding: "utf8", stdio: ["pipe", "pipe", "ignore"] }).split("\n");
    const theirs = lines.filter((line) => line.startsWith("Hash of")).map((line) => line.match(/is 0x([0-9a-f]+) \(minor 0x([0-9a-f]+)\)/)!);
    expect(theirs).toHaveLength(names.length);
    names.forEach((name, index) => {
      const [, hash, minor] = theirs[index]!;
      // debugfs hashes signed characters here; a hash without minor part prints it as 0.
      expect(hashOf(version, name), `${option} of ${name}`).toBe(`${hash!.padStart(8, "0")}/${minor!.padStart(8, "0")}`);
    });
  }
});
