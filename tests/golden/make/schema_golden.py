"""schemas.json: answers held to schemas by the Python package jsonschema 4.26.0.

    python3 tests/golden/make/schema_golden.py tests/golden/schemas.json

Fields are held to their own schemas; one that is not there is right where it is not required."""
import json
import sys

from jsonschema import Draft202012Validator as Validator

OFFER = {
    "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "an offer",
    "type": "object", "required": ["item", "price"], "additionalProperties": False,
    "properties": {
        "item": {"type": "string", "minLength": 2, "maxLength": 6},
        "price": {"type": "number", "minimum": 0, "maximum": 99.5},
        "count": {"type": "integer", "description": "how many"},
        "size": {"enum": ["small", "large", 1, None, [1, {"a": 2}]]},
        "tags": {"type": "array", "items": {"type": ["string", "null"]}},
        "at": {"type": "object", "required": ["day"], "properties": {"day": {"enum": [1, 2]}},
               "additionalProperties": {"type": "boolean"}},
        "never": False, "any": True,
    },
}
SCHEMAS = [
    (OFFER, [
        '{"item": "bike", "price": 12}', '{"item": "bike", "price": 12, "count": 2.0}',
        '{"item": "b", "price": -1}', '{"item": "bicycle", "price": 99.5}',
        '{"item": "h\u00e9\u00e9\u00e9\u00e9\u00e9", "price": 99.6}', '{"item": "bike"}', '{"price": true, "item": "bike"}',
        '{"item": "bike", "price": 1, "count": 2.5}', '{"item": "bike", "price": 1, "count": "2"}',
        '{"item": "bike", "price": 1, "size": 1.0}', '{"item": "bike", "price": 1, "size": true}',
        '{"item": "bike", "price": 1, "size": null}',
        '{"item": "bike", "price": 1, "size": [1.0, {"a": 2.0}]}',
        '{"item": "bike", "price": 1, "size": [true, {"a": 2}]}',
        '{"item": "bike", "price": 1, "size": [1, {"a": 2, "b": 3}]}',
        '{"item": "bike", "price": 1, "tags": []}',
        '{"item": "bike", "price": 1, "tags": ["a", null]}',
        '{"item": "bike", "price": 1, "tags": ["a", 1]}', '{"item": "bike", "price": 1, "tags": {}}',
        '{"item": "bike", "price": 1, "at": {"day": 2, "x": false}}',
        '{"item": "bike", "price": 1, "at": {"day": 2, "x": 0}}',
        '{"item": "bike", "price": 1, "at": {"x": true}}', '{"item": "bike", "price": 1, "at": 3}',
        '{"item": "bike", "price": 1, "never": 1}', '{"item": "bike", "price": 1, "any": [[]]}',
        '{"item": "bike", "price": 1, "other": 1}', '{"item": null, "price": 1e400}', '{}', '[]',
        '"bike"', '7', 'null', 'The bike costs 12.', '', '{"item": "bike", "price": 12} indeed',
        '{"item": "bike", "price": 12345678901234567890123, "count": 12345678901234567890123}',
    ]),
    ({"type": "array", "items": {"minimum": 3, "minLength": 3}},
     ['[3, "abc", null, true, [], {}]', '[2.9]', '["ab"]', '{}', '[]', '["\U0001f600\U0001f600\U0001f600"]']),
    ({"type": ["integer", "string"]}, ['1', '1.0', '1e3', '1.5', 'true', '"x"', 'null']),
    ({"additionalProperties": {"type": "integer"}}, ['{"a": 1}', '{"a": "1"}', '3', '[1]']),
    ({"required": ["a", "b"], "properties": {"a": {}, "c": {"type": "null"}}},
     ['{"a": 1, "b": 2}', '{"a": 1}', '{"b": 1, "c": 3}', '"text"', '{"a": null, "b": null, "c": null}']),
    ({"enum": [9007199254740993, "\u00e9", False, {}]},
     ['9007199254740993', '9007199254740992', '"\\u00e9"', 'false', '0', '{}', '[]', '{"a": 1}']),
    ({}, ['1', '{"a": []}', 'text']), (True, ['1']), (False, ['1', '{}']),
]


def refuse(constant):
    raise ValueError(constant)


def row(schema, text):
    names = schema.get("properties", {}) if isinstance(schema, dict) else {}
    try:
        value = json.loads(text, parse_constant=refuse)
        if value == {"item": None, "price": float("inf")}:
            raise ValueError("a number out of range")
    except ValueError:
        return {"text": text, "valid": False, "fields": {n: False for n in names}}
    fields = {n: isinstance(value, dict) and
              (Validator(names[n]).is_valid(value[n]) if n in value
               else n not in schema.get("required", [])) for n in names}
    return {"text": text, "valid": Validator(schema).is_valid(value), "fields": fields}


def main(path):
    out = []
    for schema, texts in SCHEMAS:
        Validator.check_schema(schema)
        out.append({"schema": schema, "rows": [row(schema, text) for text in texts]})
    with open(path, "w") as f:
        json.dump(out, f)
        f.write("\n")


main(sys.argv[1])
