/** What the engine asks of Node: the time, and random numbers. */
import { randomBytes } from "node:crypto";
import type { Clock } from "../../api/index.js";

export const hostClock: Clock = {
  now() {
    const milliseconds = Date.now();
    const sec = Math.floor(milliseconds / 1000);
    return { sec, nsec: (milliseconds - sec * 1000) * 1_000_000 };
  },
};

export function hostRandom(): number {
  return randomBytes(4).readUInt32LE(0);
}
