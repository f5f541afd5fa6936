/** The inodes of a new filesystem as they stand in its tables. As numbers are given one after the other, a table is a row of pieces, each made when its first inode comes. */
import type { GroupNo, Ino } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";

/** Whole blocks, whatever their size and that of inodes. */
const PIECE_INODES = 1024;

interface TablePiece {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export class InodeTables {
  private readonly pieces = new Map<number, TablePiece>();
  private readonly piecesPerGroup: number;

  constructor(private readonly inodesPerGroup: number, private readonly inodeBytes: number) {
    this.piecesPerGroup = Math.ceil(inodesPerGroup / PIECE_INODES);
  }

  /** The bytes of an inode where they stand: what is written there is the inode's. */
  record(ino: Ino): Uint8Array {
    const at = this.offsetOf(ino);
    return this.pieceOf(ino).bytes.subarray(at, at + this.inodeBytes);
  }

  /** A view on many inodes, this one among them, at offsetOf. */
  viewOf(ino: Ino): DataView {
    return this.pieceOf(ino).view;
  }

  offsetOf(ino: Ino): number {
    return (((ino - 1) % this.inodesPerGroup) % PIECE_INODES) * this.inodeBytes;
  }

  /** The first `count` inodes of a group, piece by piece: where each begins in the table, and its bytes, the last one's rest included. */
  piecesOf(group: GroupNo, count: number): { readonly offsetBytes: number; readonly bytes: Uint8Array }[] {
    return Array.from({ length: Math.ceil(count / PIECE_INODES) }, (_, index) => ({
      offsetBytes: index * PIECE_INODES * this.inodeBytes, bytes: this.piece(group * this.piecesPerGroup + index).bytes,
    }));
  }

  private pieceOf(ino: Ino): TablePiece {
    const index = (ino - 1) % this.inodesPerGroup;
    return this.piece(((ino - 1 - index) / this.inodesPerGroup) * this.piecesPerGroup + Math.floor(index / PIECE_INODES));
  }

  private piece(key: number): TablePiece {
    let piece = this.pieces.get(key);
    if (piece === undefined) {
      const bytes = new Uint8Array(PIECE_INODES * this.inodeBytes);
      this.pieces.set(key, (piece = { bytes, view: viewOf(bytes) }));
    }
    return piece;
  }
}
