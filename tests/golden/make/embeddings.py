"""Makes tests/golden/embeddings/: tiny random encoders with a small WordPiece vocabulary, as
sentence-transformers directories of today's and of the older layout and as bare models, and what
sentence-transformers 5.7.0 makes of texts.jsonl with them in float32.

Run from the top of the repository, in an environment with tests/requirements.txt and
sentence-transformers 5.7.0:
    python tests/golden/make/embeddings.py"""
import json
import os
import shutil
import sys
import zlib

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from sentence_transformers.base.modules import Dense, Transformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "embeddings")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "chain gear brake wheel oil query passage the of is bicycle ##ing".split()
TEXTS = ["The chain of a bicycle", "oil", "", "Brakes: gears, wheels! " * 4, "ça où \u00e9t\u00e9 zzz",
         "a query is a passage of the wheel"]
BERT = dict(model_type="bert", hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=40, layer_norm_eps=1e-5, pad_token_id=0)
MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
PROMPTS = {"query": "query: ", "document": "the passage of "}


def tokenizer():
    letters = [c for a in "abcdefghijklmnopqrstuvwxyz:,!" for c in (a, "##" + a)]
    vocabulary = {w: i for i, w in enumerate(SPECIAL + WORDS + letters)}
    t = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=t, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
                                   sep_token="[SEP]", mask_token="[MASK]", model_max_length=32,
                                   model_input_names=["input_ids", "attention_mask"])


def save_model(name, settings, directory):
    rng = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    words = tokenizer()
    settings = dict(settings)
    config = AutoConfig.for_model(settings.pop("model_type"), vocab_size=len(words), **settings)
    model = AutoModel.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for n, p in model.named_parameters():
            r = torch.randn(p.shape, generator=rng)
            wide = 0.5 if "embedding" in n else p.shape[-1] ** -0.5
            p.copy_(r * wide if p.dim() > 1 else 0.2 * r if n.endswith("bias") else 1 + 0.2 * r)
    model.to(torch.bfloat16).save_pretrained(directory)
    words.save_pretrained(directory)


def load(directory):
    return Transformer(directory, model_kwargs=dict(dtype=torch.float32, attn_implementation="eager"))


def read(directory):
    return SentenceTransformer(directory, device="cpu",
                               model_kwargs=dict(dtype=torch.float32, attn_implementation="eager"))


def write(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump(value, f, indent=2)


def encode(model, **more):
    return torch.from_numpy(model.encode(TEXTS, batch_size=3, **more)).contiguous()


def make_new(out):
    """Today's layout, with prompts."""
    d = os.path.join(TOP, "new")
    save_model("new", BERT, d + "-base")
    t = load(d + "-base")
    model = SentenceTransformer(modules=[t, Pooling(32, "mean"), Normalize()], device="cpu", prompts=PROMPTS,
                                default_prompt_name="document")
    model.max_seq_length = 12
    model.save(d, create_model_card=False)
    shutil.rmtree(d + "-base")
    model = read(d)
    out["new"] = encode(model)
    out["new.query"] = encode(model, prompt_name="query")
    out["new.plain"] = encode(model, prompt="")
    out["new.20"] = encode(model, truncate_dim=20, normalize_embeddings=True)


def make_old(out):
    """The older layout: a folder of the model, a switch for each mode; prompts are not pooled."""
    d = os.path.join(TOP, "old")
    save_model("old", BERT | dict(num_hidden_layers=1), os.path.join(d, "0_Transformer"))
    write(os.path.join(d, "modules.json"),
          [dict(idx=0, name="0", path="0_Transformer", type="sentence_transformers.models.Transformer"),
           dict(idx=1, name="1", path="1_Pooling", type="sentence_transformers.models.Pooling")])
    write(os.path.join(d, "0_Transformer", "sentence_bert_config.json"), dict(max_seq_length=16, do_lower_case=False))
    write(os.path.join(d, "1_Pooling", "config.json"),
          dict(word_embedding_dimension=32, pooling_mode_cls_token=True, pooling_mode_mean_tokens=True,
               pooling_mode_max_tokens=False, pooling_mode_mean_sqrt_len_tokens=False, include_prompt=False))
    write(os.path.join(d, "config_sentence_transformers.json"), dict(__version__={}, prompts=PROMPTS))
    model = read(d)
    out["old"] = encode(model)
    out["old.query"] = encode(model, prompt_name="query")


def make_dense(out):
    """Two Dense modules between pooling and length 1, one without a bias, and an older one's config.json."""
    d = os.path.join(TOP, "dense")
    save_model("dense", BERT | dict(num_hidden_layers=1), d + "-base")
    rng = torch.Generator().manual_seed(17)
    layers = [Dense(64, 24), Dense(24, 20, bias=False, activation_function=torch.nn.GELU())]
    with torch.no_grad():
        for p in (p for x in layers for p in x.parameters()):
            p.copy_(torch.randn(p.shape, generator=rng) * (p.shape[-1] ** -0.5 if p.dim() > 1 else 0.2))
    SentenceTransformer(modules=[load(d + "-base"), Pooling(32, ["cls", "mean"]), *layers, Normalize()], device="cpu").save(
        d, create_model_card=False)
    shutil.rmtree(d + "-base")
    path = os.path.join(d, "2_Dense", "config.json")
    older = {k: v for k, v in json.load(open(path)).items() if not k.startswith("module_")}
    write(path, older)
    model = read(d)
    out["dense"] = encode(model)
    out["dense.7"] = encode(model, truncate_dim=7, normalize_embeddings=True)


def make_bare(out, name, settings):
    d = os.path.join(TOP, name)
    save_model(name, settings, d)
    for mode in MODES:
        out[f"{name}.{mode}"] = encode(SentenceTransformer(modules=[load(d), Pooling(32, mode)], device="cpu"))
    out[name] = encode(read(d))


def decoder_tokenizer():
    """As Qwen3-Embedding's: the template appends the end token, which is also what pads."""
    t = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    t.add_special_tokens(["<|endoftext|>"])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="$A:0 <|endoftext|>:0", pair="$A:0 <|endoftext|>:0 $B:1 <|endoftext|>:1", special_tokens=[("<|endoftext|>", 256)])])
    return PreTrainedTokenizerFast(tokenizer_object=t, pad_token="<|endoftext|>", eos_token="<|endoftext|>", padding_side="left",
                                   model_max_length=64)


