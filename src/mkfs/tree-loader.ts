/**
 * Fills a filesystem in the making with a tree. All of it is planned, not written: inodes are numbered as the tree is walked, a directory's names first and then each directory below; blocks are taken
 * from one place on, so what stands together in the tree does on the device, and every file is in one piece as far as the filesystem's own structures leave room. The order is that of the names, so the
 * same tree gives the same bytes. Whatever is refused is so before the source has been told of it.
 */
import { indirectMapEnd } from "../ext4/indirect.js";
import { inodeSeed } from "../format/checksum.js";
import { RO_COMPAT } from "../format/features.js";
import { encodeDevice, EXT4_INDEX_FL, EXT4_INLINE_DATA_FL, EXT4_ROOT_INO, ext4_inode, I_BLOCK_BYTES } from "../format/inode.js";
import { bytesEqual, compareBytes } from "../lib/bytes.js";
import { FsError } from "../lib/errno.js";
import { TWO_32, type Ino, type Lblk, type Pblk } from "../lib/numbers.js";
import { decode } from "../lib/utf8.js";
import { viewOf } from "../lib/view.js";
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK } from "../vfs/inode.js";
import { Attributes, writeIbody } from "./attributes.js";
import { buildDirectory, buildInlineDirectory, type Entry } from "./directory-blocks.js";
import { addLostAndFound, LOST_AND_FOUND, lostAndFoundBlocks } from "./directories.js";
import type { Draft } from "./draft.js";
import { allocateFile, blockOf, endOfMap, type FileMap, type FilePart } from "./file-map.js";
import { writeInode, type InodeFields } from "./inode.js";
import { numbersFrom } from "./random.js";
import type { TreeNode, TreeSource } from "./tree-source.js";

const LINKS_MAX = 65000;
/** i_blocks in units of 512 bytes has so many bits; without huge_file 32. */
const SECTORS_MAX = 2 ** 48 - 1;
const SECTOR_BYTES = 512;
const SOCKETS = "sockets, which live only as long as who listens";
const ATTRIBUTES = "extended attributes";

const typeOf = ({ mode }: TreeNode): number => mode & S_IFMT;
const isDirectory = (node: TreeNode): boolean => typeOf(node) === S_IFDIR;

/** A directory that is to be filled. */
interface Level {
  readonly node: TreeNode;
  readonly ino: Ino;
  readonly parent: Ino;
}

/** Where an inode's content is. */
interface Place {
  readonly map: Pick<FileMap, "root" | "flags" | "blocksUsed">;
  /** The part of inline data that is an attribute. */
  readonly inlineValue?: Uint8Array | undefined;
}

/** Root and lost+found included, which no one has made yet. @throws FsError ENOSPC …, with the path of what did not fit; whatever the source throws. */
export function loadTree(draft: Draft, source: TreeSource, lostAndFound: Ino): void {
  new TreeLoader(draft, source, lostAndFound).load();
}

class TreeLoader {
  private readonly generation: () => number;
  /** Where blocks are looked for. */
  private readonly cursor: { block: Pblk };
  private readonly attributes: Attributes;
  /** The inode of a file that has several names. */
  private readonly linked = new Map<string, Ino>();
  private readonly leaveOutAttribute: () => void;

  constructor(private readonly draft: Draft, private readonly source: TreeSource, private readonly lostAndFound: Ino) {
    const { uuid, hashSeed } = draft.parameters.options;
    this.generation = numbersFrom(uuid, hashSeed);
    this.cursor = { block: draft.goalFor(EXT4_ROOT_INO) };
    this.attributes = new Attributes(draft, this.cursor, this.generation);
    this.leaveOutAttribute = () => source.leaveOut(ATTRIBUTES);
  }

  load(): void {
    const levels: Level[] = [{ node: this.source.root, ino: EXT4_ROOT_INO, parent: EXT4_ROOT_INO }];
    for (let level = levels.pop(); level !== undefined; level = levels.pop()) levels.push(...this.directory(level).reverse());
    this.attributes.finish();
  }

  /** Everything in a directory but what is in those below it, which are returned. */
  private directory(level: Level): Level[] {
    const { node, ino } = level;
    const entries: Entry[] = [];
    const below: Level[] = [];
    for (const name of node.names().sort(compareBytes)) {
      const child = node.child(name);
      const isLostAndFound = ino === EXT4_ROOT_INO && bytesEqual(name, LOST_AND_FOUND);
      const childIno = this.named(child, () => this.take(child, isLostAndFound));
      if (childIno === undefined) continue;
      entries.push({ ino: childIno, name, mode: child.mode });
      if (isDirectory(child)) below.push({ node: child, ino: childIno, parent: ino });
      this.source.taken(child);
    }
    if (ino === EXT4_ROOT_INO && !below.some((each) => each.ino === this.lostAndFound)) {
      addLostAndFound(this.draft, this.lostAndFound);
      entries.push({ ino: this.lostAndFound, name: LOST_AND_FOUND, mode: S_IFDIR });
    }
    this.named(node, () => this.addDirectory(level, entries));
    return below;
  }

