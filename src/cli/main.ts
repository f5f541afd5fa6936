/**
 * The command line. Every verb is a task over a mounted volume; a local image is driven synchronously, one on the web asynchronously.
 * Exit codes: 0 all went well, 1 something could not be read or written, or the lab found a failure, 2 wrong usage or an image that cannot be opened.
 */
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { createRequire } from "node:module";
import { FsError } from "../lib/errno.js";
import { openDevice, runAsync, Scheduler, type Task, type Volume } from "../platform/node/index.js";
import type { Ext4Inode } from "../ext4/inode.js";
import { UsageError, type GlobalOptions } from "./operand.js";
import type { Output } from "./output.js";
import { withDashes } from "./dashes.js";
import { registerLab } from "./lab/commands.js";
import { finish, ofImage, report, Session } from "./session.js";
import { cat } from "./verbs/cat.js";
import { df, type DfOptions } from "./verbs/df.js";
import { du, type DuOptions } from "./verbs/du.js";
import * as dump from "./verbs/dump.js";
import { find, type FindOptions } from "./verbs/find.js";
import { getfattr, type GetfattrOptions } from "./verbs/getfattr.js";
import { info, type InfoOptions } from "./verbs/info.js";
import { ls, type LsOptions } from "./verbs/ls.js";
import { lsattr, type LsattrOptions } from "./verbs/lsattr.js";
import { mkfs } from "./verbs/mkfs.js";
import { addMkfsOptions, type RawMkfsOptions } from "./verbs/mkfs-options.js";
import { nvdimm, NVDIMM_ACTIONS, type NvdimmOptions } from "./verbs/nvdimm.js";
import { partitions } from "./verbs/partitions.js";
import { stat } from "./verbs/stat.js";
import { tree, type TreeOptions } from "./verbs/tree.js";
import { registerWriteVerbs } from "./write-verbs.js";

const EXIT_USAGE = 2;

const { version } = createRequire(import.meta.url)("../package.json") as { version: string };

const program = new Command("ext4")
  .description("Reads and writes ext2, ext3 and ext4 disk images, without root and without a kernel.\n\n" +
    "Operands are an image and a path in it: disk.img:/path, or disk.img#2:/path in the second partition of a disk. An image alone means its root.")
  .version(version, "-V, --version")
  .helpOption("--help", "show this help")
  .option("--json", "one JSON object per line instead of text")
  .option("-q, --quiet", "no progress on the terminal")
  .option("--no-checksum", "read on where a checksum is wrong")
  .option("--noload", "leave a dirty journal alone: the state at some moment before the crash")
  .option("--journal <device>", "the device of an external journal")
  .configureHelp({ showGlobalOptions: true })
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "ext4: ")) })
  .addHelpText("after", `
Examples:
  ext4 ls -la disk.img:/etc             ext4 cp -a disk.img:/ out/
  ext4 cat disk.img:/etc/fstab          ext4 info disk.img
  ext4 find disk.img:/ -name '*.conf'   ext4 dump extents disk.img:/big
  ext4 cp -a dir disk.img:/to           ext4 rm -r disk.img:/tmp/old

Exit codes: 0 all went well; 1 something could not be read or written, or the lab found a failure; 2 wrong usage, or an image that cannot be opened.`)
  .exitOverride();

const session = new Session(() => program.opts<GlobalOptions>());

function count(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("a number is expected");
  return Number(text);
}

/** A verb with the project's manners: its own --help, examples below it. */
function verb(name: string, description: string, examples: string): Command {
  return program.command(name).description(description).helpOption("--help", "show this help").addHelpText("after", `\nExamples:\n${examples}`).exitOverride();
}

