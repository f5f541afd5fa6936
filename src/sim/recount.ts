/**
 * A filesystem counted again from scratch and held against what it says of itself: a small e2fsck, in memory and without a process of its own, as the lab asks after each of many thousand runs.
 *
 * It sees what a mount after this moment would see, the journal recovered: a filesystem of its own, opened for reading over the device and, where that has the newer block, the buffer cache. So nothing is taken
 * from core but to be compared, every checksum is checked anew, and the caches of the filesystem that is judged stay as they are.
 *
 * Counted: inodes in use, names and links, who owns each block, bitmaps, the counts of groups and superblock, blocks and sizes of inodes, shared blocks of attributes and inodes that hold values, orphans; with
 * bigalloc by clusters. Not counted: quota, contents of files and of the journal, copies of the superblock and of descriptors, that lost+found is there. A filesystem that is only read may have orphans, as
 * the next mount for writing deletes them; and after a recovery for reading the superblock's free counts are not looked at, for Linux keeps them outside the journal and e2fsck sums them up anew.
 */
import type { Bio, BlockDevice } from "../block/device.js";
import { blockBitmap, inodeBitmap } from "../ext4/bitmaps.js";
import { iterate } from "../ext4/dir.js";
import { checkRoot, entryAt, nodeDepth, readExtent, walkExtentTree } from "../ext4/extents.js";
import { clustersIn, descBlocksIn, hasSuper, inodeTableBlocks, superblockOf, type GroupDesc } from "../ext4/groups.js";
import { INODE_ROWS, inodeRow, pointerAt, rowBelow, slotStart, type PointerRow } from "../ext4/indirect.js";
import { hasMap, readInode, type Ext4Inode } from "../ext4/inode.js";
import { readSuperblock } from "../ext4/mount.js";
import { findEntry } from "../ext4/namei.js";
import { listOrphans } from "../ext4/orphan.js";
import { Ext4 } from "../ext4/super.js";
import { readTarget } from "../ext4/symlink.js";
import { ibodyXattrs, inlineDataValue, isLustreHolder, xattrBlockEntries } from "../ext4/xattr.js";
import type { XattrEntry } from "../ext4/xattr-entries.js";
import { CorruptionError } from "../format/corruption.js";
import { indexPblock } from "../format/extent.js";
import { INCOMPAT, RO_COMPAT } from "../format/features.js";
import { EXT4_BG_INODE_UNINIT } from "../format/group-desc.js";
import {
  EXT4_BAD_INO, EXT4_EA_INODE_FL, EXT4_ENCRYPT_FL, EXT4_EXTENTS_FL, EXT4_INDEX_FL, EXT4_INLINE_DATA_FL, EXT4_RESIZE_INO, EXT4_ROOT_INO, EXT4_VERITY_FL, I_BLOCK_BYTES, ext4_inode,
} from "../format/inode.js";
import { ext4_super_block as S } from "../format/superblock.js";
import { ext4_xattr_header } from "../format/xattr.js";
import { clearRuns, findClearBit, testBit } from "../lib/bitmap.js";
import { TWO_32, type GroupNo, type Ino, type Lblk, type Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { S_IFMT } from "../vfs/inode.js";

const PROBLEMS_MAX = 20;
const SECTOR_BYTES = 512;

/** Owners of blocks that are no inodes; an inode owns by its number. */
const SUPERBLOCK = -1;
const RESERVED_DESCS = -2;
const BLOCK_BITMAP = -3;
const INODE_BITMAP = -4;
const INODE_TABLE = -5;
const MMP = -6;
const SYSTEM_OWNERS = ["", "the superblock and the group descriptors", "the room for more group descriptors", "a block bitmap", "an inode bitmap", "an inode table", "multi-mount protection"];

/**
 * Problems in words, at most 20; empty: all is right.
 * Requires: nobody is at work in the filesystem, and its journal was not aborted. What the running transaction has is committed first.
 * @throws FsError EIO the device fails. Damage is a problem, never an error.
 */
export function* recount(fs: Ext4): Task<string[]> {
  if (fs.writable !== undefined) yield* fs.journal.commitAll();
  const problems = new Problems();
  yield* problems.during(function* () {
    const device = new NewestBlocks(fs);
    const disk = new Ext4(device, yield* readSuperblock(device, fs.verifyChecksums), { verifyChecksums: fs.verifyChecksums });
    yield* new Recount(fs, disk, problems).run();
  });
  return problems.list;
}

class Problems {
  readonly list: string[] = [];

  add(text: string): void {
    if (this.list.length < PROBLEMS_MAX && !this.list.includes(text)) this.list.push(text);
  }

  /** Damage ends `work`, and is a problem as any other. */
  *during(work: () => Task<void>): Task<void> {
    try {
      yield* work();
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      this.add(error.message);
    }
  }
}

/** The device, but for blocks that the filesystem has in its buffer cache: those are as new or newer. */
class NewestBlocks implements BlockDevice {
  readonly readOnly = true;
  readonly name: string;
  readonly sizeBytes: number;
  readonly tearsSectors: boolean;

  constructor(private readonly fs: Ext4) {
    this.name = fs.device.name;
    this.sizeBytes = fs.device.sizeBytes;
    this.tearsSectors = fs.device.tearsSectors === true;
  }

  *submit(bios: readonly Bio[]): Task<void> {
    const { blockBytes, cache, device } = this.fs;
    yield* device.submit(bios);
    for (const { offsetBytes, data } of bios) {
      const endBytes = offsetBytes + data.length;
      for (let block = Math.floor(offsetBytes / blockBytes); block * blockBytes < endBytes; block++) {
        const buffer = cache.peek(block);
        if (buffer === undefined) continue;
        const startBytes = block * blockBytes;
        const fromBytes = Math.max(startBytes, offsetBytes);
        data.set(buffer.data.subarray(fromBytes - startBytes, Math.min(blockBytes, endBytes - startBytes)), fromBytes - offsetBytes);
      }
    }
  }

  *close(): Task<void> {}
}

/** An inode in use, and what leads to it. */
interface Found {
  readonly inode: Ext4Inode;
  names: number;
  /** Of a directory: names in it that lead to directories. */
  subdirectories: number;
}

/** What an inode's map has. Blocks of the tree count as well, but for the ends. */
interface MapTally {
  blocks: number;
  clusters: number;
  /** Behind the last block that is mapped, and the last that was written. */
  end: Lblk;
  writtenEnd: Lblk;
}

/** A block of attributes. Inodes may share it. */
interface XattrBlock {
  readonly references: number;
  readonly clusters: number;
  users: number;
}

interface Entry {
  readonly name: Uint8Array;
  readonly ino: Ino;
  readonly type: number;
}

class Recount {
  /** Of each block from the first one on; 0: nobody. */
  private readonly owners: Int32Array;
  /** Of each cluster. Without bigalloc the same. */
  private readonly clusterOwners: Int32Array;
  /** Of each inode from 1 on: 1 if it is in use. */
  private readonly inodesInUse: Int32Array;
  /** All that are in use; undefined: damaged, and reported as such. */
  private readonly inodes = new Map<Ino, Found | undefined>();
  private readonly xattrBlocks = new Map<Pblk, XattrBlock>();
  /** Of inodes that hold a value: how many attributes have it. Infinity: they were not counted in Lustre's time. */
  private readonly holders = new Map<Ino, number>();
  private orphans: ReadonlySet<Ino> = new Set();
  private readonly directoriesIn: Int32Array;
  private freeClusters = 0;
  private freeInodes = 0;

  constructor(private readonly fs: Ext4, private readonly disk: Ext4, private readonly problems: Problems) {
    const { sb } = disk;
    const blocks = sb.blocksCount - sb.firstDataBlock;
    this.owners = new Int32Array(blocks);
    this.clusterOwners = sb.clusterBlocks === 1 ? this.owners : new Int32Array(Math.ceil(blocks / sb.clusterBlocks));
    this.inodesInUse = new Int32Array(sb.inodesCount).fill(1, 0, sb.firstIno - 1);
    this.directoriesIn = new Int32Array(sb.groupsCount);
  }

  *run(): Task<void> {
    const { disk, problems } = this;
    const { sb } = disk;
    yield* problems.during(() => this.findOrphans());
    for (let group = 0; group < sb.groupsCount; group++) this.claimGroup(yield* disk.groupDesc(group));
    if (sb.has(INCOMPAT.mmp, "incompat")) this.claim(MMP, S.s_mmp_block.get(sb.view, 0), 1);
    for (let group = 0; group < sb.groupsCount; group++) yield* this.scanTable(yield* disk.groupDesc(group));
    for (const found of this.inodes.values()) if (found !== undefined) yield* problems.during(() => this.countInode(found.inode));
    yield* this.walkNames();
    this.compareLinks();
    this.compareShared();
    for (let group = 0; group < sb.groupsCount; group++) {
      yield* problems.during(() => this.compareBlocks(group));
      yield* problems.during(() => this.compareInodes(group));
    }
    this.compareTotals();
    yield* this.compareCore();
    // What the engine gets by without, as a damaged hash tree, it only warns of.
    for (const { message } of disk.warnings) problems.add(message);
  }

  /** An orphan of a filesystem that is written must be open, and without a name. */
  private *findOrphans(): Task<void> {
    this.orphans = new Set(yield* listOrphans(this.disk));
    if (this.fs.writable === undefined) return;
    for (const ino of this.orphans) {
      const inode = yield* this.fs.igetSpecial(ino);
      if (inode.i_nlink > 0 || inode.i_count === 0) this.problems.add(`inode ${ino} is among the orphans, and ${inode.i_nlink > 0 ? "has a name" : "nobody has it open"}`);
    }
  }

  private claimGroup({ group, blockBitmap, inodeBitmap, inodeTable }: GroupDesc): void {
    const { sb } = this.disk;
    const first = sb.firstBlockOf(group);
    const { count, reserved } = descBlocksIn(sb, group);
    const superCount = hasSuper(sb, group) ? superblockOf(sb, group) - first + 1 : 0;
    this.claim(SUPERBLOCK, first, superCount + count);
    this.claim(RESERVED_DESCS, first + superCount + count, reserved);
    this.claim(BLOCK_BITMAP, blockBitmap, 1);
    this.claim(INODE_BITMAP, inodeBitmap, 1);
    this.claim(INODE_TABLE, inodeTable, inodeTableBlocks(sb));
  }

  /** Gives blocks to an owner. Returns how many clusters it did not have before. */
  private claim(owner: number, first: Pblk, count: number): number {
    const { owners, clusterOwners, disk: { sb: { firstDataBlock, clusterBlocks } } } = this;
    const from = first - firstDataBlock;
    const end = Math.min(from + count, owners.length);
    let clusters = 0;
    for (let at = Math.max(from, 0); at < end; at++) {
      const other = owners[at]!;
      const isTaken = other !== 0 && !mayShare(owner, other);
      if (isTaken) this.problems.add(`block ${at + firstDataBlock} belongs to ${ownerName(other)} and to ${ownerName(owner)}`);
      if (other === 0) owners[at] = owner;
      if (clusterBlocks === 1) {
        clusters++;
        continue;
      }
      const cluster = Math.floor(at / clusterBlocks);
      const clusterOwner = clusterOwners[cluster]!;
      // Each block of the resize inode counts as the cluster that it is in.
      if (clusterOwner !== owner || owner === EXT4_RESIZE_INO) clusters++;
      const isClusterTaken = other === 0 && clusterOwner !== 0 && clusterOwner !== owner && !mayShare(owner, clusterOwner) && (owner > 0 || clusterOwner > 0);
      if (isClusterTaken) this.problems.add(`block ${at + firstDataBlock} belongs to ${ownerName(owner)}, and its cluster to ${ownerName(clusterOwner)}`);
      if (clusterOwner === 0) clusterOwners[cluster] = owner;
    }
    return clusters;
  }

  /** Finds the inodes in use, by what the inode table says. */
  private *scanTable({ group, flags, inodeTable, itableUnused }: GroupDesc): Task<void> {
    const { disk: { sb, cache }, problems } = this;
    if (itableUnused > sb.inodesPerGroup) problems.add(`group ${group} has ${itableUnused} inodes that were never used, and ${sb.inodesPerGroup} in all`);
    const count = (flags & EXT4_BG_INODE_UNINIT) !== 0 ? 0 : Math.max(0, sb.inodesPerGroup - itableUnused);
    const perBlock = sb.blockBytes / sb.inodeBytes;
    yield* cache.readAhead(inodeTable, Math.ceil(count / perBlock));
    for (let first = 0; first < count; first += perBlock) {
      const { view } = yield* cache.read(inodeTable + first / perBlock);
      for (let index = first; index < Math.min(first + perBlock, count); index++) {
        const at = (index - first) * sb.inodeBytes;
        const ino = group * sb.inodesPerGroup + index + 1;
        if (ext4_inode.i_links_count.get(view, at) !== 0 || this.orphans.has(ino) || ino === EXT4_BAD_INO) {
          this.inodesInUse[ino - 1] = 1;
          yield* this.takeInode(ino);
        } else if (ino >= sb.firstIno && ext4_inode.i_mode.get(view, at) !== 0 && ext4_inode.i_dtime.get(view, at) === 0) {
          problems.add(`inode ${ino} was deleted, and has no time of deletion`);
        }
      }
    }
  }

  private *takeInode(ino: Ino): Task<void> {
    const { inodes, disk, problems } = this;
    inodes.set(ino, undefined);
    yield* problems.during(function* () {
      inodes.set(ino, { inode: yield* readInode(disk, ino), names: 0, subdirectories: 0 });
    });
  }

  private *countInode(inode: Ext4Inode): Task<void> {
    const { disk, problems } = this;
    const { i_ino: ino, i_blocks: blocks } = inode;
    if (inode.isDirectory()) this.directoriesIn[Math.floor((ino - 1) / disk.sb.inodesPerGroup)]!++;
    if (inode.i_dtime !== 0 && !this.orphans.has(ino)) problems.add(`inode ${ino} is in use, and was deleted at ${inode.i_dtime}`);
    const map = yield* this.countMap(inode);
    const counted = ((map.clusters + (yield* this.countXattrs(inode))) * disk.sb.clusterBytes) / SECTOR_BYTES;
    if (blocks !== counted && ino !== EXT4_BAD_INO) problems.add(`inode ${ino} has ${counted} sectors, and says ${blocks}`);
    this.compareSize(inode, map);
    if (inode.isSymlink()) yield* readTarget(disk, inode);
  }

  private *countMap(inode: Ext4Inode): Task<MapTally> {
    const { disk, problems } = this;
    const { i_ino: ino } = inode;
    const tally: MapTally = { blocks: 0, clusters: 0, end: 0, writtenEnd: 0 };
    if (!hasMap(disk, inode) && ino !== EXT4_BAD_INO) return tally;
    if ((inode.i_flags & EXT4_EXTENTS_FL) === 0) {
      for (let index = 0; index < INODE_ROWS; index++) yield* this.countRow(inode, inodeRow(disk, inode, index), tally);
      return tally;
    }
    checkRoot(disk, inode); // of an inode without links nobody has looked at it
    yield* walkExtentTree(disk, inode, (node, slot) => {
      if (nodeDepth(node) > 0) return this.claimForMap(inode, indexPblock(node.view, entryAt(node, slot)), 1, tally);
      const { lblk, pblk, count, unwritten } = readExtent(node, slot);
      if (lblk < tally.end) problems.add(`inode ${ino} maps its block ${lblk} twice`);
      tally.end = lblk + count;
      if (!unwritten) tally.writtenEnd = tally.end;
      this.claimForMap(inode, pblk, count, tally);
    });
    return tally;
  }

  private *countRow(inode: Ext4Inode, row: PointerRow, tally: MapTally): Task<void> {
    const { disk } = this;
    for (let slot = 0; slot < row.slots; slot++) {
      const pblk = pointerAt(disk, inode, row, slot);
      if (pblk === 0) continue;
      this.claimForMap(inode, pblk, 1, tally);
      if (row.span > 1) yield* this.countRow(inode, rowBelow(row, slot, disk.cache.peek(pblk) ?? (yield* disk.cache.read(pblk))), tally);
      else tally.end = tally.writtenEnd = slotStart(row, slot) + 1;
    }
  }

  /** A damaged map may repeat itself; this bounds the walk. */
  private claimForMap({ i_ino: ino }: Ext4Inode, pblk: Pblk, count: number, tally: MapTally): void {
    tally.blocks += count;
    if (tally.blocks > this.disk.sb.blocksCount) throw new CorruptionError("map-overrun", { ino, found: "more blocks than the filesystem has" });
    tally.clusters += this.claim(ino, pblk, count);
  }

  /** Returns how many clusters the inode's attributes count as: its block, and values in inodes of their own as if each were its alone. */
  private *countXattrs(inode: Ext4Inode): Task<number> {
    const { disk } = this;
    const { i_ino: ino, i_file_acl: block } = inode;
    const clusters = this.countHolders(inode, ibodyXattrs(disk, inode));
    if (block === 0) return clusters;
    if (!disk.sb.containsBlocks(block, 1)) throw new CorruptionError("inode-field", { ino, field: "i_file_acl", found: block });
    let shared = this.xattrBlocks.get(block);
    if (shared === undefined) {
      this.claim(ino, block, 1);
      const buffer = disk.cache.peek(block) ?? (yield* disk.cache.read(block));
      const clusters = 1 + this.countHolders(inode, xattrBlockEntries(disk, buffer, inode));
      this.xattrBlocks.set(block, shared = { references: ext4_xattr_header.h_refcount.get(buffer.view, 0), clusters, users: 0 });
    }
    shared.users++;
    return clusters + shared.clusters;
  }

  private countHolders(owner: Ext4Inode, entries: readonly XattrEntry[]): number {
    let clusters = 0;
    for (const { valueInum: ino, sizeBytes } of entries) {
      if (ino === 0) continue;
      const holder = this.inodes.get(ino)?.inode;
      if (holder === undefined || (holder.i_flags & EXT4_EA_INODE_FL) === 0 || holder.i_nlink === 0 || holder.i_size !== sizeBytes) {
        this.problems.add(`inode ${ino} is to hold an attribute's ${sizeBytes} bytes (of inode ${owner.i_ino}), and does not`);
        continue;
      }
      const isLustre = isLustreHolder(holder, owner);
      this.holders.set(ino, (this.holders.get(ino) ?? 0) + (isLustre ? Infinity : 1));
      if (!isLustre) clusters += Math.ceil(sizeBytes / this.disk.sb.clusterBytes);
    }
    return clusters;
  }

  private compareSize(inode: Ext4Inode, { end, writtenEnd }: MapTally): void {
    const { disk, problems } = this;
    const { i_ino: ino, i_size: size, i_flags: flags } = inode;
    if (inode.isDirectory()) {
      const expected = (flags & EXT4_INLINE_DATA_FL) === 0 ? end * disk.blockBytes : I_BLOCK_BYTES + (inlineDataValue(disk, inode)?.length ?? 0);
      if (size !== expected) problems.add(`directory ${ino} has ${expected} bytes, and says ${size}`);
    } else if (inode.isRegular() && (flags & EXT4_VERITY_FL) === 0 && !this.orphans.has(ino) && size < (writtenEnd - 1) * disk.blockBytes) {
      problems.add(`inode ${ino} has ${size} bytes, and its block ${writtenEnd - 1} was written`);
    }
  }

  private *walkNames(): Task<void> {
    const root = this.inodes.get(EXT4_ROOT_INO);
    if (root?.inode.isDirectory() !== true) return this.problems.add("the root is no directory");
    const pending = [{ directory: root, parent: EXT4_ROOT_INO as Ino }];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { directory, parent } = next;
      for (const child of yield* this.readDirectory(directory, parent)) pending.push({ directory: child, parent: directory.inode.i_ino });
    }
  }

  /** Returns the directories in it. */
  private *readDirectory(directory: Found, parent: Ino): Task<Found[]> {
    const { disk, problems } = this;
    const { i_ino: ino, i_flags: flags } = directory.inode;
    const entries: Entry[] = [];
    const actor = (name: Uint8Array, child: Ino, type: number): boolean => entries.push({ name, ino: child, type }) > 0;
    yield* problems.during(() => iterate(disk, directory.inode, { pos: 0, actor }));
    const [dot, dotdot, ...named] = entries;
    if (dot === undefined || nameOf(dot) !== "." || dot.ino !== ino) problems.add(`directory ${ino} does not begin with itself`);
    if (dotdot === undefined || nameOf(dotdot) !== ".." || dotdot.ino !== parent) problems.add(`directory ${ino} is in directory ${parent}, and its second entry does not say so`);
    const isIndexed = disk.sb.hasDirIndex && (flags & EXT4_INDEX_FL) !== 0 && (flags & (EXT4_ENCRYPT_FL | EXT4_INLINE_DATA_FL)) === 0;
    const names = new Set<string>();
    const children: Found[] = [];
    for (const entry of named) {
      const name = nameOf(entry);
      if (names.has(name)) problems.add(`directory ${ino} has two entries "${name}"`);
      names.add(name);
      if (isIndexed) yield* problems.during(() => this.lookUp(directory.inode, entry));
      const child = this.follow(directory, entry);
      if (child?.inode.isDirectory() !== true) continue;
      directory.subdirectories++;
      if (child.names === 1 && child.inode.i_ino !== EXT4_ROOT_INO) children.push(child);
      else problems.add(`directory ${child.inode.i_ino} is in two places, one of them directory ${ino}`);
    }
    return children;
  }

  /** What a walk over all blocks has found must be found through the hash tree as well. */
  private *lookUp(directory: Ext4Inode, entry: Entry): Task<void> {
    if ((yield* findEntry(this.disk, directory, entry.name)) !== entry.ino) this.problems.add(`"${nameOf(entry)}" in directory ${directory.i_ino} is not found by its hash`);
  }

  /** The inode that an entry leads to; undefined: it must not, or the inode is damaged. */
  private follow({ inode: directory }: Found, entry: Entry): Found | undefined {
    const { disk: { sb }, problems } = this;
    const { ino, type } = entry;
    const what = `"${nameOf(entry)}" in directory ${directory.i_ino}`;
    if (this.isHidden(ino)) return void problems.add(`${what} leads to inode ${ino}, which is the filesystem's own`);
    if (!this.inodes.has(ino)) return void problems.add(`${what} leads to inode ${ino}, which is not in use`);
    const found = this.inodes.get(ino);
    if (found === undefined) return undefined;
    found.names++;
    if (found.inode.i_nlink === 0) problems.add(`${what} leads to inode ${ino}, which has no links`);
    if ((found.inode.i_flags & EXT4_EA_INODE_FL) !== 0) problems.add(`${what} leads to inode ${ino}, which holds an attribute's value`);
    const expected = sb.hasFiletype ? (found.inode.i_mode & S_IFMT) >>> 12 : 0;
    if (type !== expected) problems.add(`${what} has type ${type}, and inode ${ino} is of type ${expected}`);
    return found;
  }

  private isHidden(ino: Ino): boolean {
    const { sb } = this.disk;
    return (ino < sb.firstIno && ino !== EXT4_ROOT_INO) || sb.isSystemInode(ino);
  }

  private compareLinks(): void {
    const { disk: { sb }, problems } = this;
    for (const [ino, found] of this.inodes) {
      if (found === undefined || this.isHidden(ino) || (found.inode.i_flags & EXT4_EA_INODE_FL) !== 0) continue;
      const { inode: { i_nlink: links, i_flags: flags }, names, subdirectories } = found;
      if (names === 0 && ino !== EXT4_ROOT_INO) {
        if (links > 0) problems.add(`inode ${ino} is in use, and has no name`);
      } else if (!found.inode.isDirectory()) {
        if (links !== names) problems.add(`inode ${ino} has ${names} names, and says ${links}`);
      } else if (links !== subdirectories + 2) {
        // Who had more subdirectories than can be counted does not count them any more.
        const isUncounted = links === 1 && (flags & EXT4_INDEX_FL) !== 0 && sb.has(RO_COMPAT.dir_nlink, "roCompat");
        if (!isUncounted) problems.add(`directory ${ino} has ${subdirectories + 2} links, and says ${links}`);
      }
    }
  }

  /** Blocks of attributes and values, by how many have them. */
  private compareShared(): void {
    const { problems, holders } = this;
    for (const [block, { references, users }] of this.xattrBlocks) {
      if (references !== users) problems.add(`block ${block} has the attributes of ${users} inodes, and says ${references}`);
    }
    for (const [ino, found] of this.inodes) {
      if (found === undefined || found.inode.i_nlink === 0 || (found.inode.i_flags & EXT4_EA_INODE_FL) === 0) continue;
      const { inode } = found;
      const references = inode.i_ctime.sec * TWO_32 + ext4_inode.i_version.get(inode.rawView, 0);
      const users = holders.get(ino) ?? 0;
      if (users !== references && users !== Infinity) problems.add(`inode ${ino} holds the value of ${users} attributes, and says ${references}`);
    }
  }

  private *compareBlocks(group: GroupNo): Task<void> {
    const { disk, problems, clusterOwners } = this;
    const { sb } = disk;
    const desc = yield* disk.groupDesc(group);
    const bitmap = yield* blockBitmap(disk, group);
    const clusters = clustersIn(sb, group);
    const base = group * sb.clustersPerGroup;
    forEachDifference(bitmap, clusterOwners, base, clusters, (from, end) => {
      const owner = clusterOwners[base + from]!;
      const first = sb.firstDataBlock + (base + from) * sb.clusterBlocks;
      const last = sb.firstDataBlock + (base + end) * sb.clusterBlocks - 1;
      const blocks = first === last ? `block ${first}` : `blocks ${first}..${last}`;
      problems.add(owner === 0 ? `${blocks}: in use in the bitmap, and owned by nobody` : `${blocks}: free in the bitmap, and owned by ${ownerName(owner)}`);
    });
    const free = countClear(bitmap, clusters);
    this.freeClusters += free;
    if (desc.freeClusters !== free) problems.add(`group ${group} has ${free} free clusters in its bitmap, and says ${desc.freeClusters}`);
    if (findClearBit(bitmap, clusters, bitmap.length * 8) >= 0) problems.add(`the block bitmap of group ${group} has clear bits behind its end`);
  }

  private *compareInodes(group: GroupNo): Task<void> {
    const { disk, problems, inodesInUse } = this;
    const { sb } = disk;
    const desc = yield* disk.groupDesc(group);
    const bitmap = yield* inodeBitmap(disk, group);
    const base = group * sb.inodesPerGroup;
    forEachDifference(bitmap, inodesInUse, base, sb.inodesPerGroup, (from, end) => {
      const inodes = end - from === 1 ? `inode ${base + end}` : `inodes ${base + from + 1}..${base + end}`;
      problems.add(inodesInUse[base + from] === 0 ? `${inodes}: in use in the bitmap, and unused` : `${inodes}: free in the bitmap, and in use`);
    });
    const free = countClear(bitmap, sb.inodesPerGroup);
    this.freeInodes += free;
    if (desc.freeInodes !== free) problems.add(`group ${group} has ${free} free inodes in its bitmap, and says ${desc.freeInodes}`);
    if (desc.usedDirs !== this.directoriesIn[group]) problems.add(`group ${group} has ${this.directoriesIn[group]} directories, and says ${desc.usedDirs}`);
    if (findClearBit(bitmap, sb.inodesPerGroup, bitmap.length * 8) >= 0) problems.add(`the inode bitmap of group ${group} has clear bits behind its end`);
  }

  private compareTotals(): void {
    const { disk: { sb }, fs, problems } = this;
    if (fs.recovery !== undefined && fs.writable === undefined) return;
    const freeBlocks = this.freeClusters * sb.clusterBlocks;
    const freeInodes = S.s_free_inodes_count.get(sb.view, 0);
    if (sb.freeBlocks() !== freeBlocks) problems.add(`${freeBlocks} blocks are free, and the superblock says ${sb.freeBlocks()}`);
    if (freeInodes !== this.freeInodes) problems.add(`${this.freeInodes} inodes are free, and the superblock says ${freeInodes}`);
  }

  /** What a filesystem that is written to keeps in core, as long as it is mounted. */
  private *compareCore(): Task<void> {
    const { fs, problems } = this;
    if (fs.writable === undefined) return;
    const { allocator, inodeAllocator } = fs.writable;
    const compare = (what: string, counted: number, inCore: number): void => {
      if (counted !== inCore) problems.add(`${what}: ${counted} on disk, ${inCore} in core`);
    };
    compare("free clusters", this.freeClusters, allocator.freeClusters);
    compare("free inodes", this.freeInodes, inodeAllocator.freeInodes);
    for (let group = 0; group < fs.sb.groupsCount; group++) {
      const onDisk = yield* this.disk.groupDesc(group);
      const inCore = yield* fs.groupDesc(group);
      for (const field of ["freeClusters", "freeInodes", "usedDirs", "itableUnused", "flags"] as const) compare(`${field} of group ${group}`, onDisk[field], inCore[field]);
    }
    // A promise is given for a dirty page, and ends with it.
    if (allocator.reservedClusters !== 0 && fs.dirtyInodes().length === 0) problems.add(`${allocator.reservedClusters} clusters are promised, and nobody has anything to write`);
    if (allocator.pendingFreeClusters !== 0) problems.add(`${allocator.pendingFreeClusters} clusters were freed, and cannot be allocated though the transaction is on disk`);
  }
}

