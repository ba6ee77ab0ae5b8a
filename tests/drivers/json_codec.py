"""The smallest driver: one kind, written as JSON. Copy it and put your own codec in its place.

`--defect drop-null` leaves nulls out, as a writer does that meets a strict reader.
"""

import json, sys

TEAM = {
    "type": "object",
    "properties": {
        "team_id": {"type": "string"},
        "models": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
        "tpm_limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    },
    "required": ["team_id", "models", "tpm_limit"],
}
DROPS_NULL = sys.argv[1:] == ["--defect", "drop-null"]


def untag(value):
    """Integers beyond 2^53 come as {"$int": text}; this kind has no dates, floats or odd keys."""
    return int(value["$int"]) if isinstance(value, dict) and "$int" in value else value


def tag(value):
    return {"$int": str(value)} if isinstance(value, int) and abs(value) > 2**53 else value


def hello(_):
    kind = {"name": "team", "schema": TEAM, "unknown": "refused", "narrows_rights": ["models", "tpm_limit"]}
    return {"protocol": 1, "name": "json_codec", "kinds": [kind]}


def encode(ask):
    team = {name: untag(value) for name, value in ask["value"].items()}
    if DROPS_NULL:
        team = {name: value for name, value in team.items() if value is not None}
    return {"ok": json.dumps({"k": "team", "d": team})}


def decode(ask):
    try:
        entry = json.loads(ask["payload"])
        team = entry["d"]
        right = {"team_id": (str,), "models": (list, type(None)), "tpm_limit": (int, type(None))}
        if entry != {"k": "team", "d": team}:
            return {"refused": "no entry of a team"}
        for name, types in right.items():
            if type(team.get(name, ...)) not in types:
                return {"refused": f"{name} is missing or mistyped"}
        if set(team) != set(right) or not all(type(model) is str for model in team["models"] or []):
            return {"refused": "no team"}
        return {"ok": {name: tag(value) for name, value in team.items()}}
    except Exception as error:  # no payload may stop a reader
        return {"refused": f"{type(error).__name__}: {error}"}


for line in sys.stdin:
    ask = json.loads(line)
    answer = {"hello": hello, "encode": encode, "decode": decode}[ask["op"]](ask)
    print(json.dumps({"id": ask["id"], **answer}), flush=True)
