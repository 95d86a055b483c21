"""Small plausible faults of a Python file: another operator, bound, constant, function, or an argument left out."""

import ast
import copy
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitXor: ast.BitOr, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
_FUNCTIONS = {
    "max": "min", "min": "max", "maximum": "minimum", "minimum": "maximum", "argmax": "argmin", "argmin": "argmax",
    "mean": "sum", "sum": "mean", "zeros": "ones", "ones": "zeros", "zeros_like": "ones_like", "floor": "ceil",
    "ceil": "floor", "square": "abs", "sqrt": "square", "any": "all", "all": "any", "log": "log2", "log2": "log",
    "sorted": "list",
}  # fmt: skip
# A fault here moves no number: screens, types, texts.
_SILENT = {"print", "tqdm", "TypeVar", "ValueError", "warn", "run_command", "conf"}


@dataclass(frozen=True)
class Fault:
    """One changed place of a file."""

    line: int
    name: str  # FUNCTION: BEFORE -> AFTER, wherever in its function it stands
    source: str  # the whole file with the fault


def faults(source: str, count: int, seed: str) -> list[Fault]:
    """Some faults of a file, in the order of its lines; texts, annotations and messages are left alone.

    Args:
        source: of the file.
        count: how many, or all there are.
        seed: decides which.
    """
    tree = ast.parse(source)
    places = list(expressions(tree, ""))
    changes = [(index, change) for index, (_, node) in enumerate(places) for change in _changes(node)]
    random.Random(seed).shuffle(changes)
    chosen: dict[str, Fault] = {}
    for index, change in changes:
        if len(chosen) == count:
            break
        place, node = places[index]
        changed = copy.deepcopy(tree)
        other = list(expressions(changed, ""))[index][1]
        change(other)
        name = f"{place}: {ast.unparse(node)} -> {ast.unparse(other)}"
        chosen.setdefault(name, Fault(node.lineno, name, ast.unparse(changed)))
    return sorted(chosen.values(), key=lambda fault: (fault.line, fault.name))


def expressions(node: ast.AST, place: str) -> Iterator[tuple[str, ast.expr]]:
    """Each expression that computes, with the function or class around it."""
    children: list[ast.AST | None] = list(ast.iter_child_nodes(node))
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        place = f"{place}.{node.name}".lstrip(".")
        children = [*node.body]
        if isinstance(node, ast.FunctionDef):
            children += [*node.args.defaults, *node.args.kw_defaults]
    elif isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr)) or (
        isinstance(node, ast.Call) and _function(node) in _SILENT
    ):
        return
    elif isinstance(node, ast.AnnAssign):
        children = [node.value]
    elif isinstance(node, ast.expr):
        yield place, node
    elif isinstance(node, ast.Expr):
        vars(node.value)["alone"] = True  # a call for what it does
    for child in children:
        if child is not None:
            yield from expressions(child, place)


def _function(call: ast.Call) -> str | None:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)


def _changes(node: ast.expr) -> Iterator[Callable[[ast.expr], None]]:
    """What can be changed in a node of this kind, in place."""
    match node:
        case ast.Compare(ops=[operator]):
            yield lambda n: n.ops.__setitem__(0, _OPERATORS[type(operator)]())
        case ast.BinOp(op=operator) | ast.BoolOp(op=operator) if type(operator) in _OPERATORS and not _is_text(node):
            yield lambda n: setattr(n, "op", _OPERATORS[type(operator)]())
        case ast.UnaryOp(op=ast.USub()):
            yield lambda n: setattr(n, "op", ast.UAdd())
        case ast.UnaryOp(op=ast.Not()):
            yield lambda n: setattr(n, "operand", ast.UnaryOp(ast.Not(), n.operand))
        case ast.Constant(value=bool() | int() | float() as value):
            yield lambda n: setattr(n, "value", _other(value))
        case ast.IfExp():
            yield lambda n: setattr(n, "orelse", n.body)
        case ast.Call():
            if _function(node) in _FUNCTIONS:
                field = "attr" if isinstance(node.func, ast.Attribute) else "id"
                yield lambda n: setattr(n.func, field, _FUNCTIONS[_function(n)])
            if hasattr(node, "alone"):
                yield _leave_out
            for index, keyword in enumerate(node.keywords):
                if keyword.arg not in (None, "name", "encoding"):
                    yield lambda n, index=index: n.keywords.pop(index)


def _leave_out(call: ast.expr) -> None:
    """Makes a call do nothing with its arguments."""
    vars(call)["func"] = ast.parse("lambda *_, **__: None", mode="eval").body


def _other(value: bool | int | float) -> bool | int | float:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else (2 * value or 1.0)


def _is_text(node: ast.expr) -> bool:
    """Whether an operator joins texts or paths: with another one the program would only stop."""
    return isinstance(node, ast.BinOp) and (
        any(isinstance(n, ast.JoinedStr) or isinstance(getattr(n, "value", None), str) for n in ast.walk(node))
        or (isinstance(node.op, ast.Div) and bool(re.search("path|folder|dir|root", ast.unparse(node), re.IGNORECASE)))
    )
