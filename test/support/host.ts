/** What tests ask of the host: commands, temporary folders, loop mounts that are always undone. */
import { execFileSync, spawnSync, type ExecFileSyncOptions } from "node:child_process";
import { closeSync, fstatSync, ftruncateSync, mkdtempSync, mkdirSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs a command; on failure the error tells what it printed. */
export function run(command: string, args: readonly string[], options: ExecFileSyncOptions = {}): string {
  return String(execFileSync(command, args, { stdio: ["pipe", "pipe", "pipe"], maxBuffer: 1 << 28, env: { ...process.env, LC_ALL: "C", TZ: "UTC" }, ...options }));
}

/** Runs a command whose exit code matters more than its words. */
export function attempt(command: string, args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", maxBuffer: 1 << 28, env: { ...process.env, LC_ALL: "C", TZ: "UTC" } });
  return { status, stdout, stderr };
}

const PIECE_BYTES = 1 << 16;
const ZEROES = Buffer.alloc(PIECE_BYTES);

/** A file's bytes, as `readFileSync` gives them; but where it is zero no memory is touched, which is most of a fresh image. */
export function readImage(path: string): Uint8Array {
  const fd = openSync(path, "r");
  try {
    const bytes = new Uint8Array(fstatSync(fd).size);
    const piece = Buffer.alloc(PIECE_BYTES);
    for (let at = 0, length: number; (length = readSync(fd, piece, 0, PIECE_BYTES, at)) > 0; at += length) {
      if (length < PIECE_BYTES || !piece.equals(ZEROES)) bytes.set(piece.subarray(0, length), at);
    }
    return bytes;
  } finally {
    closeSync(fd);
  }
}

/** Makes a file of these bytes, with holes where they are zero. */
export function writeImage(path: string, bytes: Uint8Array): void {
  const fd = openSync(path, "w");
  try {
    ftruncateSync(fd, bytes.length);
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      const piece = bytes.subarray(at, at + PIECE_BYTES);
      if (piece.length < PIECE_BYTES || !ZEROES.equals(piece)) writeSync(fd, piece, 0, piece.length, at);
    }
  } finally {
    closeSync(fd);
  }
}

const cleanups: (() => void)[] = [];
/** Undoes what was mounted and made. Vitest calls it after each file (test/support/clean-up.ts), as it leaves its workers no time to end by themselves; other programs call it by ending. */
export function cleanUp(): void {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
}
process.on("exit", cleanUp);

/** A folder that is gone after the tests of a file, or when the process ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "ext4-test-"));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Whether an image can be mounted here: root, with a loop device to be had. */
export const canMount = process.getuid?.() === 0 && spawnSync("losetup", ["-f"]).status === 0;

/** A mounted image, for tests that need it for longer than one call. */
export interface Mount {
  readonly mountPoint: string;
  unmount(): void;
}

/** Mounts an image; it is undone after the tests of a file, if not before. @returns undefined: Linux does not mount it. */
export function mountImage(image: string, options: string): Mount | undefined {
  const mountPoint = join(temporaryFolder(), "mnt");
  mkdirSync(mountPoint);
  if (attempt("mount", ["-o", `loop,${options}`, image, mountPoint]).status !== 0) return undefined;
  let isMounted = true;
  const unmount = (): void => {
    // A file that a failed test left open must not keep the image mounted for ever.
    if (isMounted && spawnSync("umount", [mountPoint]).status !== 0) spawnSync("umount", ["--lazy", mountPoint]);
    isMounted = false;
  };
  cleanups.push(unmount);
  return { mountPoint, unmount };
}

/** Calls `work` with a loop device over the image, for commands that take none but devices. */
export function withLoop<T>(image: string, work: (device: string) => T): T {
  const device = run("losetup", ["-f", "--show", image]).trim();
  try {
    return work(device);
  } finally {
    spawnSync("losetup", ["-d", device], { stdio: "ignore" });
  }
}

/** Calls `work` with the image mounted. @returns undefined: Linux does not mount it. */
export function withMount<T>(image: string, options: string, work: (mountPoint: string) => T): T | undefined {
  const mount = mountImage(image, options);
  if (mount === undefined) return undefined;
  try {
    return work(mount.mountPoint);
  } finally {
    mount.unmount();
  }
}

/** Whether a command is installed. */
export function hasCommand(command: string): boolean {
  return spawnSync(command, ["--version"], { stdio: "ignore" }).error === undefined;
}

/** Says once, in one line, what is not tested on this host. */
export function notTestedHere(what: string, why: string): void {
  process.stderr.write(`not tested here: ${what} (${why})\n`);
}
