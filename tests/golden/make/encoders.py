"""Makes tests/golden/encoders/: a tiny random model of each encoder family and head (and of a
decoder with a classifier), a PEFT adapter for it, and what transformers and PEFT compute with them
in float32.

Run from the top of the repository, in an environment with tests/requirements.txt:
    python tests/golden/make/encoders.py [VARIANT...]
tests/golden/README.md says what the files hold.  The seed of a variant is made of its name, so one
variant can be made again alone."""
import json
import os
import shutil
import sys
import zlib

os.environ["HF_HUB_OFFLINE"] = "1"  # PEFT would look for the base model there when saving

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "encoders")
LENGTHS = (19, 6, 11)
LONG = (135, 6, 11)  # of variants that end so
EQUAL = (13, 13, 13)  # of those that end in -none
VOCABULARY = 96

BERT = dict(model_type="bert", vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=40, layer_norm_eps=1e-5, pad_token_id=0)
ROBERTA = BERT | dict(model_type="roberta", type_vocab_size=1, pad_token_id=1)
ELECTRA = BERT | dict(model_type="electra", embedding_size=16)
DISTILBERT = dict(model_type="distilbert", vocab_size=VOCABULARY, dim=32, hidden_dim=48, n_layers=2, n_heads=4,
                  max_position_embeddings=40, pad_token_id=0)
# The second layer sees 3 tokens on each side.
MODERNBERT = dict(model_type="modernbert", vocab_size=VOCABULARY, hidden_size=32, intermediate_size=24,
                  num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=40, local_attention=6,
                  global_rope_theta=500.0, local_rope_theta=50.0, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                  cls_token_id=1, sep_token_id=2, reference_compile=False)
PRELAYERNORM = ROBERTA | dict(model_type="roberta-prelayernorm")
MPNET = BERT | dict(model_type="mpnet", pad_token_id=1)
# The mask is among the words of the batch.
ESM = ROBERTA | dict(model_type="esm", position_embedding_type="rotary", token_dropout=True, mask_token_id=20)
ESM_LEARNED = ESM | dict(position_embedding_type="absolute", emb_layer_norm_before=True)
LILT = ROBERTA | dict(model_type="lilt", type_vocab_size=2, hidden_size=48, channel_shrink_ratio=2, max_2d_position_embeddings=32)
LUKE = ROBERTA | dict(model_type="luke", type_vocab_size=2, entity_vocab_size=12, entity_emb_size=16)
LONGFORMER = ROBERTA | dict(model_type="longformer", attention_window=[4, 8], sep_token_id=2)
MEGA = dict(model_type="mega", vocab_size=VOCABULARY, hidden_size=24, intermediate_size=40, num_hidden_layers=2, ema_projection_size=4,
            shared_representation_size=12, nffn_hidden_size=32, max_positions=40)
MEGA_OTHER = MEGA | dict(normalization_type="layernorm", normalize_before_mega=False, normalize_before_ffn=False, truncation=5,
                         relative_positional_bias="simple", attention_activation="laplace")
ALBERT = BERT | dict(model_type="albert", embedding_size=16, num_hidden_layers=3)
# Distances 1 and 2 have rows of their own, 3 to 18 share two.
DEBERTA = BERT | dict(model_type="deberta-v2", type_vocab_size=0, relative_attention=True, position_buckets=4, max_relative_positions=20,
                      pos_att_type="p2c|c2p", share_att_key=True, norm_rel_ebd="layer_norm", position_biased_input=False)
DEBERTA_APART = DEBERTA | dict(share_att_key=False, norm_rel_ebd="none", position_biased_input=True, type_vocab_size=2, position_buckets=-1,
                               max_relative_positions=12, embedding_size=16)
LLAMA = dict(model_type="llama", vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0)

