# SPDX-License-Identifier: MIT
"""Wrong requests: each gets a typed error that names field, value and limit, and the daemon goes on."""
import json
import random

import pytest

from contract import CONTRACT
from support import SAN, running

KNOWN = {"mode": ["two-copy", "one-copy", "zero-copy", "sendfile", "splice", "uring-send", "uring-send-zc"],
         "receive": ["recv", "recv-trunc", "mmap"], "workload": ["stream", "rr"],
         "path": ["loopback", "veth", "netns:SERVER,CLIENT"],
         "ledger": ["auto", "fentry", "tracepoint", "off"]}
RANGES = {"size": (1, 64 << 20), "fields": (1, 64), "threads": (1, 1000), "warmup_ms": (0, 60000),
          "duration_ms": (10, 3600000), "sndbuf": (0, 256 << 20), "rcvbuf": (0, 256 << 20)}
MESSAGE_MAX = 16384
BAD_TEXT = ["\x1b[31mred", "two\nlines", "tab\there", "\x7f", "a\u0085b", "\u202eevil", "a\u2028b", "bell\x07", "\r"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("bad-input")) as d:
        yield d


@pytest.fixture
def v(daemon):
    with daemon.connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def blocked(daemon):
    """A run that measures, so that a valid request only waits and can be taken back at once."""
    with daemon.connect() as v:
        run = v.call("StartRun", {"spec": {"mode": "one-copy", "workload": "rr", "size": 64, "warmup_ms": 0,
                                           "duration_ms": 600000, "ledger": "off", "perf": False}})["parameters"]["id"]
        yield run
        daemon.call("CancelRun", {"id": run})
        daemon.call("FollowRun", {"id": run})


def alive(daemon, v):
    """The same connection, or at least a new one, is served."""
    try:
        reply = v.call("GetInfo")
    except OSError:
        reply = None
    if reply is None:
        reply = daemon.call("GetInfo")
    assert "error" not in reply, reply


def refused(reply, name):
    """The parameters of an error of this name; its sentence is fit for a terminal."""
    assert reply is not None and reply.get("error", "").rpartition(".")[2] == name, reply
    sentence = reply["parameters"].get("message", "x")
    assert sentence and sentence.isprintable() and "\ufffd" not in sentence, ascii(sentence)
    return reply["parameters"]


def start(v, spec):
    """StartRun with a spec as JSON text, so that also what Python could not write can be sent."""
    v.send_raw(b'{"method":"io.copyledger.StartRun","parameters":{"spec":' + spec.encode() + b"}}\0")
    return v.receive()


def with_member(name, text):
    mode = "" if name == "mode" else '"mode":"one-copy",'
    return f'{{{mode}"{name}":{text}}}'


# ---- values ----

@pytest.mark.parametrize("field", KNOWN)
@pytest.mark.parametrize("value", ["no-such", "ONE-COPY", "one-copy ", " ", "x" * 5000, "naïve", "a\\b", "%s%n"])
def test_unknown_names(daemon, v, field, value):
    wrong = refused(start(v, with_member(field, json.dumps(value))), "UnknownName")
    assert wrong["field"] == field and wrong["known"] == KNOWN[field]
    assert wrong["value"][:60] == value[:60] and f"'{field}'" in wrong["message"] and value[:40] in wrong["message"]
    assert all(name in wrong["message"] for name in KNOWN[field])
    alive(daemon, v)


@pytest.mark.parametrize("field, value", [(f, x) for f, (low, high) in RANGES.items() for x in (
    low - 1, high + 1, -1, -2**31, 2**31 - 1, 2**31, 2**32, 2**32 + low, -2**63, 2**63 - 1) if not low <= x <= high])
def test_over_and_under_each_limit(daemon, v, field, value):
    wrong = refused(start(v, with_member(field, str(value))), "OutOfRange")
    low, high = RANGES[field]
    assert wrong["field"] == field and (wrong["value"], wrong["min"], wrong["max"]) == (str(value), low, high)
    for word in (f"'{field}'", str(value), str(low), str(high)):
        assert word in wrong["message"], wrong
    alive(daemon, v)


