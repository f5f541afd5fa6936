/** The verbs that write: their options, in the words of coreutils, attr and e2fsprogs, and how they are run. */
import { InvalidArgumentError, type Command } from "commander";
import { encode } from "../lib/utf8.js";
import { parseMode } from "./mode.js";
import { lastName, parseOperand, UsageError } from "./operand.js";
import type { Output } from "./output.js";
import { lookup, report, type Session } from "./session.js";
import { parseOwner, parseSize, parseTime, sizeChange } from "./values.js";
import { chattr, flagBits } from "./verbs/chattr.js";
import { chmod } from "./verbs/chmod.js";
import { chown } from "./verbs/chown.js";
import { Copy, type CpOptions } from "./verbs/cp.js";
import { cpIn, isInImage } from "./verbs/cp-in.js";
import { fallocate, fallocateMode, type FallocateOptions } from "./verbs/fallocate.js";
import { ln } from "./verbs/ln.js";
import { mkdir, rmdir } from "./verbs/mkdir.js";
import { mv } from "./verbs/mv.js";
import { rm } from "./verbs/rm.js";
import { parseValue, setfattr } from "./verbs/setfattr.js";
import { sync } from "./verbs/sync.js";
import { touch } from "./verbs/touch.js";
import { truncate } from "./verbs/truncate.js";

export type MakeVerb = (name: string, description: string, examples: string) => Command;

interface Verbose { readonly verbose?: boolean }

const OPERANDS = "<image:/path...>";

export function registerWriteVerbs(verb: MakeVerb, session: Session): void {
  registerCp(verb, session);
  registerNames(verb, session);
  registerAttributes(verb, session);
  registerSpace(verb, session);
}

interface CpFlags extends Verbose { readonly recursive?: boolean; readonly R?: boolean; readonly archive?: boolean }

function registerCp(verb: MakeVerb, session: Session): void {
  verb("cp", "copy out of an image, into one, or between two", `  ext4 cp disk.img:/etc/fstab .           one file
  ext4 cp disk.img:/etc/fstab -           to standard output
  ext4 cp -r disk.img:/home/me backup     a tree, as files of yours
  ext4 cp -a disk.img:/ out/              everything in the root, with owners, modes, times, links,
                                          devices and attributes as far as host and user can
  ext4 cp -a dir disk.img:/to             into the image: dir becomes /to/dir if /to is there, else /to
  ext4 cp -a dir/. disk.img:/to           what is in dir
  tar -c dir | ext4 cp - disk.img:/a.tar  from standard input
  ext4 cp -a a.img:/home b.img:/          between images`)
    .usage("[options] <source...> <destination>")
    .argument("<operands...>", "what to copy, and last where to: a path in an image, a path of the host, or - for standard input or output")
    .option("-r, --recursive", "directories, too").option("-R", "the same").option("-a, --archive", "recursive, and keep everything that can be kept")
    .option("-v, --verbose", "say what was copied")
    .action(async (operands: string[], { recursive, R, archive, verbose }: CpFlags) => {
      const destination = operands.pop()!;
      if (operands.length === 0) throw new UsageError("cp needs something to copy and a destination");
      const isArchive = archive === true;
      const isRecursive = recursive === true || R === true || isArchive;
      await session.writing("cp", verbose, async (out) => {
        if (isInImage(destination)) await cpIn(session, operands, destination, { isRecursive, isArchive }, out);
        else await cpOut(session, operands, destination, { recursive: isRecursive, archive: isArchive }, out);
      });
    });
}

async function cpOut(session: Session, operands: readonly string[], destination: string, options: CpOptions, out: Output): Promise<void> {
  const copy = new Copy(options, out);
  try {
    for (const text of operands) {
      const operand = parseOperand(text);
      if (operand.path === undefined) throw new UsageError(`'${text}' names no path in an image, and neither does the destination`);
      const volume = await session.volumeOf(operand);
      try {
        await session.drive(operand, volume, (function* () {
          const dentry = yield* lookup(volume, operand.path, options.recursive !== true);
          yield* copy.from({ dentry, name: encode(lastName(operand.path!)) }, destination, operands.length > 1);
        })());
      } catch (error) {
        report(out, text, error);
      }
    }
  } finally {
    copy.finish();
  }
}

