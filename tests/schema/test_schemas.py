# SPDX-License-Identifier: MIT
"""The interface is written twice, as a .varlink file and as JSON Schemas: both say the same, and the session's traffic obeyed.

Each request, reply and error that any test provokes is checked when it passes (contract.py); here are the files themselves.
"""
import json
import re

import jsonschema
import pytest

import contract
from contract import BASIC, CONTRACT, SCHEMAS, Traffic, findings, load

FILES = sorted(p.name for p in SCHEMAS.glob("*.json"))
STRUCTS = [(f"{name}.{part}.schema.json", "", kinds[i]) for name, kinds in CONTRACT["method"].items()
           for i, part in enumerate(("parameters", "reply"))] + [
           ("errors.schema.json", name, kind) for name, kind in CONTRACT["error"].items()]
JSON_TYPES = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


class Node:
    """A schema at its place in a file, $ref followed."""

    def __init__(self, file, schema):
        while "$ref" in schema:
            name, _, pointer = schema["$ref"].partition("#")
            file = name or file
            schema = load(file)
            for step in filter(None, pointer.split("/")):
                schema = schema[step]
        self.file, self.schema = file, schema

    def sub(self, schema):
        return Node(self.file, schema)

    def branches(self):
        """Itself, or what it is one of."""
        options = None if "type" in self.schema else self.schema.get("oneOf", self.schema.get("anyOf"))
        return [b for o in options for b in self.sub(o).branches()] if options else [self]

    def types(self):
        """The JSON types that it allows."""
        found = set()
        for node in self.branches():
            s = node.schema
            values = s.get("enum", [s["const"]] if "const" in s else None)
            declared = s.get("type", [JSON_TYPES[type(v)] for v in values] if values else None)
            assert declared, f"{node.file}: {s} allows everything"
            found |= {declared} if isinstance(declared, str) else set(declared)
        return found

    def one(self, kind):
        (node,) = [b for b in self.branches() if kind in b.types()]
        return node


def same(node, kind, where, may_be_null=False):
    """Asserts that a schema and a type of the .varlink file describe the same values."""
    types = node.types() - ({"null"} if may_be_null else set())
    kind = CONTRACT["type"].get(kind, kind) if isinstance(kind, str) else kind
    if isinstance(kind, str):
        assert types == {BASIC[kind]}, f"{where}: {kind} there, {types} here"
    elif isinstance(kind, dict):
        assert types == {"object"}, f"{where}: {types}"
        same_members(node.one("object"), kind, where)
    elif kind[0] == "array":
        assert types == {"array"}, f"{where}: {types}"
        array = node.one("array")
        same(array.sub(array.schema["items"]), kind[1], where + "[]")
    else:
        assert types == {"object"}, f"{where}: {types}"
        same_map(node.one("object"), kind[1], where)


def same_map(node, kind, where):
    named = node.schema.get("properties", {})
    others = node.schema.get("additionalProperties")
    for name, schema in [*named.items(), *([("*", others)] if isinstance(others, dict) else [])]:
        same(node.sub(schema), kind, f"{where}.{name}")
    assert named or isinstance(others, dict), f"{where}: any value is allowed"


def same_members(node, kind, where):
    s = node.schema
    assert s.get("additionalProperties") is False, f"{where}: members beside those named are allowed"
    assert set(s.get("properties", {})) == set(kind), f"{where}: {set(s.get('properties', {})) ^ set(kind)} on one side only"
    for name, member in kind.items():
        inner = node.sub(s["properties"][name])
        optional = isinstance(member, tuple) and member[0] == "maybe"
        absent = name not in s.get("required", [])
        assert optional == (absent or "null" in inner.types()), f"{where}.{name}: '?' on one side only"
        same(inner, member[1] if optional else member, f"{where}.{name}", optional)


def place(file, name):
    schema = load(file)
    return Node(file, schema["$defs"][name] if name else schema)


