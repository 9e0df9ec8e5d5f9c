"""llama.cpp loads what export wrote and computes the same: of every family the model in F16 and in a mix of types, of two
families every type, whose tensors have the bytes of ggml's own quantizers; and adapters beside their base."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from gguf import GGUFReader
from safetensors.torch import load_file, save_file

import llama_runtime
from common import GOLDEN, PICO, SHOP, WithTransformers5, check, evaluate, main, nibble, of_the_day, write_ids
from llama_cpp import llama_cpp

NEWER = int(transformers.__version__.split(".")[0]) >= 5
FAMILIES = sorted(f[:-5] for f in os.listdir(os.path.join(GOLDEN, "gguf")) if f.endswith(".gguf") and "-Q" not in f)
EXPERTS = ("moe", "mixtral", "gpt-oss", "granite-hybrid", "deepseek2", "deepseek3", "qwen3-next", "qwen3-5")
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL")
WIDE = dict(vocab_size=64, hidden_size=256, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=128, tie_word_embeddings=False)


def difference(got, want):
    """The greatest difference, relative to the largest."""
    return np.abs(np.asarray(got) - np.asarray(want)).max() / np.abs(np.asarray(want)).max()


def near(got, want, limit, what):
    check(got.shape == want.shape, f"{what}: logits {got.shape}, expected {want.shape}")
    found = difference(got, want)
    name, _, kind = what.rpartition(", ")
    if name.endswith(EXPERTS) and (kind.startswith("Q") or name == "gpt-oss" and kind == "F16"):
        # rounded activations send tokens to other experts, or the delta rule remembers them: a quarter are as they were
        rows = sorted(np.abs(got - want).max(1))
        found = rows[len(rows) // 4] / np.abs(want).max()
    check(found <= limit, f"{what}: llama.cpp's logits differ by {found:.3g} of the largest, at most {limit:g} allowed")


def own_logits(model, ids, work, *more):
    data = os.path.join(work, "ids.jsonl")
    write_ids(data, [(ids, ids)])
    return evaluate(model, data, *more)[0][0].numpy()


def families():
    """F32 is the model itself.  F16 and blocks also round activations in llama.cpp, to 16 and 8 bits: rows of 32 values let it be
    seen more than those of a real model.  transformers computes xIELU's numbers (apertus) in bfloat16."""
    expected = load_file(os.path.join(GOLDEN, "gguf", "expected.safetensors"))
    ids = expected["ids"].tolist()
    for name in of_the_day(FAMILIES, 9):
        with tempfile.TemporaryDirectory() as work:
            source, out = os.path.join(GOLDEN, "gguf", name + ".gguf"), os.path.join(work, "model.gguf")
            for kind, limit in ("F32", 3e-3 if name == "apertus" else 1e-3), ("F16", 3e-3), ("Q4_K_M", 0.08):
                nibble("export", source, out, "--quantize", kind, "--overwrite", "--no-verify")
                encoder = "bert" in name
                want = own_logits(out, ids, work) if kind == "Q4_K_M" and not encoder else expected[name].numpy()
                with llama_runtime.Model(out) as m:
                    near(m.embeddings(ids) if encoder else m.logits(ids), want, limit, f"{name}, {kind}")


def wide(kind, more, work):
    """A random model whose rows are whole blocks of every type."""
    from transformers import AutoConfig, AutoModelForCausalLM
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **WIDE, **more))
    for p in model.parameters():
        torch.nn.init.normal_(p, 1.0 if p.dim() == 1 else 0.0, 0.06)
    out = os.path.join(work, kind)
    model.to(torch.bfloat16).save_pretrained(out)
    return out


def tensors(path):
    return {t.name: t for t in GGUFReader(path).tensors}


