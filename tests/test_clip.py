"Every kind of CLIP that open_clip knows, made small; and ViT-B/16 as it is."

import copy, json

import open_clip, pytest, torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from hpdval.clip import _at_size, activations, as_clip, load_clip, mini_clip
from hpdval.weights import architectures

SAMPLE = ['a photo of a dog.', 'a photo of a potted plant on a dining table.', 'cat']


def shrunk(arch):
    "The config of an architecture, its kind kept, its size taken away; None for captioners, other libraries' towers."
    cfg = open_clip.get_model_config(arch)
    vision, text = cfg['vision_cfg'], cfg['text_cfg']
    if 'hf_model_name' in text or 'multimodal_cfg' in cfg:
        return None
    timm = vision.get('timm_model_name')
    if timm and not timm.startswith(('vit_', 'eva02_')):
        return None
    if not timm and not isinstance(vision['layers'], int):
        return None  # a ResNet, tested below
    cfg['embed_dim'] = 64 if timm else 32  # a head without projection has the width of test_vit
    if timm:
        vision.update(timm_model_name='test_vit', timm_model_pretrained=False, image_size=160)
    else:
        vision.update(width=64, layers=2, head_width=32, image_size=4 * vision['patch_size'], mlp_ratio=2.0)
    text.update(
        width=cfg['embed_dim'], heads=2, layers=2, vocab_size=49408, context_length=min(text['context_length'], 77)
    )
    text.pop('mlp_ratio', None)
    text.pop('hf_tokenizer_name', None)
    return cfg


def kinds():
    "One architecture per different shrunk config."
    seen = {}
    for arch in open_clip.list_models():
        if (cfg := shrunk(arch)) is not None:
            seen.setdefault(json.dumps(cfg, sort_keys=True), arch)
    return sorted(seen.values())


def build(cfg):
    cfg = copy.deepcopy(cfg)
    make = open_clip.CustomTextCLIP if cfg.pop('custom_text', False) else open_clip.CLIP
    torch.manual_seed(0)
    return make(**cfg).eval()


@pytest.mark.parametrize('arch', kinds())
def test_every_kind_of_tower_gives_what_open_clip_gives(arch):
    cfg = shrunk(arch)
    model = build(cfg)
    x = torch.randn(2, 3, *model.visual.image_size)
    ids = open_clip.SimpleTokenizer(context_length=cfg['text_cfg']['context_length'])(SAMPLE)
    if 'eos_id' in cfg['text_cfg']:
        ids[ids == 49407] = cfg['text_cfg']['eos_id']  # the tokenizer of these models ends so
    with torch.no_grad():
        image, text = model.encode_image(x), model.encode_text(ids)
    try:
        clip = as_clip(model)
    except ValueError as e:
        assert 'no patch tokens' in str(e)
        pytest.skip(f'refused: {e}')
    with torch.no_grad():
        (g, p), t = clip.visual(x), clip.text(ids)
    torch.testing.assert_close(g, image, atol=1e-5, rtol=1e-4)
    assert p.shape == (2, clip.visual.grid[0] * clip.visual.grid[1], clip.width) and p.isfinite().all()
    torch.testing.assert_close(t, text, atol=1e-5, rtol=1e-4)  # at the shortest exact length, against full length
    if clip.text.causal:
        assert clip.text.cut(ids).shape[1] < ids.shape[1]
    else:
        assert clip.text.cut(ids).shape == ids.shape


def test_a_patch_is_embedded_as_the_class_token_is():
    "What the last norm and the projection make of one token does not depend on which token it is."
    model = build(shrunk('ViT-B-16'))
    clip = as_clip(model)
    x = torch.randn(1, 3, 64, 64)
    model.visual.output_tokens = True
    with torch.no_grad():
        _, tokens = model.visual(x)  # after the last norm
        torch.testing.assert_close(clip.visual(x)[1], tokens @ model.visual.proj)


@pytest.mark.parametrize('arch', ['RN50', 'convnext_base'])
def test_a_tower_without_patch_tokens_is_refused(arch):
    with pytest.raises(ValueError, match='no patch tokens in the joint space; take a Vision Transformer'):
        as_clip(open_clip.create_model(arch, force_image_size=64))


def test_vit_b_16_at_full_size_from_a_file(tmp_path):
    torch.manual_seed(0)
    model = open_clip.create_model('ViT-B-16').eval()
    file = tmp_path / 'weights.safetensors'
    save_file(model.state_dict(), file)
    clip = load_clip('ViT-B-16', str(file))
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        g, p = clip.visual(x)
        torch.testing.assert_close(g, model.encode_image(x), atol=1e-5, rtol=1e-4)
        ids = clip.tokenizer(SAMPLE[:2])
        torch.testing.assert_close(clip.text(ids), model.encode_text(ids), atol=1e-5, rtol=1e-4)
    assert p.shape == (1, 196, 512) and clip.visual.grid == (14, 14) and clip.text.cut(ids).shape[1] == 13


SMALL = 'ViT-S-32-alt'


