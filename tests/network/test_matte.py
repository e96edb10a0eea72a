"""From pictures of every size and kind to alpha, and the sizes the network sees."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_build import TINY

from birefnet import Config, matte, network_size
from birefnet.imaging.resize import over_grey, resample


def picture(height: int, width: int, channels: int = 3, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(height * width))


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (700, 3), (64, 64), (45, 80)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_size_and_channel_count(tiny, shape, channels):
    image = picture(*shape, channels)
    alpha = matte(tiny, image)
    assert alpha.shape == (1, *shape) and alpha.dtype == torch.float32
    assert 0 <= alpha.min() and alpha.max() <= 1 and alpha.isfinite().all()


def test_the_steps_are_resize_normalise_network_sigmoid_resize(tiny):
    image = picture(100, 150)
    x = resample(image.permute(0, 3, 1, 2), (64, 64))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ([.485, .456, .406], [.229, .224, .225]))
    x = (x - mean) / std
    with torch.inference_mode():
        expected = resample(tiny(x).sigmoid(), (100, 150))[:, 0]
    assert torch.allclose(matte(tiny, image), expected, atol=1e-6)


def test_frames_of_a_batch_do_not_touch_each_other(tiny):
    batch = picture(48, 56, batch=3)
    together = matte(tiny, batch)
    for i in range(3):
        assert torch.allclose(together[i], matte(tiny, batch[i:i + 1])[0], atol=1e-5)


def test_grey_is_rgb_of_equal_channels_and_pil_is_the_tensor(tiny):
    grey = (picture(40, 60, 1) * 255).round() / 255
    expected = matte(tiny, grey.expand(-1, -1, -1, 3))
    assert torch.allclose(matte(tiny, grey), expected, atol=1e-6)
    pil = Image.fromarray((grey[0, :, :, 0] * 255).round().byte().numpy())
    for image in (pil, pil.convert("RGB"), pil.convert("P")):
        assert torch.allclose(matte(tiny, image), expected, atol=1e-5)


def test_transparent_pixels_stay_transparent_and_their_hidden_colours_do_not_matter(tiny):
    image = picture(50, 50, 4)
    image[:, :, :25, 3] = 0
    image[:, :, 25:, 3] = 1
    changed = image.clone()
    changed[:, :, :25, :3] = torch.rand(1, 50, 25, 3)
    alpha = matte(tiny, image)
    assert alpha[:, :, :25].max() == 0 and alpha[:, :, 25:].max() > 0
    assert matte(tiny, changed).equal(alpha)


def test_what_is_transparent_lies_over_grey(tiny):
    image = torch.tensor([[[[1.0, 0, 0, 1], [1, 0, 0, 0], [1, 0, 0, 0.5]]]])
    assert over_grey(image)[0, 0].tolist() == [[1, 0, 0], [0.5, 0.5, 0.5], [0.75, 0.25, 0.25]]
    assert over_grey(torch.rand(5, 7, 1)).shape == (5, 7, 3)
    photo = picture(50, 70, 4)
    assert torch.allclose(matte(tiny, photo), matte(tiny, over_grey(photo)) * photo[..., 3], atol=1e-5)


@pytest.mark.parametrize("image", [torch.rand(1, 50, 60, 3).half(), torch.rand(1, 60, 50, 3).transpose(1, 2),
                                   torch.rand(2, 8, 8, 3)[:, ::2, ::3]])
def test_half_precision_and_strided_images(tiny, image):
    assert torch.allclose(matte(tiny, image), matte(tiny, image.float().contiguous()), atol=2e-3)


def test_an_empty_batch_gives_an_empty_matte(tiny):
    assert matte(tiny, torch.zeros(0, 30, 40, 3)).shape == (0, 30, 40)


@pytest.mark.parametrize("image, sentence", [
    (torch.zeros(30, 40, 3), r"^Give an image \[B, H, W, C\]"),
    (torch.zeros(1, 30, 40, 2), r"^Give an image \[B, H, W, C\]"),
    (torch.zeros(1, 3, 30, 40), r"^Give an image \[B, H, W, C\]"),
    (torch.zeros(1, 30, 40, 3, dtype=torch.uint8), "float tensor in 0..1.*uint8"),
    (np.zeros((30, 40, 3)), "float tensor in 0..1"),
    (Image.new("I;16", (40, 30), 300), "pictures.read.*mode I;16"),
    (Image.new("F", (40, 30)), "mode F"),
])
def test_a_wrong_image_is_a_clear_error(tiny, image, sentence):
    with pytest.raises(ValueError, match=sentence):
        matte(tiny, image)


@pytest.mark.parametrize("own, photo, size, expected", [
    # stretched to the checkpoint's square, as in training
    ((1024, 1024), (3000, 2000), None, (1024, 1024)),
    ((1024, 1024), (3000, 2000), 500, (512, 512)),        # snapped to 32
    ((1024, 1024), (3000, 2000), 1, (64, 64)),
    ((1024, 1024), (3000, 2000), (300, 700), (288, 704)),
    ((1440, 2560), (3000, 2000), None, (1440, 2560)),
    ((1440, 2560), (3000, 2000), 1280, (704, 1280)),      # a wide checkpoint keeps its aspect
    (None, (1080, 1920), None, (1088, 1920)),             # dynamic: the photograph's own
    (None, (6000, 4000), None, (2304, 1536)),             # within the range it was trained on
    (None, (100, 200), None, (256, 512)),
    (None, (100, 4000), None, (64, 2304)),
    (None, (6000, 4000), 1024, (1024, 672)),
])
def test_network_sizes(own, photo, size, expected):
    config = Config(**{**TINY.__dict__, "size": own})
    assert network_size(config, *photo, size) == expected


def test_alpha_stays_registered_with_the_photograph(tiny_state):
    """Up and back down, an edge stays where it was: both resizes share one pixel grid."""
    step = torch.zeros(1, 1, 301, 500)
    step[..., 200:] = 1
    back = resample(resample(step, (64, 64)), (301, 500))
    crossing = (back[0, 0, 150] < 0.5).sum()
    assert abs(int(crossing) - 200) <= 1


def test_a_device_without_the_antialiased_kernel_resizes_on_the_cpu(monkeypatch):
    calls = []
    interpolate = torch.nn.functional.interpolate

    def missing_once(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise NotImplementedError("aten::_upsample_bilinear2d_aa is not implemented for MPS")
        return interpolate(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "interpolate", missing_once)
    assert resample(torch.ones(1, 1, 10, 10), (4, 4)).allclose(torch.ones(1, 1, 4, 4)) and len(calls) == 2
