"""Names that say whose they are."""

import ast
from collections import Counter
from pathlib import Path

import jaxunmix.bayes

FILES = Path(jaxunmix.bayes.__file__).parent.rglob("*.py")


def test_no_two_classes_share_a_name():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in FILES]
    names = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, number in names.items() if number > 1] == []
