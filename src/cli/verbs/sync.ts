/** sync: opening an image for writing recovers its journal and deletes what a crash left without a name; closing it leaves it clean. */
import type { Volume } from "../../platform/node/index.js";
import type { Output } from "../output.js";

export function sync(volume: Volume, text: string, out: Output): void {
  volume.syncSync();
  const { recovery } = volume.fs;
  out.did(() => `${text}: ${recovery === undefined ? "was clean" : "recovered its journal"}`, () => ({ image: text, isRecovered: recovery !== undefined }));
}
