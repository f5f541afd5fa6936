/** One DataView per buffer, for the buffer's life: making one costs more than reading from it. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
