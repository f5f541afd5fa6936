"""Writes an NFIT with one structure of each kind, from the specification alone (ACPI 6.5, 5.2.25). Usage: nfit-table.py FILE"""
import struct
import sys
import uuid


def structure(kind, body):
    return struct.pack("<HH", kind, len(body) + 4) + body


def guid(text):
    return uuid.UUID(text).bytes_le


pm, control = guid("66F0D379-B4F3-4074-AC43-0D3318B78CDB"), guid("92F701F6-13B4-405D-910B-299367E8234C")
structures = [
    # SPA range: index, flags, reserved, proximity domain, type, base, length, memory attributes; with a location cookie
    structure(0, struct.pack("<HHII16sQQQQ", 1, 6, 0, 3, pm, 0x240000000, 0x400000000, 0x8000000000008008, 0x1122334455667788)),
    structure(0, struct.pack("<HHII16sQQQ", 2, 0, 0, 0, control, 0xF0000000, 0x1000, 1)),
    # region mapping: handle, physical id, region id, range, control region, size, offset, address, interleave, ways, flags, reserved
    structure(1, struct.pack("<IHHHHQQQHHHH", 0x20, 0x1001, 0, 1, 7, 0x400000000, 0, 0x10000, 5, 2, 0b0010100, 0)),
    # interleave: index, reserved, lines, line size, offsets
    structure(2, struct.pack("<HHII4I", 5, 0, 4, 4096, 0, 2, 4, 6)),
    structure(3, struct.pack("<I", 0) + b"SMBIOS data."),
    # control region: index, vendor, device, revision, subsystem vendor, device, revision, valid, location, date, reserved, serial, code, windows
    structure(4, struct.pack("<HHHHHHHBBHHIHH", 7, 0x8086, 0x97A, 1, 0x8086, 0x97B, 2, 1, 4, 0x1723, 0, 0xCAFE, 0x201, 2)
              # window size, command offset and size, status offset and size, flags, reserved
              + struct.pack("<QQQQQH6x", 0x2000, 0, 8, 8, 4, 1)),
    structure(4, struct.pack("<HHHHHHHBBHHIHH", 8, 0x8086, 0x97A, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x301, 0)),
    # block data window: control region, windows, offset, size, capacity, first block
    structure(5, struct.pack("<HHQQQQ", 7, 2, 0x1000, 0x2000, 0x80000000, 0)),
    # flush hints: handle, count, reserved, addresses
    structure(6, struct.pack("<IH6xQQ", 0x20, 2, 0xF1000000, 0xF1000040)),
    # platform capabilities: highest bit, reserved, bits, reserved
    structure(7, struct.pack("<B3xII", 2, 0b011, 0)),
    structure(0x8001, b"from a later time"),
]
body = b"".join(structures)
header = struct.pack("<4sIBB6s8sI4sII", b"NFIT", 40 + len(body), 1, 0, b"OEM-ID", b"TABLE-ID", 2, b"PYTH", 3, 0)
table = bytearray(header + body)
table[9] = -sum(table) & 0xFF
open(sys.argv[1], "wb").write(table)
