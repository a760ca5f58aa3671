"""The wire format of protobuf as far as big messages need it: their long fields go in and out without being copied.

A parser copies every field twice. Worse, it makes an object of each element of a repeated message, which two bytes on
the wire suffice to ask for. So the top level of a message is walked here first, and its fields are counted.
"""

from __future__ import annotations

from trimtab.errors import InvalidInputError

MAX_FIELDS = 1024
"""Fields on the top level of one message, every element of a repeated field counted."""
_VARINT_BYTES = 10
_LENGTH_DELIMITED = 2
_FIXED_BYTES = {1: 8, 5: 4}


def split(message: bytes, number: int) -> tuple[bytes, list[memoryview]]:
    """A message without one of its fields, and the values of that field, in order, as views of `message`.

    Args:
        message: as it came.
        number: of a field whose values are bytes.

    Raises:
        InvalidInputError: it is no protobuf message, or has more than `MAX_FIELDS` fields.
    """
    view = memoryview(message)
    wanted = number << 3 | _LENGTH_DELIMITED
    values: list[memoryview] = []
    rest: list[memoryview] = []
    rest_from = position = fields = 0
    while position < len(message):
        fields += 1
        if fields > MAX_FIELDS:
            raise InvalidInputError("the message has too many fields", wanted=f"at most {MAX_FIELDS}")
        key, start = _varint(message, position)
        end = _end(message, key, start)
        if key == wanted:
            _, start = _varint(message, start)
            values.append(view[start:end])
            rest.append(view[rest_from:position])
            rest_from = end
        position = end
    if not values:
        return message, values
    return b"".join((*rest, view[rest_from:])), values


def field(number: int, value: bytes) -> tuple[bytes, bytes]:
    """A field whose value is bytes or a message, in two parts to join with others."""
    return _as_varint(number << 3 | _LENGTH_DELIMITED) + _as_varint(len(value)), value


def _end(message: bytes, key: int, start: int) -> int:
    """Where the field ends whose value starts at `start`."""
    kind = key & 7
    if kind == _LENGTH_DELIMITED:
        length, start = _varint(message, start)
        end = start + length
    elif kind == 0:
        _, end = _varint(message, start)
    elif kind in _FIXED_BYTES:
        end = start + _FIXED_BYTES[kind]
    else:  # groups, which this protocol never had
        raise _malformed()
    if end > len(message):
        raise _malformed()
    return end


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = 0
    for shift, byte in enumerate(message[position : position + _VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, position + shift + 1
    raise _malformed()


def _as_varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _malformed() -> InvalidInputError:
    return InvalidInputError("not a message of the protocol: it is no valid protobuf")
