/**
 * Small files on their way to the host. Most of what creating one takes is the kernel's time, so with more than one processor threads share it. A full batch goes to a thread that has little to
 * do; while all are busy, or none is up yet, it is written here. So nobody waits before the end, a copy of a few files starts no thread, and a copy whose threads cannot start is only slower.
 */
import { availableParallelism } from "node:os";
import { MessageChannel, receiveMessageOnPort, Worker, type MessagePort } from "node:worker_threads";
import { addFile, fitsInBatch, newBatch, transferred, writeBatch, type Batch, type Failure } from "./file-batch.js";
import { writeFile } from "./host-files.js";

/** This thread is one of them. */
const THREADS_MAX = 4;
/** One at work, one in reserve. */
const BATCHES_PER_THREAD = 2;

/** What a thread begins with. */
export interface ThreadSetup {
  readonly port: MessagePort;
  /** [0] counts what all threads have said: a thread adds to it behind each message, and who waits for one waits for a change. */
  readonly said: Int32Array;
}

/** What a thread says: that it is up, or that it is done with a batch, which comes back empty. */
export interface Report {
  readonly batch?: Batch;
  readonly failures: readonly Failure[];
}

interface Thread {
  readonly worker: Worker;
  readonly port: MessagePort;
  isUp: boolean;
  batchCount: number;
}

export class FileThreads {
  private threads: readonly Thread[] | undefined;
  private readonly said = new Int32Array(new SharedArrayBuffer(4));
  private batch = newBatch();
  private readonly spare: Batch[] = [];

  constructor(private readonly failed: (failure: Failure) => void) {}

  /** Creates a file now or later, but before `settle` returns; in which order is not said. `data` may be used again at once. */
  create(path: Buffer, mode: number, data: Uint8Array): void {
    if (!fitsInBatch(path, data)) return writeFile(path, mode, data);
    while (!addFile(this.batch, path, mode, data)) this.pass();
  }

  /** Returns when all files are there. */
  settle(): void {
    this.write(this.batch);
    for (;;) {
      const saidBefore = Atomics.load(this.said, 0);
      this.collect();
      if (this.threads === undefined || this.threads.every(({ batchCount }) => batchCount === 0)) return;
      Atomics.wait(this.said, 0, saidBefore);
    }
  }

  /** The same, and lets the threads go. */
  finish(): void {
    this.settle();
    for (const { worker } of this.threads ?? []) void worker.terminate();
    this.threads = undefined;
  }

  /** Gets the full batch written, and begins another. */
  private pass(): void {
    this.threads ??= this.start();
    this.collect();
    const thread = this.threads.filter(({ isUp }) => isUp).sort((a, b) => a.batchCount - b.batchCount)[0];
    if (thread === undefined || thread.batchCount === BATCHES_PER_THREAD) return this.write(this.batch);
    thread.port.postMessage(this.batch, transferred(this.batch));
    thread.batchCount++;
    this.batch = this.spare.pop() ?? newBatch();
  }

  private write(batch: Batch): void {
    for (const failure of writeBatch(batch)) this.failed(failure);
  }

  private start(): Thread[] {
    return Array.from({ length: Math.min(availableParallelism(), THREADS_MAX) - 1 }, () => {
      const { port1, port2 } = new MessageChannel();
      const setup: ThreadSetup = { port: port2, said: this.said };
      const worker = new Worker(new URL("./file-writer.js", import.meta.url), { workerData: setup, transferList: [port2] });
      worker.on("error", () => undefined); // it will never be up
      worker.unref();
      return { worker, port: port1, isUp: false, batchCount: 0 };
    });
  }

  /** Takes in what the threads have said. */
  private collect(): void {
    for (const thread of this.threads ?? []) {
      for (let received = receiveMessageOnPort(thread.port); received !== undefined; received = receiveMessageOnPort(thread.port)) {
        const { batch, failures } = received.message as Report;
        thread.isUp = true;
        for (const failure of failures) this.failed(failure);
        if (batch === undefined) continue;
        thread.batchCount--;
        this.spare.push(batch);
      }
    }
  }
}
