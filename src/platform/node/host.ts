/** What the engine asks of Node: the time, and random numbers. */
import { randomFillSync } from "node:crypto";
import type { Clock } from "../../api/index.js";

export const hostClock: Clock = {
  now() {
    const milliseconds = Date.now();
    const sec = Math.floor(milliseconds / 1000);
    return { sec, nsec: (milliseconds - sec * 1000) * 1_000_000 };
  },
};

/** Random words are fetched in numbers: one by one each is a call into the system. */
const words = new Uint32Array(256);
let nextWord = words.length;

export function hostRandom(): number {
  if (nextWord === words.length) {
    randomFillSync(words);
    nextWord = 0;
  }
  return words[nextWord++]!;
}