def types():
    ids = [1, 5, 9, 33, 7, 60, 4, 11, 20, 13]
    with tempfile.TemporaryDirectory() as work:
        for kind, more in ("llama", {}), ("falcon", dict(ffn_hidden_size=512, new_decoder_architecture=True, num_kv_heads=2)):
            model, plain, out = wide(kind, more, work), os.path.join(work, kind + "-F32.gguf"), os.path.join(work, "out.gguf")
            nibble("export", model, plain, "--quantize", "F32")
            values = {name: t.data.copy() for name, t in tensors(plain).items()}
            for kind_of in of_the_day(TYPES, 7):
                nibble("export", model, out, "--quantize", kind_of, "--overwrite", "--no-verify")
                written = tensors(out)
                check(written.keys() == values.keys(), f"{kind}, {kind_of}: other tensors")
                for name, t in written.items():
                    want = llama_runtime.quantize(values[name], t.tensor_type.name)
                    check(t.data.tobytes() == want, f"{kind}, {kind_of}: {name} ({t.tensor_type.name}) has other bytes than ggml's")
                with llama_runtime.Model(out) as m:
                    near(m.logits(ids), own_logits(out, ids, work), 0.04, f"{kind}, {kind_of}")


def converted(model, out, change=""):
    """What llama.cpp's converter makes of a directory in F16, without a tokenizer; change: of its class c."""
    convert = ("import sys, gguf, torch; from pathlib import Path; from conversion import ModelBase, ModelType, get_model_class;"
               "from convert_hf_to_gguf import get_model_architecture;"
               "h = ModelBase.load_hparams(Path(sys.argv[1]), False);"
               "c = get_model_class(get_model_architecture(h, ModelType.TEXT)); c.set_vocab = lambda self: None;" + change +
               "torch.inference_mode().__enter__();"
               "c(Path(sys.argv[1]), gguf.LlamaFileType.MOSTLY_F16, Path(sys.argv[2]), hparams=h).write()")
    path = os.pathsep.join([llama_cpp(), os.path.join(llama_cpp(), "gguf-py")])
    done = subprocess.run([sys.executable, "-c", convert, model, out], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
    check(done.returncode == 0, f"the converter: {done.stderr[-1500:]}")
    return tensors(out)


MULTIPLIERS = dict(embedding_multiplier=1.7, lm_head_multiplier=0.6, key_multiplier=0.3, attention_in_multiplier=1.1, attention_out_multiplier=0.9,
                   ssm_in_multiplier=0.7, ssm_out_multiplier=1.3, mlp_multipliers=[0.9, 1.1], ssm_multipliers=[1.2, 0.8, 1.4, 0.7, 0.9])


def folded():
    """falcon_h1's multipliers lie in the tensors there: bit for bit as the converter multiplies, float16 as such; and in adapters."""
    from transformers import AutoConfig, AutoModelForCausalLM
    ids = [1, 5, 9, 33, 7, 60, 4, 11, 20, 13]
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(
        "falcon_h1", vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, max_position_embeddings=128, mamba_d_ssm=48, mamba_n_heads=6, mamba_d_head=8, mamba_d_state=16, mamba_n_groups=2,
        mamba_rms_norm=False, tie_word_embeddings=False, **MULTIPLIERS)).eval()
    for p in model.parameters():
        if p.dim() == 2:
            torch.nn.init.normal_(p, 0, 0.1)
    for dtype in torch.bfloat16, torch.float16:
        with tempfile.TemporaryDirectory() as work:
            source, theirs, ours, lora = (os.path.join(work, n) for n in ("hf", "theirs.gguf", "ours.gguf", "lora.gguf"))
            model.to(dtype).save_pretrained(source)
            nibble("export", source, ours, "--quantize", "F16")
            want, got = converted(source, theirs), tensors(ours)
            check(want.keys() == got.keys(), f"falcon_h1: other tensors: {want.keys() ^ got.keys()}")
            for name, t in want.items():
                same = t.data.tobytes() == got[name].data.tobytes()
                if name.endswith("ssm_a"):  # of -exp(x) torch's last bit is not libm's; of float16 the converter rounds it to that
                    same = np.allclose(t.data, got[name].data, rtol=2e-7 if dtype == torch.bfloat16 else 1e-3, atol=0)
                check(t.tensor_type == got[name].tensor_type and same, f"falcon_h1 in {dtype}: {name} has other bytes than the converter's")
            nibble("export", source, ours, "--quantize", "F32", "--overwrite")
            with torch.no_grad(), llama_runtime.Model(ours) as m:
                near(m.logits(ids), model.float()(torch.tensor([ids])).logits[0].numpy(), 1e-3, f"falcon_h1 in {dtype}")
            data = os.path.join(work, "d.jsonl")
            write_ids(data, [(ids, ids)] * 3)
            adapter = trained(source, work, data, "--target-modules", "all-linear")
            nibble("export", adapter, lora, "--base", source)
            with llama_runtime.Model(ours, lora) as m:
                near(m.logits(ids), own_logits(source, ids, work, "--adapter", adapter), 1e-3, f"falcon_h1 and an adapter in {dtype}")


