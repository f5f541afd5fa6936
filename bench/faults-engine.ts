/** What bench/faults.ts uses of the engine, to be built in one piece. */
export { MemoryDevice } from "../src/block/memory.js";
export { MADV_DONTNEED, MADV_NOHUGEPAGE, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from "../src/mm/constants.js";
export { PmemDevice } from "../src/nvdimm/pmem.js";
export { O_CREAT, O_RDONLY, O_RDWR } from "../src/vfs/flags.js";
export { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from "../src/vfs/inode.js";
export { MappingWorld } from "../test/dax/world.js";
