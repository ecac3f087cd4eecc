"""What a runtime under measurement talks to, as light as Python gets: a target of copies, and a ledger that takes all."""

import asyncio
import sys
from typing import cast

import httptools
import uvloop

WORDS = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\ni7"
TAKEN = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{"fates":[]}'


class Target(asyncio.Protocol):
    """Answers pipelined requests, all of one read in one write."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpRequestParser(self)
        self.answers: list[bytes] = []
        self.answer = WORDS

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)
        self.transport.write(b"".join(self.answers))
        self.answers.clear()

    def on_url(self, target: bytes) -> None:
        self.answer = TAKEN if target.endswith(b"/intake") else WORDS

    def on_message_complete(self) -> None:
        self.answers.append(self.answer)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Target, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
