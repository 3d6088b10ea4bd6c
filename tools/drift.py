"""What a translation may not change: formulas, numbers, links, code words and the build of a text, piece by piece and in order.

A piece is a paragraph, an item of a list, or a cell of a table. What is lost is found, and what is added; whether the words are
right is for readers.
"""

import re
from collections import Counter
from collections.abc import Iterator

FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.M | re.S)
DISPLAY = re.compile(r"\$\$.+?\$\$", re.S)
INLINE = re.compile(r"\$[^$]+\$")
CODE = re.compile(r"`[^`\n]+`")
TAG = re.compile(r"</?\w[^>]*>|<!--.*?-->", re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NUMBER = re.compile(r"\(\d+\.\d+\)|(?<!\w)[-−+]?\d+(?:[.,]\d+)*(?: ?(?:%|MB|GB|kB))?")
IN_FORMULA = re.compile(r"\\text\{([^}]*)\}")
# The words that stand in formulas, of which two have two forms.
WORDS = {
    "distance": ["khoảng cách"], "diffusion": ["khuếch tán"], "off": ["phần lạc", "lạc ngoài"], "simple": ["đơn giản"],
    "weighted": ["có trọng số"], "bits": ["số bit"], "drawn": ["lấy mẫu bước"], "with the forward process": ["có quá trình thuận"],
    "without it": ["không có"], "doubt": ["độ nghi ngờ"], "variety": ["độ đa dạng"], "factor": ["hệ số"], "known": ["biết được"],
    "all right": ["đúng hết"], "guidance": ["độ dẫn hướng", "dẫn hướng"],
}  # fmt: skip
# Numbers in words, of those that mean a number wherever they stand.
COUNTS = {
    "three": "ba", "four": "bốn|tư", "five": "năm|lăm", "six": "sáu", "seven": "bảy", "eight": "tám", "nine": "chín", "ten": "mười",
    "eleven": "mười một", "twelve": "mười hai", "twenty": "hai mươi", "fifty": "năm mươi", "hundred": "trăm", "thousand": "nghìn",
    "million": "triệu", "third": "ba", "quarter": "tư", "minutes?": "phút", "hours?": "giờ|tiếng",
}  # fmt: skip
# What is not the same where each book speaks of itself and of the other.
OWN = {'href="vi/index.html"': 'href="../index.html"', "tinyddpm.pdf": "tinyddpm-vi.pdf"}
LABELS = re.compile(r"Nhãn trong hình.*")


def split(pattern: str, text: str) -> list[str]:
    """The parts of a text, cut where the pattern is, but not inside a block of code."""
    kept: list[str] = []
    held = FENCE.sub(lambda found: kept.append(found[0]) or f"\0{len(kept) - 1}\0", text)
    parts = [re.sub("\0(\\d+)\0", lambda at: kept[int(at[1])], part).strip() for part in re.split(pattern, held)]
    return [part for part in parts if part]


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text; a block of code stays one, whatever empty lines are in it."""
    return split(r"\n\s*\n", text)


def pieces(paragraph: str) -> list[str]:
    """The cells of a table, row by row, the items of a list, or the paragraph as it is."""
    if paragraph.startswith("|"):
        held = re.sub(r"\$[^$]*\$|`[^`]*`", lambda found: found[0].replace("|", "\0"), paragraph)
        return [cell.strip().replace("\0", "|") for row in held.splitlines() for cell in row.strip().strip("|").split("|")]
    return split(r"(?m)^(?=\s*(?:[-*]|\d+\.) )", paragraph)


def _kind(piece: str) -> str:
    return re.match(r"\s*(#+ |>( \*\*)?|[-*] |\d+\. |\$\$|```|~~~|</?\w+|\*\*|!\[|)", piece)[1].strip()


def features(piece: str) -> dict[str, list[str]]:
    """What stands in a piece beside its words, in the order in which it stands there."""
    found = {"kind": [_kind(piece)]}

    def take(name: str, pattern: re.Pattern[str], text: str) -> str:
        found[name] = [" ".join(match[0].split()) if name != "code blocks" else match[0] for match in pattern.finditer(text)]
        return pattern.sub(" ", text)

    text = take("code blocks", FENCE, piece)
    text = take("displayed formulas", DISPLAY, text)
    text = take("formulas", INLINE, text)
    text = take("code words", CODE, text)
    found["links"] = LINK.findall(text)
    text = LINK.sub("]", text)
    text = re.sub(r' (alt|data-label|lang|hreflang)="[^"]*"', "", text)  # words, and which language they are in
    text = take("HTML", TAG, text)
    found["numbers"] = [" ".join(number.split()) for number in NUMBER.findall(text)]
    found["bold"] = re.findall(r"\*\*", text)
    return found


def in_vietnamese(english: str) -> str:
    """A piece of English with what either book says of itself put as the Vietnamese one does."""
    for ours, theirs in OWN.items():
        english = english.replace(ours, theirs)
    return english


def formula(text: str) -> str:
    """A formula whose words, of either language, are put in English."""

    def english(words: re.Match[str]) -> str:
        said = words[1]
        for ours, theirs in WORDS.items():
            for form in theirs:
                said = re.sub(rf"^{form}(?= \d|$)", ours, said)
        return rf"\text{{{said}}}"

    return IN_FORMULA.sub(english, text)


def plain(text: str) -> str:
    """The words of a piece alone: no code, formulas, tags, addresses or titles of papers."""
    text = CODE.sub("", INLINE.sub(" x ", DISPLAY.sub("", FENCE.sub("", text))))
    text = re.sub(r"!?\[([^\]]*)\]\([^)\s]+\)", r"\1", re.sub(r"\[[^\]]*\]\(https?:[^)\s]+\)", "", text))
    return " ".join(TAG.sub("", text).replace("*", "").split())


def without_english(text: str) -> str:
    """Vietnamese words without what is English among them on purpose: terms in brackets, prompts, and the labels of a figure."""
    return re.sub(r"\([A-Za-z][A-Za-z ,'’–-]*\)|“[^”]*”", "", LABELS.sub("", text))


def faults(english: str, vietnamese: str, reordered: frozenset[int] = frozenset()) -> Iterator[str]:
    """What a translation has lost, added or changed; but for the order in the paragraphs in which Vietnamese has another."""
    pairs = paragraphs(in_vietnamese(english)), paragraphs(vietnamese)
    if len(pairs[0]) != len(pairs[1]):
        yield f"{len(pairs[1])} paragraphs, expected {len(pairs[0])}"
        return
    for i, (source, target) in enumerate(zip(*pairs, strict=True), 1):
        yield from (f"paragraph {i}: {fault}" for fault in _faults(source, target, i in reordered))


def _faults(source: str, target: str, reordered: bool) -> Iterator[str]:
    theirs, ours = pieces(source), pieces(target)
    if len(theirs) != len(ours):
        yield f"{len(ours)} items or cells, expected {len(theirs)}"
        return
    for expected, piece in zip(theirs, ours, strict=True):
        wanted, found = features(formula(expected)), features(formula(piece))
        for name in wanted:
            if reordered:
                wanted[name], found[name] = sorted(wanted[name]), sorted(found[name])
            if wanted[name] != found[name]:
                missing, added = Counter(wanted[name]) - Counter(found[name]), Counter(found[name]) - Counter(wanted[name])
                change = [f"{text!r} is missing" for text in missing] + [f"{text!r} is not in the English" for text in added]
                yield f"{name}: {'; '.join(change) or 'in another order'}"
        counted = plain(expected)
        for number, words in COUNTS.items():
            if re.search(rf"\b{number}\b", counted, re.I) and not re.search(rf"\b({words})\b", piece, re.I):
                yield f"{number!r} is not said"
    words, said = plain(source), plain(target)
    if len(re.findall(r"[^\W\d_]{2,}", words)) >= 4 and words == said and not source.startswith(("|", "```")):
        yield "still English"
    if "lang=" not in target and (english := re.search(r"(?:\b[a-zA-Z']{2,} ){5,}", without_english(said))):
        yield f"English: {english[0]!r}"
    # A word of English is 1.2 of Vietnamese, which writes syllables; in nearly all paragraphs it is between 1 and 1.5.
    count, expected = (len(re.findall(r"\w+", text)) for text in (without_english(said), words))
    if expected >= 20 and not 0.8 <= count / expected <= 1.75:
        yield f"{count} words for {expected}: something is lost or added"
    ends = [len(re.findall(r"[.?!](?=\W|$)", re.sub(r"et al\.|v\.v\.|\.\.\.", "", text))) for text in (words, LABELS.sub("", said))]
    if ends[1] < ends[0] and not reordered:
        yield f"{ends[1]} sentences for {ends[0]}"
    if target.count("*") % 2 and not target.startswith("* ") and not re.search(r"`[^`]*\*", target) and "```" not in target:
        yield "a * without its other"
