#!/usr/bin/env python3
"""Writes tests/golden/recipes/fields.txt: the fields of LoraConfig, BitsAndBytesConfig, TrainingArguments and SFTConfig
with their defaults, a line each: class, name, default as YAML, by tabs.  tests/job/test_recipe.c holds the table of keys
to it; tests/interop/test_recipe.py holds it to the libraries that are installed.

    python tests/golden/make/recipe_fields.py > tests/golden/recipes/fields.txt
"""
import dataclasses
import inspect
import json

from peft import LoraConfig
from transformers import BitsAndBytesConfig, TrainingArguments
from trl import SFTConfig


def text(value):
    if dataclasses.is_dataclass(value):
        return "null"  # an object of another class, all defaults
    value = getattr(value, "value", value)  # enumerations
    return json.dumps(value)


def fields(cls):
    for f in dataclasses.fields(cls):
        if not f.init:
            continue
        if f.default is not dataclasses.MISSING:
            yield f.name, text(f.default)
        elif f.default_factory is not dataclasses.MISSING:
            yield f.name, text(f.default_factory())
        else:
            yield f.name, "null"


def lines():
    trainer = {name for name, _ in fields(TrainingArguments)}
    for name, default in fields(LoraConfig):
        yield f"LoraConfig\t{name}\t{default}"
    for name, p in inspect.signature(BitsAndBytesConfig).parameters.items():
        if p.kind is not inspect.Parameter.VAR_KEYWORD:
            yield f"BitsAndBytesConfig\t{name}\t{text(p.default)}"
    for name, default in fields(TrainingArguments):
        yield f"TrainingArguments\t{name}\t{default}"
    for name, default in fields(SFTConfig):
        if name not in trainer:
            yield f"SFTConfig\t{name}\t{default}"


if __name__ == "__main__":
    for line in lines():
        print(line)