@pytest.mark.parametrize("value", [-6, 0, 3, 5, 7, 46])
def test_ip_is_4_or_6(daemon, v, value):
    wrong = refused(start(v, with_member("ip", str(value))), "OutOfRange")
    assert (wrong["field"], wrong["value"], wrong["min"], wrong["max"]) == ("ip", str(value), 4, 6)
    alive(daemon, v)


@pytest.mark.parametrize("field, value", [(f, x) for f, edges in RANGES.items() for x in edges] + [("ip", 4), ("ip", 6)] + [
    ("label", ""), ("label", "x" * 64), ("label", "é" * 64), ("label", "🧪" * 64), ("label", "Größe 64 %, \"quoted\" \\ / 測試 🧪"), ("congestion", "")] + [
    (f, x) for f in ("verify", "pin", "perf") for x in (True, False)] + [(f, x) for f, names in KNOWN.items() for x in names])
def test_each_edge_is_accepted(daemon, v, blocked, field, value):
    reply = start(v, with_member(field, json.dumps(value)))
    assert "error" not in reply, reply
    run = reply["parameters"]["id"]
    v.call("CancelRun", {"id": run})
    assert v.call("GetRun", {"id": run})["parameters"]["result"]["spec"][field] == value


@pytest.mark.parametrize("character, count", [("x", 65), ("x", 5000), ("é", 65), ("🧪", 65)])
def test_long_labels(daemon, v, character, count):
    """The limit is one of characters, not of bytes."""
    wrong = refused(start(v, with_member("label", json.dumps(character * count))), "OutOfRange")
    assert (wrong["field"], wrong["max"]) == ("label", 64) and wrong["value"].startswith(4 * character)
    assert "64" in wrong["message"] and str(count) in wrong["message"]
    alive(daemon, v)


@pytest.mark.parametrize("text", BAD_TEXT)
@pytest.mark.parametrize("field", ["label", "mode", "path", "congestion"])
def test_text_that_could_steer_a_terminal(daemon, v, field, text):
    """Sent as an escape of JSON, so that the message itself is sound."""
    wrong = refused(start(v, with_member(field, json.dumps(text))), "InvalidRequest")
    assert wrong["field"] == field and f"'{field}'" in wrong["message"]
    alive(daemon, v)


def test_bad_text_in_other_places(daemon, v):
    for method, name in (("GetRun", "id"), ("FollowRun", "id"), ("CancelRun", "id"), ("TraceStats", "id"), ("ListRuns", "label"),
                         ("ListRuns", "mode"), ("ListRuns", "since")):
        for text in BAD_TEXT:
            assert refused(v.call(method, {name: text}), "InvalidRequest")["field"] == name
    v.send_raw(b'{"method":"io.copyledger.\\u001b[31m"}\0')
    refused(v.receive(), "InvalidRequest")
    v.send_raw(b'{"method":"\\u0085.x"}\0')
    refused(v.receive(), "InvalidRequest")
    assert "\x1b" not in refused(start(v, '{"mode":"one-copy","\\u001b[31m":1}'), "UnknownMember")["field"]
    alive(daemon, v)


def test_a_congestion_control_is_a_name(daemon, v):
    for value in ("../x", "CUBIC", "a b", "x;y"):
        wrong = refused(start(v, with_member("congestion", json.dumps(value))), "InvalidRequest")
        assert wrong["field"] == "congestion" and value in wrong["message"]
    assert refused(start(v, with_member("congestion", json.dumps("x" * 16))), "OutOfRange")["max"] == 15
    alive(daemon, v)


def test_a_congestion_control_that_the_kernel_lacks(tmp_path):
    """Not known before the child tries: a failed run that names it."""
    with running(tmp_path) as d:
        result = d.run(mode="one-copy", duration_ms=20, warmup_ms=0, congestion="nosuchcc")
        assert result["state"] == "failed" and "nosuchcc" in result["error"]["message"], result.get("error")
        assert d.run(mode="one-copy", duration_ms=20, warmup_ms=0)["state"] == "done"


TYPES = {"string": "string", "int": "integer", "bool": "boolean"}
VALUES = {"string": '"4"', "int": "4", "bool": "true", "float": "4.0", "exponent": "4e0", "list": "[4]", "object": '{"a":4}'}


