export function casefold(name: Uint8Array): Uint8Array | undefined { return name; }