@pytest.fixture(scope='module')
def small_file(tmp_path_factory):
    "The smallest ViT of open_clip, random, as a file."
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp('weights') / 'small.safetensors'
    save_file(open_clip.create_model(SMALL).state_dict(), file)
    return str(file)


@pytest.mark.parametrize('size', [128, 320])
def test_another_image_size_is_as_open_clip_makes_it(size, small_file):
    theirs = open_clip.create_model(SMALL, pretrained=small_file, force_image_size=size).eval()
    clip = load_clip(SMALL, small_file, image_size=size)
    x = torch.randn(1, 3, size, size)
    with torch.no_grad():
        g, p = clip.visual(x)
        torch.testing.assert_close(g, theirs.encode_image(x), atol=1e-5, rtol=1e-4)
    assert clip.visual.grid == (size // 32, size // 32) and p.shape[1] == (size // 32) ** 2


def test_a_timm_tower_at_another_size():
    model = build(shrunk('ViT-B-16-SigLIP'))
    before = model.visual.trunk.pos_embed.detach().clone()
    other = _at_size(model, 'ViT-B-16-SigLIP', 192)
    right = resample_abs_pos_embed(before, (12, 12), (10, 10), num_prefix_tokens=1)
    torch.testing.assert_close(other.visual.trunk.pos_embed.detach()[:, -144:], right[:, -144:])
    clip = as_clip(other)
    assert (clip.visual.size, clip.visual.grid) == (192, (12, 12))
    assert clip.visual(torch.zeros(1, 3, 192, 192))[1].shape == (1, 144, clip.width)


def test_miniclip_at_another_size():
    clip = load_clip('mini', image_size=96)
    assert clip.visual(torch.zeros(1, 3, 96, 96))[1].shape == (1, 144, 128)
    with pytest.raises(ValueError, match='image_size must be a multiple of the patch size, 8, got 100'):
        load_clip('mini', image_size=100)


def test_the_pixels_of_a_file_can_be_said(small_file, capsys):
    clip = load_clip(SMALL, small_file)
    assert 'mean, std, resize of the pixels not known' in capsys.readouterr().err and clip.resize == 'clip'
    clip = load_clip(SMALL, small_file, mean='.5', std=(0.1, 0.2, 0.3), resize='squash')
    assert (clip.mean, clip.std, clip.resize) == ((0.5,) * 3, (0.1, 0.2, 0.3), 'squash')
    assert capsys.readouterr().err == ''
    assert [clip.transform(t) for t in ('clip', 'pad', 'official')] == ['squash', 'pad', 'official']


def test_a_tag_and_a_name_that_disagree_are_put_right(small_file, monkeypatch, capsys):
    "LAION's tag under the name with QuickGELU, and OpenAI's under the one without; the download is a stand-in."
    cfg = open_clip.get_model_config(SMALL)
    for name, quick, tag in (('ViT-Z', False, 'quick'), ('ViT-Z-quickgelu', True, 'plain')):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, copy.deepcopy(cfg) | dict(quick_gelu=quick))
        told = open_clip.pretrained._pcfg(url='x', quick_gelu=tag == 'quick')
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {tag: told})
    monkeypatch.setattr('open_clip.factory.download_pretrained', lambda *a, **k: small_file)
    kinds = {}
    for name, tag in (('ViT-Z', 'quick'), ('ViT-Z-quickgelu', 'plain')):
        kinds[tag] = activations(load_clip(name, tag).visual)
        assert f'as the weights were trained with, in the place of' in capsys.readouterr().err
    assert kinds == {'quick': {'quick_gelu'}, 'plain': {'gelu'}}


def test_who_takes_the_wrong_name_is_told_the_right_one(small_file):
    with pytest.raises(ValueError, match=f'do not fit the architecture.*; take {SMALL}, whose sizes they have'):
        load_clip('ViT-B-32', small_file)
    assert architectures(mini_clip().state_dict()) == []


@pytest.mark.parametrize(
    'what, why',
    [
        ([1, 2], 'holds a value of type list and no state dict'),
        (3.5, 'holds a value of type float and no state dict'),
        ({'visual.proj': torch.full((2, 2), float('nan'))}, '4 of 4 numbers in visual.proj are NaN or infinite'),
    ],
)
def test_what_is_no_clip_is_refused_in_one_line(what, why, tmp_path):
    torch.save(what, tmp_path / 'x.pt')
    with pytest.raises(ValueError) as e:
        load_clip('ViT-B-16', str(tmp_path / 'x.pt'))
    assert why in str(e.value) and '\n' not in str(e.value)


def test_a_missing_package_is_named(small_file, monkeypatch, tmp_path):
    def missing(*a, **k):
        raise ModuleNotFoundError("No module named 'transformers'")

    monkeypatch.setattr('hpdval.clip.HFTokenizer', missing)
    model = open_clip.create_model('ViT-B-16-SigLIP', force_image_size=32)
    with pytest.raises(ValueError, match=r"needs more packages \(No module named 'transformers'\): pip install") as e:
        as_clip(model, 'ViT-B-16-SigLIP')
    assert '\n' not in str(e.value)
