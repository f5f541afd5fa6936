/** The images that are measured: made by mke2fs out of generated files, the same ones each time, and gone when the program ends. */
import { closeSync, fsyncSync, ftruncateSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { run, temporaryFolder } from "../test/support/host.js";

const MIB = 2 ** 20;

/** Bytes without zeroes, which mke2fs would take for holes, and different for each seed. */
function noise(lengthBytes: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(lengthBytes / 4));
  let state = (seed + 1) * 0x9e37_79b1;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state | 0x0101_0101;
  }
  return new Uint8Array(words.buffer, 0, lengthBytes);
}

/** An image of what `fill` puts into a folder. It is on the disk when this returns, so that no writeback disturbs the measurement. */
function makeImage(sizeBytes: number, options: readonly string[], fill: (folder: string) => void): string {
  const folder = temporaryFolder();
  const source = join(folder, "source");
  const image = join(folder, "image");
  mkdirSync(source);
  fill(source);
  const fd = openSync(image, "w");
  ftruncateSync(fd, sizeBytes);
  run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "4096", ...options, "-d", source, image]);
  fsyncSync(fd);
  closeSync(fd);
  rmSync(source, { recursive: true });
  return image;
}

/** Makes `image` an empty filesystem, all of which is written: a kernel that mounts it has nothing left to prepare. */
export function makeEmptyImage(image: string, sizeMib: number, inodeCount: number): void {
  writeFileSync(image, "");
  run("mke2fs", ["-q", "-F", "-t", "ext4", "-N", String(inodeCount), "-E", "lazy_itable_init=0,lazy_journal_init=0", image, `${sizeMib}M`]);
}

/** One file, /big. */
export function bigFileImage(mib: number): string {
  return makeImage(Math.ceil(mib * 1.1 + 64) * MIB, [], (folder) => {
    const fd = openSync(join(folder, "big"), "w");
    for (let index = 0; index < mib; index++) writeSync(fd, noise(MIB, index));
    closeSync(fd);
  });
}

export interface TreeImage {
  readonly image: string;
  /** All directories but lost+found, absolute, parents first. */
  readonly directories: readonly string[];
  /** Files and directories below the root, lost+found included. */
  readonly entryCount: number;
}

const DIRECTORIES_EACH = 20;
const FILES_EACH = 200;
const FILE_BYTES_MAX = 4000;

/** A tree of three levels: `fileCount` files of up to 4000 bytes, 200 in a directory. */
export function treeImage(fileCount: number): TreeImage {
  const leaves = Math.ceil(fileCount / FILES_EACH);
  const branches = Math.ceil(leaves / DIRECTORIES_EACH);
  const branchOf = (leaf: number): string => `/branch-${Math.floor(leaf / DIRECTORIES_EACH)}`;
  const directories = ["/", ...Array.from({ length: branches }, (_, branch) => branchOf(branch * DIRECTORIES_EACH))];
  const files = Array.from({ length: leaves }, (_, leaf) => `${branchOf(leaf)}/leaf-${leaf}`);
  const content = noise(FILE_BYTES_MAX, 0);
  const image = makeImage(fileCount * 5 * 1024 + 64 * MIB, ["-N", String(fileCount + leaves + branches + 1000)], (folder) => {
    for (const directory of [...directories, ...files]) mkdirSync(folder + directory, { recursive: true });
    for (let index = 0; index < fileCount; index++) {
      const path = `${folder}${files[index % leaves]}/file-${String(index).padStart(6, "0")}`;
      writeFileSync(path, content.subarray(0, 1 + (index * 997) % FILE_BYTES_MAX));
    }
  });
  return { image, directories: [...directories, ...files], entryCount: fileCount + leaves + branches + 1 };
}

/** Average of the files in a source tree, of which none is much larger than 64 KiB. */
const SOURCE_BYTES = 13_800;
const SOURCE_BYTES_MAX = 65_536;
const LEAVES_EACH = 40;

/** Files of all sizes, many small ones and few large, `filesEach` in a directory. */
export function sourceTree(folder: string, fileCount: number, filesEach: number): void {
  const content = noise(SOURCE_BYTES_MAX * 2, 1);
  for (let index = 0; index < fileCount; index++) {
    const leaf = Math.floor(index / filesEach);
    const directory = join(folder, `branch-${Math.floor(leaf / LEAVES_EACH)}`, `leaf-${leaf}`);
    if (index % filesEach === 0) mkdirSync(directory, { recursive: true });
    // As chance would have it, and the same each time.
    const share = ((index * 7919) % 9973 + 0.5) / 9973;
    const sizeBytes = Math.min(SOURCE_BYTES_MAX, 1 + Math.floor(-Math.log(share) * SOURCE_BYTES));
    writeFileSync(join(directory, `file-${String(index).padStart(6, "0")}.txt`), content.subarray(index % SOURCE_BYTES_MAX, (index % SOURCE_BYTES_MAX) + sizeBytes));
  }
}
