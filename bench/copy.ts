/** Copying a whole tree out of an image, as processes: our command line, debugfs's rdump, and cp from a kernel mount. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { canMount, run, temporaryFolder, withMount } from "../test/support/host.js";
import { treeImage } from "./images.js";
import type { Comparison, Contender, Timed } from "./measure.js";
import type { Scale } from "./scale.js";

export const EXT4 = new URL("../bin/ext4", import.meta.url).pathname;

export function copyingOut({ fileCount, rounds }: Scale): Comparison[] {
  const { image } = treeImage(fileCount);
  const folder = join(temporaryFolder(), "out");
  const into = (timed: Timed, work: () => void): void => {
    mkdirSync(folder);
    timed(work);
    rmSync(folder, { recursive: true });
  };
  const contenders: Contender[] = [
    { name: "debugfs rdump", round: (timed) => into(timed, () => { run("debugfs", ["-R", `rdump / ${folder}`, image]); }) },
    { name: "ext4 cp -R", target: 1, round: (timed) => into(timed, () => { run(process.execPath, [EXT4, "cp", "-R", `${image}:/`, folder]); }) },
  ];
  if (canMount) {
    contenders.push({ name: "cp -R from a kernel mount", round: (timed) => {
      withMount(image, "ro", (mountPoint) => into(timed, () => { run("cp", ["-R", `${mountPoint}/.`, folder]); }));
    } });
  }
  return [{ title: `copying ${fileCount} files out of an image`, amount: fileCount, unit: "files", rounds, contenders }];
}
