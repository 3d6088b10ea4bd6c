"""What the tools write into the pages of the book, in its two languages."""

WORDS = {
    "en": {
        # how a box and a caption begin, in the chapters
        "wrong": "Where this goes wrong",
        "figure": "Figure ",
        # folds and their marks
        "code": "code",
        "set-up": "set-up",
        "the check of": ", the check of {tags}",
        "proved": "✓ proved",
        "substituted": "✓ substituted",
        "agreed": "✓ computed twice",
        "defined": "✓ as in the code",
        "measured": "✓ measured",
        "refuted": "✗ rejected",
        # the ledger
        "was proved": "proved by SymPy",
        "was substituted": "substituted: a name is written out",
        "was agreed": "two computations agree",
        "was defined": "the code agrees with the formula",
        "was measured": "measured in several runs",
        "broken": "; {n} broken versions rejected",
        # the PDF
        "contents": "Contents",
        "version": "Version {version}, {year}",
        "appendix": "Code and checks",
        "folded": "What the pages of the book fold, in the order in which it stands there.",
    },
    "vi": {
        "wrong": "Chỗ dễ sai",
        "figure": "Hình ",
        "code": "mã nguồn",
        "set-up": "chuẩn bị",
        "the check of": ", phép kiểm tra của {tags}",
        "proved": "✓ đã chứng minh",
        "substituted": "✓ thế vào",
        "agreed": "✓ tính hai cách",
        "defined": "✓ đúng như mã nguồn",
        "measured": "✓ đo được",
        "refuted": "✗ bị bác bỏ",
        "was proved": "SymPy đã chứng minh",
        "was substituted": "thế vào: một tên được viết ra",
        "was agreed": "hai cách tính cho cùng kết quả",
        "was defined": "mã nguồn khớp với công thức",
        "was measured": "đo được qua nhiều lần chạy",
        "broken": "; bác bỏ {n} phiên bản bị làm sai",
        "contents": "Mục lục",
        "version": "Phiên bản {version}, {year}",
        "appendix": "Mã nguồn và phép kiểm tra",
        "folded": "Những gì các trang của sách gấp lại, theo thứ tự xuất hiện ở đó.",
    },
}

# What the theme writes in English, or in words that no reader would use, whatever the language.
THEME = {
    "vi": {
        ">Repository<": ">Kho mã nguồn<",
        ">Open issue<": ">Báo lỗi<",
        "Launch interactive content": "Chạy trang này",
        "Launch on Colab": "Chạy trong Colab",
        "Source repositories": "Kho mã nguồn",
        '"Kho nguồn"': '"Kho mã nguồn"',
        '"Mở một vấn đề"': '"Báo lỗi"',
        "Tải xuống trang này": "Tải trang này về",
        "Tải xuống tệp nguồn": "Tải tệp nguồn về",
        "In sang PDF": "In ra PDF",
        "Chế độ toàn màn hình": "Toàn màn hình",
        "Toggle primary sidebar": "Mở hoặc đóng mục lục sách",
        "Toggle secondary sidebar": "Mở hoặc đóng mục lục trang",
        'aria-label="Main"': 'aria-label="Sách"',
        'aria-label="Page"': 'aria-label="Trang"',
        "Bởi Các tác giả": "Các tác giả",
        # both books have one copy of MathJax: see tools/make_book.py
        "_static/mathjax/": "../_static/mathjax/",
        # what stays English, for who has the page read aloud
        "<pre>": '<pre lang="en">',
        '<div class="output text_html"><div class="live" ': '<div class="output text_html"><div class="live" lang="en" ',
        "<p>On the page of the book, this figure can be moved.": '<p lang="vi">Trên trang web của sách, hình này tương tác được.',
        '<dl class="py ': '<dl lang="en" class="py ',
    }
}
