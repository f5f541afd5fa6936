/**
 * What all verbs share: images that are opened once, tasks that are driven, failures that are told, and images that are closed whatever happened. An image is opened for
 * writing only by a verb that writes, and closing it is what leaves it clean.
 */
import { realpathSync } from "node:fs";
import { encode } from "../lib/utf8.js";
import { Ext4, type OpenOptions, type Task, type Volume } from "../platform/node/index.js";
import { ManualClock } from "../sched/clock.js";
import { pathLookup, rootDentry, type Dentry } from "../vfs/namei.js";
import { fixedTimeSec } from "./clock.js";
import { parseOperand, UsageError, type GlobalOptions, type Operand } from "./operand.js";
import { Output } from "./output.js";

const EXIT_FAILED = 1;

export type Access = "read" | "write";

/** An operand of a verb that writes: a path in a volume, and how the user called it. */
export interface Target {
  readonly volume: Volume;
  readonly path: string;
  readonly text: string;
}

interface OpenVolume { readonly volume: Volume; readonly image: string }

export class Session {
  /** Several operands may name one image, and it must not be mounted twice. */
  private readonly volumes = new Map<string, OpenVolume>();

  constructor(private readonly globalsOf: () => GlobalOptions) {}

  get globals(): GlobalOptions {
    return this.globalsOf();
  }

  output(verb: string): Output {
    return new Output(verb, this.globals.json === true, this.globals.quiet === true);
  }

  /** What is to be written must be asked for before it is read. @throws Error with a code; it names the image. */
  async volumeOf(operand: Operand, access: Access = "read"): Promise<Volume> {
    const key = identityOf(operand);
    const known = this.volumes.get(key);
    if (known !== undefined) return known.volume;
    const { image } = operand;
    try {
      const volume = await openVolume(operand, this.globals, access);
      this.volumes.set(key, { volume, image });
      for (const warning of volume.fs.warnings) process.stderr.write(`ext4: ${image}: ${warning.message}\n`);
      return volume;
    } catch (error) {
      throw ofImage(image, error);
    }
  }

  async drive<T>(operand: Operand, volume: Volume, task: Task<T>): Promise<T> {
    return isRemote(operand) ? await volume.runAsync(task) : volume.runSync(task);
  }

  /** Runs a reading verb over each operand; one that fails does not stop the others. */
  async forEachOperand(
    verb: string, operands: readonly string[], followLast: boolean, work: (volume: Volume, dentry: Dentry, out: Output, operand: string) => Task<void>,
  ): Promise<void> {
    const out = this.output(verb);
    for (const text of operands) {
      const operand = parseOperand(text);
      const volume = await this.volumeOf(operand);
      try {
        await this.drive(operand, volume, (function* (): Task<void> {
          yield* work(volume, yield* lookup(volume, operand.path, followLast), out, text);
        })());
      } catch (error) {
        report(out, text, error);
      }
    }
    finish(out);
  }

  /** Runs a writing verb. Images that it opened are closed, and so made whole, also if it fails. */
  async writing(verb: string, isVerbose: boolean | undefined, work: (out: Output) => Promise<void> | void): Promise<void> {
    const out = this.output(verb);
    out.isVerbose = isVerbose === true;
    try {
      await work(out);
    } finally {
      this.close(out);
      finish(out);
    }
  }

  /** Runs a writing verb over each operand; one that fails does not stop the others. */
  async forEachTarget(verb: string, operands: readonly string[], isVerbose: boolean | undefined, work: (target: Target, out: Output) => void): Promise<void> {
    await this.writing(verb, isVerbose, async (out) => {
      // All are opened before anything is changed: a mistake in the last operand is found in time.
      const targets: Target[] = [];
      for (const text of operands) targets.push(await this.targetOf(text));
      for (const target of targets) attempt(out, target.text, () => work(target, out));
    });
  }

  async targetOf(text: string): Promise<Target> {
    const operand = parseOperand(text);
    if (operand.path === undefined) throw new UsageError(`'${text}' names no path in an image`);
    return { volume: await this.volumeOf(operand, "write"), path: operand.path, text };
  }

  private close(out: Output): void {
    for (const { volume, image } of this.volumes.values()) {
      if (volume.fs.isWritable) attempt(out, image, () => volume.closeSync());
    }
    this.volumes.clear();
  }
}

async function openVolume(operand: Operand, options: GlobalOptions, access: Access): Promise<Volume> {
  const openOptions: OpenOptions = { checksum: options.checksum, noload: options.noload, journalDevice: options.journal, partition: operand.partition };
  return await Ext4.open(operand.image, access === "read" ? openOptions : { ...openOptions, ...writingOptions() });
}

function writingOptions(): OpenOptions {
  const timeSec = fixedTimeSec();
  return { readOnly: false, credentials: { umask: process.umask() }, ...(timeSec === undefined ? {} : { clock: new ManualClock(timeSec) }) };
}

/** The error of an image that cannot be used at all: the program's last words name it. */
export function ofImage(image: string, error: unknown): unknown {
  return error instanceof Error ? Object.assign(error, { image }) : error;
}

export function isRemote(operand: Operand): boolean {
  return /^https?:\/\//.test(operand.image);
}

/** Equal for two ways to say one image. */
function identityOf(operand: Operand): string {
  const { image, partition } = operand;
  let place = image;
  try {
    if (!isRemote(operand)) place = realpathSync(image);
  } catch {
    // The file is not there: opening it says so.
  }
  return `${place}#${partition}`;
}

export function* lookup(volume: Volume, path: string | undefined, followLast: boolean): Task<Dentry> {
  const root = rootDentry(volume.fs.root);
  return yield* pathLookup(root, root, encode(path ?? "/"), { followLast });
}

/** What went wrong, for one operand; anything but a fault of the image, the host or the user is a bug and passes. */
export function report(out: Output, where: string, error: unknown): void {
  if (error instanceof UsageError || !(error instanceof Error) || !("code" in error)) throw error;
  out.error(`${where}: ${error.message}`);
}

/** Runs a piece of work whose failure is reported and does not stop the rest. @returns whether it went well. */
export function attempt(out: Output, where: string, work: () => void): boolean {
  try {
    work();
    return true;
  } catch (error) {
    report(out, where, error);
    return false;
  }
}

export function finish(out: Output): void {
  out.clearProgress();
  out.flush();
  if (out.hasFailed) process.exitCode = EXIT_FAILED;
}
