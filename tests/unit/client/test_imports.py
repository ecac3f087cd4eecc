"""What importing the client brings in, that its names are there, and that the two clients are the same but for awaiting."""

import inspect
import json
import subprocess
import sys

import leadline_client
import pytest
from leadline_client import AsyncClient, Client

HEAVY = {"aiohttp", "asyncio", "httpx", "logging", "msgspec", "numpy", "sqlite3", "ssl"}
OURS = {"leadline", "leadline_api", "leadline_cli", "leadline_ledger", "leadline_operator", "leadline_runtime"}
ASYNC_ONLY = {"__aenter__": "__enter__", "__aexit__": "__exit__"}


def test_import_brings_in_nothing_heavy_and_nothing_of_ours_but_the_wire():
    code = (
        "import json, sys, leadline_client; print(json.dumps(sorted(name.partition('.')[0] for name in sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (HEAVY | OURS) & set(json.loads(done.stdout)) == set()


def test_public_names_are_there_and_no_others():
    visible = {name for name, value in vars(leadline_client).items() if name[0] != "_" and not inspect.ismodule(value)}
    assert visible - {"Any", "TYPE_CHECKING"} == set(leadline_client.__all__) - {"AsyncClient"}
    assert leadline_client.AsyncClient is AsyncClient
    with pytest.raises(AttributeError, match="no attribute 'Cleint'; it has Answer, AsyncClient"):
        _ = leadline_client.Cleint


def methods(kind):
    return {
        ASYNC_ONLY.get(name, name): value
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and (name[0] != "_" or name in {*ASYNC_ONLY, *ASYNC_ONLY.values(), "__init__"})
    }


@pytest.mark.parametrize("name", sorted(methods(Client)))
def test_method_of_both_clients_takes_and_gives_the_same(name):
    blocking, awaited = inspect.signature(methods(Client)[name]), inspect.signature(methods(AsyncClient)[name])
    assert [each.replace(annotation=None) for each in blocking.parameters.values()] == [
        each.replace(annotation=None) for each in awaited.parameters.values()
    ]
    assert {
        key: each.annotation.replace("AsyncBase", "Base")
        for key, each in awaited.parameters.items()
        if key[0] not in "s_"
    } == {key: each.annotation for key, each in blocking.parameters.items() if key[0] not in "s_"}
    assert awaited.return_annotation == blocking.return_annotation
    assert inspect.iscoroutinefunction(methods(AsyncClient)[name]) == (name != "__init__")


def test_both_clients_have_the_same_methods():
    assert set(methods(Client)) == set(methods(AsyncClient))
