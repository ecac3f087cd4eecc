"""Captured inputs over real HTTP, on a volume and in a bucket: what a file holds, once each, bounds, and who may."""

import http.client
import itertools
import shutil
import types

import msgspec
import pyarrow as pa
import pyarrow.parquet
import pytest
from leadline_wire import captures

from tests.unit.ledger.ledgers import DAY_MS, NOW_MS, identifier
from tests.wiring.ledger.chunks import PATH, bring, chunk, floats
from tests.wiring.ledger.parts import OPERATOR, here
from tests.wiring.runtime.servers import S3

_PREFIXES = itertools.count()
OTHER = "system:serviceaccount:bank:default"


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    with S3(tmp_path_factory.mktemp("captures")) as server:
        yield server


class Place:
    """Where files are, and how they are looked at from beside the ledger."""

    def __init__(self, folder, uri=""):
        self.folder, self.uri = folder, uri

    def files(self):
        return sorted(path for path in (self.folder / "captures").rglob("*") if path.is_file())

    def tables(self):
        return [pyarrow.parquet.read_table(path) for path in self.files()]


@pytest.fixture(params=["volume", "bucket"])
def place(request, tmp_path, monkeypatch):
    if request.param == "volume":
        return Place(tmp_path)
    s3 = request.getfixturevalue("s3")
    for name, value in s3.credentials().items():
        monkeypatch.setenv(name, value)
    part = f"captured{next(_PREFIXES)}"
    return Place(s3.bucket / part, f"s3://models/{part}")


async def test_a_chunk_is_a_file_with_a_column_per_input_of_its_own_type(tmp_path, api, place):
    columns = [
        captures.Column("X", "FP32", [2], floats(1.5, 2.5, float("nan"), -0.0)),
        captures.Column("age", "INT64", [], (7).to_bytes(8, "little") + (-8).to_bytes(8, "little", signed=True)),
        captures.Column("small", "UINT8", [2, 2], bytes(range(8))),
        captures.Column("sure", "BOOL", [1], b"\x01\x00"),
        captures.Column("word", "BYTES", [], texts=["über", ""]),
        captures.Column("tokens", "INT32", [-1], b"".join(n.to_bytes(4, "little") for n in (1, 2, 3)), lengths=[0, 3]),
        captures.Column("notes", "BYTES", [-1], texts=["a", "b"], lengths=[2, 0]),
    ]
    brought = captures.Chunk(identifier(1) + identifier(1), columns, [0, 5])
    async with here(tmp_path, api, uri=place.uri) as ledger_here:
        assert await bring(ledger_here, brought) == (204, b"")
    (path,) = place.files()
    assert path.parent.relative_to(place.folder).parts == ("captures", "shop", "fraud", "2027-01-15")
    (table,) = place.tables()
    assert table.schema.names == ["prediction_id", "row", *(column.name for column in columns)]
    assert [table.schema.field(name).type for name in ("row", "age", "word")] == [pa.int32(), pa.int64(), pa.string()]
    assert [table.schema.field(name).type.list_size for name in ("X", "small", "sure")] == [2, 4, 1]
    assert [table.schema.field(name).type.value_type for name in ("X", "small", "sure", "tokens", "notes")] == [
        pa.float32(),
        pa.uint8(),
        pa.bool_(),
        pa.int32(),
        pa.string(),
    ]
    first, second = table.to_pylist()
    assert first == {
        "prediction_id": identifier(1),
        "row": 0,
        "X": [1.5, 2.5],
        "age": 7,
        "small": [0, 1, 2, 3],
        "sure": [True],
        "word": "über",
        "tokens": [],
        "notes": ["a", "b"],
    }
    assert second["X"][0] != second["X"][0], "not a number stays what it is"
    assert (second["row"], second["age"], second["tokens"]) == (5, -8, [1, 2, 3])