SEQUENCE, TOKEN, MASKED, ANSWER = "SequenceClassification", "TokenClassification", "MaskedLM", "QuestionAnswering"
# variant -> (head, config.json, LoRA's targets where PEFT has no default)
VARIANTS = {
    "bert-seq": (SEQUENCE, BERT | dict(num_labels=3), None),
    "bert-multi": (SEQUENCE, BERT | dict(num_labels=4, problem_type="multi_label_classification"), None),
    "bert-regression": (SEQUENCE, BERT | dict(num_labels=1, problem_type="regression"), None),
    "bert-regression-two": (SEQUENCE, BERT | dict(num_labels=2, problem_type="regression"), None),
    "bert-token": (TOKEN, BERT | dict(num_labels=5, hidden_act="gelu_new"), None),
    "bert-mlm": (MASKED, BERT, None),
    "roberta-seq": (SEQUENCE, ROBERTA | dict(num_labels=2), None),
    "roberta-token": (TOKEN, ROBERTA | dict(num_labels=3), None),
    "roberta-pad": (TOKEN, ROBERTA | dict(num_labels=3), None),
    "mpnet-pad": (SEQUENCE, MPNET | dict(num_labels=3), ["q", "v"]),
    "bert-pad": (SEQUENCE, BERT | dict(num_labels=3), None),
    "roberta-mlm": (MASKED, ROBERTA, None),
    "xlm-roberta-seq": (SEQUENCE, ROBERTA | dict(model_type="xlm-roberta", num_labels=3), None),
    "electra-seq": (SEQUENCE, ELECTRA | dict(num_labels=3), None),
    "electra-token": (TOKEN, ELECTRA | dict(num_labels=3, embedding_size=32), None),
    "electra-mlm": (MASKED, ELECTRA, None),
    "distilbert-seq": (SEQUENCE, DISTILBERT | dict(num_labels=3), ["q_lin", "v_lin"]),
    "distilbert-token": (TOKEN, DISTILBERT | dict(num_labels=3, activation="relu"), ["q_lin", "v_lin"]),
    "distilbert-mlm": (MASKED, DISTILBERT, ["q_lin", "v_lin"]),
    "prelayernorm-seq": (SEQUENCE, PRELAYERNORM | dict(num_labels=3), ["query", "value"]),
    "prelayernorm-mlm": (MASKED, PRELAYERNORM, ["query", "value"]),
    "modernbert-seq": (SEQUENCE, MODERNBERT | dict(num_labels=3), ["Wqkv"]),
    "modernbert-mean": (SEQUENCE, MODERNBERT | dict(num_labels=3, classifier_pooling="mean", norm_bias=True, mlp_bias=True,
                                                    attention_bias=True, classifier_bias=True), ["Wqkv", "Wi"]),
    "modernbert-token": (TOKEN, MODERNBERT | dict(num_labels=3), ["Wqkv"]),
    "modernbert-mlm": (MASKED, MODERNBERT, ["Wqkv", "Wo"]),
    "mpnet-seq": (SEQUENCE, MPNET | dict(num_labels=3), ["q", "v"]),
    "mpnet-mlm": (MASKED, MPNET, ["q", "k", "v", "o"]),
    "esm-seq": (SEQUENCE, ESM | dict(num_labels=3), ["query", "value"]),
    "esm-token": (TOKEN, ESM_LEARNED | dict(num_labels=3), ["query", "key", "value"]),
    "esm-mlm": (MASKED, ESM, ["query", "key", "value"]),
    "lilt-seq": (SEQUENCE, LILT | dict(num_labels=3), ["query", "value", "layout_query", "layout_value", "box_linear_embeddings"]),
    "lilt-token": (TOKEN, LILT | dict(num_labels=3, channel_shrink_ratio=4), ["query", "key", "value", "dense"]),
    "lilt-bare": (TOKEN, LILT | dict(num_labels=2), ["query", "value"]),
    "luke-seq": (SEQUENCE, LUKE | dict(num_labels=3), ["query", "value", "w2e_query", "entity_embedding_dense"]),
    "luke-token": (TOKEN, LUKE | dict(num_labels=3, use_entity_aware_attention=False, entity_emb_size=32), ["query", "value"]),
    "luke-mlm": (MASKED, LUKE, ["query", "key", "value"]),
    "longformer-seq": (SEQUENCE, LONGFORMER | dict(num_labels=3), ["query", "value", "query_global", "key_global", "value_global"]),
    "longformer-token": (TOKEN, LONGFORMER | dict(num_labels=3, attention_window=6), ["query", "key", "value", "value_global"]),
    "longformer-mlm": (MASKED, LONGFORMER | dict(type_vocab_size=2), ["query", "value"]),
    "mega-seq": (SEQUENCE, MEGA | dict(num_labels=3), ["v_proj", "mx_proj", "h_proj", "fc1"]),
    "mega-token": (TOKEN, MEGA_OTHER | dict(num_labels=3, add_token_type_embeddings=True), ["v_proj", "mx_proj"]),
    "mega-relu": (TOKEN, MEGA | dict(num_labels=3, attention_activation="relu2", normalization_type="rmsnorm", bidirectional=False,
                                     norm_affine=True, use_normalized_ffn=False), ["v_proj", "mx_proj"]),
    "mega-mlm": (MASKED, MEGA | dict(relative_positional_bias="simple", norm_affine=False), ["v_proj", "mx_proj", "h_proj"]),
    "albert-seq": (SEQUENCE, ALBERT | dict(num_labels=3), ["query", "value", "ffn", "embedding_hidden_mapping_in"]),
    "albert-token": (TOKEN, ALBERT | dict(num_labels=3, num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2, hidden_act="gelu"),
                     ["query", "key", "value", "dense"]),
    "albert-mlm": (MASKED, ALBERT, ["query", "value"]),
    "deberta-seq": (SEQUENCE, DEBERTA | dict(num_labels=3), ["query_proj", "key_proj", "value_proj"]),
    "deberta-long": (SEQUENCE, DEBERTA | dict(num_labels=3, position_buckets=16, max_relative_positions=64, num_hidden_layers=1,
                                              max_position_embeddings=150), None),
    "deberta-c2p": (SEQUENCE, DEBERTA | dict(num_labels=3, pos_att_type=["c2p"]), None),
    "deberta-token": (TOKEN, DEBERTA_APART | dict(num_labels=3), ["query_proj", "pos_key_proj", "pos_query_proj", "value_proj", "embed_proj"]),
    "deberta-p2c": (TOKEN, DEBERTA_APART | dict(num_labels=3, pos_att_type=["p2c"]), ["query_proj", "key_proj", "pos_query_proj"]),
    "deberta-conv": (TOKEN, DEBERTA | dict(num_labels=3, conv_kernel_size=3, conv_act="gelu", conv_groups=2), None),
    "deberta-conv-long": (SEQUENCE, DEBERTA | dict(num_labels=2, conv_kernel_size=5, max_position_embeddings=150, num_hidden_layers=1,
                                                   embedding_size=16),
                          ["embed_proj", "query_proj", "value_proj"]),
    "deberta-mlm": (MASKED, DEBERTA | dict(legacy=False, tie_word_embeddings=False), None),
    "deberta-plain": (MASKED, DEBERTA | dict(relative_attention=False, position_biased_input=True, embedding_size=16), None),
    "bert-answer": (ANSWER, BERT, None),
    "bert-answer-none": (ANSWER, BERT, None),
    "roberta-answer": (ANSWER, ROBERTA, None),
    "electra-answer": (ANSWER, ELECTRA, None),
    "distilbert-answer": (ANSWER, DISTILBERT, ["q_lin", "v_lin"]),
    "prelayernorm-answer": (ANSWER, PRELAYERNORM, ["query", "value"]),
    "modernbert-answer": (ANSWER, MODERNBERT, ["Wqkv"]),
    "mpnet-answer": (ANSWER, MPNET, ["q", "v"]),
    "lilt-answer": (ANSWER, LILT, ["query", "value"]),
    "luke-answer": (ANSWER, LUKE, ["query", "value"]),
    "mega-answer": (ANSWER, MEGA, ["v_proj", "mx_proj"]),
    "albert-answer": (ANSWER, ALBERT, ["query", "value"]),
    "deberta-answer": (ANSWER, DEBERTA, ["query_proj", "value_proj"]),
    "llama-pad": (SEQUENCE, LLAMA | dict(num_labels=3), None),
    "llama-seq": (SEQUENCE, LLAMA | dict(num_labels=3), None),
}
PEFT_TASK = {SEQUENCE: "SEQ_CLS", TOKEN: "TOKEN_CLS", MASKED: None, ANSWER: "QUESTION_ANS"}


