/**
 * Shares the copying of files into an image among threads. Each takes the next batch that nobody has taken; this thread does so, too, when it has no more to give. A few files start no thread, and where
 * none can start this one does it all. Meanwhile the host is asked now and then to write what is there, so that the disk is not idle until the end, when everything must be on it.
 */
import { closeSync, fdatasync, openSync } from "node:fs";
import { availableParallelism } from "node:os";
import { MessageChannel, receiveMessageOnPort, Worker, type MessagePort } from "node:worker_threads";
import type { Piece } from "../../mkfs/tree-source.js";
import { BatchBuilder, BatchCopier, type Batch } from "./pieces.js";
import { CLAIMED, CLOSED, DONE, FAILED, PUBLISHED, STATE_LENGTH, type Failure, type ThreadSetup } from "./thread-state.js";

/** This thread is one of them. */
const THREADS_MAX = 4;
/** A larger piece is cut, so that several threads have their part of a large file. */
const PIECE_BYTES_MAX = 8 * 2 ** 20;
/** The host is asked to write after so many batches. */
const SYNC_BATCHES = 32;

export class PieceThreads {
  private readonly state = new Int32Array(new SharedArrayBuffer(STATE_LENGTH * 4));
  private readonly builder = new BatchBuilder();
  /** In their order, by which they are taken. */
  private readonly batches: Batch[] = [];
  private publishedCount = 0;
  private ports: MessagePort[] | undefined;
  private workers: Worker[] = [];
  private image: number | undefined;
  private syncedCount = 0;
  private syncsUnderWay = 0;
  private isOver = false;

  /** @param path of the image. @param startBytes where in it the filesystem begins. @param isHeld nothing is written before `finish`. */
  constructor(private readonly path: string, private readonly startBytes: number, private readonly isHeld: boolean) {}

  /** The piece is copied now or later, but before `finish` returns. */
  copy(path: Uint8Array, piece: Piece): void {
    for (let done = 0; done < piece.lengthBytes; done += PIECE_BYTES_MAX) {
      const lengthBytes = Math.min(piece.lengthBytes - done, PIECE_BYTES_MAX);
      const part = { offsetBytes: piece.offsetBytes + done, dataBytes: Math.max(0, Math.min(piece.dataBytes - done, lengthBytes)), at: piece.at + done, lengthBytes };
      if (this.builder.add(path, part)) continue;
      this.pass();
      this.builder.add(path, part);
    }
  }

  /** Returns when all pieces are in the image. @throws Node's own error. */
  finish(): void {
    this.pass();
    this.publish();
    let copier: BatchCopier | undefined;
    while (Atomics.load(this.state, FAILED) === 0) {
      const number = Atomics.add(this.state, CLAIMED, 1);
      if (number >= this.batches.length) break;
      copier ??= new BatchCopier(this.openImage(), this.startBytes);
      copier.copy(this.batches[number]!);
      Atomics.add(this.state, DONE, 1);
      this.syncNowAndThen();
    }
    this.close();
    this.waitForOthers();
    this.end();
  }

  /** Ends what is going on, whatever is left undone. */
  abandon(): void {
    this.close();
    for (const worker of this.workers) void worker.terminate();
    this.end();
  }

  private waitForOthers(): void {
    for (;;) {
      const done = Atomics.load(this.state, DONE);
      if (Atomics.load(this.state, FAILED) === 1) throw this.failure();
      if (done === this.batches.length) return;
      Atomics.wait(this.state, DONE, done);
    }
  }

  private failure(): Error {
    for (const port of this.ports ?? []) {
      const received = receiveMessageOnPort(port);
      if (received === undefined) continue;
      const { message, code } = received.message as Failure;
      return Object.assign(new Error(message), { code });
    }
    return new Error("a thread failed and did not say why");
  }

  /** Closes the batch that is being filled. */
  private pass(): void {
    const batch = this.builder.take();
    if (batch === undefined) return;
    this.batches.push(batch);
    if (this.isHeld) return;
    this.publish();
    this.syncNowAndThen();
  }

  /** Lets the other threads take what there is. */
  private publish(): void {
    if (this.batches.length < 2) return; // this thread will do it
    this.ports ??= this.start();
    for (; this.publishedCount < this.batches.length; this.publishedCount++) for (const port of this.ports) port.postMessage(this.batches[this.publishedCount]);
    Atomics.store(this.state, PUBLISHED, this.publishedCount);
    Atomics.notify(this.state, PUBLISHED);
  }

  private start(): MessagePort[] {
    return Array.from({ length: Math.min(availableParallelism(), THREADS_MAX) - 1 }, () => {
      const { port1, port2 } = new MessageChannel();
      const setup: ThreadSetup = { port: port2, state: this.state, image: this.path, startBytes: this.startBytes };
      const worker = new Worker(new URL("./fill-writer.js", import.meta.url), { workerData: setup, transferList: [port2] });
      worker.on("error", () => undefined); // it takes no batch
      worker.unref();
      this.workers.push(worker);
      return port1;
    });
  }

  private close(): void {
    Atomics.store(this.state, CLOSED, 1);
    Atomics.notify(this.state, PUBLISHED);
  }

  private openImage(): number {
    return (this.image ??= openSync(this.path, "r+"));
  }

  private syncNowAndThen(): void {
    const done = Atomics.load(this.state, DONE);
    if (done - this.syncedCount < SYNC_BATCHES) return;
    this.syncedCount = done;
    this.syncsUnderWay++;
    // What fails now fails again when everything is flushed, and is told then.
    fdatasync(this.openImage(), () => {
      this.syncsUnderWay--;
      if (this.isOver) this.closeImage();
    });
  }

  private end(): void {
    this.isOver = true;
    this.closeImage();
  }

  private closeImage(): void {
    if (this.syncsUnderWay > 0 || this.image === undefined) return;
    closeSync(this.image);
    this.image = undefined;
  }
}
