"""Small wrong changes (mutants) of a source file, made by cosmic-ray's operators; and samples of them.

Left out is what cannot mean anything: annotations (a changed ``Tensor | None`` breaks the import and says nothing of
the tests), what is for type checkers alone, text that Python cannot parse, and text with the meaning of another
mutant or of the file itself. Of the many ways to replace an operator those are made that are hardest to notice: see
``REPLACEMENTS``.
"""

import ast
import random
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

# Arithmetic by its opposite: other kinds mostly raise at once. Comparisons by three that together imply the others:
# what differs at the boundary alone, what differs on one side of it alone, and the opposite.
REPLACEMENTS = {
    "Add": {"Sub"},
    "Sub": {"Add"},
    "Mul": {"Div"},
    "Div": {"Mul"},
    "FloorDiv": {"Div", "Mul"},
    "Mod": {"FloorDiv"},
    "Pow": {"Mul"},
    "BitOr": {"BitAnd"},
    "BitAnd": {"BitOr"},
    "Eq": {"LtE", "GtE", "NotEq"},
    "NotEq": {"Lt", "Gt", "Eq"},
    "Lt": {"LtE", "NotEq", "GtE"},
    "LtE": {"Lt", "Eq", "Gt"},
    "Gt": {"GtE", "NotEq", "LtE"},
    "GtE": {"Gt", "Eq", "Lt"},
    "Is": {"IsNot"},
    "IsNot": {"Is"},
}
NEED_ARGUMENTS = {"VariableReplacer", "VariableInserter"}  # names of variables, which differ from file to file

Position = tuple[int, int]  # line from 1, column from 0


@dataclass(frozen=True)
class Mutant:
    """One change of one file. ``occurrence``: which of the places that the operator can change."""

    file: str
    operator: str
    occurrence: int
    line: int
    before: str  # the line as it is, without the spaces around it
    after: str  # and as the change leaves it
    text: str = field(repr=False)  # the whole file

    @property
    def key(self) -> tuple:
        """What finds the mutant again; lines before it may come and go."""
        return self.file, self.operator, self.occurrence, self.before, self.after


def mutants_of(file: str, source: str) -> list[Mutant]:
    """All mutants of a file, in the order of its lines; of several with one meaning the first."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    lines, meanings = source.splitlines(), {_meaning(source)}
    skipped = list(_meaningless(ast.parse(source), lines))
    mutants = []
    for operator, occurrence, (line, column) in _places(source):
        if any(start <= (line, column) < end for start, end in skipped):
            continue
        text = mutate_code(source, get_operator(operator)(), occurrence)
        meaning = _meaning(text)
        if meaning is None or meaning in meanings:
            continue
        meanings.add(meaning)
        changed = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
        mutants.append(Mutant(file, operator, occurrence, line, lines[line - 1].strip(), changed.strip(), text))
    return sorted(mutants, key=lambda mutant: (mutant.line, mutant.operator, mutant.occurrence))


def sample(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """``count`` of them, from each file its share (largest remainders), by ``seed``; all where there are no more."""
    if count >= len(mutants):
        return list(mutants)
    files = {file: list(group) for file, group in groupby(sorted(mutants, key=lambda m: m.file), lambda m: m.file)}
    numbers = shares({file: len(group) for file, group in files.items()}, count)
    rng = random.Random(seed)
    picked = {mutant.key for file, group in files.items() for mutant in rng.sample(group, numbers[file])}
    return [mutant for mutant in mutants if mutant.key in picked]


def shares(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """``count`` divided in proportion to ``sizes``, whole numbers by largest remainders."""
    total = sum(sizes.values())
    exact = {name: count * size / total for name, size in sizes.items()}
    whole = {name: int(part) for name, part in exact.items()}
    by_rest = sorted(exact, key=lambda name: whole[name] - exact[name])
    for name in by_rest[: count - sum(whole.values())]:
        whole[name] += 1
    return whole


def _places(source: str) -> Iterator[tuple[str, int, Position]]:
    """(operator, occurrence, where) of every change that cosmic-ray's operators can make."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    nodes = list(ast_nodes(get_ast(source)))
    for name in filter(_wanted, operator_names()):
        operator = get_operator(name)()
        starts = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, start in enumerate(starts):
            yield name, occurrence, start


def _wanted(operator: str) -> bool:
    kind, *names = operator.rpartition("/")[2].split("_")
    if kind in ("ReplaceBinaryOperator", "ReplaceComparisonOperator"):
        return names[1] in REPLACEMENTS.get(names[0], ())
    return kind not in NEED_ARGUMENTS


def _meaning(text: str) -> str | None:
    """What the parser makes of it; None where that is nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
            compile(tree, "mutant", "exec")
        return ast.dump(_WithoutNot().visit(tree))
    except (SyntaxError, ValueError):
        return None


class _WithoutNot(ast.NodeTransformer):
    """``not a < b`` as ``a >= b``, so that both are one."""

    OPPOSITES = ((ast.Lt, ast.GtE), (ast.LtE, ast.Gt), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        test = node.operand
        if isinstance(node.op, ast.Not) and isinstance(test, ast.Compare) and len(test.ops) == 1:
            opposites = dict(self.OPPOSITES) | {second: first for first, second in self.OPPOSITES}
            return ast.Compare(test.left, [opposites[type(test.ops[0])]()], test.comparators)
        return node


def _meaningless(tree: ast.Module, lines: Sequence[str]) -> Iterator[tuple[Position, Position]]:
    """(start, end) of annotations and of what is under ``if TYPE_CHECKING``."""
    for node in ast.walk(tree):
        for part in _types_in(node):
            yield _place(part.lineno, part.col_offset, lines), _place(part.end_lineno, part.end_col_offset, lines)


def _types_in(node: ast.AST) -> Iterable[ast.expr | ast.stmt]:
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return [node]
    parts = (getattr(node, name, None) for name in ("annotation", "returns"))
    return [part for part in parts if part is not None]


def _place(line: int, offset: int, lines: Sequence[str]) -> Position:
    """ast counts bytes, parso characters."""
    return line, len(lines[line - 1].encode()[:offset].decode())