def generator(name):
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def fill(model, rng):
    """Random weights that keep activations and logits near 1."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            r = torch.randn(p.shape, generator=rng)
            if p.dim() == 1:
                p.copy_(0.2 * r if name.endswith("bias") else 1 + 0.2 * r)
            elif "ema_gate" in name or "rel_pos_bias" in name or "qk_" in name:
                p.copy_(r if "ema_gate" in name else 0.3 * r)
            else:
                p.copy_(r * (0.5 if "embeddings" in name or "embed_tokens" in name else p.shape[1] ** -0.5))


def batch_of(head, config, rng, lengths, pads):
    """Sequences, their type ids and answers; words 0 to 4 are kept for padding and the like, which `pads` puts into the texts."""
    ids = [torch.randint(5, VOCABULARY, (n,), generator=rng) for n in lengths]
    if pads:
        for x in ids:
            x[1] = x[-2] = x[-1] = config.pad_token_id
    types = [(torch.arange(n) >= n // 2).long() for n in lengths]
    c = config.num_labels
    if head == ANSWER:
        labels = [torch.randint(0, n, (2,), generator=rng).sort().values for n in lengths]
        if len(set(lengths)) == 1:  # an answer beyond the text: clamped, and passed over
            labels[1][:] = max(lengths) + 7
    elif head == TOKEN or head == MASKED:
        most = c if head == TOKEN else VOCABULARY
        labels = [torch.randint(0, most, (n,), generator=rng) for n in lengths]
        for y in labels:
            y[0] = y[-1] = y[len(y) // 3] = -100
    elif config.problem_type == "regression":
        labels = [torch.randn(c, generator=rng) for _ in lengths]
    elif config.problem_type == "multi_label_classification":
        labels = [(torch.rand(c, generator=rng) < 0.5).float() for _ in lengths]
    else:
        labels = [torch.randint(0, c, (), generator=rng) for _ in lengths]
    return ids, types, labels


def boxes_of(ids, rng):
    """Left, upper, right and lower edges; tokens at the ends have none."""
    rows = []
    for x in ids:
        corners = torch.randint(0, 32, (len(x), 2, 2), generator=rng).sort(dim=1).values
        corners[0] = corners[-1] = 0
        rows.append(corners.reshape(len(x), 4))
    return rows


def takes_types(config):
    return getattr(config, "type_vocab_size", 0) > 1 and getattr(config, "add_token_type_embeddings", True)


def padded(rows, value):
    longest = max(len(x) for x in rows)
    return torch.stack([torch.nn.functional.pad(x, (0, longest - len(x)), value=value) for x in rows])


def loss_alone(model, ids, labels, types):
    """The loss of a batch whose sequences are computed one by one: ESM counts padding among the words that are no masks, and a mask made of
    the ids would hide padding inside a text."""
    sums = [(model(input_ids=x[None], labels=y[None], **more_inputs(model.config, t[None], None)).loss, int((y != -100).sum()))
            for x, y, t in zip(ids, labels, types)]
    return sum(loss * n for loss, n in sums) / sum(n for _, n in sums)


def answer_loss(model, ids, labels, types, boxes):
    """Where answers begin and end: the reference's softmax runs over padding too, so texts of several lengths are computed one by one."""
    if len({len(x) for x in ids}) == 1:
        start, end = torch.stack(labels).unbind(1)
        return model(input_ids=torch.stack(ids), start_positions=start, end_positions=end,
                     **more_inputs(model.config, torch.stack(types), torch.stack(boxes) if boxes else None)).loss
    return sum(model(input_ids=x[None], start_positions=y[:1], end_positions=y[1:],
                     **more_inputs(model.config, types[i][None], boxes[i][None] if boxes else None)).loss
               for i, (x, y) in enumerate(zip(ids, labels))) / len(ids)


