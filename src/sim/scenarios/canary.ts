/** A scenario with a bug of its own, which must be found: if it is not, the lab is broken. Two tasks add one to a number in a file, and nobody locks it. */
import { O_RDWR } from "../../vfs/flags.js";
import type { Process } from "../../vfs/process.js";
import type { Task } from "../../sched/task.js";
import { scenario } from "../scenario.js";

function* addOne(process: Process, fd: number): Task<void> {
  const number = new Uint8Array(1);
  yield* process.pread(fd, number, 0);
  yield* process.pwrite(fd, Uint8Array.of(number[0]! + 1), 0);
}

export const canary = scenario({
  name: "canary/lost-update",
  description: "two tasks each add one to a number in a file, and one of them is lost: this must be found",
  world: { files: { "/number": Uint8Array.of(0) } },
  *prepare({ process }) {
    return yield* process.open("/number", O_RDWR);
  },
  tasks: {
    *first({ process }, fd) { yield* addOne(process, fd); },
    *second({ process }, fd) { yield* addOne(process, fd); },
  },
  *after({ process, check }, fd) {
    const number = new Uint8Array(1);
    yield* process.pread(fd, number, 0);
    check(number[0] === 2, `the number is ${number[0]}, and both have added one`);
  },
});
