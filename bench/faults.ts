/**
 * Mappings: what a page fault costs, of 4 KiB and of 2 MiB, on persistent memory (DAX) and through the page cache; loads through a mapping against a plain copy of the same memory; and a file that is read
 * from persistent memory against the same one read from a device that is asked for blocks. All of it in memory, with the sync driver, in one process.
 */
import { build } from "esbuild";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { temporaryFolder } from "../test/support/host.js";
import type * as EngineModule from "./faults-engine.js";
import type { MappingWorld } from "../test/dax/world.js";
import type { Comparison, Contender, Timed } from "./measure.js";
import type { Scale } from "./scale.js";

const MIB = 2 ** 20;
const PAGE = 4096;
const HUGE = 2 * MIB;
/** Pages that one read fault of the page cache maps. */
const AROUND = 16;
/** Files of 2 MiB and more begin on 2 MiB. */
const MKE2FS = ["-b", "4096", "-E", "stride=512,stripe_width=512"];

type Engine = typeof EngineModule;

/** Processes and mappings are not what the package gives out, so the engine is built here as the package is: in one piece. */
async function loadEngine(): Promise<Engine> {
  const outfile = join(temporaryFolder(), "engine.mjs");
  await build({ entryPoints: [new URL("faults-engine.ts", import.meta.url).pathname], outfile, bundle: true, format: "esm", target: "es2022", platform: "node", logLevel: "warning" });
  return await import(pathToFileURL(outfile).href) as Engine;
}

/** A file full of bytes that are not zero, or with `isSparse` a hole. */
function makeFile(C: Engine, world: MappingWorld, path: string, mib: number, isSparse = false): number {
  const fd = world.run(world.process.open(path, C.O_RDWR | C.O_CREAT));
  if (isSparse) world.run(world.process.ftruncate(fd, mib * MIB));
  else world.run(world.process.fallocate(fd, 0, 0, mib * MIB));
  const piece = new Uint8Array(HUGE).fill(1);
  for (let at = 0; at < mib * MIB && !isSparse; at += HUGE) world.run(world.process.pwrite(fd, piece, at));
  world.run(world.process.fsync(fd));
  return fd;
}

interface Faults {
  readonly name: string;
  readonly world: MappingWorld;
  readonly fd: number;
  readonly mib: number;
  readonly access: "load" | "store";
  /** From one access to the next: each is a fault. */
  readonly stepBytes: number;
  readonly isPrivate?: boolean;
  readonly isSmall?: boolean;
  /** Between two rounds. */
  readonly restore?: () => void;
}

/** `count` faults: as often as it takes, everything is unmapped and touched again. */
function faultContender(C: Engine, count: number, { name, world, fd, mib, access, stepBytes, isPrivate = false, isSmall = false, restore }: Faults): Contender {
  return {
    name,
    round(timed: Timed) {
      const { process } = world;
      const lengthBytes = mib * MIB;
      const address = world.run(process.mmap(0, lengthBytes, C.PROT_READ | C.PROT_WRITE, isPrivate ? C.MAP_PRIVATE : C.MAP_SHARED, fd));
      if (isSmall) world.run(process.madvise(address, lengthBytes, C.MADV_NOHUGEPAGE));
      const before = world.events.get("pgfault");
      const touch = function* (): Generator<never, void, void> {
        const byte = new Uint8Array(1).fill(1);
        for (let left = count; left > 0;) {
          for (let at = address; at < address + lengthBytes && left > 0; at += stepBytes, left--) yield* (access === "load" ? process.loadInto(at, byte) : process.storeBytes(at, byte)) as Generator<never, void, void>;
          if (left > 0) yield* process.madvise(address, lengthBytes, C.MADV_DONTNEED) as Generator<never, void, void>;
        }
      };
      timed(() => world.run(touch()));
      const faults = world.events.get("pgfault") - before;
      if (faults !== count) throw new Error(`${name}: ${faults} faults, not ${count}`);
      world.run(process.munmap(address, lengthBytes));
      restore?.();
    },
  };
}

function faultComparison(C: Engine, mib: number, rounds: number): Comparison {
  const count = mib * (MIB / PAGE);
  const dax = new C.MappingWorld({ device: "pmem", size: `${mib * 3 + 128}M`, mke2fs: MKE2FS, mount: { dax: "always" } });
  const cache = new C.MappingWorld({ device: "memory", size: `${mib * 2 + 128}M`, mke2fs: MKE2FS, mount: { dax: "never", pageCacheBytes: mib * 4 * MIB } });
  const small = makeFile(C, dax, "/small", mib);
  const huge = makeFile(C, dax, "/huge", mib);
  const sparse = makeFile(C, dax, "/sparse", mib, true);
  const cached = makeFile(C, cache, "/file", mib);
  const clean = (): void => cache.run(cache.process.fsync(cached));
  const punch = (): void => dax.run(dax.process.fallocate(sparse, C.FALLOC_FL_PUNCH_HOLE | C.FALLOC_FL_KEEP_SIZE, 0, mib * MIB));
  // A write-back makes pages read-only, so that each store faults again.
  const sync = (fd: number) => (): void => dax.run(dax.process.fsync(fd));
  const all: Faults[] = [
    { name: "DAX, load, 4 KiB", world: dax, fd: small, mib, access: "load", stepBytes: PAGE, isSmall: true },
    { name: "DAX, store, 4 KiB", world: dax, fd: small, mib, access: "store", stepBytes: PAGE, isSmall: true, restore: sync(small) },
    { name: "DAX, store into a hole, 4 KiB", world: dax, fd: sparse, mib, access: "store", stepBytes: PAGE, isSmall: true, restore: punch },
    { name: "DAX, private store, 4 KiB copied", world: dax, fd: small, mib, access: "store", stepBytes: PAGE, isSmall: true, isPrivate: true },
    { name: "DAX, load, 2 MiB", world: dax, fd: huge, mib, access: "load", stepBytes: HUGE },
    { name: "DAX, store, 2 MiB", world: dax, fd: huge, mib, access: "store", stepBytes: HUGE, restore: sync(huge) },
    { name: `page cache, load, ${AROUND} pages mapped by each`, world: cache, fd: cached, mib, access: "load", stepBytes: AROUND * PAGE },
    { name: "page cache, store", world: cache, fd: cached, mib, access: "store", stepBytes: PAGE, restore: clean },
    { name: "page cache, private store, 4 KiB copied", world: cache, fd: cached, mib, access: "store", stepBytes: PAGE, isPrivate: true },
  ];
  return { title: `${count} page faults`, amount: count, unit: "faults", rounds, contenders: all.map((faults) => faultContender(C, count, faults)) };
}

