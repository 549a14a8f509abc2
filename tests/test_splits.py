"""Lists as people have them, and draws of the labelled part."""

import pytest

from semiseg.common.errors import DataError
from semiseg.data import splits
from semiseg.data.lists import Cleaner
from semiseg.data.specs import SPECS, custom_spec, get_spec
from semiseg.data.splits import check_disjoint, draw_labeled, labeled_count, read_list, write_list, written_list

VOC = get_spec("pascal")


@pytest.mark.parametrize(
    "data",
    [
        b"a\nb 2\nc\n",
        b"a\r\nb 2\r\nc\r\n",
        b"a\nb 2\nc",
        b"\xef\xbb\xbfa\nb 2\nc\n",
        b"\n a \n\nb 2\t\r\n\r\nc",
    ],
    ids=["plain", "windows line ends", "no final newline", "byte order mark", "blank lines"],
)
def test_all_usual_forms_of_a_list_give_the_same_ids(tmp_path, data):
    path = tmp_path / "my list.txt"
    path.write_bytes(data)
    assert read_list(path) == ["a", "b 2", "c"]


def test_letters_of_any_language_survive(tmp_path):
    path = tmp_path / "list.txt"
    write_list(path, ["Straße_1", "写真"])
    assert read_list(path) == ["Straße_1", "写真"]


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.txt: no such list"):
        read_list(tmp_path / "absent.txt")


@pytest.mark.parametrize("data", [b"", b"\n\r\n  \n", b"\xef\xbb\xbf"])
def test_an_empty_list_is_an_error(tmp_path, data):
    path = tmp_path / "empty.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"empty\.txt: the list is empty"):
        read_list(path)


