/** Inodes come and go on the orphan list and in the orphan file, in random order; after each commit the disk names exactly those that a plain set has. */
import { describe, expect, test } from "vitest";
import { listOrphans, orphanAdd, orphanDel, rememberOrphans } from "../../src/ext4/orphan.js";
import { AllocationWorld, makeImage } from "../support/allocation-world.js";
import { attempt, run } from "../support/host.js";
import { Prng } from "../../src/lib/prng.js";

/** An image with so many files. Returns their inodes. */
function imageWithFiles(args: readonly string[], count: number): { image: string; inodes: number[] } {
  const image = makeImage(args, "20M");
  const commands = Array.from({ length: count }, (_, index) => `write /dev/null f${index}`);
  run("debugfs", ["-w", "-f", "-", image], { input: commands.join("\n") });
  const listed = run("debugfs", ["-R", "ls -p /", image]);
  const inodes = [...listed.matchAll(/^\/(\d+)\/\d+\/\d+\/\d+\/f\d+\//gm)].map(([, ino]) => Number(ino));
  expect(inodes).toHaveLength(count);
  return { image, inodes };
}

function onDisk(world: AllocationWorld): number[] {
  const again = world.remount();
  return again.run(listOrphans(again.fs));
}

const ascending = (numbers: Iterable<number>): number[] => [...numbers].sort((a, b) => a - b);

const KINDS: Record<string, readonly [args: readonly string[], files: number]> = {
  "the list": [["-b", "1024"], 30],
  "the list, without checksums": [["-t", "ext3", "-b", "1024"], 30],
  "the file": [["-b", "1024", "-O", "orphan_file"], 30],
  "the file without checksums": [["-b", "1024", "-O", "orphan_file,^metadata_csum"], 30],
  "a file that overflows": [["-b", "1024", "-O", "orphan_file", "-E", "orphan_file_size=2048", "-N", "2000"], 700],
};

describe("orphans", () => {
  for (const [kind, [args, files]] of Object.entries(KINDS)) {
    test(kind, () => {
      const { image, inodes } = imageWithFiles(args, files);
      let world = new AllocationWorld([], "", image);
      const prng = new Prng(files);
      const orphans = new Set<number>();
      for (let round = 0; round < 6; round++) {
        for (let step = 0; step < files; step++) {
          const ino = prng.pick(inodes);
          // More come than go at first, later it is the other way round.
          const comes = prng.below(6) >= round;
          const inode = world.run(world.fs.igetSpecial(ino));
          world.change((handle) => (comes ? orphanAdd(handle, inode) : orphanDel(handle, inode)));
          if (comes) orphans.add(ino);
          else orphans.delete(ino);
        }
        expect(ascending(onDisk(world))).toEqual(ascending(orphans));
        // The next mount goes on with what it finds.
        world = world.remount();
        world.run(rememberOrphans(world.fs));
      }
      for (const ino of ascending(orphans)) {
        const inode = world.run(world.fs.igetSpecial(ino));
        world.change((handle) => orphanDel(handle, inode));
      }
      expect(onDisk(world)).toEqual([]);
      const { status, stdout } = attempt("e2fsck", ["-fn", image]);
      expect(status, stdout).toBe(0);
    });
  }

  test("the list's head is the one that came last, as e2fsprogs sees it", () => {
    const { image, inodes } = imageWithFiles(["-b", "1024"], 5);
    const world = new AllocationWorld([], "", image);
    for (const ino of inodes.slice(0, 3)) {
      const inode = world.run(world.fs.igetSpecial(ino));
      world.change((handle) => orphanAdd(handle, inode));
    }
    expect(onDisk(world)).toEqual(inodes.slice(0, 3).reverse());
    expect(run("dumpe2fs", ["-h", image])).toMatch(new RegExp(`First orphan inode: +${inodes[2]}\\n`));
  });
});
