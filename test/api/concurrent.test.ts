/** Promise calls side by side on a few names, on a device that answers in any order: each ends as some order of them allows, what one has found nobody deletes under its hands, and e2fsck finds nothing. */
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Bio } from "../../src/block/device.js";
import { LeafDevice } from "../../src/block/leaf.js";
import { Prng } from "../../src/lib/prng.js";
import { Ext4, type FsError, type Task, type Volume } from "../../src/platform/node/index.js";
import { attempt, readImage, run, temporaryFolder, writeImage } from "../support/host.js";

/** Answers after a while, by chance. */
class SlowDevice extends LeafDevice {
  readonly name = "slow disk";
  readonly readOnly = false;
  readonly sizeBytes: number;

  constructor(private readonly bytes: Uint8Array, private readonly prng: Prng) {
    super();
    this.sizeBytes = bytes.length;
  }

  protected transferSync(bio: Bio): void {
    if (bio.op === "read") bio.data.set(this.bytes.subarray(bio.offsetBytes, bio.offsetBytes + bio.data.length));
    else if (bio.op === "write") this.bytes.set(bio.data, bio.offsetBytes);
  }

  protected async transferAsync(bio: Bio): Promise<void> {
    for (let turns = this.prng.below(4); turns > 0; turns--) await new Promise(setImmediate);
    this.transferSync(bio);
  }

  *close(): Task<void> {}
}

const CODES = new Set(["ENOENT", "EEXIST", "ENOTDIR", "EISDIR", "ENOTEMPTY", "EPERM", "EINVAL", "ENODATA", "ELOOP", "ERR_FS_EISDIR"]);
const ROUNDS = Number(process.env["EXT4_ROUNDS"] ?? 150);
const CALLS = 16;

/** One call by chance, on few names. */
function someCall({ promises }: Volume, prng: Prng): Promise<unknown> {
  const name = (): string => `${prng.pick(["", "/d", "/e"])}/${prng.pick(["a", "b", "c"])}`;
  const path = name();
  switch (prng.below(18)) {
    case 16: case 17: return promises.sync();
    case 0: case 1: return promises.writeFile(path, Buffer.alloc(prng.below(6000), 1));
    case 2: return promises.appendFile(path, Buffer.alloc(prng.below(3000), 2));
    case 3: case 4: return promises.unlink(path);
    case 5: return promises.rename(path, name());
    case 6: return promises.link(path, name());
    case 7: return promises.chmod(path, 0o600 + prng.below(0o100));
    case 8: return promises.chown(path, prng.below(5), prng.below(5));
    case 9: return promises.utimes(path, prng.below(1000), prng.below(1000));
    case 10: return promises.setxattr(path, "user.x", Buffer.alloc(prng.below(300), 3));
    case 11: return promises.truncate(path, prng.below(5000));
    case 12: return promises.readFile(path);
    case 13: return promises.mkdir(prng.pick(["/d", "/e", path]));
    case 14: return promises.rm(prng.pick(["/d", "/e", path]), { recursive: true, force: true });
    default: return promises.symlink("/d/a", path);
  }
}

test.each(Array.from({ length: Number(process.env["EXT4_SEEDS"] ?? 4) }, (_, index) => index + 1))("seed %i", async (seed) => {
  const prng = new Prng(seed);
  const image = join(temporaryFolder(), "disk.img");
  run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "1024", "-N", "64", image, "8M"]);
  const bytes = readImage(image);
  // With little memory for blocks, so that calls wait for the device.
  const volume = await Ext4.open(new SlowDevice(bytes, prng), { readOnly: false, bufferCacheBytes: 1024 });
  for (let round = 0; round < ROUNDS; round++) {
    const results = await Promise.allSettled(Array.from({ length: CALLS }, () => someCall(volume, prng)));
    for (const result of results) {
      if (result.status === "fulfilled") continue;
      const { code } = result.reason as FsError;
      if (!CODES.has(code)) throw result.reason;
    }
  }
  await volume.close();
  writeImage(image, bytes);
  const { status, stdout } = attempt("e2fsck", ["-fn", image]);
  expect(status, stdout).toBe(0);
});