verb("ls", "list directories", "  ext4 ls disk.img\n  ext4 ls -laR disk.img:/home\n  ext4 --json ls disk.img:/etc")
  .argument("<image[:/path]...>")
  .option("-l, --long", "mode, links, owner, group, size, time (UTC), name").option("-a, --all", "names that begin with a dot, too, with . and ..")
  .option("-A, --almost-all", "as -a, without . and ..").option("-R, --recursive", "directories below, too").option("-i, --inode", "inode numbers")
  .option("-h, --human-readable", "sizes like 1.5K").option("-d, --directory", "directories themselves, not what is in them")
  .option("-t, --time", "newest first").option("-S, --size", "largest first").option("-r, --reverse", "the other way round").option("-1", "one name a line (always so)")
  .action(async (operands: string[], options: LsOptions) => {
    await session.forEachOperand("ls", operands, options.long !== true && options.directory !== true, (_volume, dentry, out, operand) =>
      ls(dentry, operands.length > 1 ? operand : undefined, options, out));
  });

verb("cat", "write files to standard output", "  ext4 cat disk.img:/etc/fstab\n  ext4 cat disk.img:/var/log/a disk.img:/var/log/b > both")
  .argument("<image:/path...>")
  .action(async (operands: string[]) => {
    await session.forEachOperand("cat", operands, true, (_volume, dentry, out) => cat(dentry.d_inode, (bytes) => out.bytes(bytes)));
  });

verb("stat", "show what an inode says of a file (links are not followed)", "  ext4 stat disk.img:/etc/passwd")
  .argument("<image[:/path]...>")
  .action(async (operands: string[]) => {
    await session.forEachOperand("stat", operands, false, (_volume, dentry, out) => stat(dentry, out));
  });

verb("tree", "draw a directory and all below it", "  ext4 tree disk.img\n  ext4 tree -L 2 -d disk.img:/usr")
  .argument("<image[:/path]...>")
  .option("-a, --all", "names that begin with a dot, too").option("-d, --directories", "directories only").option("-L, --level <n>", "so deep at most", count)
  .action(async (operands: string[], options: TreeOptions) => {
    await session.forEachOperand("tree", operands, true, (_volume, dentry, out) => tree(dentry, options, out));
  });

verb("find", "find paths (conditions as find's, with one dash or two; all must hold)", "  ext4 find disk.img:/ -name '*.conf' -type f\n  ext4 find disk.img -size +10M")
  .argument("<image[:/path]...>")
  .option("--name <glob>", "the name matches").option("--iname <glob>", "the name matches, whatever the case").option("--path <glob>", "the path matches")
  .option("--type <letters>", "f, d, l, b, c, p or s; several with commas").option("--size <n>", "[+-]N and c, w, b (512 bytes, the default), k, M or G")
  .option("--links <n>", "[+-]N links").option("--inum <n>", "inode number").option("--uid <n>", "owner").option("--gid <n>", "group")
  .option("--maxdepth <n>", "so deep at most", count).option("--mindepth <n>", "so deep at least", count).option("--print0", "end paths with a NUL byte, unquoted")
  .action(async (operands: string[], options: FindOptions) => {
    await session.forEachOperand("find", operands, false, (_volume, dentry, out) => find(dentry, options, out));
  });

verb("du", "show what directories take on the disk, in KiB", "  ext4 du -sh disk.img:/var\n  ext4 du -a disk.img:/etc")
  .argument("<image[:/path]...>")
  .option("-s, --summarize", "one total per operand").option("-a, --all", "files, too").option("-h, --human-readable", "sizes like 1.5K").option("--apparent-size", "sizes, not blocks")
  .action(async (operands: string[], options: DuOptions) => {
    await session.forEachOperand("du", operands, false, (_volume, dentry, out) => du(dentry, options, out));
  });

verb("df", "show how full filesystems are", "  ext4 df -h disk.img\n  ext4 df -i disk.img#2")
  .argument("<image...>")
  .option("-h, --human-readable", "sizes like 1.5K").option("-i, --inodes", "inodes, not blocks")
  .action(async (operands: string[], options: DfOptions) => {
    await session.forEachOperand("df", operands, true, (volume, _dentry, out, operand) => df(volume.fs, operand, options, out));
  });

