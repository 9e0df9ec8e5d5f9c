"""Makes tests/golden/compare/: records of texts to compare, adapters to begin from, and what sentence-transformers'
losses make of the models of tests/golden/embeddings/ in some steps of AdamW in float32, without dropout; then what its
evaluators measure.

Run from the top of the repository, in an environment with tests/requirements.txt and sentence-transformers 5.7.0:
    python tests/golden/make/compare_golden.py"""
import json
import os
import random
import shutil
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from scipy.stats import pearsonr, spearmanr
from sentence_transformers import SentenceTransformer, losses
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
from sentence_transformers.evaluation import InformationRetrievalEvaluator
from transformers import get_linear_schedule_with_warmup

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "compare")
MODELS = os.path.join(TOP, "..", "embeddings")
STEPS, BATCH = 4, 6
WORDS = "chain gear brake wheel oil query passage the of is bicycle".split()
# model, loss, LoRA (else the whole model), dims, learning rate
CASES = {"ranking": ("new", losses.MultipleNegativesRankingLoss, True, None, 1e-2),
         "cosent": ("old", losses.CoSENTLoss, True, None, 1e-2),
         "triplet": ("bare", losses.TripletLoss, False, None, 1e-3),
         "cosine": ("bare", losses.CosineSimilarityLoss, False, None, 1e-3),
         "matryoshka": ("new", losses.MultipleNegativesRankingLoss, False, [8, 32], 1e-3)}
DENSE = {"dense": ("dense", losses.MultipleNegativesRankingLoss, True, None, 1e-2),
         "dense-whole": ("dense", losses.CosineSimilarityLoss, False, None, 1e-3)}
# of a decoder, the last token pooled
DECODER = {"decoder": ("qwen", losses.MultipleNegativesRankingLoss, True, None, 1e-2),
           "decoder-whole": ("qwen", losses.MultipleNegativesRankingLoss, False, None, 1e-3)}
rng = random.Random(5)


def text():
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 7)))


def records(kind):
    seen = set()

    def new():
        while True:
            t = text()
            if t not in seen:
                seen.add(t)
                return t

    for i in range(STEPS * BATCH):
        if kind in ("cosent", "cosine", "dense-whole"):
            yield dict(sentence1=new(), sentence2=new(), score=round(rng.random(), 2))
        elif kind == "matryoshka":
            yield dict(anchor=new(), positive=new())
        else:
            yield dict(anchor=new(), positive=new(), negative=new())


def read(name):
    return SentenceTransformer(os.path.join(MODELS, name), device="cpu",
                               model_kwargs=dict(dtype=torch.float32, attn_implementation="eager"))


