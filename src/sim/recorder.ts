/** Who called what, and when it was answered: each call of a recorded process, with its arguments, from the moment when it is about to begin. Others may come in before each. */
import { FsError } from "../lib/errno.js";
import { currentTask, racePoint } from "../sched/scheduler.js";
import type { Task } from "../sched/task.js";
import { Process } from "../vfs/process.js";
import { Signal } from "../vfs/signal.js";
import { headline } from "./report/call-trace.js";

/** One call, as a program makes it. Begins and ends are numbered together, from 1. */
export interface Call {
  readonly task: string;
  readonly name: string;
  readonly args: readonly unknown[];
  readonly process: Process | undefined;
  readonly begin: number;
  /** Infinity: it is under way. */
  end: number;
  result: unknown;
  /** A code, or a signal's name; undefined: it went well, so far. */
  error: string | undefined;
}

/** What hears of calls when they happen. */
export interface CallListener {
  began?(call: Call): void;
  ended?(call: Call): void;
}

const GeneratorFunction = Object.getPrototypeOf(function* () {}) as object;
/** Helpers of calls, and calls that nothing can be said of. */
const UNRECORDED = new Set<PropertyKey>(["walker", "inMount", "onFile", "onTarget", "walking", "dropExeFile"]);

export class Recorder {
  readonly calls: Call[] = [];
  private readonly listeners: CallListener[] = [];
  /** Calls of processes that were made and have not begun: in the end, those where somebody forgot yield*. */
  readonly unbegun = new Set<{ readonly name: string }>();
  private moment = 0;
  /** Which calls began and ended, in which order, and what they came to. */
  order = "";

  addListener(listener: CallListener): void {
    this.listeners.push(listener);
  }

  /** The same process; each of its calls is recorded. */
  record(process: Process): Process {
    return new Proxy(process, {
      get: (target, name) => {
        const value = Reflect.get(target, name, target) as unknown;
        if (typeof value !== "function") return value;
        if (UNRECORDED.has(name) || Object.getPrototypeOf(value) !== GeneratorFunction) return value.bind(target) as unknown;
        return (...args: unknown[]) => {
          const made = { name: String(name) };
          this.unbegun.add(made);
          return this.call(made.name, args, () => (value as (...args: unknown[]) => Task<unknown>).apply(target, args), target, made);
        };
      },
    });
  }

  *call<T>(name: string, args: readonly unknown[], work: () => Task<T>, process?: Process, made?: { readonly name: string }): Task<T> {
    if (made !== undefined) this.unbegun.delete(made);
    yield* racePoint(name);
    const call: Call = { task: currentTask()?.name ?? "", name, args: args.map(copyOf), process, begin: ++this.moment, end: Infinity, result: undefined, error: undefined };
    this.calls.push(call);
    this.order += `${call.task}(`;
    for (const listener of this.listeners) listener.began?.(call);
    try {
      let result: unknown = yield* work();
      if (result instanceof Process) result = this.record(result);
      call.result = args.some((arg) => arg instanceof Uint8Array) && typeof result === "number" ? { count: result, buffer: bufferOf(args, result) } : result;
      return result as T;
    } catch (error) {
      call.error = error instanceof FsError ? error.code : error instanceof Signal ? "signal" : headline(String(error));
      throw error;
    } finally {
      call.end = ++this.moment;
      this.order += `${call.task})${call.error ?? describeValue(call.result)}`;
      for (const listener of this.listeners) listener.ended?.(call);
    }
  }
}

/** Bytes are as they were when the call was made. */
function copyOf(arg: unknown): unknown {
  return arg instanceof Uint8Array ? arg.slice() : arg;
}

/** What a read put into its buffer. */
function bufferOf(args: readonly unknown[], count: number): Uint8Array {
  return (args.find((arg) => arg instanceof Uint8Array) as Uint8Array).slice(0, count);
}

/** "pwrite(3, 4096 x 0x42, 0)". */
export function describeCall({ name, args }: Call): string {
  return `${name}(${args.map(describeValue).join(", ")})`;
}

export function describeValue(value: unknown): string {
  if (value instanceof Uint8Array) return value.length > 0 && value.every((byte) => byte === value[0]) ? `${value.length} x 0x${value[0]!.toString(16)}` : `${value.length} bytes`;
  if (typeof value === "number") return value > 0xff_ffff ? `0x${value.toString(16)}` : String(value);
  if (typeof value === "string") return `"${value}"`;
  if (value === undefined) return "";
  if (value instanceof Process) return `process ${value.pid}`;
  if (Array.isArray(value)) return `[${value.length}]`;
  return typeof value === "object" && value !== null ? `{${Object.entries(value).filter(([, entry]) => typeof entry !== "object").map(([key, entry]) => `${key}: ${describeValue(entry)}`).join(", ")}}` : String(value);
}