function registerNames(verb: MakeVerb, session: Session): void {
  verb("mkdir", "make directories", "  ext4 mkdir disk.img:/new\n  ext4 mkdir -p -m 700 disk.img:/a/b/c")
    .argument(OPERANDS).option("-p, --parents", "those above, too; what is there is no failure").option("-m, --mode <mode>", "as chmod's, exactly", asArgument(parseMode))
    .option("-v, --verbose", "say what was made")
    .action((operands: string[], options: Verbose & { parents?: boolean; mode?: ReturnType<typeof parseMode> }) =>
      session.forEachTarget("mkdir", operands, options.verbose, (target, out) => mkdir(target, options, out)));

  verb("rmdir", "remove empty directories", "  ext4 rmdir disk.img:/old")
    .argument(OPERANDS).option("-v, --verbose", "say what was removed")
    .action((operands: string[], { verbose }: Verbose) => session.forEachTarget("rmdir", operands, verbose, rmdir));

  verb("rm", "remove files and trees", "  ext4 rm disk.img:/etc/motd\n  ext4 rm -rf disk.img:/var/cache/apt")
    .argument(OPERANDS).option("-r, --recursive", "directories with all that is in them").option("-R", "the same").option("-f, --force", "what is not there is no failure")
    .option("-v, --verbose", "say what was removed")
    .action((operands: string[], { recursive, R, force, verbose }: Verbose & { recursive?: boolean; R?: boolean; force?: boolean }) =>
      session.forEachTarget("rm", operands, verbose, (target, out) => rm(target, { recursive: recursive === true || R === true, force: force === true }, out)));

  verb("mv", "move or rename, within one image", "  ext4 mv disk.img:/a disk.img:/b\n  ext4 mv disk.img:/a disk.img:/b disk.img:/dir")
    .argument("<image:/path...>", "what to move, and last where to").option("-f, --force", "what is there is replaced (always so)")
    .option("-n, --no-clobber", "what is there stays").option("-T, --no-target-directory", "the last path is the new name, even if it is a directory").option("-v, --verbose", "say what was moved")
    .action((operands: string[], { clobber, targetDirectory, verbose }: Verbose & { clobber?: boolean; targetDirectory?: boolean }) =>
      session.writing("mv", verbose, (out) => mv(session, operands, { clobber: clobber !== false, noTargetDirectory: targetDirectory === false }, out)));

  verb("ln", "make links", "  ext4 ln disk.img:/a disk.img:/b           one file, two names\n  ext4 ln -s ../lib/x disk.img:/usr/bin/x   a symbolic link with this text")
    .usage("[options] <target...> <image:/path>").argument("<operands...>", "what to link to (with -s: any text), and last where the link is to be")
    .option("-s, --symbolic", "symbolic links").option("-f, --force", "in place of what is there").option("-n, --no-dereference", "a destination that is a link is taken as it is")
    .option("-v, --verbose", "say what was made")
    .action((operands: string[], options: Verbose & { symbolic?: boolean; force?: boolean; dereference?: boolean }) =>
      session.writing("ln", options.verbose, (out) => ln(session, operands, options, out)));
}

interface TouchFlags extends Verbose { readonly date?: bigint; readonly create?: boolean; readonly a?: boolean; readonly m?: boolean; readonly dereference?: boolean }

