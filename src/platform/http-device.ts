/**
 * A disk image on a web server, read by HTTP range requests; read-only, and only for promise-based calls. The server must answer ranges (status 206), and the image must stay
 * the same while it is open: its ETag or Last-Modified is held against each answer. Bytes come in aligned pieces, which are kept up to a limit, so that a walk over
 * metadata is some requests and not thousands. Source: RFC 9110, section 14.
 */
import type { Bio } from "../block/device.js";
import { LeafDevice } from "../block/leaf.js";
import { FsError } from "../lib/errno.js";
import { LruMap } from "../lib/lru.js";
import type { Task } from "../sched/task.js";

const PIECE_BYTES = 256 * 1024;
const PIECES_KEPT = 64; // 16 MiB

export class HttpDevice extends LeafDevice {
  readonly readOnly = true;
  private readonly pieces = new LruMap<number, Promise<Uint8Array>>(PIECES_KEPT);

  private constructor(readonly name: string, readonly sizeBytes: number, private readonly version: string | null) {
    super();
  }

  /** Asks the server for the size. @throws FsError EIO it does not answer; EOPNOTSUPP it does not answer ranges. */
  static async open(url: string): Promise<HttpDevice> {
    const response = await request(url, "bytes=0-0");
    await discard(response);
    const { range, sizeBytes } = rangeOf(response);
    if (range !== "0-0" || sizeBytes === undefined) {
      throw new FsError("EOPNOTSUPP", `the server does not answer range requests (status ${response.status}, Content-Range ${response.headers.get("content-range") ?? "absent"})`, { syscall: "open", path: url });
    }
    return new HttpDevice(url, sizeBytes, versionOf(response));
  }

  protected transferSync(): void {
    throw new FsError("EOPNOTSUPP", `${this.name} is on the web, which only promise-based calls can read`);
  }

  protected async transferAsync(bio: Bio): Promise<void> {
    if (bio.op === "flush") return;
    const end = bio.offsetBytes + bio.data.length;
    const first = Math.floor(bio.offsetBytes / PIECE_BYTES);
    const last = Math.floor((end - 1) / PIECE_BYTES);
    if (last - first > PIECES_KEPT / 4) {
      bio.data.set(await this.fetchRange(bio.offsetBytes, end));
      return;
    }
    for (let index = first; index <= last; index++) {
      const piece = await this.piece(index);
      const start = index * PIECE_BYTES;
      const from = Math.max(start, bio.offsetBytes);
      bio.data.set(piece.subarray(from - start, Math.min(end - start, piece.length)), from - bio.offsetBytes);
    }
  }

  /** Two requests for one piece share one answer. */
  private piece(index: number): Promise<Uint8Array> {
    let piece = this.pieces.get(index);
    if (piece === undefined) {
      const start = index * PIECE_BYTES;
      piece = this.fetchRange(start, Math.min(start + PIECE_BYTES, this.sizeBytes));
      this.pieces.set(index, piece);
      piece.catch(() => this.pieces.delete(index)); // a failure is not kept
    }
    return piece;
  }

  private async fetchRange(start: number, end: number): Promise<Uint8Array> {
    const wanted = `${start}-${end - 1}`;
    const response = await request(this.name, `bytes=${wanted}`);
    const { range, sizeBytes = this.sizeBytes } = rangeOf(response);
    if (range !== wanted) {
      await discard(response);
      throw new FsError("EIO", `the server answered bytes ${wanted} of ${this.name} with status ${response.status} and bytes ${range ?? "unknown"}`);
    }
    if (versionOf(response) !== this.version || sizeBytes !== this.sizeBytes) {
      await discard(response);
      throw new FsError("EIO", `${this.name} changed on the server while it was open`);
    }
    const bytes = await bodyOf(response, this.name);
    if (bytes.length !== end - start) throw new FsError("EIO", `the server answered bytes ${wanted} of ${this.name} with ${bytes.length} bytes`);
    return bytes;
  }

  *close(): Task<void> {
    this.pieces.clear();
  }
}

async function request(url: string, range: string): Promise<Response> {
  try {
    return await fetch(url, { headers: { range } });
  } catch (error) {
    throw unreachable(url, error);
  }
}

async function bodyOf(response: Response, url: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    throw unreachable(url, error);
  }
}

/** A body that is not wanted must not go on coming. */
async function discard(response: Response): Promise<void> {
  await response.body?.cancel().catch(() => undefined);
}

function unreachable(url: string, error: unknown): FsError {
  return new FsError("EIO", `${url} cannot be reached: ${error instanceof Error ? error.message : String(error)}`);
}

/** Which bytes of how many an answer holds; none, if it is no answer to a range request. */
function rangeOf(response: Response): { range?: string; sizeBytes?: number } {
  const [, range, size] = /^bytes (\d+-\d+)\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "") ?? [];
  if (response.status !== 206 || range === undefined) return {};
  return size === "*" ? { range } : { range, sizeBytes: Number(size) };
}

function versionOf(response: Response): string | null {
  return response.headers.get("etag") ?? response.headers.get("last-modified");
}