def make_qwen(directory):
    """A small Qwen3 whose files are a causal model's, the last token pooled, with prompts; what it makes of texts.jsonl beside it."""
    rng = torch.Generator().manual_seed(23)
    words = decoder_tokenizer()
    config = AutoConfig.for_model("qwen3", vocab_size=len(words), hidden_size=24, intermediate_size=32, num_hidden_layers=2,
                                  num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=64, rms_norm_eps=1e-5,
                                  tie_word_embeddings=True, bos_token_id=None, eos_token_id=256)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for n, p in model.named_parameters():
            r = torch.randn(p.shape, generator=rng)
            p.copy_(r * (0.5 if "embed" in n else p.shape[-1] ** -0.5) if p.dim() > 1 else 1 + 0.2 * r)
    model.to(torch.bfloat16).save_pretrained(directory + "-base")
    words.save_pretrained(directory + "-base")
    prompts = {"query": "Instruct: find it\nQuery:", "document": ""}
    model = SentenceTransformer(modules=[load(directory + "-base"), Pooling(24, "lasttoken"), Normalize()], device="cpu", prompts=prompts)
    model.save(directory, create_model_card=False)
    # the file as such repositories have it: of the causal model, which has no tensor of the tied head
    for name in ("config.json", "model.safetensors"):
        shutil.copy(os.path.join(directory + "-base", name), directory)
    shutil.rmtree(directory + "-base")
    model = read(directory)
    out = {"plain": encode(model), "query": encode(model, prompt_name="query")}
    save_file(out, os.path.join(directory, "expected.safetensors"))


def main():
    shutil.rmtree(TOP, ignore_errors=True)
    os.makedirs(TOP)
    with open(os.path.join(TOP, "texts.jsonl"), "w") as f:
        f.writelines(json.dumps({"text": t}) + "\n" for t in TEXTS)
    out = {}
    make_new(out)
    make_old(out)
    make_bare(out, "bare", dict(model_type="distilbert", dim=32, hidden_dim=48, n_layers=1, n_heads=4,
                                max_position_embeddings=40, pad_token_id=0))
    make_bare(out, "decoder", dict(model_type="llama", hidden_size=32, intermediate_size=48, num_hidden_layers=1,
                                   num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=40,
                                   pad_token_id=0, tie_word_embeddings=True))
    make_bare(out, "mpnet", {k: v for k, v in BERT.items() if k != "num_hidden_layers"} |
              dict(model_type="mpnet", pad_token_id=1, num_hidden_layers=1))
    make_dense(out)
    save_file(out, os.path.join(TOP, "expected.safetensors"))
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(TOP) for f in fs)
    print(f"{size / 1000:.0f} KB")


if __name__ == "__main__":
    if sys.argv[1:] == ["qwen"]:  # this alone, which draws from a generator of its own
        shutil.rmtree(os.path.join(TOP, "qwen"), ignore_errors=True)
        sys.exit(make_qwen(os.path.join(TOP, "qwen")))
    main()
    make_qwen(os.path.join(TOP, "qwen"))