def published():
    """Experts in MXFP4, as published: every tensor has the bytes that llama.cpp's converter writes; experts keep them in a mix."""
    source = os.path.join(GOLDEN, "floats", "gpt-oss-mxfp4")
    with tempfile.TemporaryDirectory() as work:
        theirs, ours, mix = (os.path.join(work, n + ".gguf") for n in ("theirs", "ours", "mix"))
        nibble("export", source, ours, "--quantize", "F16")
        nibble("export", source, mix, "--quantize", "Q4_K_M")
        want, got, mixed = converted(source, theirs), tensors(ours), tensors(mix)
        check(want.keys() == got.keys() == mixed.keys(), "gpt-oss in MXFP4: other tensors")
        for name, t in want.items():
            check(t.tensor_type == got[name].tensor_type and t.data.tobytes() == got[name].data.tobytes(),
                  f"gpt-oss in MXFP4: {name} has other bytes than the converter's")
            check("_exps.weight" not in name or t.data.tobytes() == mixed[name].data.tobytes(), f"gpt-oss in a mix: {name} is not MXFP4 as it was")


DELTA = dict(head_dim=64, linear_num_key_heads=2, linear_num_value_heads=6, linear_key_head_dim=128, linear_value_head_dim=128,
             layer_types=["linear_attention", "full_attention", "linear_attention"])


def further(model):
    """Adds a layer as published ones have it."""
    path, width = os.path.join(model, "model.safetensors"), WIDE["hidden_size"]
    state = load_file(path)
    state |= {n.replace("model.layers.1.", "mtp.layers.0."): v.clone() for n, v in state.items() if n.startswith("model.layers.1.")}
    state |= {f"mtp.{n}.weight": torch.zeros(width) for n in ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm")}
    save_file(state | {"mtp.fc.weight": torch.zeros(width, 2 * width)}, path, {"format": "pt"})
    with open(os.path.join(model, "config.json")) as f:
        config = json.load(f)
    with open(os.path.join(model, "config.json"), "w") as f:
        json.dump(config | {"mtp_num_hidden_layers": 1}, f)


def delta():
    """A directory of the gated delta rule as llama.cpp's converter writes it, keys too; in a mix every tensor, and so the columns that
    are moved before they are rounded, has the bytes of ggml's quantizer."""
    rope = dict(rope_type="default", rope_theta=500.0, partial_rotary_factor=0.25, mrope_section=[3, 3, 2], mrope_interleaved=True)
    kind, more = ("qwen3_5_text", dict(rope_parameters=rope)) if NEWER else ("qwen3_next", dict(
        num_experts=4, num_experts_per_tok=2, moe_intermediate_size=256, shared_expert_intermediate_size=256, norm_topk_prob=True))
    with tempfile.TemporaryDirectory() as work:
        model, theirs, ours, mix = wide(kind, DELTA | more, work), *(os.path.join(work, n + ".gguf") for n in ("theirs", "ours", "mix"))
        converted(model, theirs, "c.no_mtp = True;")
        nibble("export", model, ours, "--quantize", "F16")
        want, got = tensors(theirs), tensors(ours)
        check(want.keys() == got.keys(), f"{kind}: other tensors")
        for name, t in want.items():
            check(t.tensor_type == got[name].tensor_type and (t.shape == got[name].shape).all() and t.data.tobytes() == got[name].data.tobytes(),
                  f"{kind}: {name} is not the converter's")
        want, got = ({f.name: (f.types, f.contents()) for f in GGUFReader(p).fields.values()} for p in (theirs, ours))
        for name in want:
            check(name in ("general.name", "general.size_label", "GGUF.kv_count") or got.get(name) == want[name],
                  f"{kind}: {name} is {got.get(name)}, the converter's {want[name]}")
        if NEWER:  # with a layer that predicts further tokens, which is not read
            further(model)
            converted(model, theirs)
            ids = [1, 5, 9, 33, 7, 60, 4]
            check(any(".nextn." in name for name in tensors(theirs)), f"{kind}: no layer that predicts further tokens")
            check((own_logits(theirs, ids, work) == own_logits(ours, ids, work)).all(), f"{kind}: other logits beside such a layer")
            nibble("export", theirs, os.path.join(work, "back"))
            back = load_file(os.path.join(work, "back", "model.safetensors"))
            check(set(back) == {n for n in load_file(os.path.join(model, "model.safetensors")) if not n.startswith("mtp.")}, f"{kind}: other tensors back")
        nibble("export", model, ours, "--quantize", "F32", "--overwrite")
        nibble("export", model, mix, "--quantize", "Q4_K_M", "--no-verify")
        values = tensors(ours)
        for name, t in tensors(mix).items():
            check(t.data.tobytes() == llama_runtime.quantize(values[name].data, t.tensor_type.name), f"{kind}: {name} has other bytes than ggml's")


def pieces():
    """Text becomes the same ids, and the template is there."""
    text = "Where is my order 1234?  Gr\u00fc\u00dfe, it's \u4f60\u597d!\n"
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "pico.gguf")
        nibble("export", PICO, out, "--quantize", "F32")
        from transformers import AutoTokenizer
        tokenizer = AutoTokenizer.from_pretrained(PICO)
        with llama_runtime.Model(out) as m:
            ids = m.tokens(text)
            check(ids == tokenizer(text)["input_ids"], f"pico: llama.cpp has {ids}, expected {tokenizer(text)['input_ids']}")
            near(m.logits(ids), own_logits(PICO, ids, work), 1e-3, "pico")
        template = GGUFReader(out).fields["tokenizer.chat_template"].contents()
        check(template == tokenizer.chat_template, "pico: another chat template")


