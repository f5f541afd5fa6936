/** cp into an image: from the host, from standard input, from another image or the same one. Where things go is decided as GNU cp does it. */
import { encode } from "../../lib/utf8.js";
import { FsError } from "../../lib/errno.js";
import type { Task } from "../../platform/node/index.js";
import { pathLookup, pathLookupParent, rootDentry, type Dentry } from "../../vfs/namei.js";
import { hostAccess, openHostNode, standardInput, type HostAccess } from "../copy-in/host-source.js";
import { ImageNode } from "../copy-in/image-source.js";
import type { SourceNode } from "../copy-in/source.js";
import { TreeWriter, type CopyInOptions } from "../copy-in/tree-writer.js";
import { lastName, parseOperand } from "../operand.js";
import type { Output } from "../output.js";
import { isRemote, lookup, report, type Session, type Target } from "../session.js";

export function isInImage(text: string): boolean {
  return text !== "-" && parseOperand(text).path !== undefined;
}

/** @param destination a path in an image. */
export async function cpIn(session: Session, sources: readonly string[], destination: string, options: CopyInOptions, out: Output): Promise<void> {
  const target = await session.targetOf(destination);
  const access = hostAccess(options.isArchive);
  if (options.isArchive && access.native === undefined) out.note("extended attributes of the host's files are not copied: the package koffi is not installed");
  const writer = new TreeWriter(target.volume.fs, destination.slice(0, -target.path.length - 1), options, out);
  for (const text of sources) {
    try {
      await copyOne(session, text, target, { writer, access, isFollowing: !options.isRecursive, isInto: sources.length > 1 });
    } catch (error) {
      writer.abandon();
      report(out, `${text} -> ${destination}`, error);
    }
  }
  writer.finish();
}

interface Means {
  readonly writer: TreeWriter;
  readonly access: HostAccess;
  /** A source that is a symbolic link is taken as what it leads to. */
  readonly isFollowing: boolean;
  /** The destination must be a directory. */
  readonly isInto: boolean;
}

async function copyOne(session: Session, text: string, target: Target, means: Means): Promise<void> {
  const { writer } = means;
  const operand = isInImage(text) ? parseOperand(text) : undefined;
  const volume = operand === undefined ? undefined : await session.volumeOf(operand);
  const drive = async (task: Task<void>): Promise<void> => {
    if (operand !== undefined && isRemote(operand)) await target.volume.runAsync(task);
    else target.volume.runSync(task);
  };
  await drive((function* (): Task<void> {
    const node = operand === undefined ? openHost(text, means) : yield* ImageNode.open(yield* lookup(volume!, operand.path, means.isFollowing));
    yield* begin(node, operand?.path ?? text, target, means);
  })());
  for (let step = writer.next(); step !== undefined; step = writer.next()) await drive(step);
}

function openHost(path: string, { access, isFollowing }: Means): SourceNode {
  return path === "-" ? standardInput() : openHostNode(access, path, encode(lastName(path)), isFollowing);
}

/** Finds where the source goes: into a directory under its own name, into it with what is in the source, or under the destination's name. */
function* begin(node: SourceNode, path: string, { volume, path: destination }: Target, { writer, isInto }: Means): Task<void> {
  const root = rootDentry(volume.fs.root);
  const directory = yield* directoryAt(root, destination);
  if (directory === undefined) {
    if (isInto) throw new FsError("ENOTDIR", "several sources need a directory to go to", { path: destination });
    return yield* writer.begin(node, yield* pathLookupParent(root, root, encode(destination), { followLast: false }));
  }
  const name = path === "-" ? "" : lastName(path);
  if (name === "") return yield* writer.beginInto(node, directory);
  yield* writer.begin(node, { dir: directory, name: encode(name), isPlain: true, isDotDot: false, mustBeDirectory: false });
}

function* directoryAt(root: Dentry, path: string): Task<Dentry | undefined> {
  try {
    const dentry = yield* pathLookup(root, root, encode(path), { followLast: true });
    return dentry.d_inode.isDirectory() ? dentry : undefined;
  } catch (error) {
    if (error instanceof FsError && error.code === "ENOENT") return undefined;
    throw error;
  }
}
