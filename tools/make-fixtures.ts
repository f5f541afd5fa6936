/**
 * Makes test/fixtures/: small images that need root and a particular kernel to make, with what Linux says is in them, so that any host can read them. Run as root on Linux:
 * npx tsx tools/make-fixtures.ts [name...]. Contents come from fixed seeds; inode numbers, times and generations are the kernel's of that day.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { attempt, run, temporaryFolder, withMount } from "../test/support/host.js";
import { linuxTree, type Tree } from "../test/support/tree.js";

const PRELUDE = `
import os, sys, struct
root = sys.argv[1] + "/"
def put(name, data=b"x"): open(root + name, "wb").write(data)
def sync(name):
    fd = os.open(root + name, os.O_RDONLY); os.fsync(fd); os.close(fd)
`;

/** One of everything, small: an htree of two levels needs many names, a deep extent tree many holes. */
const CONTENT = `
os.mkdir(root + "dir")
for i in range(200): put(f"dir/a-name-of-some-length-{i:04}", b"")
for i in range(0, 200, 2): os.unlink(root + f"dir/a-name-of-some-length-{i:04}")
put("small", b"small file"); put("medium", bytes(range(256)) * 40)
with open(root + "extents", "wb", buffering=0) as f:
    for i in range(120): os.pwrite(f.fileno(), b"block", i * 2048)
with open(root + "sparse", "wb", buffering=0) as f: os.pwrite(f.fileno(), b"end", 70_000_000)
os.symlink("short", root + "fast"); os.symlink("long/" * 40, root + "slow")
os.mkfifo(root + "fifo"); os.mknod(root + "device", 0o020600, os.makedev(4, 70))
put("attributes"); os.setxattr(root + "attributes", "user.small", b"value")
for i in range(4): os.setxattr(root + "attributes", f"user.block{i}", bytes([65 + i]) * 150)
os.link(root + "small", root + "linked")
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in [(1, 6, 0xffffffff), (2, 7, 1000), (4, 4, 0xffffffff), (16, 7, 0xffffffff), (32, 4, 0xffffffff)])
try: os.setxattr(root + "medium", "system.posix_acl_access", acl)
except OSError: pass
try: os.setxattr(root + "medium", "user.in-inode", b"q" * 3000)
except OSError: pass
os.mkdir(root + "dir/deep"); os.mkdir(root + "dir/deep/deeper"); put("dir/deep/deeper/bottom", b"b" * 5000)
`;

/** What is left out above: an index of two levels in a hash tree (hard links cost no inodes), an extent tree of depth 2, inodes of 128 bytes. */
const DEEP = `
os.makedirs(root + "dir/deep/deeper"); put("dir/deep/deeper/bottom", b"b" * 5000)
os.mkdir(root + "wide"); put("small", b"small file")
for i in range(300): os.link(root + "small", root + f"wide/{i:03}" + "-a-name" * 36)
with open(root + "extents", "wb", buffering=0) as f:
    for i in range(400): os.pwrite(f.fileno(), b"block", i * 2048)
os.symlink("long/" * 40, root + "slow")
put("attributes"); os.setxattr(root + "attributes", "user.block", b"value" * 30)
`;

interface Recipe {
  readonly name: string;
  readonly mke2fs: readonly string[];
  readonly sizeKib: number;
  readonly options?: string;
  readonly script: string;
  /** Copied while it is mounted, after this. */
  readonly then?: string;
}

