/** Making many small files one by one, to where they are on disk: through the API, and through a kernel's loop mount with Node's own fs. */
import type * as NodeFs from "node:fs";
import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Ext4 } from "ext4";
import { canMount, run, temporaryFolder, withMount } from "../test/support/host.js";
import { makeEmptyImage } from "./images.js";
import type { Comparison, Contender } from "./measure.js";
import type { Scale } from "./scale.js";

const FILE_BYTES = 4096;
const FILES_EACH = 1000;

type WorkFs = Pick<typeof NodeFs, "mkdirSync" | "openSync" | "writeSync" | "closeSync">;

function createAll(fs: WorkFs, root: string, count: number): void {
  const data = Buffer.alloc(FILE_BYTES, "data");
  for (let index = 0; index < count; index++) {
    const directory = `${root}/d${Math.floor(index / FILES_EACH)}`;
    if (index % FILES_EACH === 0) fs.mkdirSync(directory);
    const fd = fs.openSync(`${directory}/f${index}`, "w");
    fs.writeSync(fd, data);
    fs.closeSync(fd);
  }
}

export function creating({ createCount }: Scale): Comparison[] {
  const image = join(temporaryFolder(), "image");
  const make = (): void => makeEmptyImage(image, Math.ceil((createCount * 5) / 1024) * 2 + 128, createCount * 2);
  const contenders: Contender[] = [];
  if (canMount) {
    contenders.push({ name: "Node's fs on a kernel mount, with sync", round: (timed) => {
      make();
      withMount(image, "rw", (mountPoint) => timed(() => {
        createAll({ mkdirSync, openSync, writeSync, closeSync }, mountPoint, createCount);
        const fd = openSync(mountPoint, "r");
        fsyncSync(fd);
        closeSync(fd);
        run("sync", ["-f", mountPoint]);
      }));
    } });
  }
  contenders.push({ name: "volume, with its close", round: (timed) => {
    make();
    timed(() => {
      const volume = Ext4.openSync(image, { readOnly: false });
      createAll(volume as unknown as WorkFs, "", createCount);
      volume.closeSync();
    });
  } });
  return [{ title: `making ${createCount} files of 4 KiB`, amount: createCount, unit: "files", rounds: 1, contenders }];
}
