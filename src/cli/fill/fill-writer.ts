/** A thread that brings batches of pieces into an image: a program of its own, started by piece-threads.ts. */
import { closeSync, openSync } from "node:fs";
import { receiveMessageOnPort, workerData } from "node:worker_threads";
import { BatchCopier, type Batch } from "./pieces.js";
import { CLAIMED, CLOSED, DONE, FAILED, PUBLISHED, type Failure, type ThreadSetup } from "./thread-state.js";

const { port, state, image, startBytes } = workerData as ThreadSetup;

/** Waits for the batch of this number. False: there will be none, or nobody wants it any more. */
function isThere(number: number): boolean {
  for (;;) {
    const published = Atomics.load(state, PUBLISHED);
    if (Atomics.load(state, FAILED) === 1) return false;
    if (published > number) return true;
    if (Atomics.load(state, CLOSED) === 1) return false;
    Atomics.wait(state, PUBLISHED, published);
  }
}

function fail(error: unknown): void {
  const failure: Failure = { message: (error as Error).message, code: (error as NodeJS.ErrnoException).code };
  port.postMessage(failure);
  Atomics.store(state, FAILED, 1);
}

const fd = openSync(image, "r+");
const copier = new BatchCopier(fd, startBytes);
for (let received = 0; ;) {
  const number = Atomics.add(state, CLAIMED, 1);
  if (!isThere(number)) break;
  let batch: Batch | undefined;
  for (; received <= number; received++) batch = receiveMessageOnPort(port)!.message as Batch;
  try {
    copier.copy(batch!);
  } catch (error) {
    fail(error);
  }
  Atomics.add(state, DONE, 1);
  Atomics.notify(state, DONE);
}
closeSync(fd);
