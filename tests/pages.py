"""A written page as a browser reads it: elements, texts, figures."""

import json
from html.parser import HTMLParser

_EMPTY = {"meta", "img", "link", "br", "input"}
_LOADING = {"src", "srcset", "href", "data", "poster", "action", "background"}


class Page(HTMLParser):
    """Everything that a page says.

    elements: (tag, attributes); texts: (path of tags, text); figures: (caption, figure as plotly reads it);
    rows: cells of every row of every table.
    """

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.figures, self.rows = [], [], [], []
        self._open = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        path = "/".join(self._open)
        if self._is_figure():
            caption = next(text for path, text in reversed(self.texts) if path.endswith("figure/figcaption"))
            self.figures.append((caption, json.loads(data)))
        elif data.strip():
            self.texts.append((path, data.strip()))
            if path.endswith(("tr/td", "tr/th")):
                self.rows[-1].append(data.strip())

    def _is_figure(self):
        return self._open[-2:] == ["figure", "script"]

    def text_of(self, tag):
        """The texts of all elements of a kind."""
        return [text for path, text in self.texts if path.rpartition("/")[2] == tag]

    def all_of(self, tag):
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def sections(self):
        """Anchors of the headings."""
        return [attributes["id"] for attributes in self.all_of("h2")]

    def addresses(self):
        """All that a browser would load or go to, apart from places in the page and what the page holds itself."""
        found = [value for _, attributes in self.elements for name, value in attributes.items() if name in _LOADING]
        return [address for address in found if not address.startswith(("data:", "#"))]
