"""The package: public names, and when they are loaded."""

import ast
import copy
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import audioup


def test_every_public_name_is_there_and_documented():
    for name in audioup.__all__:
        assert getattr(audioup, name).__doc__, name
    assert set(audioup.__all__) <= set(dir(audioup))


def test_names_for_type_checkers_are_those_that_are_loaded():
    (block,) = [node for node in ast.parse(Path(audioup.__file__).read_text()).body if isinstance(node, ast.If)]
    typed = {alias.name: node.module for node in block.body for alias in node.names}
    assert set(typed) == set(audioup.__all__)
    for name, module in typed.items():
        home = importlib.import_module(module)
        assert getattr(home, name, None) is getattr(audioup, name)
    assert all(alias.asname == alias.name for node in block.body for alias in node.names)


@pytest.mark.parametrize("first", ["audioup.convert", "audioup.fold", "audioup.streaming", "audioup"])
def test_functions_are_not_hidden_by_modules_of_their_name(first):
    code = (
        f"import {first}, audioup; from audioup import convert, fold; print(callable(convert), callable(audioup.fold))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'audioup' has no attribute 'upsample'"):
        _ = audioup.upsample
    with pytest.raises(ImportError):
        from audioup import upsample  # noqa: F401


def test_import_alone_loads_neither_torch_nor_numpy():
    code = "import sys, audioup; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_package_is_copied_and_pickled_as_modules_are():
    assert copy.deepcopy(audioup) is audioup
    assert pickle.loads(pickle.dumps(audioup)) is audioup
