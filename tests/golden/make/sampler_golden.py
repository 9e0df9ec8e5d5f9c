"""What transformers' logits processors leave of a row of logits, and with which probabilities:
the constants of tests/generate/test_sampler.c.  Prints C."""
import torch
from transformers.generation.logits_process import (
    EpsilonLogitsWarper, EtaLogitsWarper, LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper, TypicalLogitsWarper)

SEEN = [3, 7, 0]
LOGITS = [2.0, -1.5, 0.25, 3.5, 1.0, 3.0, 0.25, -0.5, 2.75, 1.0, -4.0, 3.25]
CASES = [
    ("temperature", dict(temperature=0.7)),
    ("top_k", dict(top_k=4)),
    ("top_k with ties", dict(top_k=6)),
    ("top_p", dict(top_p=0.8)),
    ("top_p of one", dict(top_p=0.05)),
    ("min_p", dict(min_p=0.3)),
    ("penalty", dict(penalty=1.5)),
    ("penalty below one", dict(penalty=0.6)),
    ("typical", dict(typical=0.5)),
    ("typical of little", dict(typical=0.1)),
    ("typical, warm", dict(temperature=2.0, typical=0.8)),
    ("epsilon", dict(epsilon=0.05)),
    ("epsilon above all", dict(epsilon=0.9)),
    ("eta", dict(eta=0.1)),
    ("eta of little", dict(temperature=0.5, eta=0.02)),
    ("all cuts", dict(temperature=1.3, top_k=9, top_p=0.95, min_p=0.05, typical=0.9, epsilon=0.03, eta=0.05)),
    ("all", dict(penalty=1.2, temperature=1.4, top_k=8, top_p=0.9, min_p=0.2)),
]


def processors(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, penalty=1.0, typical=1.0, epsilon=0.0, eta=0.0):
    steps = LogitsProcessorList()
    if penalty != 1:
        steps.append(RepetitionPenaltyLogitsProcessor(penalty))
    if temperature != 1:
        steps.append(TemperatureLogitsWarper(temperature))
    if top_k:
        steps.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        steps.append(TopPLogitsWarper(top_p))
    if min_p:
        steps.append(MinPLogitsWarper(min_p))
    if typical < 1:
        steps.append(TypicalLogitsWarper(typical))
    if epsilon:
        steps.append(EpsilonLogitsWarper(epsilon))
    if eta:
        steps.append(EtaLogitsWarper(eta))
    return steps


for name, use in CASES:
    scores = processors(**use)(torch.tensor([SEEN]), torch.tensor([LOGITS]))
    p = torch.softmax(scores, -1)[0].tolist()
    best = processors(penalty=use.get("penalty", 1.0))(torch.tensor([SEEN]), torch.tensor([LOGITS])).argmax().item()  # greedy
    full = dict(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, penalty=1.0, typical=1.0, epsilon=0.0, eta=0.0) | use
    print(f'    {{ "{name}", {full["temperature"]}, {full["top_p"]}, {full["min_p"]}, {full["penalty"]}, {full["typical"]}, {full["epsilon"]}, {full["eta"]}, {full["top_k"]},')
    print(f'      {best}, {{ ' + ", ".join(f"{x:.6g}" for x in p[:6]) + ",\n        " +
          ", ".join(f"{x:.6g}" for x in p[6:]) + " } },")
