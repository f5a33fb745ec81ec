# SPDX-License-Identifier: MIT
"""The interface as its own file says it: types, methods and errors of the .varlink file, and the schemas beside it."""
import functools
import json
import re
from pathlib import Path

import jsonschema

SCHEMAS = Path(__file__).parent.parent / "schemas"
INTERFACE = "io.copyledger"
IDL = (SCHEMAS / (INTERFACE + ".varlink")).read_text()


class Parser:
    """Recursive descent over the few rules of the Varlink language. A type is a name, a dict (struct) or a pair:
    ("maybe" | "array" | "map", type)."""

    def __init__(self, text):
        self.tokens = re.findall(r"[A-Za-z_][\w.]*|->|\[string\]|\[\]|[?():,]", re.sub(r"#.*", "", text))

    def take(self, expected=None):
        token = self.tokens.pop(0)
        assert expected in (None, token), (expected, token, self.tokens[:5])
        return token

    def type(self):
        wrapped = {"?": "maybe", "[]": "array", "[string]": "map"}.get(self.tokens[0])
        if wrapped:
            self.take()
            return wrapped, self.type()
        return self.struct() if self.tokens[0] == "(" else self.take()

    def struct(self):
        members = {}
        self.take("(")
        while self.tokens[0] != ")":
            name = self.take()
            self.take(":")
            members[name] = self.type()
            if self.tokens[0] != ")":
                self.take(",")
        self.take(")")
        return members

    def interface(self):
        found = {"interface": None, "type": {}, "method": {}, "error": {}}
        self.take("interface")
        found["interface"] = self.take()
        while self.tokens:
            kind, name = self.take(), self.take()
            found[kind][name] = self.struct()
            if kind == "method":
                self.take("->")
                found[kind][name] = (found[kind][name], self.struct())
        return found


CONTRACT = Parser(IDL).interface()
# https://varlink.org/Service, with the errors that systemd added
STANDARD = Parser("""interface org.varlink.service
method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)
method GetInterfaceDescription(interface: string) -> (description: string)
error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error MethodNotImplemented (method: string)
error InvalidParameter (parameter: string)
error PermissionDenied ()
error ExpectedMore ()""").interface()
BASIC = {"int": "integer", "float": "number", "string": "string", "bool": "boolean", "object": "object"}


def idl_schema(kind):
    """The JSON Schema of a type of the .varlink file: no member beside those named, null only where it says '?'."""
    if isinstance(kind, dict):
        return {"type": "object", "additionalProperties": False,
                "properties": {name: idl_schema(k) for name, k in kind.items()},
                "required": [name for name, k in kind.items() if k[0] != "maybe"]}
    if isinstance(kind, tuple):
        inner = idl_schema(kind[1])
        return {"maybe": {"oneOf": [{"type": "null"}, inner]}, "array": {"type": "array", "items": inner},
                "map": {"type": "object", "additionalProperties": inner}}[kind[0]]
    return {"type": BASIC[kind]} if kind in BASIC else idl_schema(CONTRACT["type"][kind])


# An integer is written as one: 4.0 is none, as it is none for the daemon.
VALIDATOR = jsonschema.validators.extend(
    jsonschema.Draft202012Validator, type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, x: isinstance(x, int) and not isinstance(x, bool)))


@functools.lru_cache(maxsize=None)
def load(name):
    return json.loads((SCHEMAS / name).read_text())


def findings(schema, value, base=""):
    """What is wrong with a value, the first few findings in one text; '' if nothing is. base: the schema's file."""
    store = {(SCHEMAS / p.name).as_uri(): load(p.name) for p in SCHEMAS.glob("*.json")}
    resolver = jsonschema.RefResolver((SCHEMAS / base).as_uri() if base else "", schema, store)
    validator = VALIDATOR(schema, resolver=resolver)
    found = [f"{'/'.join(map(str, e.absolute_path)) or '.'}: {e.message[:300]}" for e in validator.iter_errors(value)]
    return "\n".join(found[:5])


