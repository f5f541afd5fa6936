/** Puts the tracepoints of one operation together, as the recorder does with those of Linux: its faults with what was tried in each, and its journal handles. */
import { PMD_ORDER, PUD_ORDER, VmFault } from "../../src/lib/vm-fault.js";
import type { VmEvents } from "../../src/mm/events.js";

/** What happened in a fault, in order: "PMD WRITE FALLBACK", "mkwrite LOCKED", "split", "wp", "wpcopy", "syncfault". */
export interface LoggedFault {
  readonly address: number;
  readonly flags: string;
  readonly steps: string[];
  readonly handles: string[];
  result: string;
}

const RESULTS: readonly (readonly [bit: number, name: string])[] = [
  [VmFault.OOM, "OOM"], [VmFault.SIGBUS, "SIGBUS"], [VmFault.MAJOR, "MAJOR"], [VmFault.HWPOISON, "HWPOISON"], [VmFault.SIGSEGV, "SIGSEGV"], [VmFault.NOPAGE, "NOPAGE"],
  [VmFault.LOCKED, "LOCKED"], [VmFault.RETRY, "RETRY"], [VmFault.FALLBACK, "FALLBACK"], [VmFault.DONE_COW, "DONE_COW"], [VmFault.NEEDDSYNC, "NEEDDSYNC"], [VmFault.COMPLETED, "COMPLETED"],
];
const FLAGS: readonly (readonly [bit: number, name: string])[] = [[0x1, "WRITE"], [0x2, "MKWRITE"], [0x80, "REMOTE"], [0x100, "EXEC"]];

function words(bits: unknown, names: readonly (readonly [bit: number, name: string])[]): string {
  return names.filter(([bit]) => ((bits as number) & bit) !== 0).map(([, name]) => name).join("|") || "0";
}

export class FaultLog {
  faults: LoggedFault[] = [];
  /** By type. */
  handles: Record<string, number> = {};
  writtenBack = 0;
  private current: LoggedFault | undefined;

  /** @param isWatched whether faults at an address belong to the scenario: the recorder looks at no others. */
  constructor(events: VmEvents, private readonly isWatched: (address: number) => boolean) {
    events.listener = (event, fields) => this.note(event, fields);
  }

  /** A fault that waits stays open, for the operation that ends it. */
  reset(): void {
    this.faults = [];
    this.handles = {};
    this.writtenBack = 0;
  }

  private note(event: string, fields: Readonly<Record<string, unknown>>): void {
    const step = (text: string): void => void this.current?.steps.push(text);
    switch (event) {
      case "handle_mm_fault:enter":
        this.current = { address: fields.address as number, flags: words(fields.flags, FLAGS), steps: [], handles: [], result: "" };
        if (this.isWatched(this.current.address)) this.faults.push(this.current);
        break;
      case "handle_mm_fault":
        // A fault that waited ends when others have come and gone.
        if (this.current !== undefined) this.current.result = words(fields.code, RESULTS);
        this.current = undefined;
        break;
      case "ext4_dax_huge_fault": return step(`${fields.order === PUD_ORDER ? "PUD" : fields.order === PMD_ORDER ? "PMD" : "PTE"} ${words(fields.flags, FLAGS)} ${words(fields.code, RESULTS)}`);
      case "ext4_page_mkwrite": return step(`mkwrite ${words(fields.code, RESULTS)}`);
      case "__split_huge_pmd": return step("split");
      case "do_wp_page": return step("wp");
      case "wp_page_copy": return step("wpcopy");
      case "dax_finish_sync_fault": return step("syncfault");
      case "fs_dax:dax_writeback_one": this.writtenBack++; break;
      case "jbd2:jbd2_handle_start": {
        const type = fields.type as string;
        this.handles[type] = (this.handles[type] ?? 0) + 1;
        this.current?.handles.push(type);
      }
    }
  }
}
