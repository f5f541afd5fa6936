/** The specimen seen twice: by Node's own fs, and by a Volume on the image. What belongs to the filesystem is compared if both look at the same. */
import * as fs from "node:fs";
import { expect, test } from "vitest";
import { Ext4, type Volume } from "../../src/platform/node/index.js";
import { makeSpecimen } from "../support/specimen.js";

/** A way to call fs-shaped operations. */
export interface Surface {
  readonly name: string;
  /** The path of an entry of the tree. */
  at(path: string): string;
  /** The same for a path that is no valid UTF-8 or is otherwise given as bytes (latin1). */
  bytesAt(path: string): Buffer;
  call(operation: string, ...args: unknown[]): Promise<unknown>;
}

export interface World {
  readonly image: string;
  /** Where Node finds the tree. */
  readonly nodeRoot: string;
  readonly isMounted: boolean;
  readonly volume: Volume;
  /** Node's surface and ours, sync and with promises. */
  readonly pairs: readonly (readonly [theirs: Surface, ours: Surface])[];
}

type Methods = Record<string, (...args: unknown[]) => unknown>;

/** @returns undefined: the tree cannot be made here, which has been said. */
export function makeWorld(): World | undefined {
  const specimen = makeSpecimen();
  if (specimen === undefined) return undefined;
  const { image, root: nodeRoot, isMounted } = specimen;
  const volume = Ext4.openSync(image);
  const surface = (name: string, root: string, methods: Methods, receiver: unknown, operationName: (operation: string) => string): Surface => ({
    name,
    at: (path) => root + path,
    bytesAt: (path) => Buffer.concat([Buffer.from(root), Buffer.from(path, "latin1")]),
    call: async (operation, ...args) => await methods[operationName(operation)]!.apply(receiver, args),
  });
  const asSync = (operation: string): string => `${operation}Sync`;
  const asIs = (operation: string): string => operation;
  // realpathSync walks the path in JavaScript and names other calls in its errors; the native one is what promises.realpath is.
  const nodeSync: Methods = { ...(fs as unknown as Methods), realpathSync: fs.realpathSync.native as unknown as Methods[string] };
  return {
    image, nodeRoot, isMounted, volume,
    pairs: [
      [surface("fs", nodeRoot, nodeSync, fs, asSync), surface("Volume", "", volume as unknown as Methods, volume, asSync)],
      [surface("fs.promises", nodeRoot, fs.promises as unknown as Methods, fs.promises, asIs), surface("Volume.promises", "", volume.promises as unknown as Methods, volume.promises, asIs)],
    ],
  };
}

const STATS_FIELDS = [
  "mode", "nlink", "uid", "gid", "rdev", "blksize", "ino", "size", "blocks", "atimeMs", "mtimeMs", "ctimeMs", "birthtimeMs", "atimeNs", "mtimeNs", "ctimeNs", "birthtimeNs",
  "atime", "mtime", "ctime", "birthtime",
] as const;
/** What a copy of a file on another filesystem does not keep. */
const OF_THE_FILESYSTEM: ReadonlySet<string> = new Set(STATS_FIELDS.filter((field) => !["mode", "uid", "gid", "rdev", "size"].includes(field)));
const TYPE_QUESTIONS = ["isFile", "isDirectory", "isSymbolicLink", "isBlockDevice", "isCharacterDevice", "isFIFO", "isSocket"] as const;

type Described = { [key: string]: unknown };

/** A value with the classes taken off: what a program can see of it. `root` is cut out of texts. */
export function describeValue(value: unknown, world: World): unknown {
  if (typeof value === "string") return value === world.nodeRoot ? "/" : value.replaceAll(world.nodeRoot, "");
  if (value instanceof Uint8Array) return { bytes: describeValue(Buffer.from(value).toString("latin1"), world) };
  if (value instanceof Date) return value.getTime();
  if (Array.isArray(value)) return value.map((item) => describeValue(item, world));
  if (typeof value !== "object" || value === null) return value;
  const fields = value as Described;
  if ("isFile" in value) {
    const types = TYPE_QUESTIONS.filter((question) => (fields[question] as () => boolean)());
    if (!("mtimeMs" in value)) return { types, name: describeValue(fields.name, world), parentPath: describeValue(fields.parentPath, world) };
    const kept = STATS_FIELDS.filter((field) => fields[field] !== undefined && (world.isMounted || !OF_THE_FILESYSTEM.has(field)));
    const shown = Object.fromEntries(kept.map((field) => [field, describeValue(fields[field], world)]));
    if (!world.isMounted && types[0] === "isDirectory") delete shown.size;
    return { types, ...shown };
  }
  return Object.fromEntries(Object.entries(fields).map(([key, field]) => [key, describeValue(field, world)]));
}

/** What a program can see of an error. An argument error's words are Node's own business, which change from version to version. */
export function describeError(error: unknown, world: World): unknown {
  if (!(error instanceof Error)) return { thrown: error };
  const { code, errno, syscall, path, dest } = error as NodeJS.ErrnoException & { dest?: string };
  if (code?.startsWith("ERR_") === true) return { code, type: error instanceof TypeError ? "TypeError" : error instanceof RangeError ? "RangeError" : "Error" };
  return { code, errno, syscall, path: describeValue(path, world), dest: describeValue(dest, world), message: describeValue(error.message, world) };
}

export async function outcome(work: () => unknown, world: World): Promise<unknown> {
  try {
    return { value: describeValue(await work(), world) };
  } catch (error) {
    return { error: describeError(error, world) };
  }
}

/** Runs the same work on Node and on us, sync and with promises: the same must come of it. */
export async function expectAlike(world: World, work: (surface: Surface) => Promise<unknown>, surfaces: readonly string[] = ["Volume", "Volume.promises"]): Promise<void> {
  for (const [theirs, ours] of world.pairs) {
    if (!surfaces.includes(ours.name)) continue;
    expect(await outcome(() => work(ours), world), `${ours.name} against ${theirs.name}`).toEqual(await outcome(() => work(theirs), world));
  }
}

/** The surfaces on which Node has an operation, if not on both. */
export const SYNC_ONLY = ["Volume"];
export const PROMISES_ONLY = ["Volume.promises"];

export type Case = readonly [name: string, work: (surface: Surface) => Promise<unknown>, surfaces?: readonly string[]];

/** One test per case. */
export function testAlike(world: World | undefined, cases: readonly Case[]): void {
  for (const [name, work, surfaces] of cases) test.runIf(world !== undefined)(name, async () => await expectAlike(world!, work, surfaces));
}