async def test_the_same_chunk_told_again_is_there_once(tmp_path, api, place):
    async with here(tmp_path, api, uri=place.uri) as ledger_here:
        for _ in range(2):
            assert await bring(ledger_here, chunk(1, 2)) == (204, b"")
        await bring(ledger_here, chunk(3))
        assert sorted(table.num_rows for table in place.tables()) == [1, 2]
    # And by another ledger on the same place.
    async with here(tmp_path, api, uri=place.uri) as ledger_here:
        await bring(ledger_here, chunk(1, 2))
    assert len(place.files()) == 2


async def test_the_oldest_give_way_to_what_a_model_may_keep(tmp_path, api, place):
    async with here(tmp_path, api, uri=place.uri) as ledger_here:
        await bring(ledger_here, chunk(0, at_ms=NOW_MS - DAY_MS))
        size = place.files()[0].stat().st_size
        for number in range(1, 6):
            await bring(ledger_here, chunk(number, at_ms=NOW_MS - DAY_MS + number), f"?max_bytes={size * 5 // 2}")
        left = [table["prediction_id"][0].as_py() for table in place.tables()]
        assert sorted(left) == [identifier(number, NOW_MS - DAY_MS + number) for number in (4, 5)]


async def test_files_go_when_they_are_past_their_age_and_those_of_all_models_fit_together(tmp_path, api, place):
    async with here(tmp_path, api, uri=place.uri, captures_max=20_000) as ledger_here:
        await bring(ledger_here, chunk(1), f"?keep_ms={DAY_MS}")
        await bring(ledger_here, chunk(2), f"?keep_ms={3 * DAY_MS}")
        ledger_here.clock.now_ms += 2 * DAY_MS
        model = "shop/fraud"
        assert [file.rows for file in await ledger_here.captured.files(model)] == [1], (
            "what is past its age is not found"
        )
        await ledger_here.captured.tidy()
        assert [table["prediction_id"][0].as_py() for table in place.tables()] == [identifier(2)]
        for number in range(30):
            await bring(ledger_here, chunk(*range(number, number + 50), at_ms=NOW_MS + number))
        assert sum(path.stat().st_size for path in place.files()) > 20_000
        await ledger_here.captured.tidy()
        assert 0 < sum(path.stat().st_size for path in place.files()) <= 20_000
        _, body, _ = await ledger_here.call("GET", "/metrics", token=None)
        assert f"leadline_ledger_capture_bytes {ledger_here.captured.held_bytes}.0" in body.decode()


