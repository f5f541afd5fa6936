/**
 * The other story of 2017: no program started on a filesystem that was mounted dax,ro. The kernel zeroes what .bss has of the data's last page, by a write fault that ends in a private copy; up to Linux 4.13 each
 * write fault wanted a journal handle, which is not to be had there (commit fd96b8da68d3 ended it). Fails with --strategy linux-4.13, and passes with the engine that ships.
 */
import { MAP_PRIVATE, PROT_READ, PROT_WRITE } from "../../mm/constants.js";
import { O_CREAT, O_RDONLY, O_RDWR } from "../../vfs/flags.js";
import { scenario } from "../scenario.js";
import { ELF_BSS, ELF_DATA, ELF_DATA_BYTE, ELF_TEXT, tinyElf } from "./tiny-elf.js";

const PAGE = 4096;

export const daxReadOnlyExec = scenario({
  name: "history/dax-ro-exec",
  description: "a program is executed on a filesystem that is mounted dax,ro, while its file is read, and mapped privately and stored into",
  world: { device: "pmem", mount: { readOnly: true, dax: "always" } },
  *setup({ process }) {
    const fd = yield* process.open("/program", O_RDWR | O_CREAT, 0o755);
    yield* process.pwrite(fd, tinyElf(), 0);
  },
  *prepare(lab) {
    const handles: unknown[] = [];
    const { listener } = lab.events;
    lab.events.listener = (event, fields) => {
      if (event === "jbd2:jbd2_handle_start") handles.push(fields["type"]);
      listener?.(event, fields);
    };
    return { program: lab.process, other: yield* lab.process.fork(), handles };
  },
  tasks: {
    *execute(lab, { program }) {
      const { entry } = yield* program.execve("/program", ["program"]);
      lab.check(entry === ELF_TEXT, `the program begins at ${entry}`);
      lab.check((yield* program.load(ELF_DATA)) === ELF_DATA_BYTE, "the data is not the file's");
      lab.check((yield* program.load(ELF_BSS)) === 0, ".bss is not zero");
      yield* program.store(ELF_DATA, 1);
      yield* program.store(ELF_BSS + PAGE, 2);
    },
    *read(lab, { other }) {
      const fd = yield* other.open("/program", O_RDONLY);
      const map = yield* other.mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
      yield* other.store(map + PAGE, 3);
      lab.check((yield* other.load(map + PAGE)) === 3, "what was stored is not seen");
    },
  },
  *after(lab, { program, handles }) {
    lab.check((yield* program.load(ELF_DATA)) === 1 && (yield* program.load(ELF_BSS + PAGE)) === 2, "what the program stored is not seen");
    const bytes = tinyElf();
    const found = new Uint8Array(bytes.length);
    yield* lab.process.pread(yield* lab.process.open("/program", O_RDONLY), found, 0);
    lab.check(found.every((byte, at) => byte === bytes[at]), "the file has changed");
    lab.check(handles.length === 0, `handles were started: ${handles.join(", ")}`);
  },
});
