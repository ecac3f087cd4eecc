"""`leadline replay` as people call it: files of every kind, a cluster behind kubectl, exit status, words for what is wrong.

kubectl is a script that answers as the real one does, with an HTTP server behind its port-forward that answers as the
ledger does. Not covered: a real cluster.
"""

import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from leadline_cli import fetching, logs, main
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_wire.ledger import Log

from tests.unit.cli import replay_logs

KUBECTL = f"""#!{sys.executable}
import http.server, json, os, pathlib, sys, time, urllib.parse

folder = pathlib.Path(__file__).parent
with (folder / "asked").open("a") as asked:
    asked.write(" ".join(sys.argv[1:]) + "\\n")
told = json.loads((folder / "told").read_text())
if sys.argv[1] == "create":
    if told.get("forbidden"):
        sys.exit('error: failed to create token: serviceaccounts "leadline" is forbidden')
    print("a-token")
    sys.exit()
(folder / "pid").write_text(str(os.getpid()))
if told.get("no_service"):
    sys.exit('Error from server (NotFound): services "leadline-ledger" not found')
if told.get("hangs"):
    if (folder / "hanging").exists():
        (folder / "hanging").write_text("now")
    time.sleep(60)
entries = [json.loads(line) for line in (folder / "log").read_text().splitlines()]


class Ledger(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        after = int(urllib.parse.parse_qs(url.query)["after"][0])
        with (folder / "asked").open("a") as asked:
            asked.write(url.path + f" after {{after}}\\n")
        status, body = 200, {{"head": entries[-1]["seq"], "entries": []}}
        if self.headers["authorization"] != "Bearer a-token" or told.get("refuses"):
            status, body = 403, {{"error": "this token is not good for ml"}}
        elif url.path == "/v1/namespaces/ml/models/digits/log":
            body["entries"] = [each for each in entries if each["seq"] > after][:1000]
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


server = http.server.HTTPServer(("127.0.0.1", 0), Ledger)
print(f"Forwarding from 127.0.0.1:{{server.server_port}} -> 8080", flush=True)
server.serve_forever()
"""


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    """A kubectl; what it is to do is told by its `told`."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    (folder / "told").write_text("{}")
    logs.write(folder / "log", replay_logs.condemned())
    command = folder / "kubectl"
    command.write_text(KUBECTL)
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("KUBECTL", str(command))
    return folder


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "digits.jsonl"
    logs.write(path, replay_logs.condemned())
    return path


def refused(capsys, *arguments: object) -> str:
    """Return the one line that the command is refused with."""
    assert main.main(["replay", *map(str, arguments)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line.removeprefix("leadline replay: ")


def has_ended(kubectl: Path) -> bool:
    try:
        os.kill(int((kubectl / "pid").read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def test_replay_ends_with_0_where_all_agrees_and_with_1_where_something_differs(log, capsys):
    assert main.main(["replay", str(log)]) == 0
    assert "all follow from the log's entries" in capsys.readouterr().out
    logs.write(log, replay_logs.without(replay_logs.condemned(), "RolledBack"))
    assert main.main(["replay", str(log)]) == 1
    said = capsys.readouterr()
    assert ("1 row DIFFERS" in said.out, said.err) == (True, "")


@pytest.mark.parametrize("indent", [0, 2])
def test_whole_answer_of_the_ledger_is_read_like_its_lines(log, tmp_path, capsys, indent):
    main.main(["replay", str(log)])
    lines = capsys.readouterr().out
    whole = msgspec.json.encode(Log(head=9_999, entries=list(replay_logs.condemned())))
    answer = tmp_path / "answer.json"
    answer.write_bytes(msgspec.json.format(whole, indent=indent) if indent else whole)
    main.main(["replay", str(answer)])
    assert capsys.readouterr().out == lines


def test_pages_of_the_ledger_may_follow_one_another_in_a_file(log, tmp_path):
    entries = list(replay_logs.condemned())
    pages = [Log(head=9_999, entries=entries[first : first + 1_000]) for first in range(0, len(entries), 1_000)]
    path = tmp_path / "pages"
    path.write_bytes(b"\n".join(msgspec.json.encode(page) for page in pages))
    assert logs.read(path) == logs.read(log) == entries


def test_exact_evidence_shows_a_bit(log, capsys):
    main.main(["replay", "--evidence", str(log)])
    said = capsys.readouterr().out
    (decided,) = [line for line in said.splitlines() if line.endswith(", decided by entry 377")]
    compared = next(
        each for each in fold(Evidence(), replay_logs.condemned()).first.pairs.values() if each.decided_seq == 377
    )
    assert f", evidence {compared.comparison.worse.evidence!r} of 250.0 at 127, " in decided


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no entry"),
        ("\n\n", "holds no entry"),
        (
            "hello\n",
            r"line 1: expected an entry of the ledger's log \(a JSON object of type outcome, pair or decision\)",
        ),
        ('{"type": "outcome", "seq": 1}\n', "line 1: expected .*: Object missing required field `model`"),
        ("LINE\nnot json\n", "line 2: expected an entry .*, got 'not json'"),
        ('LINE\n\n{"type": "probe"}\n', "line 3: expected .*: Invalid value 'probe'"),
        ("LINE\n[1, 2]\n", "line 2: expected .*: Expected `object`, got `array`"),
        ("LINE\nLINE\n", "line 2: entry 1 comes after 1; expected them in the log's order, once each"),
        ("LINE\nOTHER\n", "line 2: entry 2 is of ml/other, those before of ml/digits; one at a time"),
        ("FUTURE\n", "line 1: entry 1: expected a time in milliseconds since 1970, got 1800000000000000"),
        ('{"head": 3, "entries": [{"seq": 1}]}', r"line 1: expected .*: .*missing required field `type`"),
        ("[" * 5_000, "line 1: expected"),
    ],
)
def test_file_that_is_no_log_is_refused_with_the_line(tmp_path, capsys, text, said):
    line = {"type": "decision", "seq": 1, "model": "ml/digits", "id": "a", "kind": "Gate", "revision": "r", "at_ms": 1}
    text = text.replace("LINE", json.dumps(line)).replace("OTHER", json.dumps({**line, "seq": 2, "model": "ml/other"}))
    text = text.replace("FUTURE", json.dumps({**line, "at_ms": 1_800_000_000_000_000}))
    path = tmp_path / "log"
    path.write_text(text)
    found = refused(capsys, path)
    assert found.startswith(f"{path}: ")
    assert re.search(said, found), found


def test_file_that_is_not_there_or_no_text_is_refused(tmp_path, capsys):
    assert refused(capsys, tmp_path / "none") == f"{tmp_path}/none: No such file or directory"
    (tmp_path / "binary").write_bytes(b"\x80\x81")
    assert "byte 0: expected UTF-8 text" in refused(capsys, tmp_path / "binary")


def test_module_that_is_missing_is_named_with_the_extra_that_brings_it(log, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "leadline_cli.replays", None)
    monkeypatch.delattr("leadline_cli.replays", raising=False)
    assert refused(capsys, log).endswith("pip install 'leadline[operator]'")


def test_save_without_a_namespace_is_wrong_usage(log, capsys):
    with pytest.raises(SystemExit, match="2"):
        main.main(["replay", str(log), "--save", "copy"])
    assert "--save: needs -n NAMESPACE" in capsys.readouterr().err


def test_log_is_fetched_page_by_page_and_saved_and_the_forward_ends(kubectl, tmp_path, capsys, log):
    saved = tmp_path / "saved.jsonl"
    assert main.main(["replay", "-n", "ml", "digits", "--save", str(saved)]) == 0
    fetched = capsys.readouterr().out
    assert saved.read_bytes() == log.read_bytes()
    main.main(["replay", str(saved)])
    assert capsys.readouterr().out == fetched
    path = "/v1/namespaces/ml/models/digits/log"
    assert (kubectl / "asked").read_text().splitlines() == [
        "create token leadline -n leadline-system --audience leadline-ledger",
        "port-forward -n leadline-system --address 127.0.0.1 svc/leadline-ledger :8080",
        f"{path} after 0",
        f"{path} after 1000",
        f"{path} after 2000",
    ]
    assert has_ended(kubectl)


def test_other_install_is_asked_by_its_names(kubectl, capsys):
    main.main(["replay", "-n", "ml", "digits", "--system-namespace", "ops", "--service-account", "boss"])
    asked = (kubectl / "asked").read_text().splitlines()
    assert asked[0] == "create token boss -n ops --audience leadline-ledger"
    assert asked[1].startswith("port-forward -n ops ")


@pytest.mark.parametrize(
    ("told", "name", "said"),
    [
        ({"forbidden": 1}, "digits", 'serviceaccounts "leadline" is forbidden'),
        ({"no_service": 1}, "digits", 'services "leadline-ledger" not found'),
        (
            {"refuses": 1},
            "digits",
            "ml/digits: the ledger answers 403: this token is not good for ml; --system-namespace",
        ),
        ({}, "none", "ml/none: the ledger knows no such ModelDeployment; kubectl get mdep -n ml lists those there are"),
        ({}, "../../../x", "the ledger knows no such ModelDeployment"),
    ],
)
def test_cluster_that_does_not_give_the_log_is_named_in_one_line(kubectl, capsys, told, name, said):
    (kubectl / "told").write_text(json.dumps(told))
    assert said in refused(capsys, "-n", "ml", name)
    if "forbidden" not in told:
        assert has_ended(kubectl)


def test_forward_that_does_not_stand_in_time_is_given_up_and_ended(kubectl, capsys, monkeypatch):
    (kubectl / "told").write_text('{"hangs": 1}')
    monkeypatch.setattr(fetching, "KUBECTL_SECONDS", 1.5)
    assert "does not forward within 1.5 s" in refused(capsys, "-n", "ml", "digits")
    assert has_ended(kubectl)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_forward_ends_with_the_command_when_that_is_ended(kubectl, number):
    (kubectl / "told").write_text('{"hangs": 1}')
    os.mkfifo(kubectl / "hanging")
    hanging = os.open(kubectl / "hanging", os.O_RDONLY | os.O_NONBLOCK)
    command = [sys.executable, "-m", "leadline_cli.main", "replay", "-n", "ml", "digits"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asked:
        try:
            assert select.select([hanging], [], [], 30)[0], "the forward did not begin within 30 s"
            asked.send_signal(number)
            assert asked.wait(30) != 0
        finally:
            asked.kill()
            os.close(hanging)
    assert has_ended(kubectl)


def test_machine_without_kubectl_is_told_so(capsys, monkeypatch):
    monkeypatch.delenv("KUBECTL", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert refused(capsys, "-n", "ml", "digits").startswith(
        "kubectl: No such command; install kubectl, name it in KUBECTL"
    )