function registerAttributes(verb: MakeVerb, session: Session): void {
  verb("touch", "set times, and make files that are not there", "  ext4 touch disk.img:/stamp\n  ext4 touch -c -m -d 2024-02-29T12:00:00.5Z disk.img:/etc/fstab")
    .argument(OPERANDS).option("-d, --date <time>", "this time (UTC) and not now; @SECONDS, too", asArgument((text) => parseTime(text, "-d")))
    .option("-c, --no-create", "make nothing").option("-a", "the access time only").option("-m", "the modification time only")
    .option("-h, --no-dereference", "links themselves").option("-v, --verbose", "say what was done")
    .action((operands: string[], { date, create, a, m, dereference, verbose }: TouchFlags) => session.forEachTarget("touch", operands, verbose, (target, out) =>
      touch(target, { timeNs: date, noCreate: create === false, accessOnly: a === true, modifyOnly: m === true, dereference: dereference !== false }, out)));

  verb("chmod", "set permissions", "  ext4 chmod 644 disk.img:/etc/passwd\n  ext4 chmod -R u=rwX,go-w disk.img:/srv\n  ext4 chmod -x disk.img:/script")
    .usage("[options] <mode> <image:/path...>").argument("<operands...>", "the mode, octal or in letters, and the paths")
    .option("-R, --recursive", "everything below, too").option("--mode <mode>", "the mode").option("-v, --verbose", "say what was changed")
    .action((operands: string[], { recursive, mode, verbose }: Verbose & { recursive?: boolean; mode?: string }) => {
      const parsed = parseMode(mode ?? operands.shift()!);
      return session.forEachTarget("chmod", checked(operands), verbose, (target, out) => chmod(target, parsed, recursive === true, out));
    });

  verb("chown", "set owners and groups, in numbers", "  ext4 chown 1000:1000 disk.img:/home/me\n  ext4 chown -R :100 disk.img:/srv")
    .usage("[options] <owner[:group]> <image:/path...>").argument("<operands...>", "the owner, the group or both, and the paths")
    .option("-R, --recursive", "everything below, too").option("-h, --no-dereference", "links themselves").option("-v, --verbose", "say what was changed")
    .action((operands: string[], { recursive, dereference, verbose }: Verbose & { recursive?: boolean; dereference?: boolean }) => {
      const owner = parseOwner(operands.shift()!);
      return session.forEachTarget("chown", checked(operands), verbose, (target, out) => chown(target, owner, { recursive: recursive === true, dereference: dereference !== false }, out));
    });

  registerChattr(verb, session);

  verb("setfattr", "set or remove an extended attribute", "  ext4 setfattr -n user.mime_type -v text/plain disk.img:/a\n  ext4 setfattr -n user.raw -v 0x00ff disk.img:/a\n  ext4 setfattr -x user.raw disk.img:/a")
    .argument(OPERANDS).option("-n, --name <name>", "the attribute to set, in full").option("-v, --value <value>", "text, 0x and hexadecimal, or 0s and base64", asArgument(parseValue))
    .option("-x, --remove <name>", "the attribute to remove").option("-h, --no-dereference", "of links themselves").option("--verbose", "say what was changed")
    .action((operands: string[], { name, value, remove, dereference, verbose }: Verbose & { name?: string; value?: Uint8Array; remove?: string; dereference?: boolean }) => {
      if ((name === undefined) === (remove === undefined)) throw new UsageError("setfattr needs either -n or -x");
      const change = { name: name ?? remove!, value: name === undefined ? undefined : value ?? new Uint8Array(0), followSymlinks: dereference !== false };
      return session.forEachTarget("setfattr", operands, verbose, (target, out) => setfattr(target, change, out));
    });
}

