/**
 * Flex groups: neighbouring groups whose inode tables stand together and that the spreading of directories treats as one. Without the feature each group is one by itself. The sums are
 * kept up to date with the groups' counts. Source: s_flex_groups (fs/ext4/super.c, ext4_fill_flex_info).
 */
import { INCOMPAT } from "../format/features.js";
import { ext4_super_block as S } from "../format/superblock.js";
import type { GroupNo } from "../lib/numbers.js";
import type { GroupDesc } from "./groups.js";
import type { Superblock } from "./superblock.js";

const LOG_MAX = 31;

export class FlexGroups {
  /** Groups in each, but for the last. */
  readonly size: number;
  readonly count: number;
  readonly freeClusters: Float64Array;
  readonly freeInodes: Float64Array;
  readonly usedDirs: Float64Array;

  constructor(sb: Superblock) {
    const log = S.s_log_groups_per_flex.get(sb.view, 0);
    this.size = sb.has(INCOMPAT.flex_bg, "incompat") && log >= 1 && log <= LOG_MAX ? 2 ** log : 1;
    this.count = Math.ceil(sb.groupsCount / this.size);
    this.freeClusters = new Float64Array(this.count);
    this.freeInodes = new Float64Array(this.count);
    this.usedDirs = new Float64Array(this.count);
  }

  of(group: GroupNo): number {
    return Math.floor(group / this.size);
  }

  addGroup(desc: GroupDesc): void {
    const flex = this.of(desc.group);
    this.freeClusters[flex]! += desc.freeClusters;
    this.freeInodes[flex]! += desc.freeInodes;
    this.usedDirs[flex]! += desc.usedDirs;
  }
}
