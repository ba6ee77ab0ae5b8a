"""Drives LiteLLM's CacheCodec for `gauntlet codec`; run it with a Python that has LiteLLM installed.

    gauntlet codec --driver 'python tests/drivers/litellm_cache_codec.py'

`--remedy` judges a change that was proposed for public issue 27874 instead of what is installed.
The bytes are Redis's: what `json.dumps` makes of CacheCodec's output, read by RedisCache's own reader.
"""

import argparse, collections.abc, copy, importlib.metadata, json, logging, sys, typing
from datetime import date, datetime, timezone

PROTOCOL_OUT, sys.stdout = sys.stdout, sys.stderr  # whatever LiteLLM prints is no answer
logging.disable(logging.CRITICAL)

from litellm.caching.redis_cache import RedisCache
from litellm.proxy import _types
from litellm.proxy.common_utils.cache_pydantic_utils import CacheCodec
from pydantic import BaseModel, ValidationError, create_model

KINDS = """UserAPIKeyAuth LiteLLM_TeamTableCachedObj LiteLLM_UserTable LiteLLM_TeamMembership LiteLLM_EndUserTable
LiteLLM_OrganizationTable LiteLLM_BudgetTable LiteLLM_ProjectTableCachedObj LiteLLM_ObjectPermissionTable
LiteLLM_AccessGroupTable LiteLLM_TagTable LiteLLM_ManagedVectorStoresTable""".split()
NARROWING = """blocked team_blocked models team_models allowed_routes allowed_models max_budget soft_budget
team_max_budget user_max_budget tpm_limit rpm_limit tpd_limit max_parallel_requests expires mcp_servers""".split()

arguments = argparse.ArgumentParser()
arguments.add_argument("--remedy", choices=["optional-user-id", "keep-none", "keep-none-user-only"])
REMEDY = arguments.parse_args().remedy
MODELS = {name: getattr(_types, name) for name in KINDS if hasattr(_types, name)}
if REMEDY == "optional-user-id":
    user = MODELS["LiteLLM_UserTable"]
    MODELS[user.__name__] = create_model(user.__name__, __base__=user, user_id=(typing.Optional[str], None))


def serialize(value, model):
    """What is installed, or what the remedy makes of it."""
    required = any(field.is_required() for field in model.model_fields.values())
    kept = {"keep-none": required, "keep-none-user-only": model is MODELS["LiteLLM_UserTable"]}
    if kept.get(REMEDY):
        return value.model_dump(mode="json")
    return CacheCodec.serialize(value, model_type=model)


def is_open(annotation):
    """Whether a bare `dict`, whose keys and values may be anything Python has, is a way to fill it."""
    return annotation in (dict, typing.Dict) or (
        typing.get_origin(annotation) is typing.Union or type(annotation).__name__ == "UnionType"
    ) and any(is_open(one) for one in typing.get_args(annotation))


def schema(model):
    """The model's schema, without what it does not store, and with what JSON Schema cannot say."""
    described = copy.deepcopy(model.model_json_schema())
    for name, field in model.model_fields.items():
        if field.exclude:
            described["properties"].pop(name, None)
        elif name in described["properties"] and is_open(field.annotation):
            shape = described["properties"][name]
            for one in shape.get("anyOf", [shape]):
                if one.get("type") == "object":
                    one["x-open"] = True
    return described


def untag(value):
    if isinstance(value, list):
        return [untag(item) for item in value]
    if not isinstance(value, dict):
        return value
    match list(value.items()):
        case [("$int", text)]:
            return int(text)
        case [("$float", text)]:
            return float(text)
        case [("$date", text)]:
            return datetime.fromisoformat(text.replace("Z", "+00:00"))
        case [("$map", pairs)]:
            return {untag(key): untag(item) for key, item in pairs}
        case items:
            return {key: untag(item) for key, item in items}


def tag(value):
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # half a surrogate is text in Python only
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return {"$float": str(value)}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return {"$int": str(value)}
    if isinstance(value, datetime):
        return {"$date": (value.astimezone(timezone.utc) if value.tzinfo else value).isoformat()}
    if isinstance(value, date):
        return {"$date": value.isoformat()}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {tag(key): tag(item) for key, item in value.items()}
        return {"$map": [[tag(key), tag(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple, set)):
        return [tag(item) for item in value]
    return value


def hello():
    kinds = []
    for name, model in MODELS.items():
        described = schema(model)
        fields = described["properties"]
        ignored = {"forbid": "refused", "allow": "kept"}.get(model.model_config.get("extra"), "ignored")
        narrowing = [field for field in NARROWING if field in fields]
        kinds.append({"name": name, "schema": described, "unknown": ignored, "narrows_rights": narrowing})
    version = importlib.metadata.version("litellm")
    return {"protocol": 1, "name": f"litellm {version} {REMEDY or 'as installed'}", "kinds": kinds}


def encode(model, value):
    try:
        instance = model(**untag(value))
    except Exception as error:
        return {"illegal": str(error)}
    try:
        held = tag(instance.model_dump())
        return {"ok": json.dumps(serialize(instance, model)), "held": held}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}


def decode(model, payload):
    try:
        raw = bytes.fromhex(payload["$bytes"]) if isinstance(payload, dict) else payload.encode()
        cached = RedisCache._get_cache_logic(None, raw)
        read = CacheCodec.deserialize(cached, model)
        if read is not None:
            return {"ok": tag(read.model_dump())}
        model.model_validate(cached)  # CacheCodec only logs why
        return {"miss": True}
    except ValidationError as error:
        return {"refused": "; ".join(f"{'.'.join(map(str, it['loc']))} {it['msg']}" for it in error.errors())}
    except Exception as error:  # DualCache takes any exception of a read for a miss
        return {"refused": f"{type(error).__name__}: {error}"}


for line in sys.stdin:
    ask = json.loads(line)
    match ask["op"]:
        case "hello":
            answer = hello()
        case "encode":
            answer = encode(MODELS[ask["kind"]], ask["value"])
        case "decode":
            answer = decode(MODELS[ask["kind"]], ask["payload"])
    print(json.dumps({"id": ask["id"], **answer}), file=PROTOCOL_OUT, flush=True)
