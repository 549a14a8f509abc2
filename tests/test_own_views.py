"""Files among the images that are none."""

from semiseg.prepare.own.views import doubtful_names, no_images, within

MASKED = [f"{i:02}L.jpg" for i in range(8)]


def left_out(ids, masked=MASKED, inside=()):
    return no_images([*masked, *ids], masked, inside, "masks/{id}.png")


def test_other_pictures_of_images_with_a_mask_are_told_by_their_names():
    second, viz = ([name.format(i) for i in range(8)] for name in ("{:02}L_2nd.png", "deep/x_{:02}L.png"))
    own = ["99L.jpg", "00L_b.jpg", "zz_2nd.png"]  # an image, one that is named so by chance, no image's
    found = left_out([*second, *viz, *own])
    assert found.ids == {*second, *viz}
    assert [note[:40] for note in found.notes] == [
        "8 pictures deep/x_{id} (deep/x_00L.png, ",
        "8 pictures {id}_2nd (00L_2nd.png, 01L_2n",
    ]
    numbers = [f"{i}.png" for i in range(1, 30)]
    assert not left_out(numbers[9:], numbers[:9]).ids
    assert not left_out(["a_b.png"], ["a.png"]).ids  # one alone is chance


def test_folders_that_are_numbered_anew_hold_images():
    anew = [f"unlabeled/{name}" for name in MASKED]
    assert not left_out(anew).ids
    assert len(doubtful_names(anew, MASKED)) == 1
    assert doubtful_names(anew[:3], MASKED) == []
    assert not left_out([f"unlabeled/frame_{i}" for i in range(9)], [str(i) for i in range(9)]).ids
    labeled = [f"images/labeled/{i}" for i in range(8)]
    assert not left_out([f"images/unlabeled/{i}" for i in range(30)], labeled).ids


def test_pictures_in_folders_of_overlays_are_no_images():
    views = [f"{folder}/{name}" for folder in ("overlay", "x/Superpixels") for name in MASKED]
    found = left_out([*views, "overlay/99.jpg"])
    assert found.ids == set(views)
    assert found.notes[0].startswith(
        "8 pictures of overlay (overlay/00L.jpg, overlay/01L.jpg, ... and 6 more) left out"
    )


def test_masks_of_no_image_are_no_images():
    strays = ["benign (4)_mask_1.png", "Copy of 3_mask.png", "masks/b/1.png"]
    assert left_out([*strays, "20.png"]).ids == set(strays)
    photographs = [f"mask_{i}.jpg" for i in range(9)]  # of masks
    assert not left_out(photographs[5:], photographs[:5]).ids


def test_files_that_lie_in_the_folder_of_masks_are_no_images(tmp_path):
    (tmp_path / "imgs/deep/inner").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "imgs/deep")
    paths = {"1": "imgs/1.png", "deep/inner/1": "imgs/deep/inner/1.png", "deeper/1": "imgs/deeper/1.png"}
    assert within(tmp_path / "linked", tmp_path, paths) == ["deep/inner/1"]
    assert within(tmp_path / "imgs", tmp_path, paths) == []  # all of them: the folder of images
    found = left_out(["deep/inner/1"], inside=["deep/inner/1", MASKED[0]])
    assert found.notes == [
        "1 file in the folder of masks (deep/inner/1) left out: none is an image's mask masks/{id}.png"
    ]
