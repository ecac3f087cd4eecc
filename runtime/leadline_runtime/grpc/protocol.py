"""The messages of gRPC's services, built of `protocol.binpb`, which `make generate` makes of the .proto files beside it.

They live in a pool of their own: in one process with a client library, which has messages of the same names, generated
code would not load. Must not know models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message, message_factory

FILES: Final = descriptor_pb2.FileDescriptorSet.FromString(
    (Path(__file__).parent / "protocol.binpb").read_bytes(),
).file
"""Descriptors of all files, in an order in which each finds what it needs."""
_POOL: Final = descriptor_pool.DescriptorPool()
for _file in FILES:
    _POOL.Add(_file)

INFERENCE: Final = "inference.GRPCInferenceService"
HEALTH: Final = "grpc.health.v1.Health"
REFLECTION: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

DecodeError: type[Exception] = message.DecodeError
"""What reading a message raises where the bytes are none."""


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


InferRequest: Final = _message("inference.ModelInferRequest")
InferResponse: Final = _message("inference.ModelInferResponse")
StreamResponse: Final = _message("inference.ModelStreamInferResponse")
LiveResponse: Final = _message("inference.ServerLiveResponse")
ReadyResponse: Final = _message("inference.ServerReadyResponse")
ModelRequest: Final = _message("inference.ModelReadyRequest")
"""Asks for readiness, metadata or configuration of a model: all have the same fields."""
ModelReadyResponse: Final = _message("inference.ModelReadyResponse")
ServerMetadata: Final = _message("inference.ServerMetadataResponse")
ModelMetadata: Final = _message("inference.ModelMetadataResponse")
ModelConfig: Final = _message("inference.ModelConfigResponse")
IndexRequest: Final = _message("inference.RepositoryIndexRequest")
IndexResponse: Final = _message("inference.RepositoryIndexResponse")
HealthRequest: Final = _message("grpc.health.v1.HealthCheckRequest")
HealthResponse: Final = _message("grpc.health.v1.HealthCheckResponse")
ReflectionRequest: Final = _message("grpc.reflection.v1.ServerReflectionRequest")
ReflectionResponse: Final = _message("grpc.reflection.v1.ServerReflectionResponse")


def of_json(kind: Any, text: bytes) -> Any:
    """Return the message that JSON describes; what the message has no field for is left out."""
    return json_format.Parse(text, kind(), ignore_unknown_fields=True)


def path(service: str, method: str) -> bytes:
    """Return the path of a method."""
    return f"/{service}/{method}".encode()


def file_of(symbol: str) -> bytes | None:
    """Return the descriptor of the file that defines a symbol; None: there is none."""
    for file in FILES:
        for kind in (*file.service, *file.message_type, *file.enum_type):
            whole = f"{file.package}.{kind.name}"
            if symbol == whole or symbol.startswith(whole + "."):
                return bytes(file.SerializeToString())
    return None


def file_named(name: str) -> bytes | None:
    """Return the descriptor of a file; None: there is none."""
    return next((file.SerializeToString() for file in FILES if file.name == name), None)
