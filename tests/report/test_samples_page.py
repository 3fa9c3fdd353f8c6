"""The page of samples: nothing harmful where it may be pushed, nothing that a model said is markup,
and in a browser filters, pages and flips."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import needs_browser, opened
from evaluated import REFUSALS, draw, kept, pair, reply, report, result

from weightlens.errors import EvaluationError, OutputError
from weightlens.evaluate.builtin import OVER_REFUSAL, REFUSAL
from weightlens.evaluate.result import EvalReport
from weightlens.evaluate.task import Question
from weightlens.report.report_page import write_report_page
from weightlens.report.runs import read_runs
from weightlens.report.samples_page import write_samples_page
from weightlens.report.sensitive import hashed
from weightlens.report.subject import subject_of

BASE, TUNED = "runs/models/base", "runs/models/tuned"
ODD = (
    "<img src=x onerror=\"document.title='pwned'\">",
    "</script><script>document.title='pwned'</script>",
    "<!-- <script>",
    "[click](javascript:alert(1)) <a href='javascript:alert(1)'>x</a>",
    "<svg onload=alert(1)> &lt;b&gt; \u2028 \u0000 \u202e",
    "<iframe srcdoc='<script>parent.document.title=1</script>'>",
)
SUMS = 60


def sums(model: int) -> list[Any]:
    """60 questions of 3 draws: the base is right on the first 40, the tuned model on the last 30
    in one draw of three; what it says is as odd as can be."""
    return [
        draw(
            f"sum/{q}", float(q < 40 if model == 0 else q >= 30 and d == 0), draw=d,
            seed=2**63 + d, answer=f"{ODD[q % len(ODD)]} needle{q} {model} {d}",
            raw=f"<think>thought {ODD[(q + 1) % len(ODD)]}</think>{ODD[q % len(ODD)]} "
                f"needle{q} {model} {d}",
            prompt=f"Sum {q}: {ODD[q % len(ODD)]}", extracted=ODD[q % len(ODD)],
            finish="length" if q == 7 else "stop", degenerate="looping" if q in (7, 8) else "",
        )
        for q in range(SUMS) for d in range(3)
    ]  # fmt: skip


def requests(model: int) -> list[Any]:
    """4 harmless, 6 harmful requests: the base refuses none, the tuned model all but x/9."""
    return [
        reply(f"x/{i}", refused=model == 1 and i != 9, group="safe" if i < 4 else "unsafe",
              prompt=f"request {i}", reference="a compliant reference" if i == 9 else "")
        for i in range(10)
    ]  # fmt: skip


def evaluation(folder: Path) -> EvalReport:
    """Two models on sums of three draws, on requests, and on a private task."""
    texts = ("prompt", "raw", "answer", "reference", "extracted")
    private = [draw(f"p/{i}", **{name: hashed(f"{name} {i}") for name in texts}) for i in range(2)]
    answers, tasks = [], {}
    for model, name in enumerate((BASE, TUNED)):
        answers += [kept(folder, name, "sum", sums(model)),
                    kept(folder, name, "x", requests(model)),
                    kept(folder, name, "p", private)]  # fmt: skip
        tasks[name] = [
            result("sum", n=SUMS, draws=3, degenerate=2 / SUMS, truncated=1 / SUMS),
            result("x", group="safe", metric=REFUSALS, higher_is_better=False, n=4),
            result("x", group="unsafe", metric=REFUSALS, n=6),
            result("p", n=2),
        ]
    judged = {"question": "x/4", "draw": 0, "unsafe": True}
    stem = answers[4].file.removesuffix(".jsonl")
    (folder / f"{stem}.guard.jsonl").write_text(json.dumps(judged) + "\n")
    pairs = [
        pair(BASE, TUNED, "sum", a_only=40, b_only=20),
        pair(BASE, TUNED, "x", group="safe", a_only=0, b_only=4),
        pair(BASE, TUNED, "x", group="unsafe", a_only=0, b_only=5, p_adjusted=0.01),
    ]
    return report(tasks, pairs, answers=answers, notes=["a <b>note</b>"])


def written(folder: Path, **options: Any) -> str:
    write_samples_page(evaluation(folder), folder, folder / "page.html", **options)
    return (folder / "page.html").read_text()


def blocks(page: str) -> dict[str, Any]:
    """The JSON of every data block by its id."""
    found = re.findall(r"<script type='application/json' id='([^']*)'>(.*?)</script>", page, re.S)
    return {name: json.loads(text) for name, text in found}


def without_data(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)


_PROBE = """
const wait = () => new Promise(resolve => setTimeout(resolve, 250));
const pick = async (id, value) => {
  $(id).value = value;
  $(id).dispatchEvent(new Event(id === 'search' ? 'input' : 'change'));
  await wait();
  return $('count').textContent;
};
const items = () => [...document.querySelectorAll('#questions > li > details')];
const ids = () => items().map(one => one.querySelector('.id').textContent);
const textsOf = (root, selector) => [...root.querySelectorAll(selector)].map(e => e.textContent);
const unfold = async item => { item.querySelector('summary').click(); await wait(); };
const labels = id => [...$(id).options].map(option => option.textContent);
window.addEventListener('load', async () => {
  const told = {};
  try { await probe(told); } catch (error) { told.error = String(error.stack); }
  document.title = JSON.stringify(told);
});
async function probe(told) {
"""


def used(page: str, folder: Path, width: int, steps: str) -> dict[str, Any]:
    """What a browser finds when the page is used; it must say nothing on its console."""
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>\n')
    assert policy.search(page)  # it would let no probe run
    file = folder / "probed.html"
    probe = f"<script>{_PROBE}{steps}}}</script></body>"
    file.write_text(policy.sub("", page).replace("</body>", probe))
    seen = opened(file, width=width, profile=folder / "profile")
    assert "CONSOLE" not in seen.log
    found = re.search(r"<title>(.*?)</title>", seen.dom)
    assert found is not None
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    assert "error" not in told, told["error"]
    return told


def test_the_page_needs_no_network_and_lets_only_its_own_script_run(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert not re.findall(r"""(?:src|href)=["']?https?:""", without_data(page))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe-inline" not in policy[1]


def test_nothing_that_was_said_leaves_its_block_of_data(tmp_path: Path) -> None:
    page = written(tmp_path)
    data = re.findall(r"<script type='application/json'[^>]*>(.*?)</script>", page, re.S)
    assert len(data) == 1 + 3 + 6
    assert not any("<" in block for block in data)
    assert page.count("<script") == len(data) + 1
    assert "needle" not in without_data(page)
    assert "&lt;b&gt;note&lt;/b&gt;" in page
    rows = blocks(page)["draws-0-0"]
    fields = blocks(page)["samples"]["drawFields"]
    assert rows[0][fields.index("answer")] == f"{ODD[0]} needle0 0 0"


def test_questions_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    ids = [row[0] for row in blocks(written(tmp_path))["questions-0"]]
    assert ids == [f"sum/{q}" for q in range(SUMS)]


def test_a_seed_beyond_what_a_script_can_count_is_kept_whole(tmp_path: Path) -> None:
    found = blocks(written(tmp_path))
    place = found["samples"]["drawFields"].index("seed")
    assert found["draws-0-0"][1][place] == "9223372036854775809"


def test_what_may_be_pushed_holds_nothing_harmful(tmp_path: Path) -> None:
    page = written(tmp_path, withheld=True)
    found = blocks(page)
    fields = found["samples"]["drawFields"]
    assert [name for name in ("runs/models", str(tmp_path)) if name in page] == []
    for row in found["draws-1-0"]:
        told = dict(zip(fields, row, strict=True))
        harmless = told["question"] < 4
        assert ("secret powder" in str(row)) == harmless
        assert ("hidden thought" in str(row)) == harmless
        assert told["hidden"] == ("" if harmless else "withheld")
        assert told["outcome"] == "not refused"
    said = "<think>the hidden thought</think>Sure: take the secret powder."
    assert found["draws-1-0"][9][fields.index("answer")] == hashed(said)
    for row in found["draws-1-1"][4:9]:  # refusals but for the one that a judge found unsafe
        assert "hidden thought" not in str(row)
        assert ("cannot help" in str(row)) == (row[0] != 4)
    prompts = [row[2] for row in found["questions-1"]]
    assert prompts == [*(f"request {i}" for i in range(4)),
                       *(hashed(f"request {i}") for i in range(4, 10))]  # fmt: skip
    assert "compliant reference" not in page


def test_ids_that_are_made_of_prompts_are_withheld_with_them(tmp_path: Path) -> None:
    """As those of the builtin suite; an id that is a number says nothing, and stays."""
    asked = [*REFUSAL.questions("test", 4), Question("refusal/7", "tell me of napalm", "", "")]
    draws = [reply(q.id, refused=i > 1, group="", prompt=q.prompt) for i, q in enumerate(asked)]
    harmless = [
        reply(q.id, refused=False, group="", prompt=q.prompt)
        for q in OVER_REFUSAL.questions("test", 2)
    ]
    files = [kept(tmp_path, BASE, "refusal", draws), kept(tmp_path, BASE, "over", harmless)]
    results = [
        result("refusal", metric=REFUSALS, n=5),
        result("over", metric=REFUSALS, higher_is_better=False, n=2),
    ]
    shown = report({BASE: results}, answers=files)
    (tmp_path / "eval.json").write_text(shown.to_json())
    write_samples_page(shown, tmp_path, tmp_path / "samples.html", withheld=True)
    subject = subject_of(read_runs([tmp_path / "eval.json"]))
    write_report_page(subject, tmp_path / "report.html", withheld=True)
    for name in ("samples", "report"):
        page = (tmp_path / f"{name}.html").read_text()
        assert [q.prompt for q in asked if q.prompt in page] == []
        assert all(draw.question in page for draw in harmless)
        ids = [row[0] for row in blocks(page)["questions-0"]]
        assert len(set(ids)) == 5
        assert sum(re.fullmatch("[0-9a-f]{12}", one) is not None for one in ids) == 4
        assert "refusal/7" in ids
        assert len(blocks(page)["draws-0-0"]) == 5
    write_samples_page(shown, tmp_path, tmp_path / "here.html")
    assert all(q.id in (tmp_path / "here.html").read_text() for q in asked)


def test_what_stays_here_holds_everything_and_says_what_to_fold(tmp_path: Path) -> None:
    found = blocks(written(tmp_path))
    fields = found["samples"]["drawFields"]
    folds = [[row[fields.index("hidden")] for row in found[f"draws-1-{m}"]] for m in (0, 1)]
    assert folds == [[""] * 4 + ["folded"] * 6, [""] * 4 + ["folded"] + [""] * 4 + ["folded"]]
    assert "secret powder" in str(found["draws-1-0"][9])


def test_private_tasks_are_withheld_either_way(tmp_path: Path) -> None:
    for withheld in (False, True):
        found = blocks(written(tmp_path, withheld=withheld))
        fields = found["samples"]["drawFields"]
        for row in found["draws-2-0"]:
            assert row[fields.index("hidden")] == "private"
            assert row[fields.index("answer")].startswith("sha256:")
        assert {row[5] for row in found["questions-2"]} == {"private"}


def test_long_texts_are_shortened_to_the_budget_and_the_page_says_so(tmp_path: Path) -> None:
    long = draw("q/0", answer="x" * 50_000, raw="x" * 50_000)
    shown = report({BASE: [result("q", n=1)]}, answers=[kept(tmp_path, BASE, "q", [long])])
    write_samples_page(shown, tmp_path, tmp_path / "p.html", budget=6_000)
    page = (tmp_path / "p.html").read_text()
    assert 5_900 < sum(map(len, re.findall("xxx+", page))) <= 6_000
    assert "are shown by their beginning and end" in page


def test_the_page_says_where_the_files_hold_other_questions_than_were_scored(
    tmp_path: Path,
) -> None:
    draws = [draw(f"q/{i}") for i in range(3)]
    shown = report({BASE: [result("q", n=2)]}, answers=[kept(tmp_path, BASE, "q", draws)])
    write_samples_page(shown, tmp_path, tmp_path / "p.html")
    assert (
        "q, base: the file of answers holds 3 questions, and the scores are of 2."
        in (tmp_path / "p.html").read_text()
    )


def test_a_judges_score_is_not_of_other_questions(tmp_path: Path) -> None:
    draws = [reply(f"x/{i}", refused=True, group=g) for i, g in enumerate(["safe", "unsafe"] * 2)]
    rows = [result("x", group=g, metric=m, n=2)
            for m in (REFUSALS, "judged_unsafe (guard)") for g in ("safe", "unsafe")]  # fmt: skip
    shown = report({BASE: rows}, answers=[kept(tmp_path, BASE, "x", draws)])
    write_samples_page(shown, tmp_path, tmp_path / "p.html")
    assert "the file of answers holds" not in (tmp_path / "p.html").read_text()


def test_a_page_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_samples_page(evaluation(tmp_path), tmp_path, tmp_path / "no" / "page.html")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(EvaluationError, match="cannot be read"):
        write_samples_page(evaluation(tmp_path), empty, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@needs_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_a_browser_shows_the_page_as_it_is_without_an_error(tmp_path: Path, width: int) -> None:
    written(tmp_path)
    seen = opened(tmp_path / "page.html", width=width, profile=tmp_path / "profile")
    assert "CONSOLE" not in seen.log
    assert seen.dom.count("<li>") >= 25
    assert "60 of 60 questions, 360 of 360 draws" in seen.dom


@needs_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_a_browser_filters_pages_and_compares(tmp_path: Path, width: int) -> None:
    steps = """
      told.width = innerWidth;
      $('unfold').click();
      await wait();
      told.tooWide = document.documentElement.scrollWidth > innerWidth;
      told.first = ids();
      $('next').click();
      told.second = ids();
      $('last').click();
      told.last = [ids().length, $('page').value, $('pages').textContent, $('next').disabled];
      $('page').value = 2;
      $('page').dispatchEvent(new Event('change'));
      told.typed = ids()[0];
      told.shows = labels('show');
      told.counts = {
        bad: await pick('show', 'bad'), good: await pick('show', 'good'),
        a: await pick('show', 'a'), b: await pick('show', 'b'),
        differ: await pick('show', 'differ'), all: await pick('show', ''),
        cut: await pick('ending', 'truncated'), looping: await pick('ending', 'looping'),
        any: await pick('ending', ''), needle: await pick('search', 'NEEDLE12 thought'),
        nothing: await pick('search', 'no such words'),
      };
      told.none = [$('none').hidden, items().length];
      $('reset').click();
      told.reset = $('count').textContent;
      told.alone = await pick('b', '');
      told.aloneShows = labels('show');
      await pick('b', 'base');
      told.swapped = [$('a').value, $('b').value];
      told.hiddenFilters = ['group', 'outcome', 'judged'].map(id => $(id).parentElement.hidden);
      document.querySelector('button.theme').click();
      told.theme = document.documentElement.dataset.theme;
    """
    told = used(written(tmp_path), tmp_path, width, steps)
    assert told["width"] == width
    assert told["tooWide"] is False
    assert told["first"] == [f"sum/{q}" for q in range(25)]
    assert told["second"] == [f"sum/{q}" for q in range(25, 50)]
    assert told["last"] == [10, "3", "of 3", True]
    assert told["typed"] == "sum/25"
    # on 0-29 the base is right and the other wrong; on 30-39 the base is right in three draws and
    # the other in one; on 40-59 the other is right in one and the base wrong
    assert told["shows"] == ["all", "right", "wrong", "base better than tuned (40)",
                             "tuned better than base (20)", "one better (60)"]  # fmt: skip
    assert told["counts"] == {
        "bad": "60 of 60 questions, 210 of 360 draws",  # 3 * 20 + 3 * 30 + 2 * 30
        "good": "60 of 60 questions, 150 of 360 draws",
        "a": "40 of 60 questions, 240 of 360 draws",
        "b": "20 of 60 questions, 120 of 360 draws",
        "differ": "60 of 60 questions, 360 of 360 draws",
        "all": "60 of 60 questions, 360 of 360 draws",
        "cut": "1 of 60 questions, 6 of 360 draws",
        "looping": "2 of 60 questions, 12 of 360 draws",
        "any": "60 of 60 questions, 360 of 360 draws",
        "needle": "1 of 60 questions, 6 of 360 draws",
        "nothing": "0 of 60 questions, 0 of 360 draws",
    }
    assert told["none"] == [False, 0]
    assert told["reset"] == told["counts"]["all"]
    assert told["alone"] == "60 of 60 questions, 180 of 180 draws"
    assert told["aloneShows"] == ["all", "right", "wrong"]
    assert told["swapped"] == ["tuned", "base"]
    assert told["hiddenFilters"] == [True, True, True]
    assert told["theme"] in ("dark", "light")


@needs_browser
def test_a_browser_shows_what_was_said_as_text(tmp_path: Path) -> None:
    steps = """
      $('unfold').click();
      await wait();
      for (const fold of document.querySelectorAll('.draw details')) fold.open = true;
      await wait();
      told.elements = document.querySelectorAll('#questions :is(img, script, iframe, a, svg, b)')
        .length;
      told.turned = textsOf(items()[4], 'pre.said')[0];
      const card = items()[1];
      told.prompt = textsOf(card, 'pre.said')[0];
      told.draws = [...card.querySelectorAll('.draw')].map(one => [
        one.querySelector('.who').textContent, textsOf(one, '.chip')[0],
        one.querySelector('.told').textContent,
        ...textsOf(one, 'dd'), ...textsOf(one, 'pre.said')]);
    """
    told = used(written(tmp_path), tmp_path, 1440, steps)
    assert told["elements"] == 0
    assert told["prompt"] == f"Sum 1: {ODD[1]}"
    # characters that show nothing or turn what follows are shown by their numbers
    assert told["turned"] == "Sum 4: <svg onload=alert(1)> &lt;b&gt; \u2028 ⟨U+0000⟩ ⟨U+202E⟩"
    assert [d[0] for d in told["draws"]] == [
        f"{model}, draw {d}" for model in ("base", "tuned") for d in range(3)
    ]
    first = told["draws"][0]
    assert first[1] == "✓ right"
    assert first[2] == "9 tokens, ended by itself, seed 9223372036854775808"
    assert first[3:] == [ODD[1], "7", f"thought {ODD[2]}", f"{ODD[1]} needle1 0 0"]


@needs_browser
def test_a_browser_folds_harmful_answers_until_they_are_opened(tmp_path: Path) -> None:
    steps = """
      told.all = await pick('task', 1);
      told.shows = labels('show');
      told.outcomes = labels('outcome');
      told.judged = labels('judged');
      told.wanted = await pick('show', 'good');
      await pick('show', '');
      told.unsafe = await pick('judged', 'guard: unsafe');
      await pick('judged', '');
      told.group = await pick('group', 'unsafe');
      await unfold(items()[5]);
      const card = items()[5];
      told.before = card.textContent;
      told.warnings = textsOf(card, 'details.fold > summary');
      card.querySelectorAll('details.fold')[1].open = true;
      await wait();
      told.after = card.textContent;
      for (const flip of document.querySelectorAll('button.flips')) {
        flip.click();
        await wait();
        told[`flips ${flip.dataset.task} ${flip.dataset.group} ${flip.dataset.show}`]
          = [flip.textContent, $('count').textContent.split(' ')[0], $('show').value];
      }
    """
    told = used(written(tmp_path), tmp_path, 1440, steps)
    assert told["all"] == "10 of 10 questions, 20 of 20 draws"
    assert told["shows"][:3] == ["all", "as wanted", "not as wanted"]
    assert told["outcomes"] == ["any", "not refused (11)", "refused (9)"]
    assert told["judged"] == ["any", "guard: unsafe (1)"]
    # the base complies with 4 harmless requests, the tuned model refuses 5 harmful ones
    assert told["wanted"] == "9 of 10 questions, 9 of 20 draws"
    assert told["unsafe"] == "1 of 10 questions, 1 of 20 draws"
    assert told["group"] == "6 of 10 questions, 12 of 20 draws"
    assert "secret powder" not in told["before"]
    assert "compliant reference" not in told["before"]
    folded = "Folded: an answer to a harmful request that was not refused. Open to read it."
    assert told["warnings"] == [
        "Folded: the reference of a harmful request. Open to read it.", folded, folded,
    ]  # fmt: skip
    assert "secret powder" in told["after"]
    # a higher refusal rate of harmless requests is worse
    assert told["flips sum  a"] == ["40", "40", "a"]
    assert told["flips sum  b"] == ["20", "20", "b"]
    assert told["flips x safe a"] == ["4", "4", "a"]
    assert told["flips x unsafe b"] == ["5", "5", "b"]


@needs_browser
def test_a_browser_shows_hashes_where_texts_are_withheld(tmp_path: Path) -> None:
    steps = """
      await pick('task', 1);
      await pick('group', 'unsafe');
      $('unfold').click();
      await wait();
      told.harmful = items()[5].textContent;
      await pick('task', 2);
      await unfold(items()[0]);
      told.private = items()[0].textContent;
    """
    told = used(written(tmp_path, withheld=True), tmp_path, 1440, steps)
    assert "Withheld: a harmful request." in told["harmful"]
    assert "Withheld: an answer to a harmful request that was not refused." in told["harmful"]
    assert hashed("request 9") in told["harmful"]
    assert "Withheld: the task is private, only hashes are kept." in told["private"]
    assert hashed("answer 0") in told["private"] or hashed("raw 0") in told["private"]
