"""The bare echo that bench-serving compares with: uvloop and httptools, a constant answer, nothing else."""

import asyncio
import sys

import httptools
import uvloop

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}'


class Echo(asyncio.Protocol):
    """Takes the body, as any server must, and drops it."""

    def connection_made(self, transport):
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = []

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_url(self, url):
        pass

    def on_body(self, body):
        self.body.append(body)

    def on_message_complete(self):
        self.body = []
        self.transport.write(ANSWER)


async def serve(port):
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
