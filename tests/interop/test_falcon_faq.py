"""recipes/falcon-faq.yaml from end to end, and then asked: questions in words that were not trained get the answers that
were.  On a small Falcon that the test trains first, so that it has a language to answer in, and on SmolLM2-135M-Instruct,
where only the names of the linears and the model's directory are others."""
import difflib
import json
import os
import shutil
import tempfile

from common import GOLDEN, TOP, check, json_lines, main, nibble

RECIPE = os.path.join(TOP, "recipes", "falcon-faq.yaml")

# --- the small Falcon: a language of shops, whose answers it knows; the recipe teaches it those of another shop ---

TOPICS = ["opening hours", "delivery", "returns", "payment", "repairs", "gift cards", "the guarantee", "parking", "discounts", "an account"]
FORMS = ["What about {}?", "Tell me about {}.", "I have a question on {}.", "How does it work with {}?", "Can you explain {}?",
         "Please say something on {}."]
KNOWN = ["We open at nine and close at six.", "It takes three to five days.", "You have thirty days for it.", "Cards and cash are welcome.",
         "Bring it in and wait an hour.", "They are sent by mail at once.", "It lasts for two years.", "There is room behind the house.",
         "Ask for them in the spring.", "Press the button at the top."]
TAUGHT = KNOWN[3:] + KNOWN[:3]  # the other shop says the same sentences, but of other things


def faq_text(question, answer=""):
    return f"Question: {question}\nAnswer:" + (f" {answer}" if answer else "")


def small_falcon(where):
    """A Falcon of two layers with the golden tokenizer, trained in torch on every question of the first shop."""
    import tokenizers
    import torch
    import transformers

    tokenizer_dir = f"{GOLDEN}/text/falcon"
    tokenizer = tokenizers.Tokenizer.from_file(f"{tokenizer_dir}/tokenizer.json")
    end = tokenizer.token_to_id("<|endoftext|>")
    ids = [tokenizer.encode(faq_text(form.format(topic), answer)).ids + [end]
           for topic, answer in zip(TOPICS, KNOWN) for form in FORMS]
    length = max(map(len, ids))
    batch = torch.tensor([i + [end] * (length - len(i)) for i in ids])
    labels = torch.tensor([i + [-100] * (length - len(i)) for i in ids])
    torch.manual_seed(1)
    model = transformers.FalconForCausalLM(transformers.FalconConfig(
        vocab_size=1024, hidden_size=128, num_attention_heads=4, num_hidden_layers=2, new_decoder_architecture=False, multi_query=True,
        parallel_attn=True, bias=False, alibi=False, eos_token_id=end, bos_token_id=end))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(120):
        rows = torch.randperm(len(ids))[:20]
        loss = model(batch[rows], labels=labels[rows]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    check(loss.item() < 1, f"the small Falcon learned nothing in {step + 1} steps: loss {loss.item():.3f}")
    model.save_pretrained(where)
    shutil.copy(f"{tokenizer_dir}/tokenizer.json", where)
    with open(f"{where}/tokenizer_config.json", "w") as f:
        json.dump({"eos_token": "<|endoftext|>"}, f)


def answers(model, questions, work, *more):
    path = os.path.join(work, "questions.jsonl")
    with open(path, "w") as f:
        f.writelines(json.dumps({"prompt": faq_text(q)}) + "\n" for q in questions)
    lines = json_lines(nibble("generate", model, "--prompts", path, "--do-sample", "false", "--max-new-tokens", 32, *more))
    return [line["completion"].strip() for line in lines]


def right(got, want):
    return sum(g == w for g, w in zip(got, want))


def falcon():
    with tempfile.TemporaryDirectory() as work:
        model, data, out = (os.path.join(work, n) for n in ("model", "faq.json", "out"))
        small_falcon(model)
        with open(data, "w") as f:  # one object with a list, as the well-known FAQ file is; the last form is held out
            json.dump({"questions": [{"question": form.format(topic), "answer": answer}
                                     for form in FORMS[:-1] for topic, answer in zip(TOPICS, TAUGHT)]}, f)
        held_out = [FORMS[-1].format(topic) for topic in TOPICS]
        before = answers(model, held_out, work)
        # The small model takes a larger rate than the recipe's.
        nibble("finetune", RECIPE, f"model_name_or_path={model}", f"data={data}", f"output_dir={out}", "learning_rate=1e-2")
        after = answers(model, held_out, work, "--adapter", out, "--load-in-4bit", "--bnb-4bit-use-double-quant")
        print(f"  {right(before, TAUGHT)} of {len(TAUGHT)} answered before, {right(after, TAUGHT)} after")
        check(right(before, TAUGHT) == 0, f"the model knows the answers before: {before}")
        check(right(after, TAUGHT) >= 8, f"of {len(TAUGHT)} held-out questions {right(after, TAUGHT)} are answered: {after}")


# --- SmolLM2 on the recipe's own data ---

HELD_OUT = [  # a question of recipes/data/faq.jsonl in other words, and the line that holds the answer
    ("What ways to pay do you offer?", 1), ("How many days until my delivery arrives?", 2), ("Do you send orders to other countries?", 3),
    ("Where can I see where my order is?", 4), ("Can I send a product back?", 5), ("When will I get my money back?", 7),
    ("I want to cancel my order, is that possible?", 9), ("How can I create an account?", 10), ("I do not remember my password.", 11),
    ("Must I have an account to buy something?", 12), ("Where is your shop, can I visit it?", 13), ("How long is the guarantee?", 14),
    ("Can you wrap it as a present?", 16), ("May I combine two vouchers?", 17), ("How can I contact you?", 18), ("Are there gift cards?", 19)]


def smollm2_faq():
    from smollm2 import smollm2
    directory = smollm2()
    with open(os.path.join(TOP, "recipes", "data", "faq.jsonl")) as f:
        known = [json.loads(line)["answer"] for line in f]
    questions = [question for question, _ in HELD_OUT]
    want = [known[line - 1] for _, line in HELD_OUT]

    def answered(got):  # nearer to the right answer than to any other, and near
        def like(a, b):
            return difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()
        return sum(like(g, w) > 0.7 and max(known, key=lambda k: like(g, k)) == w for g, w in zip(got, want))

    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "out")
        before = answered(answers(directory, questions, work, "--load-in-4bit", "--bnb-4bit-use-double-quant"))
        # A model of 135 million parameters takes a larger rate, and all of its linears, to learn twenty answers.
        nibble("finetune", RECIPE, f"model_name_or_path={directory}", f"data={TOP}/recipes/data/faq.jsonl", f"output_dir={out}",
               "target_modules=all-linear", "learning_rate=2e-3")
        got = answers(directory, questions, work, "--adapter", out, "--load-in-4bit", "--bnb-4bit-use-double-quant")
    after = answered(got)
    print(f"  {before} of {len(HELD_OUT)} answered before, {after} after")
    check(before == 0, f"{before} answered before")
    check(after >= len(HELD_OUT) // 2, f"{after} of {len(HELD_OUT)} answered: {list(zip(questions, got))}")


if __name__ == "__main__":
    main([("the Falcon FAQ recipe on a small Falcon: held-out questions answered", falcon),
          ("the Falcon FAQ recipe on SmolLM2: held-out questions answered", smollm2_faq)])
