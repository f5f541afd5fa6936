"""Bytes in which two files differ, one a line: offset, theirs, ours. Holes are not read, and ranges given as first-end do not count."""
import os
import sys

PIECE_BYTES = 1 << 20
SHOWN = 20


def data_ranges(fd, size):
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # a hole up to the end
            return
        at = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, at


def main():
    theirs, ours = (os.open(path, os.O_RDONLY) for path in sys.argv[1:3])
    ignored = {offset for word in sys.argv[3:] for offset in range(*map(int, word.split("-")))}
    sizes = [os.fstat(fd).st_size for fd in (theirs, ours)]
    if sizes[0] != sizes[1]:
        print("size", *sizes)
    shown, done = 0, 0
    for start, end in sorted([*data_ranges(theirs, sizes[0]), *data_ranges(ours, sizes[1])]):
        for at in range(max(start, done), end, PIECE_BYTES):
            length = min(PIECE_BYTES, end - at)
            a, b = (os.pread(fd, length, at).ljust(length, b"\0") for fd in (theirs, ours))
            if a == b:
                continue
            for index in range(length):
                offset = at + index
                if a[index] != b[index] and offset not in ignored:
                    print(offset, a[index], b[index])
                    shown += 1
                    if shown == SHOWN:
                        return
        done = max(done, end)


main()