function registerChattr(verb: MakeVerb, session: Session): void {
  verb("chattr", "set the flags that lsattr shows", "  ext4 chattr +i disk.img:/etc/passwd\n  ext4 chattr -R +A -d disk.img:/var\n  ext4 chattr -p 42 +P disk.img:/srv")
    .usage("[options] <+-=flags...> <image:/path...>").argument("<operands...>", "flags to add, to remove or to have exactly, and the paths")
    .option("-R, --recursive", "everything below, too").option("-p, --project <n>", "the project's number", asArgument(projectNumber))
    .option("--remove <letters>", "flags to remove, as -letters", (letters: string, before: number) => before | flagBits(letters), 0).option("--verbose", "say what was changed").option("-V", "the same")
    .action((operands: string[], { recursive, project, remove, verbose, V }: Verbose & { recursive?: boolean; project?: number; remove: number; V?: boolean }) => {
      const isFlags = (word: string): boolean => /^[+=][A-Za-z]*$/.test(word);
      const letters = (sign: string): string => operands.filter((word) => isFlags(word) && word.startsWith(sign)).map((word) => word.slice(1)).join("");
      const isExact = operands.some((word) => word.startsWith("="));
      const changes = { added: flagBits(letters("+")), removed: remove, exact: isExact ? flagBits(letters("=")) : undefined, project };
      if (!operands.some(isFlags) && remove === 0 && project === undefined) throw new UsageError("chattr needs flags: +i, -i, =i, or -p");
      if ((isExact && (changes.added | remove) !== 0) || (changes.added & remove) !== 0) throw new UsageError("these flags contradict each other");
      return session.forEachTarget("chattr", checked(operands.filter((word) => !isFlags(word))), verbose === true || V === true, (target, out) => chattr(target, changes, recursive === true, out));
    });
}

interface FallocateFlags extends Verbose, FallocateOptions { readonly length?: number; readonly offset: number }

function registerSpace(verb: MakeVerb, session: Session): void {
  verb("truncate", "set the size of files, and make those that are not there", "  ext4 truncate -s 10M disk.img:/swap\n  ext4 truncate -s -512 disk.img:/log")
    .argument(OPERANDS).requiredOption("-s, --size <size>", "[+-<>/%]N and K, M, G, T, P or E, as truncate's", asArgument(sizeChange))
    .option("-c, --no-create", "make nothing").option("-v, --verbose", "say what was done")
    .action((operands: string[], { size, create, verbose }: Verbose & { size: ReturnType<typeof sizeChange>; create?: boolean }) =>
      session.forEachTarget("truncate", operands, verbose, (target, out) => truncate(target, size, create === false, out)));

  verb("fallocate", "reserve space, or cut it out", "  ext4 fallocate -l 1G disk.img:/swap\n  ext4 fallocate -p -o 4K -l 8K disk.img:/file")
    .argument(OPERANDS).option("-l, --length <size>", "of the range", asArgument((text) => parseSize(text, "-l"))).option("-o, --offset <size>", "where the range begins", asArgument((text) => parseSize(text, "-o")), 0)
    .option("-p, --punch-hole", "a hole in its place").option("-z, --zero-range", "zeroes in its place").option("-c, --collapse-range", "the range is taken out, what follows moves down")
    .option("-i, --insert-range", "a hole is put in, what follows moves up").option("-n, --keep-size", "the size stays").option("-v, --verbose", "say what was done")
    .action((operands: string[], options: FallocateFlags) => {
      const { length, offset } = options;
      if (length === undefined) throw new UsageError("fallocate needs -l");
      const mode = fallocateMode(options);
      return session.forEachTarget("fallocate", operands, options.verbose, (target, out) => fallocate(target, mode, { offsetBytes: offset, lengthBytes: length }, out));
    });

  verb("sync", "recover a dirty journal, and leave the image clean", "  ext4 sync disk.img")
    .argument("<image...>").option("-v, --verbose", "say what was found")
    .action((operands: string[], { verbose }: Verbose) => session.writing("sync", verbose, async (out) => {
      for (const image of operands) sync(await session.volumeOf(parseOperand(image), "write"), image, out);
    }));
}

/** A parser of ours for commander, which wants an error of its own. */
function asArgument<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      throw error instanceof UsageError ? new InvalidArgumentError(error.message) : error;
    }
  };
}

function projectNumber(text: string): number {
  if (!/^\d{1,10}$/.test(text) || Number(text) >= 2 ** 32) throw new UsageError(`'${text}' is no project's number`);
  return Number(text);
}

/** Paths that are left after the words before them. */
function checked(operands: readonly string[]): readonly string[] {
  if (operands.length === 0) throw new UsageError("a path in an image is missing");
  return operands;
}
