/** What all processes share: what is mounted, what memory counts and tells, the processes themselves. Mounting and unmounting is the caller's: he says what is mounted now. */
import { FsError } from "../lib/errno.js";
import { VmEvents } from "../mm/events.js";
import { MmStruct } from "../mm/mm-struct.js";
import type { Task } from "../sched/task.js";
import { freezeSuper, thawSuper } from "./freeze.js";
import type { SuperBlock } from "./inode.js";
import { Mount, type MountFlags } from "./mount.js";
import { parseMountOptions } from "./mount-options.js";
import { ROOT, type Credentials } from "./permission.js";
import { Process } from "./process.js";

export interface KernelOptions {
  readonly events?: VmEvents | undefined;
  /** 32 random bits: what a new program gets as AT_RANDOM. Default: zeroes. */
  readonly random?: (() => number) | undefined;
  /** The e_machine of programs that run here (62: x86-64, 183: AArch64). Default: any. */
  readonly machine?: number | undefined;
}

export class Kernel {
  /** vmstat counters and tracepoints. */
  readonly events: VmEvents;
  readonly random: () => number;
  readonly machine: number | undefined;
  /** By pid. */
  readonly processes = new Map<number, Process>();
  /** Undefined: nothing is mounted, and no path leads anywhere. */
  mount: Mount | undefined;
  private lastPid = 0;

  constructor({ events = new VmEvents(), random = () => 0, machine }: KernelOptions = {}) {
    this.events = events;
    this.random = random;
    this.machine = machine;
  }

  /** From now on paths lead into `sb`. Files of what was mounted before stay open. */
  mountRoot(sb: SuperBlock, flags: MountFlags = {}): Mount {
    return (this.mount = new Mount(sb, flags));
  }

  /** Nothing is mounted any more; what was is the caller's to unmount. @throws FsError EBUSY a file is open, or mapped, or a process stands in a directory; EINVAL nothing is mounted. */
  unmountRoot(): Mount {
    const mount = this.mounted("EINVAL");
    mount.checkUnmount();
    this.mount = undefined;
    return mount;
  }

  /** @throws FsError ENOENT, or as told. */
  mounted(code: "ENOENT" | "EINVAL" = "ENOENT"): Mount {
    if (this.mount === undefined) throw new FsError(code, "nothing is mounted");
    return this.mount;
  }

  newPid(): number {
    return ++this.lastPid;
  }

  /** A process with no files and nothing mapped. */
  spawn(cred: Credentials = ROOT): Process {
    return new Process(this, cred, new MmStruct(this.events));
  }

  /** As mount -o remount. @param options all that are to hold, as text: what is left out is off. @throws FsError EBUSY somebody writes; EINVAL, EROFS, EIO. */
  *remount(options: string): Task<void> {
    const mount = this.mounted("EINVAL");
    const { mnt_sb: sb } = mount;
    const request = parseMountOptions(options);
    if (sb.remount === undefined) throw new FsError("EINVAL");
    if (request.isReadOnly && sb.isWritable) mount.checkRemountReadOnly();
    yield* sb.operation(sb.remount(request.isReadOnly, request.options));
    mount.flags = request.flags;
  }

  /** As a 3 written into /proc/sys/vm/drop_caches. */
  *dropCaches(): Task<void> {
    const { mnt_sb: sb } = this.mounted();
    if (sb.dropCaches !== undefined) yield* sb.operation(sb.dropCaches());
  }

  /** FIFREEZE. @throws FsError EBUSY it is frozen already. */
  *freeze(): Task<void> {
    const { mnt_sb: sb } = this.mounted();
    yield* sb.operation(freezeSuper(sb));
  }

  /** FITHAW. @throws FsError EINVAL it is not frozen. */
  *thaw(): Task<void> {
    const { mnt_sb: sb } = this.mounted();
    yield* sb.operation(thawSuper(sb));
  }

  /** EXT4_IOC_SHUTDOWN. @throws FsError EINVAL no such way. */
  *shutdown(how: number): Task<void> {
    const { mnt_sb: sb } = this.mounted();
    if (sb.shutdown === undefined) throw new FsError("ENOTTY");
    yield* sb.operation(sb.shutdown(how));
  }

  /** As sync(2): everything that was done so far becomes durable. */
  *sync(): Task<void> {
    const { mnt_sb: sb } = this.mounted();
    yield* sb.operation(sb.sync());
  }
}
