import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import Location, TemplateError
from compiler.spec import gotemplate
from compiler.spec.template import Source, Templates

HELPERS = Source(
    "t/templates/h.yaml",
    '{{ define "steps" }}\n- one {{ . }}\n- two\n{{ end }}\n',
)


def lines(templates: Templates, text: str, values: dict[str, object]) -> list[tuple[str, str]]:
    """Render; gives each line that is not empty with the place where it was written."""
    rendered = templates.render(Source("p/build.yaml", text), values)
    return [
        (line, str(rendered.place(number)))
        for number, line in enumerate(rendered.text.split("\n"), 1)
        if line.strip()
    ]


def test_lines_are_traced_through_conditions_loops_and_long_values() -> None:
    text = (
        "image: {{ .Values.image }}\n{{ if .Values.no }}\nx: y\n{{ end }}\nsteps:\n"
        "{{- range .Values.list }}\n- do {{ . }}\n{{- end }}\n- {{ .Values.long }}\n- last\n"
    )
    values: dict[str, object] = {"image": "i", "list": ["a", "b"], "long": "l1\n  l2"}

    assert lines(Templates(), text, values) == [
        ("image: i", "p/build.yaml:1"),
        ("steps:", "p/build.yaml:5"),
        ("- do a", "p/build.yaml:7"),
        ("- do b", "p/build.yaml:7"),
        ("- l1", "p/build.yaml:9"),
        ("  l2", "p/build.yaml:9"),
        ("- last", "p/build.yaml:10"),
    ]


def test_lines_of_a_defined_block_are_traced_to_its_own_file() -> None:
    text = 'steps:\n{{ template "steps" "x" }}\n{{ include "steps" "y" | indent 2 }}\n- last\n'

    assert lines(Templates([HELPERS]), text, {}) == [
        ("steps:", "p/build.yaml:1"),
        ("- one x", "t/templates/h.yaml:2"),
        ("- two", "t/templates/h.yaml:3"),
        ("  - one y", "t/templates/h.yaml:2"),
        ("  - two", "t/templates/h.yaml:3"),
        ("- last", "p/build.yaml:4"),
    ]


def test_a_function_that_sees_the_marks_does_not_change_the_text() -> None:
    text = '{{ define "a" }}\nabc{{ end }}n: {{ include "a" . | len }}\nm: {{ .Values.m }}\n'
    rendered = Templates().render(Source("b", text), {"m": "x"})

    assert rendered.text == "n: 4\nm: x\n"
    assert rendered.place(1) == Location("b")
    assert rendered.place(2) == Location("b", 3)


