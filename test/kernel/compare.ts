/** Holds what an operation did here against what Linux did. What is left out, and why, stands in docs/kernel-traces.md. */
import type { OurRecord } from "./interpreter.js";
import type { HandlerStep, Step, TracedFault, TraceRecord } from "./traces.js";

/** What is to be equal as it stands, where a trace has it. */
const FIELDS = ["ret", "errno", "sig", "si_code", "si_off", "val", "runs", "done", "size", "blocks", "mode", "nlink", "ino", "dax", "attrs", "dax_supported", "flags", "xflags", "names", "exit", "killed", "stdout",
  "moved", "finished", "addr_mod_2M", "bytes", "bfree", "files", "ffree"] as const;
/** Counters of /proc/vmstat; pgfault has the faults of the recorder's own program in it. */
const COUNTERS = ["pgmajfault", "thp_fault_fallback", "thp_split_pmd"] as const;
/** The faults of an operation that a trace lists: more are only counted. */
const LISTED_MAX = 16;

/** Where a scenario stands: what is compared with what was before. */
export interface Progress {
  /** By inode: the times that the last statx showed, in both. */
  readonly times: Map<unknown, { readonly linux: Times; readonly ours: Times }>;
}

interface Times { readonly mtime: unknown; readonly ctime: unknown }

export interface Difference {
  readonly field: string;
  readonly linux: unknown;
  readonly ours: unknown;
}

export function compareRecords(linux: TraceRecord, ours: OurRecord, progress: Progress): Difference[] {
  const differences: Difference[] = [];
  const check = (field: string, theirs: unknown, own: unknown): void => {
    if (JSON.stringify(theirs) !== JSON.stringify(own)) differences.push({ field, linux: theirs, ours: own });
  };
  for (const field of FIELDS) check(field, linux[field], ours.fields[field]);
  if (linux.extents !== undefined) check("extents", extentsOf(linux.extents), extentsOf(ours.fields.extents));
  if (linux.pages !== undefined) check("pages", pagesOf(linux.pages), pagesOf(ours.fields.pages));
  if (linux.vmas !== undefined) check("vmas", vmasOf(linux.vmas), vmasOf(ours.fields.vmas));
  if (linux.mtime !== undefined && ours.fields.mtime !== undefined) for (const [field, theirs, own] of timeChanges(linux, ours, progress)) check(field, theirs, own);
  // Linux says in its log why it does not mount.
  const { detail } = ours.fields;
  if (linux.op.op.endsWith("mount") && linux.kmsg !== undefined && linux.ret < 0 && !linux.kmsg.some((line) => line.includes(String(detail)))) check("message", linux.kmsg, detail);
  compareMechanism(linux, ours, check);
  return differences;
}

/** Which times changed since the last look says more than the times. */
function timeChanges(linux: TraceRecord, { fields }: OurRecord, { times }: Progress): [string, unknown, unknown][] {
  const before = times.get(linux.ino);
  times.set(linux.ino, { linux: { mtime: linux.mtime, ctime: linux.ctime }, ours: { mtime: fields.mtime, ctime: fields.ctime } });
  if (before === undefined) return [];
  return [["mtime", before.linux.mtime !== linux.mtime, before.ours.mtime !== fields.mtime], ["ctime", before.linux.ctime !== linux.ctime, before.ours.ctime !== fields.ctime]];
}

interface Extent { readonly l: number; readonly n: number; readonly f: string }

/** Where blocks stand is the allocator's business: neighbours in the file with the same flags count as one extent. */
function extentsOf(value: unknown): unknown {
  const merged: { l: number; n: number; f: string }[] = [];
  for (const { l, n, f } of (value ?? []) as readonly Extent[]) {
    const flags = f.replace("M", "").replace("?", "");
    const last = merged.at(-1);
    if (last !== undefined && last.l + last.n === l && last.f === flags.replace("L", "")) {
      last.n += n;
      last.f = flags;
    } else merged.push({ l, n, f: flags });
  }
  return merged;
}

function pagesOf(value: unknown): unknown {
  const merged: { p: number; n: number; w: string }[] = [];
  for (const { p, n, w } of value as { p: number; n: number; w: string }[]) {
    const kind = w.replace("+dirty", "");
    const last = merged.at(-1);
    // Two runs of blocks of the device are one, whatever blocks they are.
    if (last?.w === kind) last.n += n;
    else merged.push({ p, n, w: kind });
  }
  return merged;
}

/** Pages of a device count as memory in Linux 6.1 and not in 6.12 nor here; accounting and soft-dirty marks are not kept here. */
function vmasOf(value: unknown): unknown {
  return (value as Record<string, unknown>[]).map(({ off, len, perm, Rss, Anonymous, Private_Clean, Private_Dirty, Shared_Clean, Shared_Dirty, VmFlags }) => {
    const flags = String(VmFlags).split(" ").filter((flag) => flag !== "ac" && flag !== "sd");
    const sums = flags.includes("hg") || flags.includes("nh") ? {} : { Rss, Private_Clean, Private_Dirty, Shared_Clean, Shared_Dirty };
    return { off, len, perm, Anonymous, flags, ...sums };
  });
}

type Check = (field: string, linux: unknown, ours: unknown) => void;

