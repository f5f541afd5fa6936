"""
Encrypted directories on a mounted filesystem, through fscrypt's ioctls (include/uapi/linux/fscrypt.h).

    fscrypt.py fill ROOT COUNT   gives the filesystem its keys and makes a directory for each policy, with one of everything; one of them gets COUNT entries more
    fscrypt.py lock ROOT         takes the keys away
"""
import fcntl
import os
import struct
import sys

FS_IOC_SET_ENCRYPTION_POLICY = 0x800C6613
FS_IOC_ADD_ENCRYPTION_KEY = 0xC0506617
FS_IOC_REMOVE_ENCRYPTION_KEY = 0xC0406618
BY_DESCRIPTOR, BY_IDENTIFIER = 1, 2
KEY = bytes(range(64))
DESCRIPTOR = b"ext4test"
# The modes that every kernel with fscrypt has.
AES_256_XTS, AES_256_CTS = 1, 4

# Ciphertexts of names are padded to multiples of 4, 8, 16 or 32 bytes; past 149 bytes the shown form ends in a hash.
LENGTHS = [1, 2, 4, 5, 15, 16, 17, 31, 32, 33, 100, 128, 129, 143, 144, 145, 147, 148, 149, 150, 151, 160, 161, 176, 177, 200, 224, 239, 240, 241, 252, 253, 254, 255]


def with_directory(path, call, argument):
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, call, argument)
    finally:
        os.close(fd)
    return argument


def specifier(kind, name):
    return struct.pack("<II32s", kind, 0, name)


def add_key(root, kind, name):
    """Returns the key's identifier."""
    argument = bytearray(specifier(kind, name) + struct.pack("<II32x", len(KEY), 0) + KEY)
    return bytes(with_directory(root, FS_IOC_ADD_ENCRYPTION_KEY, argument)[8:24])


def remove_key(root, kind, name):
    with_directory(root, FS_IOC_REMOVE_ENCRYPTION_KEY, bytearray(specifier(kind, name) + struct.pack("<I20x", 0)))


def policies(identifier):
    """By directory; the lowest bits of the flags are the padding. Version 1 names its key by a descriptor."""

    def second(flags):
        return struct.pack("<BBBB4x16s", 2, AES_256_XTS, AES_256_CTS, flags, identifier)

    first = struct.pack("<BBBB8s", 0, AES_256_XTS, AES_256_CTS, 0, DESCRIPTOR)
    return {"pad4": second(0), "pad8": second(1), "pad16": second(2), "pad32": second(3), "many": second(0), "few": second(0), "first": first}


def put(path, data):
    with open(path, "wb") as file:
        file.write(data)


def fill(root, count):
    identifier = add_key(root, BY_IDENTIFIER, b"")
    add_key(root, BY_DESCRIPTOR, DESCRIPTOR)
    os.mkdir(f"{root}/plain")
    put(f"{root}/plain/file", b"for all to read")
    os.symlink("file", f"{root}/plain/link")
    for name, policy in policies(identifier).items():
        directory = f"{root}/{name}"
        os.mkdir(directory)
        with_directory(directory, FS_IOC_SET_ENCRYPTION_POLICY, bytearray(policy))
        if name == "few":
            for length in (1, 100, 200, 255):
                put(f"{directory}/{'n' * length}", b"in one block")
            continue
        for length in LENGTHS:
            put(f"{directory}/{str(length).rjust(length, 'n')[-length:]}", b"d" * length * 37)
            # The long form must tell names apart that begin alike, as their ciphertexts do, too.
            if length > 200:
                put(f"{directory}/{'n' * (length - 3)}end", b"other")
        put(f"{directory}/empty", b"")
        put(f"{directory}/h\u00e9llo \u6f22\u5b57", b"utf-8")
        with open(f"{directory}/sparse", "wb") as file:
            file.seek(300_000)
            file.write(b"end")
        os.makedirs(f"{directory}/sub/deeper/{'d' * 255}/bottom")
        put(f"{directory}/sub/deeper/file", b"down here")
        for length in (1, 13, 14, 50, 57, 58, 59, 100, 255, 700):
            os.symlink("t" * length, f"{directory}/link-{length}")
        os.symlink("sub", f"{directory}/to-sub")
        os.mkfifo(f"{directory}/fifo", 0o640)
        os.mknod(f"{directory}/device", 0o060600, os.makedev(8, 300))
        os.link(f"{directory}/empty", f"{directory}/hard")
        os.setxattr(f"{directory}/hard", "user.seen", b"by all")
        os.chown(f"{directory}/hard", 70000, 5)
        for index in range(count if name == "many" else 0):
            put(f"{directory}/{'entry' * (index % 30)}-{index}", b"")


def lock(root):
    identifier = add_key(root, BY_IDENTIFIER, b"")
    remove_key(root, BY_IDENTIFIER, identifier)
    remove_key(root, BY_DESCRIPTOR, DESCRIPTOR)


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(sys.argv[2], int(sys.argv[3]))
    else:
        lock(sys.argv[2])