def test_the_column_stays_where_the_template_left_it() -> None:
    text = "{{ if true }}\nimage: x  # {{ .Values.a }}\nsteps:\n- {{ .Values.a }}: b\n{{ end }}"
    rendered = Templates().render(Source("b", text), {"a": "v"})

    assert rendered.place(2, 8) == Location("b", 2, 8)
    assert rendered.place(4, 5) == Location("b", 4, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n{{ nofunc }}", "p/build.yaml:2:4: function 'nofunc' not defined"),
        ("a\n{{ if }}", "p/build.yaml:2:7: missing value for command"),
        ('{{ fail "no" }}', "p/build.yaml:1:4: function 'fail' failed: no"),
        ('a\n\n{{ template "steps" }}{{ bad }}', "p/build.yaml:3:26: function 'bad' not defined"),
        ("{{ range until 200000 }}{{ end }}",
         "p/build.yaml:1:10: function 'until' failed: more than 100000 numbers"),
        ('{{ define "r" }}{{ template "r" . }}{{ end }}{{ template "r" . }}',
         "p/build.yaml:1:33: templates call each other without end"),
        ('a\n{{ include "nope" . }}', "p/build.yaml:2:12: template 'nope' is not defined"),
        ("{{ div 1 0 }}",
         "p/build.yaml:1:4: function 'div' failed: integer division or modulo by zero"),
    ],
)  # fmt: skip
def test_a_failing_template_says_where(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Templates([HELPERS]).render(Source("p/build.yaml", text), {})

    assert str(caught.value) == message


def test_a_fault_in_a_templates_folder_is_told_by_itself() -> None:
    with pytest.raises(TemplateError) as caught:
        Templates([HELPERS, Source("t/b.yaml", "\n\n{{ if }}")])

    assert str(caught.value) == "t/b.yaml:3:7: missing value for command"


def test_one_name_with_two_texts_is_a_fault_and_with_one_text_is_none() -> None:
    same = Source("u/templates/h.yaml", HELPERS.text)
    other = Source("v/h.yaml", '\n{{ define "steps" }}other{{ end }}')

    assert lines(Templates([HELPERS, same]), '{{ include "steps" "z" }}', {}) == [
        ("- one z", "t/templates/h.yaml:2"),
        ("- two", "t/templates/h.yaml:3"),
    ]
    with pytest.raises(TemplateError) as caught:
        Templates([HELPERS, other])
    assert str(caught.value) == (
        "v/h.yaml:2: template 'steps' is defined twice "
        "(another one stands at t/templates/h.yaml:1; rename one of them)"
    )


def test_plain_text_of_a_templates_folder_becomes_part_of_every_build() -> None:
    templates = Templates([Source("t/x.yaml", "env: [A=b]")])

    assert templates.render(Source("b", "image: x"), {}).text == "env: [A=b]\nimage: x"


BODIES = st.sampled_from(
    ["x", "\n- {{ . }}\n", "  {{- . }} ", '{{ include "c" . }}', "{{ nil.x }}"]
)
TRIMS = st.tuples(*(st.sampled_from(["", "-"]) for _ in range(4)))
SPACES = st.sampled_from(["", " ", "\n", "\n\n  "])


def block(name: str, body: str, trims: tuple[str, ...], after: str) -> str:
    """Write a definition, trimmed in any way."""
    start = f'{{{{{trims[0]} define "{name}" {trims[1]}}}}}'
    return f"{start}{body}{{{{{trims[2]} end {trims[3]}}}}}{after}"


BLOCKS = st.builds(block, st.sampled_from("abc"), BODIES, TRIMS, SPACES)
COMMENTS = st.sampled_from(["{{/* c */}}", "{{- /* c */ -}}", "{{- /* c */}}\n", " ", "\n"])
FRONTS = st.lists(st.one_of(BLOCKS, COMMENTS), max_size=4).map("".join)
CALLS = st.sampled_from([
    '{{ include "a" .Values.v }}', '{{- include "b" .Values.v -}}', '{{ template "a" 1 }}',
    "{{- if .Values.v }}", "{{ else -}}", "{{- end }}", "{{ tpl .Values.t . }}", "{{ .Values.v }}",
    "{{ fail .Values.v }}", "{{ range .Values.l }}", '{{ include "d" 1 }}', "\n", " ", "k: ",
])  # fmt: skip


@given(front=FRONTS, text=st.lists(CALLS, max_size=6).map("".join))
def test_files_that_are_compiled_once_give_what_the_joined_text_gives(
    front: str, text: str
) -> None:
    values: dict[str, object] = {"v": "w", "t": '{{ include "a" 2 }}', "l": [1, 2]}
    source = Source("b", text)
    written = front if front.endswith("\n") else front + "\n"
    calls = any(word in text for word in ("include", "template", "tpl"))
    skipped = written.count("\n") if calls else 0
    try:
        templates = Templates([Source("t", front)])
    except TemplateError:
        return
    try:
        expected = gotemplate.render(written + text if calls else text, {"Values": values})
    except gotemplate.TemplateFailure as failure:
        in_text = failure.line > skipped
        place = Location("b" if in_text else "t", failure.line - skipped * in_text, failure.column)
        expected = f"{place}: {failure.message}"
    try:
        found = templates.render(source, values).text
    except TemplateError as error:
        found = str(error)

    assert found == expected or "is not defined" in found


WORDS = st.sampled_from(["a", "b", "no", "deep.a", "deep.no.x", "n", "flag", "nil", "f", "list"])
PIECES = st.one_of(
    WORDS.map(lambda word: f"{{{{ .Values.{word} }}}}"),
    WORDS.map(lambda word: f"{{{{.Values.{word}}}}}"),
    st.sampled_from(["{", "}", "}}", " ", "\n", "x: ", "- "]),
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_texts_that_only_print_values_are_rendered_as_the_engine_does(text: str) -> None:
    values: dict[str, object] = {
        "a": "text", "b": "<x>", "deep": {"a": "inner"}, "n": 100000000, "flag": True,
        "nil": None, "f": 1.5, "list": ["a", 1],
    }  # fmt: skip
    try:
        expected = gotemplate.render(text, {"Values": values})
    except gotemplate.TemplateFailure as failure:
        expected = failure.message
    try:
        found = Templates().render(Source("b", text), values).text
    except TemplateError as error:
        found = error.message

    assert found == expected


@given(st.text(alphabet='{}. "`-/*\nifendVals$x|()', max_size=40))
def test_any_text_is_rendered_or_has_a_fault_with_its_file(text: str) -> None:
    try:
        place: Location | None = Templates().render(Source("b", text), {}).place(1)
    except TemplateError as error:
        place = error.location

    assert place is not None
    assert place.path == "b"


@pytest.mark.parametrize("call", ['printf "%2000000000d" 1', 'printf "%*d" 2000000000 1'])
def test_a_field_too_wide_for_the_memory_is_refused(call: str) -> None:
    with pytest.raises(TemplateError, match="a width of more than 1000000 characters"):
        Templates([]).render(Source("build.yaml", "a: {{ " + call + " }}"), {})


def test_numbers_in_a_format_that_are_no_width_are_fine() -> None:
    rendered = Templates([]).render(Source("b", '{{ printf "v20210707 %s 1%%99999999" "x" }}'), {})

    assert rendered.text == "v20210707 x 1%99999999"