def test_a_binary_file_or_a_folder_is_no_list(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF")
    for wrong, problem in (
        (path, "or no text; save it as UTF-8"),
        (tmp_path, "cannot be read .Is a directory.*folder"),
    ):
        with pytest.raises(DataError, match=problem):
            read_list(wrong)


def test_lines_that_can_be_no_path_are_refused_at_once(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a\n" + "b, " * 20_000 + "\n")
    with pytest.raises(DataError, match="line 2 has 59999 characters, more than two paths"):
        read_list(path, get_spec("cityscapes").sample_id)
    path.write_text("a\nleftImg8bit/_leftImg8bit.png\n")
    with pytest.raises(DataError, match=r"line 2 .* names no image"):
        read_list(path, get_spec("cityscapes").sample_id)


def test_duplicates_are_named_with_their_lines(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a\nb\na\nc\nb\na\n")
    with pytest.raises(DataError, match=r"2 ids in more than one line: 'a' on lines 1, 3, 6; 'b' on lines 2, 5"):
        read_list(path)


LINES = ["2007_1", "a-b", "", "JPEGImages/c.jpg", "# note", "d e", "Straße", "x" * 70, "./f", "g.jpg", "caf\udce9"]


@pytest.mark.parametrize("piece", [1, 7, 50, 2**20])
def test_a_list_read_in_pieces_is_the_list_read_line_by_line(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(splits, "_PIECE", piece)
    path = tmp_path / "list.txt"
    for end in ("", "\n", "\n\n"):
        path.write_bytes(("\n".join(LINES) + end).encode(errors="surrogateescape"))
        expected = [VOC.sample_id(line) for line in LINES if line and not line.startswith("#")]
        assert read_list(path, Cleaner(VOC, None)) == read_list(path, VOC.sample_id) == expected
    path.write_text("a\nb\n\na\nc\nb\n")
    with pytest.raises(DataError, match=r"'a' on lines 1, 4; 'b' on lines 2, 6"):
        read_list(path, Cleaner(VOC, None))


@pytest.mark.parametrize(
    "spec",
    [*SPECS.values(), custom_spec("o", ["a", "b"], "i/{id}", "m/{id}"), custom_spec("p", ["a", "b"], "{id}x", "{id}")],
)
def test_lines_that_are_not_looked_at_are_their_own_ids(spec):
    for text in ("abcX", "a-b_0x", "x", "a.x", "i/a", "'a'", "C:", "a,b", "a b", "ß"):
        if spec.are_ids(set(text)):
            assert spec.sample_id(text) == text
    assert not spec.are_ids("a/") | spec.are_ids("a.") | spec.are_ids("a ") | spec.are_ids("ß") | spec.are_ids("#")
    assert VOC.are_ids("aZ09_-")


def test_two_spellings_of_one_sample_are_duplicates(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("train/x_leftImg8bit.png\nleftImg8bit/train/x_leftImg8bit.png\n")
    assert len(read_list(path)) == 2
    with pytest.raises(DataError, match="'train/x' on lines 1, 2"):
        read_list(path, get_spec("cityscapes").sample_id)


def test_comments_are_skipped_and_ids_that_begin_with_a_sharp_stay(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# made by hand\n2007_000032\n#\n#1\n# the rest\nJPEGImages/2007_000039.jpg\n")
    assert read_list(path, VOC.sample_id) == ["2007_000032", "#1", "2007_000039"]
    write_list(path, ["#1", "a"])
    assert read_list(path) == ["#1", "a"]


def test_a_list_of_pairs_is_a_list_of_images(tmp_path):
    path = tmp_path / "unimatch.txt"
    path.write_text("".join(f"JPEGImages/{i}.jpg SegmentationClass/{i}.png\n" for i in ("2007_1", "2007_2")))
    assert read_list(path, VOC.sample_id) == ["2007_1", "2007_2"]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (
            "image,mask\nJPEGImages/1.jpg,SegmentationClassAug/1.png\n",
            r"line 1 \('image,mask'\) is the header of a CSV",
        ),
        ('"Image_Path";"Label_Path"\n1;1\n', "is the header of a CSV table: remove it"),
        ("id\tsplit\n1\ttrain\n", "is the header of a CSV table"),
        ("1\nJPEGImages/2.jpg SegmentationClass/3.png\n", "line 2 .* the second is not the mask of the first"),
        ("JPEGImages/2.jpg,SegmentationClass/2.png,0.5\n", "line 1 .* holds several columns"),
        ('{"images": ["1"]}\n', "line 1 begins JSON"),
        ('["1", "2"]', "line 1 begins JSON"),
        ("../other/2.jpg\n", "leaves the data root"),
    ],
)
def test_another_form_of_list_is_refused_by_its_name(tmp_path, text, form):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"list\.txt: {form}|list\.txt: line \d .*{form}") as error:
        read_list(path, VOC.sample_id)
    assert "expected an id a line, an image's path, or an image's path and its mask's" in str(error.value)


@pytest.mark.parametrize("image", ["img/{id}.png", "img/{id}", "{id}.png", "left_{id}.png"])
def test_whatever_an_image_is_called_its_line_is_read_as_its_id(tmp_path, image):
    spec = custom_spec("own", ("a", "b"), image, "gt/{id}.png")
    clean = Cleaner(spec, tmp_path)
    ids = [
        "plain",
        "u1.png",
        "img/0.png",
        "img/img/1",
        "a b",
        "it's",
        "'quoted'",
        "[a]",
        "a,b",
        "left_2",
        "id",
        "ü.png",
    ]
    for sample in ids:  # each alone, as the first line of a list is looked at more closely
        lines = written_list(tmp_path / "list.txt", [sample], clean)
        write_list(tmp_path / "list.txt", lines)
        assert read_list(tmp_path / "list.txt", clean) == [sample]
        assert lines[0].removeprefix("./") in (sample, spec.image_path(sample))
    assert written_list(tmp_path / "list.txt", ["plain", "a b"], clean) == ["plain", "a b"]


def test_an_id_that_no_line_can_mean_is_refused(tmp_path):
    clean = Cleaner(custom_spec("own", ("a", "b"), "img/{id}", "gt/{stem}.png"), tmp_path)
    with pytest.raises(DataError, match=r"labeled.txt: .*'a.png b.png'; give the image img/a.png b.png a plainer name"):
        written_list(tmp_path / "labeled.txt", ["c.png", "a.png b.png"], clean)


def test_writing_leaves_nothing_beside_the_list(tmp_path):
    path = tmp_path / "deep" / "list.txt"
    write_list(path, ["old"])
    write_list(path, ["a", "b"])
    assert path.read_bytes() == b"a\nb\n"
    assert [p.name for p in path.parent.iterdir()] == ["list.txt"]


@pytest.mark.parametrize(
    ("total", "ratio", "count"),
    [
        *((10582, 1 / 16, 662), (10582, 1 / 8, 1323), (10582, 1 / 4, 2646), (10582, 1 / 2, 5291)),
        *((2975, 1 / 16, 186), (2975, 1 / 8, 372), (2975, 1 / 4, 744), (2975, 1 / 2, 1488)),
        *((30, 0.1, 3), (5, 0.001, 1), (7, 1.0, 7)),
    ],
)
def test_ratios_give_the_published_counts(total, ratio, count):
    assert labeled_count(total, ratio) == count


@pytest.mark.parametrize("ratio", [0, -0.5, 1.01])
def test_a_ratio_outside_its_range_is_an_error(ratio):
    with pytest.raises(DataError, match="labeled ratio"):
        labeled_count(10, ratio)


IDS = [f"s{i:03}" for i in range(60)]


def test_a_draw_splits_the_ids_and_depends_on_the_seed_only():
    labeled, unlabeled = draw_labeled(IDS, 12, seed=3)
    assert len(labeled) == 12
    assert sorted(labeled + unlabeled) == IDS
    assert labeled == sorted(labeled)
    assert draw_labeled(IDS, 12, seed=3) == (labeled, unlabeled)
    assert draw_labeled(IDS, 12, seed=4)[0] != labeled
    assert sorted(draw_labeled(IDS[::-1], 12, seed=3)[0]) == labeled


def test_draws_are_uniform():
    drawn = [s for seed in range(400) for s in draw_labeled(IDS, 6, seed)[0]]
    counts = [drawn.count(s) for s in IDS]  # expectation 40, standard deviation 6
    assert min(counts) > 15
    assert max(counts) < 70


def test_every_class_is_in_the_labelled_part_though_rare_ones_are_in_one_image_only():
    classes = {s: {0, 1 + i % 3} for i, s in enumerate(IDS)}
    classes["s007"] |= {7}
    classes["s031"] |= {8}
    for seed in range(30):
        labeled, unlabeled = draw_labeled(IDS, 6, seed, classes)
        assert len(labeled) == 6
        assert set().union(*(classes[s] for s in labeled)) == {0, 1, 2, 3, 7, 8}
        assert not set(labeled) & set(unlabeled)


def test_with_fewer_samples_than_classes_the_richest_are_taken():
    classes = {s: {i % 10} for i, s in enumerate(IDS)}
    classes["s020"] = set(range(6))
    classes["s040"] = {6, 7, 8, 9}
    for seed in range(10):
        assert draw_labeled(IDS, 2, seed, classes)[0] == ["s020", "s040"]


@pytest.mark.parametrize("count", [0, 61])
def test_an_impossible_count_is_an_error(count):
    with pytest.raises(DataError, match=f"cannot label {count} of 60"):
        draw_labeled(IDS, count, seed=0)


def test_a_sample_of_unknown_classes_is_an_error():
    with pytest.raises(DataError, match="classes unknown for 59 samples"):
        draw_labeled(IDS, 3, 0, {"s000": {1}})


def test_overlap_is_counted_and_named():
    check_disjoint(labeled=["a"], unlabeled=["b"], val=["c"])
    with pytest.raises(DataError, match=r"the labeled and the val list share 4 samples: b, c, d, \.\.\. and 1 more;"):
        check_disjoint(labeled=["a", "b", "c", "d", "e"], unlabeled=["f"], val=["x", "b", "c", "d", "e"])
    with pytest.raises(DataError, match="the unlabeled and the val list share 1 sample: c;"):
        check_disjoint(labeled=["a"], unlabeled=["c"], val=["c"])
