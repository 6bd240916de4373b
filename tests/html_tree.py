"""HTML read strictly: tags must close in order."""

from html.parser import HTMLParser


class Tree(HTMLParser):
    """Checks that tags close in order, and collects them with the text."""

    void = frozenset({"meta", "link", "br", "circle", "polyline", "input"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.said = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)