  /** An error says what it was that did not fit. */
  private named<Result>(node: TreeNode, work: () => Result): Result {
    try {
      return work();
    } catch (error) {
      throw error instanceof FsError ? error.addContext({ path: decode(node.path) }) : error;
    }
  }

  /** The inode of a name: its own, or one that has other names already. Undefined: it is not taken. */
  private take(node: TreeNode, isLostAndFound: boolean): Ino | undefined {
    if (isDirectory(node)) return isLostAndFound ? this.lostAndFound : this.draft.nextIno();
    if (isLostAndFound) throw new FsError("EISDIR", "a directory is not replaced by a file");
    if (typeOf(node) === S_IFSOCK) return void this.source.leaveOut(SOCKETS);
    const key = node.linkCount > 1 ? node.identity() : undefined;
    const earlier = key === undefined ? undefined : this.linked.get(key);
    if (earlier !== undefined) return this.addLink(earlier);
    const ino = this.draft.nextIno();
    this.addFile(node, ino);
    if (key !== undefined) this.linked.set(key, ino);
    return ino;
  }

  private addLink(ino: Ino): Ino {
    const { inodes } = this.draft;
    const view = inodes.viewOf(ino);
    const at = inodes.offsetOf(ino);
    const links = ext4_inode.i_links_count.get(view, at);
    if (links >= LINKS_MAX) throw new FsError("EMLINK");
    ext4_inode.i_links_count.set(view, at, links + 1);
    return ino;
  }

  private addFile(node: TreeNode, ino: Ino): void {
    const generation = this.generation();
    const type = typeOf(node);
    if (type === S_IFREG) this.addInode(node, ino, { generation, links: 1, sizeBytes: node.sizeBytes, place: this.placeData(node, ino, generation) });
    else if (type === S_IFLNK) this.addSymlink(node, ino, generation);
    else this.addInode(node, ino, { generation, links: 1, sizeBytes: 0, place: { map: { root: type === S_IFCHR || type === S_IFBLK ? deviceRoot(node) : new Uint8Array(0), flags: 0, blocksUsed: 0 } } });
  }

  private addInode(node: TreeNode, ino: Ino, of: Pick<InodeFields, "links" | "sizeBytes" | "flags"> & { readonly generation: number; readonly place: Place }): void {
    const { draft } = this;
    const { place: { map, inlineValue }, links, sizeBytes, flags = 0, generation } = of;
    const placed = this.attributes.place(node, node.xattrs(), inlineValue, this.leaveOutAttribute);
    const { mode, uid, gid, atime, mtime } = node;
    const blocksUsed = map.blocksUsed + placed.blocksUsed;
    this.checkBlocks(blocksUsed);
    draft.useInode(ino, isDirectory(node));
    writeInode(draft, draft.inodes.viewOf(ino), draft.inodes.offsetOf(ino), {
      mode: typeOf(node) === S_IFLNK ? S_IFLNK | 0o777 : mode, uid, gid, atime, mtime, links, sizeBytes, flags, generation, fileAcl: placed.block,
      map: { root: map.root, flags: map.flags, blocksUsed },
    });
    if (placed.ibody.length > 0) writeIbody(draft.inodes.record(ino), placed.ibody);
    if (placed.heldCount > 0) draft.heldInodes.set(ino, placed.heldCount);
  }

  private checkBlocks(blocksUsed: number): void {
    const { sb } = this.draft;
    const sectors = blocksUsed * (sb.blockBytes / SECTOR_BYTES);
    if (sectors > (sb.hasHugeFile ? SECTORS_MAX : TWO_32 - 1)) throw new FsError("EFBIG");
  }

  private placeData(node: TreeNode, ino: Ino, generation: number): Place {
    const { draft, attributes, cursor } = this;
    const { sb } = draft;
    const { sizeBytes } = node;
    if (sb.hasInlineData && sizeBytes > 0 && sizeBytes <= I_BLOCK_BYTES + attributes.inlineCapacityBytes) return inlinePlace(node.read(sizeBytes));
    const hasExtents = draft.geometry.features.has("extent");
    if (sizeBytes > (hasExtents ? TWO_32 - 1 : indirectMapEnd(sb.blockBytes / 4)) * sb.blockBytes) throw new FsError("EFBIG");
    const blocks = sizeBytes === 0 ? [] : this.partsOf(node);
    const map = allocateFile(draft, { ino, generation, blocks, from: cursor.block, name: "its data" });
    if (map.runs.length > 0) cursor.block = endOfMap(map);
    for (const { lblk, pblk, count } of map.runs) {
      const offsetBytes = lblk * sb.blockBytes;
      const lengthBytes = count * sb.blockBytes;
      this.source.copy(node, { offsetBytes, dataBytes: Math.min(sizeBytes - offsetBytes, lengthBytes), at: pblk * sb.blockBytes, lengthBytes });
    }
    return { map };
  }

