/**
 * The Nth request fails, for every N, once and then for good. What is called ends in an error that a program may meet, never in an assertion; what was not finished is not half there: after
 * recovery e2fsck finds nothing.
 */
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Ext4, FsError } from "../../src/platform/node/index.js";
import { CrashDisk, PagedImage } from "../support/crash-disk.js";
import { attempt, readImage, run, temporaryFolder, writeImage } from "../support/host.js";

const folder = temporaryFolder();
let runs = 0;

function emptyImage(): PagedImage {
  const image = join(folder, "empty.img");
  run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "1024", "-J", "size=1", "-N", "256", "-O", "^resize_inode,orphan_file", image, "6M"]);
  return new PagedImage(readImage(image));
}

/** Some of everything; the volume's cache is small, so that it reads as well. */
function work(disk: CrashDisk): void {
  const volume = Ext4.openSync(disk, { readOnly: false, bufferCacheBytes: 16 * 1024, pageCacheBytes: 32 * 1024, clock: { now: () => ({ sec: 1_700_000_000, nsec: 0 }) } });
  try {
    for (let directory = 0; directory < 2; directory++) {
      volume.mkdirSync(`/d${directory}`);
      for (let file = 0; file < 12; file++) volume.writeFileSync(`/d${directory}/file-with-a-name-${file}`, Buffer.alloc(file * 700, file));
    }
    volume.syncSync();
    volume.renameSync("/d0/file-with-a-name-3", "/d1/moved");
    volume.unlinkSync("/d0/file-with-a-name-4");
    volume.truncateSync("/d0/file-with-a-name-9", 100);
    volume.setxattrSync("/d1/moved", "user.x", Buffer.alloc(600, 1));
    volume.symlinkSync("t".repeat(100), "/link");
    volume.rmSync("/d1", { recursive: true });
    volume.writeFileSync("/big", Buffer.alloc(200_000, 3), { flush: true });
  } finally {
    volume.closeSync();
  }
}

const image = emptyImage();
const whole = new CrashDisk(image);
work(whole);
/** Each run takes some milliseconds, e2fsck more: so not every N by default. */
const STEP = Number(process.env["EXT4_STEP"] ?? Math.max(1, Math.ceil(whole.requestCount / 60)));

test.each([["once", false], ["for good", true]] as const)("requests that fail %s", { timeout: 1_800_000 }, (_name, forGood) => {
  for (let failAt = 0; failAt < whole.requestCount; failAt += STEP) {
    const disk = new CrashDisk(image);
    disk.failAt = failAt;
    disk.failsForGood = forGood;
    try {
      work(disk);
    } catch (error) {
      expect(error, `request ${failAt}`).toBeInstanceOf(FsError);
      expect(["EIO", "EROFS"], `request ${failAt}: ${(error as FsError).message}`).toContain((error as FsError).code);
    }
    const left = join(folder, "left.img");
    writeImage(left, disk.image.bytes);
    attempt("e2fsck", ["-fp", left]);
    const { status, stdout } = attempt("e2fsck", ["-fn", left]);
    expect(status, `request ${failAt}: ${stdout}`).toBe(0);
    const recovered = Ext4.openSync(new CrashDisk(disk.image), { readOnly: false });
    recovered.readdirSync("/", { recursive: true });
    recovered.closeSync();
    runs++;
  }
});

afterAll(() => {
  process.stdout.write(`failed requests: ${runs} runs, one of ${whole.requestCount} requests in each\n`);
});