@pytest.mark.parametrize("field", CONTRACT["type"]["Spec"])
def test_each_member_of_another_type(daemon, v, field):
    kind = CONTRACT["type"]["Spec"][field]
    kind = kind[1] if isinstance(kind, tuple) else kind
    for other, text in VALUES.items():
        if other == kind:
            continue
        wrong = refused(start(v, with_member(field, text)), "WrongType")
        assert (wrong["field"], wrong["expected"]) == (field, TYPES[kind])
        assert f"'{field}'" in wrong["message"] and TYPES[kind] in wrong["message"]
    alive(daemon, v)


@pytest.mark.parametrize("method, name, wrong_value, expected", [
    ("GetRun", "id", 5, "string"), ("FollowRun", "id", ["x"], "string"), ("CancelRun", "id", True, "string"),
    ("TraceStats", "id", {}, "string"), ("TraceStats", "interval_ms", "50", "integer"), ("ListRuns", "limit", 1.5, "integer"),
    ("ListRuns", "mode", 1, "string"), ("ListRuns", "label", [], "string"), ("ListRuns", "state", False, "string"),
    ("ListRuns", "since", 20260101, "string"), ("ListRuns", "until", {}, "string"), ("StartRun", "spec", "one-copy", "object"),
    ("StartRun", "spec", [], "object")])
def test_wrong_types_elsewhere(daemon, v, method, name, wrong_value, expected):
    wrong = refused(v.call(method, {name: wrong_value}), "WrongType")
    assert (wrong["field"], wrong["expected"]) == (name, expected)
    alive(daemon, v)


@pytest.mark.parametrize("method, name, value, low, high", [
    ("ListRuns", "limit", 0, 1, 1000), ("ListRuns", "limit", 1001, 1, 1000), ("ListRuns", "limit", -1, 1, 1000),
    ("TraceStats", "interval_ms", 49, 50, 60000), ("TraceStats", "interval_ms", 60001, 50, 60000)])
def test_ranges_elsewhere(daemon, v, method, name, value, low, high):
    wrong = refused(v.call(method, {name: value}), "OutOfRange")
    assert (wrong["field"], wrong["value"], wrong["min"], wrong["max"]) == (name, str(value), low, high)
    alive(daemon, v)


def test_edges_elsewhere(v, blocked):
    for limit in (1, 1000):
        assert "error" not in v.call("ListRuns", {"limit": limit})
    for text in ("x" * 65, "x" * 10000):
        assert refused(v.call("GetRun", {"id": text}), "OutOfRange")["field"] == "id"
    assert refused(v.call("GetRun", {"id": ""}), "OutOfRange")["field"] == "id"
    assert refused(v.call("GetRun", {"id": "x" * 64}), "NoSuchRun")["id"]
    assert refused(v.call("ListRuns", {"state": "dancing"}), "UnknownName")["value"] == "dancing"
    assert refused(v.call("ListRuns", {"mode": "no-copy"}), "UnknownName")["known"] == KNOWN["mode"]


# ---- numbers that are none, or too large ----

@pytest.mark.parametrize("text", ["NaN", "nan", "Infinity", "-Infinity", "+1", "01", "0x10", "1.", ".5", "1e", "--1", "1_000", "١",
                                  "'1'", "True", "undefined", "-", ""])
@pytest.mark.parametrize("field", ["size", "duration_ms"])
def test_what_is_no_number(daemon, v, field, text):
    spec = with_member(field, text)
    wrong = refused(start(v, spec), "InvalidRequest")
    assert "byte" in wrong["message"], wrong
    alive(daemon, v)


@pytest.mark.parametrize("text", ["18446744073709551616", "99999999999999999999", "-99999999999999999999", "9223372036854775808",
                                  "1e400", "-1e400", "1" * 400])
@pytest.mark.parametrize("field", ["size", "threads", "duration_ms"])
def test_numbers_too_large_to_hold(daemon, v, field, text):
    wrong = refused(start(v, with_member(field, text)), "InvalidRequest")
    assert "number" in wrong["message"] or "integer" in wrong["message"], wrong
    alive(daemon, v)


