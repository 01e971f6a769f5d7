"""What a file's names stand for, as far as its imports say: `types.interrupt` is `langgraph.types.interrupt`."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..engine.check import Place
from .nodes import PACKAGE, tree

OURS = "."  # what begins the dotted name of something in this package


@cache
def imports(file: Path) -> dict[str, str]:
    """Return the names that a file imports anywhere, each with the dotted name of what it is.

    A relative import is made absolute: what comes from `runs/threads.py` is called `.runs.threads.<name>`.
    """
    found: dict[str, str] = {}
    for part in ast.walk(tree(file)):
        if isinstance(part, ast.Import):
            for name in part.names:
                found[name.asname or name.name.partition(".")[0]] = (
                    name.name if name.asname else name.name.partition(".")[0]
                )
        elif isinstance(part, ast.ImportFrom):
            module = part.module or ""
            if part.level:
                room = file.relative_to(PACKAGE).parts[: -part.level]
                module = OURS + ".".join([*room, *filter(None, [module])])
            elif module.split(".")[0] == PACKAGE.name:
                module = OURS + module.partition(".")[2]
            for name in part.names:
                found[name.asname or name.name] = f"{module.rstrip('.') if module != OURS else ''}.{name.name}"
    return found


def dotted(expression: ast.expr, file: Path) -> str:
    """Return the dotted name of what `name` or `name.name` is; empty for anything else.

    A name that the file does not import is itself.
    """
    if isinstance(expression, ast.Name):
        return imports(file).get(expression.id, expression.id)
    if isinstance(expression, ast.Attribute):
        owner = dotted(expression.value, file)
        return f"{owner}.{expression.attr}" if owner else ""
    return ""


def calls(file: Path) -> Iterator[tuple[ast.Call, str, Place]]:
    """Yield each call in a file, with the dotted name of what is called."""
    for part in ast.walk(tree(file)):
        if isinstance(part, ast.Call):
            yield part, dotted(part.func, file), Place(file, part.lineno)


def argument(call: ast.Call, name: str, position: int | None = None) -> ast.expr | None:
    """Return an argument of a call by its name or position; None if it is not given."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    if position is not None and position < len(call.args):
        return call.args[position]
    return None


def is_open(call: ast.Call) -> bool:
    """Return whether a call passes arguments that its text does not tell, as by `**options`."""
    return any(keyword.arg is None for keyword in call.keywords) or any(isinstance(a, ast.Starred) for a in call.args)


def assigned(name: str, file: Path) -> tuple[list[ast.expr], list[str]]:
    """Return what a name is assigned anywhere in a file, and how it is annotated there, as a parameter or otherwise."""
    values: list[ast.expr] = []
    annotations: list[str] = []
    for part in ast.walk(tree(file)):
        match part:
            case ast.Assign(targets=targets, value=value) if any(_is(name, target) for target in targets):
                values.append(value)
            case ast.AnnAssign(target=target, annotation=annotation, value=given) if _is(name, target):
                annotations.append(ast.unparse(annotation))
                values += [given] if given else []
            case ast.NamedExpr(target=target, value=value) if _is(name, target):
                values.append(value)
            case ast.withitem(context_expr=value, optional_vars=ast.Name(id=bound)) if bound == name:
                values.append(value)
            case ast.arg(arg=bound, annotation=ast.expr() as annotation) if bound == name:
                annotations.append(ast.unparse(annotation))
    return values, annotations


def _is(name: str, target: ast.expr) -> bool:
    """Return whether a target is a name, or an attribute called so."""
    return (isinstance(target, ast.Name) and target.id == name) or (
        isinstance(target, ast.Attribute) and target.attr == name
    )
