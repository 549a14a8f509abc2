"""Where the mask of an id lies."""

import pytest

from semiseg.data.templates import mask_template


@pytest.mark.parametrize(
    ("template", "sample", "mask"),
    [
        ("masks/{id}.png", "deep/a.b", "masks/deep/a.b.png"),
        ("masks/{stem}_m.png", "deep/a.b.jpg", "masks/deep/a.b_m.png"),
        ("{id:images=masks}.png", "train/images/1", "train/masks/1.png"),
        ("{id:images=masks}_L.png", "images/a/1", "masks/a/1_L.png"),
        ("{id:images=masks}.png", "images/x/images/1", "images/x/masks/1.png"),  # the last one
        ("{id:images=masks}.png", "more/images", "more/masks/images.png"),  # no folder of that name: beside the image
        ("{id:images=masks}.png", "1", "masks/1.png"),
        ("gt/{stem:img dir=ann dir}.png", "a/img dir/1.tif", "gt/a/ann dir/1.png"),
    ],
)
def test_the_mask_of_an_id(template, sample, mask):
    assert mask_template(template).path(sample) == mask


@pytest.mark.parametrize(
    "text",
    [
        *("masks/x.png", "{id}/{id}.png", "{id}_{stem}.png", "{name}.png", "{id:04d}.png", "{{id}}.png", "{id}_}.png"),
        *("{_{id}.png", "{id:a=a}.png", "{id:a/b=c}.png", "{id:=b}.png", "{id:a=b=c}.png"),
    ],
)
def test_what_is_no_template_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        mask_template(text)


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("train/masks/1.png", True),
        ("train/images/1.png", False),
        ("images/masks/1.png", True),
        ("masks/images/1.png", False),
        ("masks.png", False),
        ("train/masks", False),  # a file
    ],
)
def test_what_lies_in_a_folder_of_masks(path, below):
    assert mask_template("{id:images=masks}.png").in_mask_folder(path) == below
    assert not mask_template("{id}.png").in_mask_folder(path)