@pytest.mark.parametrize("text", ["1.5", "1.0", "1e3", "1e-1", "-0.0", "0.1"])
@pytest.mark.parametrize("field", ["size", "threads", "ip"])
def test_fractions_for_whole_numbers(daemon, v, field, text):
    assert refused(start(v, with_member(field, text)), "WrongType")["field"] == field
    alive(daemon, v)


# ---- members ----

def test_missing_unknown_and_null_members(daemon, v):
    assert refused(start(v, "{}"), "MissingMember")["field"] == "mode"
    assert refused(start(v, '{"mode":null}'), "MissingMember")["field"] == "mode"
    assert refused(start(v, "null"), "MissingMember")["field"] == "spec"
    assert refused(v.call("StartRun"), "MissingMember")["field"] == "spec"
    assert refused(v.call("GetRun"), "MissingMember")["field"] == "id"
    for name in ("Mode", "sizes", "duration", "", "x" * 3000, "ünïcode"):
        wrong = refused(start(v, f'{{"mode":"one-copy","{name}":1}}'), "UnknownMember")
        assert wrong["field"][:40] == name[:40] and "duration_ms" in wrong["message"]
    assert refused(v.call("GetInfo", {"verbose": True}), "UnknownMember")["field"] == "verbose"
    assert refused(v.call("ListRuns", {"Limit": 5}), "UnknownMember")["field"] == "Limit"
    assert refused(v.call("StartRun", {"spec": {"mode": "one-copy"}, "priority": 1}), "UnknownMember")["field"] == "priority"
    alive(daemon, v)


def test_null_parameters_are_none(daemon, v):
    v.send_raw(b'{"method":"io.copyledger.GetInfo","parameters":null}\0')
    assert "error" not in v.receive()
    v.send_raw(b'{"method":"io.copyledger.GetInfo"}\0')
    assert "error" not in v.receive()
    v.send_raw(b'{"method":"io.copyledger.StartRun","parameters":null}\0')
    assert refused(v.receive(), "MissingMember")["field"] == "spec"
    v.send_raw(b'{"method":"io.copyledger.GetRun","parameters":{"id":null}}\0')
    assert refused(v.receive(), "MissingMember")["field"] == "id"
    v.send_raw(b'{"method":"io.copyledger.ListRuns","parameters":{"limit":null,"mode":null}}\0')
    assert "error" not in v.receive()


@pytest.mark.parametrize("spec", ['{"mode":"one-copy","size":1,"size":2}', '{"mode":"one-copy","mode":"one-copy"}',
                                  '{"mode":"one-copy","s\\u0069ze":1,"size":1}', '{"mode":"one-copy","x":{"a":1,"a":1}}'])
def test_a_member_twice(daemon, v, spec):
    assert "twice" in refused(start(v, spec), "InvalidRequest")["message"]
    alive(daemon, v)


@pytest.mark.parametrize("text, name, field", [
    (b'{"method":"io.copyledger.GetInfo","method":"io.copyledger.GetInfo"}', "InvalidRequest", None),
    (b'{"method":"io.copyledger.GetInfo","extra":1}', "UnknownMember", "extra"),
    (b'{"parameters":{}}', "MissingMember", "method"),
    (b"{}", "MissingMember", "method"),
    (b'{"method":null}', "MissingMember", "method"),
    (b'{"method":5}', "WrongType", "method"),
    (b'{"method":""}', "OutOfRange", "method"),
    (b'{"method":"' + b"x" * 200 + b'.A"}', "OutOfRange", "method"),
    (b'{"method":"io.copyledger.GetInfo","parameters":[]}', "WrongType", "parameters"),
    (b'{"method":"io.copyledger.GetInfo","parameters":"x"}', "WrongType", "parameters"),
    (b'{"method":"io.copyledger.GetInfo","more":"yes"}', "WrongType", "more"),
    (b'{"method":"io.copyledger.GetInfo","more":1}', "WrongType", "more"),
    (b'{"method":"io.copyledger.GetInfo","oneway":0}', "WrongType", "oneway"),
])
def test_wrong_envelopes(daemon, v, text, name, field):
    v.send_raw(text + b"\0")
    assert refused(v.receive(), name).get("field") == field
    alive(daemon, v)


