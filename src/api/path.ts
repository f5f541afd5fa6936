/** Paths and encodings as programs pass them, turned into the bytes that the engine knows. Argument errors are Node's: a TypeError with a code. */
import { decode, encode } from "../lib/utf8.js";

/** A string (UTF-8), raw bytes, or a file: URL. A relative path begins at the root. */
export type PathLike = string | Uint8Array | UrlLike;

/** What is used of a URL object: the core knows no URL class. */
export interface UrlLike {
  readonly href: string;
  readonly protocol: string;
  readonly hostname: string;
  readonly pathname: string;
}

export type BufferEncoding = "utf8" | "utf-8" | "latin1" | "binary" | "ascii" | "hex" | "base64" | "base64url" | "ucs2" | "ucs-2" | "utf16le" | "utf-16le";

type ArgumentErrorCode =
  "ERR_INVALID_ARG_TYPE" | "ERR_INVALID_ARG_VALUE" | "ERR_OUT_OF_RANGE" | "ERR_INVALID_URL_SCHEME" | "ERR_INVALID_FILE_URL_HOST" | "ERR_INVALID_FILE_URL_PATH";

export function argumentError(code: ArgumentErrorCode, message: string): TypeError | RangeError {
  const error = code === "ERR_OUT_OF_RANGE" ? new RangeError(message) : new TypeError(message);
  return Object.assign(error, { code });
}

/** @throws TypeError ERR_INVALID_ARG_TYPE, RangeError ERR_OUT_OF_RANGE. */
export function checkInteger(value: unknown, name: string, least: number, most = Number.MAX_SAFE_INTEGER): asserts value is number {
  if (typeof value !== "number") throw argumentError("ERR_INVALID_ARG_TYPE", `The "${name}" argument must be of type number. Received ${value === null ? "null" : typeof value}`);
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw argumentError("ERR_OUT_OF_RANGE", `The value of "${name}" is out of range. It must be an integer >= ${least} && <= ${most}. Received ${value}`);
}

/** Where a stream begins, and the last byte that it gives. @throws TypeError, RangeError as Node's. */
export function streamRange({ start = 0, end = Infinity }: { start?: number | undefined; end?: number | undefined }): { start: number; end: number } {
  checkInteger(start, "start", 0);
  if (end !== Infinity) checkInteger(end, "end", start);
  return { start, end };
}

function isUrl(path: unknown): path is UrlLike {
  return typeof path === "object" && path !== null && "href" in path && "protocol" in path && "hostname" in path && "pathname" in path;
}

function pathOfUrl({ protocol, hostname, pathname }: UrlLike): string {
  if (protocol !== "file:") throw argumentError("ERR_INVALID_URL_SCHEME", "The URL must be of scheme file");
  if (hostname !== "") throw argumentError("ERR_INVALID_FILE_URL_HOST", 'File URL host must be "localhost" or empty');
  if (/%2f/i.test(pathname)) throw argumentError("ERR_INVALID_FILE_URL_PATH", "File URL path must not include encoded / characters");
  return decodeURIComponent(pathname);
}

/** @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE, or what is wrong with a URL. */
export function pathBytes(path: unknown, name = "path"): Uint8Array {
  let bytes: Uint8Array;
  if (typeof path === "string") bytes = encode(path);
  else if (path instanceof Uint8Array) bytes = new Uint8Array(path); // the caller may change his while we wait, and a Buffer is not sliced as other bytes are
  else if (isUrl(path)) bytes = encode(pathOfUrl(path));
  else throw argumentError("ERR_INVALID_ARG_TYPE", `The "${name}" argument must be of type string or an instance of Buffer or URL. Received ${path === null ? "null" : typeof path}`);
  if (bytes.includes(0)) throw argumentError("ERR_INVALID_ARG_VALUE", `The argument '${name}' must be a string, Uint8Array, or URL without null bytes.`);
  return bytes;
}

/** The path as an error message shows it. */
export function shownPath(path: unknown): string {
  if (typeof path === "string") return path;
  if (path instanceof Uint8Array) return decode(path);
  return isUrl(path) ? decodeURIComponent(path.pathname) : String(path);
}

/** What an operation is asked for may come as an encoding alone. */
export type WithEncoding<Options extends { encoding?: string | null | undefined }> = string | null | undefined | Options;