@pytest.mark.parametrize("file", FILES)
def test_a_schema_is_one(file):
    schema = json.loads((SCHEMAS / file).read_text(), object_pairs_hook=lambda pairs: dict(pairs) if len(dict(pairs)) == len(
        pairs) else pytest.fail(f"a member twice among {[name for name, _ in pairs]}"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema" and schema["title"]


@pytest.mark.parametrize("file", FILES)
def test_each_reference_leads_somewhere(file):
    def walk(value):
        if isinstance(value, dict):
            if "$ref" in value:
                assert isinstance(Node(file, value).schema, dict)
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)
    walk(load(file))


def test_each_method_and_error_has_its_schema_and_no_other():
    expected = {file for file, _, _ in STRUCTS} | {"types.schema.json", "result-1.schema.json"}
    documents = {file for file in FILES if re.fullmatch(r"[a-z]+-[1-9]\d*\.schema\.json", file)}
    assert set(FILES) == expected | documents
    assert set(load("errors.schema.json")["$defs"]) == set(CONTRACT["error"])


@pytest.mark.parametrize("file, name, kind", STRUCTS, ids=lambda x: x if isinstance(x, str) else "")
def test_both_say_the_same(file, name, kind):
    same(place(file, name), kind, name or file.removesuffix(".schema.json"))


def test_the_result_is_the_schema_of_every_result():
    for file in ("GetRun.reply.schema.json", "FollowRun.reply.schema.json"):
        node = place(file, "")
        assert node.sub(node.schema["properties"]["result"]).one("object").file == "result-1.schema.json"


# ---- the comparison and the recorder themselves can fail ----

@pytest.mark.parametrize("kind", [
    {}, {"id": "int", "state": "string", "result": ("maybe", "object")}, {"id": "string", "state": "string"},
    {"id": "string", "state": "string", "result": "object"}, {"id": ("maybe", "string"), "state": "string", "result": (
        "maybe", "object")}, {"id": "string", "state": "string", "result": ("maybe", "object"), "more": "int"}])
def test_the_comparison_sees_differences(kind):
    with pytest.raises(AssertionError):
        same(place("GetRun.reply.schema.json", ""), kind, "")


def message(method, parameters):
    return json.dumps({"method": "io.copyledger." + method, "parameters": parameters}).encode() + b"\0"


@pytest.mark.parametrize("method, parameters, reply", [
    ("CancelRun", {"id": "x"}, {"parameters": {"id": "20260131-235959-00ff", "state": "dancing"}}),
    ("CancelRun", {"id": "x"}, {"parameters": {"id": "20260131-235959-00ff", "state": "done", "more": 1}}),
    ("CancelRun", {"id": "x"}, {"parameters": {"id": "20260131-235959-00ff"}}),
    ("CancelRun", {"id": "x"}, {"parameters": {"id": "20260131-235959-00ff", "state": "done"}, "extra": 1}),
    ("CancelRun", {"id": 5}, {"parameters": {"id": "20260131-235959-00ff", "state": "done"}}),
    ("CancelRun", {"id": "x"}, {"error": "io.copyledger.NoSuchError", "parameters": {}}),
    ("CancelRun", {"id": "x"}, {"error": "io.copyledger.NoSuchRun", "parameters": {"id": "x"}}),
    ("CancelRun", {"id": "x"}, {"error": "io.copyledger.WrongType", "parameters": {
        "field": "id", "expected": "string", "message": "'id' must be of type string"}}),
    ("StartRun", {"spec": {"mode": "one-copy", "size": 0}}, {"parameters": {"id": "20260131-235959-00ff", "position": 0}}),
    ("StartRun", {"spec": {"mode": "one-copy"}}, {"parameters": {"id": "20260131-235959-00ff", "position": 1.0}}),
    ("NoSuchMethod", {}, {"parameters": {}}),
])
def test_the_recorder_sees_what_is_wrong(method, parameters, reply, monkeypatch):
    monkeypatch.setattr(Traffic, "called", set())
    traffic = Traffic()
    traffic.out(message(method, parameters))
    with pytest.raises(AssertionError):
        traffic.back(reply)


def test_the_recorder_pairs_replies_with_their_requests(monkeypatch):
    monkeypatch.setattr(Traffic, "called", set())
    traffic = Traffic()
    run = {"id": "20260131-235959-00ff", "state": "done"}
    for byte in message("CancelRun", {"id": "x"}) + b"not JSON\0" + message("ListRuns", {}):
        traffic.out(bytes([byte]))
    traffic.back({"parameters": run})
    traffic.back({"error": "io.copyledger.InvalidRequest", "parameters": {"field": None, "message": "not JSON"}})
    traffic.back({"parameters": {"runs": []}})
    assert Traffic.called == {"io.copyledger.CancelRun", "io.copyledger.ListRuns"}
    assert findings({"type": "integer"}, 4.0) and not findings({"type": "integer"}, 4)


def test_a_method_that_no_test_called_is_found():
    every = {f"{i['interface']}.{name}" for i in (CONTRACT, contract.STANDARD) for name in i["method"]}
    assert contract.uncalled(every) == []
    assert contract.uncalled(every - {"io.copyledger.Watch"}) == ["io.copyledger.Watch"]