def more_inputs(config, types, boxes):
    """What the model takes beside ids, of one sequence or of the padded batch."""
    more = dict(token_type_ids=types) if takes_types(config) else {}
    return more | (dict(bbox=boxes) if boxes is not None else {})


def padded_boxes(boxes):
    return torch.nn.utils.rnn.pad_sequence(boxes, batch_first=True) if boxes else None


def record(out, prefix, model, batch, boxes, gradients=False):
    """Logits of each sequence alone; the loss, and gradients, of the padded batch."""
    ids, types, labels = batch
    config = model.config
    for i, x in enumerate(ids):
        more = more_inputs(config, types[i][None], boxes[i][None] if boxes else None)
        with torch.no_grad():
            answer = model(input_ids=x[None], **more)
            logits = answer.logits if "logits" in answer else torch.stack([answer.start_logits, answer.end_logits], -1)
            out[f"{prefix}logits.{i}"] = logits[0].contiguous()
    more = more_inputs(config, padded(types, 0), padded_boxes(boxes))
    one_each = labels[0].dim() == 0 or len(labels[0]) != len(ids[0])
    y = torch.stack(labels) if one_each else padded(labels, -100)
    if one_each and config.num_labels == 1:
        y = y[:, 0]
    x = padded(ids, config.pad_token_id)
    if "logits" not in answer:
        loss = answer_loss(model, ids, labels, types, boxes)
    elif config.model_type == "esm" or any((row == config.pad_token_id).any() for row in ids):
        loss = loss_alone(model, ids, labels, types)
    else:
        loss = model(input_ids=x, attention_mask=(x != config.pad_token_id).long(), labels=y, **more).loss
    out[f"{prefix}loss"] = loss.detach()
    if gradients:
        loss.backward()
        for name, p in model.named_parameters():
            if p.requires_grad:
                name = name if name.startswith("base_model.") else "base_model." + name
                plain = name.replace(".default", "").replace(".modules_to_save", "")
                # nothing reads what LiLT's last layer makes of the layout
                out[f"grad.{plain}"] = torch.zeros_like(p) if p.grad is None else p.grad.contiguous()


