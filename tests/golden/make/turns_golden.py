"""Writes tests/golden/chat/turns.json and five_turns.json: chats rendered by transformers with templates of trl, and what is trained of
them.  Each answer's words are its own and the template's header and end are known, so a search finds a turn: from
behind the last header before its words (and an empty reasoning part there) to the end behind them.  Of templates with
{% generation %} transformers says what is trained."""
import datetime
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


# Of five_turns.json: headers, and ends of a text and of a call (gpt-oss ends an answer otherwise where others follow).
FIVE_EDGES = {
    "gemma3": (["<start_of_turn>model\n"], "<end_of_turn>\n", None), "cohere2": (["<|CHATBOT_TOKEN|><|START_RESPONSE|>"], "<|END_OF_TURN_TOKEN|>", None),
    "gemma4_v5": (["<|turn>model\n", "<tool_response|>"], "<turn|>\n", "<tool_call|><|tool_response>"),
    "gptoss": (["<|start|>assistant"], "", "<|call|>"), "glm4moe": (["<|assistant|>"], "", "</tool_call>"),
    "lfm2_2_5_v2": (["<|im_start|>assistant\n"], "<|im_end|>\n", "<|im_end|>\n"),
    "llama3_2": (["<|start_header_id|>assistant<|end_header_id|>\n\n"], "<|eot_id|>", "<|eot_id|>"),
    "phi3_5": (["<|assistant|>\n"], "<|end|>\n", None), "qwen3_5_think": (["<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n"], "<|im_end|>\n", "<|im_end|>\n"),
    "qwen3": (["<|im_start|>assistant\n"], "<|im_end|>\n", "<|im_end|>\n"),
}
MARKED = ["qwen3", "llama3", "gemma3", "cohere2", "glm4moe", "lfm2_v2", "phi3_5", "qwen3_5_think", "deepseek_r1_distill", "gptoss"]

WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather of a <place> & its 'surroundings'.", "parameters": {
    "type": "object", "properties": {"place": {"type": "string", "description": "A town, \"Zürich\""}, "days": {"type": "integer", "description": "how many"}},
    "required": ["place"]}}}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": {"place": "Zürich", "days": 2}}}]}


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


def five_turns(think, tools):
    """Five answers, thinking in a field and in the text, a call and its result: no two texts alike."""
    def thought(text):
        return {"reasoning_content": text} if think else {}
    inside = "<think>\nThought two.\n</think>\n\n" if think else ""
    call = [CALL, {"role": "tool", "tool_call_id": "abcdefghi", "name": "weather", "content": "Outcome three."}] if tools else []
    messages = [{"role": "system", "content": "Manners matter."},
                user("Question one?"), says("Reply one.", **thought("Thought one.")), user("Question two?"), says(inside + "Reply two."),
                user("Question three?"), *call, says("Reply three."), user("Question four?"), says("Reply four."),
                user("Question five?"), says("Reply five.", **thought("Thought five."))]
    return {"messages": messages, "tools": [WEATHER]} if tools else {"messages": messages}


FIVE_TURNS = [five_turns(think, tools) for think in (False, True) for tools in (False, True)]


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


def edges_of_turns(whole, messages, headers, end, call_end):
    out, at = [], whole.index("Question one?")
    for m in messages:
        if m["role"] != "assistant":
            continue
        words = "weather" if "tool_calls" in m else m["content"].split("</think>")[-1].strip()
        at = whole.index(words, at)
        begin = max(whole.rfind(h, 0, at) + len(h) for h in headers if h in whole[:at])
        begin += re.match(r"([ \n]*<think>[ \n]*</think>[ \n]*)?", whole[begin:]).end()
        end_of = end if words != "weather" else call_end
        at = len(whole) if m is messages[-1] else whole.index(end_of.rstrip("\n"), at + len(words)) + len(end_of)
        out.append(whole[begin:at])
    return out


def read(name):
    with open(f"{trl.__path__[0]}/chat_templates/{name}.jinja", newline="") as f:
        return f.read()


def write(name, templates, cases):
    with open(os.path.join(os.path.dirname(__file__), "..", "chat", name), "w") as f:
        f.write('{"templates": ' + json.dumps(templates, ensure_ascii=False, indent=0) + ',\n"cases": [\n')
        f.write(",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]}\n")
    print(name, len(cases))


def several_turns():
    cases, templates = [], {}
    for name, (header, end) in EDGES.items():
        templates[name] = read(name)
        for messages in CHATS:
            try:
                texts, _ = render_jinja_template([messages], chat_template=templates[name], **TOKENS)
            except Exception:
                continue  # this template takes no such chat
            cases.append({"template": name, "messages": messages, "text": texts[0], "trained": turns(texts[0], messages, header, end)})
    write("turns.json", templates, cases)


def undated(text):
    """Some write the date of the day; the clock of the tests stands at 1970."""
    for form in "%Y-%m-%d", "%d %b %Y":
        text = text.replace(datetime.date.today().strftime(form), datetime.date(1970, 1, 1).strftime(form))
    return text


def five_turns_of(name, marked):
    """The chat of most parts that the template takes."""
    template = read(name)
    for chat in FIVE_TURNS[::-1]:
        if not marked and "tools" in chat and not FIVE_EDGES[name][2]:
            continue
        try:
            texts, spans = render_jinja_template([chat["messages"]], tools=chat.get("tools"), chat_template=template,
                                                 return_assistant_tokens_mask=marked, **TOKENS)
        except Exception:
            continue
        trained = ([texts[0][b:e] for b, e in spans[0]] if marked else
                   edges_of_turns(texts[0], chat["messages"], *FIVE_EDGES[name]))
        texts[0], trained = undated(texts[0]), [undated(t) for t in trained]
        return template, chat | {"template": name, "text": texts[0], "trained": trained}


if __name__ == "__main__":
    several_turns()
    made = [five_turns_of(name, False) for name in FIVE_EDGES] + [five_turns_of(name + "_training", True) for name in MARKED]
    write("five_turns.json", {case["template"]: template for template, case in made}, [case for _, case in made])