REQUEST = idl_schema({"method": "string", "parameters": ("maybe", "object"), "more": ("maybe", "bool"),
                      "oneway": ("maybe", "bool"), "upgrade": ("maybe", "bool")})
# Errors that say that the parameters themselves are wrong: the schemas must refuse them too.
REFUSALS = {INTERFACE + "." + name for name in ("OutOfRange", "UnknownName", "UnknownMember", "MissingMember", "WrongType")}


def split_name(name):
    """The declarations of an interface and the last part of a full name; (None, ...) for a foreign interface."""
    interface, _, last = name.rpartition(".")
    return next((i for i in (CONTRACT, STANDARD) if i["interface"] == interface), None), last


def strict_json(text):
    """Parses JSON as RFC 8259 has it: no NaN, no member twice."""
    def once(pairs):
        assert len(dict(pairs)) == len(pairs), f"a member twice: {[name for name, _ in pairs]}"
        return dict(pairs)

    def never(word):
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, object_pairs_hook=once, parse_constant=never)


class Traffic:
    """One side of a connection: pairs requests with replies, and checks each when it passes."""

    called = set()  # full names of the methods that this session called

    def __init__(self):
        self.sent = b""
        self.waiting = []  # (method, parameters), or None for what is no request

    def out(self, data):
        *messages, self.sent = (self.sent + data).split(b"\0")
        for text in messages:
            try:
                message = json.loads(text)
                sound = not findings(REQUEST, message)
            except (ValueError, RecursionError):
                sound = False
            if not sound:
                self.waiting.append((None, None))
                continue
            Traffic.called.add(message["method"])
            if not message.get("oneway"):
                self.waiting.append((message["method"], message.get("parameters") or {}))

    def back(self, reply):
        assert isinstance(reply, dict) and set(reply) <= {"parameters", "error", "continues"}, reply
        method, parameters = self.waiting[0] if self.waiting else (None, None)
        if not reply.get("continues"):
            self.waiting = self.waiting[1:]
        if "error" in reply:
            interface, name = split_name(reply["error"])
            assert interface and name in interface["error"], f"an error that nobody declares: {reply}"
            schemas = [("", idl_schema(interface["error"][name]))]
            if interface is CONTRACT:
                schemas.append(("errors.schema.json", {"$ref": f"#/$defs/{name}", "$defs": load("errors.schema.json")["$defs"]}))
            for base, schema in schemas:
                wrong = findings(schema, reply.get("parameters", {}), base)
                assert not wrong, f"{reply}, by {base or 'the interface'}: {wrong}"
        if method:
            check_call(method, parameters, reply)


def check_call(method, parameters, reply):
    interface, name = split_name(method)
    if interface is None or name not in interface["method"]:
        assert "error" in reply, f"a reply to a method that nobody declares: {method}"
        return
    request_schemas, reply_schemas = schemas_of(interface, name)
    if "error" not in reply:
        for base, schema in reply_schemas:
            wrong = findings(schema, reply.get("parameters", {}), base)
            assert not wrong, f"the reply of {method}, by {base or 'the interface'}: {wrong}"
    for base, schema in request_schemas:
        wrong = findings(schema, parameters, base)
        assert "error" in reply or not wrong, f"accepted by {method}, but not by {base or 'the interface'}: {wrong}"
        # the interface's own types have no ranges and names, the schemas have
        assert reply.get("error") not in REFUSALS or wrong or not base, \
            f"refused by {method}, but not by {base}: {parameters} {reply}"


def schemas_of(interface, name):
    """What a method's parameters and its reply must be: [(file or '', schema)] of each."""
    both = [[("", idl_schema(kind))] for kind in interface["method"][name]]
    if interface is CONTRACT:
        for schemas, part in zip(both, ("parameters", "reply")):
            file = f"{name}.{part}.schema.json"
            schemas.append((file, load(file)))
    return both


def uncalled(called):
    """The methods of this interface and of the standard one that are not among those that were called."""
    every = {f"{interface['interface']}.{name}" for interface in (CONTRACT, STANDARD) for name in interface["method"]}
    return sorted(every - set(called))