def save_adapter(model, directory):
    model.save_pretrained(directory)
    os.remove(os.path.join(directory, "README.md"))
    path = os.path.join(directory, "adapter_config.json")
    stored = json.load(open(path))
    stored["target_modules"].sort()  # PEFT keeps a set: its order changes from run to run
    json.dump(stored, open(path, "w"), indent=2, sort_keys=True)


def make(variant):
    head, settings, targets = VARIANTS[variant]
    directory = os.path.join(TOP, variant)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    rng = generator(variant)
    settings = dict(settings)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    auto = getattr(transformers, "AutoModelFor" + head)
    model = auto.from_config(config, attn_implementation="eager").float().eval()
    fill(model, rng)
    for parameter in model.parameters():  # buffers (ESM's angles) stay what they are
        parameter.data = parameter.data.to(torch.bfloat16)
    model.save_pretrained(directory)

    batch = batch_of(head, config, rng, LONG if variant.endswith("-long") else EQUAL if variant.endswith("-none") else LENGTHS, variant.endswith("-pad"))
    boxes = boxes_of(batch[0], rng) if config.model_type == "lilt" and variant != "lilt-bare" else None
    out = {f"boxes.{i}": x.int() for i, x in enumerate(boxes or [])}
    for i, (x, t, y) in enumerate(zip(*batch)):
        out[f"ids.{i}"], out[f"types.{i}"] = x.int(), t.int() * int(takes_types(config))
        out[f"labels.{i}"] = y.float().reshape(-1) if y.is_floating_point() else y.int().reshape(-1)
    model = auto.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        record(out, "", model, batch, boxes)
    model.name_or_path = f"nibble/{variant}"
    model = get_peft_model(model, LoraConfig(task_type=PEFT_TASK[head], r=4, lora_alpha=8, target_modules=targets))
    with torch.no_grad():
        for n, p in model.named_parameters():
            if p.requires_grad:
                r = torch.randn(p.shape, generator=rng)
                if "lora_" in n:
                    p.copy_(r * (0.2 if "lora_B" in n else p.shape[1] ** -0.5))
                else:
                    p.add_(0.1 * r)
    save_adapter(model, os.path.join(directory, "adapter"))
    # PEFT's own class for answers leaves out token_type_ids
    record(out, "lora.", (model.base_model if head == ANSWER else model).eval(), batch, boxes, gradients=True)
    save_file(out, os.path.join(directory, "expected.safetensors"))

    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(directory) for f in fs)
    small = min(float(v.abs().max()) for k, v in out.items() if k.startswith("grad.") and v.any())
    print(f"{variant}: {size / 1000:.0f} KB, loss {float(out['loss']):.4f}, with the adapter "
          f"{float(out['lora.loss']):.4f}, smallest of the greatest gradients {small:.2g}")


if __name__ == "__main__":
    for name in sys.argv[1:] or VARIANTS:
        make(name)