/** The same bytes, copied by the processor, through page tables, and not at all. */
function loadComparison(C: Engine, mib: number, rounds: number): Comparison {
  const world = new C.MappingWorld({ device: "pmem", size: `${mib * 2 + 128}M`, mke2fs: MKE2FS, mount: { dax: "always" } });
  const { process } = world;
  const huge = makeFile(C, world, "/huge", mib);
  const small = makeFile(C, world, "/small", mib);
  const addressOf = (fd: number, isSmall: boolean): number => {
    const address = world.run(process.mmap(0, mib * MIB, C.PROT_READ, C.MAP_SHARED, fd));
    if (isSmall) world.run(process.madvise(address, mib * MIB, C.MADV_NOHUGEPAGE));
    return address;
  };
  const start = world.run(process.fiemap(huge))[0]!.fe_physical;
  const into = new Uint8Array(MIB);
  const copying = (pieceBytes: number): Contender => ({
    name: `Uint8Array.set, ${pieceBytes / 1024} KiB at a time`,
    round: (timed) => timed(() => {
      for (let at = 0; at < mib * MIB; at += pieceBytes) into.set(world.image.subarray(start + at, start + at + pieceBytes));
    }),
  });
  const loading = (name: string, address: number, pieceBytes: number): Contender => {
    const piece = into.subarray(0, pieceBytes);
    return {
      name: `process.loadInto, ${name}, ${pieceBytes / 1024} KiB at a time`,
      round: (timed) => timed(() => {
        for (let at = 0; at < mib * MIB; at += pieceBytes) world.run(process.loadInto(address + at, piece));
      }),
    };
  };
  const [hugeAddress, smallAddress] = [addressOf(huge, false), addressOf(small, true)];
  return {
    title: `${mib} MiB through a mapping`, amount: mib, unit: "MiB", rounds: rounds + 2,
    contenders: [
      copying(MIB), copying(MIB / 16),
      loading("pages of 2 MiB", hugeAddress, MIB), loading("pages of 2 MiB", hugeAddress, MIB / 16),
      loading("pages of 4 KiB", smallAddress, MIB), loading("pages of 4 KiB", smallAddress, MIB / 16),
      { name: "a view, each page looked at, 0 bytes copied", round: (timed) => {
        const inode = world.run(world.fs.iget(world.run(process.fstat(huge)).stx_ino));
        const seen = timed(() => {
          const held = world.run(inode.holdPages(0, mib * MIB, false));
          let sum = 0;
          for (const { addressBytes, lengthBytes } of held.runs) {
            const bytes = held.device.data.subarray(addressBytes, addressBytes! + lengthBytes);
            for (let at = 0; at < bytes.length; at += PAGE) sum += bytes[at]!;
          }
          held.release();
          return sum;
        });
        if (seen !== mib * (MIB / PAGE)) throw new Error("the view shows something else");
      } },
    ],
  };
}

/** One image, mounted twice for reading. */
function readComparison(C: Engine, mib: number, rounds: number): Comparison {
  const made = new C.MappingWorld({ device: "pmem", size: `${mib + Math.ceil(mib / 10) + 64}M`, mke2fs: MKE2FS, mount: { dax: "always" } });
  makeFile(C, made, "/file", mib);
  made.unmount();
  const into = new Uint8Array(MIB);
  const reading = (name: string, dax: "always" | "never"): Contender => {
    const device = dax === "always" ? new C.PmemDevice(made.image) : new C.MemoryDevice(made.image);
    const world = new C.MappingWorld({ device, mount: { dax, readOnly: true } });
    const fd = world.run(world.process.open("/file", C.O_RDONLY));
    return {
      name,
      round: (timed) => timed(() => {
        for (let at = 0; at < mib * MIB; at += MIB) if (world.run(world.process.pread(fd, into, at)) !== MIB) throw new Error("the file is shorter");
      }),
    };
  };
  return {
    title: `reading a file of ${mib} MiB, 1 MiB at a time`, amount: mib, unit: "MiB", rounds: rounds + 2,
    contenders: [reading("pread, device in memory, no DAX", "never"), reading("pread, DAX", "always")],
  };
}

export async function faults({ fileMib, rounds }: Scale): Promise<Comparison[]> {
  const engine = await loadEngine();
  const mib = Math.min(256, fileMib);
  return [faultComparison(engine, mib, rounds), loadComparison(engine, mib, rounds), readComparison(engine, fileMib, rounds)];
}
