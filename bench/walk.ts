/** Walking a tree and asking for each entry's attributes: debugfs lists the same directories one by one, as it has no walk of its own; the kernel walks a fresh mount, so that nothing is cached but the image. */
import { lstatSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Ext4, rootDentry, walkTree } from "ext4";
import { canMount, run, temporaryFolder, withMount } from "../test/support/host.js";
import { treeImage } from "./images.js";
import type { Comparison, Contender } from "./measure.js";
import type { Scale } from "./scale.js";

/** readdir and lstat of all below `path`. Returns the entries seen. */
function walk(fs: { readdirSync(path: string): string[]; lstatSync(path: string): { isDirectory(): boolean } }, path: string): number {
  let count = 0;
  for (const name of fs.readdirSync(path)) {
    const child = path === "/" ? `/${name}` : `${path}/${name}`;
    count++;
    if (fs.lstatSync(child).isDirectory()) count += walk(fs, child);
  }
  return count;
}

/** The same by inode, with no name looked up. */
function walkByInode(image: string): number {
  const volume = Ext4.openSync(image);
  let count = -1; // the root is no entry
  volume.runSync(walkTree(rootDentry(volume.fs.root), {
    *enter({ d_inode }) {
      yield* d_inode.getattr();
      count++;
    },
  }));
  volume.closeSync();
  return count;
}

export function walking({ fileCount, rounds }: Scale): Comparison[] {
  const { image, directories, entryCount } = treeImage(fileCount);
  const check = (count: number): void => {
    if (count !== entryCount) throw new Error(`${count} entries were seen, not ${entryCount}`);
  };
  const commands = join(temporaryFolder(), "commands");
  writeFileSync(commands, directories.map((directory) => `ls -l ${directory}\n`).join(""));
  const contenders: Contender[] = [
    { name: "debugfs, ls -l of each directory", round: (timed) => { timed(() => run("debugfs", ["-f", commands, image])); } },
    { name: "volume.readdirSync and lstatSync", target: 1, round: (timed) => {
      const volume = Ext4.openSync(image); // nothing is cached
      check(timed(() => walk(volume, "/")));
      volume.closeSync();
    } },
    { name: "walkTree and getattr", target: 1, round: (timed) => check(timed(() => walkByInode(image))) },
  ];
  if (canMount) {
    contenders.push({ name: "Node's fs on a kernel mount", round: (timed) => {
      withMount(image, "ro", (mountPoint) => check(timed(() => walk({ readdirSync: (path) => readdirSync(path), lstatSync }, mountPoint))));
    } });
  }
  return [{ title: `walking and stat-ing ${entryCount} entries`, amount: entryCount, unit: "entries", rounds, contenders }];
}