verb("info", "show the filesystem's vital statistics, as dumpe2fs does", "  ext4 info --header disk.img\n  ext4 --json info disk.img")
  .argument("<image...>")
  .option("--header", "the superblock only, not the groups")
  .action(async (operands: string[], options: InfoOptions) => {
    await session.forEachOperand("info", operands, true, (volume, _dentry, out) => info(volume.fs, options, out));
  });

const DUMPS: Record<string, (volume: Volume, inode: Ext4Inode, argument: string | undefined, out: Output) => Task<void>> = {
  *superblock(volume, _inode, _argument, out) { dump.dumpSuperblock(volume.fs, out); },
  inode: (volume, inode, _argument, out) => dump.dumpInode(volume.fs, inode, out),
  extents: (volume, inode, _argument, out) => dump.dumpExtents(volume.fs, inode, out),
  htree: (volume, inode, _argument, out) => dump.dumpHtree(volume.fs, inode, out),
  group: (volume, _inode, argument, out) => dump.dumpGroup(volume.fs, Number(argument ?? 0), out),
  journal: (volume, _inode, _argument, out) => dump.dumpJournal(volume.fs, out),
  orphans: (volume, _inode, _argument, out) => dump.dumpOrphans(volume.fs, out),
  block: (volume, _inode, argument, out) => dump.dumpBlock(volume.fs, Number(argument ?? NaN), out),
};

verb("dump", "show structures of the disk, as tables", `  ext4 dump inode disk.img:/etc/passwd     ext4 dump journal disk.img
  ext4 dump inode disk.img '<8>'           ext4 dump group disk.img 3
  ext4 dump extents disk.img:/big          ext4 dump block disk.img 1057
  ext4 dump htree disk.img:/usr/lib        ext4 dump superblock disk.img`)
  .argument("<what>", Object.keys(DUMPS).join(", ")).argument("<image[:/path]>").argument("[number]", "a group, a block, or an inode in angle brackets")
  .action(async (what: string, text: string, argument: string | undefined) => {
    const show = DUMPS[what];
    if (show === undefined) throw new UsageError(`'${what}' is not one of ${Object.keys(DUMPS).join(", ")}`);
    const ino = /^<(\d+)>$/.exec(argument ?? "")?.[1];
    await session.forEachOperand("dump", [text], false, function* (volume, dentry, out) {
      const inode = ino === undefined ? dentry.d_inode as Ext4Inode : yield* volume.fs.igetSpecial(Number(ino));
      yield* show(volume, inode, argument, out);
    });
  });

verb("getfattr", "show extended attributes", "  ext4 getfattr -d disk.img:/file\n  ext4 getfattr -d -m - -e hex disk.img:/file")
  .argument("<image[:/path]...>")
  .option("-d, --dump", "values, too").option("-n, --name <name>", "this attribute").option("-m, --match <pattern>", "names that match; - for all (default ^user\\.)")
  .option("-e, --encoding <how>", "text, hex or base64").option("-R, --recursive", "directories below, too").option("-h, --no-dereference", "links themselves (always so)")
  .action(async (operands: string[], options: GetfattrOptions) => {
    await session.forEachOperand("getfattr", operands, false, (_volume, dentry, out) => getfattr(dentry, options, out));
  });

verb("lsattr", "show the flags that chattr sets", "  ext4 lsattr disk.img:/home\n  ext4 lsattr -Ra disk.img")
  .argument("<image[:/path]...>")
  .option("-R, --recursive", "directories below, too").option("-a, --all", "names that begin with a dot, too").option("-d, --directory", "directories themselves")
  .option("-p, --project", "project numbers, too")
  .action(async (operands: string[], options: LsattrOptions) => {
    await session.forEachOperand("lsattr", operands, false, (_volume, dentry, out) => lsattr(dentry, options, out));
  });

