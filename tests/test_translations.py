"""The Chinese pages say what the English ones say: headings, commands, and in the README tables, numbers and links too.

Wording is free. Code is the same line for line, but for remarks: what follows "#" or two spaces may be translated.
"""

import os
import re
from collections import Counter

import markdown_pages as markdown
import pytest
from tiny import ROOT

README = (ROOT / "README.md", ROOT / "README_zh.md")
# Chinese pages without an English twin stand for themselves: platforms that are used in China.
DOCS = [(ROOT / "docs" / page.name, page) for page in sorted((ROOT / "docs/zh").glob("*.md"))]
DOCS = [pair for pair in DOCS if pair[0].is_file()]
CHINESE = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
NUMBER = re.compile(r"[+±]?\d+(?:[.,]\d+)*")
COMMAND = re.compile(r"\s*(?:\w+=\S+ )*(?:python|bash|semiseg|source|pip|git|docker|cd|sed|ln)\b")


def ids(pair):
    return pair[1].name if isinstance(pair, tuple) else None


def same_line(english, chinese):
    """Whether two lines of code differ in a remark at most."""
    first = CHINESE.search(chinese)
    if english == chinese or first is None:
        return english == chinese
    remark = max(chinese.rfind("#", 0, first.start()), chinese.rfind("  ", 0, first.start()))
    code = chinese[: max(remark, 0)].rstrip()
    return remark >= 0 and english.startswith(code) and re.match(r"\s*#|\s\s+\S", english[len(code) :]) is not None


def same_code(english, chinese):
    lines = english.text.splitlines(), chinese.text.splitlines()
    return english.language == chinese.language and len(lines[0]) == len(lines[1]) and all(map(same_line, *lines))


def english_twin(path):
    """The English page of a Chinese one; every other path as it is."""
    twins = {chinese: english for english, chinese in [README, *DOCS]}
    return twins.get(path, path)


def target(page, link):
    """Where a link leads, the same for both languages: address, or file and the place of the heading in it."""
    if "://" in link:
        return link
    name, _, anchor = link.partition("#")
    path = (page.parent / name).resolve() if name else page
    anchors = [heading.anchor for heading in markdown.read(path).headings] if anchor else [""]
    return os.path.relpath(english_twin(path), ROOT), anchors.index(anchor)


def names_of(page):
    """Commands and keys within lines, each with its line ends as spaces."""
    return {" ".join(span.split()) for span in markdown.read(page).spans}


@pytest.mark.parametrize("pair", [README, *DOCS], ids=ids)
def test_headings_have_the_same_levels(pair):
    levels = [[heading.level for heading in markdown.read(page).headings] for page in pair]
    assert levels[1] == levels[0]


@pytest.mark.parametrize("pair", [README, *DOCS], ids=ids)
def test_each_language_leads_to_the_other(pair):
    english, chinese = pair
    assert os.path.relpath(chinese, english.parent) in markdown.read(english).links
    assert os.path.relpath(english, chinese.parent) in markdown.read(chinese).links


@pytest.mark.parametrize("pair", [README, *DOCS], ids=ids)
def test_chinese_pages_lead_to_chinese_pages(pair):
    """But for the link at the top, and headings that only the English page has below it."""
    english, chinese = pair
    translated = {os.path.relpath(page, chinese.parent) for page, _ in [README, *DOCS] if page != english}
    assert [link for link in markdown.read(chinese).links if link in translated] == []


@pytest.mark.parametrize("pair", DOCS, ids=ids)
def test_code_of_a_page_stands_in_its_english_twin(pair):
    """In the same order. What is left out may be output, never a command."""
    english, chinese = (list(markdown.read(page).code) for page in pair)
    left_out = []
    for block in english:
        if chinese and same_code(block, chinese[0]):
            chinese.pop(0)
        else:
            left_out.append(block)
    assert chinese == [], "not in the English page, or not at this place"
    assert [line for block in left_out for line in block.text.splitlines() if COMMAND.match(line)] == []


@pytest.mark.parametrize("pair", DOCS, ids=ids)
def test_numbers_of_a_page_stand_in_its_english_twin(pair):
    english, chinese = (set(NUMBER.findall(" ".join(markdown.read(page).texts))) for page in pair)
    assert sorted(chinese - english) == []


@pytest.mark.parametrize("pair", DOCS, ids=ids)
def test_commands_within_lines_are_the_same(pair):
    english, chinese = ({name for name in names_of(page) if COMMAND.match(name)} for page in pair)
    assert chinese == english


def test_code_of_the_readme_is_the_same():
    english, chinese = (markdown.read(page).code for page in README)
    assert [block.text for block, other in zip(english, chinese, strict=True) if not same_code(block, other)] == []


def test_tables_of_the_readme_have_the_same_numbers_and_names():
    english, chinese = (markdown.read(page).tables for page in README)
    for rows, others in zip(english, chinese, strict=True):
        for row, other in zip(rows, others, strict=True):
            for cell, its_twin in zip(row, other, strict=True):
                assert NUMBER.findall(its_twin) == NUMBER.findall(cell)
                assert set(re.findall(r"`[^`]+`", its_twin)) == set(re.findall(r"`[^`]+`", cell))


def test_the_readme_names_the_same_keys_numbers_and_targets():
    english, chinese = README
    assert names_of(chinese) == names_of(english)
    numbers = [set(NUMBER.findall(" ".join(markdown.read(page).texts))) for page in README]
    assert numbers[1] == numbers[0]
    targets = [Counter(target(page, link) for link in markdown.read(page).links) for page in README]
    only_chinese = Counter({where: n for where, n in targets[1].items() if where[0].startswith("docs/zh/")})
    assert targets[1] - only_chinese == targets[0]


@pytest.mark.parametrize(
    ("english", "chinese", "same"),
    [
        ("bash eval.sh   # per-class IoU", "bash eval.sh   # 各类 IoU", True),
        ("bash eval.sh   # per-class IoU", "bash train.sh   # 各类 IoU", False),
        ("bash eval.sh --save out", "bash eval.sh   # 各类 IoU", False),
        ("  data/    lists, streams", "  data/    列表、数据流", True),
        ("  data/    lists, streams", "  models/    列表、数据流", False),
        ("suponly   65.28", "suponly   65.29", False),
        ("suponly   65.28", "suponly   65.28", True),
        ("run", "运行", False),
    ],
)
def test_remarks_may_be_translated_and_nothing_else(english, chinese, same):
    assert same_line(english, chinese) is same
