"""Every message that the code shows to its users, found in the syntax of its files; `test_troubleshooting` asks."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
ERRORS = {"UserError", "RunFailedError", "ClusterError", "StorageError"}
GAP = "…"
"""Stands for what differs from one error to the next."""


@dataclass(frozen=True)
class Message:
    """What an error says."""

    place: str
    """File and line."""
    text: str
    """In one line, with `GAP` for each value in it."""


@cache
def messages() -> list[Message]:
    """Of all errors for users, those without words of their own left out."""
    files = [path for top in ("cli_ray", "evals") for path in sorted((ROOT / top).rglob("*.py"))]
    trees = {path: ast.parse(path.read_text()) for path in files}
    kinds = _kinds(list(trees.values()))
    found = []
    for path, tree in trees.items():
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in kinds and call.args:
                text = re.sub(f"{GAP}+", GAP, " ".join(_text(call.args[0]).split()))
                if re.search(r"\w{3}", text):
                    found.append(Message(f"{path.relative_to(ROOT)}:{call.lineno}", text))
    return found


def _kinds(trees: list[ast.Module]) -> set[str]:
    """The names of `ERRORS` and of the classes that derive from them."""
    kinds = set(ERRORS)
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while new := {node.name for node in classes if {ast.unparse(base) for base in node.bases} & kinds} - kinds:
        kinds |= new
    return kinds


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return GAP
