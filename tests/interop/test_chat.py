"""Chats against transformers and TRL: for the templates of dozens of model families, those of the PyPI packages trl and
llama-cpp-python (in source form: kept in ~/.cache/nibble-tests), ids equal apply_chat_template's; marks equal its assistant
mask where the template marks generation, and otherwise what the rule of conventions.md gives with jinja2's renderings.
What the template refuses there is refused here."""
import glob
import json
import os
import subprocess
import tempfile

from common import GOLDEN, NIBBLE, PICO, check, json_lines, main
from llama_cpp import llama_cpp
from turns_golden import CALL, FIVE_TURNS, WEATHER

TOKENIZERS = ["gpt2", "llama2", "llama3", "qwen2", "smollm", "mistral"]

# What these templates use and the renderer lacks, as its error names it.
NOT_SUPPORTED = {}

def say(*texts, system=None):
    roles = ["user", "assistant"]
    messages = [{"role": "system", "content": system}] if system is not None else []
    return messages + [{"role": roles[i % 2], "content": t} for i, t in enumerate(texts)]


CHATS = [
    *FIVE_TURNS,
    {"messages": say("Hello", "Hi there.")},
    {"messages": say("Hello", "Hi there.", system="You are brief.")},
    {"messages": say("One?", "Two.", "Three?", "Four.", "Five?", "Six.")},
    {"messages": say("One?", "Two.", "Three?", "Four.", system="Count.")},
    {"messages": say("  leading", "  both  ", "trailing \n", "\n\nlines\n\nbetween\n.", system="  odd  spaces \n")},
    {"messages": say("Grüße, 日本 🙂", "Ähm 🙂🙂 – «so», no?", system="Ünïcode\t.")},
    {"messages": say("{{ braces }} {% if x %}", "<|im_end|> [INST] </s> <b>&amp;</b> 'q' \"d\"")},
    {"messages": say("a\r\nb", "c\r\nd", "", "empty before")},
    {"messages": say("Think", "<think>\nhm\n</think>\n\nSo it is.", "And?", "<think>\nmore\n</think>\n\nDone.")},
    {"messages": say("Weather?", "Sunny."), "tools": [WEATHER]},
    {"messages": say("Weather?", "Sunny.", system="Use tools."), "tools": [WEATHER, WEATHER]},
    {"messages": [*say("Weather in Zürich?"), CALL, {"role": "tool", "tool_call_id": "abcdefghi", "name": "weather", "content": "{\"sky\": \"blue\"}"},
                  {"role": "assistant", "content": "Blue."}], "tools": [WEATHER]},
    {"messages": say("Reply in kind", "Yes.", "again", "No.", system=""), "chat_template_kwargs": {"enable_thinking": False}},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "parts"}, {"type": "text", "text": " of it"}]}, {"role": "assistant", "content": "whole"}]},
]


def llama_cpp_templates():
    return sorted(glob.glob(f"{llama_cpp()}/models/templates/*.jinja"))


def trl_templates():
    import trl
    return sorted(glob.glob(f"{trl.__path__[0]}/chat_templates/*.jinja"))