/** The options as an object, with an encoding that is known, or none. @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE. */
export function optionsOf<Options extends { encoding?: string | null | undefined }>(options: WithEncoding<Options>): Partial<Options> & { encoding?: string | undefined } {
  if (options !== null && options !== undefined && typeof options !== "string" && typeof options !== "object") {
    throw argumentError("ERR_INVALID_ARG_TYPE", `The "options" argument must be of type string or an instance of Object. Received ${typeof options}`);
  }
  const given = typeof options === "object" && options !== null ? options : { encoding: options };
  const { encoding } = given;
  if (encoding === null || encoding === undefined || encoding === "") return { ...given, encoding: undefined } as Partial<Options> & { encoding?: undefined };
  if (encoding !== "buffer") decoderOf(encoding);
  return given as Options & { encoding: string };
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Bytes as a string. @throws TypeError ERR_INVALID_ARG_VALUE an unknown encoding. */
export function decodeAs(bytes: Uint8Array, encoding: string): string {
  return decoderOf(encoding)(bytes);
}

type Decoder = (bytes: Uint8Array) => string;

const latin1: Decoder = (bytes) => mapBytes(bytes, (byte) => String.fromCharCode(byte));
const ascii: Decoder = (bytes) => mapBytes(bytes, (byte) => String.fromCharCode(byte & 0x7f));
const hex: Decoder = (bytes) => mapBytes(bytes, (byte) => HEX[byte]!);
const base64url: Decoder = (bytes) => base64(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
const utf16: Decoder = (bytes) => mapBytes(bytes, (byte, index) => (index % 2 === 1 ? String.fromCharCode(bytes[index - 1]! | (byte << 8)) : ""));

const DECODERS = new Map<string, Decoder>([
  ["utf8", decode], ["utf-8", decode], ["latin1", latin1], ["binary", latin1], ["ascii", ascii], ["hex", hex], ["base64", base64], ["base64url", base64url],
  ["ucs2", utf16], ["ucs-2", utf16], ["utf16le", utf16], ["utf-16le", utf16],
]);

/** @throws TypeError ERR_INVALID_ARG_VALUE. */
export function decoderOf(encoding: unknown): Decoder {
  const decoder = typeof encoding === "string" ? DECODERS.get(encoding.toLowerCase()) : undefined;
  if (decoder === undefined) throw argumentError("ERR_INVALID_ARG_VALUE", `The argument 'encoding' is invalid encoding. Received '${String(encoding)}'`);
  return decoder;
}

/** A string as bytes. @throws TypeError ERR_INVALID_ARG_VALUE an unknown encoding. */
export function encodeAs(text: string, encoding: string): Uint8Array {
  switch (encoding.toLowerCase()) {
    case "utf8":
    case "utf-8":
      return encode(text);
    case "latin1":
    case "binary":
    case "ascii":
      return Uint8Array.from(text, (char) => char.charCodeAt(0) & 0xff);
    case "hex":
      return Uint8Array.from(text.match(/[0-9a-f]{2}/gi) ?? [], (pair) => parseInt(pair, 16));
    case "base64":
    case "base64url":
      return fromBase64(text);
    case "ucs2":
    case "ucs-2":
    case "utf16le":
    case "utf-16le":
      return Uint8Array.from({ length: text.length * 2 }, (_, index) => (text.charCodeAt(index >>> 1) >>> (index % 2 === 0 ? 0 : 8)) & 0xff);
    default:
      throw argumentError("ERR_INVALID_ARG_VALUE", `The argument 'encoding' is invalid encoding. Received '${encoding}'`);
  }
}

/** Both alphabets; what belongs to neither is passed over, as Node does. */
function fromBase64(text: string): Uint8Array {
  const digits = Array.from(text.replaceAll("-", "+").replaceAll("_", "/"), (char) => BASE64.indexOf(char)).filter((digit) => digit >= 0);
  const bytes = new Uint8Array(Math.floor((digits.length * 6) / 8));
  for (let index = 0; index < bytes.length; index++) {
    const at = Math.floor((index * 8) / 6);
    const skipped = (index * 8) % 6;
    bytes[index] = (((digits[at]! << 6) | digits[at + 1]!) >>> (4 - skipped)) & 0xff;
  }
  return bytes;
}

function mapBytes(bytes: Uint8Array, toText: (byte: number, index: number) => string): string {
  const parts: string[] = [];
  for (let index = 0; index < bytes.length; index++) parts.push(toText(bytes[index]!, index));
  return parts.join("");
}

function base64(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += 3) {
    const left = bytes.length - at;
    const word = (bytes[at]! << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    parts.push(BASE64[word >>> 18]!, BASE64[(word >>> 12) & 63]!, left > 1 ? BASE64[(word >>> 6) & 63]! : "=", left > 2 ? BASE64[word & 63]! : "=");
  }
  return parts.join("");
}
