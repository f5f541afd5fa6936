/**
 * Files under verity: a tree of hashes and a descriptor stand behind the file's end, from the next multiple of 64 KiB on (Documentation/filesystems/fsverity.rst, ext4/verity.rst), and are no part of it.
 * Few kernels make or open them, so Linux writes such files whole, debugfs cuts their size and sets the flag, and e2fsck, which lets nothing but verity stand there, says whether that is right.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { Ext4, type Volume } from "../../src/platform/node/index.js";
import { attempt, canMount, notTestedHere, run, temporaryFolder, withMount } from "../support/host.js";
import { linuxTree, ourTree, treeDifferences, type Tree } from "../support/tree.js";

const SIZES = [1, 4095, 65_536, 70_000, 1_000_003];
const EXTENTS_VERITY = 0x180000;

describe.runIf(canMount).each([["1 KiB", ["-b", "1024"]], ["4 KiB, bigalloc", ["-b", "4096", "-O", "bigalloc", "-C", "16384"]], ["without 64bit, checksums", ["-O", "^64bit,^metadata_csum"]]])("%s", (_name, args) => {
  let image = "";
  let unsealed: Tree;
  const copyOf = (): string => {
    const copy = join(temporaryFolder(), "copy.img");
    run("cp", ["--sparse=always", image, copy]);
    return copy;
  };
  const change = (work: (volume: Volume) => void): string => {
    const copy = copyOf();
    const volume = Ext4.openSync(copy, { readOnly: false });
    work(volume);
    volume.closeSync();
    expect(attempt("e2fsck", ["-fn", copy])).toMatchObject({ status: 0 });
    return copy;
  };

  beforeAll(() => {
    image = join(temporaryFolder(), "disk.img");
    run("mke2fs", ["-q", "-F", "-t", "ext4", ...args.map((arg) => (args.includes("-O") && args[args.indexOf("-O") + 1] === arg ? `${arg},verity` : arg)), ...(args.includes("-O") ? [] : ["-O", "verity"]), image, "32M"]);
    withMount(image, "rw", (mountPoint) => {
      run("python3", ["-c", `
import hashlib, os, sys
for size in ${JSON.stringify(SIZES)}:
    path = f"{sys.argv[1]}/f{size}"
    with open(path, "wb") as file:
        file.write(bytes((i * 7919 >> 4) & 255 for i in range(size)))
        file.seek((size + 65535) // 65536 * 65536)
        file.write(b"tree" * 2048 + b"descriptor" + (10).to_bytes(4, "little"))
open(f"{sys.argv[1]}/open", "w").write("anybody's")
`, mountPoint]);
    });
    run("debugfs", ["-w", "-f", "-", image], { input: SIZES.map((size) => `sif f${size} size ${size}`).join("\n") });
    unsealed = withMount(image, "ro,noatime", linuxTree)!;
    expect(attempt("e2fsck", ["-fn", image]).stdout, "blocks behind the end are a fault without verity").toContain("i_size is");
    run("debugfs", ["-w", "-f", "-", image], { input: SIZES.map((size) => `sif f${size} flags ${EXTENTS_VERITY}`).join("\n") });
    expect(attempt("e2fsck", ["-fn", image])).toMatchObject({ status: 0 });
  });

  test("data and sizes end where the file does", () => {
    const volume = Ext4.openSync(image);
    // Whole but for what debugfs changed: Linux saw these files without the flag, which it did not know what to do with.
    expect(treeDifferences(unsealed, ourTree(volume), new Set(["ctimeNs"]))).toEqual([]);
    for (const size of SIZES) {
      const data = Buffer.from(Uint8Array.from({ length: size }, (_, index) => ((index * 7919) >> 4) & 255));
      expect(createHash("sha256").update(volume.readFileSync(`/f${size}`)).digest("hex")).toBe(createHash("sha256").update(data).digest("hex"));
      const fd = volume.openSync(`/f${size}`);
      expect(volume.readSync(fd, new Uint8Array(100), 0, 100, Math.ceil(size / 65_536) * 65_536)).toBe(0);
      expect(volume.readSync(fd, new Uint8Array(100), 0, 100, size - 1)).toBe(1);
      volume.closeSync(fd);
      expect(volume.flagsSync(`/f${size}`)).toMatchObject({ word: EXTENTS_VERITY, letters: expect.stringContaining("V"), names: expect.arrayContaining(["Verity"]) });
    }
    expect(volume.flagsSync("/open").letters).not.toContain("V");
    volume.closeSync();
  });

  test("they are sealed: EPERM, as Linux says where it knows verity (fsverity_file_open, fsverity_prepare_setattr)", () => {
    const changed = change((volume) => {
      const refused = (work: () => unknown): void => expect(work).toThrow(expect.objectContaining({ code: "EPERM" }));
      for (const file of ["/f1", "/f70000"]) {
        refused(() => volume.openSync(file, "r+"));
        refused(() => volume.openSync(file, "a"));
        refused(() => volume.writeFileSync(file, "new"));
        refused(() => volume.appendFileSync(file, "new"));
        refused(() => volume.truncateSync(file, 0));
        refused(() => volume.truncateSync(file, 100_000));
        refused(() => volume.copyFileSync("/open", file));
        refused(() => volume.fallocateSync(file, 0, 0, 200_000));
        refused(() => volume.fallocateSync(file, 3, 0, 1024));
      }
      expect(() => volume.setFlagsSync("/f1", 0x80000)).toThrow(expect.objectContaining({ code: "EOPNOTSUPP" }));
    });
    const volume = Ext4.openSync(changed);
    expect(treeDifferences(unsealed, ourTree(volume), new Set(["ctimeNs"]))).toEqual([]);
    volume.closeSync();
  });

  test("names, modes and attributes are not; what is removed is removed with what stands behind its end", () => {
    const changed = change((volume) => {
      volume.chmodSync("/f1", 0o600);
      volume.setxattrSync("/f1", "user.note", "sealed");
      volume.renameSync("/f4095", "/renamed");
      volume.linkSync("/renamed", "/linked");
      volume.copyFileSync("/f70000", "/copy");
      volume.unlinkSync("/f1000003");
      volume.unlinkSync("/f65536");
    });
    const volume = Ext4.openSync(changed);
    expect(volume.readFileSync("/copy").equals(volume.readFileSync("/f70000"))).toBe(true);
    expect(volume.flagsSync("/copy").letters).not.toContain("V");
    expect(volume.flagsSync("/linked").letters).toContain("V");
    volume.closeSync();
  });
});

if (!canMount) notTestedHere("files under verity", "needs root and loop devices");
