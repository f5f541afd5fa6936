/** Where we differ from Linux 6.1 on purpose, record by record. Each one must be needed: the test fails on one that is not. */

export interface Exception {
  readonly records: readonly number[];
  readonly fields: readonly string[];
  readonly why: string;
}

const NO_2M = "2 MiB that cannot be had in one aligned piece are left alone; Linux keeps what its PMD attempt allocated and converted";
const ALL_OR_NOTHING = "fallocate that finds no space gives back what it got; Linux keeps it";
const EXPOSED = "bytes stored behind the file's end and uncovered by growing it are zeroes, as in Linux 6.12; 6.1 shows them";
const ABORTED = "after an abort writes and fsync fail, as in Linux 6.12; 6.1 says that they succeeded";
const READAHEAD = "Linux leaves the page that starts its next readahead out of a fault-around";
const DELAYED = "blocks are allocated when pages are written back, whatever nodelalloc says";
const JOURNALED = "a store into a journaled file goes into the journal when its page is written back; Linux puts it there in page_mkwrite";
const EVICTED = "a file whose data begins or ends to be journaled loses its pages, as in Linux 7.1; 6.1 keeps them";
const NO_KEYS = "encryption keys are not known here: a directory gets no policy, and files of one that has are only listed";

export const EXCEPTIONS: Readonly<Record<string, readonly Exception[]>> = {
  a04_pmd_phys_unaligned: [{ records: [5, 6, 9], fields: ["faults", "pgmajfault", "extents"], why: NO_2M }],
  b04_enospc: [
    { records: [7, 11, 13, 15], fields: ["bfree", "ret", "errno"], why: ALL_OR_NOTHING },
    { records: [17, 18, 19, 20, 21, 22, 27, 29], fields: ["faults", "pgmajfault", "blocks", "extents", "bfree", "si_off", "done", "nfaults", "handles", "dax_writeback_one"], why: NO_2M },
  ],
  c01_eof_tail: [{ records: [12, 13], fields: ["val", "runs"], why: EXPOSED }],
  d10_abort: [{ records: [15, 16], fields: ["ret", "errno"], why: ABORTED }],
  g04_journal_dax_never: [{ records: [11, 13], fields: ["faults"], why: EVICTED }],
  g09_journal_file_daxmounts: [{ records: [28, 43], fields: ["handles"], why: JOURNALED }],
  g10_journal_nodelalloc: [
    { records: [3], fields: ["handles"], why: DELAYED },
    { records: [9], fields: ["handles"], why: JOURNALED },
    { records: [10, 14], fields: ["faults"], why: EVICTED },
  ],
  h08_encrypt: [{ records: [2, 3, 5, 6, 9], fields: ["ret", "errno", "flags", "dax", "attrs", "faults", "thp_fault_fallback"], why: NO_KEYS }],
  n01_shared: [{ records: [10, 11, 15], fields: ["vmas", "pages", "faults"], why: READAHEAD }],
  n02_private: [{ records: [8, 11], fields: ["pages", "faults"], why: READAHEAD }],
  n04_journal_data: [{ records: [11], fields: ["faults"], why: EVICTED }],
  n05_journal_mount: [{ records: [7], fields: ["extents"], why: JOURNALED }],
  n07_tail_to_disk: [{ records: [31], fields: ["runs"], why: EXPOSED }],
  n16_journal_nodelalloc: [
    { records: [4], fields: ["handles"], why: DELAYED },
    { records: [11], fields: ["faults"], why: READAHEAD },
  ],
};