def adapt(model, directory):
    model.add_adapter(LoraConfig(task_type="FEATURE_EXTRACTION", r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"] if hasattr(model[0].auto_model, "rotary_emb") else ["query", "value"]))
    with torch.no_grad():
        for n, p in model.named_parameters():
            if "lora_" in n:  # Dense modules are trained as they are
                p.copy_(torch.randn(p.shape) * (0.2 if "lora_B" in n else p.shape[-1] ** -0.5))
    model.save(directory + "-all", create_model_card=False)
    os.makedirs(directory)
    for f in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(os.path.join(directory + "-all", f), directory)
    shutil.rmtree(directory + "-all")
    path = os.path.join(directory, "adapter_config.json")
    stored = json.load(open(path))
    stored["target_modules"].sort()
    stored["base_model_name_or_path"] = "nibble/compare"
    json.dump(stored, open(path, "w"), indent=2, sort_keys=True)


def rename(directory):
    """The adapter of features as one of words has its names, in words/."""
    out = os.path.join(directory, "words")
    shutil.copytree(os.path.join(directory, "begin"), out)
    path = os.path.join(out, "adapter_model.safetensors")
    tensors = {k.replace("base_model.model.", "base_model.model.model."): v for k, v in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    config = json.load(open(os.path.join(out, "adapter_config.json")))
    config["task_type"] = "CAUSAL_LM"
    json.dump(config, open(os.path.join(out, "adapter_config.json"), "w"), indent=2, sort_keys=True)


def forward(model, loss, rows):
    texts = [k for k in rows[0] if k != "score"]
    features = [model.preprocess([r[k] for r in rows]) for k in texts]
    labels = torch.tensor([r["score"] for r in rows]) if "score" in rows[0] else torch.zeros(len(rows))
    return loss(features, labels)


def train(model, loss, rows, rate):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, STEPS)
    values, norms = [], []
    for s in range(STEPS):
        value = forward(model, loss, rows[s * BATCH:(s + 1) * BATCH])
        value.backward()
        values.append(float(value))
        norms.append(float(torch.nn.utils.clip_grad_norm_(trained, 1.0)))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return values, norms


def measure(model, loss, rows, out, directory):
    with torch.no_grad():
        out["loss"] = sum(float(forward(model, loss, rows[i:i + BATCH])) for i in range(0, len(rows), BATCH)) / STEPS
    if "score" in rows[0]:
        a, b = ([r[k] for r in rows] for k in ("sentence1", "sentence2"))
        u, v = (torch.from_numpy(model.encode(x, prompt="")) for x in (a, b))
        cosines = torch.nn.functional.cosine_similarity(u, v).numpy()
        scores = [r["score"] for r in rows]
        out["pearson"], out["spearmanr"] = float(pearsonr(scores, cosines)[0]), float(spearmanr(scores, cosines)[0])
        return
    documents = [r[k] for r in rows for k in r if k != "anchor"]
    extra = [text() for _ in range(12)] + [documents[3]]
    with open(os.path.join(directory, "corpus.jsonl"), "w") as f:
        f.writelines(json.dumps({"text": t}) + "\n" for t in extra)
    for name, corpus in (("own", documents), ("corpus", documents + extra)):
        numbers = {t: str(i) for i, t in enumerate(dict.fromkeys(corpus))}
        ir = InformationRetrievalEvaluator({str(i): r["anchor"] for i, r in enumerate(rows)},
                                           {n: t for t, n in numbers.items()},
                                           {str(i): {numbers[r["positive"]]} for i, r in enumerate(rows)},
                                           query_prompt="", corpus_prompt="", main_score_function=None)
        got = ir(model)
        out[name] = {k: float(got[f"cosine_{k}"]) for k in ("recall@1", "recall@3", "recall@5", "recall@10", "mrr@10")}


def make(kind):
    name, loss, lora, dims, rate = (CASES | DENSE | DECODER)[kind]
    directory = os.path.join(TOP, kind)
    os.makedirs(directory)
    rows = list(records(kind))
    with open(os.path.join(directory, "train.jsonl"), "w") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
    model = read(name)
    if lora:
        adapt(model, os.path.join(directory, "begin"))
    else:
        for n, p in model.named_parameters():
            p.requires_grad = "pooler" not in n
    model.eval()
    value = loss(model)
    if dims:
        value = losses.MatryoshkaLoss(model, value, dims)
    out = dict(model=name, full=not lora, dims=dims, rate=rate)
    out["losses"], out["grad_norms"] = train(model, value, rows, rate)
    measure(model, loss(model), rows, out, directory)
    json.dump(out, open(os.path.join(directory, "expected.json"), "w"))
    print(kind, out)


def make_batches():
    """Batches without a text twice, of records that share texts, in two epochs."""
    directory = os.path.join(TOP, "batches")
    os.makedirs(directory)
    pool = [text() for _ in range(14)]
    rows = [dict(anchor=rng.choice(pool), positive=rng.choice(pool)) for _ in range(40)]
    with open(os.path.join(directory, "train.jsonl"), "w") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
    sampler = NoDuplicatesBatchSampler(Dataset.from_list(rows), batch_size=4, drop_last=False,
                                       generator=torch.Generator(), seed=42)
    out = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        out.append([[int(i) for i in b] for b in sampler])
    json.dump(out, open(os.path.join(directory, "expected.json"), "w"))


if __name__ == "__main__":
    if sys.argv[1:] == ["decoder"]:  # these alone
        for kind in DECODER:
            rng.seed(kind)
            torch.manual_seed(7)
            shutil.rmtree(os.path.join(TOP, kind), ignore_errors=True)
            make(kind)
        rename(os.path.join(TOP, "decoder"))
        sys.exit()
    shutil.rmtree(TOP, ignore_errors=True)
    os.makedirs(TOP)
    torch.manual_seed(7)
    for kind in CASES:
        make(kind)
    make_batches()
    for kind in DENSE:
        make(kind)
    for kind in DECODER:
        rng.seed(kind)
        torch.manual_seed(7)
        make(kind)
    rename(os.path.join(TOP, "decoder"))
