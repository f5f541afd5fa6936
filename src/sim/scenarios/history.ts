/** The two stories of 2017, to be found anew: each fails with the engine of Linux 4.13 (--strategy linux-4.13), and passes with the one that ships. */
import { EXT4_JOURNAL_DATA_FL } from "../../format/inode.js";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../../mm/constants.js";
import { O_CREAT, O_RDWR } from "../../vfs/flags.js";
import { scenario } from "../scenario.js";

const PAGE = 4096;
const RW = PROT_READ | PROT_WRITE;

/** lkml, September 2017: a page that was dirty in the page cache lies where a DAX fault puts its entry, and is lost. Commit e9072d859df3 and the mails around it. */
export const journalSwitch = scenario({
  name: "history/journal-switch",
  description: "a file with journaled data is mapped and stored into, while chattr -j makes it a DAX file",
  world: { device: "pmem", mount: { dax: "always", delalloc: false } },
  *setup({ process }) {
    const fd = yield* process.open("/file", O_RDWR | O_CREAT);
    yield* process.setflags(fd, (yield* process.getflags(fd)) | EXT4_JOURNAL_DATA_FL);
    yield* process.pwrite(fd, new Uint8Array(PAGE).fill(0x41), 0);
  },
  *prepare({ process }) {
    return yield* process.open("/file", O_RDWR);
  },
  tasks: {
    *fault({ process }, fd) {
      const first = yield* process.mmap(0, PAGE, RW, MAP_SHARED, fd);
      yield* process.store(first, 0x42);
      const second = yield* process.mmap(0, PAGE, RW, MAP_SHARED, fd);
      yield* process.store(second + 1, 0x43);
      yield* process.fsync(fd);
    },
    *chattr({ process }, fd) {
      yield* process.setflags(fd, (yield* process.getflags(fd)) & ~EXT4_JOURNAL_DATA_FL);
    },
  },
  mayFailWith: ["EBUSY"],
});
