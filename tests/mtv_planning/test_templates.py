"""Name templates: what Go and Sprig would make of them, and errors that name the template."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtv.errors import BadInput
from mtv.planning import templates

VARIABLES: dict[str, templates.Value] = {
    "VmName": "Web Server_01",
    "TargetVmName": "web-server-01",
    "PlanName": "move-everything-now",
    "DiskIndex": 0,
    "RootDiskIndex": 0,
    "Shared": False,
    "FileName": "web1_1.vmdk",
    "WinDriveLetter": "",
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        (
            "{{trunc 15 .PlanName}}-{{trunc 15 .TargetVmName}}-disk-{{.DiskIndex}}",
            "move-everything-web-server-01-disk-0",
        ),
        ("{{ .VmName | lower | replace \" \" \"-\" }}", "web-server_01"),
        ("{{if eq .DiskIndex .RootDiskIndex}}root{{else}}data{{end}}-{{.DiskIndex}}", "root-0"),
        ("{{if .Shared}}s{{else if .WinDriveLetter}}w{{else}}d{{end}}", "d"),
        ("{{if not .Shared}}own{{end}}", "own"),
        ("{{if and .VmName (not .Shared)}}a{{end}}{{if or .Shared .VmName}}b{{end}}", "ab"),
        ("a {{- .DiskIndex -}} b", "a0b"),
        ("a{{/* said to nobody */}}b", "ab"),
        ("{{$n := add1 .DiskIndex}}disk-{{$n}}-{{mul $n 2 3}}", "disk-1-6"),
        ("{{ printf \"%02d-%s-%v\" 7 .TargetVmName .Shared }}", "07-web-server-01-false"),
        ("{{ `raw {` }}", "raw {"),
        ("{{ \"a\\\"b\" }}", 'a"b'),
        ("{{ (trimSuffix \".vmdk\" .FileName) | upper }}", "WEB1_1"),
        ("{{ trimPrefix \"web\" .FileName }}", "1_1.vmdk"),
        ("{{ trimAll \"wk\" .FileName }}", "eb1_1.vmd"),
        ("{{ trim \"  x \" }}", "x"),
        ("{{ title \"web server\" }}|{{ untitle \"Web Server\" }}", "Web Server|web server"),
        ("{{ repeat 3 \"ab\" }}", "ababab"),
        ("{{ substr 0 3 .FileName }}{{ substr 3 -1 .FileName }}", "web1_1.vmdk"),
        ("{{ nospace .VmName }}", "WebServer_01"),
        ("{{ initials \"First Try\" }}", "FT"),
        ("{{ trunc -4 .FileName }}{{ trunc 99 .FileName }}", "vmdkweb1_1.vmdk"),
        ("{{ trunc -99 \"ab\"}}", "ab"),
        ("{{ contains \"web\" .FileName }}{{ hasPrefix \"x\" .FileName }}", "truefalse"),
        ("{{ hasSuffix \"vmdk\" .FileName }}", "true"),
        ("{{ mustRegexReplaceAll \"[^a-z0-9]+\" (lower .VmName) \"-\" }}", "web-server-01"),
        ("{{ mustRegexReplaceAll \"(\\\\w)(\\\\d)\" .FileName \"${2}$1\" }}", "we1b1_.vmdk"),
        ("{{ add 1 2 3 }} {{ sub 5 7 }} {{ div -7 2 }} {{ mod -7 2 }}", "6 -2 -3 -1"),
        ("{{ max 1 9 3 }} {{ min 4 2 }} {{ floor 1.9 }} {{ ceil 1.1 }}", "9 2 1 2"),
        ("{{ round 3.14159 2 }}", "3.14"),
        ("{{ if eq .VmName \"a\" \"Web Server_01\" }}in{{ end }}", "in"),
        ("{{ if lt .DiskIndex 1 }}<{{end}}{{ if ge 2 2 }}>={{end}}", "<>="),
        ("{{ if ne 1 2}}!={{end}}{{ if gt \"b\" \"a\" }}>{{end}}", "!=>"),
        ("{{ len .FileName }}", "11"),
        ("{{ nil | print }}", "<no value>"),
    ],
)  # fmt: skip
def test_template_gives_what_go_gives(template: str, text: str) -> None:
    assert templates.render(template, VARIABLES) == text


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ .Nope }}", "there is no .Nope here"),
        ("{{ nope 1 }}", "there is no function 'nope'"),
        ("{{ .VmName", "not closed by }}"),
        ("{{ if .VmName }}x", "not closed by {{end}}"),
        ("{{ end }}", "without {{if}}"),
        ("{{ if .VmName }}a{{else}}b{{else}}c{{end}}", "a second {{else}}"),
        ("{{}}", "an action is empty"),
        ("{{ lower }}", "lower does not take ()"),
        ("{{ lower .DiskIndex }}", "lower does not take (0)"),
        ("{{ .VmName .PlanName }}", "a value stands where a function is expected"),
        ("{{ (lower .VmName }}", "a parenthesis is not closed"),
        ("{{ lower .VmName) }}", "a parenthesis is closed that was not opened"),
        ("{{ range .VmName }}{{end}}", "'range' is not supported"),
        ("{{ eq 1 \"1\" }}", "differ in type"),
        ("{{ div 1 0 }}", "division by zero"),
        ("{{ $x }}", "variable $x is not set"),
        ("{{ ? }}", "cannot read"),
        ("{{ repeat 9999999 .VmName }}", "more than 4096 characters"),
        ("{{ mustRegexReplaceAll \"(a+)+b\" .VmName \"\" }}", "repeats a group"),
        ("{{ mustRegexReplaceAll \"a*a*a*a*b\" .VmName \"\" }}", "more than three repetitions"),
        ("{{ mustRegexReplaceAll \"(\" .VmName \"\" }}", "regular expression"),
        ("{{ mustRegexReplaceAll \"a\" .VmName \"$7\" }}", "regular expression"),
        ("{{ ceil \"inf\" }}", "ceil does not take"),
        ("x" * 3000, "more than 2048 characters"),
    ],
)  # fmt: skip
def test_error_names_the_template_and_what_is_wrong(template: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        templates.render(template, VARIABLES, field="spec.pvcNameTemplate")
    assert caught.value.field == "spec.pvcNameTemplate"
    assert says in str(caught.value)
    assert ".VmName" in caught.value.hint


@pytest.mark.parametrize("pattern", ["(x+x+)+y", "(a|aa)+$", "([a-z]+)*\\d", "(?:a?){20}"])
def test_no_pattern_keeps_the_controller_busy(pattern: str) -> None:
    with pytest.raises(BadInput, match="repeats a group"):
        templates.render('{{ mustRegexReplaceAll .P .V "" }}', {"P": pattern, "V": "a" * 60 + "!"})


def test_the_worst_pattern_allowed_ends_soon() -> None:
    before = time.process_time()
    templates.render('{{ mustRegexReplaceAll .P .V "" }}', {"P": "a*a*a*b", "V": "a" * 256})
    assert time.process_time() - before < 20


@given(st.text(max_size=200))
def test_any_text_is_rendered_or_refused(text: str) -> None:
    with suppress(BadInput):
        assert isinstance(templates.render(text, VARIABLES), str)


@given(st.text(alphabet='{}-. |()"`$:=aifendlsV0 ', max_size=60))
def test_any_template_is_rendered_or_refused(text: str) -> None:
    with suppress(BadInput):
        templates.render("{{ " + text + " }}", VARIABLES)


@given(st.text(alphabet=st.characters(exclude_characters="{"), max_size=200))
def test_text_without_actions_stays_as_it_is(text: str) -> None:
    assert templates.render(text, {}) == text


def test_deeply_nested_templates_do_not_overflow() -> None:
    deep = "{{if 1}}" * 120 + "x" + "{{end}}" * 120
    assert templates.render(deep, {}) == "x"
    with pytest.raises(BadInput, match="nested too deeply"):
        templates.render("{{" + "(" * 500 + "1" + ")" * 500 + "}}", {})
