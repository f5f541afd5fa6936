"""Runs operations on attributes on a mounted filesystem: python3 xattrs.py MOUNT < operations.

Prints the name of each error ("" for none), then what every file has at the end, as JSON."""
import errno
import json
import os
import stat
import sys

root = os.fsencode(sys.argv[1])
operations = json.load(sys.stdin)


def attempt(action):
    try:
        action()
        return ""
    except OSError as error:
        return "EOPNOTSUPP" if error.errno == errno.EOPNOTSUPP else errno.errorcode[error.errno]


def run(operation):
    path = os.path.join(root, os.fsencode(operation["file"]))
    if operation["op"] == "chmod":
        return attempt(lambda: os.chmod(path, operation["mode"]))
    if operation["op"] == "create":
        os.umask(operation["umask"])
        if operation["isDirectory"]:
            return attempt(lambda: os.mkdir(path, operation["mode"]))
        return attempt(lambda: os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, operation["mode"])))
    name = operation["name"].encode("latin1")
    if operation["op"] == "remove":
        return attempt(lambda: os.removexattr(path, name, follow_symlinks=False))
    value = bytes.fromhex(operation["value"])
    return attempt(lambda: os.setxattr(path, name, value, operation["flags"], follow_symlinks=False))


def attributes(path):
    found = {}
    for name in os.listxattr(path, follow_symlinks=False):
        try:
            found[os.fsencode(name).decode("latin1")] = os.getxattr(path, name, follow_symlinks=False).hex()
        except OSError as error:
            found[name] = errno.errorcode[error.errno]
    return found


results = [run(operation) for operation in operations]
files = {}
for name in sorted({operation["file"] for operation in operations}):
    path = os.path.join(root, os.fsencode(name))
    status = os.lstat(path)
    files[name] = {"mode": status.st_mode, "blocks": status.st_blocks, "isDirectory": stat.S_ISDIR(status.st_mode), "attributes": attributes(path)}
json.dump({"results": results, "files": files}, sys.stdout)
