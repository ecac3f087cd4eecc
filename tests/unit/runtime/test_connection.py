"""The protocol of one connection: limits, order, backpressure, and its ends."""

import pytest
from leadline_runtime.web import connection as connections
from leadline_runtime.web import server

from tests.unit.runtime.wires import Port, answers, request

SMALL = server.Limits(head_bytes=1_000, body_bytes=2_000, connections=2)


def refused(sent: bytes, limits: server.Limits = SMALL) -> tuple[int, str]:
    """Return status and message of the one answer to bytes that must not be taken."""
    port = Port(limits)
    connection, transport = port.connect()
    connection.data_received(sent)
    (answer,) = answers(transport.sent)
    assert answer.headers["connection"] == "close"
    assert transport.shut or transport.closed
    assert port.asked == []
    return answer.status, answer.body.decode()


def test_answers_come_in_the_order_of_pipelined_requests():
    port = Port()
    connection, transport = port.connect()
    connection.data_received(request("/1") + request("/2", b"body") + request("/3"))
    assert [target for _, target, _ in port.asked] == [b"/1"], "the next request waits for the answer before it"
    for text in ("one", "two", "three"):
        port.answer(text)
    assert [answer.body for answer in answers(transport.sent)] == [b"one", b"two", b"three"]
    assert port.asked[1] == (b"POST", b"/2", b"body")


def test_an_error_waits_for_the_answers_that_are_owed():
    port = Port()
    connection, transport = port.connect()
    connection.data_received(request("/1") + b"rubbish\r\n\r\n")
    assert transport.sent == b""
    port.answer("one")
    first, second = answers(transport.sent)
    assert (first.status, second.status) == (200, 400)
    assert transport.shut


def test_reading_pauses_while_many_requests_wait():
    port = Port()
    connection, transport = port.connect()
    connection.data_received(b"".join(request(f"/{number}") for number in range(12)))
    assert not transport.reading
    for number in range(12):
        port.answer(str(number))
    assert transport.reading
    assert [answer.body for answer in answers(transport.sent)] == [str(number).encode() for number in range(12)]


def test_nothing_is_taken_up_while_the_client_does_not_read():
    port = Port()
    connection, transport = port.connect()
    connection.data_received(request("/1") + request("/2"))
    connection.pause_writing()
    assert not transport.reading
    port.answer("one")
    assert len(port.asked) == 1
    connection.resume_writing()
    assert transport.reading
    assert len(port.asked) == 2


