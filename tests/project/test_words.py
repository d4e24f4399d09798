"""The package is written in standard terms, without banned words."""

import io
import re
import tokenize

import pytest

from support.commands import ROOT

# Banned word: the standard term.
BANNED = {
    "joint": "keypoint",
    "picture": "image",
    "snapshot": "checkpoint",
    "told": "reported",
    "whom": "which people",
    "nobody": "no person",
    "somebody": "a person",
    "everybody": "all people",
    "surer": "more confident",
    "surest": "most confident",
    "taught": "trained",
    "learnt": "learned",
    "glimpse": "validation image",
    "stranger": "false positive",
    "colour": "color",
    "centre": "center",
    "grey": "gray",
    "labelled": "labeled",
    "behaviour": "behavior",
    "normalis": "normaliz",
    "optimis": "optimiz",
}
# Files with a banned word in a name from outside the package: files and flags of 1.x, exported
# signatures, the archive of Leeds Sports Pose.
ALLOWED = {
    "joint": {
        "cli.py",
        "skeleton.py",
        "analysis/evaluation.py",
        "checkpoints/run_config.py",
        "checkpoints/transfer.py",
        "config.py",
        "commands/import_lsp.py",
        "export/graph.py",
        "export/saved_model.py",
        "inference/backends.py",
    },
    "picture": {"export/saved_model.py"},
    "snapshot": {
        "checkpoints/manager.py",
        "commands/convert_checkpoint.py",
        "config.py",
        "checkpoints/transfer.py",
    },
    "colour": {"config.py"},
}
FILES = sorted(path.relative_to(ROOT / "tfcpn") for path in (ROOT / "tfcpn").rglob("*.py"))
WORDS = re.compile("|".join(BANNED), re.IGNORECASE)


def banned_words(source: str) -> set[tuple[int, str]]:
    """Return line and banned word of every name, string and comment with one."""
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.NAME, tokenize.STRING, tokenize.COMMENT):
            for word in WORDS.findall(token.string):
                found.add((token.start[0], word.lower()))
    return found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_names_strings_and_comments_use_standard_terms(path):
    found = banned_words((ROOT / "tfcpn" / path).read_text())
    wrong = [(line, w) for line, w in sorted(found) if str(path) not in ALLOWED.get(w, ())]
    assert not wrong, {word: BANNED[word] for _, word in wrong}


def test_banned_words_are_found_in_names_strings_and_comments():
    source = 'def joints_of(x):\n    """Whom it found."""\n    return x  # a picture\n'
    assert {word for _, word in banned_words(source)} == {"joint", "whom", "picture"}
