/**
 * One small tree, in an image and before Node's eyes. As root Linux mounts that very image, so that whoever looks must agree in everything; else the tree is the folder that mke2fs
 * filled the image from, and what belongs to the filesystem (inode numbers, blocks, …) is another's.
 */
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { attempt, canMount, hasCommand, mountImage, notTestedHere, run, temporaryFolder, withMount } from "./host.js";

export interface Specimen {
  readonly image: string;
  /** Where the host sees the tree. */
  readonly root: string;
  /** Linux has the image itself mounted at `root`, read-only. */
  readonly isMounted: boolean;
}

const LINKS_IN_CHAIN = 42;

/** Values of extended attributes (latin1), one to a file. */
const ATTRIBUTES = {
  text: "plain text", empty: "", quotes: "say \"this\" \\ 'that'", utf8: "gr\u00c3\u00bc\u00c3\u009fe", newline: "two\nlines", nul: "ends in NUL\0", binary: "\0\u0001\u00fe\u00ff", tab: "a\tb",
  long: "v".repeat(900), high: "caf\u00e9 in latin1", escape: "\u001b[31m",
};

/** Everything that the tests look at. What needs root is left out without it. */
function plant(root: string): void {
  const at = (path: string): string => join(root, path);
  const write = (path: string, data: string | Uint8Array, mode = 0o644): void => {
    fs.writeFileSync(at(path), data);
    fs.chmodSync(at(path), mode);
  };
  write("small", "small file");
  write("empty", "");
  write("text", "\ufeffgrüße 漢字 😀 and more\n".repeat(3000));
  write("bytes", Uint8Array.from({ length: 70_003 }, (_, index) => (index * 7919) >>> 5));
  write("executable", "#!/bin/sh\n", 0o755);
  write("closed", "nobody may", 0);
  fs.truncateSync(at("empty"), 0);
  const sparse = fs.openSync(at("sparse"), "w");
  for (const offset of [0, 20_000, 1_000_000]) fs.writeSync(sparse, Buffer.from("data"), 0, 4, offset);
  fs.ftruncateSync(sparse, 2_000_000);
  fs.closeSync(sparse);
  fs.mkdirSync(at("dir/sub/deeper"), { recursive: true });
  write("dir/sub/deeper/bottom", "down here");
  for (let index = 0; index < 150; index++) write(`dir/entry-${index}`, index % 10 === 0 ? "x" : "");
  fs.mkdirSync(at("void"));
  fs.mkdirSync(at("names"));
  for (const name of ["n".repeat(255), "漢字-😀", "\uffee-and-", "\u{1f600}", " space ", "new\nline", "-dash"]) write(`names/${name}`, name);
  fs.writeFileSync(Buffer.concat([Buffer.from(at("names/bad-")), Buffer.of(0xff, 0xfe)]), "bad");
  const link = (target: string, path: string): void => fs.symlinkSync(target, at(path));
  link("small", "to-file");
  link("dir", "to-dir");
  link("small/", "to-file-as-dir");
  link("nowhere", "dangling");
  link("loop", "loop");
  link("../small", "dir/up");
  link("/", "to-root"); // the image's, not the host's
  link("../../../../../../../../../../dir/sub", "out");
  link("d/".repeat(100), "long-link");
  link("n".repeat(300), "too-long-link");
  link("small", "chain-0");
  for (let index = 1; index < LINKS_IN_CHAIN; index++) link(`chain-${index - 1}`, `chain-${index}`);
  fs.linkSync(at("small"), at("hard"));
  fs.mkdirSync(at("times"));
  // Seconds that a double holds with their fraction, before 1970 and after 2038.
  for (const seconds of [-1.5, 0, 1.25, 2 ** 31 + 0.5, 2 ** 33 + 0.75]) {
    write(`times/${seconds}`, "t");
    fs.utimesSync(at(`times/${seconds}`), seconds, seconds + 100);
  }
  fs.mkdirSync(at("flags"));
  for (const letters of ["A", "d", "S", "ui", "a", "Ads", "c", "j"]) {
    write(`flags/${letters}`, "f");
    attempt("chattr", [`+${letters}`, at(`flags/${letters}`)]); // what host and user do not take is not compared either
  }
  fs.mkdirSync(at("xattrs"));
  for (const [name, value] of Object.entries(ATTRIBUTES)) {
    write(`xattrs/${name}`, "x");
    attempt("setfattr", ["-n", `user.${name}`, "-v", `0x${Buffer.from(value, "latin1").toString("hex")}`, at(`xattrs/${name}`)]);
  }
  execFileSync("mkfifo", [at("fifo")]);
  execFileSync("python3", ["-c", "import os, stat, sys; os.mknod(sys.argv[1], stat.S_IFSOCK | 0o755)", at("socket")]);
  if (process.getuid?.() === 0) {
    execFileSync("mknod", ["-m", "620", at("terminal"), "c", "5", "1"]);
    execFileSync("mknod", [at("disk"), "b", "259", "70000"]);
  }
}

/** Makes the image and the tree. @returns undefined: it cannot be made here, which has been said. */
export function makeSpecimen(): Specimen | undefined {
  const image = join(temporaryFolder(), "specimen.img");
  const mke2fs = ["-q", "-F", "-t", "ext4", "-b", "1024", "-N", "600"];
  if (!hasCommand("mke2fs")) {
    notTestedHere("a tree that the host sees, too", "needs mke2fs");
    return undefined;
  }
  if (canMount) {
    run("mke2fs", [...mke2fs, image, "16M"]);
    withMount(image, "noatime", plant);
    const mount = mountImage(image, "ro,noatime");
    if (mount !== undefined) return { image, root: mount.mountPoint, isMounted: true };
  }
  const root = join(temporaryFolder(), "tree");
  fs.mkdirSync(root);
  plant(root);
  run("mke2fs", [...mke2fs, "-d", root, image, "16M"]);
  notTestedHere("inode numbers, blocks, sizes of directories and permissions as Linux sees them", "needs root and loop devices");
  return { image, root, isMounted: false };
}
