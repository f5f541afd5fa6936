/** How much memory a process takes at its highest: the resident set, as the host counts it. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { run, temporaryFolder } from "../test/support/host.js";
import { EXT4, filledImage } from "./mkfs.js";
import type { Figures } from "./figure.js";
import type { Scale } from "./scale.js";

const MIB_MAX = 300;
const NODE = new URL("../dist/node.js", import.meta.url).href;
const MARK = "peak resident set, KiB:";
const TELL = `data:text/javascript,${encodeURIComponent(`import { writeSync } from "node:fs"; process.on("exit", () => writeSync(2, "${MARK}" + process.resourceUsage().maxRSS + "\\n"));`)}`;

/** Runs Node and returns its peak in MiB. */
function peakOf(args: readonly string[]): number {
  const { status, stderr } = spawnSync(process.execPath, ["--import", TELL, ...args], { encoding: "utf8" });
  const [, kib] = new RegExp(`${MARK}(\\d+)`).exec(stderr) ?? [];
  if (status !== 0 || kib === undefined) throw new Error(stderr);
  return Number(kib) / 1024;
}

const writingScript = (image: string, count: number): string => `
  import { Ext4 } from "${NODE}";
  const volume = Ext4.openSync(${JSON.stringify(image)}, { readOnly: false });
  const data = Buffer.alloc(4096, "data");
  for (let index = 0; index < ${count}; index++) {
    const directory = "/d" + Math.floor(index / 1000);
    if (index % 1000 === 0) volume.mkdirSync(directory);
    volume.writeFileSync(directory + "/f" + index, data);
  }
  volume.closeSync();`;

export function memory({ fileCount, createCount }: Scale): Figures {
  const { words } = filledImage(fileCount, 40);
  const large = join(temporaryFolder(), "large.img");
  run(process.execPath, [EXT4, "mkfs", "-q", large, "10G"]);
  const figures = [
    { name: `ext4 mkfs -d, ${fileCount} files`, value: peakOf([EXT4, "mkfs", ...words]), unit: "MiB", max: MIB_MAX },
    { name: `the API writing ${createCount} files into an image of 10 GiB`, value: peakOf(["--input-type=module", "-e", writingScript(large, createCount)]), unit: "MiB", max: MIB_MAX },
    { name: "for comparison, Node alone", value: peakOf(["-e", "0"]), unit: "MiB" },
  ];
  return { title: "peak memory", figures };
}