def make_model(tokenizer, template, where):
    """A directory with a tokenizer and a template, and transformers' view of it."""
    from transformers import PreTrainedTokenizerFast
    path = f"{GOLDEN}/text/{tokenizer}/tokenizer.json"
    with open(f"{PICO}/config.json") as f:
        config = json.load(f)
    with open(template, newline="") as f:
        text = f.read()
    tokens = ({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"} if tokenizer in ("llama2", "mistral") else
              {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    hf = PreTrainedTokenizerFast(tokenizer_file=path, **tokens)
    hf.chat_template = text
    config["vocab_size"] = len(hf) + 1
    os.makedirs(where, exist_ok=True)
    for name, value in ("config.json", config), ("tokenizer_config.json", tokens | {"tokenizer_class": "PreTrainedTokenizerFast"}):
        with open(f"{where}/{name}", "w") as f:
            json.dump(value, f)
    with open(f"{where}/tokenizer.json", "wb") as f, open(path, "rb") as g:
        f.write(g.read())
    with open(f"{where}/chat_template.jinja", "w", newline="") as f:
        f.write(text)
    return hf


def render(hf, chat, messages=None, **more):
    return hf.apply_chat_template(chat["messages"] if messages is None else messages, tools=chat.get("tools"), **chat.get("chat_template_kwargs", {}), **more)


def marks(text):
    import re
    return re.search(r"\{%-?\s*generation\s*-?%\}", text) is not None


def generation_spans(hf, chat):
    from transformers.utils.chat_template_utils import render_jinja_template
    more = {**hf.special_tokens_map, **chat.get("chat_template_kwargs", {})}
    _, spans = render_jinja_template([chat["messages"]], tools=chat.get("tools"), chat_template=hf.chat_template,
                                     return_assistant_tokens_mask=True, **more)
    return spans[0]


def overlaps(hf, text, spans):
    offsets = hf(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    mask = [int(any(b < e2 and b2 < e for b2, e2 in spans)) for b, e in offsets]
    return mask if 0 in mask and 1 in mask else None


def mask_of(hf, chat):
    """1 for trained tokens; None: the record must be refused."""
    messages = chat["messages"]
    whole = render(hf, chat, tokenize=False)
    if marks(hf.chat_template):
        spans = [s for s in generation_spans(hf, chat) if s[0] < s[1]]
        encoded = hf(whole, add_special_tokens=False)
        if spans and all(encoded.char_to_token(0, at) is not None for b, e in spans for at in (b, e - 1)):
            done = render(hf, chat, return_dict=True, return_assistant_tokens_mask=True)
            check(any(done["assistant_masks"]), "transformers marks nothing")
            return done["assistant_masks"]
        # It stops marking where a span begins or ends at a character of no token (a space that trim_offsets left out).
        return overlaps(hf, whole, spans) if spans else None
    spans = []
    try:
        for i, m in enumerate(messages):
            if m["role"] != "assistant":
                continue
            begin = render(hf, chat, messages[:i], tokenize=False, add_generation_prompt=True)
            end = render(hf, chat, messages[:i + 1], tokenize=False)
            if not whole.startswith(begin) or not whole.startswith(end) or len(end) <= len(begin):
                return UNKNOWN
            spans.append((len(begin), len(end)))
        if spans and messages[-1]["role"] == "assistant":
            spans[-1] = (spans[-1][0], len(whole))
    except Exception:
        return UNKNOWN
    return overlaps(hf, whole, [(past_empty_thought(whole, b, e), e) for b, e in spans])


UNKNOWN = "the renderings do not nest"


def past_empty_thought(whole, begin, end):
    """What a template writes where a turn has no reasoning is not trained."""
    import re
    opened = re.search(r"<think>[ \n]*\Z", whole[:begin])
    found = re.match(r"[ \n]*</think>[ \n]*" if opened else r"[ \n]*<think>[ \n]*</think>[ \n]*", whole[begin:end])
    return begin + found.end() if found else begin


def trained_words(hf, chat, whole, record):
    """Of the texts that stand in the whole once: those of the assistant are trained, the others are not."""
    whole, trained = ("".join(x.split()) for x in (whole, hf.decode([i for i in record["labels"] if i >= 0])))
    for m in chat["messages"]:
        text = "".join(m["content"].split("</think>")[-1].split()) if isinstance(m["content"], str) else ""
        if len(text) >= 4 and whole.count(text) == 1:
            check((text in trained) == (m["role"] == "assistant"), f"{m['role']}'s {text!r} in what is trained: {trained!r}")


def loses_calls(hf, chat, whole):
    """Whether the template passes over calls of tools: a turn of nothing is none to be trained."""
    bare = [{k: v for k, v in m.items() if k != "tool_calls"} for m in chat["messages"]]
    return bare != chat["messages"] and render(hf, chat, bare, tokenize=False) == whole


def preview(model, chats, *more):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        for chat in chats:
            f.write(json.dumps(chat, ensure_ascii=False) + "\n")
        f.flush()
        done = subprocess.run([NIBBLE, "preview", model, "--data", f.name, "--max-seq-length", "100000", "--json", *more],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    records = [line for line in json_lines(done.stdout.decode()) if "input_ids" in line]  # not the warnings
    return done.returncode, records, done.stderr.decode(errors="replace")


def compare(template, tokenizer, work, seen):
    name = os.path.basename(template)
    hf = make_model(tokenizer, template, work)
    taken, refused, masked, unmasked = [], [], [], []
    for chat in CHATS:
        try:
            ids = render(hf, chat)
        except Exception:
            refused.append(chat)
            continue
        taken.append((chat, ids))
        mask = mask_of(hf, chat)
        if mask == UNKNOWN:  # tests/text/test_chat.c has these, with turns that a search finds
            code, records, error = preview(work, [chat])
            check(code == 0 or (code == 1 and "line 1" in error), f"{name}: {chat}: {error[:300]}")
            whole = render(hf, chat, tokenize=False)
            if code == 0:
                check(any(i >= 0 for i in records[0]["labels"]), f"{name}: {chat}: nothing is trained")
                trained_words(hf, chat, whole, records[0])
            else:
                check(chat not in FIVE_TURNS or loses_calls(hf, chat, whole), f"{name}: {chat}: {error[:300]}")
            seen["aligned"] += code == 0
            continue
        (unmasked if mask is None else masked).append((chat, ids, mask))
    if taken:
        code, records, error = preview(work, [c for c, _ in taken], "--train-on-turns", "everything")
        check(code == 0 and len(records) == len(taken), f"{name}: exit {code}, {len(records)} of {len(taken)} records: {error[:400]}")
        for (chat, ids), r in zip(taken, records):
            check(r["input_ids"] == ids == r["labels"], f"{name}, {tokenizer}: {chat}\n  nibble {hf.decode(r['input_ids'])!r}\n  hf     {hf.decode(ids)!r}")
    if masked:
        code, records, error = preview(work, [c for c, _, _ in masked])
        check(code == 0 and len(records) == len(masked), f"{name}: exit {code}, {len(records)} of {len(masked)} masked records: {error[:400]}")
        for (chat, ids, mask), r in zip(masked, records):
            want = [i if m else -100 for i, m in zip(ids, mask)]
            check(r["input_ids"] == ids and r["labels"] == want, f"{name}, {tokenizer}: other marks: {chat}\n  {hf.tokenize(hf.decode(ids))}\n  nibble "
                  f"{hf.decode([i for i in r['labels'] if i >= 0])!r}\n  wanted {hf.decode([i for i in want if i >= 0])!r}")
    for chats, more in (refused, ["--train-on-turns", "everything"]), ([c for c, _, _ in unmasked], []):
        for chat in chats:
            code, _, error = preview(work, [chat], *more)
            check(code == 1 and "line 1" in error, f"{name}: should be refused, exit {code}: {chat}: {error[:300]}")
    seen["templates"] += bool(taken)
    seen["masked"] += bool(masked)
    seen["marked"] += bool(masked) and marks(hf.chat_template)
    seen["chats"] += len(taken)


def compare_all(templates, least):
    seen, problems = {"templates": 0, "masked": 0, "marked": 0, "chats": 0, "aligned": 0}, []
    for i, template in enumerate(templates):
        with tempfile.TemporaryDirectory() as work:
            try:
                compare(template, TOKENIZERS[i % len(TOKENIZERS)], work, seen)
            except Exception as e:
                if NOT_SUPPORTED.get(os.path.basename(template), "\0") in str(e):
                    continue
                problems.append(f"{os.path.basename(template)}: {type(e).__name__}: {e}"[:1500])
    check(not problems, f"{len(problems)} of {len(templates)} templates:\n" + "\n".join(problems))
    check(seen["templates"] >= least and seen["masked"] >= least, f"{seen}")
    print(f"  {seen}")


def templates_of_trl():
    compare_all(trl_templates(), 40)


def templates_of_llama_cpp():
    compare_all(llama_cpp_templates(), 15)


TESTS = [("templates of trl", templates_of_trl), ("templates of llama.cpp", templates_of_llama_cpp)]

if __name__ == "__main__":
    main(TESTS)
