/** What a device holds already, by the marks that filesystems, volumes and partition tables leave: so that none of them is overwritten by mistake. */
import { readBytes, SECTOR_BYTES, type BlockDevice } from "../block/device.js";
import { bytesEqual } from "../lib/bytes.js";
import { encode } from "../lib/utf8.js";
import type { Task } from "../sched/task.js";

interface Signature {
  readonly name: string;
  readonly at: number;
  readonly mark: Uint8Array;
}

const text = (name: string, at: number, mark: string): Signature => ({ name, at, mark: encode(mark) });
const raw = (name: string, at: number, ...mark: number[]): Signature => ({ name, at, mark: Uint8Array.from(mark) });

/** A mark of two bytes may stand anywhere by chance, so the partition table's comes last. */
const SIGNATURES: readonly Signature[] = [
  raw("ext2, ext3 or ext4 filesystem", 1024 + 0x38, 0x53, 0xef),
  text("XFS filesystem", 0, "XFSB"), text("Btrfs filesystem", 0x1_0040, "_BHRfS_M"), raw("F2FS filesystem", 1024, 0x10, 0x20, 0xf5, 0xf2),
  text("SquashFS filesystem", 0, "hsqs"), text("ISO 9660 filesystem", 0x8001, "CD001"), text("NTFS filesystem", 3, "NTFS    "), text("exFAT filesystem", 3, "EXFAT   "),
  text("FAT filesystem", 0x52, "FAT32   "), text("FAT filesystem", 0x36, "FAT16   "), text("FAT filesystem", 0x36, "FAT12   "),
  raw("LUKS volume", 0, 0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe), text("LVM volume", 512 + 0x18, "LVM2 001"), text("swap area", 4096 - 10, "SWAPSPACE2"),
  raw("qcow2 image", 0, 0x51, 0x46, 0x49, 0xfb), text("GPT partition table", SECTOR_BYTES, "EFI PART"), raw("partition table", 0x1fe, 0x55, 0xaa),
];

const LOOK_BYTES = 0x1_0040 + 8;

/** The name of what is there; undefined: nothing that is known. */
export function* findSignature(device: BlockDevice): Task<string | undefined> {
  const bytes = new Uint8Array(Math.min(LOOK_BYTES, device.sizeBytes));
  yield* readBytes(device, 0, bytes);
  return SIGNATURES.find(({ at, mark }) => at + mark.length <= bytes.length && bytesEqual(bytes.subarray(at, at + mark.length), mark))?.name;
}
