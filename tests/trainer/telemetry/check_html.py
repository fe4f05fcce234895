"""Prints what is wrong with a page that should stand alone; nothing if all is well."""
import sys
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input", "hr"}
LOADS = {"src", "href", "srcset", "data", "poster", "action"}


class Checker(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.ids, self.wanted, self.faults = [], set(), set(), []

    def handle_starttag(self, tag, attributes):
        if tag == "script":
            self.faults.append("a script")
        for name, value in attributes:
            if name in LOADS or name.startswith("on"):
                self.faults.append(f"{tag} has {name}={value}")
            if name == "id":
                if value in self.ids:
                    self.faults.append(f"id {value} twice")
                self.ids.add(value)
            if name == "aria-labelledby":
                self.wanted.update(value.split())
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at line {self.getpos()[0]} closes nothing")


page = open(sys.argv[1], encoding="utf-8").read()
checker = Checker()
checker.feed(page)
checker.close()
if checker.open:
    checker.faults.append(f"left open: {checker.open}")
if checker.wanted - checker.ids:
    checker.faults.append(f"labels without text: {checker.wanted - checker.ids}")
if "url(http" in page or "@import" in page:
    checker.faults.append("the style loads something")
for word in ("nan", "inf", "-nan"):
    for place in (f'"{word}"', f" {word} ", f"L{word}", f"M{word}"):
        if place in page:
            checker.faults.append(f"{place} in the page")
print("\n".join(checker.faults), end="")
