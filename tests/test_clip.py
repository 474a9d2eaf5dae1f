"Every kind of CLIP that open_clip knows, made small; and ViT-B/16 as it is."

import copy, json

import open_clip, pytest, torch
from safetensors.torch import save_file

from hpdval.clip import as_clip, load_clip

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