# ---- what is no message ----

GOOD = b'{"method":"io.copyledger.GetInfo"}'


@pytest.mark.parametrize("text", [
    b"", b" ", b"\n\n", b"[]", b"5", b'"GetInfo"', b"null", b"true", b"{", b"}", b"{]", b"[", b"hello", b"GetInfo",
    GOOD + b"x", GOOD + GOOD, GOOD + b",", b"," + GOOD, b"\xef\xbb\xbf" + GOOD, b"(" + GOOD + b")", b"//c\n" + GOOD,
    b"/**/" + GOOD, b"{'method':'io.copyledger.GetInfo'}", b"{method:1}", b'{"method":"io.copyledger.GetInfo",}',
    b'{"method" "io.copyledger.GetInfo"}', b'{"method":"io.copyledger.GetInfo"', b'{"method":"io.copyledger.GetInfo',
    b'{"method":"\\x41"}', b'{"method":"\\u12"}', b'{"method":"\\"}', b"\x01", b"\xff\xfe{}", b"\x1b[2J", b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x01\xfc\x03\x03",
])
def test_what_is_no_message(daemon, v, text):
    v.send_raw(text + b"\0")
    refused(v.receive(), "InvalidRequest")
    alive(daemon, v)


@pytest.mark.parametrize("text", [
    b"\xff", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xe2\x82",
    b"\x80", b"\\ud800", b"\\udc00", b"\\ud800\\ud800", b"\\ud800x", b"\\udc00\\ud800", b"\\u0000", b"\x01", b"\x1f", b"\n", b"\t",
    b"\x1b", b"\\x", b"\\u00g0"])
def test_text_that_is_none(daemon, v, text):
    """Not UTF-8, half a character of UTF-16, a raw control character: in a value, in a name, in a method's name."""
    for place in (b'{"method":"io.copyledger.StartRun","parameters":{"spec":{"mode":"one-copy","label":"a%sb"}}}',
                  b'{"method":"io.copyledger.StartRun","parameters":{"spec":{"mode":"one-copy","a%sb":1}}}',
                  b'{"method":"io.copyledger.%s"}', b'{"method":"io.copyledger.GetRun","parameters":{"id":"%s"}}'):
        v.send_raw(place % text + b"\0")
        refused(v.receive(), "InvalidRequest")
    alive(daemon, v)


def nested(depth):
    """A message of this depth whose innermost value is of no use to anybody."""
    inner = depth - 2
    return b'{"method":"io.copyledger.GetInfo","parameters":{"a":' + b"[" * inner + b"]" * inner + b"}}\0"


def test_depth(daemon, v):
    v.send_raw(nested(8))
    assert refused(v.receive(), "UnknownMember")["field"] == "a"
    for depth in (9, 10, 64, 65, 1000):
        v.send_raw(nested(depth))
        wrong = refused(v.receive(), "LimitExceeded")
        assert (wrong["limit"], wrong["value"], wrong["max"]) == ("depth", 9, 8) and "8" in wrong["message"]
    alive(daemon, v)


def test_number_of_values(daemon, v):
    for n, name in ((256 - 4, "UnknownMember"), (256 - 3, "LimitExceeded"), (5000, "LimitExceeded")):
        # the object, its method, parameters and the list are four
        v.send_raw(b'{"method":"io.copyledger.GetInfo","parameters":{"a":[' + b",".join([b"1"] * n) + b"]}}\0")
        wrong = refused(v.receive(), name)
        assert name == "UnknownMember" or (wrong["limit"], wrong["max"]) == ("values", 256)
    v.send_raw(b"[" + b"{}," * 5000 + b"{}]\0")
    assert refused(v.receive(), "LimitExceeded")["limit"] == "values"
    alive(daemon, v)


def padded(size):
    head, tail = b'{"method":"io.copyledger.GetInfo"', b"}"
    return head + b" " * (size - len(head) - len(tail)) + tail


def test_a_message_of_the_greatest_size(daemon, v):
    for _ in range(3):
        v.send_raw(padded(MESSAGE_MAX) + b"\0")
        assert "error" not in v.receive()
    alive(daemon, v)


