/** Creating things on the host: only where nothing is, so never through a symbolic link. */
import { closeSync, constants, openSync, unlinkSync, writeSync } from "node:fs";

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0);

/** Creates where nothing is; a file or link that stands there is replaced, a directory is not. */
export function atFreePlace<T>(path: Buffer, create: () => T): T {
  try {
    return create();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    unlinkSync(path);
    return create();
  }
}

/** Opens for writing where nothing is, not even a symbolic link. */
export function openNew(path: Buffer, mode: number): number {
  return openSync(path, NEW_FILE, mode);
}

export function openAtFreePlace(path: Buffer, mode: number): number {
  return atFreePlace(path, () => openNew(path, mode));
}

/** Creates a file with all that is in it, or none. */
export function writeFile(path: Buffer, mode: number, data: Uint8Array): void {
  const fd = openAtFreePlace(path, mode);
  try {
    try {
      writeFully(fd, data, 0);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    unlinkSync(path);
    throw error;
  }
}

export function writeFully(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}
