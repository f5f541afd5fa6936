/** Gathers writes into few large requests: they wait until there are enough of them, and neighbours become one. */
import type { Bio, BlockDevice } from "../block/device.js";
import type { Task } from "../sched/task.js";

const BATCH_BYTES = 8 * 2 ** 20;
/** Requests above this are not worth a copy to join them. */
const JOIN_BYTES_MAX = 2 ** 20;
const ZEROES = new Uint8Array(2 ** 20);

export class WriteBatch {
  private bios: Bio[] = [];
  private pendingBytes = 0;
  writtenBytes = 0;

  constructor(private readonly device: BlockDevice) {}

  /** `data` must not change until the batch is flushed. Writes of one batch do not overlap. */
  *write(offsetBytes: number, data: Uint8Array): Task<void> {
    this.bios.push({ op: "write", offsetBytes, data });
    this.pendingBytes += data.length;
    this.writtenBytes += data.length;
    if (this.pendingBytes >= BATCH_BYTES) yield* this.flush();
  }

  *zero(offsetBytes: number, lengthBytes: number): Task<void> {
    for (let done = 0; done < lengthBytes; done += ZEROES.length) yield* this.write(offsetBytes + done, ZEROES.subarray(0, Math.min(ZEROES.length, lengthBytes - done)));
  }

  /** Everything so far has gone to the device. */
  *flush(): Task<void> {
    const bios = joined(this.bios);
    this.bios = [];
    this.pendingBytes = 0;
    if (bios.length > 0) yield* this.device.submit(bios);
  }
}

function joined(bios: readonly Bio[]): Bio[] {
  const sorted = [...bios].sort((a, b) => a.offsetBytes - b.offsetBytes);
  const result: Bio[] = [];
  for (let from = 0; from < sorted.length;) {
    let end = from + 1;
    let lengthBytes = sorted[from]!.data.length;
    const { offsetBytes } = sorted[from]!;
    while (end < sorted.length && sorted[end]!.offsetBytes === offsetBytes + lengthBytes && sorted[end]!.data.length + lengthBytes <= JOIN_BYTES_MAX) lengthBytes += sorted[end++]!.data.length;
    result.push(end === from + 1 ? sorted[from]! : join(sorted.slice(from, end), lengthBytes));
    from = end;
  }
  return result;
}

function join(bios: readonly Bio[], lengthBytes: number): Bio {
  const { op, offsetBytes } = bios[0]!;
  const data = new Uint8Array(lengthBytes);
  for (const bio of bios) data.set(bio.data, bio.offsetBytes - offsetBytes);
  return { op, offsetBytes, data };
}
