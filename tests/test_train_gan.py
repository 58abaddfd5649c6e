"""The GAN recipe: networks, losses, patches, and that a run goes on as if it had not been interrupted."""

import dataclasses
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
import train_gan
from gan import data
from gan.data import Patches, photographs
from gan.losses import discriminator_loss, generator_loss, r1_penalty
from gan.models import UPSAMPLERS, Discriminator, Generator
from gan.options import Options
from gan.pictures import grid
from gan.trainer import energies, latents
from PIL import Image
from vocoder.checkpoint import checkpoints, load_checkpoint

one_thread = reference.one_thread

SMALL = Options(
    upsamplers=("resize-nearest", "transposed"), steps=6, batch_size=4, width=4, latent=8, save_every=2, measure_every=2
)


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_every_layer_makes_images_of_twice_the_sides(name: str) -> None:
    generator = Generator((name, name), latent=8, width=4)
    images = generator(latents(3, 8))
    assert images.shape == (3, 3, 16, 16)
    assert images.abs().max() <= 1
    assert generator.features(latents(3, 8)).shape == (3, 4, 8, 8)


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_both_discriminators_have_the_same_weights(size: int) -> None:
    strided, plain = Discriminator(size, 2, width=4), Discriminator(size, 1, width=4)
    shapes = [[tuple(p.shape) for p in network.parameters()] for network in (strided, plain)]
    assert shapes[0] == shapes[1]
    images = torch.randn(5, 3, size, size)
    assert strided(images).shape == plain(images).shape == (5,)


def test_losses() -> None:
    real, generated = torch.tensor([2.0, 0.0]), torch.tensor([-1.0])
    expected = (math.log1p(math.exp(-2)) + math.log(2)) / 2 + math.log1p(math.exp(-1))
    assert discriminator_loss(real, generated).item() == pytest.approx(expected)
    assert generator_loss(generated).item() == pytest.approx(math.log1p(math.exp(1)))


def test_r1_is_half_the_squared_gradient() -> None:
    images = torch.randn(4, 3, 2, 2, requires_grad=True)
    weight = torch.randn(3, 2, 2)
    penalty = r1_penalty(images, (images.square() * weight).sum((1, 2, 3)))
    expected = (2 * images * weight).square().flatten(1).sum(1).mean() / 2
    assert penalty.item() == pytest.approx(expected.item())
    penalty.backward()
    assert images.grad is not None


def test_patches_are_of_the_photographs_and_follow_the_seed() -> None:
    image = torch.arange(3 * 20 * 30.0).reshape(3, 20, 30)
    patches = Patches([image], 8)
    torch.manual_seed(0)
    drawn = patches.draw(50)
    torch.manual_seed(0)
    assert torch.equal(drawn, patches.draw(50))
    places = set()
    for patch in drawn:
        upright = patch if patch[0, 0, 0] < patch[0, 0, 1] else patch.flip(-1)
        top, left = divmod(int(upright[0, 0, 0]), 30)
        assert torch.equal(upright, image[:, top : top + 8, left : left + 8])
        places.add((top % 2, left % 2))
    assert len(places) == 4  # of all phases, so no checkerboard is in the data


def test_photographs_of_a_folder(tmp_path: Path) -> None:
    assert [tuple(image.shape) for image in photographs("photos", 16)] == [(3, 213, 320)] * 2
    (tmp_path / "class").mkdir()
    Image.fromarray(np.full((40, 50, 3), 255, np.uint8)).save(tmp_path / "class" / "white.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "small.png")
    (found,) = photographs(str(tmp_path), 16)
    assert found.shape == (3, 20, 25)
    assert torch.all(found == 1)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as an image"):
        photographs(str(tmp_path), 16)
    with pytest.raises(ValueError, match="data must be photos or a folder"):
        photographs(str(tmp_path / "nowhere"), 16)
    (tmp_path / "broken.png").unlink()
    with pytest.raises(ValueError, match="no image has 200 samples or more"):
        photographs(str(tmp_path), 100)


def test_images_too_small_to_be_halved_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for height, width in ((1, 1), (40, 1), (1, 40), (31, 40), (32, 40)):
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(tmp_path / f"{width}x{height}.png")
    (found,) = photographs(str(tmp_path), 16)
    assert found.shape == (3, 16, 20)
    photographs(str(tmp_path), 16)  # says nothing twice
    assert capsys.readouterr().out.splitlines() == [
        f"left out: {tmp_path / name}.png, {name.replace('x', ' x ')}: not 32 samples or more along both sides"
        for name in ("1x1", "1x40", "40x1", "40x31")
    ]


def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)).save(path)
    monkeypatch.setattr(data, "MOST_PIXELS", 2000)
    assert len(photographs(str(tmp_path), 16)) == 1
    path.write_bytes(path.read_bytes()[:1000])  # pixels that nobody can read, and nobody should try to
    monkeypatch.setattr(data, "MOST_PIXELS", 1999)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"large\.png has 50 x 40 pixels; at most 1999 are read"):
            photographs(str(tmp_path), 16)


