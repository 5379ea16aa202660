"""What the folder's README shows is what happens."""

import ast
import re

from almtok.lm.text import normalize as normalizers


def test_snippets_give_what_their_comments_say(root, monkeypatch):
    monkeypatch.setattr(normalizers, "_NORMALIZERS", dict(normalizers._NORMALIZERS))
    readme = (root / "lm" / "text" / "README.md").read_text(encoding="utf-8")
    names, shown = {}, 0
    for snippet in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
        lines = snippet.splitlines()
        for node in ast.parse(snippet).body:
            code = ast.unparse(node)
            own, *following = lines[node.end_lineno - 1 : node.end_lineno + 1]
            below = following[0] if following and following[0].startswith("#") else ""
            said = re.search(r"#\s(.*)", own + below)
            if isinstance(node, ast.Expr) and said:
                assert eval(code, names) == ast.literal_eval(said[1])
                shown += 1
            else:
                exec(code, names)
    assert shown == 4