@pytest.mark.parametrize("text", [
    padded(MESSAGE_MAX + 1) + b"\0", padded(MESSAGE_MAX + 1), padded(2 * MESSAGE_MAX) + b"\0", b"[" * 1_000_000 + b"\0",
    b"[" * 1_000_000, b"[" * 500_000 + b"]" * 500_000 + b"\0", b"{}," * 300_000, b" " * 1_000_000, b'"' + b"a" * 1_000_000,
    GOOD + b" " * 1_000_000, b'{"method":"io.copyledger.StartRun","parameters":{"spec":{"label":"' + b"x" * 3_000_000],
    ids=lambda t: f"{bytes(t[:6])!r}-{len(t)}")
def test_a_message_over_the_limit(daemon, v, text):
    """The reply says so, although its sender was not done; nothing of the rest is taken for another message."""
    v.send_raw(text)
    wrong = refused(v.receive(), "LimitExceeded")
    assert (wrong["limit"], wrong["max"]) == ("message", MESSAGE_MAX) and wrong["value"] > MESSAGE_MAX
    assert str(MESSAGE_MAX) in wrong["message"]
    assert v.receive() is None
    alive(daemon, daemon.connect())


def test_good_ones_before_a_long_one_are_answered(daemon, v):
    v.send_raw((GOOD + b"\0") * 3 + b"[" * 100_000)
    for _ in range(3):
        assert "error" not in v.receive()
    assert refused(v.receive(), "LimitExceeded")["limit"] == "message"


@pytest.mark.parametrize("text", [b"[", b"{", b'{"a":'])
def test_brackets_within_the_size(daemon, v, text):
    v.send_raw(text * (16000 // len(text)) + b"\0")
    assert refused(v.receive(), "LimitExceeded" if text != b"{" else "InvalidRequest")
    alive(daemon, v)


# ---- many of them ----

SAMPLE = (b'{"method":"io.copyledger.ListRuns","parameters":{"limit":5,"mode":"one-copy","label":"a\\u00e9b",'
          b'"since":"2026-01-01T00:00:00Z"},"more":false}')


def test_every_beginning_of_a_message(daemon, v):
    for n in range(len(SAMPLE)):
        v.send_raw(SAMPLE[:n] + b"\0")
        refused(v.receive(), "InvalidRequest")
    v.send_raw(SAMPLE + b"\0")
    assert "error" not in v.receive()
    alive(daemon, v)


def test_mutated_messages_each_get_one_reply(daemon, v):
    rng = random.Random(20260131)
    for _ in range(1500):
        text = bytearray(SAMPLE)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            kind = rng.randrange(4)
            if kind == 0:
                text[at] = rng.randint(1, 255)
            elif kind == 1:
                del text[at:at + rng.randint(1, 9)]
            elif kind == 2:
                text[at:at] = rng.choice([b"{", b"[", b'"', b"\\", b"9" * 30, b"\xff", b",", b":", b"null", b"-", b"e"])
            else:
                text[at:at] = text[at:at + 20]
        v.send_raw(bytes(text) + b"\0")
        v.send_raw(b'{"method":"mark.n.Ask"}\0')
        assert v.receive() is not None
        assert refused(v.receive(), "InterfaceNotFound") == {"interface": "mark.n"}


@pytest.mark.skipif(bool(SAN), reason="a sanitizer keeps what was freed")
def test_memory_stays_bounded(daemon):
    """All of the above a hundred times: what the daemon holds afterwards does not grow with what was sent."""
    bad = [with_member("label", json.dumps("x" * 5000)), with_member("size", "9" * 400), with_member("mode", "[" * 50),
           '{"mode":"one-copy",' + ",".join(f'"k{i}":{i}' for i in range(200)) + "}", with_member("path", '"\x1b"')]

    def once():
        with daemon.connect() as v:
            for spec in bad * 20:
                assert "error" in start(v, spec)
        for text in (b"[" * 1_000_000, b"{}," * 300_000, b'"' + b"a" * 100_000, b"{" * 16000 + b"\0"):
            with daemon.connect() as v:
                v.send_raw(text)
                assert "error" in v.receive()

    once()
    before = daemon.memory()
    for _ in range(5):
        once()
    assert daemon.memory() - before < 8 << 20
