/**
 * Copying a whole tree out of an image, as processes: our command line, debugfs's rdump, and cp from a kernel mount. rdump keeps owners, modes and times, as cp -a does. Each round goes to a
 * filesystem that was made for it, where root can mount one: Linux takes long to create files where it has just deleted as many.
 */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { canMount, run, temporaryFolder, withMount } from "../test/support/host.js";
import { makeEmptyImage, treeImage } from "./images.js";
import type { Comparison, Contender, Timed } from "./measure.js";
import type { Scale } from "./scale.js";

const EXT4 = new URL("../bin/ext4", import.meta.url).pathname;

export function copyingOut({ fileCount, rounds }: Scale): Comparison[] {
  const { image, entryCount } = treeImage(fileCount);
  const place = temporaryFolder();
  const fill = (parent: string, timed: Timed, copyTo: (folder: string) => void): void => {
    const folder = join(parent, "out");
    mkdirSync(folder);
    timed(() => copyTo(folder));
    const count = readdirSync(folder, { recursive: true }).length;
    if (count !== entryCount) throw new Error(`${count} entries were copied, not ${entryCount}`);
    rmSync(folder, { recursive: true });
  };
  const into = (timed: Timed, copyTo: (folder: string) => void): void => {
    if (!canMount) return fill(place, timed, copyTo);
    const target = join(place, "target");
    makeEmptyImage(target, Math.ceil(fileCount / 100) + 256, fileCount + 2000);
    withMount(target, "rw", (mountPoint) => fill(mountPoint, timed, copyTo));
  };
  const contenders: Contender[] = [
    { name: "debugfs rdump", round: (timed) => into(timed, (folder) => { run("debugfs", ["-R", `rdump / "${folder}"`, image]); }) },
    { name: "ext4 cp -R", target: 1, round: (timed) => into(timed, (folder) => { run(process.execPath, [EXT4, "cp", "-R", `${image}:/`, folder]); }) },
    { name: "ext4 cp -a", round: (timed) => into(timed, (folder) => { run(process.execPath, [EXT4, "cp", "-a", `${image}:/`, folder]); }) },
  ];
  if (canMount) {
    contenders.push({ name: "cp -R from a kernel mount", round: (timed) => {
      withMount(image, "ro", (mountPoint) => into(timed, (folder) => { run("cp", ["-R", `${mountPoint}/.`, folder]); }));
    } });
  }
  return [{ title: `copying ${fileCount} files out of an image`, amount: fileCount, unit: "files", rounds, contenders }];
}
