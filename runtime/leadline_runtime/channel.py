"""Messages between supervisor and worker: a length in four bytes, then msgpack, over a socket pair.

Either side ends when the other does: end of file is how a worker learns that its supervisor is gone. A peer that does
not read is a defect of ours, so the bound on unsent bytes ends the channel instead of blocking. Knows no message.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any, Final, Generic, TypeVar

import msgspec

FRAME_BYTES_MAX: Final = 4 << 20
"""The largest message is a test set's bitmap of 8 KiB; anything near this bound is a defect."""
UNSENT_BYTES_MAX: Final = 16 << 20

In = TypeVar("In")
Out = TypeVar("Out")


class ChannelError(Exception):
    """The peer sent what is no message, or does not read."""


class Channel(Generic[In, Out]):
    """One end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, incoming: Any) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder: msgspec.msgpack.Decoder[In] = msgspec.msgpack.Decoder(incoming)
        self._encoder = msgspec.msgpack.Encoder()

    @classmethod
    async def over(cls, end: socket.socket, incoming: Any) -> "Channel[In, Out]":
        """Return a channel over one end of a socket pair; `incoming` is the type (or union) of what is received."""
        reader, writer = await asyncio.open_unix_connection(sock=end)
        return cls(reader, writer, incoming)

    def send(self, message: Out) -> None:
        """Send without waiting.

        Raises:
            ChannelError: The peer has not read for a long time.
        """
        if self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            raise ChannelError(f"peer left more than {UNSENT_BYTES_MAX} bytes unread")
        data = self._encoder.encode(message)
        self._writer.write(len(data).to_bytes(4, "big") + data)

    async def receive(self) -> AsyncIterator[In]:
        """Yield messages until the peer ends.

        Raises:
            ChannelError: What came is no message.
        """
        while True:
            try:
                length = int.from_bytes(await self._reader.readexactly(4), "big")
                if length > FRAME_BYTES_MAX:
                    raise ChannelError(f"message of {length} bytes, limit {FRAME_BYTES_MAX}")
                data = await self._reader.readexactly(length)
                message = self._decoder.decode(data)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            except msgspec.MsgspecError as error:
                raise ChannelError(f"not a message: {error}") from error
            yield message

    def close(self) -> None:
        """End this side."""
        self._writer.close()
