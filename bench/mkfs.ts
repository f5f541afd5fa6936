/**
 * Making a filesystem out of a folder, as processes: our command line and mke2fs -d, which both see to it that the image is on the disk; and as a measure of the host cp -a of the same folder, which does not.
 * The folder is in the page cache for all of them. Its shape matters: mke2fs looks at each name of a directory for every name that it adds.
 */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { run, temporaryFolder } from "../test/support/host.js";
import { sourceTree } from "./images.js";
import type { Comparison, Contender } from "./measure.js";
import type { Scale } from "./scale.js";

export const EXT4 = new URL("../bin/ext4", import.meta.url).pathname;
const TARGET = 4;

export interface FilledImage {
  readonly source: string;
  readonly image: string;
  /** What mke2fs and ours are told. */
  readonly words: readonly string[];
}

/** A folder of files of 14 KB on average, and how an image is made of it. */
export function filledImage(fileCount: number, filesEach: number): FilledImage {
  const place = temporaryFolder();
  const source = join(place, "source");
  mkdirSync(source);
  sourceTree(source, fileCount, filesEach);
  const image = join(place, "image");
  return { source, image, words: ["-q", "-F", "-t", "ext4", "-b", "4096", "-N", String(fileCount + Math.ceil(fileCount / filesEach) * 2 + 1000), "-d", source, image, `${Math.ceil(fileCount / 50) + 100}M`] };
}

export function making({ fileCount, rounds }: Scale): Comparison[] {
  return [["few large", Math.ceil(fileCount / 20)], ["many small", 40]].map(([shape, filesEach]) => {
    const { source, image, words } = filledImage(fileCount, filesEach as number);
    const copy = `${image}-copy`;
    const contender = (name: string, target: number | undefined, work: () => void): Contender => ({
      name, ...(target === undefined ? {} : { target }),
      round: (timed) => {
        run("sync", []);
        timed(work);
        for (const path of [image, copy]) rmSync(path, { recursive: true, force: true });
      },
    });
    return {
      title: `making a filesystem with ${fileCount} files in ${shape} directories, ${filesEach} in each`, amount: fileCount, unit: "files", rounds,
      contenders: [
        contender("mke2fs -d", undefined, () => { run("mke2fs", words); }),
        contender("ext4 mkfs -d", TARGET, () => { run(process.execPath, [EXT4, "mkfs", ...words]); }),
        contender("cp -a, which leaves it to the page cache", undefined, () => { run("cp", ["-a", source, copy]); }),
      ],
    };
  });
}