def test_a_client_that_reads_nothing_is_cut_off():
    port = Port()
    connection, transport = port.connect()
    connection.data_received(request())
    connection.pause_writing()
    transport.unsent_bytes = 1
    port.server.check(29.0)
    assert not transport.aborted
    port.server.check(31.0)
    assert transport.aborted


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (b"GET /a HTTP/1.1\r\n\r\n", 400, "host"),
        (b"GET /a HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400, "host"),
        (b"GET /a HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 1_000 + b"\r\n\r\n", 431, "1000 bytes"),
        (b"GET /a HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 1_000, 431, "1000 bytes"),
        (b"GET /" + b"y" * 1_000, 431, "1000 bytes"),
        (request(body=b"x" * 2_001)[:-2_001], 413, "2001 bytes, expected at most 2000"),
        (request(head="host: x\r\ncontent-length: 1\r\n"), 400, "not a valid HTTP/1.1 request"),
        (request(head="host: x\r\ntransfer-encoding: chunked\r\n"), 400, "not a valid HTTP/1.1 request"),
        (b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501, "chunked or none"),
        (request(head="host: x\r\nexpect: tea\r\n"), 417, "100-continue"),
        (b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", 405, "CONNECT"),
        (b"GET /a HTTP/1.1\nhost: a\n\n", 400, "not a valid HTTP/1.1 request"),
        (b"GET /a HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n", 400, "not a valid HTTP/1.1 request"),
        (b"GET /a HTTP/1.1\r\nhost: a\r\nx: a\r\n folded\r\n\r\n", 400, "not a valid HTTP/1.1 request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, ""),
        (b"\x16\x03\x01\x02\x00", 400, "not a valid HTTP/1.1 request"),
    ],
    ids=lambda value: value[:60].decode("latin-1") if isinstance(value, bytes) else None,
)
def test_what_must_not_be_taken_is_refused_with_its_reason(sent, status, said):
    got, message = refused(sent)
    assert got == status
    assert said in message


def test_a_chunked_body_is_bounded_like_any_other():
    chunk = b"400\r\n" + b"x" * 1_024 + b"\r\n"
    head = b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    assert refused(head + chunk * 2)[0] == 413
    assert refused(head + b"1\r\nx\r\n" * 2_000)[0] == 413, "chunk sizes count as well"


def test_a_head_is_measured_alone_when_it_follows_a_body():
    port = Port(SMALL, echo=True)
    connection, transport = port.connect()
    following = request("/2")
    connection.data_received(request("/1", b"x" * 1_900) + following[:20])
    connection.data_received(following[20:])
    assert [answer.status for answer in answers(transport.sent)] == [200, 200]


def test_a_large_head_behind_another_request_is_refused_too():
    port = Port(SMALL, echo=True)
    connection, transport = port.connect()
    connection.data_received(request("/1") + request("/2", head=f"host: x\r\ny: {'y' * 1_000}\r\n"))
    assert [answer.status for answer in answers(transport.sent)] == [200, 431]


def test_trailers_change_no_header_that_was_checked():
    port = Port()
    connection, _ = port.connect()
    connection.data_received(
        b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nhost: b\r\nx: y\r\n\r\n",
    )
    assert port.asked == [(b"POST", b"/a", b"hi")]
    assert port.open[0].headers == {b"host": b"a", b"transfer-encoding": b"chunked"}


def test_an_upgrade_is_ignored_and_the_connection_goes_on():
    port = Port(echo=True)
    connection, transport = port.connect()
    offer = "host: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n"
    connection.data_received(request("/1", b"one", head=offer) + request("/2", b"two", head=offer) + request("/3"))
    assert [answer.body for answer in answers(transport.sent)] == [b"POST /1 one", b"POST /2 two", b"POST /3 "]


def test_a_client_that_asks_first_is_told_to_continue():
    port = Port(echo=True)
    connection, transport = port.connect()
    sent = request("/a", b"body", head="host: x\r\nexpect: 100-continue\r\n")
    connection.data_received(sent[:-4])
    assert transport.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(sent[-4:])
    assert answers(transport.sent)[-1].body == b"POST /a body"


def test_http_1_0_needs_no_host_and_is_closed_after_its_answer():
    port = Port(echo=True)
    connection, transport = port.connect()
    connection.data_received(b"GET /a HTTP/1.0\r\n\r\n")
    assert answers(transport.sent)[0].body == b"GET /a "
    assert transport.closed


def test_a_client_that_asks_for_it_is_closed_after_its_answer():
    port = Port(echo=True)
    connection, transport = port.connect()
    connection.data_received(request(head="host: x\r\nconnection: close\r\n"))
    assert answers(transport.sent)[0].headers["connection"] == "close"
    assert transport.closed


def test_a_client_that_shut_down_its_side_still_gets_all_answers():
    port = Port()
    connection, transport = port.connect()
    connection.data_received(request("/1") + request("/2"))
    assert connection.eof_received()
    port.answer("one")
    port.answer("two")
    assert [answer.body for answer in answers(transport.sent)] == [b"one", b"two"]
    assert transport.closed


def test_an_answer_to_head_has_no_body_even_when_it_is_an_error():
    port = Port()
    connection, transport = port.connect()
    connection.data_received(request(method="HEAD"))
    port.open[0].refuse(404, "there is none")
    head, _, body = bytes(transport.sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404")
    assert body == b""


def test_slow_heads_bodies_and_idle_connections_are_ended_in_time():
    port = Port()
    (idle, idle_end), (head, head_end), (body, body_end) = port.connect(), port.connect(), port.connect()
    head.data_received(b"POST /a HT")
    body.data_received(request(body=b"x" * 100)[:-1])
    port.server.check(9.0)
    head.data_received(b"TP/1.1\r\n")
    assert (head_end.sent, body_end.sent) == (b"", b"")
    port.server.check(11.0)
    assert answers(head_end.sent)[0].status == answers(body_end.sent)[0].status == 408
    assert not idle_end.closed
    port.server.check(76.0)
    assert idle_end.closed
    idle.connection_lost(None)
    assert idle not in port.server.connections


def test_a_body_may_take_longer_the_more_of_it_has_come():
    port = Port()
    connection, transport = port.connect()
    connection.data_received(request(body=b"x" * 1_000_001)[:-1])
    port.server.check(29.0)
    assert transport.sent == b""
    port.server.check(31.0)
    assert answers(transport.sent)[0].status == 408


def test_a_request_that_is_being_worked_on_has_no_timeout():
    port = Port()
    connection, transport = port.connect()
    connection.data_received(request())
    port.server.check(1_000.0)
    port.answer("late")
    assert answers(transport.sent)[0].body == b"late"
    assert not transport.closed


def test_a_refused_client_may_send_on_for_a_while_and_is_then_cut_off():
    port = Port(SMALL)
    connection, transport = port.connect()
    connection.data_received(request(body=b"x" * 3_000)[:500])
    connection.data_received(b"x" * 1_000)
    assert answers(transport.sent)[0].status == 413
    port.server.check(1.0)
    assert not transport.aborted
    port.server.check(3.0)
    assert transport.aborted


def test_a_closing_server_answers_with_close_and_ends_connections_that_have_been_idle():
    port = Port()
    busy, busy_end = port.connect()
    busy.data_received(request("/1") + request("/2"))
    port.server.check(5.0)
    _, idle_end = port.connect()
    port.server.close_connections(closing=True)
    port.server.check(5.0 + connections.LEFT_IDLE_SECONDS - 0.5)
    assert not idle_end.closed, "it may be in use, and is closed after its next answer"
    port.server.check(5.0 + connections.LEFT_IDLE_SECONDS)
    assert idle_end.closed
    port.answer("one")
    port.answer("two")
    one, two = answers(busy_end.sent)
    assert "connection" not in one.headers, "what was sent ahead is still answered"
    assert two.headers["connection"] == "close"
    assert busy_end.closed


def test_connections_above_the_limit_are_told_to_come_back():
    port = Port(SMALL)
    port.connect()
    port.connect()
    _, third = port.connect()
    (answer,) = answers(third.sent)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert port.server.refusals == {503: 1}


def test_an_answer_to_a_client_that_is_gone_is_dropped():
    port = Port()
    connection, transport = port.connect()
    connection.data_received(request())
    connection.connection_lost(None)
    port.answer("nobody")
    assert transport.sent == b""


def test_a_defect_of_the_application_is_a_500_and_not_a_malformed_request():
    def broken(connection):
        raise ZeroDivisionError

    port = Port()
    port.server.app = broken
    connection, transport = port.connect()
    connection.data_received(request())
    assert answers(transport.sent)[0].status == 500


def test_a_client_that_shut_down_its_side_after_a_bad_request_still_gets_the_answers_that_are_owed():
    port = Port()
    connection, transport = port.connect()
    connection.data_received(request("/1") + b"rubbish\r\n\r\n")
    assert connection.eof_received(), "the way back stays open"
    port.answer("one")
    assert [answer.status for answer in answers(transport.sent)] == [200, 400]


def test_http_1_0_is_closed_even_where_it_asks_to_be_kept():
    # Such a client waits for the end of the connection: nothing in the answer says that it is kept.
    port = Port(echo=True)
    for sent in (b"GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", b"GET /a HTTP/1.0\r\n\r\n"):
        connection, transport = port.connect()
        connection.data_received(sent)
        (answer,) = answers(transport.sent)
        assert (answer.status, answer.headers["connection"], transport.closed) == (200, "close", True)


def test_http_1_0_is_not_told_to_continue():
    port = Port(echo=True)
    connection, transport = port.connect()
    connection.data_received(b"POST /a HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n")
    assert not transport.sent
    connection.data_received(b"x")
    assert answers(transport.sent)[0].body == b"POST /a x"


@pytest.mark.parametrize("zeros", [5, 5_000])
def test_a_length_with_leading_zeros_is_a_length(zeros):
    port = Port(echo=True)
    connection, transport = port.connect()
    for _ in range(2):
        connection.data_received(request("/a", b"x").replace(b"length: ", b"length: " + b"0" * zeros))
    assert [answer.body for answer in answers(transport.sent)] == [b"POST /a x"] * 2


def test_a_client_that_reads_a_large_answer_slowly_but_reads_is_served_to_the_end():
    port = Port()
    connection, transport = port.connect()
    connection.data_received(request())
    connection.pause_writing()
    transport.unsent_bytes = size = 10_000_000
    for second in range(0, 180, 5):
        transport.unsent_bytes = size - second * 55_000
        port.server.check(float(second))
        assert not transport.aborted
    transport.unsent_bytes = 100_000
    port.server.check(228.0)
    assert not transport.aborted
    port.server.check(229.0)
    assert transport.aborted, "30 s, and one for each 50,000 bytes that were read"


def test_what_was_read_of_an_answer_buys_no_time_for_the_next():
    port = Port()
    _, transport = port.connect()
    for second, unsent in ((0.0, 10_000_000), (10.0, 0), (20.0, 1), (30.0, 1)):
        transport.unsent_bytes = unsent
        port.server.check(second)
        assert not transport.aborted
    port.server.check(31.0)
    assert transport.aborted


@pytest.mark.parametrize(
    ("following", "status"),
    [(request(body=b"x" * 2_001)[:-2_001], 413), (b"GET /a HTTP/1.1\r\n\r\n", 400), (b"rubbish\r\n\r\n", 400)],
)
def test_what_is_refused_behind_an_offered_upgrade_waits_and_is_told_why(following, status):
    port = Port(SMALL)
    connection, transport = port.connect()
    offer = request("/2", b"two", head="host: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n")
    connection.data_received(request("/1") + offer + following)
    assert not transport.sent, "the answers before are owed first"
    port.answer("one")
    port.answer("two")
    assert [answer.status for answer in answers(transport.sent)] == [200, 200, status]


def test_an_offered_upgrade_with_a_body_that_is_too_large_is_refused_as_such():
    offer = request("/2", b"x" * 2_001, head="host: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n")
    assert refused(offer) == (413, '{"error":"body of 2001 bytes, expected at most 2000"}')


def test_an_answer_after_the_last_one_is_dropped():
    port = Port()

    def fail(connection):
        port.open.append(connection)
        raise ValueError("a defect")

    port.server.app = fail
    connection, transport = port.connect()
    connection.data_received(request())
    port.answer("late")
    assert [answer.status for answer in answers(transport.sent)] == [500]
