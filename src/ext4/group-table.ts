/**
 * All groups of a filesystem that is written to. At mount the descriptor table is read once, in large pieces, for what concerns the whole filesystem: the exact totals (the superblock's are
 * advisory), the free index, the flex groups' sums, the system zones. That is 8 MiB of reading for 16 TiB, and afterwards totals are kept running. A group's
 * descriptor and bitmaps come in when the group is first used. Source: ext4_check_descriptors, ext4_count_free_clusters (fs/ext4).
 */
import type { GroupNo } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { FlexGroups } from "./flex-groups.js";
import { FreeIndex } from "./free-index.js";
import { GroupState } from "./group-state.js";
import { clustersIn, decodeGroupDesc, descLocation, type GroupDesc } from "./groups.js";
import type { Ext4 } from "./super.js";
import { SystemZonesBuilder, type SystemZones } from "./system-zones.js";

/** What the buddy indexes may take together. */
const BUDDY_BYTES_MAX = 16 * 2 ** 20;
const BUDDIES_MIN = 4;
/** Blocks of the descriptor table that are asked for at once. */
const READ_BLOCKS = 256;

export class Groups {
  /** Clear bits of all block bitmaps, as the descriptors count them: what the superblock is to say. */
  freeClusters = 0;
  freeInodes = 0;
  usedDirs = 0;
  /** Free, but taken by a task that is about to set the bits. */
  claimedClusters = 0;
  /** Free, but not to be written to before the transaction that freed them is on disk. */
  pendingClusters = 0;
  readonly index: FreeIndex;
  readonly flex: FlexGroups;
  zones!: SystemZones;
  private readonly states = new Map<GroupNo, GroupState>();
  /** Groups with a buddy index, in the order in which these were built. */
  private readonly withBuddy = new Set<GroupState>();
  private readonly buddiesMax: number;

  private constructor(readonly fs: Ext4) {
    this.index = new FreeIndex(fs.sb.groupsCount);
    this.flex = new FlexGroups(fs.sb);
    this.buddiesMax = Math.max(BUDDIES_MIN, Math.floor(BUDDY_BYTES_MAX / (fs.blockBytes * 2)));
  }

  /** @throws CorruptionError a descriptor, or the journal's map, is damaged. */
  static *load(fs: Ext4): Task<Groups> {
    const groups = new Groups(fs);
    const zones = new SystemZonesBuilder(fs.sb);
    yield* groups.readTable((desc) => zones.addGroup(desc));
    yield* zones.addJournal(fs);
    groups.zones = zones.finish();
    return groups;
  }

  private *readTable(visit: (desc: GroupDesc) => void): Task<void> {
    const { fs } = this;
    const { groupsCount, descBytes, blockBytes } = fs.sb;
    const perBlock = blockBytes / descBytes;
    for (let first = 0; first < groupsCount; first += perBlock) {
      const { block } = descLocation(fs.sb, first);
      if (first % (perBlock * READ_BLOCKS) === 0) yield* this.readAhead(first, Math.min(READ_BLOCKS, Math.ceil((groupsCount - first) / perBlock)));
      const buffer = fs.cache.peek(block) ?? (yield* fs.cache.read(block));
      for (let group = first; group < Math.min(first + perBlock, groupsCount); group++) {
        const desc = decodeGroupDesc(fs, group, buffer, (group - first) * descBytes);
        this.addGroup(desc);
        visit(desc);
      }
    }
  }

  /** With meta_bg the table's blocks stand far from each other, and there is nothing to gain. */
  private *readAhead(first: GroupNo, blocks: number): Task<void> {
    const { sb, cache } = this.fs;
    const begin = descLocation(sb, first).block;
    const last = descLocation(sb, first + (blocks - 1) * (sb.blockBytes / sb.descBytes)).block;
    if (last === begin + blocks - 1) yield* cache.readAhead(begin, blocks);
  }

  private addGroup(desc: GroupDesc): void {
    this.freeClusters += desc.freeClusters;
    this.freeInodes += desc.freeInodes;
    this.usedDirs += desc.usedDirs;
    this.flex.addGroup(desc);
    this.index.set(desc.group, Math.min(desc.freeClusters, clustersIn(this.fs.sb, desc.group)));
  }

  /** The group, if it was used before. */
  peek(group: GroupNo): GroupState | undefined {
    return this.states.get(group);
  }

  *get(group: GroupNo): Task<GroupState> {
    const desc = yield* this.fs.groupDesc(group);
    let state = this.states.get(group);
    if (state === undefined) this.states.set(group, state = new GroupState(this, desc));
    return state;
  }

  countClusters(desc: GroupDesc, change: number): void {
    desc.freeClusters += change;
    this.freeClusters += change;
    this.flex.freeClusters[this.flex.of(desc.group)]! += change;
  }

  countInodes(desc: GroupDesc, change: number, directories: number): void {
    desc.freeInodes += change;
    desc.usedDirs += directories;
    this.freeInodes += change;
    this.usedDirs += directories;
    const flex = this.flex.of(desc.group);
    this.flex.freeInodes[flex]! += change;
    this.flex.usedDirs[flex]! += directories;
  }

  /** To be called after each change of what can be claimed in the group. */
  updateIndex({ group, desc, buddy, pendingCount, isDamaged }: GroupState): void {
    if (isDamaged) this.index.set(group, 0);
    else if (buddy !== undefined) this.index.set(group, buddy.freeCount, buddy.largestOrder);
    else this.index.set(group, Math.min(Math.max(desc.freeClusters - pendingCount, 0), clustersIn(this.fs.sb, group)));
  }

  /** Notes that the group has a buddy index now; the oldest go if there are too many. Claims stand nowhere else, so a group with claims keeps its own. */
  keepBuddy(state: GroupState): void {
    this.withBuddy.add(state);
    if (this.withBuddy.size <= this.buddiesMax) return;
    for (const other of this.withBuddy) {
      if (other === state || other.claimedCount > 0) continue;
      other.buddy = undefined;
      this.withBuddy.delete(other);
      return;
    }
  }
}