function compareMechanism(linux: TraceRecord, ours: OurRecord, check: Check): void {
  const faults = onceEach((linux.sum?.faults ?? []).filter(isCompleted), ({ addr, ret }) => `${addr} ${ret}`);
  const own = onceEach(ours.faults.filter(({ result }) => result !== ""), ({ address, result }) => `${address} ${result}`);
  if ((linux.sum?.nfaults ?? 0) > LISTED_MAX) {
    check("nfaults", linux.sum!.nfaults, own.length);
    own.splice(LISTED_MAX - 1, own.length - LISTED_MAX);
  }
  const splitsHere = faults.filter(splitsItself).length;
  check("faults", faults.map(describeTraced), own.map(({ address, flags, steps, result }) => describe(address, flags, steps, result)));
  for (const counter of COUNTERS) {
    // What is in the page cache, and so needs no reading, is each cache's own business.
    if (counter === "pgmajfault" && !faults.some(({ steps }) => steps.some((step) => typeof step !== "string" && step.size !== undefined))) continue;
    const expected = (linux.vm?.[counter] ?? 0) - (counter === "thp_fault_fallback" ? splitsHere : 0);
    check(counter, expected, ours.vm[counter] ?? 0);
  }
  // Linux 6.1 takes an entry that was only read for dirty, too.
  if (ours.writtenBack > (linux.evc?.dax_writeback_one ?? 0)) check("dax_writeback_one", linux.evc?.dax_writeback_one ?? 0, ours.writtenBack);
  compareHandles(linux, ours, check);
}

const sumOf = (counts: Readonly<Record<string, number>> | undefined): number => Object.values(counts ?? {}).reduce((sum, count) => sum + count, 0);

/** Never more than Linux starts. A store fault starts one for blocks if there are new ones, else at most one for the times; a size that is declined starts none. */
function compareHandles(linux: TraceRecord, { handles, faults, hasNewBlocks }: OurRecord, check: Check): void {
  // Pages are written back by threads of the kernel's own, or by whoever asked for it.
  const most = sumOf(linux.sum?.handles) + sumOf(linux.sum?.async_handles);
  if (sumOf(handles) > most) check("handles", linux.sum?.handles ?? {}, handles);
  for (const { handles: inFault, steps } of faults) {
    if (!steps.some((step) => /^(PUD|PMD|PTE)/.test(step))) continue;
    const forBlocks = inFault.filter((type) => type !== "INODE").length;
    if (inFault.length > 1 || (forBlocks > 0 && !hasNewBlocks)) check("handles of a fault", hasNewBlocks ? "one, for blocks" : "at most one, INODE", inFault);
  }
  if (hasNewBlocks && most > 0 && faults.length === 1) check("handles for new blocks", 1, faults[0]!.handles.filter((type) => type !== "INODE").length);
}

/** A copy from or to user memory that fails is tried once more, by the byte. */
function onceEach<T extends { readonly ret?: string; readonly result?: string }>(faults: readonly T[], keyOf: (fault: T) => string): T[] {
  return faults.filter((fault, index) => !(fault.ret ?? fault.result)!.includes("SIGBUS") || index === 0 || keyOf(faults[index - 1]!) !== keyOf(fault));
}

/** Linux lets go of mmap_lock while it reads a page, and has the fault begun anew. */
function isCompleted({ ret }: TracedFault): boolean {
  return ret !== undefined && !ret.includes("RETRY");
}

const isStep = (step: Step, size: string, ret: string): boolean => typeof step !== "string" && step.size === size && step.ret === ret;

/** A store into 2 MiB that a private mapping has: Linux 6.1 asks the filesystem, which declines and splits; 6.12 and we split without asking. */
function splitsItself({ flags, ret, steps }: TracedFault): boolean {
  return flags === "WRITE" && ret === "DONE_COW" && steps.includes("split") && steps.some((step) => isStep(step, "PMD", "FALLBACK"));
}

function describeTraced(fault: TracedFault): string {
  const { addr, flags, ret, steps } = fault;
  const kept = splitsItself(fault) ? steps.filter((step) => !isStep(step, "PMD", "FALLBACK")) : steps;
  return describe(Number(addr), flags, kept.flatMap(stepWords), ret!);
}

function stepWords(step: Step): string[] {
  if (typeof step === "string") return [step];
  return [...(step.steps ?? []).flatMap(stepWords), handlerWords(step)];
}

function handlerWords({ size, flags, ret }: HandlerStep): string {
  return size === undefined ? `mkwrite ${ret ?? ""}` : `${size} ${flags} ${ret ?? ""}`;
}

const CHOSEN_ADDRESSES = 0x7000_0000_0000;
const COMPARED = new Set(["split", "wp", "wpcopy", "syncfault"]);

function describe(address: number, flags: string, steps: readonly string[], result: string): string {
  const words = steps.filter((step) => COMPARED.has(step) || step.includes(" "));
  // Whoever declines has split already, and the one above makes sure.
  const once = words.filter((word, index) => word !== "split" || words[index - 1] !== "split");
  const isDax = once.some((word) => /^(PUD|PMD|PTE)/.test(word));
  // How a fault of the page cache ends says how far it came without the lock; only errors are the same everywhere.
  const end = isDax ? result : result.split("|").filter((word) => ["SIGBUS", "SIGSEGV", "OOM", "HWPOISON"].includes(word)).join("|");
  // Where the kernel chose the address that is its own business, and there are neighbours for whom there is a table already.
  const isChosen = address >= CHOSEN_ADDRESSES;
  const place = isChosen ? `chosen + 0x${(address % 2 ** 21).toString(16)}` : `0x${address.toString(16)}`;
  return `${place} ${flags}: ${once.filter((word) => !isChosen || !word.startsWith("PUD")).join(", ")} -> ${end}`;
}
