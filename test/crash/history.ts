/** What a tree was after each operation, and what was made durable when: the judge of what a recovery finds. */
import type { Volume } from "../../src/platform/node/index.js";

export interface Entry { readonly type: string; readonly nlink: number; readonly content: string; readonly xattr: string }
export type Snapshot = ReadonlyMap<string, Entry>;

/** The whole tree: kinds, link counts, contents, targets and attributes. */
export function snapshotOf(volume: Volume): Snapshot {
  const snapshot = new Map<string, Entry>();
  const visit = (path: string): void => {
    for (const name of volume.readdirSync(path || "/").sort()) {
      if (name === "lost+found") continue;
      const child = `${path}/${name}`;
      const stats = volume.lstatSync(child);
      const type = stats.isDirectory() ? "directory" : stats.isSymbolicLink() ? "link" : "file";
      const content = type === "file" ? volume.readFileSync(child, "latin1") : type === "link" ? volume.readlinkSync(child) : "";
      const xattr = type === "file" && volume.listxattrSync(child).length > 0 ? volume.getxattrSync(child, "user.x").toString() : "";
      snapshot.set(child, { type, nlink: stats.nlink, content, xattr });
      if (type === "directory") visit(child);
    }
  };
  visit("");
  return snapshot;
}

const isSame = (a: Entry | undefined, b: Entry | undefined): boolean => a?.type === b?.type && a?.nlink === b?.nlink && a?.content === b?.content && a?.xattr === b?.xattr;

interface Moment { readonly snapshot: Snapshot; readonly eventCount: number }

export class History {
  private readonly moments: Moment[] = [{ snapshot: new Map(), eventCount: 0 }];
  /** From this many events on, the moment is durable. */
  private readonly syncs: { readonly eventCount: number; readonly moment: number }[] = [];
  private readonly fileSyncs: { readonly eventCount: number; readonly moment: number; readonly path: string }[] = [];

  record(snapshot: Snapshot, eventCount: number): void {
    this.moments.push({ snapshot, eventCount });
  }

  synced(eventCount: number): void {
    this.syncs.push({ eventCount, moment: this.moments.length - 1 });
  }

  /** An fsync waits for the transaction that last changed the file: what others have done since may be lost. */
  syncedFile(path: string, eventCount: number): void {
    let moment = this.moments.length - 1;
    while (moment > 0 && isSame(this.moments[moment]!.snapshot.get(path), this.moments[moment - 1]!.snapshot.get(path))) moment--;
    this.fileSyncs.push({ eventCount, moment, path });
  }

  /** What is wrong with a tree that was found after a cut at `eventCount`; undefined: nothing. */
  problemWith(found: Snapshot, eventCount: number): string | undefined {
    // A commit has everything before it, names of other files included.
    const durable = [...this.syncs, ...this.fileSyncs].filter((sync) => sync.eventCount <= eventCount).map(({ moment }) => moment);
    const first = Math.max(0, ...durable);
    // Operations that began before the cut: the one after the last that ended is among them.
    let last = this.moments.findLastIndex((moment) => moment.eventCount <= eventCount);
    last = Math.min(this.moments.length - 1, last + 1);
    const problems: string[] = [];
    for (let moment = last; moment >= first; moment--) {
      const problem = this.differenceFrom(moment, found, first, last, eventCount);
      if (problem === undefined) return undefined;
      problems.push(`as of operation ${moment}: ${problem}`);
    }
    return problems.slice(0, 4).join("\n");
  }

  private differenceFrom(moment: number, found: Snapshot, first: number, last: number, eventCount: number): string | undefined {
    const { snapshot } = this.moments[moment]!;
    for (const path of new Set([...snapshot.keys(), ...found.keys()])) {
      const [a, b] = [snapshot.get(path), found.get(path)];
      if (a === undefined || b === undefined) return `${path} ${a === undefined ? "is there" : "is missing"}`;
      if (a.type !== b.type || a.nlink !== b.nlink || a.xattr !== b.xattr) return `${path}: ${a.type} ${a.nlink}, found ${b.type} ${b.nlink}`;
      if (a.type !== "file") {
        if (a.content !== b.content) return `${path}: another target`;
      } else if (!this.mayHoldContent(path, b.content, first, last, eventCount)) return `${path}: ${b.content.length} bytes that it never had`;
    }
    return undefined;
  }

  /**
   * Content is durable by sync, or by its own fsync. Else a file has any state since, or the start of one: its size follows its data. Names move, so a content counts for all names
   * that it had.
   */
  private mayHoldContent(path: string, content: string, first: number, last: number, eventCount: number): boolean {
    const lastSync = Math.max(0, ...this.syncs.filter((sync) => sync.eventCount <= eventCount).map(({ moment }) => moment));
    const lastOwn = Math.max(lastSync, ...this.fileSyncs.filter((sync) => sync.path === path && sync.eventCount <= eventCount).map(({ moment }) => moment));
    const versions: string[] = [];
    for (let moment = Math.min(lastOwn, first); moment <= last; moment++) {
      for (const [name, entry] of this.moments[moment]!.snapshot) {
        if (entry.type === "file" && (name === path || moment > lastOwn || lastOwn < first)) versions.push(entry.content);
      }
    }
    if (versions.includes(content)) return true;
    // Not synced since it was written: its blocks come later than its name, and overwritten ones each by itself.
    const since = this.moments.slice(lastOwn, last + 1).map(({ snapshot }) => snapshot.get(path)?.content);
    if (new Set(since).size === 1 && since[0] !== undefined) return false;
    return content.length === 0 || Array.from(content).every((char, index) => char === "\0" || versions.some((version) => version[index] === char));
  }
}
