"""Replies without what only formats them."""

import re

# lengths are bounded so that a reply that repeats an opening mark for ever costs no more for it
_BOLD = re.compile(r"(?<!\w)(\*\*|__)(?=\S)([^\n]{0,200}?\S)\1")
_ITALIC = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]{0,200}?[^\s*])\*(?![\w*])")
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|mbox|mathrm|mathbf|mathit|mathsf|boldsymbol|bf)"
    r"\s{0,3}\{([^{}]{0,400})\}"
)
_DEGREES = re.compile(r"\^\s{0,3}(?:\{\s{0,3}\\circ\s{0,3}\}|\\circ)")
_SPACES = re.compile(r"\\[,;:! ]|~|\\q?quad\b")
_MATHEMATICS = re.compile(r"\\[()\[\]]|\$+")


def unmarked(text: str) -> str:
    """Without Markdown's emphasis and code marks; LaTeX stays."""
    text = _BOLD.sub(r"\2", text.replace("`", ""))
    return _ITALIC.sub(r"\1", text)


def plain(text: str) -> str:
    """Also without LaTeX's text commands, delimiters and spaces: "$\\textbf{(B)}\\,$" is "(B)"."""
    text = unmarked(text)
    for _ in range(2):  # \textbf{\text{B}} occurs
        text = _TEXT.sub(r"\1", text)
    text = text.replace("{,}", ",").replace("\\%", "%").replace("\\$", "")
    text = _DEGREES.sub("°", text)
    return _MATHEMATICS.sub("", _SPACES.sub(" ", text))