verb("partitions", "list the partitions of a disk image", "  ext4 partitions disk.img")
  .argument("<image>")
  .action(async (image: string) => {
    const out = session.output("partitions");
    try {
      await runAsync(partitions(await openDevice(image), out));
    } catch (error) {
      throw ofImage(image, error);
    }
    finish(out);
  });

verb("nvdimm", "show and make namespaces of persistent memory, in files that stand for a region of it", `  ext4 nvdimm list pmem.img
  ext4 nvdimm create --mode fsdax --size 1G --align 2M pmem.img       for filesystems with DAX
  ext4 nvdimm create --mode sector --sector-size 4K --size 64M pmem.img   whole sectors after a power cut
  ext4 nvdimm create --mode devdax --map dev --force pmem.img         a device to be mapped
  ext4 nvdimm nfit /sys/firmware/acpi/tables/NFIT                     what firmware tells of regions
  ext4 nvdimm nfit --make --size 16G --eadr NFIT`)
  .argument("<action>", NVDIMM_ACTIONS.join(", ")).argument("<file>")
  .option("--mode <mode>", "create: raw, fsdax (default), sector or devdax").option("--size <bytes>", "create: of a new file; nfit --make: of the region")
  .option("--sector-size <bytes>", "create, sector: 512, 520, 528, 4096 (default), 4104, 4160 or 4224").option("--align <bytes>", "create, fsdax and devdax: 4K, 2M (default) or 1G")
  .option("--map <where>", "create, fsdax and devdax: the page map is in mem (default) or on dev").option("--uuid <uuid>", "create: default random").option("--force", "overwrite what is there")
  .option("--make", "nfit: write a table for one region").option("--address <address>", "nfit --make: where the region begins (default 4G)").option("--eadr", "nfit --make: caches survive a power cut")
  .action((action: string, file: string, options: NvdimmOptions) => {
    const out = session.output("nvdimm");
    try {
      new Scheduler().runSync(nvdimm(action, file, options, out));
    } catch (error) {
      throw ofImage(file, error);
    }
    finish(out);
  });

registerLab(verb, session);

addMkfsOptions(verb("mkfs", "make a filesystem, as mke2fs does", `  ext4 mkfs disk.img 10G                       a new image
  ext4 mkfs -t ext3 -b 1024 -L data disk.img 64M
  ext4 mkfs -O bigalloc,^resize_inode -F disk.img
  ext4 mkfs -n disk.img 10G                    only say what would be made
  ext4 mkfs -d dir disk.img 1G                 filled with what is in dir
  SOURCE_DATE_EPOCH=0 ext4 mkfs -U clear -E hash_seed=01234567-89ab-cdef-0123-456789abcdef disk.img 1G
                                               the same bytes every time`))
  .argument("<image>", "a file, which is made if it does not exist, a partition in it (disk.img#2), or a block device")
  .argument("[size]", "with s (512 bytes), K, M, G, T or P; without, in blocks of -b, or KiB")
  .action((image: string, size: string | undefined, options: RawMkfsOptions) => {
    const out = session.output("mkfs");
    try {
      new Scheduler().runSync(mkfs(image, size, options, session.globals.quiet === true, out));
    } catch (error) {
      report(out, image, error);
    }
    finish(out);
  });

registerWriteVerbs(verb, session);

try {
  await program.parseAsync(withDashes(process.argv));
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  else if (error instanceof UsageError) {
    process.stderr.write(`ext4: ${error.message}\n`);
    process.exitCode = EXIT_USAGE;
  } else if (error instanceof FsError || (error instanceof Error && "code" in error)) {
    const { image } = error as { image?: string };
    process.stderr.write(`ext4: ${image === undefined ? "" : `${image}: `}${error.message}\n`);
    process.exitCode = EXIT_USAGE;
  } else throw error;
}
