"""Filters of a capture: from words to an expression, and from that to a program that the kernel runs on each frame.

    inner (host pod1 and tcp port 80) or outer arp

`parse` reads the words, `compile_filter` makes the program; both are pure. What a filter means is said in
docs/capture.md.
"""

from nankeen.inspect.filter.code import compile_filter
from nankeen.inspect.filter.expression import Expression
from nankeen.inspect.filter.words import KEYWORDS, parse

__all__ = ["KEYWORDS", "Expression", "compile_filter", "parse"]
