"""Writes tests/golden/chat/turns.json: chats rendered by transformers with templates of trl, and what is trained of
them.  Each answer's words are its own and the template's header and end are known, so a search finds a turn: from
behind the last header before its words (and an empty reasoning part there) to the end behind them."""
import json
import os
import re

import trl
from transformers.utils.chat_template_utils import render_jinja_template

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
CHATML = ("<|im_start|>assistant\n", "<|im_end|>\n")
EDGES = {"qwen3": CHATML, "qwen2_5": CHATML, "qwen3_instruct_2507": CHATML, "phi3": ("<|assistant|>\n", "<|end|>\n"),
         "llama3": ("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
         "deepseek_r1_distill": ("<｜Assistant｜>", "<｜end▁of▁sentence｜>"), "gemma": ("<start_of_turn>model\n", "<end_of_turn>\n")}


def user(text):
    return {"role": "user", "content": text}


def says(text, **more):
    return {"role": "assistant", "content": text, **more}


CHATS = [
    [user("one?"), says("First.")],
    [user("one?"), says("First."), user("two?"), says("Second.")],
    [user("one?"), says("First."), user("two?"), says("Second."), user("three?"), says("Third."), user("bye")],
    [user("one?"), says("<think>\nhm one\n</think>\n\nFirst."), user("two?"), says("<think>\nhm two\n</think>\n\nSecond.")],
    [user("one?"), says("First.", reasoning_content="hm one"), user("two?"), says("Second.", reasoning_content="hm two")],
    [says("Hello."), user("one?"), says("First.")],
    [{"role": "system", "content": "Be brief."}, says("Hello."), user("one?"), says("First.")],
    [user("one?"), says("First.", weight=0), user("two?"), says("Second.")],
    [user("one?"), says("First.", train=True), user("two?"), says("Second.", loss=False)],
    [user("one?"), says("  First. \n"), user("two?"), says("Second.\n\nMore. ")],
    [m for i in range(24) for m in (user(f"ask {i}?"), says(f"answer number {i}."))],  # more than are rendered one by one
]


def turns(whole, messages, header, end):
    out, at = [], 0
    for m in messages:
        if m["role"] != "assistant":
            continue
        words = m["content"].split("</think>")[-1].strip()
        at = whole.index(words, at)
        begin = whole.rindex(header, 0, at) + len(header)
        begin += re.match(r"(<think>[ \n]*</think>[ \n]*)?", whole[begin:]).end()
        at = len(whole) if m is messages[-1] else whole.index(end.rstrip("\n"), at) + len(end)
        if m.get("weight", 1) and m.get("train", True) and m.get("loss", True):
            out.append(whole[begin:at])
    return out


if __name__ == "__main__":
    cases, templates = [], {}
    for name, (header, end) in EDGES.items():
        with open(f"{trl.__path__[0]}/chat_templates/{name}.jinja", newline="") as f:
            templates[name] = f.read()
        for messages in CHATS:
            try:
                texts, _ = render_jinja_template([messages], chat_template=templates[name], **TOKENS)
            except Exception:
                continue  # this template takes no such chat
            cases.append({"template": name, "messages": messages, "text": texts[0], "trained": turns(texts[0], messages, header, end)})
    with open(os.path.join(os.path.dirname(__file__), "..", "chat", "turns.json"), "w") as f:
        f.write('{"templates": ' + json.dumps(templates, ensure_ascii=False, indent=0) + ',\n"cases": [\n')
        f.write(",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]}\n")
    print(len(cases))
