/** Runs bin/ext4 as a user does. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";

export interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output, byte by byte. */
  readonly bytes: Buffer;
}

export const BIN = fileURLToPath(new URL("../../bin/ext4", import.meta.url));

/** Other work of this process, such as answering the command's HTTP requests, goes on meanwhile. */
export function ext4(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [BIN, ...args], { encoding: "buffer", maxBuffer: 1 << 28, env: { ...process.env, LC_ALL: "C", TZ: "UTC" } }, (_error, stdout, stderr) => {
      resolve({ status: child.exitCode ?? -1, stdout: stdout.toString("utf8"), stderr: stderr.toString("utf8"), bytes: stdout });
    });
  });
}

/** The same, of a command that must succeed and have nothing to complain of. */
export async function ext4Output(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await ext4(...args);
  if (status !== 0 || stderr !== "") throw new Error(`ext4 ${args.join(" ")}: status ${status}\n${stderr}`);
  return stdout;
}

/** The JSON objects that a command writes, one a line. */
export async function ext4Records(...args: readonly string[]): Promise<Record<string, unknown>[]> {
  return (await ext4Output("--json", ...args)).trimEnd().split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, unknown>);
}