async def test_only_the_namespace_and_the_operator_may(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        assert (await bring(ledger_here, chunk(1), token=OTHER))[0] == 403
        assert (await bring(ledger_here, chunk(1), token=None))[0] == 401
        assert not Place(tmp_path).files()
        assert (await bring(ledger_here, chunk(1), token=OPERATOR))[0] == 204


@pytest.mark.parametrize(
    ("brought", "said"),
    [
        (b"\xff", "body: "),
        (captures.Chunk("", [captures.Column("X", "FP32", [1])]), "0 rows, expected 1 to"),
        (captures.Chunk("z" * 32, [captures.Column("X", "FP32", [1], floats(1))]), "hexadecimal"),
        (captures.Chunk(identifier(1), []), "columns: expected different names"),
        (captures.Chunk(identifier(1), [captures.Column("row", "FP32", [1], floats(1))]), "other than prediction_id"),
        (captures.Chunk(identifier(1), [captures.Column("X", "FP32", [2], floats(1))]), "4 texts or bytes, expected 8"),
        (captures.Chunk(identifier(1), [captures.Column("X", "FP16", [1], b"ab")]), "datatype 'FP16', expected one of"),
        (captures.Chunk(identifier(1), [captures.Column("X", "FP32", [-1], b"")]), "0 lengths, expected 1"),
        (
            captures.Chunk(identifier(1), [captures.Column("X", "FP32", [1], floats(1))], [1, 2]),
            "expected 1 row numbers",
        ),
    ],
)
async def test_what_cannot_be_meant_is_refused(tmp_path, api, brought, said):
    async with here(tmp_path, api) as ledger_here:
        status, body = await bring(ledger_here, brought)
        assert (status, said in body.decode()) == (400, True), body
    assert not Place(tmp_path).files()


async def test_a_volume_that_is_nearly_full_takes_outcomes_and_no_captures(tmp_path, api, monkeypatch):
    usage = types.SimpleNamespace(total=1_000_000, free=99_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    async with here(tmp_path, api) as ledger_here:
        status, body = await bring(ledger_here, chunk(1))
        assert (status, b"leave 100000 to outcomes" in body) == (507, True)
        assert (await ledger_here.call("GET", "/readyz", token=None))[0] == 200


async def test_a_folder_that_cannot_be_written_is_told_and_nothing_else_suffers(tmp_path, api):
    (tmp_path / "captures").write_text("in the way")
    async with here(tmp_path, api) as ledger_here:
        status, body = await bring(ledger_here, chunk(1))
        assert (status, str(tmp_path).encode() in body) == (503, True)
        await ledger_here.captured.tidy()
        assert (await ledger_here.call("GET", "/readyz", token=None))[0] == 200


def test_a_killed_ledger_leaves_whole_files_alone(tmp_path, process):
    ledger_process = process().start()
    bodies = [msgspec.msgpack.encode(chunk(*range(number, number + 200))) for number in range(20)]
    assert [post(ledger_process, body) for body in bodies] == [204] * 20
    ledger_process.kill()
    tables = Place(tmp_path / "volume").tables()
    assert [table.num_rows for table in tables] == [200] * 20
    ledger_process.start()
    assert [post(ledger_process, body) for body in bodies] == [204] * 20
    assert len(Place(tmp_path / "volume").files()) == 20


def post(ledger_process, body):
    connection = http.client.HTTPConnection("127.0.0.1", ledger_process.port, timeout=20)
    try:
        token = "system:serviceaccount:shop:default"
        path = f"/v1/namespaces/shop/models/fraud/captures?keep_ms={90 * DAY_MS}"
        connection.request("POST", path, body, {"authorization": f"Bearer {token}"})
        return connection.getresponse().status
    finally:
        connection.close()


async def test_small_files_of_an_hour_become_one_that_holds_each_row_once(tmp_path, api, place):
    async with here(tmp_path, api, uri=place.uri) as ledger_here:
        hour = NOW_MS - NOW_MS % 3_600_000
        for number in range(12):
            await bring(ledger_here, chunk(number, at_ms=hour + 1_000 * number))
        await bring(ledger_here, chunk(20, 21, at_ms=hour, name="other"))
        await bring(ledger_here, chunk(22, at_ms=hour + 3_600_000))
        ledger_here.clock.now_ms = hour + 3_600_000
        await ledger_here.captured.tidy()
        assert len(place.files()) == 14, "late ones may come yet"
        ledger_here.clock.now_ms += 900_000
        before = {path.name: path.read_bytes() for path in place.files()}
        await ledger_here.captured.tidy()
        assert sorted(table.num_rows for table in place.tables()) == [1, 2, 12]
        (large,) = (table for table in place.tables() if table.num_rows == 12)
        assert [row["X"] for row in sorted(large.to_pylist(), key=lambda row: row["X"])] == [
            [float(number), number + 0.5] for number in range(12)
        ]
        assert large.schema.field("X").type.list_size == 2
        # As after a kill between the writing of the large one and the deleting of the small ones.
        folder = place.files()[0].parent
        for name, content in before.items():
            if not (folder / name).exists():
                (folder / name).write_bytes(content)
        await ledger_here.captured.tidy()
        assert sorted(table.num_rows for table in place.tables()) == [1, 2, 12]
        await ledger_here.captured.tidy()
        status, body, _ = await ledger_here.call("GET", PATH)
        assert (status, b'"rows":15,"files":3' in body) == (200, True), body
