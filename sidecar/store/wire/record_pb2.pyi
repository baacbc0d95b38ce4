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
    __slots__ = ("status", "headers", "body", "trailers", "fingerprint", "replayable")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    TRAILERS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    REPLAYABLE_FIELD_NUMBER: _ClassVar[int]
    status: int
    headers: _containers.RepeatedCompositeFieldContainer[Field]
    body: bytes
    trailers: _containers.RepeatedCompositeFieldContainer[Field]
    fingerprint: bytes
    replayable: bool
    def __init__(self, status: _Optional[int] = ..., headers: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., body: _Optional[bytes] = ..., trailers: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., fingerprint: _Optional[bytes] = ..., replayable: _Optional[bool] = ...) -> None: ...

class Field(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: bytes
    def __init__(self, name: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