/** The resize inode has the room for more descriptors in its map; bad blocks may be anywhere. */
function mayShare(owner: number, other: number): boolean {
  return (owner === EXT4_RESIZE_INO && other === RESERVED_DESCS) || owner === EXT4_BAD_INO;
}

function ownerName(owner: number): string {
  return owner > 0 ? `inode ${owner}` : SYSTEM_OWNERS[-owner]!;
}

/** For a reader; what is no ASCII is escaped. */
function nameOf({ name }: Entry): string {
  let text = "";
  for (const byte of name) text += byte >= 0x20 && byte < 0x7f && byte !== 0x5c ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
  return text;
}

/** Calls `visit` with each run of bits from .. end - 1 that differ, all in the same way and of the same owner, from what `owners` has from `base` on. */
function forEachDifference(bitmap: Uint8Array, owners: Int32Array, base: number, count: number, visit: (from: number, end: number) => void): void {
  for (let bit = 0; bit < count; bit++) {
    const owner = owners[base + bit]!;
    const isSet = testBit(bitmap, bit);
    if (isSet === (owner !== 0)) continue;
    let end = bit + 1;
    while (end < count && owners[base + end] === owner && testBit(bitmap, end) === isSet) end++;
    visit(bit, end);
    bit = end - 1;
  }
}

function countClear(bitmap: Uint8Array, count: number): number {
  let clear = 0;
  for (const [, length] of clearRuns(bitmap, count)) clear += length;
  return clear;
}