ENCODERS = {"bert": ("bert-uncased", {}), "roberta": ("roberta", dict(pad_token_id=1, type_vocab_size=1, max_position_embeddings=130)),
            "xlm-roberta": ("xlm-roberta", dict(pad_token_id=1, type_vocab_size=1, max_position_embeddings=130))}


def encoder():
    """WordPiece, a byte-level BPE and Unigram: the same ids, and the rows of the last layer; the pooling is read back."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    texts = ["Hello, world! It's 1234.", "Gr\u00fc\u00dfe aus M\u00fcnchen", "unaffable \u4f60\u597d [MASK] xyzzy", "a-b_c  d\n"]
    for kind, (name, more) in ENCODERS.items():
        with tempfile.TemporaryDirectory() as work:
            model, out = os.path.join(work, "hf"), os.path.join(work, kind + ".gguf")
            tokenizer = AutoTokenizer.from_pretrained(os.path.join(GOLDEN, "tokenizers", name))
            torch.manual_seed(1)
            made = AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2,
                                                              num_attention_heads=4, intermediate_size=64, **more)).eval()
            made.save_pretrained(model)
            tokenizer.save_pretrained(model)
            nibble("export", model, out, "--quantize", "F32")
            with llama_runtime.Model(out) as m:
                for text in texts:
                    ids = tokenizer(text)["input_ids"]
                    check(m.tokens(text) == ids, f"{kind}: {text!r}: llama.cpp has {m.tokens(text)}, expected {ids}")
                    with torch.no_grad():
                        near(m.embeddings(ids), made(torch.tensor([ids])).last_hidden_state[0].numpy(), 2e-3, kind)
            data = os.path.join(work, "texts.jsonl")
            with open(data, "w") as f:
                f.writelines(json.dumps({"text": t}) + "\n" for t in texts)
            check(GGUFReader(out).fields["bert.pooling_type"].contents() == 1, f"{kind}: bert.pooling_type")
            check(nibble("embed", out, "--data", data, "--compute-dtype", "float32") ==
                  nibble("embed", model, "--data", data, "--compute-dtype", "float32"), f"{kind}: other embeddings through the file")


def edit(adapter, change):
    path = os.path.join(adapter, "adapter_config.json")
    config = json.load(open(path))
    change(config)
    json.dump(config, open(path, "w"))


def trained(model, work, data, *more):
    adapter = os.path.join(work, "adapter")
    nibble("finetune", model, "--data", data, "--output-dir", adapter, "--max-steps", 2, "--learning-rate", "1e-2", "--r", 4,
           "--compute-dtype", "float32", "--init-lora-weights", "false", "--overwrite-output-dir", *more)
    return adapter


def adapters():
    """Kinds of scales on the model in the repository, then families whose rows are in another order, and experts, as modules and
    as tensors of all of them."""
    ids = [1, 5, 9, 33, 7, 60, 4, 11, 20, 13]
    kinds = {
        "plain": ([], None), "rslora": (["--use-rslora"], None),
        "alpha_pattern": ([], lambda c: c.update(alpha_pattern={"q_proj": 3, "down_proj": 40})),
        "experts": (["rank_pattern={\"experts.1.w1\": 2, \"experts.3.w2\": 8}", "--exclude-modules", ".*experts.2.w3"], None),
        "rank_pattern": (["rank_pattern={\"k_proj\": 2, \"up_proj\": 8}", "--use-rslora"], None),
    }
    stacks = {"qwen3-5-moe": "experts.gate_up_proj,experts.down_proj", "granitemoe": "input_linear.weight,output_linear.weight", "gpt-oss": "experts.gate_up_proj,experts.down_proj",
              "gemma4-moe": "experts.gate_up_proj"}
    cases = [("mixtral" if k == "experts" else "pico", k) for k in kinds] + [(f, "plain") for f in ("gpt2", "gpt-neox", "falcon-40b", "bloom", "phi3", "llama-bias", "mixtral", "qwen2-moe",
                                                                   "qwen3-moe", "granitemoe", "gpt-oss", "granite-hybrid-dense", "nemotron", "apertus", "ministral3", "gemma4", "gemma4-moe", "falcon-h1",
                                                                   "qwen3-next", "qwen3-5", "qwen3-5-moe")]
    for family, kind in of_the_day(cases, 5):
        with tempfile.TemporaryDirectory() as work:
            model = PICO if family == "pico" else os.path.join(GOLDEN, "gguf", family + ".gguf")
            data, base, lora = (os.path.join(work, n) for n in ("d.jsonl", "base.gguf", "lora.gguf"))
            write_ids(data, [(ids, ids)] * 3)
            options, change = kinds[kind]
            if family == "gemma4":
                options = options + ["--exclude-modules", ".*per_layer_model_projection"]  # which llama.cpp gives no adapter
            if family in stacks:
                options = options + ["--target-parameters", stacks[family]]
            adapter = trained(model, work, data, "--target-modules", "all-linear", *options)
            if change:
                edit(adapter, change)
            nibble("export", model, base, "--quantize", "F32", "--no-verify")
            nibble("export", adapter, lora, "--base", model)
            want = own_logits(model, ids, work, "--adapter", adapter)
            check(difference(own_logits(model, ids, work), want) > 0.01, f"{family}, {kind}: the adapter changes nothing")
            with llama_runtime.Model(base, lora) as m:
                near(m.logits(ids), want, 3e-3 if family == "apertus" else 1e-3, f"{family}, {kind}")


if __name__ == "__main__":
    rule, rule_5 = "llama.cpp: the delta rule", "llama.cpp: the delta rule, transformers 5"
    elsewhere = WithTransformers5(__file__, [rule_5])
    main([("llama.cpp: every family", families), ("llama.cpp: every type", types), ("llama.cpp: text", pieces), ("llama.cpp: MXFP4 as published", published),
          *of_the_day([(rule, delta), (rule_5, delta if NEWER else lambda: elsewhere.case(rule_5))], 1),
          ("llama.cpp: multipliers in tensors", folded),
          ("llama.cpp: encoder", encoder), ("llama.cpp: adapters", adapters)])
