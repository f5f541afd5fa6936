/** What a scenario prints goes to standard error, at once: standard output is the verdict's. It may spin or be stopped right after, so nothing is left to streams that a thread shares with the main one. */
import { isatty } from "node:tty";
import { isMainThread } from "node:worker_threads";
import { writeAll } from "../output.js";

const STDERR = 2;

type Done = (error?: Error | null) => void;

/** Of this thread, for good. The command line's own words take another way (output.ts). */
export function sendPrintsToStderr(): void {
  const clearsLine = isatty(STDERR);
  let isAtStart = true;
  const write = (chunk: string | Uint8Array, encoding?: BufferEncoding | Done, done?: Done): boolean => {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk, typeof encoding === "string" ? encoding : "utf8") : chunk;
    // The line may have the progress on it.
    if (clearsLine && isAtStart) writeAll(STDERR, Buffer.from("\r\x1b[K"));
    writeAll(STDERR, bytes);
    if (bytes.length > 0) isAtStart = bytes.at(-1) === 10;
    const callback = typeof encoding === "function" ? encoding : done;
    if (callback !== undefined) queueMicrotask(() => callback());
    return true;
  };
  process.stdout.write = write;
  if (!isMainThread) process.stderr.write = write;
}