def test_grids() -> None:
    images = torch.stack([torch.full((3, 2, 2), value) for value in (-1.0, 0.0, 1.0)])
    sheet = grid(images, columns=2, zoom=2)
    assert sheet.shape == (10, 10, 3)
    assert sheet[0, 0].tolist() == [0, 0, 0]
    assert sheet[0, 9].tolist() == [128, 128, 128]
    assert sheet[9, 0].tolist() == sheet[0, 4].tolist() == [255, 255, 255]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(checkpoints(folder / "checkpoints")[-1], ("mean",))[0]["mean"]


def test_a_run_that_goes_on_ends_as_one_that_was_never_interrupted(tmp_path: Path) -> None:
    whole = train_gan.run(dataclasses.replace(SMALL, name="whole", out=tmp_path))
    train_gan.run(dataclasses.replace(SMALL, name="parts", out=tmp_path, steps=4))
    parts = train_gan.run(dataclasses.replace(SMALL, name="parts", out=tmp_path, resume=True))
    for (name, a), b in zip(weights(tmp_path / "whole").items(), weights(tmp_path / "parts").values(), strict=True):
        assert torch.equal(a, b), name
    assert whole["curve"] == parts["curve"]
    assert [point["step"] for point in whole["curve"]] == [0, 2, 4, 6]
    assert whole["E2"] == parts["E2"]
    report = json.loads((tmp_path / "whole" / "report.json").read_text())
    assert report["size"] == 16
    assert set(report["photographs"]) == {"E2", "E4"}
    assert sorted(path.name for path in (tmp_path / "whole" / "images").iterdir())[-1] == "step-000006.png"
    with pytest.raises(ValueError, match="has been trained for longer already"):
        train_gan.run(dataclasses.replace(SMALL, name="whole", out=tmp_path, steps=4, resume=True))
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["options"]["steps"] == 6
    assert (tmp_path / "whole" / "curve.png").exists()


def colours(images: torch.Tensor) -> torch.Tensor:
    """Return the mean products of an image's channels and of a 1, over all images and places."""
    flat = images.permute(1, 0, 2, 3).flatten(1)
    flat = torch.cat([torch.ones_like(flat[:1]), flat])
    return flat @ flat.T / flat.shape[1]


def test_training_moves_the_colours_to_those_of_the_photographs(tmp_path: Path) -> None:
    options = dataclasses.replace(
        SMALL, out=tmp_path, steps=200, batch_size=16, width=8, save_every=200, measure_every=200
    )
    train_gan.run(options)
    torch.manual_seed(0)
    real = colours(Patches(photographs("photos", 16), 16).draw(500))
    generator = Generator(options.upsamplers, options.latent, options.width)
    with torch.no_grad():
        before = colours(generator(latents(500, options.latent)))
        generator.load_state_dict(weights(tmp_path / "gan"))
        after = colours(generator.eval()(latents(500, options.latent)))
    assert (after - real).norm() < 0.4 * (before - real).norm()


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin = ["--out", str(tmp_path), "--steps", "1", "--width", "4", "--batch-size", "2", "--upsamplers", "transposed"]
    assert train_gan.main(begin) == 0
    capsys.readouterr()
    for words, message in (
        (begin, "holds a run already"),
        ([*begin, "--resume", "--seed", "3"], "seed: 0 then, 3 now"),
        (["--out", str(tmp_path), "--name", "other", "--resume"], "holds no run"),
        (["--out", str(tmp_path), "--name", "x", "--batch-size", "1"], "--batch-size must be at least 2"),
        (["--out", str(tmp_path), "--name", "x", "--ema", "1"], "--ema must be"),
        (["--out", str(tmp_path), "--name", "x/y"], "--name must be a plain folder name"),
        (["--out", str(tmp_path), "--name", "x", "--data", str(tmp_path / "nowhere")], "data must be photos"),
        (["--out", str(tmp_path), "--name", "x", "--accelerator", "none"], "accelerator"),
        (
            ["--out", str(tmp_path / "gan" / "config.json")],
            "--out must be a folder, got " + str(tmp_path / "gan" / "c"),
        ),
    ):
        assert train_gan.main(words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.startswith("train_gan: ")
    assert not (tmp_path / "x").exists()
    (tmp_path / "gan" / "config.json").unlink()
    assert train_gan.main(begin) == 2
    assert "holds checkpoints without the config.json" in capsys.readouterr().err


def test_energies_of_a_checkerboard() -> None:
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 3, 4, 4)
    assert energies(board) == {"E2": pytest.approx(1), "E4": 0}