const RECIPES: readonly Recipe[] = [
  { name: "checksums", mke2fs: ["-t", "ext4", "-b", "1024", "-O", "^resize_inode,ea_inode,orphan_file,metadata_csum_seed", "-J", "size=1", "-N", "300"], sizeKib: 2560, script: CONTENT },
  { name: "inline", mke2fs: ["-t", "ext4", "-b", "1024", "-O", "^has_journal,^resize_inode,inline_data", "-N", "300"], sizeKib: 1024, script: CONTENT },
  { name: "plain", mke2fs: ["-t", "ext2", "-b", "1024", "-O", "^resize_inode", "-N", "300"], sizeKib: 1024, script: CONTENT },
  { name: "extents-unchecked", mke2fs: ["-t", "ext4", "-b", "1024", "-O", "^has_journal,^resize_inode,^metadata_csum,^uninit_bg", "-N", "300"], sizeKib: 1024, script: CONTENT },
  {
    name: "journal", mke2fs: ["-t", "ext4", "-b", "1024", "-J", "size=1", "-O", "^resize_inode", "-N", "300"], sizeKib: 3072, script: CONTENT,
    then: `
for i in range(40): put(f"new-{i}", b"n" * i * 30)
os.mkdir(root + "emptied"); put("emptied/x"); os.sync()
os.unlink(root + "emptied/x"); os.rmdir(root + "emptied"); os.unlink(root + "medium"); os.rename(root + "new-3", root + "dir/moved"); put("last", b"synced"); sync("last")`,
  },
  {
    name: "journal-unchecked", mke2fs: ["-t", "ext3", "-b", "1024", "-J", "size=1", "-O", "^resize_inode", "-N", "300"], sizeKib: 3072, script: CONTENT, options: "data=journal",
    then: `put("escaped", struct.pack(">I", 0xc03b3998) * 1000); sync("escaped"); os.unlink(root + "extents"); put("last", b"synced"); sync("last")`,
  },
  {
    name: "fast-commit", mke2fs: ["-t", "ext4", "-b", "1024", "-J", "size=1", "-O", "^resize_inode,fast_commit", "-N", "300"], sizeKib: 4096, script: CONTENT,
    // The first fsync of a mount is a full commit; those after it are fast.
    then: `put("first"); sync("first"); put("made", b"m" * 3000); sync("made"); os.rename(root + "small", root + "renamed"); os.link(root + "made", root + "dir/made-too")
os.unlink(root + "dir/a-name-of-some-length-0001"); os.truncate(root + "medium", 2000); put("new", b"two"); sync("new"); sync("renamed"); sync("medium")`,
  },
  { name: "deep", mke2fs: ["-t", "ext4", "-b", "1024", "-I", "128", "-O", "^has_journal,^resize_inode,mmp", "-N", "64"], sizeKib: 2048, script: DEEP },
];

/** Of the filesystem, and the seed of its directories' hashes: which names share a block depends on it. */
const UUID = "00112233-4455-6677-8899-aabbccddeeff";

const folder = "test/fixtures";
mkdirSync(folder, { recursive: true });
const asJson = (tree: Tree): string => JSON.stringify(Object.fromEntries(tree), (_key, value: unknown) => (typeof value === "bigint" ? String(value) : value), 1);

const wanted = process.argv.slice(2);
for (const recipe of RECIPES) {
  if (wanted.length > 0 && !wanted.includes(recipe.name)) continue;
  const image = join(temporaryFolder(), `${recipe.name}.img`);
  run("mke2fs", ["-q", "-F", "-U", UUID, "-E", `hash_seed=${UUID}`, ...recipe.mke2fs, image, `${recipe.sizeKib}k`]);
  const fill = (script: string) => (mountPoint: string): void => { run("python3", ["-c", PRELUDE + script, mountPoint]); };
  withMount(image, `noatime,${recipe.options ?? "rw"}`, fill(recipe.script));
  if (recipe.then !== undefined) {
    withMount(image, `noatime,${recipe.options ?? "rw"}`, (mountPoint) => {
      fill(recipe.then!)(mountPoint);
      run("cp", [image, `${image}.dirty`]);
    });
    run("mv", [`${image}.dirty`, image]);
  }
  writeFileSync(join(folder, `${recipe.name}.img.gz`), gzipSync(readFileSync(image), { level: 9 }));
  run("cp", [image, `${image}.linux`]);
  const tree = withMount(`${image}.linux`, "noatime", linuxTree)!;
  writeFileSync(join(folder, `${recipe.name}.json.gz`), gzipSync(asJson(tree), { level: 9 }));
  process.stdout.write(`${recipe.name}: ${tree.size} paths, e2fsck ${attempt("e2fsck", ["-fn", image]).status}\n`);
}
