/** A thread that creates the files of one batch after the other: a program of its own, started by file-threads.ts. */
import { workerData } from "node:worker_threads";
import { transferred, writeBatch, type Batch } from "./file-batch.js";
import type { Report, ThreadSetup } from "./file-threads.js";

const { port, said } = workerData as ThreadSetup;

function say(report: Report): void {
  port.postMessage(report, report.batch === undefined ? [] : transferred(report.batch));
  Atomics.add(said, 0, 1);
  Atomics.notify(said, 0);
}

port.on("message", (batch: Batch) => say({ failures: writeBatch(batch), batch }));
say({ failures: [] });
