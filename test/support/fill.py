"""Fills a mounted filesystem with one of everything: python3 fill.py MOUNT ENTRIES. What the filesystem does not take is left out and named on standard output."""
import ctypes
import errno
import os
import random
import socket
import struct
import subprocess
import sys

root = os.fsencode(sys.argv[1])
entry_count = int(sys.argv[2])
random.seed(1)
libc = ctypes.CDLL(None, use_errno=True)
REFUSED = {errno.EOPNOTSUPP, errno.ENOSPC, errno.EINVAL, errno.EFBIG, errno.ENAMETOOLONG, errno.EMLINK, errno.ENOTTY, errno.EPERM, errno.E2BIG, errno.ERANGE, errno.EIO}


def path(*parts):
    return os.path.join(root, *[p if isinstance(p, bytes) else os.fsencode(p) for p in parts])


def attempt(what, action):
    try:
        action()
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        print(f"left out: {what}: {errno.errorcode[error.errno]}")


def write(name, data=b"x", mode=0o644):
    with open(path(name), "wb") as file:
        file.write(data)
    os.chmod(path(name), mode)


def pattern(length):
    return random.Random(length).randbytes(length)


def fallocate(name, mode, offset, length):
    fd = os.open(path(name), os.O_RDWR | os.O_CREAT)
    try:
        if libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")
    finally:
        os.close(fd)


def deep():
    at = path("deep")
    for level in range(50):
        at = os.path.join(at, b"level%d" % level)
    os.makedirs(at)
    with open(os.path.join(at, b"bottom"), "wb") as file:
        file.write(b"here")


def many():
    os.mkdir(path("many"))
    for index in range(entry_count):
        with open(path("many", f"entry-number-{index:06}"), "wb") as file:
            if index % 16 == 0:
                file.write(b"%d" % index)
    for index in range(0, entry_count, 3):
        os.unlink(path("many", f"entry-number-{index:06}"))


def sizes():
    os.mkdir(path("sizes"))
    for size in [0, 1, 20, 59, 60, 61, 100, 150, 160, 170, 500, 1023, 1024, 1025, 4095, 4096, 4097, 12 * 1024, 70000, 300000]:
        write(f"sizes/{size}", pattern(size))


def sparse():
    with open(path("sparse"), "wb") as file:
        for offset in [0, 100_000, 1_000_000, 70_000_000, 3_000_000_000]:
            file.seek(offset)
            file.write(b"at %d" % offset)
    with open(path("all-hole"), "wb") as file:
        file.truncate(12_345_678)


def fragmented():
    """Every other block: as many extents as writes, so a deep tree."""
    with open(path("fragmented"), "wb", buffering=0) as file:
        for index in range(1500):
            os.pwrite(file.fileno(), b"block %d" % index, index * 2 * 4096)


def huge_sparse():
    with open(path("huge-sparse"), "wb", buffering=0) as file:
        for offset in [0, 2 ** 32 + 5, 2 ** 33, 15 * 2 ** 30]:
            os.pwrite(file.fileno(), b"far", offset)


def preallocated():
    fallocate("unwritten", 0, 0, 300_000)
    fallocate("beyond", 1, 0, 500_000)  # past the end of the file
    write("punched", pattern(400_000))
    fallocate("punched", 3, 40_000, 100_000)
    write("partly", b"")
    fallocate("partly", 0, 0, 200_000)
    with open(path("partly"), "r+b") as file:
        file.seek(50_000)
        file.write(pattern(10_000))


def links():
    write("linked", b"many names")
    for index in range(60):
        os.link(path("linked"), path(f"link-{index}"))
    for length in [1, 20, 58, 59, 60, 61, 100, 1000, 4000]:
        attempt(f"symlink of {length}", lambda: os.symlink(b"t" * length, path(f"symlink-{length}")))
    os.symlink(b"deep/level0", path("to-directory"))
    os.symlink(b"loop", path("loop"))


def special():
    os.mknod(path("char-small"), 0o020620, os.makedev(5, 1))
    os.mknod(path("char-large"), 0o020600, os.makedev(300, 70000))
    os.mknod(path("block"), 0o060660, os.makedev(8, 255))
    os.mkfifo(path("fifo"))
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(root)
        server.bind("socket")
        os.chdir(here)


def names():
    os.mkdir(path("names"))
    for name in [b"n" * 255, "ünïcödé-漢字-😀".encode(), b"bad-\xff\xfe-utf8", b"\xc3", b"new\nline", b"tab\tbell\x07esc\x1b", b" space ", b"quote'\"\\", b"-dash", b"...", b"\xf0\x9f" * 100]:
        write(b"names/" + name, name)


def modes():
    os.mkdir(path("modes"))
    for mode in [0, 0o400, 0o777, 0o4755, 0o2755, 0o1777, 0o7777]:
        write(f"modes/{mode:o}", b"m", mode)
    for uid, gid in [(1, 2), (65534, 65535), (65536, 70000), (2 ** 31, 2 ** 32 - 2)]:
        write(f"modes/owner-{uid}", b"o")
        os.chown(path("modes", f"owner-{uid}"), uid, gid)
    os.mkdir(path("modes", "sticky"))
    os.chmod(path("modes", "sticky"), 0o3777)


def times():
    os.mkdir(path("times"))
    for seconds in [-2 ** 31, -1, 0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 33 + 5, 15032385535]:
        write(f"times/{seconds}", b"t")
        attempt(f"time {seconds}", lambda: os.utime(path("times", str(seconds)), ns=(seconds * 10 ** 9 + 123456789, seconds * 10 ** 9 + 987654321)))


def xattrs():
    os.mkdir(path("xattrs"))
    big = "xattrs/"
    for name in ["none", "small", "empty", "several", "block", "shared-1", "shared-2", "trusted", "value-inode", "acl"]:
        write(big + name, b"a")
    put = lambda file, name, value: attempt(f"{name} of {len(value)}", lambda: os.setxattr(path(big + file), name, value))
    put("small", "user.one", b"1")
    put("empty", "user.empty", b"")
    for index in range(12):
        put("several", f"user.attribute-{index}", pattern(index * 5))
    put("block", "user.large", pattern(700))
    put("block", "user.second", b"\x00\xff\x01")
    for file in ["shared-1", "shared-2"]:
        put(file, "user.shared", b"s" * 600)
    put("trusted", "trusted.secret", b"root sees it")
    put("trusted", "security.label", b"label")
    put("value-inode", "user.huge", pattern(30000))
    put("value-inode", "user.huger", pattern(60000))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in [(1, 6, 0xffffffff), (2, 7, 1000), (4, 4, 0xffffffff), (8, 5, 70000), (16, 7, 0xffffffff), (32, 4, 0xffffffff)])
    put("acl", "system.posix_acl_access", acl)
    os.mkdir(path("xattrs/directory"))
    put("directory", "system.posix_acl_default", acl)
    put("directory", "user.dir", b"d")
    os.mkdir(path("xattrs/directory/heir"))
    write("xattrs/directory/heir/file", b"inherits")


def flags():
    os.mkdir(path("flags"))
    for letter in "dASDTsuctj":
        write(f"flags/{letter}", b"f")
        subprocess.run(["chattr", f"+{letter}", path("flags", letter)], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["chattr", "-p", "4711", path("flags", "d")], stderr=subprocess.DEVNULL, check=False)


for step in [sizes, deep, links, special, names, modes, times, xattrs, flags, sparse, preallocated, fragmented, huge_sparse, many]:
    attempt(step.__name__, step)
