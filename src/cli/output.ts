/**
 * Where a verb's words go: standard output in large pieces, errors to standard error with the verb's name, progress to standard error if it is a terminal. A reader
 * that goes away (head) ends the program quietly.
 */
import { writeSync } from "node:fs";

const PIECE_CHARS = 64 * 1024;
const PROGRESS_MS = 100;

export class Output {
  private pending = "";
  private progressAt = 0;
  private hasProgress = false;
  /** Whether anything went to standard output. */
  hasWritten = false;
  /** Set by the first error: the exit code is then 1. */
  hasFailed = false;
  /** What was done is told. */
  isVerbose = false;

  constructor(readonly verb: string, readonly isJson: boolean, private readonly isQuiet: boolean) {}

  write(text: string): void {
    this.hasWritten = true;
    this.pending += text;
    if (this.pending.length >= PIECE_CHARS) this.flush();
  }

  line(text = ""): void {
    this.write(`${text}\n`);
  }

  /** One JSON document on a line of its own. */
  record(value: unknown): void {
    this.line(JSON.stringify(value, (_key, field: unknown) => (typeof field === "bigint" ? Number(field) : field)));
  }

  /** Tells of something that was done: a record for JSON, words for who asked for them. */
  did(words: () => string, record: () => Record<string, unknown>): void {
    if (this.isJson) this.record(record());
    else if (this.isVerbose) this.line(words());
  }

  bytes(bytes: Uint8Array): void {
    this.flush();
    writeAll(1, bytes);
  }

  flush(): void {
    const text = this.pending;
    this.pending = "";
    if (text !== "") writeAll(1, Buffer.from(text));
  }

  error(message: string): void {
    this.hasFailed = true;
    this.note(message);
  }

  /** Something worth saying that is no failure. */
  note(message: string): void {
    this.clearProgress();
    this.flush();
    writeAll(2, Buffer.from(`ext4 ${this.verb}: ${message}\n`));
  }

  /** Shows how far a long piece of work has come, now and then. */
  progress(text: () => string): void {
    if (this.isQuiet || !process.stderr.isTTY) return;
    const now = performance.now();
    if (now - this.progressAt < PROGRESS_MS) return;
    this.progressAt = now;
    this.hasProgress = true;
    process.stderr.write(`\r\x1b[K${text()}`);
  }

  clearProgress(): void {
    if (this.hasProgress) process.stderr.write("\r\x1b[K");
    this.hasProgress = false;
  }
}

export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) {
    try {
      done += writeSync(fd, bytes, done);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EPIPE") process.exit(0);
      if (code !== "EAGAIN") throw error; // a pipe whose reader is slow
    }
  }
}
