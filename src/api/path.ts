/** Paths and encodings as programs pass them, turned into the bytes that the engine knows. Argument errors are Node's: a TypeError with a code. */
import { decode, encode } from "../lib/utf8.js";

/** A string (UTF-8), raw bytes, or a file: URL. A relative path begins at the root. */
export type PathLike = string | Uint8Array | UrlLike;

/** What is used of a URL object: the core knows no URL class. */
export interface UrlLike {
  readonly href: string;
  readonly protocol: string;
  readonly pathname: string;
}

export type BufferEncoding = "utf8" | "utf-8" | "latin1" | "binary" | "ascii" | "hex" | "base64" | "base64url" | "ucs2" | "ucs-2" | "utf16le" | "utf-16le";

export function argumentError(code: "ERR_INVALID_ARG_TYPE" | "ERR_INVALID_ARG_VALUE" | "ERR_OUT_OF_RANGE", message: string): TypeError | RangeError {
  const error = code === "ERR_OUT_OF_RANGE" ? new RangeError(message) : new TypeError(message);
  return Object.assign(error, { code });
}

function isUrl(path: unknown): path is UrlLike {
  return typeof path === "object" && path !== null && "href" in path && "protocol" in path && "pathname" in path;
}

/** @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE. */
export function pathBytes(path: unknown, name = "path"): Uint8Array {
  let bytes: Uint8Array;
  if (typeof path === "string") bytes = encode(path);
  else if (path instanceof Uint8Array) bytes = path;
  else if (isUrl(path)) {
    if (path.protocol !== "file:") throw argumentError("ERR_INVALID_ARG_VALUE", `The URL must be of scheme file, not ${path.protocol}`);
    bytes = encode(decodeURIComponent(path.pathname));
  } else {
    throw argumentError("ERR_INVALID_ARG_TYPE", `The "${name}" argument must be of type string or an instance of Buffer or URL. Received ${path === null ? "null" : typeof path}`);
  }
  if (bytes.includes(0)) throw argumentError("ERR_INVALID_ARG_VALUE", `The argument '${name}' must be a string, Uint8Array, or URL without null bytes.`);
  return bytes;
}

/** The path as an error message shows it. */
export function shownPath(path: unknown): string {
  if (typeof path === "string") return path;
  if (path instanceof Uint8Array) return decode(path);
  return isUrl(path) ? decodeURIComponent(path.pathname) : String(path);
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Bytes as a string. @throws TypeError ERR_INVALID_ARG_VALUE an unknown encoding. */
export function decodeAs(bytes: Uint8Array, encoding: string): string {
  switch (encoding.toLowerCase()) {
    case "utf8":
    case "utf-8":
      return decode(bytes);
    case "latin1":
    case "binary":
      return mapBytes(bytes, (byte) => String.fromCharCode(byte));
    case "ascii":
      return mapBytes(bytes, (byte) => String.fromCharCode(byte & 0x7f));
    case "hex":
      return mapBytes(bytes, (byte) => HEX[byte]!);
    case "base64":
      return base64(bytes);
    case "base64url":
      return base64(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
    case "ucs2":
    case "ucs-2":
    case "utf16le":
    case "utf-16le":
      return mapBytes(bytes, (byte, index) => (index % 2 === 1 ? String.fromCharCode(bytes[index - 1]! | (byte << 8)) : ""));
    default:
      throw argumentError("ERR_INVALID_ARG_VALUE", `The argument 'encoding' is invalid encoding. Received '${encoding}'`);
  }
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
