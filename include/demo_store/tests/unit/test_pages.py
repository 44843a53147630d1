from store import pages


def test_a_template_is_compiled_once(monkeypatch):
    """Bottle keeps compiled templates by the identity of their lookup: a new list with each page, and none is let go."""
    given = []
    monkeypatch.setattr(pages.bottle, "template", lambda _name, template_lookup, **_: given.append(template_lookup) or "")
    pages.error_page(404, "There is no such page.")
    pages.error_page(404, "There is no such page.")
    assert given[0] is given[1]
