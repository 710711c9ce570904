"""The description of `POST /v1/predict` in `/openapi.json`: its route is a plain one, FastAPI knows none."""

from typing import Any, Final

_ERROR: Final = {
    "application/json": {
        "schema": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in ("error", "where", "expected")},
        }
    }
}

_ITEM_ID: Final = {"oneOf": [{"type": "integer"}, {"type": "string"}]}

_REQUEST: Final = {
    "type": "object",
    "required": ["items"],
    "properties": {
        "request_id": {"type": "string"},
        "user": {"type": "object"},
        "context": {"type": "object"},
        "items": {
            "type": "array",
            "items": {"type": "object", "required": ["item_id"], "properties": {"item_id": _ITEM_ID}},
        },
    },
}

_SCORES: Final = {
    "type": "object",
    "additionalProperties": {"type": "number"},
    "description": "By label a probability, or, of kind number, the number to expect; after a freeze also "
    "LABEL@frozen.",
}

_ANSWER: Final = {
    "type": "object",
    "properties": {
        "request_id": {"type": "string", "nullable": True},
        "items": {
            "type": "array",
            "items": {"type": "object", "properties": {"item_id": _ITEM_ID, "scores": _SCORES}},
        },
        "parameters": {
            "type": "object",
            "properties": {
                "age_ms": {
                    "type": "integer",
                    "nullable": True,
                    "description": "Since the last word of the quietest shard; null: untrained.",
                },
                "dense_version": {"type": "integer", "nullable": True},
            },
        },
    },
}

PREDICT: Final[dict[str, Any]] = {
    "post": {
        "summary": "Scores for the items of one request.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": _REQUEST}}},
        "responses": {
            "200": {
                "description": "In the order of the items.",
                "content": {"application/json": {"schema": _ANSWER}},
            },
            "400": {"description": "Not JSON.", "content": _ERROR},
            "413": {"description": "The body is too long.", "content": _ERROR},
            "422": {"description": "A field is missing, of the wrong type, or too long.", "content": _ERROR},
            "503": {"description": "Too many requests wait already.", "content": _ERROR},
        },
    }
}
