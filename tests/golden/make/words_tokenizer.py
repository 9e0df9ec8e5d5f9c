"""A tokenizer of 128 words, which libraries that quantize demand beside a model."""
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast


def save_tokenizer(directory):
    t = Tokenizer(WordLevel({f"w{i}": i for i in range(128)}, unk_token="w0"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=t, unk_token="w0", eos_token="w2", pad_token="w1").save_pretrained(directory)
