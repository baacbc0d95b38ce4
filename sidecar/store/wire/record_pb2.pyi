from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Envelope(_message.Message):
    __slots__ = ("format_version", "checksum", "record")
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    format_version: int
    checksum: int
    record: bytes
    def __init__(self, format_version: _Optional[int] = ..., checksum: _Optional[int] = ..., record: _Optional[bytes] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("status", "headers", "body", "trailers", "fingerprint", "replayable", "large_body")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    TRAILERS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    REPLAYABLE_FIELD_NUMBER: _ClassVar[int]
    LARGE_BODY_FIELD_NUMBER: _ClassVar[int]
    status: int
    headers: _containers.RepeatedCompositeFieldContainer[Field]
    body: bytes
    trailers: _containers.RepeatedCompositeFieldContainer[Field]
    fingerprint: bytes
    replayable: bool
    large_body: LargeBody
    def __init__(self, status: _Optional[int] = ..., headers: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., body: _Optional[bytes] = ..., trailers: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., fingerprint: _Optional[bytes] = ..., replayable: _Optional[bool] = ..., large_body: _Optional[_Union[LargeBody, _Mapping]] = ...) -> None: ...

class LargeBody(_message.Message):
    __slots__ = ("claim_id", "owner", "size", "piece_bytes", "checksums", "compressed")
    CLAIM_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PIECE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHECKSUMS_FIELD_NUMBER: _ClassVar[int]
    COMPRESSED_FIELD_NUMBER: _ClassVar[int]
    claim_id: str
    owner: str
    size: int
    piece_bytes: int
    checksums: _containers.RepeatedScalarFieldContainer[int]
    compressed: bool
    def __init__(self, claim_id: _Optional[str] = ..., owner: _Optional[str] = ..., size: _Optional[int] = ..., piece_bytes: _Optional[int] = ..., checksums: _Optional[_Iterable[int]] = ..., compressed: _Optional[bool] = ...) -> None: ...

class Field(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: bytes
    def __init__(self, name: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
