/** Trees in memory as what a filesystem is filled with, and what a volume has of them. */
import type { DataRun, Piece, TreeNode, TreeSource, Xattr } from "../../src/mkfs/tree-source.js";
import { planMkfs } from "../../src/mkfs/mkfs.js";
import type { MkfsOptions } from "../../src/mkfs/options.js";
import { encode } from "../../src/lib/utf8.js";
import { MemoryDevice, runSync } from "../../src/platform/node/index.js";
import { S_IFDIR, S_IFREG } from "../../src/vfs/inode.js";
import { TIME_SEC } from "./beside.js";

export interface NodeOptions {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly data?: Uint8Array;
  readonly runs?: readonly DataRun[];
  readonly target?: Uint8Array;
  readonly xattrs?: Readonly<Record<string, Uint8Array>>;
  readonly children?: ReadonlyMap<string, MemoryNode>;
}

const NO_BYTES = new Uint8Array(0);
let nodeCount = 0;

export class MemoryNode implements TreeNode {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly atime = { sec: 1_000_000_000, nsec: 1 };
  readonly mtime = { sec: 1_100_000_000, nsec: 999_999_999 };
  readonly rdev = { major: 8, minor: 300 };
  readonly data: Uint8Array;
  /** How often it stands in the tree. */
  linkCount = 0;
  /** Where it was last found. */
  private parent: MemoryNode | undefined;
  private name = "";

  private readonly id = String(nodeCount++);

  constructor(private readonly options: NodeOptions) {
    this.mode = options.mode ?? (options.children === undefined ? S_IFREG | 0o644 : S_IFDIR | 0o755);
    this.uid = options.uid ?? 0;
    this.gid = options.gid ?? 0;
    this.data = options.data ?? NO_BYTES;
    this.sizeBytes = this.data.length;
    for (const child of options.children?.values() ?? []) child.linkCount++;
  }

  get children(): ReadonlyMap<string, MemoryNode> { return this.options.children ?? new Map(); }
  identity(): string { return this.id; }
  get path(): Uint8Array { return encode(this.shownPath()); }
  private shownPath(): string { return this.parent === undefined ? "" : `${this.parent.shownPath()}/${this.name}`; }
  names(): Uint8Array[] { return [...this.children.keys()].map((name) => Buffer.from(name)).reverse(); }
  child(name: Uint8Array): MemoryNode {
    const text = (name as Buffer).toString();
    const child = this.children.get(text)!;
    child.parent = this;
    child.name = text;
    return child;
  }
  readlink(): Uint8Array { return this.options.target!; }
  xattrs(): readonly Xattr[] { return Object.entries(this.options.xattrs ?? {}).map(([name, value]) => ({ name: encode(name), value })); }
  runs(): readonly DataRun[] { return this.options.runs ?? [{ offsetBytes: 0, endBytes: this.sizeBytes }]; }
  read(sizeBytes: number): Uint8Array { return this.data.slice(0, sizeBytes); }
}

export const directory = (children: Readonly<Record<string, MemoryNode>>, options: NodeOptions = {}): MemoryNode => new MemoryNode({ ...options, children: new Map(Object.entries(children)) });
export const file = (data: Uint8Array, options: NodeOptions = {}): MemoryNode => new MemoryNode({ ...options, data });

export class MemoryTree implements TreeSource {
  private readonly pieces: { node: MemoryNode; piece: Piece }[] = [];
  readonly leftOut: string[] = [];

  constructor(readonly root: MemoryNode) {}

  copy(node: MemoryNode, piece: Piece): void { this.pieces.push({ node, piece }); }
  taken(): void {}
  leaveOut(kind: string): void { this.leftOut.push(kind); }

  bring(bytes: Uint8Array): void {
    for (const { node, piece: { offsetBytes, dataBytes, at, lengthBytes } } of this.pieces) {
      bytes.fill(0, at, at + lengthBytes);
      bytes.set(node.data.subarray(offsetBytes, offsetBytes + dataBytes), at);
    }
  }
}

export const FIXED = { timeSec: TIME_SEC, uuid: new Uint8Array(16).fill(7), hashSeed: new Uint8Array(16).fill(9) };

/** The image of a filesystem with the tree. @param fill what the device holds before. @throws as planMkfs. */
export function makeFilled(options: Partial<MkfsOptions>, sizeBytes: number, tree: MemoryTree, fill = 0): Uint8Array {
  const plan = planMkfs({ ...FIXED, ...options, deviceIsZero: fill === 0 }, sizeBytes, tree);
  const bytes = new Uint8Array(sizeBytes).fill(fill);
  runSync(plan.write(new MemoryDevice(bytes), function* () { tree.bring(bytes); }));
  return bytes;
}
