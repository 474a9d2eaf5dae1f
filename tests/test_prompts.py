"""Where a context stands: in tokenizers with and without a start token, in text towers that look both ways and not."""

import copy, functools
from types import SimpleNamespace

import numpy as np, open_clip, pytest, torch
from test_weights import siglip_tokenizer

import hpdval
from hpdval.clip import MINI, as_clip, load_clip, too_long
from hpdval.config import make_config
from hpdval.experiment import load_benchmark, run
from hpdval.prompts import LearnedPrompts, behind_words, fixed_prompts, frame, n_tokens, with_context
from hpdval.train import encode_captions

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


class Words:
    "A tokenizer of words: with a start token, an end token, one more at the very end, or without; padding."

    def __init__(self, room, start=(), end=(), pad=0, last=()):
        self.room, self.start, self.end, self.pad, self.last = room, start, end, pad, last

    def __call__(self, sentences, context_length=None):
        L = context_length or 8
        rows = []
        for s in sentences:
            words = [10 + sum(map(ord, w)) for w in s.split()][: L - 8 + self.room]
            row = [*self.start, *words, *self.end]
            rows.append(row + [self.pad] * (L - len(row) - len(self.last)) + [*self.last])
        return torch.tensor(rows)


class Plain(Words):
    "The same, without a choice of the length."

    def __call__(self, sentences):
        return super().__call__(sentences)


TOKENIZERS = {
    'CLIP': (Words(6, (1,), (2,)), True),
    'SigLIP, the end is the padding': (Words(7, (), (2,), 2), True),
    'no start, no end': (Words(8), True),
    'one more at the very end': (Words(5, (1,), (2,), 0, (3,)), False),
    'without a choice of the length': (Plain(6, (1,), (2,)), False),
}


@pytest.mark.parametrize('tokenizer, exact', TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_sentence_that_is_too_long_is_found_in_any_tokenizer(tokenizer, exact):
    "Where `exact` does not hold, one that just fills the room is taken for too long: said once too often."
    room = tokenizer.room
    texts = [' '.join(['dog'] * n) for n in range(room + 4)]
    found = too_long(tokenizer, texts, tokenizer(texts))
    assert found[:room] == [False] * room and found[room + 1 :] == [True] * 3
    assert found[room] == (not exact)


LONG = 'a small brown dog that ' + 'very ' * 80 + 'often barks'


def test_a_class_that_is_cut_is_said(capsys):
    clip = load_clip()._replace(name='a CLIP')
    fixed_prompts(clip, ['cat', 'a dog'])
    assert capsys.readouterr().err == ''
    for template in ('a photo of a {}.', '{}'):
        fixed_prompts(clip, ['cat', LONG], template)
        said = capsys.readouterr().err
        start = template.format(LONG)[:47]
        assert said == (
            f"a CLIP: 1 text longer than the 77 tokens that the text tower takes, cut off there ('{start}...')\n"
        )
    fixed_prompts(clip, ['cat', LONG], '{}')
    assert capsys.readouterr().err == ''  # once
    behind_words(clip, 'a drawing of', ['cat', f'{LONG}.'])
    assert '1 text longer than the 77 tokens' in capsys.readouterr().err
    with pytest.raises(ValueError, match='leaves no room for a class name'):
        with_context(clip, [LONG], 4)


def test_captions_that_are_cut_are_said(capsys):
    clip = load_clip()._replace(name='its CLIP')
    encode_captions(clip, SimpleNamespace(captions=['a cat', LONG, f'{LONG} at night', 'a dog ' * 40]))
    said = capsys.readouterr().err
    assert said.startswith('its CLIP: 3 texts longer than the 77 tokens that the text tower takes, cut off there (')
    assert said.count('\n') == 1


def test_other_classes_that_are_cut_are_said_at_prediction(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), c) for c in ('dog', 'cat')]
    r = run(make_config('zero-shot', 'memory', device='cpu'), progress=False, data=hpdval.from_samples(pairs, pairs))
    model = hpdval.Classifier.load(r.folder, device='cpu')
    capsys.readouterr()
    model.predict(pairs[0][0], classes=['horse', 'dog ' * 80])
    assert '1 text longer than the 77 tokens' in capsys.readouterr().err


def test_words_that_a_tower_never_learned_are_said(capsys):
    load_benchmark(make_config('zero-shot', 'icon-voc-lt', template='a qwerty of a {}'), progress=False)
    assert 'does not know qwerty, of the templates' in capsys.readouterr().err
    load_benchmark(make_config('zero-shot', 'icon-voc-lt', templates='a zxcvb of a {}'), progress=False)
    assert 'does not know zxcvb, of the templates' in capsys.readouterr().err
    load_benchmark(make_config('zero-shot', 'icon-voc-lt'), progress=False)
    assert 'does not know' not in capsys.readouterr().err


@pytest.mark.parametrize(
    'more', ['a photo of a {}.', ' a  photo of a {}. ;', ' ; ', 'an icon of a {}; an icon of a {}']
)
def test_further_templates_that_say_nothing_new_are_refused(more):
    with pytest.raises(ValueError, match='stands twice|holds no template'):
        make_config('zero-shot', templates=more)
