"""Bytes from S3 and what speaks its protocol, through obstore.

Credentials, region and endpoint come from the standard variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on), which
obstore reads itself. Its own retries are off: `transfer` tries again, for ever, and says so.
"""

import os
import re
from asyncio import timeout
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import S3Store

from leadline_runtime.fetch import stores

_STATUS: Final = re.compile(r"status code: (\d{3}[ A-Za-z]*)")
_ELAPSED: Final = re.compile(r" in [\d.]+\S*s\b")
"""obstore's messages tell how long a try took; a condition's message must not change with every try."""


class S3Object:
    """One object."""

    def __init__(self, uri: str) -> None:
        self._shown = stores.shown(uri)
        parts = urlsplit(uri)
        self._key = unquote(parts.path.lstrip("/"))
        if not parts.netloc or not self._key:
            raise stores.StoreError(stores.Fault.NOT_FOUND, f"{self._shown}: expected s3://bucket/key")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        allow_http = os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"true", "1", "yes"}
        if endpoint.startswith("http://") and not allow_http:
            raise stores.StoreError(
                stores.Fault.UNREACHABLE,
                f"{self._shown}: AWS_ENDPOINT_URL is {stores.shown(endpoint)}; plain http needs AWS_ALLOW_HTTP=true",
            )
        try:
            self._store = S3Store(
                parts.netloc.rpartition("@")[2],
                retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=stores.CONNECT_SECONDS)},
                client_options={
                    "allow_http": allow_http,
                    "connect_timeout": timedelta(seconds=stores.CONNECT_SECONDS),
                    "read_timeout": timedelta(seconds=stores.STALL_SECONDS),
                    # Of the whole transfer: stalls are timed byte by byte.
                    "timeout": timedelta(days=1),
                },
            )
        except Exception as error:
            raise self._error(error) from error

    @asynccontextmanager
    async def open(self, offset: int, validator: str) -> AsyncIterator[stores.Stream]:
        """Ask for the bytes."""
        options: dict[str, Any] = {"range": {"offset": offset}, "if_match": validator} if offset else {}
        try:
            async with timeout(stores.STALL_SECONDS):
                result = await obstore.get_async(self._store, self._key, options=options)  # type: ignore[arg-type]
        except obstore.exceptions.PreconditionError as error:
            raise stores.ChangedError(self._shown) from error
        except Exception as error:
            raise self._error(error) from error
        meta = result.meta
        yield stores.Stream(
            start=result.range[0],
            total_bytes=meta["size"],
            validator=meta["e_tag"] or "",
            chunks=self._chunks(result),
        )

    async def _chunks(self, result: Any) -> AsyncIterator[bytes]:
        stream = aiter(result.stream(min_chunk_size=stores.CHUNK_BYTES))
        while True:
            try:
                async with timeout(stores.STALL_SECONDS):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except Exception as error:
                raise self._error(error) from error
            yield bytes(chunk)

    def _error(self, error: Exception) -> stores.StoreError:
        """Return our error for one of obstore's, whose classes overlap with the built-in ones."""
        text = str(error)
        status = _STATUS.search(text)
        if status is not None:
            fault = stores.fault_of_status(int(status[1][:3]))
            return stores.StoreError(fault, f"GET {self._shown} answered {status[1].strip()}")
        if isinstance(error, TimeoutError):
            return stores.StoreError(
                stores.Fault.UNREACHABLE,
                f"GET {self._shown}: no byte within {stores.STALL_SECONDS:g} s",
            )
        if isinstance(error, FileNotFoundError):
            return stores.StoreError(stores.Fault.NOT_FOUND, f"GET {self._shown}: there is no such object")
        first = _ELAPSED.sub("", text.partition("\n")[0])
        return stores.StoreError(stores.Fault.UNREACHABLE, f"GET {self._shown}: {first[:400]}")
