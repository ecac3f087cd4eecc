"""Both clients behind one face: the awaited one is run in a loop of its own, so that each test holds for both."""

import asyncio
import inspect

import httpx
from leadline_client import AsyncClient, Client


class Awaited:
    """An `AsyncClient` that blocks."""

    def __init__(self, *args, **more):
        self.runner = asyncio.Runner()
        self.client = AsyncClient(*args, **more)

    def __getattr__(self, name):
        method = getattr(self.client, name)
        assert inspect.iscoroutinefunction(method)
        return lambda *args, **more: self.runner.run(method(*args, **more))

    def __enter__(self):
        self.runner.run(self.client.__aenter__())
        return self

    def __exit__(self, *_):
        self.runner.run(self.client.__aexit__(None, None, None))
        self.runner.close()


BOTH = {"Client": Client, "AsyncClient": Awaited}


def transport(server):
    """Return a transport that asks a function from `httpx.Request` to `httpx.Response`."""
    return httpx.MockTransport(server)
