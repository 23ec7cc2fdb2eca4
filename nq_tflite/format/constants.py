"""What option block and section table share: constants, version rule, errors.

custom_ops/include/nq/format.h has the same constants for C++; a test compares the two and FORMAT.md.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from nq_tflite.errors import FormatError
from nq_tflite.format.nesting import MIN_PART_BITS

CUSTOM_OP_NAME = "NQ_UNPACK_DEQUANT"
CUSTOM_OP_VERSION = 1
METADATA_NAME = "NQ_SECTIONS"
#: Ends the name of a bias that was made for a layer: behind the name of the shared one that it read, or of its weight.
MADE_BIAS = "/level_bias"

FORMAT_MAJOR = 1
#: The newest that is read; a block is written with the smallest that has all of its flags.
FORMAT_MINOR = 1
GROUPS_MINOR = 1
TABLE_MINOR = 0

SECTION_ALIGNMENT = 16384
BUFFER_ALIGNMENT = 64

OPTION_MAGIC = b"NQOP"
TABLE_MAGIC = b"NQST"

OPTION_HEADER = struct.Struct("<4sHHII4BIII")
OPTION_LEVEL = struct.Struct("<QB3xf")
TABLE_HEADER = struct.Struct("<4sHHII")
TABLE_SECTION = struct.Struct("<QQII")
TABLE_CHECKSUM = struct.Struct("<I")

FLAG_BIAS = 1 << 0
FLAG_GROUPS = 1 << 1
FLAG_START = 1 << 16
CRITICAL_FLAGS = 0xFFFF

#: What systems can count: positions in files are signed.
MAX_FILE_BYTES = (1 << 63) - 1

#: Depth indices that may share a scale.
GROUP_SIZES = (32, 64, 128)

MIN_LEVELS = 2
MAX_LEVELS = 7
MIN_FULL_BITS = MIN_PART_BITS + 1

CONVERT_AGAIN = "The file is damaged: copy or convert it again."
NEWER = "The file is damaged or needs a newer nq_tflite."


class OutputType(IntEnum):
    """Type of the weights that the operator gives its consumer: TFLite's TensorType."""

    FLOAT32 = 0
    INT8 = 9


def align(position: int, alignment: int) -> int:
    """Smallest multiple of `alignment` that is not below `position`.

    >>> align(65, 64)
    128
    """
    return -(-position // alignment) * alignment


def bad_format(what: str, expected: str, got: object, fix: str = CONVERT_AGAIN) -> FormatError:
    """The error of a file that breaks a rule of FORMAT.md section 7."""
    return FormatError(what, expected=expected, got=str(got), fix=fix)


def check_version(what: str, expected: bytes, magic: bytes, major: int) -> None:
    """Raises FormatError unless a block starts with its magic bytes and has a major version that this code reads."""
    if magic != expected:
        raise bad_format(f"{what} magic", repr(expected), repr(magic))
    if major != FORMAT_MAJOR:
        raise bad_format(
            f"{what} version", f"{FORMAT_MAJOR}.x", f"{major}.x", "Use the nq_tflite that matches the file."
        )
