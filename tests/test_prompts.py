"""Where a context stands: in tokenizers with and without a start token, in text towers that look both ways and not."""

import copy, functools

import open_clip, pytest, torch
from test_weights import siglip_tokenizer

from hpdval.clip import MINI, as_clip
from hpdval.config import make_config
from hpdval.prompts import LearnedPrompts, fixed_prompts, frame, n_tokens, with_context

CLASSES = ['dog', 'dining table', 'potted plant', 'x']
END = 1  # the token of the end and of the padding
TOWERS = {
    'both ways, last': dict(no_causal_mask=True, pool_type='last', proj_bias=True),
    'both ways, first': dict(no_causal_mask=True, pool_type='first'),
    'causal, last': dict(pool_type='last'),
    'causal, end': dict(pool_type='eos', eos_id=END),
}


class Closed:
    "A tokenizer that also has a start token, and one more at the very end."

    def __init__(self, inner, start=3, last=4):
        self.inner, self.start, self.last = inner, start, last

    def __call__(self, sentences):
        ids = self.inner(sentences)
        edge = torch.ones(len(ids), 1, dtype=ids.dtype)
        return torch.cat([edge * self.start, ids[:, :-2], edge * self.last], 1)


@functools.lru_cache
def sentencepiece(folder):
    siglip_tokenizer(folder)
    return open_clip.tokenizer.HFTokenizer(str(folder), context_length=24, clean='canonicalize')


@pytest.fixture(params=['no start', 'start and last'])
def tokenizer(request, tmp_path_factory):
    inner = sentencepiece(tmp_path_factory.getbasetemp() / 'tokenizer')
    return inner if request.param == 'no start' else Closed(inner)


def small_clip(kind, tokenizer):
    text = dict(context_length=24, vocab_size=120, width=32, heads=2, layers=2, **kind)
    vision = copy.deepcopy(MINI['vision_cfg']) | dict(width=32, layers=1, head_width=16)
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(32, vision, text)
    torch.nn.init.normal_(model.text.token_embedding.weight)
    torch.nn.init.normal_(model.text.positional_embedding, std=0.1)
    return as_clip(model)._replace(tokenizer=tokenizer)


@pytest.mark.parametrize('kind', TOWERS.values(), ids=TOWERS)
def test_learned_prompts_tell_the_classes_apart(kind, tokenizer):
    clip = small_clip(kind, tokenizer)
    learned = LearnedPrompts(clip, CLASSES, make_config(ctx_init='noise', n_ctx=5), torch.Generator().manual_seed(0))
    if kind == TOWERS['causal, end']:
        assert (clip.text.end(learned.ids) > 5).all()
    with torch.no_grad():
        got = learned.texts(clip.text, None)[0]
        rows = [one_by_hand(clip, c, learned.ctx[0]) for c in CLASSES]
    torch.testing.assert_close(got, torch.stack(rows), atol=1e-5, rtol=1e-4)
    if 'first' not in kind.values():
        assert torch.pdist(torch.nn.functional.normalize(got, dim=-1)).min() > 1e-3


def one_by_hand(clip, name, context):
    "The embedding of [start] context [name.] [end] [padding] [last], put together token by token."
    closed = isinstance(clip.tokenizer, Closed)
    inner = clip.tokenizer.inner if closed else clip.tokenizer
    words = inner([name + '.'])[0]
    words = words[: (words == END).int().argmax()]
    table = clip.text.token_embedding.weight
    start = [table[[3]]] if closed else []
    rest = 24 - len(start) - len(context) - len(words) - (1 if closed else 0)
    parts = [*start, context, table[words], table[[END] * rest]] + ([table[[4]]] if closed else [])
    end = torch.tensor([len(start) + len(context) + len(words)])
    return clip.text.encode_embeddings(torch.cat(parts)[None], end)[0]


@pytest.mark.parametrize('kind', TOWERS.values(), ids=TOWERS)
def test_a_context_of_words_is_the_fixed_prompt(kind, tokenizer):
    clip = small_clip(kind, tokenizer)
    words = LearnedPrompts(clip, CLASSES, make_config(ctx_init='words'))
    assert words.M == n_tokens(clip, 'a photo of a') > 0
    with torch.no_grad():
        torch.testing.assert_close(words.texts(clip.text, None)[0], fixed_prompts(clip, CLASSES))


def test_the_frame_of_a_sentence(tokenizer):
    clip = small_clip(TOWERS['both ways, last'], tokenizer)
    start = 1 if isinstance(tokenizer, Closed) else 0
    assert frame(clip) == (start, END)
    ids = tokenizer(['dog.'])[0]
    n = n_tokens(clip, 'dog.')
    longer = with_context(clip, ['dog.'], 3)[0]
    assert len(longer) == len(ids) and (longer[:start] == ids[:start]).all()
    assert (longer[start + 3 : start + 3 + n] == ids[start : start + n]).all()
    assert longer[-1] == ids[-1]


def test_a_placeholder_may_be_two_tokens(tokenizer):
    "The fault that hid the class name: four X are not four tokens, and nothing stands before them."
    clip = small_clip(TOWERS['both ways, last'], tokenizer)
    assert n_tokens(clip, 'X X X X') != 4


def test_no_room_is_said(tokenizer):
    clip = small_clip(TOWERS['both ways, last'], tokenizer)
    with pytest.raises(ValueError, match='n_ctx=30 leaves no room for a class name'):
        with_context(clip, ['dog.'], 30)
