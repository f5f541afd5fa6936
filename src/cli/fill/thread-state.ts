/** What the threads that fill an image and the one that started them say to each other. */
import type { MessagePort } from "node:worker_threads";

/** In the shared state: how many batches somebody has taken, there are, and are in the image; whether no more come, and whether one could not be copied. */
export const CLAIMED = 0;
export const PUBLISHED = 1;
export const DONE = 2;
export const CLOSED = 3;
export const FAILED = 4;
export const STATE_LENGTH = 5;

/** What a thread begins with. */
export interface ThreadSetup {
  /** Brings it every batch, and takes a Failure. */
  readonly port: MessagePort;
  readonly state: Int32Array;
  readonly image: string;
  readonly startBytes: number;
}

export interface Failure {
  readonly message: string;
  readonly code: string | undefined;
}
