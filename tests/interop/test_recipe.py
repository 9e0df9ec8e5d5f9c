"""The table of keys against the installed libraries: every field of LoraConfig, BitsAndBytesConfig, TrainingArguments and
SFTConfig is in it, and the committed list of fields is still theirs."""
import subprocess

from common import GOLDEN, NIBBLE, check, main, nibble


def keys():
    done = subprocess.run([NIBBLE, "finetune", "--keys"], stdout=subprocess.PIPE, check=True)
    return {line.split("\t")[0]: line.split("\t") for line in done.stdout.decode().splitlines()}


def every_field_is_known():
    import recipe_fields
    known = keys()
    missing = [line for line in recipe_fields.lines() if line.split("\t")[1] not in known]
    check(not missing, f"not in the table: {missing}")


def fields_are_as_committed():
    import recipe_fields
    with open(f"{GOLDEN}/recipes/fields.txt") as f:
        committed = f.read().splitlines()
    live = list(recipe_fields.lines())
    check(committed == live, f"only committed: {sorted(set(committed) - set(live))}, only live: {sorted(set(live) - set(committed))}")


def help_lists_what_is_used():
    text = nibble("finetune", "--help")
    for name, (_, _, use, _) in keys().items():
        listed = f"--{name.replace('_', '-')} " in text
        check(listed == (use == "used"), f"{name} is {use} and {'' if listed else 'not '}in --help")


TESTS = [("every field is known", every_field_is_known), ("fields are as committed", fields_are_as_committed),
         ("help lists what is used", help_lists_what_is_used)]

if __name__ == "__main__":
    main(TESTS)
