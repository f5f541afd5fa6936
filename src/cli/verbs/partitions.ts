/** partitions: what a disk image is divided into. */
import { readPartitions } from "../../block/partition.js";
import type { BlockDevice } from "../../block/device.js";
import type { Task } from "../../sched/task.js";
import type { Output } from "../output.js";
import { humanSize, table } from "../text.js";

export function* partitions(device: BlockDevice, out: Output): Task<void> {
  const found = yield* readPartitions(device);
  if (out.isJson) {
    for (const partition of found) out.record(partition);
    return;
  }
  if (found.length === 0) return out.line("no partition table");
  out.write(table([["#", "start", "bytes", "size", "type", "name"],
    ...found.map(({ number, startBytes, sizeBytes, type, name }) => [number, startBytes, sizeBytes, humanSize(sizeBytes), type, name])]));
}
