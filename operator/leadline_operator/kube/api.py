"""Requests to the API server: plain JSON in and out, one timeout each, own errors.

The client of the kubernetes package does what is easy to get wrong: kubeconfig, TLS, renewal of the service account's
token. Its typed models are not used: they drop fields that they do not know.
"""

import asyncio
import json
import os
from typing import Final, Self

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from leadline_operator.kube import errors
from leadline_operator.kube.resources import Resource
from leadline_operator.specs.metadata import Manifest

TIMEOUT_SECONDS: Final = 10.0
"""Of one request; the API server itself gives up after 60 s, by when a decision is stale."""
PAGE_SIZE: Final = 500
FIELD_MANAGER: Final = "leadline"


class Api:
    """The API server, as far as the operator needs it."""

    def __init__(self, client: ApiClient, *, concurrency: int = 32) -> None:
        self._client = client
        self._slots = asyncio.Semaphore(concurrency)

    @classmethod
    async def connect(cls) -> Self:
        """Return a connection by service account inside a cluster, else by kubeconfig."""
        configuration = Configuration()
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(client_configuration=configuration)
        return cls(ApiClient(configuration))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest:
        """Return one object as it is at the API server."""
        return await self._request("GET", resource.path(namespace, name))

    async def list_all(self, resource: Resource, *, selector: str = "") -> tuple[list[Manifest], str]:
        """Return all objects of a kind, read a page at a time, and the resourceVersion of the list."""
        items: list[Manifest] = []
        query = [("limit", str(PAGE_SIZE)), *([("labelSelector", selector)] if selector else [])]
        page = await self._request("GET", resource.path(), query=query)
        version: str = page["metadata"]["resourceVersion"]
        while True:
            items += [
                {"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in page.get("items") or ()
            ]
            token = page["metadata"].get("continue")
            if not token:
                return items, version
            page = await self._request("GET", resource.path(), query=[*query, ("continue", token)])

    async def create(self, resource: Resource, namespace: str | None, body: Manifest) -> Manifest:
        """POST a new object and return it."""
        return await self._request("POST", resource.path(namespace), body=body, query=[("fieldManager", FIELD_MANAGER)])

    async def replace(self, resource: Resource, namespace: str | None, body: Manifest) -> Manifest:
        """PUT an object; its metadata must carry the uid and resourceVersion that were observed."""
        metadata = body["metadata"]
        if not metadata.get("uid") or not metadata.get("resourceVersion"):
            raise ValueError(f"{resource.kind} {metadata.get('name')}: a replacement needs uid and resourceVersion")
        path = resource.path(namespace, metadata["name"])
        return await self._request("PUT", path, body=body, query=[("fieldManager", FIELD_MANAGER)])

    async def delete(
        self, resource: Resource, namespace: str | None, name: str, *, uid: str = "", resource_version: str = ""
    ) -> Manifest:
        """Delete an object, and what it owns in the background; with a uid, only that one, with a version only as it was.

        Returns:
            The object where it takes time to go, else a Status.
        """
        body: Manifest = {"propagationPolicy": "Background"}
        conditions = {"uid": uid, "resourceVersion": resource_version}
        if uid or resource_version:
            body["preconditions"] = {name: value for name, value in conditions.items() if value}
        return await self._request("DELETE", resource.path(namespace, name), body=body)

    async def apply_status(self, resource: Resource, namespace: str, body: Manifest) -> Manifest:
        """Server-side apply the whole status; metadata.uid guards against a namesake."""
        path = resource.path(namespace, body["metadata"]["name"], "status")
        query = [("fieldManager", f"{FIELD_MANAGER}-status"), ("force", "true")]
        return await self._request("PATCH", path, body=body, query=query, content_type="application/apply-patch+yaml")

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Manifest | None = None,
        query: list[tuple[str, str]] | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        request = f"{method} {path}"
        try:
            async with self._slots, asyncio.timeout(TIMEOUT_SECONDS):
                arguments = await self._client.param_serialize(
                    method,
                    path,
                    query_params=query or [],
                    header_params=headers,
                    body=body,
                    auth_settings=["BearerToken"],
                )
                answer = await self._client.call_api(*arguments, _request_timeout=TIMEOUT_SECONDS)
                raw = await answer.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise errors.Unreachable(f"{request}: no answer ({type(error).__name__}: {error})") from error
        try:
            data: Manifest = json.loads(raw) if raw else {}
        except ValueError:
            data = {"message": raw[:200].decode(errors="replace")}
        if answer.status >= 400:
            raise errors.from_answer(request, answer.status, data)
        return data