  /** The blocks that hold data, in whole clusters. */
  private partsOf(node: TreeNode): FilePart[] {
    const { blockBytes, clusterBytes, clusterBlocks } = this.draft.sb;
    const end: Lblk = Math.ceil(node.sizeBytes / blockBytes);
    const parts: { lblk: Lblk; count: number }[] = [];
    for (const run of node.runs()) {
      const from = Math.floor(run.offsetBytes / clusterBytes) * clusterBlocks;
      const to = Math.min(Math.ceil(run.endBytes / clusterBytes) * clusterBlocks, end);
      const last = parts.at(-1);
      if (last !== undefined && from <= last.lblk + last.count) last.count = Math.max(to - last.lblk, last.count);
      else if (to > from) parts.push({ lblk: from, count: to - from });
    }
    return parts;
  }

  private addSymlink(node: TreeNode, ino: Ino, generation: number): void {
    const { draft, cursor } = this;
    const target = node.readlink();
    if (target.length >= draft.sb.blockBytes) throw new FsError("ENAMETOOLONG");
    const of = { generation, links: 1, sizeBytes: target.length };
    if (target.length < I_BLOCK_BYTES) return this.addInode(node, ino, { ...of, place: { map: { root: target, flags: 0, blocksUsed: 0 } } });
    const map = allocateFile(draft, { ino, generation, blocks: 1, from: cursor.block, name: "its target" });
    cursor.block = endOfMap(map);
    const data = new Uint8Array(draft.sb.blockBytes);
    data.set(target);
    draft.addContent(blockOf(map, 0), data);
    this.addInode(node, ino, { ...of, place: { map } });
  }

  private addDirectory({ node, ino, parent }: Level, entries: readonly Entry[]): void {
    const { draft, attributes, cursor } = this;
    const { sb } = draft;
    const links = 2 + entries.filter(({ mode }) => (mode & S_IFMT) === S_IFDIR).length;
    // The filesystem's own directories are known by number alone.
    const generation = ino === EXT4_ROOT_INO || ino === this.lostAndFound ? 0 : this.generation();
    const inline = sb.hasInlineData && ino !== this.lostAndFound && ino !== EXT4_ROOT_INO ? buildInlineDirectory(sb, parent, entries, attributes.inlineCapacityBytes) : undefined;
    if (inline !== undefined) {
      const place: Place = { map: { root: inline.head, flags: EXT4_INLINE_DATA_FL, blocksUsed: 0 }, inlineValue: inline.value };
      return this.addInode(node, ino, { generation, links, sizeBytes: I_BLOCK_BYTES + inline.value.length, place });
    }
    const blocksMin = ino === this.lostAndFound ? lostAndFoundBlocks(draft) : undefined;
    const { blocks, isIndexed } = buildDirectory(sb, { ino, parent, seed: inodeSeed(sb.csumSeed, ino, generation), entries, blocksMin });
    const map = allocateFile(draft, { ino, generation, blocks: blocks.length, from: cursor.block, name: "its names" });
    cursor.block = endOfMap(map);
    for (const { lblk, pblk, count } of map.runs) for (let index = 0; index < count; index++) draft.addContent(pblk + index, blocks[lblk + index]!);
    this.addInode(node, ino, { generation, links: this.linksOf(links, isIndexed), sizeBytes: blocks.length * sb.blockBytes, flags: isIndexed ? EXT4_INDEX_FL : 0, place: { map } });
  }

  /** A directory with too many subdirectories has its links counted as 1. @throws FsError EMLINK. */
  private linksOf(links: number, isIndexed: boolean): number {
    if (links <= LINKS_MAX) return links;
    if (!isIndexed || !this.draft.sb.has(RO_COMPAT.dir_nlink, "roCompat")) throw new FsError("EMLINK");
    return 1;
  }
}

function inlinePlace(data: Uint8Array): Place {
  const root = new Uint8Array(I_BLOCK_BYTES);
  root.set(data.subarray(0, I_BLOCK_BYTES));
  return { map: { root, flags: EXT4_INLINE_DATA_FL, blocksUsed: 0 }, inlineValue: data.slice(I_BLOCK_BYTES) };
}

function deviceRoot({ rdev }: TreeNode): Uint8Array {
  const record = new Uint8Array(ext4_inode.$.size);
  encodeDevice(viewOf(record), 0, rdev);
  return record.subarray(ext4_inode.i_block.at, ext4_inode.i_block.at + I_BLOCK_BYTES);
}
